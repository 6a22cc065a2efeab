"""Checkpoints: a folder that holds all that is needed to go on training, or to render, wherever it is moved to.

    step_000500/
      experiment.json   every knob
      body.npz          the rig: mesh, UV atlas, skinning weights, rest pose
      nerf.pt           the weights (`models.avatars`); predictor.pt in the texture stage: the averaged generator
      training.pt       what only training needs: optimizer state, step, ... (absent in an imported actor)
      fingerprint.json  what the capture was that it was trained on (`run.train.fingerprint`; absent where unknown)
      metrics.json      the step and, where it was validated, the scores; written last

Random numbers are functions of (seed, step), so the step is the random state. Folders are written aside and renamed;
tensors load with `weights_only=True`.
"""

import dataclasses
import json
import logging
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from na_ray.body.body import Body
from na_ray.capture.rig import Rig
from na_ray.config import AvatarName, Experiment, StageName
from na_ray.config.files import from_json, is_of_0_1, read_json, to_json
from na_ray.config.values import UserError
from na_ray.models.avatar import Avatar
from na_ray.models.avatars import AVATARS

if TYPE_CHECKING:
    from na_ray.models.vid2vid.generator import Generator

log = logging.getLogger(__name__)

WEIGHTS: dict[StageName, str] = {**{name: kind.weights for name, kind in AVATARS.items()}, "texture": "predictor.pt"}
"""The file of a stage's weights."""

WEIGHTS_0_1: dict[StageName, str] = {"nerf": "renderer.pt"}
"""The same in checkpoints of na_ray 0.1, where it was another."""

FINGERPRINT = "fingerprint.json"
"""The file that tells captures apart."""


@dataclass(frozen=True)
class TrainedAvatar:
    """A trained person: what renders a pose and a texture map."""

    model: Avatar[Any]
    body: Body
    config: Experiment
    mean_texture: Path | None = None
    """The mean of its training's texture maps, where the actor keeps it."""

    @property
    def name(self) -> AvatarName:
        """Which kind it is."""
        return self.model.name

    def on(self, device: str) -> "TrainedAvatar":
        """The same on another kind of device; its model moves there."""
        return dataclasses.replace(self, model=self.model.to(device), body=self.body.to(device=device))


@dataclass(frozen=True)
class Predictor:
    """A trained texture predictor: what turns a motion's normal maps into texture maps."""

    generator: "Generator"
    """Averaged over training, spectral norms folded in, in evaluation mode."""
    body: Body
    config: Experiment


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside and rename, so that a reader never sees half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1))
    os.replace(aside, path)


def save(
    folder: Path,
    stage: StageName,
    weights: dict[str, Any],
    rig: Rig,
    config: Experiment,
    step: int = 0,
    training: dict[str, Any] | None = None,
    metrics: dict[str, float] | None = None,
    fingerprint: dict[str, str] | None = None,
) -> None:
    """Write a checkpoint of a stage to `folder`, all of it or nothing. Raises FileExistsError if the folder is there.

    `weights` is the state dict of the stage's model, `training` what going on needs beside it and the step. Raises
    OSError when the disk is full.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists: name another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        np.savez(aside / "body.npz", allow_pickle=False, **{k: v for k, v in vars(rig).items() if v is not None})
        _save_tensors(weights, aside / WEIGHTS[stage])
        if training is not None:
            _save_tensors(training | {"step": step}, aside / "training.pt")
        write_json(aside / "experiment.json", to_json(config))
        if fingerprint is not None:
            write_json(aside / FINGERPRINT, fingerprint)
        write_json(aside / "metrics.json", {"step": step} | (metrics or {}))
        aside.chmod(0o755)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _save_tensors(value: dict[str, Any], path: Path) -> None:
    with open(path, "wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch complains of its position in the file; the file said why
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _existing(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"{folder} is no checkpoint: {name} is missing; give a run's folder, runs/NAME, or a checkpoint's"
        )
    return folder / name


def load_experiment(folder: Path) -> Experiment:
    """The knobs that a checkpoint was trained with."""
    return from_json(_experiment_values(folder))


def _experiment_values(folder: Path) -> dict[str, Any]:
    return read_json(_existing(folder, "experiment.json"), "train", "texture", "stages")


def load_rig(folder: Path) -> Rig:
    """The body that a checkpoint was trained on."""
    path = _existing(folder, "body.npz")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            held = {f.name: arrays[f.name] for f in dataclasses.fields(Rig) if f.name in arrays.files}
            if odd := [name for name, value in held.items() if not isinstance(value, np.ndarray)]:
                raise ValueError(f"{odd[0]} is no array")
            return Rig(**held)
    except Exception as error:  # a damaged archive or array can raise anything
        raise _damaged(path, error) from None


def load_avatar(folder: str | Path, device: torch.device | str = "cpu") -> TrainedAvatar:
    """Open a checkpoint for rendering, whichever kind of avatar it holds. Raises FileNotFoundError or UserError, one
    line, when it is none."""
    folder = Path(folder)
    name = avatar_in(folder)
    values = _experiment_values(folder)
    config = from_json(values)
    if config.nerf.mesh_residual and is_of_0_1(values):
        log.warning("%s is of version 0.1: it keeps the blurred mesh that it started from (mesh_prior soft)", folder)
    return make_avatar(name, config, load_rig(folder), load_weights(folder, name), device)


def make_avatar(
    name: AvatarName, config: Experiment, rig: Rig, weights: dict[str, Any], device: torch.device | str = "cpu"
) -> TrainedAvatar:
    """An avatar of its knobs, body and state dict."""
    body = Body.from_rig(rig).to(device=torch.device(device))
    model = AVATARS[name].make(config, body)
    _fill(model, weights)
    return TrainedAvatar(model.to(device).eval(), body, config)


def load_predictor(folder: str | Path, device: torch.device | str = "cpu") -> Predictor:
    """Open a checkpoint for predicting textures. Raises FileNotFoundError or UserError, one line, when it is none."""
    folder = Path(folder)
    expect_stage(folder, "texture")
    return make_predictor(load_experiment(folder), load_rig(folder), load_weights(folder, "texture"), device)


def make_predictor(
    config: Experiment, rig: Rig, weights: dict[str, Any], device: torch.device | str = "cpu"
) -> Predictor:
    """A texture predictor of its knobs, body and state dict."""
    from na_ray.models.vid2vid.generator import Generator

    body = Body.from_rig(rig).to(device=torch.device(device))
    generator = Generator(config.vid2vid, spectral=False)
    _fill(generator, weights)
    return Predictor(generator.to(device).eval().requires_grad_(False), body, config)


def _fill(model: torch.nn.Module, weights: dict[str, Any]) -> None:
    """Load a state dict, strictly. Raises UserError where it is that of other knobs, or damaged."""
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:  # of names and shapes; of what is no state dict
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])[:200]
        raise UserError(f"the weights do not fit the knobs beside them ({reason}): take another checkpoint") from None


def avatar_in(folder: Path) -> AvatarName:
    """The kind of avatar whose weights a checkpoint holds. Raises UserError where they are another stage's."""
    names = get_args(AvatarName)
    expect_stage(folder, *names)
    return next((name for name in names if weights_file(folder, name).is_file()), names[0])


def expect_stage(folder: Path, *stages: StageName) -> None:
    """Tell those who give the checkpoint of one stage where that of another is due."""
    if any(weights_file(folder, stage).is_file() for stage in stages):
        return
    for other in WEIGHTS:
        if weights_file(folder, other).is_file():
            expected = " or ".join(stages)
            raise UserError(f"{folder} is a checkpoint of the {other} stage: give one of the {expected} stage")


def weights_file(folder: Path, stage: StageName) -> Path:
    """Where a checkpoint keeps the weights of a stage, by today's name or by that of na_ray 0.1."""
    old = folder / WEIGHTS_0_1.get(stage, WEIGHTS[stage])
    return old if old.is_file() else folder / WEIGHTS[stage]


def load_weights(folder: Path, stage: StageName = "nerf") -> dict[str, Any]:
    """The state dict of the stage's model."""
    file = weights_file(folder, stage)
    return _load_tensors(_existing(folder, file.name))


def load_training(folder: Path) -> dict[str, Any]:
    """`step` and what else the stage's training needs to go on from a checkpoint."""
    return _load_tensors(_existing(folder, "training.pt"))


def _load_tensors(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return UserError(f"{path} is damaged ({reason}): take another checkpoint, or copy it again")


_whole: set[tuple[Path, int, int]] = set()
"""Archives that were found whole: path, time of change (ns) and bytes. A sweep asks for its checkpoints often."""


def _open_archive(path: Path) -> None:
    """Raise zipfile.BadZipFile where an archive is cut short; one that is unchanged is not opened again."""
    status = path.stat()
    key = path, status.st_mtime_ns, status.st_size
    if key not in _whole:
        with zipfile.ZipFile(path):
            _whole.add(key)


def damage(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint, in one line; None: it is whole.

    Reads no tensor: archives that were cut short lack the directory at their end.
    """
    try:
        read_json(folder / "experiment.json", "train")
        read_json(folder / "metrics.json", "step")
        if (folder / FINGERPRINT).exists():
            read_json(folder / FINGERPRINT)
        if not any(weights_file(folder, stage).is_file() for stage in WEIGHTS):
            return f"{folder} holds no weights: take another checkpoint, or copy it again"
        for path in sorted({*folder.glob("*.pt"), folder / "body.npz"}):
            _open_archive(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        return str(_damaged(path, error))
    except (UserError, OSError) as error:
        return str(error)
    return None


def validation(folder: Path) -> dict[str, float]:
    """The validation's scores of a checkpoint, `validation/psnr` and so on; empty where it was not validated."""
    metrics = read_json(folder / "metrics.json", "step")
    return {name: value for name, value in metrics.items() if name.startswith("validation/")}
