"""Rows of pictures to batches on the device: which texture map a step sees, and which way its normals are turned."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from na_ray.body.upload import upload
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.config import SplatsConfig
from na_ray.models.splats.splats import PictureBatch, Splats
from na_ray.models.splats.views import Views
from na_ray.pictures.box import Box

PictureRow = dict[str, np.ndarray]
"""As `PictureDataset.rows` describes it; named here because a step imports no reader of videos."""


def to_batch(
    row: PictureRow,
    splats: Splats,
    cameras: Sequence[Camera],
    rng: np.random.Generator,
    correction: Tensor | None = None,
) -> PictureBatch:
    """A row on the model's device. `cameras`: all of the split's, at the training resolution; `rng`: `chance`;
    `correction`: of the frame's pose, where poses are learned."""
    device = splats.device
    pose = Pose(**{name: row[name] for name in ("joints_RT", "rotation", "translation", "joints")}, pose=None)
    moved = None
    if correction is not None and splats.poses is not None:
        moved = splats.poses.move(splats.body, pose, correction)
    own = upload(row["texture"], device).permute(2, 0, 1).float() / 255
    seen = [cameras[v] for v in row["views"]]
    windows = [Box(int(y), int(x), int(y + h), int(x + w)) for x, y, w, h in row["windows"]]
    turn = upload(rotation(rng, splats.config.turn), device, torch.float32)  # before the share is drawn: as ever
    return PictureBatch(
        posed=splats.body.pose(pose) if moved is None else moved.posed,
        texture=own,
        share=own_share(splats.config, rng),
        turn=turn,
        views=Views.of(seen, np.asarray(row["translation"], np.float32), device, windows),
        targets=_targets(row, windows, device),
        # Few kernels for all views are what a GPU wants; a CPU compares each where it lies in its cache.
        sizes=None if device.type == "cuda" else tuple((b.bottom - b.top, b.right - b.left) for b in windows),
        moved=moved,
    )


def chance(seed: int, step: int, slot: int) -> np.random.Generator:
    """The random numbers of a frame of a step: a function of (seed, step, the frame's slot), whoever computes it."""
    return np.random.default_rng([seed, 5, step, slot])


def _targets(row: PictureRow, windows: list[Box], device: torch.device) -> Tensor:
    """The pictures (k, h, w, 3) in [0, 1], without the padding that no window needs."""
    height, width = max(b.bottom - b.top for b in windows), max(b.right - b.left for b in windows)
    return upload(row["pictures"][:, :height, :width], device).float() / 255


def own_share(config: SplatsConfig, rng: np.random.Generator) -> float:
    """How much of the frame's own map a step sees: all of it, nothing (the pose decides), or any part."""
    drawn, share = rng.random(), float(rng.random())
    if drawn < config.own_maps:
        return 1.0
    return 0.0 if drawn < config.own_maps + config.mean_maps else share


def rotation(rng: np.random.Generator, deviation: float) -> np.ndarray:
    """A random rotation matrix (3, 3) about any axis by a normally distributed angle (Rodrigues' formula)."""
    axis = rng.normal(size=3)
    angle = deviation * float(np.linalg.norm(axis))
    x, y, z = axis / max(float(np.linalg.norm(axis)), 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
