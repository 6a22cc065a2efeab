"""Whole pictures and films of an actor: color, depth, normals, and the posed mesh with the same texture map.

A film is a folder a view with one PNG a frame, and an mp4 beside each folder. Every PNG carries a mark of the actor,
pose, texture and camera that it shows, so that a render that was interrupted goes on without mixing two films.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture import video
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Split
from na_ray.capture.image import Map, shrink_map
from na_ray.capture.rig import Pose
from na_ray.capture.textures import TextureSource
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.values import Progress, UserError
from na_ray.models.avatar import Frame
from na_ray.pictures import picture, png

View = Literal["color", "depth", "normals", "mesh"]
"""What a picture shows."""


def texture_map(actor: TrainedAvatar, texture: np.ndarray) -> Float[Tensor, "3 h w"]:
    """A decoded texture map as the actor takes it: [0, 1], on its device, shrunk to the side that it asks for."""
    values = shrink_map(texture, actor.model.texture_side) / np.float32(255)
    return torch.from_numpy(values).permute(2, 0, 1).to(actor.model.background)


@torch.no_grad()
def encode(actor: TrainedAvatar, pose: Pose, texture: np.ndarray, frame: int | None = None) -> Frame:
    """A pose and a decoded texture map (h, w, 3) uint8, made ready for any number of cameras.

    `frame`: the number of the training frame whose learned correction the pose gets, where the actor has one.
    """
    refined = None if frame is None else actor.model.refined(pose, frame)
    return actor.model.encode(refined or actor.model.body.pose(pose), texture_map(actor, texture))


class Motion(Sequence[tuple[Pose, np.ndarray]]):
    """Frames of a split, read one by one as they are asked for: the pose and the texture map (h, w, 3) uint8."""

    def __init__(
        self, split: Split, frames: Sequence[int] | None = None, textures: TextureSource | None = None
    ) -> None:
        """`frames`: positions in the split, in the order of the film; repeats freeze it. None: all.

        `textures`: texture maps to take instead of the split's own.
        """
        self.split = split
        self._given = textures
        self._maps: TextureSource = textures or split
        self.frames = range(split.num_frames) if frames is None else frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return Motion(self.split, self.frames[index], self._given)
        return self.split.pose(self.frames[index]), self._maps.texture(self.frames[index])


@dataclass(frozen=True, eq=False)
class FrameTask:
    """A frame that is to be drawn; one that is kept has no texture map."""

    index: int
    pose: Pose
    camera: Camera
    texture: Map | None


Draw = Callable[[Iterator[FrameTask]], Iterator[np.ndarray | None]]
"""Draws frames and gives their pictures in order, None for a frame without a texture map: it is kept."""


@runtime_checkable
class Drawer(Protocol):
    """Draws any frame, in any process."""

    def draw(self, pose: Pose, texture: np.ndarray, camera: Camera) -> UInt8[np.ndarray, "h w c"]:
        """The picture of a pose with a texture map (h, w, 3) uint8."""

    def on(self, device: str) -> "Drawer":
        """The same on another kind of device."""


DrawBy = Callable[[Drawer, Iterator[FrameTask]], Iterator[np.ndarray | None]]
"""Draws frames as `Draw` does, with a drawer that is given."""


def draw_here(drawer: Drawer, tasks: Iterator[FrameTask]) -> Iterator[np.ndarray | None]:
    """Draw frames in this process."""
    for task in tasks:
        yield None if task.texture is None else drawer.draw(task.pose, task.texture, task.camera)


@dataclass(frozen=True, eq=False)
class ViewsDrawer:
    """Draws the views of `render_frame` in a row."""

    actor: TrainedAvatar
    views: Sequence[View]
    supersample: int = 1

    def draw(self, pose: Pose, texture: np.ndarray, camera: Camera) -> UInt8[np.ndarray, "h w c"]:
        """The views from left to right, all of one size."""
        shown = render_frame(self.actor, pose, texture, camera, self.views, self.supersample)
        return picture.sheet(shown, len(shown))

    def on(self, device: str) -> "ViewsDrawer":
        """The same with its avatar on another kind of device."""
        return ViewsDrawer(self.actor.on(device), self.views, self.supersample)


def render_sequence(
    actor: TrainedAvatar,
    motion: Split | Sequence[tuple[Pose, np.ndarray]],
    cameras: Sequence[Camera],
    out: Path,
    views: Sequence[View] = get_args(View),
    side_by_side: bool = False,
    fps: float = 25.0,
    overwrite: bool = False,
    progress: Progress | None = None,
    supersample: int = 1,
    draw: DrawBy = draw_here,
    replace: bool = False,
) -> list[Path]:
    """Film a motion, one camera a frame: `out/<view>/NNNNNN.png` and `out/<view>.mp4`; returns the mp4 files.

    `motion` is a split, or poses and (h, w, 3) uint8 texture maps. A pixel is the mean of supersample x supersample
    rays, of the avatar and of the mesh alike. `side_by_side` adds a film of all views in a row. `draw`: who draws.
    Frames that are there are kept unless `overwrite`; with `replace`, unless they show something else. Raises UserError
    when the counts differ or a view does not exist, and FileExistsError when a frame in `out` shows something else.
    """
    frames = Motion(motion) if isinstance(motion, Split) else motion
    _check(frames, cameras, views)
    names = [*views, "side_by_side"] if side_by_side else [*views]
    weights = png.digest(*actor.model.state_dict().values())
    marks = list[str]()

    def files(index: int) -> list[Path]:
        return [out / name / f"{index:06d}.png" for name in names]

    def tasks() -> Iterator[FrameTask]:
        for i, camera in enumerate(cameras):
            pose, texture = frames[i]
            marks.append(png.digest(weights, *frame_facts(pose, camera), texture, np.array(supersample)))
            kept = not overwrite and _are_kept(files(i), marks[i], replace)
            yield FrameTask(i, pose, camera, None if kept else texture)

    for i, row in enumerate(draw(ViewsDrawer(actor, views, supersample), tasks())):
        if row is not None:
            pictures = np.split(row, len(views), axis=1)
            for file, shown in zip(files(i), [*pictures, row] if side_by_side else pictures, strict=True):
                png.write_png(file, np.ascontiguousarray(shown), marks[i])
        if progress:
            progress(i + 1, len(cameras))
    films = [(out / f"{name}.mp4", out / name) for name in names]
    return [write_film(film, folder, len(cameras), fps, png.digest(*marks, str(fps))) for film, folder in films]


def render_frame(
    actor: TrainedAvatar,
    pose: Pose,
    texture: np.ndarray,
    camera: Camera,
    views: Sequence[View] = get_args(View),
    supersample: int = 1,
) -> list[np.ndarray]:
    """The views (h, w, 3) uint8 of one frame through one camera, supersample x supersample rays a pixel.

    Depths are colored over the body's own range.
    """
    posed = actor.model.body.pose(pose)
    if set(views) - {"mesh"}:
        seen = actor.model.picture(encode(actor, pose, texture), camera, supersample)
    shown = []
    for view in views:
        if view == "color":
            values = seen.colors
        elif view == "depth":
            near, far = depth_range(posed, camera)
            values = picture.depth_colors(seen.depth, seen.transmittance, near, far)
        elif view == "normals":
            values = picture.normal_colors(seen.normals, seen.transmittance)
        else:
            values = mesh_view(actor, posed, texture, camera, supersample)
        shown.append(picture.to_uint8(values))
    return shown


def mesh_view(
    actor: TrainedAvatar, posed: PosedBody, texture: np.ndarray, camera: Camera, supersample: int
) -> Float[Tensor, "h w 3"]:
    """The posed mesh with the texture map as it is stored, RGB in [0, 1], over the actor's background."""
    surface = Surface(posed.body.faces, len(posed.vertices), posed.vertices.device)
    values = torch.from_numpy(np.array(texture)).to(posed.vertices) / 255
    color, _, coverage = textured_mesh(posed, values, camera, surface, supersample, background=0.0)
    background = torch.tensor(background_of(actor)).to(color)
    return color + (1 - coverage[..., None]) * background


def background_of(actor: TrainedAvatar) -> tuple[float, float, float]:
    """The color behind the actor, RGB in [0, 1]."""
    r, g, b = actor.config.data.background
    return (r + 1) / 2, (g + 1) / 2, (b + 1) / 2


def depth_range(posed: PosedBody, camera: Camera) -> tuple[float, float]:
    """Distances (m) of the body's nearest and farthest vertex from the camera."""
    distances = np.linalg.norm(posed.world_vertices.cpu().numpy() - camera.center, axis=1)
    return float(distances.min()), float(distances.max())


def _check(frames: Sequence[object], cameras: Sequence[Camera], views: Sequence[str]) -> None:
    unknown = [v for v in views if v not in get_args(View)]
    if unknown or not views:
        raise UserError(f"no view {', '.join(unknown) or 'given'}: choose among {', '.join(get_args(View))}")
    if len(frames) != len(cameras) or not len(cameras):
        raise UserError(f"{len(cameras)} cameras for {len(frames)} frames: a film needs one camera a frame")
    if len({(c.height, c.width) for c in cameras}) > 1:
        raise UserError("the cameras of a film differ in resolution: resize them to one (Camera.resized)")


def frame_facts(pose: Pose, camera: Camera) -> list[np.ndarray]:
    """What decides a frame beside the weights and the texture map."""
    size = np.array([camera.height, camera.width])
    return [pose.joints_RT, pose.rotation, pose.translation, camera.K, camera.T_world_camera, size]


def _are_kept(files: Sequence[Path], mark: str, replace: bool) -> bool:
    """Whether all of a frame's files are there. Raises FileExistsError when one of them shows something else, unless it
    may be replaced."""
    present = [file for file in files if file.is_file()]
    for file in present:
        if png.png_mark(file) != mark:
            if replace:
                return False
            raise FileExistsError(f"{file} shows another actor, pose or camera: name another folder, or overwrite")
    return len(present) == len(files)


def write_film(film: Path, folder: Path, count: int, fps: float, mark: str) -> Path:
    """Make the mp4 of a folder's first frames, unless it is there: its mark says of which frames, at which rate."""
    if not film.is_file() or video.mark_of(str(film)) != mark:
        with VideoWriter(str(film), fps, "h264", mark=mark) as writer:
            for i in range(count):
                frame = png.read_png(folder / f"{i:06d}.png")
                # Players want even sizes.
                writer.write(np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge"))
    return film
