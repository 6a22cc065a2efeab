"""The seam: what everything above the models asks of an avatar, whatever it is made of.

An avatar makes pictures of a body at a pose. What belongs to one frame (its pose, its texture map's features, the
surface fitted to it) is in a `Frame`, never in the model: any number of threads may draw any frames with one avatar.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from na_ray.body.body import Body, PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.config import AvatarName, DataConfig
from na_ray.models.gaussians import Gaussians


@runtime_checkable
class Frame(Protocol):
    """A pose and its texture map, made ready for any number of cameras. What else it holds is the avatar's own."""

    @property
    def posed(self) -> PosedBody:
        """The body at the frame's pose."""


@dataclass(frozen=True)
class Picture:
    """What one camera sees of an avatar."""

    colors: Float[Tensor, "h w 3"]
    """RGB in [0, 1], over the background."""
    depth: Float[Tensor, "h w"]
    """Expected distance along the ray, m; the avatar's background depth where nothing is seen."""
    transmittance: Float[Tensor, "h w"]
    """Share of the light that passes the actor: 1 - alpha."""
    camera: Camera
    """What drew it."""

    @property
    def normals(self) -> Float[Tensor, "h w 3"]:
        """From the depths, camera axes, away from the camera; zero on the border. Made when asked for: they take half
        as long as the drawing."""
        return normals_from_depth(self.depth, self.camera)


AnyFrame = TypeVar("AnyFrame", bound=Frame)


class Avatar(nn.Module, ABC, Generic[AnyFrame]):
    """What turns frames into pictures. Each kind is one final class, with a row in `models/avatars.py`.

    The body's tensors are buffers that no checkpoint holds: `.to`, `.double` move them, and `avatar.body` is the body
    on the avatar's device and in its precision, to be posed for it.
    """

    name: ClassVar[AvatarName]
    """The kind: the avatar's stage, and its word in scores and on the command line."""
    background: Tensor
    """Color behind the actor, RGB in [-1, 1]: (3,)."""

    def __init__(self, body: Body, data: DataConfig) -> None:
        """`data` says what lies behind the body."""
        super().__init__()
        self._body_fields = tuple(f.name for f in fields(Body))
        for name in self._body_fields:
            self.register_buffer(f"body_{name}", getattr(body, name), persistent=False)
        self.register_buffer("background", torch.tensor(data.background), persistent=False)
        self._body = body

    @property
    def body(self) -> Body:
        """The body on the avatar's device and in its precision."""
        return self._body

    @property
    def device(self) -> torch.device:
        """Where it draws."""
        return self.background.device

    @property
    def parity(self) -> bool:
        """Whether cameras of other sizes are made as the original makes them (`Camera.resized`)."""
        return False

    @property
    @abstractmethod
    def texture_side(self) -> int | None:
        """Longer side to which texture maps are shrunk before `encode` gets them; None: it wants them as stored."""

    @property
    def refines_poses(self) -> bool:
        """Whether poses of its training frames were corrected while it was trained."""
        return False

    def refined(self, pose: Pose, frame: int) -> PosedBody | None:
        """The body at a training frame's pose, by the frame's number, as training corrected it; None: it did not."""
        return None

    @abstractmethod
    def encode(
        self, posed: PosedBody, texture: Float[Tensor, "3 h w"], normals: Float[Tensor, "3 i j"] | None = None
    ) -> AnyFrame:
        """What is computed once a frame, of a texture map (RGB in [0, 1], first row at v = 1).

        `normals`: the frame's normal map; None: drawn from the pose where the avatar wants one.
        """

    @abstractmethod
    def picture(self, frame: AnyFrame, camera: Camera, supersample: int = 1) -> Picture:
        """A whole picture, in parts of bounded memory: each pixel the mean of supersample x supersample rays."""

    def gaussians(self, frame: AnyFrame) -> tuple[Gaussians, Float64[np.ndarray, "3"]] | None:
        """The frame's Gaussians, and the origin (world, m) that they are relative to; None: it is not made of any."""
        return None

    def density_at(
        self, frame: AnyFrame, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]] | None:
        """Density (1/m) and color (RGB in [0, 1]) at world points, seen along unit directions; None: it has none."""
        return None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Avatar[AnyFrame]":
        """Move or convert the tensors, as `.to` does; the body is made of the new ones."""
        super()._apply(fn, recurse)
        self._body = Body(**{name: self.get_buffer(f"body_{name}") for name in self._body_fields})
        return self


def rays_per_depth(camera: Camera, device: torch.device) -> Float64[Tensor, "h w 3"]:
    """The point of each pixel's ray at 1 m of depth along the optical axis, in camera axes (m): K^-1 (x, y, 1).

    Made on the device: a large picture's rays take longer than its drawing where they come from the host.
    """
    K = camera.K
    rows, columns = (torch.arange(n, dtype=torch.float64, device=device) for n in (camera.height, camera.width))
    y = ((rows - K[1, 2]) / K[1, 1])[:, None].expand(camera.height, camera.width)
    x = (columns - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return torch.stack([x, y, torch.ones_like(x)], dim=2)


def normals_from_depth(depth: Float[Tensor, "h w"], camera: Camera) -> Float[Tensor, "h w 3"]:
    """Normals in camera axes from the depths (m) along the rays, pointing away from the camera (parity, section 5).

    n = unit(P[r-1, c] - P[r+1, c]) x unit(P[r, c+1] - P[r, c-1]), P the seen points; zero on the border of one pixel.
    """
    through = rays_per_depth(camera, depth.device)
    points = depth[..., None] * (through / (through.norm(dim=2, keepdim=True) + 1e-8)).to(depth)

    def unit(vectors: Tensor) -> Tensor:
        return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-8)

    up = unit(points[:-2, 1:-1] - points[2:, 1:-1])
    right = unit(points[1:-1, 2:] - points[1:-1, :-2])
    normals = torch.zeros_like(points)
    normals[1:-1, 1:-1] = torch.linalg.cross(up, right)
    return normals
