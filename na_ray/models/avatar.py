"""The seam: what everything above the models asks of an avatar, whatever it is made of.

An avatar makes pictures of a body at a pose. What belongs to one frame (its pose, its texture map's features, the
surface fitted to it) is in a `Frame`, never in the model: any number of threads may draw any frames with one avatar.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.body.body import Body, PosedBody
from na_ray.capture.camera import Camera


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
    normals: Float[Tensor, "h w 3"]
    """From the depths, camera axes, away from the camera; zero on the border."""


AnyFrame = TypeVar("AnyFrame", bound=Frame)


@runtime_checkable
class Avatar(Protocol[AnyFrame]):
    """What turns frames into pictures."""

    @property
    def body(self) -> Body:
        """The body on the avatar's device, to be posed for it."""

    def encode(
        self, posed: PosedBody, texture: Float[Tensor, "3 h w"], normals: Float[Tensor, "3 i j"] | None = None
    ) -> AnyFrame:
        """What is computed once a frame, of a texture map (RGB in [0, 1], first row at v = 1).

        `normals`: the frame's normal map; None: drawn from the pose where the avatar wants one.
        """

    def picture(self, frame: AnyFrame, camera: Camera, supersample: int = 1) -> Picture:
        """A whole picture, in parts of bounded memory: each pixel the mean of supersample x supersample rays."""


def normals_from_depth(depth: Float[Tensor, "h w"], camera: Camera) -> Float[Tensor, "h w 3"]:
    """Normals in camera axes from the depths (m) along the rays, pointing away from the camera (parity, section 5).

    n = unit(P[r-1, c] - P[r+1, c]) x unit(P[r, c+1] - P[r, c-1]), P the seen points; zero on the border of one pixel.
    """
    _, world = camera.rays(camera.pixel_grid())
    rays = torch.as_tensor(world @ camera.T_world_camera[:3, :3], dtype=depth.dtype, device=depth.device)
    points = depth[..., None] * rays.reshape(*depth.shape, 3)

    def unit(vectors: Tensor) -> Tensor:
        return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-8)

    up = unit(points[:-2, 1:-1] - points[2:, 1:-1])
    right = unit(points[1:-1, 2:] - points[1:-1, :-2])
    normals = torch.zeros_like(points)
    normals[1:-1, 1:-1] = torch.linalg.cross(up, right)
    return normals
