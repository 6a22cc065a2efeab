"""Several figures in one scene: side by side on one ground, and a camera that sees them all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from na_ray.config.values import UserError
from na_ray.viewer.figure import Figure, Kind, TextureWord

GAP = 0.4
"""Between two figures, m."""
SAME_UP = np.cos(np.radians(10))
"""Cosine of the angle between the up axes of two figures that may stand in one scene."""
FOV = np.radians(40)
"""Vertical angle of the first view."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What every browser shows."""

    figures: Sequence[Figure]
    up: Float64[np.ndarray, "3"]
    eye: Float64[np.ndarray, "3"]
    """Where the first view is from (scene, m), and"""
    target: Float64[np.ndarray, "3"]
    """what it looks at."""
    kind: Kind
    """How figures are drawn at first."""
    maps: TextureWord | None
    """The texture maps they wear at first; None: the first they have."""
    notes: Sequence[str] = ()
    """What the user should know, a line each."""

    @property
    def kinds(self) -> list[Kind]:
        """How any of the figures can be drawn."""
        found: list[Kind] = ["splats", "nerf", "mesh"]
        return [kind for kind in found if any(kind in figure.kinds for figure in self.figures)]


def make_scene(
    figures: Sequence[Figure], kind: Kind | None, maps: TextureWord | None, notes: Sequence[str] = ()
) -> Scene:
    """Put figures beside each other, and choose the first view. Raises UserError, one line, where that cannot be."""
    first = figures[0]
    up = np.asarray(first.actor.up, np.float64)
    for other in figures[1:]:
        if other.actor.up @ up < SAME_UP:
            found = f"{first.name} has its sky at {_words(up)} and {other.name} at {_words(other.actor.up)}"
            raise UserError(f"{found}: actors in one scene must have one up axis: view them one by one")
    side, ahead = _axes(first, up)
    _line_up(figures, side, up)
    low, high = _box(np.concatenate([_corners(figure) for figure in figures]), (side, up, ahead))
    target = np.stack([side, up, ahead]).T @ ((low + high) / 2)
    wide, tall = (high - low)[:2]
    distance = 1.15 * max(tall, wide / 1.6) / 2 / np.tan(FOV / 2) + (high - low)[2] / 2
    chosen = kind or ("splats" if any("splats" in f.kinds for f in figures) else "mesh")
    return Scene(figures, up, target - distance * ahead, target, chosen, maps, notes)


def _axes(figure: Figure, up: Float64[np.ndarray, "3"]) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """(to the right, ahead) of the first view, level: as a camera of the training looks."""
    camera = figure.actor.camera
    ahead = camera.T_world_camera[:3, 2] if camera is not None else np.roll(up, 1)
    ahead = ahead - (ahead @ up) * up
    if np.linalg.norm(ahead) < 0.1:  # a camera that looks straight down
        ahead = np.roll(up, 1) - (np.roll(up, 1) @ up) * up
    ahead = ahead / np.linalg.norm(ahead)
    return np.cross(ahead, up), ahead


def _line_up(figures: Sequence[Figure], side: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"]) -> None:
    """The first stays where it is; each of the others beside the one before it, on the same ground."""
    ahead = np.cross(up, side)
    axes = (side, up, ahead)
    low, high = _box(_corners(figures[0]), axes)
    edge, ground, middle = high[0], low[1], (low + high)[2] / 2
    for figure in figures[1:]:
        low, high = _box(_corners(figure), axes)
        move = (edge + GAP - low[0]) * side + (ground - low[1]) * up + (middle - (low + high)[2] / 2) * ahead
        figure.offset = figure.offset + move
        edge += GAP + high[0] - low[0]


def _corners(figure: Figure) -> Float64[np.ndarray, "v 3"]:
    """The vertices in the scene at the first pose, m."""
    posed = figure.body.pose(figure.clips[0].pose(0))
    return posed.world_vertices.double().cpu().numpy() + figure.offset


def _box(
    points: Float64[np.ndarray, "v 3"], axes: Sequence[Float64[np.ndarray, "3"]]
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    along = points @ np.stack(axes).T
    return along.min(axis=0), along.max(axis=0)


def _words(axis: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.2g}" for value in axis) + ")"
