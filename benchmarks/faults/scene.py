"""What `benchmarks/faults` breaks: a cluster of several nodes on this machine, a driver, an MLflow server, a disk."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from machines import Cluster, Server, kill, name
from mlflow.tracking import MlflowClient

from na_ray.config import Experiment, override, to_dict
from na_ray.synthetic.write import write_capture

DRIVER = """
import json, sys
from na_ray.config import Experiment, from_dict
from na_ray.cli.train import guarded
from na_ray.run.train.driver import train
experiment = from_dict(Experiment, json.loads(sys.argv[1]))
sys.exit(guarded(lambda: 0 if train(experiment, resume=sys.argv[2] == "resume") else 1))
"""


@dataclass
class Outcome:
    """What became of a training."""

    finished: bool
    struck: int
    """The last step before the fault."""
    standstill: float | None
    """The longest time, from the fault on, without a step that had not been done before, in seconds."""
    redone: int
    missing: int
    doubled: int
    messages: str
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, seconds since the start, loss) as they were done."""


def prepare(folder: Path) -> Path:
    """Write a small capture."""
    capture = folder / "capture"
    write_capture(str(capture), frames=48, test_frames=2, cameras=4, resolution=96, texture_size=64)
    return capture


def experiment(folder: Path, capture: Path, knobs: dict[str, object]) -> Experiment:
    """A short training on two workers that no single node of the cluster can hold."""
    base = Experiment(name="faults", capture=str(capture), storage=str(folder / "storage"))
    small = {
        "data.train_views": "all",
        "data.validation_views": "0",
        "data.resolution": None,
        "data.rays_per_view": 256,
        "data.shard_frames": 4,
        "data.memory_mb": 64,
        "nerf.samples_per_ray": 12,
        "nerf.hidden": 48,
        "nerf.encoder_width": 8,
        "train.steps": 200,
        "train.num_workers": 2,
        "train.global_batch": 2,
        "train.cpus_per_worker": 2.0,
        "train.device": "cpu",
        "train.log_every": 1,
        "train.checkpoint_every": 20,
        "train.keep_last": 2,
        "train.validate_every": 0,
        "train.validation_frames": 1,
        "train.validation_size": 32,
        "report.frames": 0,
        "report.film_frames": 0,
    }
    return override(base, small | knobs)


class Scene:
    """One training to break. Use as a context manager: everything it started is ended."""

    def __init__(self, folder: Path, capture: Path, knobs: dict[str, object]) -> None:
        self.folder = folder
        (folder / "storage").mkdir(parents=True)
        self.mounted = False
        shutil.copytree(capture, folder / "capture")
        self.experiment = experiment(folder, folder / "capture", knobs)
        self.run = folder / "storage" / self.experiment.name
        self.struck_at, self.struck = 0.0, 0
        self.lent: list[threading.Thread] = []
        self.codes: list[int] = []

    def __enter__(self) -> "Scene":
        small = "size=24m"
        mount = ["mount", "-t", "tmpfs", "-o", small, "none", str(self.folder / "storage")]
        self.mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        self.server = Server(self.folder)
        self.cluster = Cluster()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.driver.poll() is None:
            self.driver.kill()
        self.driver.wait()
        self.cluster.stop()
        self.server.stop()
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder / "storage")], check=True)

    def start(self, resume: bool = False) -> None:
        """Start a driver."""
        environment = os.environ | {
            "RAY_ADDRESS": self.cluster.ray.address,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.server.port}",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        }
        arguments = [json.dumps(to_dict(self.experiment)), "resume" if resume else "new"]
        with open(self.folder / "driver.log", "a") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, *arguments], env=environment, stdout=log, stderr=log, cwd=self.folder
            )

    def end(self, code: int) -> None:
        """Wait for the driver's end."""
        self.codes.append(self.driver.wait())
        assert self.codes[-1] == code, (self.codes, (self.folder / "driver.log").read_text())

    def record(self) -> list[dict[str, Any]]:
        """The lines of the run's record that hold losses."""
        path = self.run / "nerf" / "metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        return [line for line in map(json.loads, text.splitlines()) if "loss" in line["metrics"]]

    def wait_for_steps(self, steps: int) -> None:
        """Wait until so many steps are done."""
        while not (lines := self.record()) or lines[-1]["step"] < steps:
            assert self.driver.poll() is None, (self.folder / "driver.log").read_text()
            time.sleep(0.1)

    def strike(self, blow: Callable[[], None]) -> None:
        """Do it, and remember when."""
        self.struck, self.struck_at = self.record()[-1]["step"], time.time()
        blow()

    def training_processes(self) -> list[psutil.Process]:
        """Those of the workers."""
        return self._processes("RayTrainWorker")

    def decoding_processes(self) -> list[psutil.Process]:
        """Those of Ray Data's tasks, at work or waiting for it."""
        return self._processes("MapBatches") + self._processes("ray::IDLE")

    def _processes(self, wanted: str) -> list[psutil.Process]:
        nodes = (self.cluster.ray.head_node, *self.cluster.ray.worker_nodes)
        return [p for node in nodes for p in self.cluster.processes(node) if wanted in name(p)]

    def kill(self, processes: list[psutil.Process]) -> None:
        """Strike by SIGKILL."""
        assert processes, "nothing to kill"
        self.strike(lambda: kill(processes))

    def kill_driver(self) -> None:
        """Strike the driver by SIGKILL."""
        self.strike(self.driver.kill)
        self.driver.wait()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def wait() -> None:
            time.sleep(seconds)
            action()

        thread = threading.Thread(target=wait)
        thread.start()
        self.lent.append(thread)

    def fill_disk(self, seconds: float) -> None:
        """Leave not a byte free for some time."""
        assert self.mounted, "a disk of its own for the runs needs root"
        filler = self.folder / "storage" / "filler"
        with open(filler, "wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while file.write(bytes(size)) == size:
                        continue
                except OSError:
                    continue
        self._later(seconds, filler.unlink)

    def server_away(self, seconds: float) -> None:
        """End MLflow's server, and start it again after some time."""
        self.server.stop()
        self._later(seconds, self.server.start)

    def damage_video(self) -> Callable[[], None]:
        """Overwrite a video's frames, from the middle on. Returns what mends it."""
        path = next((self.folder / "capture" / "training" / "rgb_video").glob("*.avi"))
        whole = path.read_bytes()

        def damage() -> None:
            with open(path, "r+b") as file:
                file.seek(len(whole) // 2)
                file.write(bytes(len(whole) // 4))

        self.strike(damage)

        def mend() -> None:
            path.write_bytes(whole)

        return mend

    def finish(self) -> Outcome:
        """Wait for the driver's end and see what is there."""
        code = self.driver.wait()
        for thread in self.lent:
            thread.join()
        lines = self.record()
        steps = [line["step"] for line in lines]
        fresh = [
            line["time"]
            for i, line in enumerate(lines)
            if line["time"] > self.struck_at and line["step"] > max(steps[:i], default=0)
        ]
        ids = json.loads((self.run / "tracking.json").read_text())
        history = [
            m.step for m in MlflowClient(f"http://127.0.0.1:{self.server.port}").get_metric_history(ids["nerf"], "loss")
        ]
        log = (self.folder / "driver.log").read_text().splitlines()
        messages = [text for text in log if text.startswith(("error:", "MLflow", "nerf: "))]
        wanted = self.experiment.train.steps
        return Outcome(
            finished=code == 0 and steps[-1] == wanted,
            struck=self.struck,
            standstill=max(b - a for a, b in itertools.pairwise([self.struck_at, *fresh])) if fresh else None,
            redone=len(steps) - len(set(steps)),
            missing=len(set(range(1, wanted + 1)) - set(history)),
            doubled=len(history) - len(set(history)),
            messages="; ".join(text[:120] for text in messages).replace(str(self.folder), "..."),
            losses=[(line["step"], line["time"] - lines[0]["time"], line["metrics"]["loss"]) for line in lines],
        )
