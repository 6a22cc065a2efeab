"""Weak scaling of the NeRF on this machine: steps a second by one worker and by two, of a frame a worker and step.

    python benchmarks/weak_scaling.py [--workers 1 2] [--steps 60] [--log-every 10]

A synthetic capture, a small nerf, whole trainings by Ray Train. Perfect scaling keeps the steps a second; workers
that share cores with each other, with the decoders and with the driver cannot. The speed is the median of the reports
behind the first, by the clock; 0 workers train in this process, without Ray.
"""

import itertools
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from na_ray.config import DataConfig, Experiment, NerfConfig, ReportConfig, TrainConfig
from na_ray.run.train.driver import train
from na_ray.run.train.run_folder import RunFolder
from na_ray.synthetic.write import write_capture


@dataclass(frozen=True)
class Options:
    """What is measured."""

    workers: tuple[int, ...] = (1, 2)
    """The first is what the others are compared with."""
    steps: int = 60
    log_every: int = 10
    rays: int = 512


def experiment(options: Options, workers: int, folder: Path) -> Experiment:
    """A short training without validation, scores or film on the way."""
    return Experiment(
        name=f"workers{workers}",
        capture=str(folder / "capture"),
        storage=str(folder / "runs"),
        data=DataConfig(
            train_views="all", validation_views="0", resolution=None, rays_per_view=options.rays, shard_frames=8
        ),
        nerf=NerfConfig(samples_per_ray=24, hidden=96, encoder_width=16),
        train=TrainConfig(
            steps=options.steps,
            num_workers=workers,
            global_batch=max(1, workers),
            cpus_per_worker=0.5,
            device="cpu",
            log_every=options.log_every,
            checkpoint_every=options.steps,
            validate_every=0,
            validation_frames=1,
            validation_size=16,
        ),
        report=ReportConfig(frames=0, film_frames=0),
    )


def speed(chosen: Experiment) -> tuple[float, float]:
    """Steps a second of a training, and the percentage of the time that waits for data."""
    train(chosen)
    run = RunFolder(Path(chosen.storage) / chosen.name, "nerf", chosen.train.keep_last)
    reports = [line for line in run.record(0)[0] if "data_wait_percent" in line["metrics"]]
    pairs = list(itertools.pairwise(reports))
    # By the clock from report to report, so that what reporting costs counts too.
    steps = statistics.median((b["step"] - a["step"]) / (b["time"] - a["time"]) for a, b in pairs)
    return steps, statistics.median(b["metrics"]["data_wait_percent"] for _, b in pairs)


def main() -> None:
    """Print a line for each number of workers."""
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        os.chdir(scratch)  # where MLflow puts artifacts
        write_capture(f"{scratch}/capture", frames=16, test_frames=1, cameras=4, resolution=96, texture_size=128)
        found = {n: speed(experiment(options, n, Path(scratch))) for n in options.workers}
    base = found[options.workers[0]][0]
    print(f"{os.cpu_count()} CPUs, {options.rays} rays x 25 samples a frame, a frame a worker and step")
    for workers, (steps, waiting) in found.items():
        frames = steps * max(1, workers)
        print(
            f"{workers} workers: {steps:.2f} steps/s, {frames:.2f} frames/s, efficiency {steps / base:.2f}, "
            f"waiting for data {waiting:.0f} %"
        )


if __name__ == "__main__":
    main()
