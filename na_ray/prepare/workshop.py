"""Everything that the texture maps of one split are made with: what is solved once, and what happens to a frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.body.views import TexelReader, TexelViews, near_body
from na_ray.prepare.completion import Spreader, reference
from na_ray.prepare.gains import solve_gains
from na_ray.prepare.maps import Completer, MapPainter, Mode, blend
from na_ray.prepare.photographs import FilmedFrame, Photographs
from na_ray.prepare.registration import shift_between

GAIN_FRAMES = 6
"""Frames that the cameras' gains are solved from."""
REFERENCE_FRAMES = 12
"""Frames whose median fills what a frame does not see."""
DRAWN_ROUNDS = 2
"""With registration, the reference is made so many times anew, each time from photographs that were fitted to it."""


@dataclass(eq=False)
class WorkshopNotes:
    """What was found on the way."""

    seen: list[float] = field(default_factory=list)
    """Share of the charts' texels that any camera sees, of each frame made."""
    spread: list[float] = field(default_factory=list)
    """How far the cameras' colors of a texel differ (0..255), mean over the texels, of each frame made."""


def gains_of(photographs: Photographs, side: int, device: str) -> Float[Tensor, "k 3"]:
    """The gains of the cameras, from a few frames."""
    body = Body.from_rig(photographs.split.rig).to(device=device)
    reader, positions = TexelReader(Atlas(body, side)), photographs.some(GAIN_FRAMES)
    frames = photographs.frames(positions)
    return solve_gains(
        [reader.read(photographs.posed(body, f.position), f.images, photographs.cameras, f.masks) for f in frames]
    )


class Workshop:
    """Makes the maps of a split."""

    def __init__(
        self,
        photographs: Photographs,
        side: int,
        device: str = "cpu",
        mode: Mode = "blended",
        gains: Float[Tensor, "k 3"] | None = None,
        register: bool = False,
    ):
        self.photographs, self.mode, self.register = photographs, mode, register
        self.body = Body.from_rig(photographs.split.rig).to(device=device)
        self.atlas = Atlas(self.body, side)
        self.reader, self.painter = TexelReader(self.atlas), MapPainter(self.atlas)
        self.spreader = Spreader(self.reader)
        self.gains = None if gains is None else gains.to(device=device, dtype=torch.float32)
        self.told = WorkshopNotes()
        self._surface = Surface(self.body.faces, len(self.body.vertices), device, rest=self.body.vertices)
        self._completer: Completer | None = None

    @property
    def reference(self) -> Float[Tensor, "n 3"]:
        """M, each texel's color over time; made at the first call."""
        if self._completer is None:
            self._completer = Completer(self._reference(), self.spreader)
            for _ in range(DRAWN_ROUNDS if self.register else 0):
                self._completer = Completer(self._reference(), self.spreader)
        return self._completer.reference

    def _reference(self) -> Float[Tensor, "n 3"]:
        colors, weights = [], []
        for frame in self.photographs.frames(self.photographs.some(REFERENCE_FRAMES)):
            color, weight = blend(self.views(frame), self.gains, self.mode)
            colors.append(color)
            weights.append(weight)
        return reference(torch.stack(colors), torch.stack(weights), self.spreader)

    def views(self, frame: FilmedFrame) -> TexelViews:
        """What the cameras see of a frame."""
        posed, cameras = self.photographs.posed(self.body, frame.position), self.photographs.cameras
        shifts = self._shifts(posed, frame) if self.register and self._completer is not None else None
        return self.reader.read(posed, frame.images, cameras, frame.masks, shifts)

    def make(self, frame: FilmedFrame) -> UInt8[np.ndarray, "s s 3"]:
        """The map of a frame."""
        assert self.reference is not None and self._completer is not None
        views = self.views(frame)
        colors, weights = blend(views, self.gains, self.mode)
        self.told.seen.append(float(views.seen.float().mean()))
        self.told.spread.append(self._spread(views, colors))
        return self.painter.paint(self._completer.complete(colors, weights)).cpu().numpy()

    def spread(self, frame: FilmedFrame) -> float:
        """How far the cameras' colors of a texel differ from their mean, 0..255."""
        views = self.views(frame)
        return self._spread(views, blend(views, self.gains, "blended")[0])

    def _spread(self, views: TexelViews, colors: Float[Tensor, "n 3"]) -> float:
        """Weighted mean distance of the views' colors from the map's, 0..255; of every fourth texel."""
        shares, gains = views.weights[:, ::4], 1.0 if self.gains is None else self.gains[:, None]
        apart = (views.colors[:, ::4] * gains - colors[None, ::4]).abs().mean(2)
        return 255 * float((shares * apart).sum() / shares.sum().clamp(min=1e-12))

    def _shifts(self, posed: PosedBody, frame: FilmedFrame) -> list[Float[np.ndarray, "_ _ 2"]]:
        """How far beside its place each photograph shows what the reference has there."""
        assert self._completer is not None
        texture = self.painter.paint(self._completer.reference).permute(2, 0, 1).float() / 255
        found = []
        for k, camera in enumerate(self.photographs.cameras):
            cut = near_body(posed, camera)
            color, _, coverage = textured_mesh(posed, texture, cut.camera, self._surface, supersample=1)
            shown = coverage.cpu().numpy() > 0.99
            if frame.masks is not None:
                shown &= frame.masks[k][cut.rows, cut.columns]
            shift = np.zeros((camera.height, camera.width, 2))
            photograph = frame.images[k][cut.rows, cut.columns, :3]
            shift[cut.rows, cut.columns] = shift_between(color.cpu().double().numpy(), photograph, shown)
            found.append(shift)
        return found


def told_lines(name: str, told: WorkshopNotes, cameras: Sequence[int]) -> list[str]:
    """What to tell the user of the maps that were made in this call."""
    if not told.seen:
        return []
    seen, spread = float(np.mean(told.seen)), float(np.mean(told.spread))
    return [
        f"{name}: {100 * seen:.1f} % of the texels seen by a camera, the rest completed; "
        f"the {len(cameras)} cameras' colors of a texel are {spread:.1f} of 255 from its map's"
    ]
