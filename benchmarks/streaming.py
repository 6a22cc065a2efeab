"""The stream beside plain decoding, and the memory it takes.

    python benchmarks/streaming.py [--capture PATH] [--memory-mb 64]

1. What Ray Data delivers to a training worker (decoded, drawn, shuffled) over what PyAV decodes of the same frames of
   the same files, in the same order and ranges, to RGB. Both sides have the whole machine: plain decoding runs in as
   many processes as there are cores; the stream's decoders share them with Ray and with the process that receives.
   The ratio of frames a second says what training gets. The ratio of CPU seconds (all processes of either side, Ray's
   own included) says the same, and is not moved by other programs on the machine. Both are taken in rounds, one side
   after the other, behind the stream's first shards, which pay for starting.
2. Peak of the object store and growth of the consuming process while it streams at least four times `--memory-mb`.

Without a capture, one is made: a synthetic actor of 24 frames seen by 4 cameras at 512 x 512.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from na_ray.capture import video
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.run.feed import Feed
from na_ray.run.stream import Order, Plan, Shard
from na_ray.run.train import connect
from na_ray.synthetic.write import write_capture


def decode(plan: Plan, shard: Shard) -> int:
    """Decode a shard's videos with PyAV and nothing else; the number of frames."""
    texture = plan.split.texture_video
    paths = [texture, *(plan.split.video(v) for v in shard.views)]
    return sum(1 for path in paths if path for _ in video.decode(path, shard.start, shard.stop))


class Cost:
    """Seconds on the clock and of the CPU, in this process and all that it started, until `taken`."""

    def __init__(self) -> None:
        self.started = time.perf_counter(), cpu_seconds()

    def taken(self) -> np.ndarray:
        """(wall, CPU) seconds since."""
        return np.array([time.perf_counter(), cpu_seconds()]) - self.started


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that still run."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def race(plan: Plan, num_shards: int, rounds: int) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Stream and decode plainly, turn by turn.

    Returns (wall, CPU) seconds of plain decoding and of the stream, the frames that each side did, and the seconds to
    the first row.
    """
    size = plan.experiment.data.shuffle_shards
    rows = iter(Feed(Order(plan, (0,), 1, 0), distributed=True))
    windows = plan.windows()
    cores = os.cpu_count() or 1
    plain, stream, frames = np.zeros(2), np.zeros(2), 0
    cost = Cost()
    next(rows)
    first = float(cost.taken()[0])
    warm = [shard for window in itertools.islice(windows, max(1, num_shards // size)) for shard in window]
    for _ in range(sum(s.stop - s.start for s in warm) - 1):
        next(rows)
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(decode, [plan] * 2 * cores, warm[: 2 * cores]))  # processes are up, files are cached
        for _ in range(rounds):
            shards = [shard for window in itertools.islice(windows, max(1, num_shards // size)) for shard in window]
            cost = Cost()
            for _ in range(sum(s.stop - s.start for s in shards)):
                next(rows)
            stream += cost.taken()
            time.sleep(IDLE)  # what is decoded ahead is ready by then: each round starts alike
            cost = Cost()
            frames += sum(pool.map(decode, [plan] * len(shards), shards))
            plain += cost.taken()
    return plain, stream, frames, first


def peak_memory(plan: Plan, streamed_mb: float) -> tuple[float, float]:
    """MB by which the object store and this process grew while `streamed_mb` passed through."""
    before, store = psutil.Process().memory_info().rss, shutil.disk_usage("/dev/shm").used
    peaks = {"process": 0, "store": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peaks["process"] = max(peaks["process"], psutil.Process().memory_info().rss - before)
            peaks["store"] = max(peaks["store"], shutil.disk_usage("/dev/shm").used - store)

    watcher = threading.Thread(target=watch)
    watcher.start()
    passed, rows = 0, iter(Feed(Order(plan, (0,), 1, 0), distributed=True))
    while passed < streamed_mb * 2**20:
        passed += sum(array.nbytes for row in next(rows) for array in row.values())
    over.set()
    watcher.join()
    return peaks["store"] / 2**20, peaks["process"] / 2**20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default="")
    parser.add_argument("--memory-mb", type=int, default=128)
    parser.add_argument("--shards", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if not options.capture:
            options.capture = str(Path(scratch) / "capture")
            print("making a capture of 24 frames x 4 cameras at 512 x 512", flush=True)
            write_capture(options.capture, frames=24, test_frames=1, cameras=4, resolution=512, texture_size=512)
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    knobs = {"data.resolution": None, "data.train_views": "all", "data.views_per_frame": 2, "data.shuffle_shards": 2}
    experiment = override(Experiment(capture=options.capture), knobs | {"data.shard_frames": 8})
    plan = Plan.make(Capture.open(options.capture), experiment)
    shards = [shard for window, _ in zip(plan.windows(), range(options.shards // 2), strict=False) for shard in window]
    cores = os.cpu_count() or 1
    connect(experiment)
    one, all_cores = raw_rate(plan, shards, 1), raw_rate(plan, shards, cores)
    delivered, first = stream_rate(plan, len(shards))
    print(f"raw PyAV decoding: {one:.0f} frames/s in one process, {all_cores:.0f} in {cores}")
    print(f"delivered by Ray Data: {delivered:.0f} frames/s, the first row after {first:.1f} s")
    print(f"ratio {delivered / one:.2f} of one process, {delivered / all_cores:.2f} of {cores}", flush=True)
    bounded = Plan.make(Capture.open(options.capture), override(experiment, {"data.memory_mb": options.memory_mb}))
    store, process = peak_memory(bounded, 4.5 * options.memory_mb)
    print(f"memory: {4.5 * options.memory_mb:.0f} MB streamed within a budget of {options.memory_mb} MB")
    print(f"peak {store:.0f} MB of object store + {process:.0f} MB of the training process = {store + process:.0f} MB")


if __name__ == "__main__":
    main()
