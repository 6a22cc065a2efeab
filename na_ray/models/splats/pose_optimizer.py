"""How the corrections of poses are learned: a step moves the rows of its own frames, and no other."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.config.splats import SplatsConfig
from na_ray.models.splats.poses import PoseTable

FIRST, SECOND = 0.5, 0.98
"""Decay of a row's mean gradient, a visit; of what all rows share, a step."""
RISE, FALL = 0.05, 0.5
"""Share of the training over which the rate rises, and after which it has fallen: the avatar is finished on poses that
stand still."""
LAST = 0.01
"""Share of the rate that is left then."""
KEPT = ("first", "visits", "second", "common", "agreement", "again")
"""What going on needs."""


def pose_rate(step: int, steps: int) -> float:
    """The factor on the corrections' learning rate at a step (from 0): a rise and a cosine."""
    fallen = (1 + math.cos(math.pi * min(1.0, step / (FALL * steps)))) / 2
    return min(1.0, (step + 1) / (RISE * steps)) * (LAST + (1 - LAST) * fallen)


class PoseOptimizer:
    """Adam whose first moment is a row's, and whose second all rows share: a frame is seen too seldom to tell how long
    its gradients are.

    A good track has gradients, too: of the views that a step happens to show. They differ from visit to visit, where
    those of a pose that is off agree. Each number's step is shortened by how far the gradients of a frame agree with
    its earlier ones, over all frames: the square of E[g g'] / E[g^2]. What all frames ask for alike is left to the
    avatar, which novel poses share.

    Gradients are gathered slot by slot (a slot is a frame of a step), so that workers exchange what a step has seen and
    not the table.
    """

    def __init__(self, table: PoseTable, config: SplatsConfig, steps: int, slots: int) -> None:
        self.table, self.config, self.steps = table, config, steps
        device, shape = table.corrections.device, table.corrections.shape[1:]
        self.first = torch.zeros_like(table.corrections)
        self.visits = torch.zeros(len(table.corrections), device=device)
        self.second, self.common, self.agreement = (torch.zeros(shape, device=device) for _ in range(3))
        self.again = torch.zeros((), device=device)
        self.gathered = torch.zeros(slots, 2 + shape[0] * shape[1], device=device)
        """A row a slot: how many workers saw it, the sum of the table's rows that they named, the gradient."""

    def take(self, row: int) -> Float[Tensor, "k 3"]:
        """A frame's correction, ready for gradients."""
        return self.table.corrections[row].clone().requires_grad_()

    def give(self, slot: int, row: int, taken: Float[Tensor, "k 3"], share: float) -> None:
        """Count in a correction's gradient; `share`: of the gradients that workers average."""
        assert taken.grad is not None, "every picture is a function of its pose"
        self.gathered[slot, 0] += 1
        self.gathered[slot, 1] += row
        self.gathered[slot, 2:] += share * taken.grad.reshape(-1)

    @torch.no_grad()
    def step(self, step: int, exchange: Callable[[Tensor], object] | None = None) -> None:
        """Update number `step` (from 0). `exchange` sums a tensor over the workers, in place."""
        if exchange is not None:
            exchange(self.gathered)
        seen, numbers = self.gathered[:, :2], self.gathered[:, 2:]
        rows = (seen[:, 1] / seen[:, 0]).round().long()
        # Slots that show one frame have its gradient each, and write the same.
        same = (rows[:, None] == rows).to(numbers)
        grads = (same @ numbers).view(len(rows), *self.table.corrections.shape[1:])
        common = self.common.clone()
        self.common.lerp_(grads.mean(0), 1 - SECOND)
        grads = grads - common
        self.second.lerp_(grads.square().mean(0), 1 - SECOND)
        second = self.second / (1 - SECOND ** (step + 1))
        visits = self.visits[rows][:, None, None]
        past = self.first[rows] / (1 - FIRST ** visits.clamp(min=1))
        sure = self._agreement(grads, past, (visits > 0).to(grads), second)
        first = torch.lerp(grads, self.first[rows], FIRST)
        rate = pose_rate(step, self.steps)
        move = self.config.lr_poses * sure * first / (1 - FIRST ** (visits + 1)) / (second.sqrt() + 1e-12)
        kept = 1 - rate * self.config.pose_decay
        self.table.corrections[rows] = kept * self.table.corrections[rows] - rate * move
        self.first[rows], self.visits[rows] = first, visits[:, 0, 0] + 1
        self.gathered.zero_()

    def _agreement(
        self,
        grads: Float[Tensor, "s k 3"],
        past: Float[Tensor, "s k 3"],
        again: Float[Tensor, "s 1 1"],
        second: Float[Tensor, "k 3"],
    ) -> Float[Tensor, "k 3"]:
        """How far to trust each number's gradients, 0 to 1; `again`: 1 where a slot's frame was seen before."""
        weight = (1 - SECOND) * again.mean()
        product = (again * grads * past).sum(0) / again.sum().clamp(min=1)
        self.agreement.lerp_(product / second.clamp(min=1e-30), weight)
        self.again.lerp_(torch.ones_like(self.again), weight)
        # The first few frames that come back do not decide.
        return (self.agreement / self.again.clamp(min=1 - SECOND)).clamp(0, 1).square()

    def state(self) -> dict[str, Any]:
        """What going on needs beside the table."""
        return {name: vars(self)[name] for name in KEPT}

    def load(self, state: dict[str, Any]) -> None:
        """Go on."""
        for name in KEPT:
            vars(self)[name].copy_(state[name])
