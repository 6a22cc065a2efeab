"""The pictures of a capture: every camera's undistorted, on an even background, as the published layout has them.

out/<split>/rgb_video/NNN.avi        NNN: the camera's position in the natural order of the names
    masks/<split>/NNN/FFFFFF.png     255 where the person covers more than half of a pixel; where there is a matte
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from na_ray.config.values import Progress, UserError
from na_ray.convert.camera_footage import CameraJob, CameraOutcome, check_job, convert_camera
from na_ray.convert.clips import CameraClip, natural
from na_ray.convert.lens import Lens
from na_ray.convert.matte import MaskMatte, Matte, Rgb
from na_ray.convert.pool import share_out

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class FootageReport:
    """What was done."""

    lines: tuple[str, ...]
    """For the user."""
    kept: tuple[str, ...]
    """Names of the cameras whose videos were whole already."""
    shares: Mapping[str, float]
    """Mean share of the pictures that the person covers, by camera; empty without mattes."""


def write_footage(
    clips: Sequence[CameraClip],
    lenses: Sequence[Lens],
    splits: Mapping[str, Sequence[int]],
    out: Path,
    *,
    background: Rgb = WHITE,
    matte: Matte | None = None,
    undistort: bool = True,
    fps: float = 25.0,
    quality: int = 2,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FootageReport:
    """Write every camera's videos (and masks, where there is a `matte`) of the splits: name to ascending positions.

    `lenses` belong to the `clips`, one each. `workers`: processes, one camera each; None: as many as there are cores.
    `progress(done, total)` counts pictures. What an earlier call finished is kept, camera by camera; `overwrite`
    replaces what was made otherwise or of other pictures. Raises UserError or FileExistsError, one line.
    """
    pairs = sorted(zip(clips, lenses, strict=True), key=lambda pair: natural(pair[0].name))
    if not clips:
        raise UserError("there are no cameras; expected one at least: check the path")
    if len({clip.name for clip in clips}) < len(clips):
        raise UserError("two cameras have the same name: give each one of its own")
    shared = (splits, out, background, matte, undistort, fps, quality)
    jobs = [CameraJob(n, clip, lens, *shared) for n, (clip, lens) in enumerate(pairs)]
    _check_splits(splits)
    for job in jobs:
        check_job(job)
    _check_masks(jobs)
    _clear_others(jobs, overwrite)
    whole = [job.is_whole(overwrite) for job in jobs]
    left = [job for job, kept in zip(jobs, whole, strict=True) if not kept]
    each = sum(map(len, splits.values()))
    count = _Counter(progress, each * sum(whole), each * len(jobs))
    outcomes = dict(share_out(convert_camera, left, workers or os.cpu_count() or 1, count.step))
    named = [(job.clip.name, outcomes[n]) for n, job in enumerate(left)]
    kept = tuple(job.clip.name for job, is_kept in zip(jobs, whole, strict=True) if is_kept)
    shares = {name: outcome.share for name, outcome in named if outcome.share is not None}
    return FootageReport(tuple(_lines(named, kept)), kept, shares)


class _Counter:
    """Counts pictures."""

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _check_splits(splits: Mapping[str, Sequence[int]]) -> None:
    for name, positions in splits.items():
        if not positions:
            raise UserError(f"split {name} has no frames; expected one at least: ask for others")
        assert all(a < b for a, b in itertools.pairwise(positions)), "positions ascend"


def _clear_others(jobs: Sequence[CameraJob], overwrite: bool) -> None:
    """Refuse, or remove, videos of cameras that are no longer there: a capture would count them."""
    for split in jobs[0].splits:
        own = {job.video(split) for job in jobs}
        for path in sorted(set(jobs[0].video(split).parent.glob("[0-9]*.avi")) - own):
            if not overwrite:
                raise FileExistsError(
                    f"{path} is of no camera that is converted now: name another folder, or --overwrite"
                )
            path.unlink()


def _check_masks(jobs: Sequence[CameraJob]) -> None:
    """Refuse masks of some cameras only, before hours go into the others."""
    without = [job.clip.name for job in jobs if isinstance(job.matte, MaskMatte) and job.clip.masks is None]
    if without:
        raise UserError(f"no masks of camera {', '.join(without[:6])}: add them, or name another kind of matte")


def _lines(named: Sequence[tuple[str, CameraOutcome]], kept: Sequence[str]) -> Iterator[str]:
    """What the cameras have in common is said once."""
    if kept:
        yield f"camera {', '.join(kept)}: kept, as an earlier call made it"
    for line in dict.fromkeys(line for _, outcome in named for line in outcome.lines):
        yield f"camera {', '.join(name for name, outcome in named if line in outcome.lines)}: {line}"
