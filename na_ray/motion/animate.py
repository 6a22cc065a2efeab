"""A film of an actor in any motion: poses, texture maps, frames and the film, one after the other, never all at once.

Frames lie in a folder until the film is whole, so that a program that was killed goes on where it stopped, with the
same film to the bit. What is in memory does not grow with the motion, but for the motion's own numbers.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from na_ray.capture import video
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.capture.video import VideoWriter
from na_ray.config.values import Progress, UserError
from na_ray.motion.drawing import FrameDrawer
from na_ray.motion.film_textures import FilmTextures
from na_ray.motion.frame_store import FrameStore
from na_ray.motion.posed import PoseSource, make_pose
from na_ray.motion.trained_poses import TrainedPoses
from na_ray.pictures import png
from na_ray.render import Draw, FrameTask, draw_here

FAR = 45.0
"""Degrees at which the bar under the film is full."""

STRIP = 20
"""Height of the strip with the distance, pixels."""


@dataclass(frozen=True, eq=False)
class Film:
    """What is filmed."""

    drawer: FrameDrawer
    poses: PoseSource
    frames: Sequence[int]
    """Which of the poses, in order."""
    cameras: Sequence[Camera]
    """One a frame, or one for all."""
    textures: FilmTextures
    trained: TrainedPoses
    fps: float
    show_distance: bool = False
    """Draw each frame's distance from the training poses under it."""
    project: float | None = None
    """Poses farther than so many degrees are pulled that near to the training poses."""

    def pose(self, index: int) -> Pose:
        """The pose of a frame of the film."""
        pose = self.poses.pose(self.frames[index])
        if self.project is None or self.trained.distance(pose)[0] <= self.project:
            return pose
        root = self.trained.skeleton.parents.index(-1)
        return make_pose(self.trained.skeleton, self.trained.pulled(pose, self.project), pose.joints[root])

    def camera(self, index: int) -> Camera:
        """The camera of a frame of the film."""
        return self.cameras[index if len(self.cameras) > 1 else 0]

    @property
    def identity(self) -> dict[str, str]:
        """What decides every frame of the film, by name."""
        drawer = self.drawer
        how = (
            drawer.views,
            drawer.background,
            drawer.transparent,
            drawer.supersample,
            self.show_distance,
            self.project,
        )
        lenses = [a for c in self.cameras for a in (c.K, c.T_world_camera, np.array([c.height, c.width]))]
        return {
            "actor": png.digest(*drawer.actor.model.state_dict().values()),
            "motion": png.digest(self.poses.identity, np.array(self.frames)),
            "cameras": png.digest(*lenses),
            "texture maps": self.textures.identity,
            "options": " ".join(map(str, how)),
        }


@dataclass(frozen=True, eq=False)
class FilmResult:
    """What was made."""

    path: Path
    """The film, or the folder of its frames."""
    drawn: int
    """Frames that were not there."""
    kept: int
    distances: Sequence[float]
    """Of each frame from the training poses, degrees."""


def animate(
    film: Film, out: Path, draw: Draw | None = None, overwrite: bool = False, progress: Progress | None = None
) -> FilmResult:
    """Make a film: `out` ends in .mp4 (H.264) or .mov (lossless, and the one that keeps transparency), or is a folder.

    `draw`: who draws; None: this process. Frames are kept in `out` without its ending + `.frames` until the film is
    whole; a film that is there is kept. Raises UserError or FileExistsError, one line, for a film that is another's.
    """
    check_out(film, out)
    identity = film.identity
    mark = png.digest(*identity.values(), str(film.fps))
    folder = out.with_name(f"{out.stem}.frames") if out.suffix else out
    with FrameStore(folder, identity, overwrite, film.drawer.transparent) as store:
        if out.suffix and out.is_file() and not overwrite:
            store.remove_empty()
            if video.mark_of(str(out)) != mark:
                raise FileExistsError(
                    f"{out} is another film, or has another frame rate: name another one, or --overwrite"
                )
            return FilmResult(out, 0, len(film.frames), [])
        pictures = _pictures(film, store, draw or (lambda tasks: draw_here(film.drawer, tasks)), mark)
        if out.suffix:
            drawn, distances = _write_film(film, out, pictures, mark, progress)
            store.remove()
        else:
            drawn, distances = _count(film, pictures, progress)
            store.tidy()
    _write_distances(out, film, distances)
    return FilmResult(out, drawn, len(film.frames) - drawn, distances)


def check_out(film: Film, out: Path) -> None:
    """Refuse, in one line, a film that cannot be written as it is asked for."""
    if out.suffix not in ("", ".mp4", ".mov"):
        raise UserError(f"{out}: no film ends in {out.suffix}: expected .mp4, .mov, or a folder for its frames")
    if film.drawer.transparent and out.suffix == ".mp4":
        raise UserError(f"{out}: an .mp4 keeps no transparency: name a .mov, or a folder for PNG pictures")
    if len(film.cameras) not in (1, len(film.frames)):
        found = f"{len(film.cameras)} cameras for {len(film.frames)} frames"
        raise UserError(f"{found}: give one, or one a frame (na-ray cameras --num-frames {len(film.frames)})")
    if len({(c.height, c.width) for c in film.cameras}) > 1:
        raise UserError("the cameras differ in resolution: give --size")


def _pictures(film: Film, store: FrameStore, draw: Draw, mark: str) -> Iterator[tuple[np.ndarray, float, bool]]:
    """(picture, degrees from the training poses, whether it was drawn now) of each frame, when it is kept."""
    kept = [store.is_kept(index, mark) for index in range(len(film.frames))]
    textures = film.textures.maps(film.pose, kept, store)
    degrees: dict[int, float] = {}

    def tasks() -> Iterator[FrameTask]:
        for index, texture in enumerate(textures):
            pose = film.pose(index)
            degrees[index] = film.trained.distance(pose)[0]
            yield FrameTask(index, pose, film.camera(index), None if kept[index] else texture)

    for index, picture in enumerate(draw(tasks())):
        distance = degrees.pop(index)
        if picture is not None:
            picture = _with_distance(picture, index, distance) if film.show_distance else picture
            store.write(index, picture, mark)
        store.passed(index)
        yield store.read(index) if picture is None else picture, distance, picture is not None


def _write_film(
    film: Film, out: Path, pictures: Iterator[tuple[np.ndarray, float, bool]], mark: str, progress: Progress | None
) -> tuple[int, list[float]]:
    """Encode the frames as they come; returns how many were drawn, and their distances."""
    drawn, distances = 0, list[float]()
    with VideoWriter(out, film.fps, "h264" if out.suffix == ".mp4" else "png", mark=mark) as writer:
        for picture, distance, is_new in pictures:
            # Players want even sizes.
            height, width = picture.shape[:2]
            writer.write(np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
            drawn += is_new
            distances.append(distance)
            if progress:
                progress(len(distances), len(film.frames))
    return drawn, distances


def _count(
    film: Film, pictures: Iterator[tuple[np.ndarray, float, bool]], progress: Progress | None
) -> tuple[int, list[float]]:
    """The same where the frames are the film."""
    drawn, distances = 0, list[float]()
    for _, distance, is_new in pictures:
        drawn += is_new
        distances.append(distance)
        if progress:
            progress(len(distances), len(film.frames))
    return drawn, distances


def _with_distance(picture: np.ndarray, index: int, degrees: float) -> np.ndarray:
    """The picture with its distance from the training poses under it, as a bar and in words."""
    width = picture.shape[1]
    strip = Image.new("RGB", (width, STRIP), "white")
    pen, share = ImageDraw.Draw(strip), min(degrees / FAR, 1.0)
    color = (int(255 * share), int(180 * (1 - share)), 60)
    pen.rectangle((0, STRIP - 4, int(share * (width - 1)), STRIP - 1), fill=color)
    pen.text((3, 2), f"frame {index}: {degrees:.1f} degrees from the training", fill="black")
    shown = np.asarray(strip)
    if picture.shape[2] == 4:
        shown = np.concatenate([shown, np.full((STRIP, width, 1), 255, np.uint8)], axis=2)
    return np.concatenate([picture, shown])


def _write_distances(out: Path, film: Film, distances: Sequence[float]) -> None:
    """A line a frame beside the film: its number in the motion, its time and its distance."""
    path = out.with_name(f"{out.stem}.distances.csv")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "seconds", "degrees_from_training"])
        for i, degrees in enumerate(distances):
            writer.writerow([film.frames[i], f"{i / film.fps:.4f}", f"{degrees:.3f}"])
    os.replace(aside, path)
