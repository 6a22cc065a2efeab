"""The folder of numbers of the original implementation, and the table of comparisons with them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from na_ray.body.body import Body, PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig, read_rig
from na_ray.models.nerf.renderer import Nerf
from na_ray.original.renderer import Imported, import_checkpoint

RIG_FILES = ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json")


@dataclass
class Table:
    """What was compared so far."""

    rows: list[tuple[str, str, float, float]] = field(default_factory=list)

    def check(self, file: str, name: str, found: Any, expected: Any, tolerance: float, rows: Any = None) -> None:
        """Compare two arrays (of the `rows` given): the largest absolute difference, infinite if the shapes differ."""
        a, b = (np.asarray(x.detach() if isinstance(x, Tensor) else x).astype(np.float64) for x in (found, expected))
        error = np.inf
        if a.shape == b.shape:
            difference = np.abs(a - b) if rows is None else np.abs(a - b)[np.asarray(rows)]
            error = float(difference.max()) if difference.size else 0.0
        self.rows.append((file, name, error, tolerance))

    def quantiles(
        self, file: str, name: str, found: Tensor, expected: Any, limits: dict[float, float], rows: Any
    ) -> None:
        """Compare quantiles of the differences with a limit each."""
        difference = np.abs(found.detach().double().numpy() - np.asarray(expected, np.float64))[np.asarray(rows)]
        for quantile, limit in limits.items():
            label = "max" if quantile == 1 else "median" if quantile == 0.5 else f"{100 * quantile:g}%"
            self.rows.append((file, f"{name} ({label})", float(np.quantile(difference, quantile)), limit))

    def print(self) -> int:
        """Print all rows; returns how many exceed their tolerance."""
        for file, name, error, tolerance in self.rows:
            print(f"{file:16} {name:42} {error:10.2e} {tolerance:10.1e} {'' if error <= tolerance else 'EXCEEDED'}")
        bad = sum(error > tolerance for _, _, error, tolerance in self.rows)
        print(f"{len(self.rows)} comparisons, {bad} outside the tolerance")
        return bad


@dataclass(frozen=True)
class Fixture:
    """A folder of numbers, and our nerf with its weights."""

    folder: Path
    dtype: torch.dtype
    rig: Rig
    imported: Imported

    @classmethod
    def open(cls, folder: Path, dtype: torch.dtype) -> "Fixture":
        """Read the rig and import the checkpoint."""
        rig = read_rig(*(str(folder / "dataset" / name) for name in RIG_FILES))
        return cls(folder, dtype, rig, import_checkpoint(str(folder / "nerf_random.pt"), rig))

    def load(self, name: str) -> Any:
        """The arrays of one file."""
        return np.load(self.folder / f"{name}.npz")

    def tensor(self, array: Any) -> Tensor:
        """An array in the precision under test."""
        return torch.tensor(np.asarray(array), dtype=self.dtype)

    def nerf(self, seams: bool = True) -> Nerf:
        """Our nerf with the checkpoint's weights; `seams=False`: the mapping of one UV per vertex."""
        rig = self.rig
        if not seams:
            arrays = self.load("rig")
            rig = replace(rig, uv=arrays["vt_noseam"].astype(np.float32), uv_faces=arrays["ft_noseam"])
        nerf = Nerf(self.imported.nerf, Body.from_rig(rig)).to(self.dtype)
        nerf.load_state_dict(self.imported.state)
        return nerf.eval()

    def pose(self, nerf: Nerf, frame: int) -> PosedBody:
        """The body at a frame."""
        text = sorted((self.folder / "dataset" / "transform").glob("*.json"))[frame].read_text()
        return nerf.body.pose(Pose.from_json(text, f"frame {frame}"))

    def texture(self, frame: int) -> Tensor:
        """The texture map of a frame, (3, H, W), as the original's loader gives it: bytes times float32(1 / 255)."""
        return self.tensor(self.load("loader")[f"f{frame}_tex"]).permute(2, 0, 1)

    def rays(self, K: Any, c2w: Any, pixels: Any) -> tuple[Tensor, Tensor]:
        """Origins and directions through pixels (x, y), computed in float64."""
        K, c2w = np.asarray(K, np.float64)[:3, :3], np.asarray(c2w, np.float64)
        camera = Camera("view", K, c2w, height=64, width=48)
        origins, directions = camera.rays(np.asarray(pixels, np.float64))
        return self.tensor(origins), self.tensor(directions)
