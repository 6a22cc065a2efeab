"""The folder of a run: what training leaves behind, and all that resuming needs.

<storage>/<name>/experiment.json      the knobs it was started with
                 tracking.json        its MLflow runs
                 <stage>/metrics.jsonl     one line per report: step, time, metrics, pictures
                         checkpoints/step_NNNNNN/
                         validation/step_NNNNNN/*.png
                         closing/          what its end has done, until all of it is
                         closed.json       when the stage is finished: its steps, and the summary that was printed
                 texture/predicted/<split>/tex/*.png     texture maps of the held-out motion
"""

import json
import os
import shutil
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from na_ray.capture.storage import is_url
from na_ray.checkpoint import write_json
from na_ray.checkpoints import Checkpoints
from na_ray.config import Experiment, StageName, flatten, override
from na_ray.config.files import SINCE_0_1, from_json, read_json, to_json
from na_ray.config.values import UserError
from na_ray.run.train import disk
from na_ray.run.train.upgrade import upgrade_run
from na_ray.run.train.weights import settle_files

# Knobs that a resumed run may change: they decide where and how long it runs, not what it computes.
FREE = {
    "project",
    "storage",
    "capture",
    "stages",
    "train.steps",
    "train.num_workers",
    "train.min_workers",
    "train.device",
    "train.cpus_per_worker",
    "train.compile",
    "train.log_every",
    "train.checkpoint_every",
    "train.keep_last",
    "train.validate_every",
    "train.validation_frames",
    "train.validation_size",
    "train.max_failures",
    "data.fit_views",
    "data.memory_mb",
    "data.on_bad_shard",
    "nerf.samples_per_chunk",
    "nerf.encoder_weights",
    "splats.cuda_graphs",
    "splats.steps",
    "texture.epochs",
    "texture.steps",
    "texture.checkpoint_every",
    "texture.validate_every",
    "texture.validation_frames",
    "texture.vgg_weights",
    "texture.flow_folder",
    "vid2vid.activation_checkpointing",
    "report.frames",
    "report.size",
    "report.film_size",
    "report.supersample",
    "report.film_frames",
}

# Knobs that a resumed run keeps, whatever the recipe says by now: 0.1 settled them by the number of workers.
PINNED = ("train.global_batch", "texture.global_batch")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and one of its stages."""

    root: Path
    stage: StageName
    keep_last: int

    @property
    def folder(self) -> Path:
        """The stage's own folder."""
        return self.root / self.stage

    @property
    def checkpoints(self) -> Checkpoints:
        """The stage's checkpoints."""
        return Checkpoints(self.folder / "checkpoints", self.keep_last)

    def closed(self, steps: int) -> str | None:
        """The summary printed at the end of the stage, if it has been trained for that many steps; else None."""
        path = self.folder / "closed.json"
        found = read_json(path, "steps", "told") if path.exists() else {}
        return found["told"] if found.get("steps") == steps else None

    def is_trained(self, steps: int) -> bool:
        """Whether there is a whole checkpoint of so many steps: the last one is written when it is validated."""
        latest = self.checkpoints.latest()
        return latest is not None and int(latest.name.removeprefix("step_")) >= steps

    def close(self, steps: int, summary: str) -> None:
        """The stage is trained, scored and filmed: a resumed run leaves it alone."""
        write_json(self.folder / "closed.json", {"steps": steps, "told": summary})

    def append(self, step: int, metrics: dict[str, float], pictures: str | None = None) -> None:
        """Add a line to the record of metrics: one write, so that a reader never sees half a line for long.

        Waits where the disk is full.
        """
        self._add({"step": step, "metrics": metrics} | ({"pictures": pictures} if pictures else {}))

    def note(self, step: int, text: str) -> None:
        """Add a line that holds a message for the user, and no metrics."""
        self._add({"step": step, "metrics": {}, "note": text})

    def _add(self, line: dict[str, Any]) -> None:
        text = json.dumps(line | {"time": time.time()}) + "\n"
        disk.patiently(lambda: disk.append(self.folder / "metrics.jsonl", text.encode()), self.folder)

    def record(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The complete lines of the record from a byte offset on, and the offset behind them."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return [], offset
        with open(path, "rb") as record:
            record.seek(offset)
            complete, newline, _ = record.read().rpartition(b"\n")
        return [_line(path, line) for line in complete.split(b"\n") if line], offset + len(complete) + len(newline)


def _line(path: Path, line: bytes) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        raise UserError(f"{path} is damaged: remove the line that begins with {line[:60]!r}") from None


def predicted_folder(root: Path, split: str) -> Path:
    """Where the texture stage of a run leaves the texture maps that it predicts for a split, and an avatar's stage
    finds them."""
    return root / "texture" / "predicted" / split


def open_run(experiment: Experiment, resume: bool, given: Container[str] = ()) -> tuple[Path, Experiment]:
    """The folder of a run, new or found again, and the experiment with all its values settled. Writes nothing.

    `given`: knobs that the user gave by hand. Raises FileExistsError for a run that is there when `resume` is not asked
    for, UserError when its knobs differ.
    """
    root = Path(experiment.storage).expanduser().absolute() / experiment.name
    if experiment.capture and not is_url(experiment.capture):  # workers have another working directory
        experiment = override(experiment, {"capture": str(Path(experiment.capture).expanduser().absolute())})
    settled = root / "experiment.json"
    if not settled.exists():
        return root, override(settle_files(experiment), {"storage": str(root.parent)})
    if not resume:
        raise FileExistsError(f"{root} holds a run: go on with it by --resume auto, or choose another --name")
    upgrade_run(root)
    started = from_json(read_json(settled, "train", "texture", "stages"))
    experiment = settle_files(override(experiment, _kept(started, experiment)), started)
    before, now = flatten(started), flatten(experiment)
    for name in PINNED:
        if before[name] != now[name]:
            if name in given:
                raise UserError(
                    f"{name} is {now[name]}, and {root} was started with {before[name]}, which it keeps: leave the "
                    "option out, or choose another --name"
                )
            print(f"{name} stays {before[name]}, with which {root} was started, instead of {now[name]}", flush=True)
    experiment = override(experiment, {name: before[name] for name in PINNED})
    now = flatten(experiment)
    if before["texture.perceptual"] == "auto":  # of a version that left it to the workers
        before["texture.perceptual"] = now["texture.perceptual"]
    changed = [f"{k}: {before[k]!r} -> {now[k]!r}" for k in now if k not in FREE and before[k] != now[k]]
    if changed:
        raise UserError(
            f"{root} was started with other values ({'; '.join(changed)}): restore them or choose another --name"
        )
    return root, experiment


def _kept(started: Experiment, asked: Experiment) -> dict[str, Any]:
    """Knobs that a run of na_ray 0.1 did not have: it goes on with what they stand for there, unless told otherwise."""
    before, now, default = flatten(started), flatten(asked), flatten(Experiment())
    return {knob: before[knob] for knob in SINCE_0_1 if now[knob] == default[knob]}


def begin(root: Path, experiment: Experiment) -> None:
    """Make the run's folder, write its knobs, and remove what a killed process left half written."""
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "experiment.json", to_json(experiment))
    clear_leftovers(root)


def clear_leftovers(root: Path) -> None:
    """Remove the folders that a killed process was still writing (their names start with a dot)."""
    for aside in root.glob("*/checkpoints/.step_*"):
        shutil.rmtree(aside, ignore_errors=True)
    for aside in root.glob("*/checkpoints/step_*"):
        if not os.path.exists(aside / "metrics.json"):
            shutil.rmtree(aside, ignore_errors=True)
