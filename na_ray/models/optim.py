"""Learning rate and optimizer, right by default and as the original has them with `parity=True`."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from na_ray.config import OptimConfig, TextureConfig


def learning_rate(config: OptimConfig, step: int, parity: bool = False) -> float:
    """Learning rate of the update that follows `step` finished ones: lr decay_rate^(step / decay_steps).

    `parity`: 0 at the first update, as in the original.
    """
    if parity and step < 1:
        return 0.0
    return config.lr * config.decay_rate ** (step / config.decay_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for the next update of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def adam(parameters: Iterable[nn.Parameter], config: OptimConfig, parity: bool = False) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015): torch's, or with the original's epsilon if `parity`."""
    if parity:
        return UncorrectedAdam(parameters, lr=config.lr, betas=config.betas, eps=config.eps)
    return torch.optim.Adam(parameters, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def predictor_adam(parameters: Iterable[nn.Parameter], lr: float, config: TextureConfig) -> torch.optim.Adam:
    """Adam for one side of the texture predictor."""
    if config.shared_step_count:
        return SharedCountAdam(parameters, lr=lr, betas=config.betas, eps=1e-8)
    return torch.optim.Adam(parameters, lr=lr, betas=config.betas, eps=1e-8, fused=True)


class SharedCountAdam(torch.optim.Adam):
    """Adam that corrects every parameter's moments by the number of all updates, as apex's fused Adam.

    A parameter whose first gradient comes with update t starts with the correction of step t: with beta2 = 0.999 and
    t = 3 its first step is 1.73 times as long as torch's. The number is the group's `shared_step`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            count = group.get("shared_step", 0)
            for p in group["params"]:
                if p.grad is not None:
                    self._set_count(p, count)
            group["shared_step"] = count + 1
        return super().step(closure)

    def _set_count(self, parameter: Tensor, count: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"].fill_(count)


class UncorrectedAdam(torch.optim.Optimizer):
    """Adam whose epsilon is added to the un-corrected root of the second moment v.

    p -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps): the effective epsilon is eps / sqrt(1 - b2^t), 31.6 times
    larger than in `torch.optim.Adam` at t = 1. The state has the same entries (`step`, `exp_avg`, `exp_avg_sq`).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. `closure` is refused: it would be evaluated nowhere."""
        assert closure is None, "UncorrectedAdam takes no closure"
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        lr, eps, (beta1, beta2) = group["lr"], group["eps"], group["betas"]
        states = [self._state(p) for p in parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]
        means, squares = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
        torch._foreach_add_([s["step"] for s in states], 1)
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        divisors = torch._foreach_add(torch._foreach_sqrt(squares), eps)
        steps = [float(s["step"]) for s in states]
        scales = [-lr * (1 - beta2**t) ** 0.5 / (1 - beta1**t) for t in steps]
        torch._foreach_addcdiv_(parameters, means, divisors, scales)

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
