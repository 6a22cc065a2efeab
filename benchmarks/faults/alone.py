"""What those faults strike that need no cluster: drivers that train without Ray, as they are typed, in their folder."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge import Forge, Forked
from mlflow.tracking import MlflowClient

from na_ray.checkpoint import damage
from na_ray.synthetic.write import write_capture

NA_RAY = "from na_ray.cli.main import main; main()"
STEPS, EVERY = 60, 20
"""Of a training, and between two checkpoints."""
ENDLESS = 10**6
"""Steps of a training that something else ends."""
LONGEST = 400.0
"""Seconds after which a driver hangs."""

KNOBS: dict[str, object] = {
    "stages": ["nerf"],
    "data.train_views": "all",
    "data.validation_views": "0",
    "data.resolution": None,
    "data.rays_per_view": 64,
    "data.shard_frames": 4,
    "data.memory_mb": 4,
    "nerf.samples_per_ray": 8,
    "nerf.hidden": 24,
    "nerf.encoder_width": 4,
    "train.num_workers": 0,
    "train.global_batch": 1,
    "train.device": "cpu",
    "train.log_every": 1,
    "train.checkpoint_every": EVERY,
    "train.keep_last": 2,
    "train.validate_every": 0,
    "train.validation_frames": 1,
    "train.validation_size": 16,
    "report.frames": 0,
    "report.film_frames": 0,
}


@dataclass
class LoneDriver:
    """A `na-ray` process and what it says."""

    process: subprocess.Popen[bytes] | Forked
    log: Path

    def text(self) -> str:
        """All that it said so far."""
        return self.log.read_text(errors="replace") if self.log.is_file() else ""

    def wait(self) -> int | str:
        """Its exit code; one that hangs is killed."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"hangs for {LONGEST:.0f} s"

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


@dataclass
class Verdict:
    """What became of the trainings of a scene."""

    codes: list[int | str]
    said: list[str]
    redone: int
    lost: int
    """Losses that MLflow lacks or has twice."""
    wrong: list[str]


def prepare_lone(folder: Path) -> tuple[Path, Path]:
    """(a tiny capture, an MLflow database without runs: to make one takes seconds)."""
    folder.mkdir()
    capture, store = folder / "capture", folder / "mlflow.db"
    write_capture(str(capture), frames=8, test_frames=2, cameras=3, resolution=64, texture_size=32)
    MlflowClient(f"sqlite:///{store}").search_experiments()
    return capture, store


@dataclass
class LoneScene:
    """Drivers in a folder of their own, with a capture and a database."""

    folder: Path
    capture: Path
    store: Path
    forge: Forge
    fresh_store: bool = False
    drivers: list[LoneDriver] = field(default_factory=list)
    codes: list[int | str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    wanted: dict[str, int] = field(default_factory=dict)
    """How many steps each run is to have in the end."""
    registered: dict[str, int] = field(default_factory=dict)
    """How many model versions a run is to have in the end, where it is counted."""

    def __enter__(self) -> "LoneScene":
        self.folder.mkdir()
        shutil.copytree(self.capture, self.folder / "capture")
        if not self.fresh_store:
            shutil.copy(self.store, self.folder / "mlflow.db")
        (self.folder / "knobs.yaml").write_text(json.dumps(KNOBS))
        return self

    def __exit__(self, *_: object) -> None:
        for driver in self.drivers:
            if driver.process.poll() is None:
                driver.process.send_signal(signal.SIGCONT)
                driver.kill()

    def run(self, name: str = "run") -> Path:
        """A run's folder."""
        return self.folder / "runs" / name

    def na_ray(self, *words: str, environment: dict[str, str] | None = None, output: Path | None = None) -> LoneDriver:
        """Start a command. `output`: a file or a named pipe to write to, instead of the one that is read here."""
        log = self.folder / f"driver{len(self.drivers)}.log"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        own |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
        own |= environment or {}
        log.touch()
        if "--train.num-workers" in words:  # Ray needs a process that was not forked
            with open(log, "wb") as file:
                command = [sys.executable, "-c", NA_RAY, *words]
                process: Any = subprocess.Popen(command, env=own, stdout=file, stderr=file, cwd=self.folder)
        else:
            process = self.forge.start(list(words), own, self.folder, output or log)
        self.drivers.append(LoneDriver(process, log))
        return self.drivers[-1]

    def train(
        self,
        *options: str,
        name: str = "run",
        steps: int = STEPS,
        capture: str = "capture",
        storage: str = "runs",
        environment: dict[str, str] | None = None,
        output: Path | None = None,
    ) -> LoneDriver:
        """Start a driver of a run: a new one, or one that goes on."""
        named = ("--name", name, "--capture", capture, "--storage", storage, "--train.steps", str(steps))
        self.wanted[name] = steps
        words = ("train", "splats", "--config", "knobs.yaml", *named, "--resume", "auto", *options)
        return self.na_ray(*words, environment=environment, output=output)

    def record(self, name: str = "run") -> list[dict[str, Any]]:
        """The whole lines of a run's record that hold losses."""
        path = self.run(name) / "nerf" / "metrics.jsonl"
        lines = []
        for text in path.read_text().splitlines() if path.is_file() else []:
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
        return [line for line in lines if "loss" in line["metrics"]]

    def last(self, name: str = "run") -> int:
        """The last step of the record."""
        return max((line["step"] for line in self.record(name)), default=0)

    def until(self, driver: LoneDriver, condition: Callable[[], bool], pause: float = 0.02) -> None:
        """Wait for a condition while a driver runs; that it never came is part of the verdict."""
        end = time.monotonic() + LONGEST
        while not condition():
            if driver.process.poll() is not None or time.monotonic() > end:
                self.wrong.append("the moment to strike never came")
                return
            time.sleep(pause)

    def until_step(self, driver: LoneDriver, step: int, name: str = "run") -> None:
        """Wait until a run has so many steps."""
        self.until(driver, lambda: self.last(name) >= step)

    def until_said(self, driver: LoneDriver, word: str) -> None:
        """Wait until a driver says something."""
        self.until(driver, lambda: word in driver.text())

    def expect(self, driver: LoneDriver, code: int, word: str = "") -> None:
        """Wait for a driver's end: its exit code, and the line with the word among what it said."""
        found, text = driver.wait(), driver.text()
        self.codes.append(found)
        if found != code:
            self.wrong.append(f"exit code {found} instead of {code}")
        if "Traceback" in text:
            self.wrong.append("a traceback")
        if code == 2 and text.count("error: ") != 1:
            self.wrong.append(f"{text.count('error: ')} lines instead of one")
        lines = [line for line in text.splitlines() if word and word in line]
        if word and not lines:
            self.wrong.append(f"does not say {word!r}")
        self.said += [self.shown(line) for line in lines[-1:]]

    def shown(self, text: str) -> str:
        """A line without the place of the scene, and not too long for a table."""
        text = text.replace(f"{self.folder}/", "").replace(f"{self.folder.parent}/", ".../").replace("|", "/")
        return text if len(text) <= 230 else f"{text[:227]}..."

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """MLflow's database."""
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db", timeout=30)) as opened:
            yield opened

    def ask(self, question: str, *values: object) -> list[Any]:
        """What the database answers."""
        with self.database() as opened:
            return opened.execute(question, values).fetchall()

    def tracked(self, name: str = "run") -> dict[str, str]:
        """A run's MLflow ids."""
        found: dict[str, str] = json.loads((self.run(name) / "tracking.json").read_text())
        return found

    def verdict(self) -> Verdict:
        """Look at what is there: every run's steps, its record in MLflow, its checkpoints, what was left behind."""
        redone = lost = 0
        for name, steps in self.wanted.items():
            done = [line["step"] for line in self.record(name)]
            told = [s for (s,) in self.ask("select step from metrics where run_uuid=? and key='loss'", self.nerf(name))]
            redone += len(done) - len(set(done))
            lost += len(set(range(1, steps + 1)) ^ set(told)) + len(told) - len(set(told))
            self.wrong += self.left_behind(name, steps)
        return Verdict(self.codes, self.said, redone, lost, list(dict.fromkeys(self.wrong)))

    def nerf(self, name: str) -> str:
        """The MLflow run of a run's stage; empty where there is none."""
        return self.tracked(name).get("nerf", "") if (self.run(name) / "tracking.json").is_file() else ""

    def left_behind(self, name: str, steps: int) -> list[str]:
        """What a run's folder and MLflow should not hold, or lack."""
        checkpoints, wrong = self.run(name) / "nerf" / "checkpoints", []
        found = sorted(checkpoints.glob("step_*"))
        if not found or found[-1].name != f"step_{steps:06d}" or any(damage(folder) for folder in found):
            wrong.append(f"{name} has no whole last checkpoint")
        odd = [*checkpoints.glob(".*"), self.run(name) / "driver.lock", self.run(name) / "nerf" / "stop"]
        wrong += [f"{path.name} is left behind" for path in odd if path.exists()]
        states = self.ask("select status, lifecycle_stage from runs where run_uuid=?", self.nerf(name))
        wrong += [f"MLflow has {name} as {state}" for state in states if state != ("FINISHED", "active")]
        versions = self.ask("select count(*) from model_versions where name=?", name)[0][0]
        if versions != self.registered.get(name, versions):
            wrong.append(f"{versions} registered versions instead of {self.registered[name]}")
        return wrong
