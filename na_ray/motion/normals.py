"""Normal maps of a motion, drawn from its poses alone: what the texture predictor sees.

They are published as `normal_*.avi` or `normal/NNNNNN.png`: world normals as n / 2 + 0.5 with R, G, B = z, y, x, on
512 x 512 texels, white where no face is (`Atlas.normal_map`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture import video
from na_ray.capture.dataset import Split
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose
from na_ray.capture.video import VideoWriter
from na_ray.config.values import Progress, UserError
from na_ray.pictures import png

Format = Literal["png", "avi"]
"""A folder of pictures, lossless; or a video in motion JPEG, as published."""

SIZE = 512
"""Side of the published maps, texels."""


def draw_normals(atlas: Atlas, split: Split, frames: Sequence[int]) -> Iterator[Map]:
    """The normal maps of a split's frames (positions). Raises UserError, one line, for a pose of another body."""
    for position in frames:
        yield _draw(atlas, split, split.pose(position), position)


def _draw(atlas: Atlas, split: Split, pose: Pose, position: int) -> Map:
    try:
        posed = atlas.body.pose(pose)
    except UserError as error:
        raise UserError(f"{split.files.transforms.path(split.frames[position])}: {error}") from None
    return atlas.normal_map(posed).cpu().numpy()


def write_normals(
    split: Split,
    out: Path,
    frames: Sequence[int] | None = None,
    size: int = SIZE,
    form: Format = "png",
    overwrite: bool = False,
    fps: float = 25.0,
    progress: Progress | None = None,
) -> Path:
    """Draw the normal maps of a split's `frames` (positions; None: all) as `out/normal/NNNNNN.png`, the frame's number,
    or as `out/normal.avi`. Returns the folder or the video.

    Poses and body are all that is read. Existing pictures, or the video, are kept unless `overwrite`; those that
    show something else raise FileExistsError. Raises UserError for a video of frames that do not start at the first:
    a video's frame i belongs to position i.
    """
    frames = range(split.num_frames) if frames is None else frames
    check_frames(frames, form)
    atlas = Atlas(Body.from_rig(split.rig), size)
    fixed = png.digest(*(array for array in vars(split.rig).values()), str(size))
    if form == "avi":
        return _write_video(split, atlas, fixed, out / "normal.avi", frames, overwrite, fps, progress)
    folder = out / "normal"
    for done, position in enumerate(frames, 1):
        pose, file = split.pose(position), folder / f"{split.frames[position]:06d}.png"
        mark = _mark(fixed, pose)
        if overwrite or not png.is_kept(file, mark, "shows another pose, body or size"):
            png.write_png(file, _draw(atlas, split, pose, position), mark, fast=True)
        if progress:
            progress(done, len(frames))
    return folder


def check_frames(frames: Sequence[int], form: Format) -> None:
    """Refuse a video of frames whose positions in it would be others than in the split."""
    if form == "avi" and list(frames) != list(range(len(frames))):
        raise UserError("a video's first frame is the motion's first: choose frames 0..N, or the format png")


def _mark(fixed: str, pose: Pose) -> str:
    """What decides a normal map, in short."""
    return png.digest(fixed, pose.joints_RT, pose.rotation, pose.translation)


def _write_video(
    split: Split,
    atlas: Atlas,
    fixed: str,
    path: Path,
    frames: Sequence[int],
    overwrite: bool,
    fps: float,
    progress: Progress | None,
) -> Path:
    mark = png.digest(*(_mark(fixed, split.pose(position)) for position in frames), str(fps))
    if path.is_file() and not overwrite:
        return keep_video(path, mark, "shows other poses, another body or size, or has another frame rate")
    with VideoWriter(path, fps, mark=mark) as film:
        for done, normal in enumerate(draw_normals(atlas, split, frames), 1):
            film.write(normal)
            if progress:
                progress(done, len(frames))
    return path


def keep_video(path: Path, mark: str, what: str) -> Path:
    """The video, which is there. Raises FileExistsError when it is `what` it should not be: made of something else."""
    if video.mark_of(str(path)) != mark:
        raise FileExistsError(f"{path} {what}: name another folder, or --overwrite")
    return path
