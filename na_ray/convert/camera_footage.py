"""One camera's share of a capture's pictures: read, matted, undistorted and written, a frame at a time."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from na_ray.capture.video import VideoWriter, mark_of
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip
from na_ray.convert.covering import CoveredClip, open_covered, plate_of
from na_ray.convert.lens import Lens
from na_ray.convert.matte import ChromaMatte, Matte, PlateMatte, Rgb
from na_ray.convert.painter import Painter

if TYPE_CHECKING:
    from na_ray.convert.unbend import Unbending

# Bytes of a file that its mark is made of, from each end.
_ENDS = 1 << 18
# Pictures of a folder of which more than their names and sizes is looked at.
_LOOKS = 16


@dataclass(frozen=True, eq=False)
class CameraJob:
    """What is to be made of one camera."""

    number: int
    """Its position among the cameras: the name of its files."""
    clip: CameraClip
    lens: Lens
    splits: Mapping[str, Sequence[int]]
    out: Path
    background: Rgb
    matte: Matte | None
    undistort: bool
    fps: float
    quality: int

    def video(self, split: str) -> Path:
        """The file of its pictures in a split."""
        return self.out / split / "rgb_video" / f"{self.number:03d}.avi"

    def masks(self, split: str) -> Path:
        """The folder of its masks of a split."""
        return self.out / "masks" / split / f"{self.number:03d}"

    @cached_property
    def mark(self) -> str:
        """What its files are made of, in short: the same inputs and options give the same, on any day and machine."""
        matte = (type(self.matte).__name__, self.matte.color if isinstance(self.matte, ChromaMatte) else None)
        options = (self.background, matte, self.undistort, self.fps, self.quality)
        lens = [a.astype(np.float64).tobytes() for a in (self.lens.K, self.lens.distortion)]
        found = hashlib.sha256(repr((options, lens, [(n, list(p)) for n, p in self.splits.items()])).encode())
        for path in self._sources():
            found.update(_content(path))
        return found.hexdigest()[:16]

    def is_whole(self, overwrite: bool) -> bool:
        """Whether an earlier call made its files, of the same. Raises FileExistsError where it made them otherwise."""
        files = [path for path in map(self.video, self.splits) if path.exists()]
        # Its times are no part of the mark, so that copies have it, too: what is newer than the result is looked at.
        newest = max(os.stat(path).st_mtime_ns for source in self._sources() for path in _files(source))
        for path in files:
            if mark_of(str(path)) != self.mark or os.stat(path).st_mtime_ns < newest:
                if overwrite:
                    return False
                found = f"{path} was made otherwise, or of other pictures than camera {self.clip.name}'s are now"
                raise FileExistsError(f"{found}: name another folder, or --overwrite")
        masked = self.matte is None or all(map(Path.is_dir, map(self.masks, self.splits)))
        return len(files) == len(self.splits) and masked

    def _sources(self) -> Iterator[Path]:
        yield Path(self.clip.path)
        if self.clip.masks is not None and self.matte is not None:
            yield Path(self.clip.masks)
        if isinstance(self.matte, PlateMatte):
            yield Path(plate_of(self.clip, self.matte))


@dataclass(frozen=True)
class CameraOutcome:
    """What was made of one camera."""

    lines: tuple[str, ...]
    share: float | None
    """Mean share of its pictures that the person covers; None without mattes."""


def _files(source: Path) -> list[Path]:
    """A file, or the files of a folder."""
    return sorted(p for p in source.iterdir() if p.is_file()) if source.is_dir() else [source]


def _content(source: Path) -> bytes:
    files = _files(source)
    found = hashlib.sha256(repr([(path.name, path.stat().st_size) for path in files]).encode())
    for i in np.unique(np.linspace(0, len(files) - 1, _LOOKS).round().astype(int)) if files else ():
        with open(files[i], "rb") as file:
            found.update(file.read(_ENDS))
            file.seek(-min(_ENDS, files[i].stat().st_size), os.SEEK_END)
            found.update(file.read(_ENDS))
    return found.digest()


def check_job(job: CameraJob) -> None:
    """Raise UserError where a camera's pictures do not fit its lens or the splits: by headers alone, cheap."""
    height, width = job.clip.size
    if (job.lens.height, job.lens.width) != (height, width):
        found = f"its intrinsics are of {job.lens.width}x{job.lens.height} pictures"
        turned = (job.lens.height, job.lens.width) == (width, height)
        todo = "calibrate with upright pictures" if turned else "calibrate at this size, or convert the full-size ones"
        raise UserError(f"camera {job.clip.name}: {job.clip.path} is {width}x{height}, but {found}: {todo}")
    last = max(map(max, job.splits.values()))
    if last >= job.clip.frames:
        raise UserError(f"{job.clip.path}: frame {last} is asked for, but there are {job.clip.frames}: ask for fewer")


def convert_camera(job: CameraJob, advance: Callable[[], object]) -> CameraOutcome:
    """Write a camera's files; `advance` is called after each picture. Nothing half-written bears a final name."""
    positions = sorted({position for chosen in job.splits.values() for position in chosen})
    covered = open_covered(job.clip, job.matte, positions)
    unbending = _unbending(job)
    painter = Painter(job.background, unbending)
    tally = _Tally()
    for split, chosen in job.splits.items():
        _sweep(job, split)
        _write_split(job, split, covered, chosen, painter, tally, advance)
    return CameraOutcome(tuple(_lines(job, covered, unbending, tally)), tally.share)


def _unbending(job: CameraJob) -> "Unbending | None":
    if not job.undistort or not job.lens.bends:
        return None
    from na_ray.convert.unbend import Unbending  # torch takes seconds to import, of every process

    return Unbending.of(job.lens, f"camera {job.clip.name}")


def _sweep(job: CameraJob, split: str) -> None:
    """Remove what a killed process left of this camera."""
    for place in (job.video(split), job.masks(split)):
        for path in place.parent.glob(f".{place.stem}.*.partial*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass(eq=False)
class _Tally:
    """What the mattes of a camera's pictures came to."""

    shares: list[float]
    empty: list[str]

    def __init__(self) -> None:
        self.shares, self.empty = [], []

    @property
    def share(self) -> float | None:
        return float(np.mean(self.shares)) if self.shares else None


def _write_split(
    job: CameraJob,
    split: str,
    covered: CoveredClip,
    positions: Sequence[int],
    painter: Painter,
    tally: _Tally,
    advance: Callable[[], object],
) -> None:
    before = len(tally.empty)
    with (
        VideoWriter(job.video(split), job.fps, "mjpeg", job.quality, job.mark) as video,
        _folder_aside(job.masks(split)) as masks,
    ):
        for n, pair in enumerate(covered.pairs(positions)):
            picture, alpha = painter.paint(pair)
            video.write(picture)
            if alpha is not None:
                outline = np.where(alpha > 127, np.uint8(255), np.uint8(0))
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(outline).save(masks / f"{n:06d}.png", compress_level=1)
                tally.shares.append(float(outline.mean() / 255))
                if not tally.shares[-1]:
                    tally.empty.append(f"{positions[n]}")
            advance()
        if len(tally.empty) - before == len(positions):
            what = f"camera {job.clip.name}: nobody is in its mattes of split {split}"
            raise UserError(f"{what}: make them again, or use another kind")


@contextmanager
def _folder_aside(folder: Path) -> Iterator[Path]:
    """A name for a folder, which gets its own when the block ends well; an old one leaves only then."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = aside.with_name(f".{folder.name}.{os.getpid()}.old.partial")
    try:
        yield aside
        if folder.exists():
            os.rename(folder, old)
        if aside.exists():
            os.rename(aside, folder)
    finally:
        for path in (aside, old):
            shutil.rmtree(path, ignore_errors=True)


def _lines(job: CameraJob, covered: CoveredClip, unbending: "Unbending | None", tally: _Tally) -> Iterator[str]:
    if covered.line:
        yield covered.line
    if tally.empty:
        named = ", ".join(tally.empty[:6]) + (", ..." if len(tally.empty) > 6 else "")
        yield f"nobody is in its mattes of {len(tally.empty)} frames ({named}): they show the background alone"
    if unbending is not None and unbending.outside.any():
        share = 100 * float(unbending.outside.mean())
        yield f"its lens is undone; {share:.1f} % of its pictures lie beyond what it saw and are background"
    elif unbending is not None:
        yield "its lens is undone"
