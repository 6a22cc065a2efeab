"""Processes that are killed, or stand still, at a chosen line of a run's record, however fast the machine is.

The functions made here run in Ray's workers in place of those of `na_ray` that they call. They are made within
functions, and name what they call, so that they travel as code: a worker can import na_ray, but not the tests.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from na_ray.run import inference
from na_ray.run.sweep import trial
from na_ray.run.train import ray_trainer


def until(condition: Callable[[], Any], alive: Callable[[], bool] = lambda: True, seconds: float = 500.0) -> None:
    """Wait for a condition; fail where it cannot come true any more, or does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert alive(), "what was to come about cannot any more: its process has ended"
        assert time.monotonic() < end, "what was to come about did not"
        time.sleep(0.02)


def _killed_at(step: int, module: str, name: str, run: str = "") -> Callable[..., Any]:
    """A function of `na_ray` that is killed as soon as the line of `step` is on disk: once, as a file there tells.

    `run`: the name of the only run to kill.
    """

    def killed(*arguments: Any) -> Any:
        import importlib
        import os
        import signal

        from na_ray.run.train.run_folder import RunFolder

        append = RunFolder.append

        def append_and_die(self: Any, at: int, *rest: Any, **named: Any) -> None:
            append(self, at, *rest, **named)
            if at == step and self.root.name == (run or self.root.name) and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        RunFolder.append = append_and_die  # type: ignore[method-assign]
        return getattr(importlib.import_module(module), name)(*arguments)

    return killed


def kill_training_worker(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The Ray Train worker that reports `step` is killed when it has."""
    monkeypatch.setattr(ray_trainer, "_worker", _killed_at(step, "na_ray.run.train.ray_trainer", "_worker"))


def kill_trial(monkeypatch: pytest.MonkeyPatch, step: int, name: str) -> None:
    """The process of the sweep's trial of this name is killed when it has reported `step`."""
    monkeypatch.setattr(trial, "trial", _killed_at(step, "na_ray.run.sweep.trial", "trial", name))


def kill_decoder(monkeypatch: pytest.MonkeyPatch, marker: str, shard: int) -> None:
    """The Ray Data process that decodes the shard of this number is killed meanwhile, once: the file `marker` tells."""

    def decode_and_die(batch: dict[str, Any], shipped: Any) -> Any:
        import os
        import signal
        from pathlib import Path

        from na_ray.run.data import loader

        for block in loader._decode_blocks(batch, shipped):
            if shard in batch["id"] and not Path(marker).exists():
                Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield block

    start = ray_trainer._worker  # which may be one that is to be killed itself

    def worker(config: dict[str, Any]) -> None:
        from na_ray.run.data import loader

        loader._decode_blocks = decode_and_die
        start(config)

    monkeypatch.setattr(ray_trainer, "_worker", worker)


def kill_predicting_worker(monkeypatch: pytest.MonkeyPatch, marker: str, frames: int) -> None:
    """The worker that predicts a motion is killed after so many of its frames, once: the file `marker` tells."""

    def predicting_and_die(*arguments: Any) -> Any:
        import os
        import signal
        from pathlib import Path

        from na_ray.run import inference

        attempt = inference._attempt

        def count(done: int, total: int) -> None:
            if done == frames and not Path(marker).exists():
                Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)

        inference._attempt = lambda predictor, task, request, _: attempt(predictor, task, request, count)
        return inference.predicting(*arguments)

    monkeypatch.setattr(inference, "predicting", predicting_and_die)
