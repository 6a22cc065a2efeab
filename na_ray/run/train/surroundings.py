"""What can be checked of a training in a moment, before its capture is: names, folders, devices, Ray and MLflow."""

import os
from pathlib import Path

import torch

from na_ray.capture.storage import is_url
from na_ray.config import Experiment
from na_ray.config.values import UserError
from na_ray.run.cluster.address import check_cluster, named_cluster
from na_ray.run.tracking.store import check_uri, tracking_uri

ODD = '?#%*:|<>"\n\t'
"""Characters of a name that MLflow's registry, addresses or file systems have another use for."""

LONGEST = 200
"""Characters of a name: a file's may have 255 bytes, and words are added to it."""


def check_surroundings(experiment: Experiment) -> None:
    """Refuse what would fail after the capture is read, or after training. Writes nothing.

    Raises UserError, one line.
    """
    check_names(experiment)
    check_storage(experiment)
    check_device(experiment)
    if experiment.train.num_workers:
        named = named_cluster()
        if named is not None:
            check_cluster(named)
    check_uri(tracking_uri())


def run_root(experiment: Experiment) -> Path:
    """The folder of an experiment's run."""
    return Path(experiment.storage).expanduser().absolute() / experiment.name


def check_names(experiment: Experiment) -> None:
    """Refuse names that a folder, MLflow's registry or an address cannot bear.

    A run that there is, of a version that took its name, keeps it.
    """
    for knob, name in (("name", experiment.name), ("project", experiment.project)):
        odd = next((c for c in name if c in ODD or not c.isprintable()), None)
        if name in (".", "..") or name.startswith("-"):
            raise UserError(f"--{knob} {name}: expected a word of letters, digits, dots, dashes and underscores")
        if knob == "name" and odd is not None and not (run_root(experiment) / "experiment.json").exists():
            raise UserError(f"--{knob} {name!r} has a {odd!r}, which MLflow or a file system refuses: leave it out")
        if len(os.fsencode(name)) > LONGEST:
            raise UserError(f"--{knob} has {len(os.fsencode(name))} bytes: expected {LONGEST} at most")


def check_storage(experiment: Experiment) -> None:
    """Refuse a storage that is no folder, or cannot be written."""
    if is_url(experiment.storage):
        raise UserError(
            f"--storage {experiment.storage}: expected a folder, which all nodes see: mount the storage, or let "
            "MLflow's artifacts lie there"
        )
    root = run_root(experiment)
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"--storage {experiment.storage}: {there} is a file: name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--storage {experiment.storage}: {there} cannot be written: name a folder of your own")


def check_device(experiment: Experiment) -> None:
    """Refuse a GPU that is asked for and not there, and one that is there and would not be used.

    On a named cluster it is the workers' machines that count: they are asked when they start.
    """
    if experiment.train.device == "cpu" or torch.cuda.is_available():
        return
    if experiment.train.num_workers and named_cluster() is not None:
        return
    why = f"torch {torch.__version__} " + ("finds none" if torch.version.cuda else "is built without CUDA")
    if experiment.train.device == "cuda":
        raise UserError(f"--train.device cuda: there is no GPU that can be used ({why}): choose auto, or cpu")
    if gpus_of_machine():
        raise UserError(
            f"this machine has a GPU, and {why}: training would be on CPUs; install a build of torch with CUDA that "
            "the driver supports, or choose --train.device cpu"
        )


def gpus_of_machine(devices: Path = Path("/dev")) -> bool:
    """Whether NVIDIA's driver shows a GPU to this process that it was not told to leave alone."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles"):
        return False
    return any(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia*"))
