"""The command that takes an actor to other programs: na-ray export."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from na_ray.cli.render import chosen_device, fetch
from na_ray.cli.train import ProgressBar
from na_ray.config import AvatarName, parse_indices
from na_ray.config.secrets import public
from na_ray.config.values import Progress, UserError

if TYPE_CHECKING:  # torch takes seconds to import: --help need not wait
    from na_ray.actor import Actor
    from na_ray.capture.dataset import Split
    from na_ray.capture.image import Map
    from na_ray.capture.rig import Pose
    from na_ray.models.gaussians import Gaussians
    from na_ray.motion.playable import PlayableMotion

HTML_POSES = 24
"""Poses of a page, where none are chosen."""


@dataclass(frozen=True)
class Export:
    """Take an actor to other programs: splats, a skinned mesh, a surface, or a page that needs no network."""

    actor: Positional[str]
    """A run's folder (runs/NAME), an actor's (runs/NAME/actor), a checkpoint's, or a model of MLflow: models:/lan/1,
    models:/lan@best."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """The file; for ply and mesh of several poses a folder, with a file for each."""
    format: Literal["ply", "glb", "mesh", "html"]
    """ply: 3D Gaussians, for splat viewers. glb: the textured body; of several poses it is skinned and animated. mesh:
    the surface of the NeRF, as a .ply with colored vertices. html: one page that turns the actor through its motion."""
    capture: str | None = None
    """Capture that the poses and own texture maps come from. The actor's training poses if not given."""
    split: str = "testing"
    """The motion in it."""
    motion: str | None = None
    """A motion's files instead, as na-ray animate takes them: .bvh, .npz, .json, a folder."""
    frames: str | None = None
    """Frames of the motion: `0..40`, `3,7` or `all`. If not given: the first for ply and mesh, all for glb, 24 in a row
    for html."""
    shape: str | None = None
    """Change the body's shape: numbers added to the person's shape coefficients, as --shape=1.5,0,-2, where the actor
    keeps the directions (`na-ray convert` of SMPL's models)."""
    textures: str = "mean"
    """`mean`, that of the training; `predicted` from the poses, where there is a predictor; `own`, the capture's; or a
    folder of NNNNNN.png or an .avi. A glb wears the first frame's."""
    avatar: AvatarName | None = None
    """Which of the actor's avatars. splats for ply and html, nerf for mesh."""
    resolution: int = 256
    """Of mesh: grid cells along the body's longest side."""
    threshold: float = 20.0
    """Of mesh: the density that is the surface, 1/m."""
    fps: float | None = None
    """Frames a second, for glb and html. Those of the motion if not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> int:
        """Export."""
        from na_ray.actor import open_actor

        if self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists: name another place, or --overwrite")
        if self.resolution < 8 or self.threshold <= 0 or (self.fps is not None and self.fps <= 0):
            raise UserError("--resolution must be 8 or more, --threshold and --fps more than 0")
        actor = open_actor(fetch(self.actor)).in_shape(self.shape)
        poses, textures, fps = self._motion(actor)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        write = {"ply": self._ply, "glb": self._glb, "mesh": self._mesh, "html": self._html}[self.format]
        with ProgressBar("poses") as progress:
            counted = _counted(zip(poses, textures, strict=True), len(poses), progress)
            written = write(actor, counted, len(poses), fps)
        print(f"wrote {written}: {_megabytes(written)}")
        return 0

    def _motion(self, actor: "Actor") -> tuple[Sequence["Pose"], "Iterator[Map]", float]:
        """The poses, the texture map of each, and frames a second; the user is told which these are."""
        from na_ray.capture.dataset import Capture

        split = None if self.capture is None else Capture.open(self.capture).split(self.split)
        clip = self._clip(actor, split)
        if clip.lines:
            print("\n".join(clip.lines))
        chosen = parse_indices(self.frames or self._default(clip.num_frames), clip.num_frames, "--frames")
        source = f"{clip.name} ({len(chosen)} of {clip.num_frames})"
        picked = [clip.pose(i) for i in chosen]
        if self.textures in ("mean", "predicted"):
            maps, worn = _made(actor, self.textures, picked, chosen_device(self.device))
        elif split is None:
            raise UserError(f"--textures {self.textures} belong to frames of a capture: name it, --capture PATH")
        else:
            from na_ray.capture.textures import Textures

            given = split if self.textures == "own" else Textures.open(self.textures, split, chosen)
            maps, worn = (given.texture(i) for i in chosen), public(self.textures)
        print(f"poses: {source}\ntexture maps: {worn}")
        return picked, maps, self.fps or clip.fps

    def _clip(self, actor: "Actor", split: "Split | None") -> "PlayableMotion":
        from na_ray.motion.playable import motion_clip, split_clip, training_clip

        if self.motion is not None:
            if split is not None:
                raise UserError("--capture and --motion are both given: choose one of them")
            return motion_clip(self.motion, actor)
        if split is None:
            return training_clip(actor)
        return split_clip(split, self.fps or actor.fps, actor.rig.num_joints, actor.reshaping)

    def _default(self, count: int) -> str:
        return {"ply": "0", "mesh": "0", "glb": "all", "html": f"0..{min(HTML_POSES, count)}"}[self.format]

    def _files(self, count: int) -> Iterator[Path]:
        if count == 1:
            yield self.out
            return
        self.out.mkdir(parents=True, exist_ok=True)
        yield from (self.out / f"{i:06d}.ply" for i in range(count))

    def _ply(self, actor: "Actor", motion: "Iterator[tuple[Pose, Map]]", count: int, fps: float) -> Path:
        from na_ray.export.ply import write_ply

        for file, (gaussians, origin) in zip(self._files(count), self._gaussians(actor, motion), strict=True):
            write_ply(file, gaussians, origin)
        return self.out

    def _html(self, actor: "Actor", motion: "Iterator[tuple[Pose, Map]]", count: int, fps: float) -> Path:
        from na_ray.export.actor_page import motion_page

        avatar = actor.avatar(self._splats(), chosen_device(self.device))
        self.out.write_text(motion_page(actor, avatar, motion, fps), encoding="utf-8")
        return self.out

    def _splats(self) -> AvatarName:
        if self.avatar == "nerf":
            raise UserError(f"--format {self.format} holds splats, and the NeRF has none: leave --avatar out")
        return "splats"

    def _gaussians(self, actor: "Actor", motion: "Iterator[tuple[Pose, Map]]") -> "Iterator[tuple[Gaussians, Any]]":
        from na_ray.export.actor_page import gaussians_of

        avatar = actor.avatar(self._splats(), chosen_device(self.device))
        return (gaussians_of(avatar, pose, texture) for pose, texture in motion)

    def _glb(self, actor: "Actor", motion: "Iterator[tuple[Pose, Map]]", count: int, fps: float) -> Path:
        from na_ray.export.glb import write_glb

        pairs = list(motion)
        write_glb(self.out, actor.rig, [pose for pose, _ in pairs], pairs[0][1], fps, actor.up)
        return self.out

    def _mesh(self, actor: "Actor", motion: "Iterator[tuple[Pose, Map]]", count: int, fps: float) -> Path:
        from na_ray.export.surface import nerf_surface

        if self.avatar == "splats":
            raise UserError("--format mesh is the surface of the NeRF, and splats have none: leave --avatar out")
        avatar = actor.avatar("nerf", chosen_device(self.device))
        for file, (pose, texture) in zip(self._files(count), motion, strict=True):
            nerf_surface(avatar, pose, texture, self.resolution, self.threshold).export(file, file_type="ply")
        return self.out


def _made(actor: "Actor", kind: str, poses: Sequence["Pose"], device: str) -> "tuple[Iterator[Map], str]":
    """The mean map for each pose, or maps predicted from them."""
    from na_ray.motion.predict import maps_of_poses

    if kind == "mean":
        mean = actor.mean_texture()
        return iter([mean] * len(poses)), "mean, of the training maps"
    predictor = actor.predictor(device)
    if predictor is None:
        raise UserError(f"{actor.folder} has no texture predictor: leave --textures out, for the mean map")
    return maps_of_poses(predictor, poses), "predicted from the poses"


def _counted(motion: "Iterator[tuple[Pose, Map]]", total: int, progress: Progress) -> "Iterator[tuple[Pose, Map]]":
    for done, item in enumerate(motion, 1):
        yield item
        progress(done, total)


def _megabytes(path: Path) -> str:
    files = [path] if path.is_file() else list(path.iterdir())
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
