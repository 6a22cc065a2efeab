"""The stream from an object store beside the same stream from local disk.

    python benchmarks/object_store.py [--capture PATH] [--shards 96] [--delay-ms 20] [--memory-mb 128]

A capture is uploaded to moto's S3 server on 127.0.0.1, a process of its own that counts what it sends. Then the same
shards are delivered by the same `StepLoader` from local disk, from the store, and from the store with `--delay-ms`
before each answer, as a distant one has: by a thread of this process, and by Ray Data on the cluster's CPUs. A first
pass warms the processes (headers, indices and transforms are known), then others are measured in turns, from their
first row to their last: medians are printed.
Bytes needed are the packets of the frames of all shards, from the key packet that each range has to start at; on the
first pass also all else that the videos hold but their packets (headers and indices) once, and the transforms of the
frames once. The server is slow Python and takes its share of the machine's cores: its CPU time stands beside.
"""

import argparse
import itertools
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import av
import psutil
from object_server import CREDENTIALS, ObjectServer
from streaming import cpu_seconds, peak_memory

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.run.cluster.connection import connect
from na_ray.run.data.frames import FrameDataset, FrameSampler, Shard
from na_ray.run.data.loader import StepLoader
from na_ray.synthetic.write import write_capture

PLACE = "lab/capture"


@dataclass(frozen=True)
class Part:
    """Some windows of an order, so that a loader reads these and no more."""

    order: FrameSampler
    first: int
    stop: int

    @property
    def dataset(self) -> FrameDataset:
        """What is read."""
        return self.order.dataset

    @property
    def slots(self) -> tuple[int, ...]:
        """One."""
        return self.order.slots

    def shuffle_groups(self) -> Iterator[tuple[int, int, int, tuple[Shard, ...]]]:
        """Those of the order."""
        return itertools.islice(self.order.shuffle_groups(), self.first, self.stop)

    def shards(self) -> list[Shard]:
        """All of them."""
        return [shard for *_, shards in self.shuffle_groups() for shard in shards]


@cache
def packets(path: str) -> tuple[list[int], list[int], int]:
    """(bytes of each packet, numbers of key packets, bytes of all else) of a local video."""
    with av.open(path) as container:
        found = [(p.size, p.is_keyframe) for p in container.demux(video=0) if p.size]
    sizes = [size for size, _ in found]
    return sizes, [n for n, (_, key) in enumerate(found) if key], os.path.getsize(path) - sum(sizes)


def videos(dataset: FrameDataset, shard: Shard) -> list[str]:
    """The videos that a shard reads."""
    return [path for path in (dataset.split.texture_video, *map(dataset.split.video, shard.views)) if path]


def needed(dataset: FrameDataset, shards: list[Shard]) -> int:
    """Bytes of the packets without which the shards cannot be decoded. `dataset` is of the local capture."""
    total = 0
    for shard in shards:
        for path in videos(dataset, shard):
            sizes, keys, _ = packets(path)
            total += sum(sizes[max(k for k in keys if k <= shard.start) : shard.stop])
    return total


def needed_once(dataset: FrameDataset, shards: list[Shard]) -> int:
    """Bytes of the headers and indices of the shards' videos, and of the frames' transforms."""
    paths = {path for shard in shards for path in videos(dataset, shard)}
    numbers = {dataset.split.frames[f] for shard in shards for f in range(shard.start, shard.stop)}
    series = dataset.split.files.transforms
    with zipfile.ZipFile(series.folder) as archive:
        members = sum(archive.getinfo(series.name(n)).compress_size for n in numbers)
    return sum(packets(path)[2] for path in paths) + members


@dataclass(frozen=True)
class Delivery:
    """What delivering some windows took."""

    rate: float
    """Frames per second, of all views and texture maps, between the first row and the last."""
    cpu: float
    """Frames per CPU second of this process and of all it started, but the server."""
    size: int = 0
    """Bytes that the server sent."""
    requests: int = 0
    """How often it was asked."""
    server: float = 0.0
    """Its CPU seconds."""


def deliver(server: ObjectServer, part: Part, distributed: bool) -> Delivery:
    """Deliver all rows of some windows."""
    rows = sum(s.stop - s.start for s in part.shards())
    frames = (rows - 1) * (1 + part.dataset.experiment.data.views_per_frame)
    server.reset()
    loader = iter(StepLoader(part, distributed))
    next(loader)
    start, before, served = time.perf_counter(), cpu_seconds(), server_seconds(server)
    for _ in range(rows - 1):
        next(loader)
    passed, served = time.perf_counter() - start, server_seconds(server) - served
    counts = server.counts().values()
    return Delivery(
        frames / passed,
        frames / (cpu_seconds() - before - served),
        sum(size for _, size in counts),
        sum(requests for requests, _ in counts),
        served,
    )


def server_seconds(server: ObjectServer) -> float:
    """CPU seconds of the server until now."""
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def compare(
    server: ObjectServer, local: FrameDataset, remote: FrameDataset, options: argparse.Namespace, distributed: bool
) -> None:
    """Print the figures of one way to decode."""
    windows = options.shards // local.experiment.data.shuffle_shards
    halves = ((0, windows // 4), (windows // 4, windows))
    here, there = ([Part(FrameSampler(dataset, (0,), 1, 0), *half) for half in halves] for dataset in (local, remote))
    warm, shards = here[0].shards(), here[1].shards()
    print(f"\n{'by Ray Data' if distributed else 'by a thread of this process'}, {len(shards)} shards measured")
    first = deliver(server, there[0], distributed)
    least = needed(local, warm) + needed_once(local, warm)
    volume = f"{first.size / 1e6:.2f} MB read over {least / 1e6:.2f} needed = {first.size / least:.2f}"
    print(f"first pass: {volume}, {first.requests} requests for {len(warm)} shards, each process knowing nothing")
    deliver(server, here[0], distributed)
    disk = [deliver(server, here[1], distributed)]
    found: dict[float, list[Delivery]] = {0.0: [], options.delay_ms: []}
    for _ in range(options.rounds):
        for delay, results in found.items():
            server.slow_down(delay)
            results.append(deliver(server, there[1], distributed))
            disk.append(deliver(server, here[1], distributed))
    server.slow_down(0)
    plain, plain_cpu = median(d.rate for d in disk), median(d.cpu for d in disk)
    spread = f"{min(d.rate for d in disk):.0f} to {max(d.rate for d in disk):.0f}"
    print(f"local disk: {plain:.0f} frames/s ({spread}), {plain_cpu:.0f} a CPU second")
    least = needed(local, shards)
    for delay, results in found.items():
        rate, cpu = median(d.rate for d in results), median(d.cpu for d in results)
        size, asked = median(d.size for d in results), median(d.requests for d in results)
        spread = f"{min(d.rate for d in results):.0f} to {max(d.rate for d in results):.0f}"
        print(
            f"{delay:.0f} ms a request: {rate:.0f} frames/s ({spread}), {cpu:.0f} a CPU second; over local disk ",
            end="",
        )
        print(f"{rate / plain:.2f} by the clock, {cpu / plain_cpu:.2f} by CPU time;", end=" ")
        print(f"{size / 1e6:.2f} MB read over {least / 1e6:.2f} needed = {size / least:.3f};", end=" ")
        print(f"{asked / len(shards):.2f} requests a shard; the server's CPU {median(d.server for d in results):.2f} s")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default="")
    parser.add_argument("--shards", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--memory-mb", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ObjectServer() as server:
        if not options.capture:
            options.capture = str(Path(scratch) / "capture")
            print("making a capture of 48 frames x 4 cameras at 512 x 512", flush=True)
            write_capture(options.capture, frames=48, test_frames=1, cameras=4, resolution=512, texture_size=512)
        os.environ |= CREDENTIALS | {"AWS_ENDPOINT_URL": server.endpoint}
        server.upload(options.capture, PLACE)
        measure(server, options)


def measure(server: ObjectServer, options: argparse.Namespace) -> None:
    """Measure and print."""
    knobs = {
        "data.resolution": None,
        "data.train_views": "all",
        "data.validation_views": "0",
        "data.views_per_frame": 2,
        "data.shuffle_shards": 2,
    }
    experiment = override(Experiment(capture=options.capture), knobs | {"data.shard_frames": 8})
    local, remote = (FrameDataset.make(Capture.open(p), experiment) for p in (options.capture, f"s3://{PLACE}"))
    connect(experiment)  # its workers inherit the endpoint
    bounded = override(experiment, {"data.memory_mb": options.memory_mb})
    store, process = peak_memory(FrameDataset.make(Capture.open(f"s3://{PLACE}"), bounded), 3 * options.memory_mb)
    print(
        f"memory: {3 * options.memory_mb} MB streamed from the store within a budget of {options.memory_mb} MB",
        end=": ",
    )
    print(f"peak {store:.0f} MB of Ray's object store + {process:.0f} MB of the training process", flush=True)
    for distributed in (False, True):
        compare(server, local, remote, options, distributed)


if __name__ == "__main__":
    main()
