"""Look at a capture before hours of training: what it holds, and what is wrong with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from na_ray import picture
from na_ray.capture import storage, video
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.defects import find_defects
from na_ray.sheets import contact_sheet, overlay

_T = TypeVar("_T")


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found."""

    lines: list[str]
    """What the capture holds."""
    defects: list[str]
    """What is wrong with it, one line each; empty for a sound capture."""
    pictures: list[Path]
    """Sheets that were written."""

    def text(self) -> str:
        """Everything as text."""
        found = [f"defect   {line}" for line in self.defects] or ["defects  none"]
        return "\n".join([*self.lines, *(f"picture  {path}" for path in self.pictures), *found])


def inspect(path: str, out: Path | None = None, frames: int = 4, overwrite: bool = False) -> Inspection:
    """Describe the capture at `path` (folder or URL), find its defects and, with `out`, draw its sheets there.

    Writes `contact_sheet.png` and `overlay.png` of `frames` frames a split. Raises FileExistsError when they exist,
    unless `overwrite`. A defect is no exception: it is in the result.
    """
    targets = [] if out is None else [out / "contact_sheet.png", out / "overlay.png"]
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists: name another folder, or overwrite")
    defects = find_defects(path)
    problems: list[str] = []
    lines: list[str] = []
    capture = _attempt(partial(Capture.open, path), problems)
    pictures: list[Path] = []
    if capture is not None:
        lines = list(_describe(capture, problems))
        for target, draw in zip(targets, (contact_sheet, overlay), strict=False):
            sheet = _attempt(partial(draw, capture, frames), problems)
            if sheet is not None:
                picture.write_png(target, sheet)
                pictures.append(target)
    # What stopped the description is a defect, too; `find_defects` has said it better where it said anything.
    return Inspection(lines, defects or list(dict.fromkeys(problems)), pictures)


def _attempt(make: Callable[[], _T], problems: list[str]) -> _T | None:
    """What `make` returns; None, with the reason among the problems, when the capture does not allow it."""
    try:
        return make()
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return None


def _describe(capture: Capture, problems: list[str]) -> Iterator[str]:
    """What the capture holds, a line a part."""
    size = _bytes_below(capture.path)
    yield f"capture  {capture.path}" + (f", {size / 1e6:.1f} MB" if size else "")
    yield _attempt(partial(_describe_body, capture), problems) or "body     not readable"
    for name in capture.splits:
        split = _attempt(partial(capture.split, name), problems)
        if split is None:
            yield f"{name:<9}not readable"
            continue
        yield f"{name:<9}{_frame_range(split)}, {split.files.kind} layout"
        for part in (_describe_cameras, _describe_images, _describe_maps):
            line = _attempt(partial(part, split), problems)
            if line:
                yield f"  {line}"


def _describe_body(capture: Capture) -> str:
    rig = capture.rig
    height = float(np.ptp(rig.vertices, axis=0).max())
    parts = (
        f"{len(rig.vertices)} vertices",
        f"{len(rig.faces)} faces",
        f"{len(rig.uv)} texture coordinates",
        f"{rig.num_joints} joints",
        f"{height:.2f} m long in its canonical pose",
    )
    return "body     " + ", ".join(parts)


def _frame_range(split: Split) -> str:
    numbers = split.frames
    return f"{len(numbers)} frames ({numbers[0]}..{numbers[-1]})"


def _describe_cameras(split: Split) -> str:
    cameras = split.cameras
    if not cameras:
        return "cameras  none"
    sizes = sorted({f"{c.width}x{c.height}" for c in cameras})
    focal = [c.K[0, 0] for c in cameras]
    root = split.pose(0).translation
    distances = [np.linalg.norm(c.center - root) for c in cameras]
    return (
        f"cameras  {len(cameras)} ({cameras[0].name}..{cameras[-1].name}), {', '.join(sizes)} px, "
        f"focal length {min(focal):.0f}..{max(focal):.0f} px, "
        f"{min(distances):.2f}..{max(distances):.2f} m from the body"
    )


def _describe_images(split: Split) -> str | None:
    videos = [v for v in (split.video(c) for c in range(len(split.cameras))) if v is not None]
    if videos:
        return "images   " + _describe_videos(videos)
    return "images   one file a frame and camera" if split.cameras else None


def _describe_maps(split: Split) -> str:
    found = []
    for what, source, pictures in (
        ("texture", split.texture_video, split.files.texture),
        ("normal", split.normal_video, split.files.normal),
    ):
        if source is not None:
            found.append(f"{what} {_describe_videos([source])}")
        else:
            found.append(f"{what} {'one file a frame' if pictures is not None else 'none'}")
    return "maps     " + "; ".join(found)


def _describe_videos(paths: list[str]) -> str:
    """Frames, size, codec, rate, time span and bytes of videos that should be alike."""
    infos = [video.probe(path) for path in paths]
    kinds = sorted({f"{i.codec} {i.width}x{i.height}, {i.fps:g} fps, {i.duration:.2f} s" for i in infos})
    counts = sorted({i.num_frames for i in infos})
    frames = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}..{counts[-1]}"
    return f"{' / '.join(kinds)}, {frames} frames, {sum(i.size for i in infos) / 1e6:.1f} MB"


def _bytes_below(path: str) -> int:
    """Bytes of all files in a folder of this machine; 0 for a URL, whose store may hold millions."""
    if storage.is_url(path):
        return 0
    return sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file())
