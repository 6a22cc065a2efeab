"""Whether scored pictures took part in what is scored: in training, in choosing the checkpoint, in making the maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from na_ray.capture.dataset import Capture, Split
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.selection import Selection, select
from na_ray.config.values import UserError

Maps = Literal["own", "predicted", "mean"]
"""The texture maps worn: the frame's own, made from its photographs; predicted ones; the mean of the training's."""


@dataclass(frozen=True)
class Protocol:
    """What a reader of scores must know beside how they were computed."""

    heading: str
    """`Held-out cameras, own texture maps` and so on."""
    trained_on: str
    """How many of the pictures were trained on."""
    chosen_by: str
    """How many of them chose the checkpoint."""
    maps_made_from: str
    """The cameras whose photographs made the texture maps."""
    warning: str | None = None
    """Where all that chose the checkpoint was trained on."""
    poses: str | None = None
    """Whose poses are drawn, where they are not the capture's."""

    @staticmethod
    def of(
        actor: TrainedAvatar,
        capture: Capture,
        split: Split,
        frames: Sequence[int],
        cameras: Sequence[int],
        maps: Maps,
        refined: bool = False,
    ) -> "Protocol":
        """Of frames and cameras (positions in the split) that are scored; `refined`: in the poses that training
        learned."""
        worn = {"own": "own texture maps", "predicted": "predicted texture maps", "mean": "mean texture map"}[maps]
        made, none = _made_from(capture, cameras), "none of these pictures"
        if not np.array_equal(actor.body.vertices.cpu().numpy(), capture.rig.vertices):
            return Protocol(f"Another person, {worn}", none, none, made)
        chosen, unknown = _selection(actor, capture)
        learned = "learned in training, of these frames' pictures through the training cameras" if refined else None
        worn = f"refined poses, {worn}" if refined else worn
        warning = chosen.warning if chosen else None
        if split.name != actor.config.data.train_split:
            return Protocol(f"Novel poses, {worn}", none, none, made, warning)
        if chosen is None:
            return Protocol(f"Training motion, {worn}", unknown, unknown, made, poses=learned)
        trained = _share(frames, cameras, chosen.train_frames, chosen.train_views)
        deciding = _share(frames, cameras, chosen.validation_frames, chosen.validation_views)
        return Protocol(f"{_heading(chosen, frames, cameras)}, {worn}", trained, deciding, made, warning, learned)


def _selection(actor: TrainedAvatar, capture: Capture) -> tuple[Selection | None, str]:
    """What the actor was trained on of the capture, or why that is unknown."""
    data = actor.config.data
    if data.train_split not in capture.splits:
        return None, f"unknown: the capture has no split {data.train_split}"
    split = capture.split(data.train_split)
    try:
        return select(data, len(split.camera_files), split.num_frames), ""
    except UserError as error:
        return None, f"unknown: the actor was trained on other cameras or frames ({error})"


def _heading(chosen: Selection, frames: Sequence[int], cameras: Sequence[int]) -> str:
    if not set(cameras) & set(chosen.train_views):
        return "Held-out cameras"
    if not set(frames) & set(chosen.train_frames):
        return "Held-out frames"
    return "Training cameras" if set(cameras) <= set(chosen.train_views) else "Held-out and training cameras"


def _share(frames: Sequence[int], cameras: Sequence[int], some_frames: range, some_views: Sequence[int]) -> str:
    """How many of the pictures lie among others, in words."""
    count = len([f for f in frames if f in some_frames]) * len([c for c in cameras if c in some_views])
    total = len(frames) * len(cameras)
    return {0: "none of these pictures", total: "all of these pictures"}.get(
        count, f"{count} of these {total} pictures"
    )


def maps_made_from(capture: Capture) -> str:
    """The cameras whose photographs made a capture's texture maps, in words."""
    made = capture.texture_cameras
    if made is None:
        return "unknown which cameras made the texture maps"
    return f"made from the photographs of cameras {_numbers(made)}"


def _made_from(capture: Capture, cameras: Sequence[int]) -> str:
    made = capture.texture_cameras
    if made is None:
        return maps_made_from(capture)
    scored = [c for c in cameras if c in made]
    which = f"of those scored: {_numbers(scored)}" if scored else "none of those scored"
    return f"{maps_made_from(capture)}; {which}"


def _numbers(cameras: Sequence[int]) -> str:
    return ", ".join(map(str, cameras))
