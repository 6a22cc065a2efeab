"""The texels that carry Gaussians: where they lie on the body, which way they face, and how large they are at rest."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import warp as wp
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.body import kernels
from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody, rotate
from na_ray.config.values import UserError
from na_ray.models.splats import texel_kernels
from na_ray.models.splats.decoder import places

FEWEST = 16
"""Texels below which an atlas is no use."""


@dataclass(frozen=True)
class PosedTexels:
    """The n texels at one pose, relative to `origin`."""

    origin: Float[Tensor, "3"]
    """World position of the relative space, m."""
    points: Float[Tensor, "n 3"]
    """On the posed surface, m."""
    frames: Float[Tensor, "n 3 3"]
    """Tangent, bitangent and normal of the texel as columns, carried along by the skinning."""
    normals: Float[Tensor, "3 s s"]
    """World normals of the posed surface as an image; zero outside the charts."""


class Texels(nn.Module):
    """Tables of the n texels that a face touches, of a body and an atlas of side s. No checkpoint holds them."""

    index: Tensor
    places: Tensor
    """(n,): where the decoder's output has them."""
    corners: Tensor
    barycentrics: Tensor
    weights: Tensor
    rest: Tensor
    footprints: Tensor
    covered: Tensor
    """(s, s): where they lie."""

    def __init__(self, body: Body, side: int) -> None:
        """Raises UserError where the atlas has hardly a texel."""
        super().__init__()
        self.side = side
        atlas = Atlas(body.to(device="cpu"), side)
        body = atlas.body
        frames, footprints, sound = _rest_frames(body, side)
        flat = atlas.face.view(-1)
        index = ((flat >= 0) & sound[flat.clamp(min=0)]).nonzero()[:, 0]
        if len(index) < FEWEST:
            raise UserError(
                f"the body's UV atlas covers {len(index)} of {side}x{side} texels: its faces need an area in the "
                "atlas and on the body (uvmapping.obj), or raise splats.texels"
            )
        face = flat[index]
        corners, barycentrics = body.faces[face], atlas.barycentrics.view(-1, 3)[index]
        covered = torch.zeros(side * side, dtype=torch.bool)
        covered[index] = True
        tables = {
            "index": index.to(torch.int32),
            "places": places(side)[index].to(torch.int32),
            "corners": corners.to(torch.int32),
            "barycentrics": barycentrics,
            "weights": (body.weights[corners] * barycentrics[..., None]).sum(1),
            "rest": frames[face],
            "footprints": footprints[face],
            "covered": covered.view(side, side),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.contiguous(), persistent=False)

    def __len__(self) -> int:
        return len(self.index)

    @torch.no_grad()
    def pose(self, posed: PosedBody, origin: Float[Tensor, "3"] | None = None) -> PosedTexels:
        """Carry the texels to a pose: F = root rotation x blended joint rotations x rest frame. `origin`: None: the
        pose's translation."""
        n, device = len(self), posed.vertices.device
        vertices, normals = rotate(posed.vertices, posed.rotation), posed.vertex_normals()
        if origin is not None:
            vertices = vertices + (posed.translation - origin)
        blended = self.weights @ posed.joints_RT[:, :3, :3].reshape(-1, 9)
        points, frames = vertices.new_zeros(n, 3), vertices.new_zeros(n, 3, 3)
        image = vertices.new_zeros(3, self.side**2)
        with kernels.on_device(device) as name:
            inputs = [kernels.as_array(self.index), kernels.as_array(self.corners)]
            inputs += [kernels.as_array(t, dtype=wp.vec3) for t in (self.barycentrics, vertices, normals)]
            turns = blended.view(n, 3, 3), self.rest, posed.rotation.T.contiguous()[None]
            inputs += [kernels.as_array(t, dtype=wp.mat33) for t in turns]
            outputs = [kernels.as_array(points, dtype=wp.vec3), kernels.as_array(frames, dtype=wp.mat33)]
            wp.launch(texel_kernels.pose_texels, n, inputs, [*outputs, kernels.as_array(image)], device=name)
        return PosedTexels(
            posed.translation if origin is None else origin, points, frames, image.view(3, self.side, self.side)
        )


def _rest_frames(body: Body, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each face: axes (f, 3, 3) as columns, the footprint of a texel (lu, shear, lv; m), and whether it has any
    area, on the body and in the atlas.

    dP/du of one texel is lu along the tangent, dP/dv is shear along the tangent and lv along the bitangent.
    """
    a, b, c = body.vertices.double()[body.faces].unbind(1)
    ua, ub, uc = (body.face_uv.double() * side).unbind(1)
    e1, e2, d1, d2 = b - a, c - a, ub - ua, uc - ua
    area = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    normal = torch.linalg.cross(e1, e2)
    sound = (area.abs() > 1e-6) & (normal.norm(dim=1) > 1e-12)
    area = torch.where(sound, area, 1.0)[:, None]
    du = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) / area
    dv = (e2 * d1[:, :1] - e1 * d2[:, :1]) / area
    normal, tangent = F.normalize(normal, dim=1), F.normalize(du, dim=1)
    bitangent = torch.linalg.cross(normal, tangent)
    footprints = torch.stack([du.norm(dim=1), (dv * tangent).sum(1), (dv * bitangent).sum(1)], dim=1)
    frames = torch.stack([tangent, bitangent, normal], dim=2)
    return frames.to(body.vertices), footprints.to(body.vertices), sound
