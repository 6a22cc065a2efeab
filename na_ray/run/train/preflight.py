"""Before hours of work: is the capture whole, do memory and disk suffice, how long will it take?"""

import shutil
from pathlib import Path

import psutil

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.storage import sends_parts
from na_ray.config import Experiment, StageName
from na_ray.config.selection import select
from na_ray.config.values import MISTAKES, UserError
from na_ray.run.train.speed import training_speed
from na_ray.run.train.stages import STAGES, AnyDataset


def preflight(experiment: Experiment, root: Path) -> dict[StageName, AnyDataset]:
    """Check the capture and print what the run will need. Returns each stage's dataset.

    Raises UserError with every defect of the capture, a line each, or when memory or disk are too small. What is read
    of names and headers comes first: a wrong selection or a full disk is told in a moment, whatever the capture's size.
    """
    if not experiment.capture:
        raise UserError("no capture is named: give one by --capture PATH (na-ray synth makes one)")
    try:
        capture = Capture.open(experiment.capture)
        split = capture.split(experiment.data.train_split)
        num_cameras = len(split.camera_files)
    except MISTAKES:
        _tell_defects(experiment)
        raise
    if num_cameras and any(stage != "texture" for stage in experiment.stages):
        select(experiment.data, num_cameras, split.num_frames)
    _check_server(split)
    try:
        datasets = {stage: STAGES[stage].make_dataset(capture, experiment) for stage in experiment.stages}
        lines, operations, need = _needs(experiment, datasets)
    except Exception:  # planning with what is broken may stumble over anything
        _tell_defects(experiment)
        raise
    _check_disk(root, need)
    report = examine(experiment.capture)
    if report.defects:
        raise UserError("\n".join(report.defects))
    lines.append(training_speed(experiment).line(operations))
    print("\n".join([*lines, *(f"note      {note}" for note in report.notes)]), flush=True)
    return datasets


def _tell_defects(experiment: Experiment) -> None:
    """What is broken stops at its first defect: tell them all."""
    if defects := examine(experiment.capture).defects:
        raise UserError("\n".join(defects)) from None


def _check_server(split: Split) -> None:
    for path in (split.texture_video, *(split.video(camera) for camera in range(len(split.camera_files)))):
        if path is not None and not sends_parts(path):
            found = "the server sends whole files only, and training would fetch the whole video for each shard"
            todo = "copy the capture to a folder, or serve it from S3 or a web server that knows ranges (nginx)"
            raise UserError(f"{path}: {found}; expected one that answers range requests: {todo}")


def _needs(experiment: Experiment, datasets: dict[StageName, AnyDataset]) -> tuple[list[str], float, int]:
    """(what to tell of the run, the multiply-adds of its training, the bytes of its checkpoints)."""
    lines, operations, need = [f"capture   {experiment.capture}"], 0.0, 0
    for stage, dataset in datasets.items():
        about, multiply_adds, checkpoint = STAGES[stage].estimate(dataset)
        lines += about
        operations += multiply_adds
        need += (experiment.train.keep_last + 2) * checkpoint
    return (
        [
            *lines,
            f"memory    {experiment.data.memory_mb} MB of decoded frames a worker at most, "
            f"{psutil.virtual_memory().available / 1e9:.1f} GB are free here",
            f"disk      {need / 1e9:.2f} GB for {experiment.train.keep_last} checkpoints, the best one and one being "
            "written",
        ],
        operations,
        need,
    )


def _check_disk(root: Path, need: int) -> None:
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    if free < need:
        raise UserError(
            f"{root} has {free / 1e9:.1f} GB free and its checkpoints need {need / 1e9:.1f} GB: "
            "free some, choose another --storage, or lower train.keep_last"
        )
