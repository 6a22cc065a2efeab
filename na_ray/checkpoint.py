"""Checkpoints: a folder that holds all that is needed to go on training, or to render, wherever it is moved to.

    step_000500/
      experiment.json   every knob
      body.npz          the rig: mesh, UV atlas, skinning weights, rest pose
      renderer.pt       the weights
      training.pt       optimizer state and step (absent in an imported actor)
      metrics.json      the step and, where it was validated, the scores; written last

Random numbers are functions of (seed, step), so the step is the random state. Folders are written aside and renamed;
tensors load with `weights_only=True`.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from na_ray.body.body import Body
from na_ray.capture.rig import Rig
from na_ray.config import Experiment, from_dict, to_dict
from na_ray.models.renderer import Renderer


@dataclass(frozen=True)
class Actor:
    """A trained person: what renders a pose and a texture map."""

    renderer: Renderer
    body: Body
    config: Experiment


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside and rename, so that a reader never sees half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1))
    os.replace(aside, path)


def save(
    folder: Path,
    renderer: Renderer,
    rig: Rig,
    config: Experiment,
    step: int = 0,
    optimizer: dict[str, Any] | None = None,
    metrics: dict[str, float] | None = None,
) -> None:
    """Write a checkpoint to `folder`, all of it or nothing. Raises FileExistsError if the folder is there."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists: name another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        np.savez(aside / "body.npz", allow_pickle=False, **{k: v for k, v in vars(rig).items() if v is not None})
        torch.save(renderer.state_dict(), aside / "renderer.pt")
        if optimizer is not None:
            torch.save({"optimizer": optimizer, "step": step}, aside / "training.pt")
        write_json(aside / "experiment.json", to_dict(config))
        write_json(aside / "metrics.json", {"step": step} | (metrics or {}))
        aside.chmod(0o755)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _existing(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"{folder} is no checkpoint: {name} is missing; give a folder like runs/NAME/checkpoints/step_000500"
        )
    return folder / name


def load_experiment(folder: Path) -> Experiment:
    """The knobs that a checkpoint was trained with."""
    return from_dict(Experiment, json.loads(_existing(folder, "experiment.json").read_text()))


def load_rig(folder: Path) -> Rig:
    """The body that a checkpoint was trained on."""
    with np.load(_existing(folder, "body.npz")) as arrays:
        return Rig(**{f.name: arrays[f.name] for f in dataclasses.fields(Rig) if f.name in arrays.files})


def load_actor(folder: str | Path, device: torch.device | str = "cpu") -> Actor:
    """Open a checkpoint for rendering. Raises FileNotFoundError or ValueError, one line, when it is none."""
    folder = Path(folder)
    config = load_experiment(folder)
    body = Body.from_rig(load_rig(folder)).to(device=torch.device(device))
    renderer = Renderer(config.renderer, body)
    renderer.load_state_dict(load_weights(folder))
    return Actor(renderer.to(device).eval(), body, config)


def load_weights(folder: Path) -> dict[str, Any]:
    """The renderer's state dict."""
    return torch.load(_existing(folder, "renderer.pt"), map_location="cpu", weights_only=True)


def load_training(folder: Path) -> dict[str, Any]:
    """`optimizer` (state dict) and `step` of a checkpoint."""
    return torch.load(_existing(folder, "training.pt"), map_location="cpu", weights_only=True)


class Checkpoints:
    """The checkpoints of a run: `root/step_NNNNNN`. The last few and the best (highest validation PSNR) are kept."""

    def __init__(self, root: Path, keep_last: int) -> None:
        self.root, self.keep_last = root, keep_last

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = self.root.glob("step_*/metrics.json")
        return sorted((f.parent for f in found), key=lambda f: int(f.name.removeprefix("step_")))

    def latest(self) -> Path | None:
        """The checkpoint to go on from."""
        return self.all()[-1] if self.all() else None

    def best(self) -> Path | None:
        """The validated checkpoint with the highest PSNR, else the latest."""
        scores = {f: json.loads((f / "metrics.json").read_text()).get("validation/psnr") for f in self.all()}
        scored = {f: s for f, s in scores.items() if s is not None}
        return max(scored, key=lambda f: scored[f]) if scored else self.latest()

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.root / f"step_{step:06d}"

    def prune(self) -> None:
        """Remove what is neither among the last `keep_last` nor the best."""
        kept = {*self.all()[-self.keep_last :], self.best()}
        for folder in self.all():
            if folder not in kept:
                # Renamed first: a crash half way through leaves no folder that looks complete.
                gone = folder.with_name(f".{folder.name}.gone")
                os.replace(folder, gone)
                shutil.rmtree(gone, ignore_errors=True)
