"""Write the extracted layout (one picture per frame and camera) from the raw one (videos and transform.zip).

Frame f of the videos is named f in every folder of the output, whatever the range. Every file is written aside and
renamed, so what is there is complete, and a run that was cut short continues where it stopped.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from na_ray.capture import video
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import (
    BODY_FILES,
    CAMERA_TO_WORLD,
    INTRINSICS,
    WORLD_TO_CAMERA,
    find_calibration,
    find_file,
)
from na_ray.capture.storage import basename, is_url, parent, read_bytes
from na_ray.capture.storage.archive import leaving_members
from na_ray.config.values import Progress, UserError

# Says what a folder was extracted from: only its own extraction may continue in it.
MARK = ".extracted.json"
OURS = ("transform", "rgb", "tex", "normal", *INTRINSICS, *WORLD_TO_CAMERA, *CAMERA_TO_WORLD)
# Pictures encoded side by side; decoding waits for them, which bounds the memory.
ENCODERS = 4


def extract(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    start: int = 0,
    stop: int | None = None,
    cameras: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Extract the frames start..stop (exclusive; None: all) of a raw split into the folder `out`.

    `cameras` are positions in the split's cameras. Pictures that are there already are kept, if they are of the same
    source; `progress` is called with (pictures done, pictures in all). Raises FileExistsError when `out` holds anything
    else and `overwrite` is not set, UserError when the source is broken or the range does not exist.
    """
    split = _open_raw(os.fspath(source))
    stop = split.num_frames if stop is None else stop
    if not 0 <= start < stop <= split.num_frames:
        expected = f"expected a range within 0..{split.num_frames}, the end exclusive"
        raise UserError(f"{source}: frames {start}..{stop} do not exist; {expected}")
    chosen = list(range(len(split.camera_files))) if cameras is None else list(cameras)
    streams = _streams(split, chosen)
    _check_source(split, [path for path, _ in streams])
    folder = _prepare(Path(out), split, overwrite)
    _copy_static(split, folder)
    for position in range(start, stop):
        if not (path := folder / "transform" / f"{position:06d}.json").exists():
            _write(path, split.read_transform(position))
    total, done = len(streams) * (stop - start), 0
    with ThreadPoolExecutor(ENCODERS) as pool:
        for source_video, pattern in streams:
            for _ in _extract_video(pool, source_video, folder, pattern, range(start, stop)):
                done += 1
                if progress:
                    progress(done, total)
    _verify(folder, range(start, stop), [pattern for _, pattern in streams])
    return folder


def _open_raw(source: str) -> Split:
    capture = Capture.open(source)
    if len(capture.splits) != 1 or capture.folders[capture.splits[0]].rstrip("/") != source.rstrip("/"):
        raise UserError(f"{source}: a capture with splits {', '.join(capture.splits)}; expected one: name its folder")
    split = capture.split(capture.splits[0])
    if split.files.kind != "raw":
        raise UserError(f"{source}: holds no rgb_video/; expected a split in the raw layout")
    if split.files.transforms.archive and (bad := leaving_members(split.files.transforms.folder)):
        expected = "expected names within the archive: do not unpack it, get another copy"
        raise UserError(f"{split.files.transforms.folder}: member {bad[0]!r} leaves its folder; {expected}")
    return split


def _streams(split: Split, cameras: Sequence[int]) -> list[tuple[str, str]]:
    """(video, pattern of its pictures' names) of the cameras and the maps."""
    streams = []
    for camera in cameras:
        path = split.video(camera)
        assert path is not None
        streams.append((path, f"rgb/{{:06d}}/{split.camera_files[camera].number:04d}.png"))
    maps = ((split.texture_video, "tex"), (split.normal_video, "normal"))
    return streams + [(path, f"{what}/{{:06d}}.png") for path, what in maps if path is not None]


def _check_source(split: Split, paths: Iterable[str]) -> None:
    """All videos must have a frame for every transform: a shifted picture is worse than none."""
    for path in paths:
        info = video.survey(path)
        if info.num_frames < info.declared_frames:
            found = f"truncated: {info.num_frames} of {info.declared_frames} frames are there"
            raise UserError(f"{path}: {found}; expected all: copy the file again")
        if info.num_frames != split.num_frames:
            expected = f"expected {split.num_frames}, as {basename(split.files.transforms.folder)} has"
            raise UserError(f"{path}: {info.num_frames} frames; {expected}: encode or copy it again")


def _prepare(out: Path, split: Split, overwrite: bool) -> Path:
    """Make the folder, or see that what is in it may be continued."""
    source = split.files.folder if is_url(split.files.folder) else os.path.abspath(split.files.folder)
    mark = json.dumps({"source": source, "frames": split.num_frames})
    there = sorted(os.listdir(out)) if out.is_dir() else []
    if out.is_file() or "rgb_video" in there or "transform.zip" in there:
        raise FileExistsError(f"{out}: no folder for extracted frames: choose another one")
    ours = (out / MARK).read_text() if (out / MARK).is_file() else None
    if there and ours != mark and not overwrite:
        held = "frames of another source" if ours else f"other files ({', '.join(there[:4])})"
        raise FileExistsError(f"{out}: holds {held}; choose another folder, or pass --overwrite")
    if overwrite:
        # Frames of another source among the new ones would go unnoticed.
        for name in there:
            if name in OURS:
                shutil.rmtree(out / name)
            elif name in BODY_FILES:
                (out / name).unlink()
    _write(out / MARK, mark.encode())
    return out


def _copy_static(split: Split, folder: Path) -> None:
    """The body and the calibration, so that the folder can be opened by itself."""
    for name in BODY_FILES:
        _copy(find_file((split.files.folder, split.files.root), name), folder / name)
    inverse = find_calibration(split.files, WORLD_TO_CAMERA, required=False)
    for files in (find_calibration(split.files, INTRINSICS), inverse or find_calibration(split.files, CAMERA_TO_WORLD)):
        for number, path in files.items():
            place = folder if number == -1 else folder / basename(parent(path))
            _copy(path, place / basename(path))


def _copy(source: str, path: Path) -> None:
    """Copy a file, unless it is there already."""
    if not path.exists():
        _write(path, read_bytes(source))


def _extract_video(pool: ThreadPoolExecutor, path: str, folder: Path, pattern: str, frames: range) -> Iterator[Path]:
    """Write the pictures of a video that are not there yet; yields one path a frame."""
    missing = [f for f in frames if not (folder / pattern.format(f)).exists()]
    yield from (folder / pattern.format(f) for f in frames if f not in set(missing))
    for run in _runs(missing):
        pending: list[tuple[Path, UInt8[np.ndarray, "h w 3"]]] = []
        for frame, picture in zip(run, video.decode(path, run.start, run.stop), strict=True):
            pending.append((folder / pattern.format(frame), picture))
            if len(pending) == 2 * ENCODERS or frame == run[-1]:
                yield from pool.map(_write_picture, pending)
                pending = []


def _runs(frames: list[int]) -> Iterator[range]:
    """Ascending numbers as ranges without gaps."""
    begin = 0
    for i in range(1, len(frames) + 1):
        if i == len(frames) or frames[i] != frames[i - 1] + 1:
            yield range(frames[begin], frames[i - 1] + 1)
            begin = i


def _write_picture(job: tuple[Path, UInt8[np.ndarray, "h w 3"]]) -> Path:
    path, picture = job
    buffer = io.BytesIO()
    # Level 1 writes several times faster than the default, for files a tenth larger.
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> Path:
    """Write a file aside and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _verify(folder: Path, frames: range, patterns: Sequence[str]) -> None:
    """Count what was written. Raises UserError, naming the first file that is not there."""
    for pattern in ("transform/{:06d}.json", *patterns):
        place = folder / re.sub(r"/[^/]*$", "", pattern) if "{:06d}/" not in pattern else None
        there = set(os.listdir(place)) if place else None
        for frame in frames:
            path = folder / pattern.format(frame)
            if not (path.name in there if there is not None else path.exists()):
                raise UserError(f"{path}: missing after the extraction; expected {len(frames)} frames: run it again")
