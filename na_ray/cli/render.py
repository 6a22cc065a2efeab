"""The commands that look at an actor: na-ray render, evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from na_ray.cli.train import ProgressBar
from na_ray.config import AvatarName, parse_indices
from na_ray.config.values import UserError

if TYPE_CHECKING:  # torch and what reads videos take seconds to import: --help need not wait
    from na_ray.checkpoint import TrainedAvatar


@dataclass(frozen=True)
class Render:
    """Film an actor: the poses and texture maps of any capture, any camera."""

    actor: Positional[str]
    """A run's folder (runs/NAME), an actor's (runs/NAME/actor), a checkpoint's, or a model of MLflow: models:/lan/1,
    models:/lan@best."""
    capture: str
    """Capture that the poses and texture maps come from."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for the frames and films. Existing frames are kept."""
    split: str = "testing"
    """The motion."""
    frames: str = "all"
    """Frames of it: `0..40`, `3,7` or `all`."""
    textures: str | None = None
    """Texture maps to draw the actor with: `own`, the split's; `mean`, the mean of the training maps; or a folder of
    NNNNNN.png or an .avi, as na-ray predict-textures writes them. If not given: own, or mean where there are none."""
    camera: str = "orbit"
    """orbit, spiral, the position of a recorded camera (`3`), several to move between (`0,4,8`), or a JSON file
    of na-ray cameras or of nerfstudio."""
    views: tuple[Literal["color", "depth", "normals", "mesh"], ...] = ("color",)
    """What to show: color, depth, normals, and the textured mesh."""
    side_by_side: bool = False
    """Add a film of all views in a row."""
    size: int | None = None
    """Longer side of the pictures, pixels. As the camera says if not given."""
    fps: float = 25.0
    """Frames a second of the films."""
    supersample: int = 1
    """Rays a pixel, in each direction: 2 takes four times as long, and its edges are smooth."""
    avatar: AvatarName | None = None
    """Which of a run's avatars. The first of these that it has if not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""
    overwrite: bool = False
    """Replace existing frames."""

    def run(self) -> int:
        """Render."""
        from na_ray.capture.dataset import Capture
        from na_ray.capture.trajectory import along
        from na_ray.motion.direction import cameras_of_file
        from na_ray.motion.posed import SplitMotion
        from na_ray.motion.textures import choose_textures, told_textures
        from na_ray.render import Motion, render_sequence

        capture = Capture.open(self.capture)
        split = capture.split(self.split)
        frames = parse_indices(self.frames, split.num_frames, "--frames")
        if self.camera.lower().endswith(".json"):
            cameras = cameras_of_file(self.camera, SplitMotion(split, range(split.num_frames), self.fps), frames, None)
            cameras = cameras * (len(frames) if len(cameras) == 1 else 1)
        else:
            cameras = along(self.camera, split, frames)
        if self.size is not None:
            cameras = [c.fitted(self.size) for c in cameras]
        actor = _load(self.actor, self.avatar, self.device)
        textures = choose_textures(self.textures, actor, capture, split, frames)
        print(told_textures(textures, split))
        with ProgressBar("frames") as progress:
            films = render_sequence(
                actor,
                Motion(split, frames, textures),
                cameras,
                self.out,
                self.views,
                self.side_by_side,
                self.fps,
                self.overwrite,
                progress,
                self.supersample,
            )
        print("\n".join(f"wrote {film}" for film in films))
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Score an actor against photographs, beside the textured mesh."""

    actor: Positional[str]
    """A run's folder (runs/NAME), an actor's (runs/NAME/actor), a checkpoint's, or a model of MLflow: models:/lan/1,
    models:/lan@best."""
    capture: str
    """The capture to score on."""
    out: Annotated[Path | None, arg(name="output", aliases=["-o"])] = None
    """JSON file for the scores of every picture."""
    split: str = "testing"
    """The motion."""
    frames: str = "all"
    """Frames of it: `0..40`, `3,7` or `all`."""
    textures: str | None = None
    """Texture maps to draw the actor with: `own`, the split's; `mean`, the mean of the training maps; or a folder of
    NNNNNN.png or an .avi, as na-ray predict-textures writes them. If not given: own, or mean where there are none."""
    cameras: str = "all"
    """Cameras: `0..11` (the end is exclusive), `0,3,7` or `all`."""
    size: int | None = None
    """Longer side to score at, pixels. As the images are if not given."""
    supersample: int = 2
    """Rays a pixel, in each direction, of the avatar and of the textured mesh alike."""
    refined_poses: bool = False
    """Training frames in the poses that training learned (`splats.refine_poses`), of avatar and mesh alike. Not for
    comparisons with methods that take the poses as they are."""
    avatar: AvatarName | None = None
    """Which of a run's avatars. The first of these that it has if not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""
    overwrite: bool = False
    """Replace an existing score file."""

    def run(self) -> int:
        """Score."""
        from na_ray.capture.dataset import Capture
        from na_ray.evaluation.evaluate import evaluate
        from na_ray.motion.textures import choose_textures, told_textures

        if self.out is not None and self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists: name another file, or --overwrite")
        capture = Capture.open(self.capture)
        split = capture.split(self.split)
        frames = parse_indices(self.frames, split.num_frames, "--frames")
        cameras = parse_indices(self.cameras, len(split.cameras), "--cameras")
        small = split.cameras[cameras[0]].fitted(self.size) if self.size else split.cameras[cameras[0]]
        actor = _load(self.actor, self.avatar, self.device)
        textures = choose_textures(self.textures, actor, capture, split, frames)
        print(told_textures(textures, split))
        size = (small.height, small.width)
        with ProgressBar("pictures") as progress:
            scores = evaluate(
                actor,
                capture,
                self.split,
                frames,
                cameras,
                size,
                textures=textures,
                progress=progress,
                supersample=self.supersample,
                refined=self.refined_poses,
            )
        print(scores.table())
        if self.out is not None:
            scores.save(self.out)
        return 0


def _load(actor: str, avatar: AvatarName | None, device: Literal["auto", "cpu", "cuda"]) -> "TrainedAvatar":
    """Open an actor where it is, or fetch it from MLflow; says which checkpoint of a run it is."""
    from na_ray.actor import open_actor

    given = fetch(actor)
    found = open_actor(given)
    opened = found.avatar(avatar, chosen_device(device))
    if (folder := found.networks[opened.name]) != given:
        print(f"avatar: {opened.name}, {folder}")
    return opened


def fetch(actor: str) -> Path:
    """The folder of an actor: as it is named, or fetched from MLflow."""
    if actor.startswith(("models:/", "runs:/")):
        from na_ray.run.tracking.registry import resolve

        return resolve(actor)
    return Path(actor)


def chosen_device(device: Literal["auto", "cpu", "cuda"]) -> str:
    """auto: the GPU where there is one. Raises UserError where one is asked for and there is none."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device cuda: torch {torch.__version__} finds no GPU that it can use: choose auto, or cpu")
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
