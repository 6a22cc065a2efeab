"""One trial of a sweep, as Ray Tune runs it: it trains in its own process, or as a Ray Train run nested under it.

A trial writes its record and its checkpoints alone; what comes of them in MLflow is the driver's.
"""

import contextlib
import errno
import fcntl
import functools
import io
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from na_ray.capture.dataset import Capture
from na_ray.checkpoint import write_json
from na_ray.config import Experiment, StageName
from na_ray.config.files import from_json, read_json
from na_ray.config.secrets import hidden
from na_ray.run.sweep.scores_callback import ScoresCallback
from na_ray.run.sweep.state import SCORE
from na_ray.run.train.interrupt import StoppedError
from na_ray.run.train.ray_trainer import train_on_ray
from na_ray.run.train.run_folder import RunFolder, clear_leftovers
from na_ray.run.train.stages import STAGES
from na_ray.run.train.worker import train_here

DRIVER_CPUS = 0.1
"""CPUs reserved by a trial that only waits for its workers: whole ones would leave none for them."""


@dataclass(frozen=True)
class Share:
    """What a trial holds of the cluster, and how many run side by side."""

    cpus: float
    """CPUs that Tune reserves for the trial itself."""
    gpus: int
    """GPUs that Tune reserves for it."""
    gpus_in_all: int
    """GPUs that it holds, its workers' included."""
    concurrent: int


def make_trainable(share: Share, experiment: Experiment) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs, with what it reserves for it.

    `experiment` brings the secrets of its addresses. It is no part of Tune's configurations: those are written to disk,
    as a trial's own experiment is.
    """
    work = functools.partial(_with_secrets, trial, experiment)
    return tune.with_resources(work, {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {}))


def _with_secrets(work: Callable[[dict[str, Any]], None], experiment: Experiment, config: dict[str, Any]) -> None:
    """Do the work, in a process where `experiment` has arrived, and with it its secrets."""
    assert experiment.storage, "it is unpickled by now"
    work(config)


def trial(config: dict[str, Any]) -> None:
    """What Tune runs: `trial` is the trial's folder, `stage` the stage to train."""
    train_trial(Path(config["trial"]), config["stage"])


def train_trial(root: Path, stage: StageName) -> None:
    """Train the trial of a folder from its latest checkpoint to its end, or until Tune ends the process."""
    experiment = from_json(read_json(root / "experiment.json", "train", "texture", "stages"))
    run = RunFolder(root, stage, experiment.train.keep_last)
    with _alone(root), _errors_kept(root), contextlib.suppress(StoppedError):
        clear_leftovers(root)
        if experiment.train.num_workers == 0:
            dataset = STAGES[stage].make_dataset(Capture.open(experiment.capture), experiment)
            torch.set_num_threads(max(1, int(experiment.train.cpus_per_worker)))
            train_here(experiment, dataset, run, report=_tell)
        else:
            train_on_ray(experiment, run, callbacks=[ScoresCallback(SCORE)])
        write_json(root / "done.json", {"steps": run.record(0)[0][-1]["step"]})


def _tell(metrics: dict[str, float]) -> None:
    if SCORE in metrics:
        tune.report(metrics)  # comes back when Tune has decided; never, if the trial is to stop


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Wait until an earlier process of the same trial is gone: it may outlive its driver by some seconds."""
    with open(root / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise  # else a file system that cannot lock: Ray alone sees to it
        yield


@contextlib.contextmanager
def _errors_kept(root: Path) -> Iterator[None]:
    """Leave what went wrong in `error.txt`: the traceback, then the error in its last line."""
    (root / "error.txt").unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        text = io.StringIO()
        traceback.print_exception(error, file=text)
        line = " ".join(str(error).split()) or type(error).__name__
        (root / "error.txt").write_text(hidden(f"{text.getvalue()}\n{line}\n"))
        raise
