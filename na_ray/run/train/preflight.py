"""Before hours of work: is the capture whole, do memory and disk suffice, how long will it take?"""

import shutil
from pathlib import Path

import psutil

from na_ray.capture.checks.defects import find_defects
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, StageName
from na_ray.config.values import UserError
from na_ray.models.gemm import gemm_rate
from na_ray.run.train.stages import STAGES, AnyDataset


def preflight(experiment: Experiment, root: Path) -> dict[StageName, AnyDataset]:
    """Check the capture and print what the run will need. Returns each stage's dataset.

    Raises UserError with every defect of the capture, a line each, or when memory or disk are too small.
    """
    if not experiment.capture:
        raise UserError("no capture is named: give one by --capture PATH (na-ray synth makes one)")
    defects = find_defects(experiment.capture)
    if defects:
        raise UserError("\n".join(defects))
    capture = Capture.open(experiment.capture)
    datasets = {stage: STAGES[stage].make_dataset(capture, experiment) for stage in experiment.stages}
    lines, operations, need = [f"capture   {experiment.capture}"], 0.0, 0
    for stage, dataset in datasets.items():
        about, multiply_adds, checkpoint = STAGES[stage].estimate(dataset)
        lines += about
        operations += multiply_adds
        need += (experiment.train.keep_last + 2) * checkpoint
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    if free < need:
        raise UserError(
            f"{root} has {free / 1e9:.1f} GB free and its checkpoints need {need / 1e9:.1f} GB: "
            "free some, choose another --storage, or lower train.keep_last"
        )
    lines += [
        f"time      {operations / gemm_rate() / 3600:.2f} h at most on this CPU, at its measured GEMM rate",
        f"memory    {experiment.data.memory_mb} MB of decoded frames a worker at most, "
        f"{psutil.virtual_memory().available / 1e9:.1f} GB are free here",
        f"disk      {need / 1e9:.2f} GB for {experiment.train.keep_last} checkpoints, the best one and one being "
        "written",
    ]
    print("\n".join(lines), flush=True)
    return datasets
