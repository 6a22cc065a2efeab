"""The kinds of avatar, side by side: how each is made, and the file of its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from na_ray.body.body import Body
from na_ray.config import AvatarName, Experiment
from na_ray.models.avatar import Avatar
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.splats.splats import Splats


@dataclass(frozen=True)
class AvatarKind:
    """What opening an avatar needs to know of its kind."""

    make: Callable[[Experiment, Body], Avatar[Any]]
    """Untrained, of an experiment's knobs, for a body."""
    weights: str
    """The file of its weights in a checkpoint."""


AVATARS: dict[AvatarName, AvatarKind] = {
    "splats": AvatarKind(lambda experiment, body: Splats(experiment.splats, body, experiment.data), "splats.pt"),
    "nerf": AvatarKind(lambda experiment, body: Nerf(experiment.nerf, body, experiment.data), "nerf.pt"),
}
"""By name; `config.AvatarName` says which is taken where an actor has several."""
