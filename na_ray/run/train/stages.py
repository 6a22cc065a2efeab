"""The stages, side by side: what the driver and the workers need of each.

Workers import this when they start, and those that replace lost ones too: what the driver alone needs (MLflow, the
report) is imported when it is called for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, StageName
from na_ray.run.data.frames import FrameDataset, FrameSampler
from na_ray.run.data.pictures import PictureDataset, PictureSampler, num_pictures
from na_ray.run.data.sequences import SequenceDataset, SequenceSampler, num_windows
from na_ray.run.train.context import Schedule, TrainContext, Trainer
from na_ray.run.train.nerf import stage as nerf_stage
from na_ray.run.train.splats import stage as splats_stage
from na_ray.run.train.texture import stage as texture_stage

AnyDataset = FrameDataset | SequenceDataset


@dataclass(frozen=True)
class Stage:
    """What a stage is made of. The functions take the dataset that `make_dataset` of the same stage gave."""

    make_dataset: Callable[[Capture, Experiment], Any]
    """What to read. Raises UserError, one line per defect, for what the stage cannot train on."""
    estimate: Callable[[Any], tuple[list[str], float, int]]
    """Lines for the preflight, multiply-adds of the whole training, bytes of a checkpoint."""
    schedule: Callable[[Any], Schedule]
    trainer: Callable[[TrainContext, Any], Trainer]
    order: Callable[[Any, tuple[int, ...], int, int], Any]
    """(dataset, batch slots of a worker, batch slots in all, first step) to what a `StepLoader` reads."""
    slots: Callable[[Experiment], int]
    """Batch slots: rows of one step over all workers."""
    close: Callable[..., str]
    """(its `Closing`, capture): score and film; returns a summary for the user."""
    lighter: str
    """Knobs to lower where a step does not fit a device's memory."""


def _close_texture(*arguments: Any) -> str:
    from na_ray.run.train.texture import report

    return report.close(*arguments)


def _close_avatar(*arguments: Any) -> str:
    from na_ray.run.train.avatar import report

    return report.close(*arguments)


STAGES: dict[StageName, Stage] = {
    "texture": Stage(
        make_dataset=SequenceDataset.make,
        estimate=texture_stage.estimate,
        schedule=texture_stage.schedule,
        trainer=texture_stage.TextureTrainer,
        order=SequenceSampler,
        slots=num_windows,
        close=_close_texture,
        lighter="texture.global_batch, texture.max_window or vid2vid.resolution, or set "
        "vid2vid.activation_checkpointing",
    ),
    "nerf": Stage(
        make_dataset=FrameDataset.make,
        estimate=nerf_stage.estimate,
        schedule=lambda dataset: nerf_stage.schedule(dataset.experiment),
        trainer=nerf_stage.NerfTrainer,
        order=FrameSampler,
        slots=lambda experiment: experiment.train.global_batch,
        close=_close_avatar,
        lighter="data.rays_per_view, data.views_per_frame, nerf.samples_per_ray, nerf.samples_per_chunk or "
        "train.validation_size, or set train.precision bfloat16",
    ),
    "splats": Stage(
        make_dataset=PictureDataset.make,
        estimate=splats_stage.estimate,
        schedule=lambda dataset: splats_stage.schedule(dataset.experiment),
        trainer=splats_stage.SplatsTrainer,
        order=PictureSampler,
        slots=num_pictures,
        close=_close_avatar,
        lighter="splats.size, splats.texels or splats.views_per_frame",
    ),
}
