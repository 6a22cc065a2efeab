"""The checkpoints and weights that `benchmarks/fuzz.py` damages, pickles that would run code among them."""

import argparse
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_files import Reader, capture_readers
from fuzz_sequences import sequence_readers

from na_ray import checkpoint as files
from na_ray.body.body import Body
from na_ray.capture.rig import Rig
from na_ray.config import Experiment, NerfConfig
from na_ray.models.avatars import AVATARS
from na_ray.models.pretrained.imagenet import load_weights
from na_ray.original.renderer import import_checkpoint

CANARY = "code_was_run"
"""The file that a hostile pickle writes."""


class Bomb:
    """A pickle that writes a file where it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.folder / CANARY),)


def network_readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """The readers of checkpoints and weights: these import torch."""

    def saved(value: Any) -> bytes:

        held = io.BytesIO()
        torch.save(value, held)
        return held.getvalue()

    def weights() -> Reader:

        layer = torch.nn.Linear(2, 3)
        bomb = io.BytesIO()
        torch.save({"weight": Bomb(folder)}, bomb)
        seeds = [saved(layer.state_dict()), bomb.getvalue(), pickle.dumps(Bomb(folder))]
        return Reader("weights", folder / "w.pth", seeds, lambda p: load_weights(layer, str(p), "it", (), "none"), True)

    def checkpoint(name: str, bombs: bool) -> Reader:

        vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.5]], np.float32)
        faces = np.array([[0, 1, 2], [1, 2, 3]])
        rig = Rig(
            vertices, faces, vertices[:, :2], faces, np.ones((4, 1), np.float32), np.eye(4, dtype=np.float32)[None]
        )
        config = Experiment(nerf=NerfConfig(hidden=4, encoder_width=4, samples_per_ray=2))
        place = folder / name.replace(".", "_")
        model = AVATARS["nerf"].make(config, Body.from_rig(rig))
        files.save(place, "nerf", model.state_dict(), rig, config, training={"adam": {}})
        seeds = [(place / name).read_bytes()]
        seeds += [saved({"a": Bomb(folder)}), pickle.dumps(Bomb(folder))] if bombs else []

        def read(path: Path) -> None:
            files.damage(path.parent)
            files.load_training(path.parent)
            files.load_avatar(path.parent)

        return Reader(name, place / name, seeds, read, bombs)

    def original() -> Reader:

        seeds = [saved({"args": argparse.Namespace(arch="x"), "model": {}}), saved({"args": Bomb(folder)})]
        return Reader("original", folder / "o.pt", seeds, lambda p: import_checkpoint(str(p)), True)

    return {
        "weights": weights,
        "nerf.pt": lambda: checkpoint("nerf.pt", True),
        "training.pt": lambda: checkpoint("training.pt", True),
        "body.npz": lambda: checkpoint("body.npz", True),
        "experiment.json": lambda: checkpoint("experiment.json", False),
        "original": original,
    }


READERS = (
    *(
        "obj",
        "weights_text",
        "camera",
        "pose",
        "tpose",
        "path",
        "distortion",
        "flow",
        "zip",
        "avi",
        "mp4",
        "mkv",
        "png",
    ),
    *("jpeg", "capture", "weights", "nerf.pt", "training.pt", "body.npz", "experiment.json", "original"),
    *("intri.yml", "extri.yml", "opencv.yml", "people.json", "annots.npy", "params.npy", "model.npz", "model.pkl"),
    *("colmap_cameras.bin", "colmap_images.bin", "colmap_cameras.txt", "colmap_images.txt", "transforms.json"),
    "rig.glb",
)
"""Names of all readers."""


def make_readers(folder: Path, names: list[str]) -> dict[str, Reader]:
    """The readers of these names, their files in `folder`."""
    known = capture_readers(folder) | network_readers(folder) | sequence_readers(folder, folder / CANARY)
    return {name: known[name]() for name in names}
