"""The stream beside plain decoding, and the memory it takes.

    python benchmarks/streaming.py [--capture PATH] [--memory-mb 128]

1. What Ray Data delivers to a training worker (decoded, drawn, shuffled) over what PyAV decodes of the same frames of
   the same files, in the same order and ranges, to RGB. Both sides have the whole machine: plain decoding runs in as
   many processes as there are cores; the stream's decoders share them with Ray and with the process that receives.
   The ratio of frames a second says what training gets. The ratio of CPU seconds (of the decoding alone on one side, of
   every process on the other, Ray's own included) is hardly moved by other programs on the machine. Plain decoding is
   measured before and after the stream, and the stream behind its first quarter, which pays for starting.
2. Peak of what the object store holds, and growth of the consuming process, while at least four times `--memory-mb`
   pass through.

Without a capture, one is made: a synthetic actor of 24 frames seen by 4 cameras at 512 x 512.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import re
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from ray._private.internal_api import memory_summary

from na_ray.capture import video
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.run.cluster.connection import connect
from na_ray.run.data.frames import FrameDataset, FrameSampler, Shard
from na_ray.run.data.loader import StepLoader
from na_ray.synthetic.write import write_capture


def decode(dataset: FrameDataset, shard: Shard) -> float:
    """Decode a shard's videos with PyAV and nothing else; the CPU seconds that it took."""
    start = time.process_time()
    for path in (dataset.split.texture_video, *(dataset.split.video(v) for v in shard.views)):
        if path:
            for _ in video.decode(path, shard.start, shard.stop):
                pass
    return time.process_time() - start


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that still run."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def decode_plainly(dataset: FrameDataset, shards: list[Shard]) -> np.ndarray:
    """(wall, CPU) seconds of decoding the shards in a process a core."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(decode, [dataset] * 2 * cores, shards[: 2 * cores]))  # processes are up, files are cached
        start = time.perf_counter()
        spent = sum(pool.map(decode, [dataset] * len(shards), shards))
        return np.array([time.perf_counter() - start, spent])


def deliver(dataset: FrameDataset, num_warm: int, num_rows: int) -> tuple[np.ndarray, float]:
    """(wall, CPU) seconds in which Ray Data delivers `num_rows` behind the first `num_warm`; seconds to the first."""
    rows = iter(StepLoader(FrameSampler(dataset, (0,), 1, 0), distributed=True))
    start = time.perf_counter()
    next(rows)
    first = time.perf_counter() - start
    for _ in range(num_warm - 1):
        next(rows)
    before = np.array([time.perf_counter(), cpu_seconds()])
    for _ in range(num_rows):
        next(rows)
    return np.array([time.perf_counter(), cpu_seconds()]) - before, first


def store_mb() -> float:
    """MB of the objects in Ray's store: its files keep the size that they once had, and say nothing."""
    summary = memory_summary(stats_only=True)
    return float(re.findall(r"Plasma memory usage (\d+) MiB", summary)[0])


def peak_memory(dataset: FrameDataset, streamed_mb: float) -> tuple[float, float]:
    """Most MB in the object store, and by which this process grew, while `streamed_mb` passed through."""
    rows = iter(StepLoader(FrameSampler(dataset, (0,), 1, 0), distributed=True))
    next(rows)  # Ray Data is loaded
    before = psutil.Process().memory_info().rss
    peaks = {"process": 0.0, "store": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peaks["process"] = max(peaks["process"], (psutil.Process().memory_info().rss - before) / 2**20)
            peaks["store"] = max(peaks["store"], store_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    passed = 0
    while passed < streamed_mb * 2**20:
        passed += sum(array.nbytes for row in next(rows) for array in row.values())
    over.set()
    watcher.join()
    return peaks["store"], peaks["process"]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default="")
    parser.add_argument("--memory-mb", type=int, default=128)
    parser.add_argument("--shards", type=int, default=320)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if not options.capture:
            options.capture = str(Path(scratch) / "capture")
            print("making a capture of 24 frames x 4 cameras at 512 x 512", flush=True)
            write_capture(options.capture, frames=24, test_frames=1, cameras=4, resolution=512, texture_size=512)
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    knobs = {
        "data.resolution": None,
        "data.train_views": "all",
        "data.validation_views": "0",
        "data.views_per_frame": 2,
        "data.shuffle_shards": 2,
    }
    experiment = override(Experiment(capture=options.capture), knobs | {"data.shard_frames": 8})
    dataset = FrameDataset.make(Capture.open(options.capture), experiment)
    groups = itertools.islice(dataset.shuffle_groups(), options.shards // experiment.data.shuffle_shards)
    shards = [shard for window in groups for shard in window]
    warm, measured = shards[: len(shards) // 4], shards[len(shards) // 4 :]
    num_warm, num_rows = (sum(s.stop - s.start for s in part) for part in (warm, measured))
    frames = num_rows * (1 + experiment.data.views_per_frame)
    connect(experiment)
    # First, while the store is empty.
    bounded = FrameDataset.make(
        Capture.open(options.capture), override(experiment, {"data.memory_mb": options.memory_mb})
    )
    store, process = peak_memory(bounded, 4.5 * options.memory_mb)
    print(f"memory: {4.5 * options.memory_mb:.0f} MB streamed within a budget of {options.memory_mb} MB")
    print(f"peak {store:.0f} MB of object store + {process:.0f} MB of the training process = {store + process:.0f} MB")
    before = decode_plainly(dataset, measured)
    stream, first = deliver(dataset, num_warm, num_rows)
    plain = (before + decode_plainly(dataset, measured)) / 2
    print(f"plain PyAV decoding in {os.cpu_count()} processes: {frames / plain[0]:.0f} frames/s", flush=True)
    print(f"delivered by Ray Data: {frames / stream[0]:.0f} frames/s, the first row after {first:.1f} s")
    print(f"ratio {plain[0] / stream[0]:.2f} by the clock, {plain[1] / stream[1]:.2f} by CPU time", flush=True)


if __name__ == "__main__":
    main()
