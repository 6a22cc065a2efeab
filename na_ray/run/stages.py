"""The two stages, side by side: the parts that the driver and the workers need of each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, Stage
from na_ray.run import closing, renderer_stage, served, served_predictor, texture_closing, texture_stage
from na_ray.run.loop import Pace, Setting, Trainer
from na_ray.run.stream import Order, Plan
from na_ray.run.tracking import Tracker
from na_ray.run.windows import WindowOrder, WindowPlan, num_windows

AnyPlan = Plan | WindowPlan


@dataclass(frozen=True)
class Parts:
    """What a stage is made of. The functions take the plan that `make_plan` of the same stage gave."""

    make_plan: Callable[[Capture, Experiment], Any]
    """What to read. Raises UserError, a line a defect, for what the stage cannot train on."""
    outlook: Callable[[Any], tuple[list[str], float, int]]
    """Lines for the preflight, multiply-adds of the whole training, bytes of a checkpoint."""
    pace: Callable[[Any], Pace]
    trainer: Callable[[Setting, Any], Trainer]
    order: Callable[[Any, tuple[int, ...], int, int], Any]
    """(plan, lanes of a worker, lanes in all, first step) to what a `Feed` reads."""
    lanes: Callable[[Experiment], int | None]
    """Rows of one step over all workers."""
    close: Callable[[Path, Capture, Path, Tracker], str]
    """Score and film the best checkpoint; returns what to tell the user."""
    served: str
    """File of the MLflow model."""
    suffix: str
    """What the registered model's name ends in."""


STAGES: dict[Stage, Parts] = {
    "texture": Parts(
        make_plan=WindowPlan.make,
        outlook=texture_stage.outlook,
        pace=texture_stage.pace,
        trainer=texture_stage.TextureTrainer,
        order=WindowOrder,
        lanes=num_windows,
        close=texture_closing.close,
        served=served_predictor.__file__,
        suffix="-texture",
    ),
    "renderer": Parts(
        make_plan=Plan.make,
        outlook=renderer_stage.outlook,
        pace=lambda plan: renderer_stage.pace(plan.experiment),
        trainer=renderer_stage.RendererTrainer,
        order=Order,
        lanes=lambda experiment: experiment.train.frames_per_step,
        close=closing.close,
        served=served.__file__,
        suffix="",
    ),
}
