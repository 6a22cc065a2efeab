"""The pictures of a capture: every camera's undistorted, on an even background, as the published layout has them.

out/<split>/rgb_video/NNN.avi        NNN: the camera's position in the natural order of the names
    masks/<split>/NNN/FFFFFF.png     255 where the person covers more than half of a pixel; where there is a matte
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from na_ray.capture.video import VideoWriter
from na_ray.config.values import Progress
from na_ray.convert.clips import CameraClip, natural
from na_ray.convert.lens import Lens
from na_ray.convert.matte import Color, Matte

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
    background: Color = WHITE,
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
    done, total = 0, len(pairs) * sum(map(len, splits.values()))
    for number, (clip, _) in enumerate(pairs):
        for split, positions in splits.items():
            with VideoWriter(out / split / "rgb_video" / f"{number:03d}.avi", fps, "mjpeg", quality) as video:
                for image in clip.images(positions):
                    video.write(np.ascontiguousarray(image[..., :3]))
                    done += 1
                    if progress:
                        progress(done, total)
    return FootageReport((), (), {})
