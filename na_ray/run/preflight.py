"""Before hours of work: is the capture whole, do memory and disk suffice, how long will it take?"""

import shutil
from pathlib import Path

import psutil

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.defects import find_defects
from na_ray.config import Experiment
from na_ray.models.cost import gemm_rate, step_multiply_adds
from na_ray.models.renderer import Renderer
from na_ray.run.stream import Plan

# Bytes of a checkpoint over bytes of the weights: the weights and Adam's two moments.
CHECKPOINT_WEIGHTS = 3


def preflight(experiment: Experiment, root: Path) -> Plan:
    """Check the capture and print what the run will need.

    Raises ValueError with every defect of the capture, a line each, or when the disk is too small.
    """
    if not experiment.capture:
        raise ValueError("no capture is named: give one by --capture PATH (na-ray synth makes one)")
    defects = find_defects(experiment.capture)
    if defects:
        raise ValueError("\n".join(defects))
    plan = Plan.make(Capture.open(experiment.capture), experiment)
    renderer = Renderer(experiment.renderer, Body.from_rig(plan.rig))
    weights = 4 * sum(p.numel() for p in renderer.parameters())
    need = (experiment.train.keep_last + 2) * CHECKPOINT_WEIGHTS * weights
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    if free < need:
        raise ValueError(
            f"{root} has {free / 1e9:.1f} GB free and its checkpoints need {need / 1e9:.1f} GB: "
            "free some, choose another --storage, or lower train.keep_last"
        )
    print(_summary(plan, weights, need), flush=True)
    return plan


def _summary(plan: Plan, weights: int, disk: int) -> str:
    experiment = plan.experiment
    train, data = experiment.train, experiment.data
    frames = train.frames_per_step or max(1, train.num_workers)
    plan.room(frames // max(1, train.num_workers))
    side = data.texture_size or plan.split.texture(0).shape[0]
    operations = 3 * frames * step_multiply_adds(experiment.renderer, data, side)  # backward costs two forwards
    seconds = train.steps * operations / gemm_rate()
    encoder = experiment.renderer.encoder_weights or "random weights: renderer.encoder-weights names a file"
    return "\n".join(
        [
            f"capture   {len(plan.frames)} frames x {len(plan.views)} views of {experiment.capture}",
            f"encoder   {encoder}",
            f"model     {weights / 4e6:.1f} M parameters, {operations / 1e9:.1f} G multiply-adds a step at most",
            f"time      {train.steps} steps: {seconds / 3600:.2f} h at most on this CPU, at its measured GEMM rate",
            f"memory    {data.memory_mb} MB of decoded frames a worker at most, "
            f"{psutil.virtual_memory().available / 1e9:.1f} GB are free here",
            f"disk      {disk / 1e9:.2f} GB for {train.keep_last} checkpoints, the best one and one being written",
        ]
    )
