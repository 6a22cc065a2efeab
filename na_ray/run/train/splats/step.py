"""Rows of pictures to batches on the device: which texture map a step sees, and which way its normals are turned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from na_ray.body.upload import upload
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.config import SplatsConfig
from na_ray.models.splats.poses import MovedPose
from na_ray.models.splats.splats import PictureBatch, Splats
from na_ray.models.splats.views import PairRoom, Views, view_numbers

PictureRow = dict[str, np.ndarray]
"""As `PictureDataset.rows` describes it; named here because a step imports no reader of videos."""
Arrays = dict[str, np.ndarray]
POSE = "joints_RT", "rotation", "translation", "joints"
"""Of a row: what a body is posed by."""


def to_batch(
    row: PictureRow,
    splats: Splats,
    cameras: Sequence[Camera],
    rng: np.random.Generator,
    correction: Tensor | None = None,
) -> PictureBatch:
    """A row on the model's device. `cameras`: all of the split's, at the training resolution; `rng`: `chance`;
    `correction`: of the frame's pose, where poses are learned."""
    moved = None
    if correction is not None and splats.poses is not None:
        pose = Pose(**{name: row[name] for name in POSE}, pose=None)
        moved = splats.poses.move(splats.body, pose, correction)
    arrays = step_arrays(row, splats, cameras, rng)
    batch = batch_of(splats, {name: upload(array, splats.device) for name, array in arrays.items()}, moved=moved)
    if splats.device.type == "cuda":
        return batch
    # Few kernels for all views are what a GPU wants; a CPU compares each where it lies in its cache.
    return replace(batch, sizes=tuple((int(h), int(w)) for _, _, w, h in arrays["windows"]))


def step_arrays(row: PictureRow, splats: Splats, cameras: Sequence[Camera], rng: np.random.Generator) -> Arrays:
    """What a step reads of a row, in types of the device; the arguments are those of `to_batch`."""
    turn = rotation(rng, splats.config.turn)
    share = own_share(splats.config, rng)
    numbers = view_numbers([cameras[v] for v in row["views"]], np.asarray(row["translation"], np.float32))
    height, width = (int(row["windows"][:, i].max()) for i in (3, 2))
    reals = {name: row[name] for name in POSE} | {"turn": turn, "share": np.array(share), "numbers": numbers}
    return {
        **{name: np.asarray(array, np.float32) for name, array in reals.items()},
        "windows": np.asarray(row["windows"], np.int32),
        "texture": row["texture"],
        "pictures": row["pictures"][:, :height, :width],  # without the padding that no window needs
    }


def batch_of(
    splats: Splats, arrays: Mapping[str, Tensor], room: PairRoom | None = None, moved: MovedPose | None = None
) -> PictureBatch:
    """The batch of `step_arrays` that lie on the model's device; `room`: see `Views`; `moved`: the corrected pose."""
    pictures = arrays["pictures"].float() / 255
    return PictureBatch(
        posed=splats.body.skinned(*(arrays[name] for name in POSE)) if moved is None else moved.posed,
        texture=arrays["texture"].permute(2, 0, 1).float() / 255,
        share=arrays["share"],
        turn=arrays["turn"],
        views=Views(arrays["numbers"], arrays["windows"], (pictures.shape[1], pictures.shape[2]), room),
        targets=pictures,
        sizes=None,
        moved=moved,
    )


def chance(seed: int, step: int, slot: int) -> np.random.Generator:
    """The random numbers of a frame of a step: a function of (seed, step, the frame's slot), whoever computes it."""
    return np.random.default_rng([seed, 5, step, slot])


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
