"""Every knob of an experiment, as frozen values, and what reads, changes and writes them."""

from na_ray.config.experiment import (
    AvatarName,
    DataConfig,
    Experiment,
    NerfConfig,
    OptimConfig,
    ReportConfig,
    StageName,
    TrainConfig,
)
from na_ray.config.splats import SplatsConfig
from na_ray.config.texture import TextureConfig, Vid2vidConfig
from na_ray.config.values import flatten, from_dict, override, parse_indices, to_dict

__all__ = [
    "AvatarName",
    "DataConfig",
    "Experiment",
    "NerfConfig",
    "OptimConfig",
    "ReportConfig",
    "SplatsConfig",
    "StageName",
    "TextureConfig",
    "TrainConfig",
    "Vid2vidConfig",
    "flatten",
    "from_dict",
    "override",
    "parse_indices",
    "to_dict",
]
