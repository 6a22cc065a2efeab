"""A film of a tiny actor in a tiny capture, for tests: milliseconds a frame."""

from pathlib import Path

import numpy as np
import torch
from tiny_predictor import tiny_predictor

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import DataConfig, Experiment, NerfConfig
from na_ray.models.nerf.renderer import Nerf
from na_ray.motion.animate import Film
from na_ray.motion.drawing import FrameDrawer
from na_ray.motion.film_textures import FilmTextures, OneTexture, PredictedTextures
from na_ray.motion.posed import SplitMotion
from na_ray.motion.trained_poses import TrainedPoses


def tiny_avatar(capture: Capture, seed: int = 0) -> TrainedAvatar:
    """An untrained NeRF that is dense enough to be seen."""
    torch.manual_seed(seed)
    config = Experiment(
        nerf=NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4, samples_per_chunk=64),
        data=DataConfig(texture_size=16, background=(1.0, 1.0, 1.0)),
    )
    body = Body.from_rig(capture.rig)
    nerf = Nerf(config.nerf, body, config.data).eval()
    for p in (p for _, p in nerf.named_parameters() if p.shape == (1,)):
        p.data.fill_(5.0)
    return TrainedAvatar(nerf, body, config)


def tiny_film(
    folder: Path, predicted: bool = False, count: int | None = None, seed: int = 0, **options: object
) -> Film:
    """Of the testing split of a capture that `write_tiny_capture` made, through its second camera."""
    capture = Capture.open(folder)
    split, training = capture.split("testing"), capture.split("training")
    textures: FilmTextures = PredictedTextures(tiny_predictor(capture.rig))
    if not predicted:
        textures = OneTexture("mean", np.full((16, 16, 3), (200, 100, 50), np.uint8))
    frames = range(split.num_frames if count is None else count)
    of_film = {k: options.pop(k) for k in ("show_distance", "project", "fps") if k in options}
    drawer = FrameDrawer(tiny_avatar(capture, seed), **options)  # type: ignore[arg-type]
    trained = TrainedPoses.of(training, range(3), training.rig)
    film_options = {"fps": 25.0} | of_film
    return Film(drawer, SplitMotion(split, frames, 25.0), frames, [split.cameras[1]], textures, trained, **film_options)  # type: ignore[arg-type]
