"""A step of the splats through Ray over the same step without it, and the memory that a long stream takes.

    python benchmarks/splats_stream.py [--capture PATH] [--steps 300] [--memory-mb 16] [--turns 2]

`na-ray train splats` twice in turn, as it is typed: in the driver's own process, which decodes beside the steps, and on
one worker of Ray's, which gets its rows from Ray Data. One thread each. Steps are timed by the run's record, from the
first quarter on; a step that waits for its rows counts with the wait. Memory: how far the worker grows behind the first
quarter of its steps, and the most that Ray's store holds, while many times `--memory-mb` of pictures pass through.

Without a capture, one is made: a synthetic actor of 96 frames seen by 4 cameras at 256 x 256.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import ray
from streaming import store_mb

from na_ray.capture.dataset import Capture
from na_ray.synthetic.write import write_capture


def words(options: argparse.Namespace, folder: Path, name: str, workers: int) -> list[str]:
    """A training's command line."""
    knobs = {
        "stages": "splats",
        "name": name,
        "capture": options.capture,
        "storage": folder / "runs",
        "data.train-views": "all",
        "data.validation-views": "0",
        "data.memory-mb": options.memory_mb,
        "data.shard-frames": 2,
        "splats.steps": options.steps,
        "train.num-workers": workers,
        "train.cpus-per-worker": 1,
        "train.log-every": 1,
        "train.checkpoint-every": options.steps,
        "train.validate-every": 0,
        "report.frames": 0,
        "report.film-frames": 0,
    }
    given = [str(word) for knob, value in knobs.items() for word in (f"--{knob}", value)]
    return [sys.executable, "-c", "from na_ray.cli.main import main; main()", "train", "splats", *given]


def resident(process: psutil.Process) -> float:
    """MB that processes called `RayTrainWorker` below this one's Ray hold; 0 where there is none."""
    total = 0.0
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                total += child.memory_info().rss / 2**20
    return total


def record(folder: Path, name: str) -> list[dict[str, float]]:
    """The run's lines that hold losses."""
    path = folder / "runs" / name / "splats" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if "loss" in line["metrics"]]


Held = list[tuple[int, float, float]]
"""Steps done, MB of the worker, MB of Ray's store."""


def run(options: argparse.Namespace, folder: Path, name: str, workers: int) -> tuple[float, Held]:
    """Train. Returns (median seconds of a step, what was held)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with open(folder / f"{name}.log", "w") as log:
        driver = subprocess.Popen(
            words(options, folder, name, workers), env=environment, cwd=folder, stdout=log, stderr=log
        )
    held: Held = []
    while driver.poll() is None:
        time.sleep(1.0)
        if workers and (done := len(record(folder, name))):
            held.append((done, resident(psutil.Process()), store_mb()))
    if driver.returncode:
        sys.exit((folder / f"{name}.log").read_text())
    times = [line["time"] for line in record(folder, name)][options.steps // 4 :]
    return statistics.median(b - a for a, b in itertools.pairwise(times)), held


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default="")
    parser.add_argument("--memory-mb", type=int, default=12)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    # Ray's folder is its own, so that no later program joins it; the paths of its sockets must be short.
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(prefix="ray") as of_ray:
        os.environ |= {"RAY_TMPDIR": of_ray, "RAY_worker_niceness": "0"}  # nor polite, on a busy machine
        folder = Path(scratch)
        if options.capture:
            options.capture = str(Path(options.capture).resolve())
        else:
            options.capture = str(folder / "capture")
            write_capture(options.capture, frames=96, test_frames=2, cameras=4, resolution=256, texture_size=256)
        measure(options, folder)


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Measure and print."""
    split = Capture.open(options.capture).split("training")
    camera = split.cameras[0]
    whole = split.num_frames * len(split.cameras) * camera.height * camera.width * 3 / 2**20
    print(f"pictures of the capture: {whole:.0f} MB decoded, {whole / options.memory_mb:.1f} times the budget")
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="error")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    found: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(options.turns):
        for workers in found:
            seconds, held = run(options, folder, f"turn{turn}-{workers}", workers)
            found[workers].append(1e3 * seconds)
            print(f"{workers} workers: a step {1e3 * seconds:.1f} ms", flush=True)
            if held:
                late = [mb for done, mb, _ in held if done >= options.steps // 4]
                grown, most = max(late) - late[0], max(store for _, _, store in held)
                print(f"  the worker: {late[0]:.0f} MB, + {grown:.0f} MB to its most; Ray's store: {most:.0f} MB")
    ray.shutdown()
    print(f"through Ray over without: {min(found[1]) / min(found[0]):.2f} at the least")


if __name__ == "__main__":
    main()
