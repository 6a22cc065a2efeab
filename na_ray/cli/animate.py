"""The command that drives an actor: na-ray animate."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from na_ray.cli.render import chosen_device, fetch
from na_ray.cli.train import ProgressBar
from na_ray.config import AvatarName, parse_indices
from na_ray.config.values import UserError

if TYPE_CHECKING:  # torch takes seconds to import: --help need not wait
    from na_ray.motion.animate import Draw, Film, FilmResult
    from na_ray.motion.drawing import FrameDrawer
    from na_ray.motion.retarget import Placing


@dataclass(frozen=True)
class Animate:
    """Film an actor in any motion: poses, texture maps, frames and the film in one go."""

    actor: Positional[str]
    """An actor's folder (runs/NAME/actor), a run's, a checkpoint, or an MLflow URI as models:/lan@best."""
    motion: Annotated[str, arg(aliases=["-m"])]
    """CAPTURE/SPLIT, a folder or zip of transform/*.json, EasyMocap's smpl folder, an AMASS or SMPL-X .npz,
    text-to-motion .json, or a .bvh."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """OUT.mp4; OUT.mov, which is lossless and may be transparent; or a folder for the frames. An interrupted film goes
    on."""
    camera: str = "still"
    """still (three quarters, holds the whole motion), orbit, spiral, a JSON of na-ray cameras or of nerfstudio, or a
    recorded camera of the capture (`3`; `0,4,8` to move between several)."""
    size: int | None = None
    """Longer side of the pictures, pixels. 512 if not given, or as a camera of a file says."""
    avatar: AvatarName | None = None
    """Which of a run's avatars: splats, or else nerf, if not given."""
    textures: str | None = None
    """predicted from the poses, own (a capture's motion alone), mean of the training, or a folder or .avi of maps.
    If not given: predicted where the run has a predictor, else mean."""
    views: tuple[Literal["color", "depth", "normals", "mesh"], ...] = ("color",)
    """What to show, from left to right."""
    background: str | None = None
    """white, black, gray, green or #rrggbb. The avatar's own if not given."""
    transparent: bool = False
    """Leave the background out: OUT.mov, or a folder of PNG pictures."""
    frames: str = "all"
    """Frames of the motion, once it has the frame rate of the film: `0..40`, `3,7` or `all`."""
    fps: float = 25.0
    """Frames a second of the film; the motion is brought to it."""
    motion_fps: float | None = None
    """Frames a second of the motion, where its files do not say or say it wrongly. As the film's if not given."""
    unit: float | None = None
    """Metres a unit of the motion's file. By the length of the legs if not given."""
    up: str | None = None
    """Axis of the motion's file that points to the sky: y, z, -y ... As the body stands at first if not given."""
    joints: Path | None = None
    """JSON file of the motion's joints and the actor's, {"THEIRS": "OURS", ...}, where names do not tell."""
    rest: Literal["auto", "smpl", "actor"] = "auto"
    """What zero rotations of SMPL's files stand for: its T pose, or the actor's rest. auto: the actor's if it is a T
    pose."""
    project: float | None = None
    """Pull poses that are farther than so many degrees from the training poses (mean over the joints) that near."""
    shape: str | None = None
    """Change the body's shape: numbers added to the person's shape coefficients, as --shape=1.5,0,-2, where the actor
    keeps the directions (`na-ray convert` of SMPL's models)."""
    show_distance: bool = False
    """Draw each frame's distance from the training poses under it."""
    supersample: int = 1
    """Rays a pixel, in each direction."""
    capture: str | None = None
    """The capture the actor was trained on, for what its folder does not keep: recorded cameras, and
    a checkpoint's poses."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw."""
    workers: int = 0
    """Draw on so many of Ray's workers. 0: in this process, without Ray."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> int:
        """Film."""
        from na_ray.motion.animate import animate

        for name, value in (("--fps", self.fps), ("--motion-fps", self.motion_fps), ("--unit", self.unit)):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{name} is {value:g}: expected a positive number")
        if self.workers < 0 or self.supersample < 1 or (self.size is not None and self.size < 1):
            raise UserError("--workers must be 0 or more, --supersample and --size 1 or more")
        if self.out.suffix and self.out.is_dir():
            raise UserError(f"{self.out}: is a folder: name a film, or a folder without an ending")
        film = self._film()
        with ProgressBar("frames") as progress:
            result = animate(film, self.out, self._draw(film.drawer), self.overwrite, progress)
        print(_summary(result))
        return 0

    def _film(self) -> "Film":
        """Everything that the film is made of; what the user should know of it is printed."""
        from na_ray.actor import open_actor
        from na_ray.motion.animate import Film
        from na_ray.motion.direction import choose_cameras, choose_film_textures, trained_poses, training_capture
        from na_ray.motion.drawing import FrameDrawer, parse_color
        from na_ray.motion.posed import SplitMotion
        from na_ray.motion.reshaped import ReshapedMotion
        from na_ray.motion.sources import Reading, open_motion

        background = None if self.background is None else parse_color(self.background)
        device = "cpu" if self.workers else chosen_device(self.device)
        place = open_actor(fetch(self.actor)).in_shape(self.shape)
        # Splats where there are any: they are drawn a hundred times as fast.
        actor = place.avatar(self.avatar or ("splats" if "splats" in place.networks else None), device)
        print(f"avatar: {actor.name}, {place.networks[actor.name]}")
        config, rig = actor.config, place.rig
        keeps = (place.folder / "poses.npz").is_file() and (self.capture is None or self.shape is not None)
        capture = None if keeps else training_capture(config, rig, self.capture)
        trained = trained_poses(place, config, capture)
        motion = open_motion(self.motion, trained, rig, Reading(self.fps, self.motion_fps, self.rest, self._placing()))
        if place.reshaping is not None and isinstance(motion.poses, SplitMotion):
            motion = replace(motion, poses=ReshapedMotion(motion.poses, place.reshaping))
        frames = parse_indices(self.frames, motion.poses.num_frames, "--frames")
        filmed = motion.filmed or (None if capture is None else capture.split(config.data.train_split))
        cameras = choose_cameras(self.camera, motion.poses, frames, trained, self.size, filmed)
        predictor = place.predictor(device) if self.textures in (None, "predicted") else None
        textures = choose_film_textures(self.textures, actor, predictor, capture, motion, frames)
        print("\n".join([*motion.lines, textures.told]))
        drawer = FrameDrawer(actor, self.views, background, self.transparent, self.supersample)
        return Film(
            drawer, motion.poses, frames, cameras, textures, trained, self.fps, self.show_distance, self.project
        )

    def _placing(self) -> "Placing":
        from na_ray.motion.retarget import Placing

        return Placing(self.unit, self.up, None if self.joints is None else _read_joints(self.joints))

    def _draw(self, drawer: "FrameDrawer") -> "Draw | None":
        if not self.workers:
            return None
        from na_ray.run.animation import draw_on_ray

        return partial(draw_on_ray, drawer, self.workers, self.device)


def _read_joints(path: Path) -> dict[str, str]:
    """The map of joints that a user wrote."""
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: unreadable JSON ({error}): mend it") from None
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()) or not values:
        raise UserError(f'{path}: expected an object {{"THEIRS": "OURS", ...}} of joints\' names')
    return values


def _summary(result: "FilmResult") -> str:
    """What was made, in lines."""
    kept = f" ({result.kept} frames were there)" if result.kept else ""
    lines = [f"wrote {result.path}: {result.drawn} frames drawn{kept}"]
    if result.distances:
        far = max(range(len(result.distances)), key=lambda i: result.distances[i])
        mean = sum(result.distances) / len(result.distances)
        lines.append(
            f"distance from the training poses: mean {mean:.1f} degrees, "
            f"at most {result.distances[far]:.1f} (frame {far}); "
            f"each frame's is in {result.path.stem}.distances.csv"
        )
    return "\n".join(lines)
