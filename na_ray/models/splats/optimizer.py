"""How splats are optimised: Adam for what a texel has of its own, Muon for the decoder's matrices, gradients bounded by
their own history, averaged weights."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from na_ray.config.splats import SplatsConfig
from na_ray.models.splats.muon import Muon
from na_ray.models.splats.splats import Splats

BETAS = 0.9, 0.99
EPSILONS = 1e-7, 1e-8
"""Of the texels' own parameters, which stay where their gradients are tiny, and of the decoder."""
LAST_RATE = 0.01
"""Share of the learning rates that is left at the end."""
MOST = 2.0
"""A gradient's norm is cut at so many times the running norm of its group's."""
MEMORY = 0.99
"""Decay a step of the running norm."""


def rate(config: SplatsConfig, step: int, steps: int) -> float:
    """The factor on both learning rates at a step (from 0): a rise, a plateau, then a cosine."""
    factor, done = min(1.0, (step + 1) / config.warmup_steps), step / steps
    if done <= config.decay_start:
        return factor
    phase = (done - config.decay_start) / (1 - config.decay_start)
    return factor * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * phase)) / 2)


class StepNumbers(NamedTuple):
    """What differs between updates: on the host, or as tensors () on a device."""

    lr_texels: float | Tensor
    lr_decoder: float | Tensor
    kept: float | Tensor
    """Share of the decoder's weights that their decay leaves."""
    share: float | Tensor
    """Of the new weights in the average."""


class SplatsOptimizer:
    """Updates a model and the average of its weights."""

    def __init__(self, splats: Splats, steps: int) -> None:
        self.config, self.steps = splats.config, steps
        self.groups: list[list[nn.Parameter]] = [
            [splats.fixed, splats.changes, *splats.coarse.parameters()],
            list(splats.decoder.parameters()),
        ]
        rates = splats.config.lr_texels, splats.config.lr_decoder
        groups = [
            {"params": group, "lr": lr, "eps": eps} for group, lr, eps in zip(self.groups, rates, EPSILONS, strict=True)
        ]
        device = splats.fixed.device
        self.adam = torch.optim.Adam(groups, betas=BETAS, fused=True, capturable=device.type == "cuda")
        """Of all parameters; it passes over the decoder's matrices, whose gradients are used up before."""
        self.muon = Muon([layer.weight for layer in splats.decoder.modules() if isinstance(layer, nn.Conv2d)])
        self.norms = torch.full((len(self.groups),), math.inf, device=device)
        """Running norm of each group's gradients; infinite before the first."""
        self.average = [p.detach().clone() for p in self.parameters]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of all groups."""
        return [p for group in self.groups for p in group]

    def step(self, step: int) -> None:
        """Update number `step` (from 0) with the gradients that are there, which are used up. Nothing waits for a
        device."""
        self.update(self.numbers(step))

    def numbers(self, step: int) -> StepNumbers:
        """What differs between updates."""
        config, factor = self.config, rate(self.config, step, self.steps)
        return StepNumbers(
            lr_texels=factor * config.lr_texels,
            lr_decoder=factor * config.lr_decoder,
            kept=1 - factor * config.lr_decoder * config.weight_decay,
            # The first steps count less: else the start would be remembered.
            share=1 - min(config.average, (1 + step) / (10 + step)),
        )

    def update(self, numbers: StepNumbers) -> None:
        """An update; numbers that lie on the device may change between replays of its recording."""
        for group, lr in zip(self.adam.param_groups, (numbers.lr_texels, numbers.lr_decoder), strict=True):
            group["lr"] = lr
        self._cut()
        with torch.no_grad():
            torch._foreach_mul_(tuple(self.groups[1]), numbers.kept)
        self.muon.step(numbers.lr_decoder)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        ahead = torch._foreach_sub([p.detach() for p in self.parameters], self.average)
        torch._foreach_mul_(ahead, numbers.share)
        torch._foreach_add_(self.average, ahead)

    def _cut(self) -> None:
        for number, group in enumerate(self.groups):
            grads = [p.grad for p in group if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
            limit = MOST * self.norms[number]
            torch._foreach_mul_(grads, (limit / norm).clamp(max=1))
            norm = torch.minimum(norm, limit)
            started = torch.isfinite(self.norms[number])
            running = torch.where(started, MEMORY * self.norms[number] + (1 - MEMORY) * norm, norm)
            # Where pictures show nothing of the body, nothing is learned of how long gradients are.
            self.norms[number] = torch.where(norm > 0, running, self.norms[number])

    def averaged(self, weights: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        """A state dict with the averages in place of the parameters of these names (in the order of `parameters`)."""
        return weights | dict(zip(names, self.average, strict=True))

    def state(self) -> dict[str, Any]:
        """What going on needs beside the averages."""
        adam = self.adam.state_dict()
        for group in adam["param_groups"]:  # as every device can load them
            group.update(lr=float(group["lr"]), capturable=False)
        return {
            "parameters": [p.detach() for p in self.parameters],
            "adam": adam,
            "momenta": self.muon.momenta,
            "norms": self.norms,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on; the model holds the averages."""
        with torch.no_grad():
            for average, p, value in zip(self.average, self.parameters, state["parameters"], strict=True):
                average.copy_(p)
                p.copy_(value)
        self.adam.load_state_dict(state["adam"])
        for group in self.adam.param_groups:
            group["capturable"] = self.norms.is_cuda
        adams = [self.adam.state.pop(w, None) for w in self.muon.weights]  # of runs from before Muon
        found = state["momenta"] if "momenta" in state else [a["exp_avg"] for a in adams if a]
        for momentum, value in zip(self.muon.momenta, found, strict=True):
            momentum.copy_(value)
        self.norms.copy_(state["norms"])
