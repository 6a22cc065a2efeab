"""Sampling along rays. Nothing here knows a network.

Symbols: K boundaries z_k on a ray between `near` and `far` (m); they enclose K + 1 intervals, whose mid-points are
the samples; u_k in (0, 1) is where boundary k lies in its stratum.
"""

import torch
from jaxtyping import Float
from torch import Tensor

JITTER_MARGIN = 1e-3
"""Boundaries keep this part of their stratum away from its ends, so that no interval is empty."""

FRONT, BACK = 0.02, 0.01
"""How far (m) before and behind the surface that a ray meets its guided boundaries lie: clothes are before it."""


def sample_along_rays(
    near: Float[Tensor, "n"], far: Float[Tensor, "n"], num_boundaries: int, jitter: Float[Tensor, "n k"] | None = None
) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
    """Depths (m) of the s = `num_boundaries` + 1 samples of every ray, and the deltas (m) of their intervals.

    z_k = near + (k + u_k) / K (far - near). `jitter` holds u_k; None: the strata's centers, so that the first and
    last interval are half as long as the others.
    """
    return _between(near, _strata(near, far, num_boundaries, jitter), far)


def sample_by_surface(
    near: Float[Tensor, "n"],
    far: Float[Tensor, "n"],
    surface: Float[Tensor, "n"],
    num_boundaries: int,
    jitter: Float[Tensor, "n k"] | None = None,
) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
    """What `sample_along_rays` gives, with two thirds of the boundaries by the surface that a ray meets.

    `surface`: depth (m) of the ray's first hit with the posed mesh, infinite where it meets none: such a ray keeps its
    uniform strata. Of the others a third of the boundaries lies in uniform strata, a third within FRONT before the
    hit, the rest within BACK behind it, the first of these on it: no interval of evaluation reaches through it.
    """
    met = torch.isfinite(surface)
    hit = torch.where(met, surface, near).clamp(near, far)
    before = num_boundaries // 3
    behind, spread = before - 1, num_boundaries - 2 * before
    parts = (None,) * 3 if jitter is None else jitter.split((spread, before, num_boundaries - spread - before), dim=1)
    guided = [
        _strata(near, far, spread, parts[0]),
        _strata(torch.maximum(near, hit - FRONT), hit, before, parts[1]),
        hit[:, None],
        _strata(hit, torch.minimum(far, hit + BACK), behind, None if parts[2] is None else parts[2][:, :behind]),
    ]
    uniform = _strata(near, far, num_boundaries, jitter)
    return _between(near, torch.where(met[:, None], torch.cat(guided, dim=1).sort(dim=1).values, uniform), far)


def _strata(
    near: Float[Tensor, "n"], far: Float[Tensor, "n"], count: int, jitter: Float[Tensor, "n k"] | None
) -> Float[Tensor, "n k"]:
    """One boundary in each of `count` equal strata."""
    steps = torch.arange(count, dtype=near.dtype, device=near.device)
    if jitter is None:
        fractions = (steps + 0.5)[None].expand(len(near), -1)
    else:
        fractions = steps + jitter.clamp(JITTER_MARGIN, 1 - JITTER_MARGIN)
    return near[:, None] + fractions / count * (far - near)[:, None]


def _between(
    near: Float[Tensor, "n"], inner: Float[Tensor, "n k"], far: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
    """Centers and deltas of the intervals between boundaries and ends."""
    bounds = torch.cat([near[:, None], inner, far[:, None]], dim=1)
    return (bounds[:, 1:] + bounds[:, :-1]) / 2, bounds[:, 1:] - bounds[:, :-1]
