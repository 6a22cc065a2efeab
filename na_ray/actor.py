"""An actor: one relocatable folder with everything that drives a person, and where else a person's networks lie.

    actor/
      actor.json           the form's version, each network's knobs, step and scores, the world's up, a default camera
      body.npz             the rig: mesh, UV atlas, skinning weights, rest pose
      splats.safetensors   the weights of an avatar; nerf.safetensors
      texture.safetensors  the texture predictor's, where the run trained one
      mean_texture.png     the mean of the training's texture maps
      poses.npz            the training's poses, some of very many
      body_shapes.npz      directions in which the body's shape may change, where the capture has them

A run writes it at the end of each stage (`write_actor`). `open_actor` takes it, a run's folder, a stage's folder or a
checkpoint: what is missing there, such as the mean map, comes from the capture of the training.
"""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from na_ray import checkpoint
from na_ray.capture import shapes
from na_ray.capture.about import read_about
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import SOME_POSES, Skeleton, find_skeleton, named_joints
from na_ray.capture.storage import join, listing, read_bytes
from na_ray.capture.trajectory import up_of
from na_ray.checkpoint import Predictor, TrainedAvatar
from na_ray.checkpoints import Checkpoints, find_checkpoint, stage_folder
from na_ray.config import AvatarName, Experiment, StageName
from na_ray.config.files import from_json, read_json, to_json
from na_ray.config.selection import select_frames
from na_ray.config.values import UserError
from na_ray.motion.reshaped import Reshaping
from na_ray.motion.textures import MeanTexture
from na_ray.pictures.png import read_png, write_png
from na_ray.version import __version__

FILE = "actor.json"
VERSION = 1
MOST_POSES = 4096
"""Training poses that are kept: of more, so many are taken, evenly spaced."""
POSE_ARRAYS = ("joints_RT", "rotation", "translation", "joints")


@dataclass(frozen=True)
class Actor:
    """A person's networks, opened when they are asked for."""

    folder: Path
    """As it was found: an actor's folder, a run's, or a checkpoint."""
    networks: Mapping[StageName, Path]
    """The folder of each network: a checkpoint, or the actor's own."""
    reshaping: Reshaping | None = None
    """The other shape that its body was given."""

    def in_shape(self, change: str | None) -> "Actor":
        """The actor with its body's shape changed: numbers added to the person's shape coefficients, as `1.5,0,-2`;
        None: as it is. Raises UserError, one line, where it keeps no shape directions, or for what are no numbers."""
        if change is None:
            return self
        path = self.folder / shapes.FILE
        if not path.is_file():
            raise UserError(
                f"{self.folder} has no {shapes.FILE}, so its shape cannot change: give the actor's folder "
                "(runs/NAME/actor) of a run whose capture has one, as na-ray convert makes of SMPL's models"
            )
        directions = shapes.BodyShapes.read(str(path), self.rig)
        reshaping = Reshaping(directions, directions.change(change), self.rig, self.skeleton(), self.up)
        return dataclasses.replace(self, reshaping=reshaping)

    @cached_property
    def values(self) -> dict[str, Any]:
        """What `actor.json` says; empty where there is none."""
        path = self.folder / FILE
        return read_json(path, "version", "stages") if path.is_file() else {}

    @property
    def title(self) -> str:
        """What the actor is called: its run's name."""
        return str(self.values.get("name") or self.knobs(next(iter(self.networks))).name)

    def choose(self, wanted: AvatarName | None = None) -> AvatarName:
        """The kind of avatar that is wanted, else the first of `AvatarName` that is there. Raises UserError, one line,
        where there is none."""
        there = [name for name in get_args(AvatarName) if name in self.networks]
        if (wanted in there) if wanted else there:
            return wanted or there[0]
        has = ", ".join(self.networks) or "nothing"
        raise UserError(f"{self.folder} has no {wanted or 'avatar'}; it has: {has}: train that stage, or give another")

    def knobs(self, stage: StageName) -> Experiment:
        """What a network was trained with."""
        if not self.values:
            return checkpoint.load_experiment(self.networks[stage])
        return from_json(self.values["stages"][stage]["knobs"])

    @cached_property
    def rig(self) -> Rig:
        """The body."""
        if self.reshaping is not None:
            return self.reshaping.rig
        return checkpoint.load_rig(next(iter(self.networks.values())))

    def avatar(self, wanted: AvatarName | None = None, device: torch.device | str = "cpu") -> TrainedAvatar:
        """Open an avatar (`choose`) for rendering."""
        name = self.choose(wanted)
        if not self.values:
            return checkpoint.load_avatar(self.networks[name], device)
        weights, mean = self._weights(name), self.folder / "mean_texture.png"
        found = checkpoint.make_avatar(name, self.knobs(name), self.rig, weights, device)
        return dataclasses.replace(found, mean_texture=mean if mean.is_file() else None)

    def predictor(self, device: torch.device | str = "cpu") -> Predictor | None:
        """Open the texture predictor; None where there is none."""
        if "texture" not in self.networks:
            return None
        if not self.values:
            return checkpoint.load_predictor(self.networks["texture"], device)
        return checkpoint.make_predictor(self.knobs("texture"), self.rig, self._weights("texture"), device)

    def mean_texture(self) -> Map:
        """The mean of the training's texture maps. Raises UserError where neither the actor nor a capture holds it."""
        if (self.folder / "mean_texture.png").is_file():
            return read_png(self.folder / "mean_texture.png")
        found = self.avatar()
        return MeanTexture.find(found).map

    def poses(self) -> list[Pose]:
        """Poses of the training, in order; those of its capture where the actor keeps none."""
        path = self.folder / "poses.npz"
        if not path.is_file():
            knobs = self.knobs(next(iter(self.networks)))
            split = Capture.open(knobs.capture).split(knobs.data.train_split)
            return [split.pose(i) for i in _some(select_frames(knobs.data, split.num_frames))]
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[name] for name in POSE_ARRAYS]
        kept = [Pose(*row) for row in zip(*columns, strict=True)]
        return kept if self.reshaping is None else [self.reshaping.pose(pose) for pose in kept]

    def skeleton(self) -> Skeleton:
        """The joints of the body, as the training's poses show them."""
        poses, where = self.poses(), str(self.folder)
        some = poses[:: max(1, len(poses) // SOME_POSES)]
        return find_skeleton(some, where, named_joints(self.values.get("joints"), where))

    @property
    def up(self) -> Float32[np.ndarray, "3"]:
        """The world's up axis."""
        return np.asarray(self.values.get("up", (0.0, 1.0, 0.0)), np.float32)

    @property
    def fps(self) -> float:
        """Frames a second of the training's motion."""
        return float(self.values.get("fps", 25.0))

    @property
    def camera(self) -> Camera | None:
        """A camera of the training, where the actor keeps one."""
        stored = self.values.get("camera")
        if stored is None:
            return None
        K, T_world_camera = (np.asarray(stored[key], np.float64) for key in ("K", "T_world_camera"))
        return Camera("default", K, T_world_camera, stored["height"], stored["width"])

    def _weights(self, stage: StageName) -> dict[str, torch.Tensor]:
        path = self.folder / f"{stage}.safetensors"
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged ({error}): copy the actor's folder again") from None


def open_actor(path: Path, wanted: Sequence[StageName] = ()) -> Actor:
    """The networks in an actor's folder, a run's, a stage's, or a checkpoint.

    `wanted` stages come first where a checkpoint must be chosen. Raises UserError or FileNotFoundError, one line, for
    a folder that is none of these.
    """
    if (path / FILE).is_file():
        values = read_json(path / FILE, "version", "stages")
        if values["version"] > VERSION:
            raise UserError(
                f"{path / FILE} is of form {values['version']}; this one reads {VERSION}: install a newer na_ray"
            )
        return Actor(path, {stage: path for stage in get_args(StageName) if stage in values["stages"]})
    folders = {stage: path for stage in get_args(StageName) if checkpoint.weights_file(path, stage).is_file()}
    if not folders and not (path / "metrics.json").is_file():
        stages = [path.name] if (path / "checkpoints").is_dir() else get_args(StageName)
        root = path.parent if (path / "checkpoints").is_dir() else path
        for stage in stages:
            best = Checkpoints(stage_folder(root, stage) / "checkpoints", 1).best()
            folders |= {stage: best} if best is not None else {}
    if not folders:
        find_checkpoint(path, wanted or get_args(StageName))  # which says what is wrong with a run
        checkpoint.load_experiment(path)  # and this with what is none
        raise UserError(f"{path} holds no weights: give an actor's folder, a run's, or a checkpoint")
    return Actor(path, folders)


def write_actor(folder: Path, checkpoints: Mapping[StageName, Path], capture: Capture, mean: Map | None = None) -> Path:
    """Write an actor's folder of some checkpoints, in place of the one that is there. Returns `folder`.

    All of it or nothing: it is written beside, and renamed. What it says of the world (up, a camera, the joints'
    names), the mean map and the poses are those of the capture of the training. `mean`: that map, if it is known.
    """
    first = next(iter(checkpoints.values()))
    config = checkpoint.load_experiment(first)
    training = capture.split(config.data.train_split)
    about = read_about(capture.path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for stage, source in checkpoints.items():
            tensors = {k: v.contiguous().clone() for k, v in checkpoint.load_weights(source, stage).items()}
            save_file(tensors, aside / f"{stage}.safetensors")
        shutil.copyfile(first / "body.npz", aside / "body.npz")
        if shapes.FILE in listing(capture.path):
            (aside / shapes.FILE).write_bytes(read_bytes(join(capture.path, shapes.FILE)))
        _save_poses(aside / "poses.npz", training, select_frames(config.data, training.num_frames))
        if training.has_textures:
            write_png(aside / "mean_texture.png", MeanTexture.of(config, capture).map if mean is None else mean)
        camera = training.cameras[0]
        values = {
            "version": VERSION,
            "tool": {"name": "na_ray", "version": __version__},
            "name": config.name,
            "stages": {stage: _stage_values(stage, source) for stage, source in checkpoints.items()},
            "up": about.get("up", up_of(training.cameras).tolist()),
            "fps": about.get("fps", 25.0),
            "camera": {
                "K": camera.K.tolist(),
                "T_world_camera": camera.T_world_camera.tolist(),
                "height": camera.height,
                "width": camera.width,
            },
        }
        checkpoint.write_json(aside / FILE, values | ({"joints": about["joints"]} if "joints" in about else {}))
        aside.chmod(0o755)
        _put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _put_in_place(aside: Path, folder: Path) -> None:
    """Rename a folder to where another may be. A crash in between leaves the old one under a hidden name."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(aside, folder)
    shutil.rmtree(old, ignore_errors=True)


def _stage_values(stage: StageName, source: Path) -> dict[str, Any]:
    """What an actor remembers of a network: its knobs and step, how it did, and under which protocol."""
    metrics = read_json(source / "metrics.json", "step")
    report = source.parents[1] / "report"
    scores = {path.stem: read_json(path) for path in sorted(report.glob("*.json"))} if report.is_dir() else {}
    kept = ("mean", "protocol", "split", "resolution", "rays_per_pixel", "textures", "crops")
    told = {name: {key: found[key] for key in kept if key in found} for name, found in scores.items()}
    knobs = to_json(checkpoint.load_experiment(source))
    return {"step": metrics["step"], "validation": checkpoint.validation(source), "knobs": knobs, "scores": told}


def _save_poses(path: Path, training: Any, frames: Sequence[int]) -> None:
    poses = [training.pose(i) for i in _some(frames)]
    np.savez_compressed(path, allow_pickle=False, **{k: np.stack([getattr(p, k) for p in poses]) for k in POSE_ARRAYS})


def _some(frames: Sequence[int]) -> list[int]:
    if len(frames) <= MOST_POSES:
        return list(frames)
    return [frames[int(i)] for i in np.linspace(0, len(frames) - 1, MOST_POSES).round()]
