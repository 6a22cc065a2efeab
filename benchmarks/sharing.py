"""Two trainings on one Ray cluster: how long the second waits for the first, and how they divide the machine.

    python benchmarks/sharing.py [--cpus 4] [--pixels 384]

Pictures are large and the model is small, so that both trainings wait for decoding, and want every CPU of the cluster
for it. Prints frames a second of the first alone and of both side by side, and the time until the second's first step.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from psutil import Process
from ray.cluster_utils import Cluster

sys.path.append(str(Path(__file__).parent / "faults"))
from machines import kill
from scene import DRIVER

from na_ray.config import Experiment, override, to_dict
from na_ray.synthetic.write import write_capture


@dataclass(frozen=True)
class Options:
    """What is measured."""

    cpus: int = 4
    """Logical CPUs of the cluster."""
    pixels: int = 384
    """Side of the pictures."""
    seconds: float = 30.0
    """Length of each measurement."""


def experiment(name: str, folder: Path) -> Experiment:
    """A training that decodes more than it computes, and does not end by itself."""
    knobs = {
        "data.train_views": "all",
        "data.validation_views": "0",
        "data.resolution": None,
        "data.rays_per_view": 16,
        "data.shard_frames": 8,
        "data.memory_mb": 64,
        "nerf.samples_per_ray": 4,
        "nerf.hidden": 16,
        "nerf.encoder_width": 4,
        "train.steps": 10**6,
        "train.global_batch": 1,
        "train.cpus_per_worker": 0.5,
        "train.device": "cpu",
        "train.checkpoint_every": 10**6,
        "train.validate_every": 0,
        "train.validation_size": 16,
        "report.frames": 0,
        "report.film_frames": 0,
    }
    return override(Experiment(name=name, capture=str(folder / "capture"), storage=str(folder / "runs")), knobs)


class Training:
    """A driver of its own."""

    def __init__(self, name: str, folder: Path, address: str) -> None:
        chosen = experiment(name, folder)
        self.path = folder / "runs" / name / "nerf" / "metrics.jsonl"
        environment = os.environ | {"RAY_ADDRESS": address, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/{name}.db"}
        with open(folder / f"{name}.log", "w") as log:
            command = [sys.executable, "-c", DRIVER, json.dumps(to_dict(chosen)), "new"]
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        self.started = time.monotonic()

    def steps(self) -> int:
        """Steps done."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return int(json.loads(lines[-1])["step"]) if lines else 0

    def wait(self) -> float:
        """Seconds from the start to the first report."""
        while not self.steps():
            assert self.process.poll() is None, "the training ended"
            time.sleep(0.1)
        return time.monotonic() - self.started


def rates(trainings: list[Training], seconds: float) -> list[float]:
    """Frames a second of each."""
    before = [t.steps() for t in trainings]
    time.sleep(seconds)
    return [(t.steps() - b) / seconds for t, b in zip(trainings, before, strict=True)]


def main() -> None:
    """Print the figures."""
    options = tyro.cli(Options, description=__doc__)
    trainings: list[Training] = []
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(prefix="ray") as own:
        os.environ["RAY_TMPDIR"] = own  # `Cluster` leaves its address there, for whoever starts Ray next
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": options.cpus, "include_dashboard": False})
        folder = Path(scratch)
        write_capture(f"{scratch}/capture", frames=64, test_frames=2, cameras=4, resolution=options.pixels)
        try:
            trainings.append(Training("first", folder, cluster.address))
            print(f"first step of the first after {trainings[0].wait():.1f} s")
            (alone,) = rates(trainings, options.seconds)
            print(f"alone: {alone:.1f} frames/s")
            trainings.append(Training("second", folder, cluster.address))
            print(f"first step of the second after {trainings[1].wait():.1f} s")
            first, second = rates(trainings, options.seconds)
            both = first + second
            print(
                f"side by side: {first:.1f} and {second:.1f} frames/s, {both / alone:.2f} of the first alone, "
                f"share of the second {second / both:.2f}"
            )
        finally:
            for training in trainings:
                kill([Process(training.process.pid)])
                training.process.wait()
            cluster.shutdown()


if __name__ == "__main__":
    main()
