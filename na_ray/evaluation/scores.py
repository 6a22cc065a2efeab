"""The scores of an actor: a record a picture, their means, a table to read and JSON to keep."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from na_ray.checkpoint import write_json
from na_ray.evaluation.protocol import Protocol

Method = Literal["nerf", "splats", "mesh"]
"""What was scored: an avatar, by its kind, or the textured mesh."""

Crop = Literal["whole", "box", "mask"]
"""Over what: the whole image, the box around the body, or, where the capture has masks, the mask's pixels alone."""

METRICS = ("psnr", "ssim", "lpips")
"""Names of the scores: dB, and two without unit; LPIPS is better when it is lower."""

_TITLES: dict[str, str] = {"nerf": "nerf", "splats": "splats", "mesh": "textured mesh"}


@dataclass(frozen=True)
class ImageScore:
    """Scores of one picture; None where there is none."""

    frame: int
    """Number of the frame, as it is named on disk."""
    camera: str
    """Name of the camera."""
    method: Method
    crop: Crop
    psnr: float | None
    ssim: float | None
    lpips: float | None


@dataclass(frozen=True)
class Scores:
    """Scores of some frames of a split through some cameras, and what they mean."""

    protocol: Protocol
    """What part the pictures took in training."""
    capture: str
    split: str
    frames: list[int]
    """Numbers of the frames, as they are named on disk."""
    cameras: list[str]
    resolution: tuple[int, int]
    """(height, width) of the pictures that were compared, px."""
    background: tuple[float, float, float]
    """Color behind the actor, RGB in [0, 1]."""
    rays_per_pixel: int
    """Of every picture, whatever it was made by."""
    textures: str
    """Where the texture maps came from."""
    crops: dict[str, str]
    """What each crop is."""
    notes: list[str]
    """What a reader must know: scores that are missing, and why."""
    images: list[ImageScore]

    def mean(self, method: str, crop: str, metric: str) -> float | None:
        """Mean of a score over the pictures that have it; None when none has."""
        chosen = (vars(i)[metric] for i in self.images if (i.method, i.crop) == (method, crop))
        values = [v for v in chosen if v is not None]
        return statistics.fmean(values) if values else None

    def summary(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Means by method, crop and metric."""
        methods = dict.fromkeys(i.method for i in self.images)
        return {m: {c: {k: self.mean(m, c, k) for k in METRICS} for c in self.crops} for m in methods}

    def table(self) -> str:
        """A heading, the means, one line a method, and what was seen."""
        height, width = self.resolution
        lines = [
            self.protocol.heading,
            " " * 16 + "".join(f"{crop:^28}" for crop in self.crops),
            " " * 16 + f"{'PSNR dB':>10}{'SSIM':>8}{'LPIPS':>8}  " * len(self.crops),
        ]
        for method, crops in self.summary().items():
            cells = "".join(
                f"{_cell(c['psnr'], 2):>10}{_cell(c['ssim'], 4):>8}{_cell(c['lpips'], 4):>8}  " for c in crops.values()
            )
            lines.append(f"{_TITLES[method]:<16}{cells}")
        seen = (
            f"seen: {self.split}, {len(self.frames)} frames x {len(self.cameras)} cameras ({', '.join(self.cameras)}), "
            f"{width}x{height} px, {self.rays_per_pixel} rays a pixel, "
            f"background {tuple(round(b, 3) for b in self.background)}"
        )
        return "\n".join(
            [
                *(line.rstrip() for line in lines),
                seen,
                *(f"{k}: {v}" for k, v in self.crops.items()),
                f"trained on: {self.protocol.trained_on}",
                f"chose the checkpoint: {self.protocol.chosen_by}",
                f"texture maps: {self.textures}; {self.protocol.maps_made_from}",
                *([f"poses: {self.protocol.poses}"] if self.protocol.poses else []),
                *([self.protocol.warning] if self.protocol.warning else []),
                *self.notes,
            ]
        )

    def to_json(self) -> dict[str, object]:
        """Everything, with the means, ready for `json`."""
        values = asdict(self)
        return {"mean": self.summary()} | values

    def save(self, path: Path) -> None:
        """Write `to_json` aside and rename it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, json.loads(json.dumps(self.to_json(), allow_nan=False)))


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
