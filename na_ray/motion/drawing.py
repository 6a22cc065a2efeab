"""One picture of an actor: the views that were asked for in a row, on any background or none."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.values import UserError
from na_ray.pictures import picture
from na_ray.render import View, background_of, depth_range, texture_map

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "gray": (0.5, 0.5, 0.5), "green": (0.0, 1.0, 0.0)}
"""Backgrounds by name."""


def parse_color(text: str) -> tuple[float, float, float]:
    """A color by name, or as #rrggbb, RGB in [0, 1]. Raises UserError for anything else."""
    if text in COLORS:
        return COLORS[text]
    digits = text.removeprefix("#")
    if len(digits) != 6 or any(d not in "0123456789abcdefABCDEF" for d in digits):
        raise UserError(f"no color {text!r}: expected {', '.join(COLORS)} or #rrggbb")
    r, g, b = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return r, g, b


@dataclass(eq=False)
class FrameDrawer:
    """How frames are drawn. One avatar may draw any of them in any order."""

    actor: TrainedAvatar
    views: tuple[View, ...] = ("color",)
    background: tuple[float, float, float] | None = None
    """RGB in [0, 1]; None: the avatar's own."""
    transparent: bool = False
    """Pictures have a fourth channel, straight alpha, and no background."""
    supersample: int = 1
    _surface: Surface | None = field(default=None, repr=False)
    _texture: tuple[np.ndarray, Tensor] | None = field(default=None, repr=False)

    def on(self, device: str) -> "FrameDrawer":
        """The same with its avatar on another kind of device."""
        return FrameDrawer(self.actor.on(device), self.views, self.background, self.transparent, self.supersample)

    @torch.no_grad()
    def draw(self, pose: Pose, texture: np.ndarray, camera: Camera) -> UInt8[np.ndarray, "h w c"]:
        """The picture of a pose with a texture map (h, w, 3) uint8, views from left to right."""
        posed = self.actor.model.body.pose(pose)
        shown: list[Float[Tensor, "h w c"]] = []
        if set(self.views) - {"mesh"}:
            frame = self.actor.model.encode(posed, self._prepared(texture))
            seen = self.actor.model.picture(frame, camera, self.supersample)
            passing = seen.transmittance
            own = torch.tensor(background_of(self.actor)).to(seen.colors)
            front = seen.colors - passing[..., None] * own
        for view in self.views:
            if view == "color":
                shown.append(self._over(front, passing))
            elif view == "mesh":
                shown.append(self._over(*self._mesh(posed, texture, camera)))
            else:
                colors = picture.normal_colors(seen.normals, passing)
                if view == "depth":
                    colors = picture.depth_colors(seen.depth, passing, *depth_range(posed, camera))
                shown.append(self._framed(colors, 1 - passing))
        return np.concatenate([_to_uint8(values) for values in shown], axis=1)

    def _prepared(self, texture: np.ndarray) -> Tensor:
        """The map as the avatar takes it; the mean map, which is one object, is prepared once."""
        if self._texture is None or self._texture[0] is not texture:
            self._texture = (texture, texture_map(self.actor, texture))
        return self._texture[1]

    def _mesh(
        self, posed: PosedBody, texture: np.ndarray, camera: Camera
    ) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """(color of the textured mesh times its coverage, share of the light that passes it)."""
        if self._surface is None:
            self._surface = Surface(posed.body.faces, len(posed.vertices), posed.vertices.device)
        values = torch.from_numpy(np.array(texture)).to(posed.vertices) / 255
        color, _, coverage = textured_mesh(posed, values, camera, self._surface, self.supersample, background=0.0)
        return color, 1 - coverage

    def _over(self, front: Float[Tensor, "h w 3"], passing: Float[Tensor, "h w"]) -> Float[Tensor, "h w c"]:
        """What covers the background, already times its share of the light, over that background."""
        if self.transparent:
            cover = (1 - passing)[..., None]
            return torch.cat([(front / cover.clamp(min=1e-4)).clamp(0, 1), cover], dim=2)
        behind = background_of(self.actor) if self.background is None else self.background
        return front + passing[..., None] * torch.tensor(behind).to(front)

    def _framed(self, colors: Float[Tensor, "h w 3"], cover: Float[Tensor, "h w"]) -> Float[Tensor, "h w c"]:
        """A view that has its own white background."""
        return torch.cat([colors, cover[..., None].to(colors)], dim=2) if self.transparent else colors


def _to_uint8(values: Float[Tensor, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """[0, 1] in 8 bits, half up."""
    return (values.detach().clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8).cpu().numpy()
