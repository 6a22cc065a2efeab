"""Poses that are learned with the avatar: a small correction of each training frame's.

A correction is (1 + j, 3): a move of the body (m, world axes), then a turn of each joint (axis-angle, rad): the first
root's turns the whole body about its joints' mean, in world axes; the others' turn what hangs on the joint, in
normalized axes. Zeros change nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from na_ray.body.body import Body, PosedBody, skin
from na_ray.body.kinematics import displacements, rotations
from na_ray.body.upload import upload
from na_ray.capture.rig import Pose
from na_ray.models.splats.texels import PosedTexels, Texels


@dataclass(frozen=True)
class MovedPose:
    """A corrected pose, and what its gradients flow through."""

    posed: PosedBody
    """Without gradients."""
    origin: Float[Tensor, "3"]
    """Where the pose was before: what cameras and texels are relative to (world, m)."""
    world: Float64[Tensor, "j 3 4"]
    """Each joint's transform from canonical to world space, relative to `origin`; differentiable."""


class PoseTable(nn.Module):
    """The corrections of the training's frames, and the skeleton that they turn.

    Buffers, not parameters: a step moves the rows of its own frames alone. A checkpoint holds them all; a fresh table
    takes the sizes of the one that is loaded.
    """

    corrections: Tensor
    """(f, 1 + j, 3), zero before training."""
    frames: Tensor
    """(f,): the frames' numbers, as they are named on disk."""
    parents: Tensor
    """(j,): -1 for a root."""
    rest: Tensor
    """(j, 3): the joints at rest, m."""

    def __init__(self, frames: Sequence[int], parents: Sequence[int], rest: Float[np.ndarray, "j 3"]) -> None:
        """Of frames by their numbers, and of a skeleton."""
        super().__init__()
        num_joints = len(parents)
        self.register_buffer("corrections", torch.zeros(len(frames), 1 + num_joints, 3))
        self.register_buffer("frames", torch.tensor(list(frames), dtype=torch.int64))
        self.register_buffer("parents", torch.tensor(list(parents), dtype=torch.int64))
        self.register_buffer("rest", torch.tensor(rest, dtype=torch.float32))
        self.register_load_state_dict_pre_hook(_take_sizes)

    def sizes(self) -> dict[str, float]:
        """How far bodies are moved and joints are turned, on average: mm and degrees; waits for the device."""
        moved, turned = self.corrections[:, 0], self.corrections[:, 1:]
        mean = torch.stack([moved.norm(dim=1).mean(), turned.norm(dim=2).mean()]).tolist()
        return {"poses_moved_mm": 1e3 * mean[0], "poses_turned_degrees": math.degrees(mean[1])}

    @classmethod
    def empty(cls, num_joints: int) -> "PoseTable":
        """One that waits for a checkpoint's frames and skeleton."""
        return cls((), [-1] * num_joints, np.zeros((num_joints, 3)))

    def row_of(self, frame: int) -> int | None:
        """The row of a frame, by its number; None where it was not trained on."""
        found = (self.frames == frame).nonzero()[:, 0].tolist()
        return found[0] if found else None

    def move(self, body: Body, pose: Pose, correction: Float[Tensor, "k 3"]) -> MovedPose:
        """The pose of a body, corrected; differentiable in the correction."""

        def exact(array: object) -> Tensor:
            return upload(array, correction.device, torch.float64)

        A, R, t, joints = (exact(a) for a in (pose.joints_RT, pose.rotation, pose.translation, pose.joints))
        numbers, rest, center = correction.double(), self.rest.double(), joints.mean(0)
        roots = self.parents < 0
        whole = (numbers[1:] * (roots & (roots.cumsum(0) == 1))[:, None]).sum(0)
        turns = torch.where(roots[:, None], 0.0, numbers[1:])
        moved, turn = displacements(A, rest, self.parents, turns) @ A, rotations(whole)
        rotation, translation = R @ turn.T, turn @ (t - center) + center + numbers[0]
        world = rotation.T @ moved[:, :3]
        world = torch.cat([world[..., :3], world[..., 3:] + (translation - t)[:, None]], dim=2)
        drift = ((moved - A)[:, :3, :3] @ rest[..., None])[..., 0] + (moved - A)[:, :3, 3]
        places = (joints + drift @ R - center) @ turn.T + center + numbers[0]
        A, rotation, translation, places = (
            x.detach().to(body.vertices) for x in (moved, rotation, translation, places)
        )
        posed = PosedBody(body, A, rotation, translation, places, skin(body.vertices, body.weights, A))
        return MovedPose(posed, t.to(translation), world)


def _take_sizes(table: PoseTable, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Make room for as many frames as a checkpoint has."""
    for name in ("corrections", "frames"):
        if isinstance(given := state.get(prefix + name), Tensor):
            own = table.get_buffer(name)
            setattr(table, name, own.new_zeros((len(given), *own.shape[1:])))


class CarriedBack(nn.Module):
    """The texels of a pose as functions of its joints' transforms: sums over texels and vertices, in a fixed order."""

    members: Tensor
    shares: Tensor
    starts: Tensor

    def __init__(self, texels: Texels, num_vertices: int) -> None:
        super().__init__()
        vertex, order = texels.corners.long().reshape(-1).sort(stable=True)
        self.register_buffer("members", order // 3, persistent=False)
        self.register_buffer("shares", texels.barycentrics.reshape(-1)[order], persistent=False)
        starts = torch.searchsorted(vertex, torch.arange(num_vertices))
        self.register_buffer("starts", starts, persistent=False)

    def forward(self, texels: Texels, at: PosedTexels, moved: MovedPose) -> PosedTexels:
        """The same texels, their points and frames differentiable in `moved.world`. Their normals are not: how the
        decoder and the light answer to a pose says little of whether it is the right one."""
        points, frames = _Carried.apply(moved.world, at.points, at.frames, self, texels, moved.posed.body)
        return replace(at, points=points, frames=frames)


class _Carried(torch.autograd.Function):
    """A point is sum_c b_c sum_j w_cj W_j [v_c; 1] over a face's corners, a frame sum_j w_j W_j F: linear in W."""

    @staticmethod
    def forward(ctx: Any, world: Tensor, points: Tensor, frames: Tensor, *tables: Any) -> tuple[Tensor, Tensor]:
        ctx.tables = tables
        return points.view_as(points), frames.view_as(frames)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_points: Tensor, grad_frames: Tensor) -> tuple[Any, ...]:
        back, texels, body = ctx.tables
        at_vertices = nn.functional.embedding_bag(
            back.members, grad_points.contiguous(), back.starts, mode="sum", per_sample_weights=back.shares
        )
        ones = torch.ones_like(body.vertices[:, :1])
        moments = at_vertices[:, :, None] * torch.cat([body.vertices, ones], dim=1)[:, None]
        found = (body.weights.T @ moments.reshape(-1, 12)).view(-1, 3, 4)
        # Of a frame: its gradient times the frame at rest, transposed.
        turned = (grad_frames[:, :, None] * texels.rest[:, None]).sum(3)
        found[:, :, :3] += (texels.weights.T @ turned.reshape(-1, 9)).view(-1, 3, 3)
        return found.double(), *[None] * 5
