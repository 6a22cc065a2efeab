"""`experiment.json`: an experiment as checkpoints and runs keep it, and what earlier versions wrote."""

import json
from pathlib import Path
from typing import Any

from na_ray.config.experiment import Experiment
from na_ray.config.values import UserError, from_dict, to_dict

VERSION = 2
"""What the form of the file is counted by. Version 1, of na_ray 0.1, does not name itself."""

STAGES_0_1 = {"renderer": "nerf"}
"""Stages of 0.1 that have another name now. Their folders in a run were named alike."""


SINCE_0_1 = {"nerf.mesh_prior": "soft", "data.pixel_jitter": False, "texture.held_out": None}
"""Knobs that 0.1 did not have, and what it did. A later file that lacks one was written before there was the knob."""


def is_of_0_1(values: dict[str, Any]) -> bool:
    """Whether na_ray 0.1 wrote this `experiment.json`."""
    return values.get("version", 1) < VERSION


def read_json(path: Path, *keys: str) -> Any:
    """What a JSON file holds. Raises UserError, one line, for a file that is torn or lacks one of the `keys`."""
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # no JSON, or no text at all
        raise UserError(f"{path} is damaged ({error}): put a copy in its place, or remove it") from None
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing:
        raise UserError(f"{path} lacks {missing[0]!r}: put a copy in its place, or remove it")
    return found


def to_json(experiment: Experiment) -> dict[str, Any]:
    """The contents of `experiment.json`."""
    return {"version": VERSION} | to_dict(experiment)


def from_json(values: dict[str, Any]) -> Experiment:
    """The experiment of an `experiment.json`, this version's or 0.1's. Raises UserError for knobs that do not exist."""
    try:
        named = upgraded(values)
    except (LookupError, TypeError, AttributeError) as error:  # a section or a knob that each has
        found = f"the knobs of version {values.get('version', 1)!r} lack a part ({type(error).__name__}: {error})"
        raise UserError(f"experiment.json is damaged: {found}: copy the checkpoint again") from None
    return from_dict(Experiment, named)


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The contents of an `experiment.json` with the names of this version, without its version."""
    values = dict(values)
    if values.pop("version", 1) >= VERSION:
        return _with_newer_knobs(values)
    train, texture = dict(values["train"]), dict(values["texture"])
    # Where 0.1 left a batch open, it followed the workers: a frame, or four windows, for each.
    workers = max(1, train["num_workers"])
    train["global_batch"] = train.pop("frames_per_step") or workers
    texture["global_batch"] = texture.pop("windows_per_step") or 4 * workers
    values["nerf"] = dict(values.pop("renderer"))
    values["data"] = values["data"] | {"background": values["nerf"].pop("background")}
    stages = [STAGES_0_1.get(stage, stage) for stage in values["stages"]]
    return _with_newer_knobs(values | {"train": train, "texture": texture, "stages": stages})


def _with_newer_knobs(values: dict[str, Any]) -> dict[str, Any]:
    values = dict(values)
    for knob, meaning in SINCE_0_1.items():
        section, name = knob.split(".")
        values[section] = {name: meaning} | values.get(section, {})
    return values


def upgraded_knob(name: str) -> str:
    """The dotted name that a knob of 0.1 has now."""
    moved = {
        "train.frames_per_step": "train.global_batch",
        "texture.windows_per_step": "texture.global_batch",
        "renderer.background": "data.background",
    }
    section, dot, rest = name.partition(".")
    return moved.get(name) or STAGES_0_1.get(section, section) + dot + rest
