"""What checking and planning cost on a capture of the published size, made of few frames again and again.

    python benchmarks/preflight.py CAPTURE OUT [--frames 20000] [--cameras 11]

`CAPTURE` is a raw capture of intra-coded videos (`na-ray synth`); `OUT` is made where it is missing. Prints a row a
part: seconds, bytes read, the growth of the process's peak memory. Bytes are those that the process asked its files
for; what the videos hold is told first.
"""

import argparse
import json
import resource
import shutil
import time
import zipfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.capture.layout import BODY_FILES
from na_ray.config import Experiment, override
from na_ray.recipes import RECIPES
from na_ray.run.data.frames import FrameDataset

SPLIT = "training"


def enlarge(source: Path, out: Path, frames: int, cameras: int) -> None:
    """A capture of so many frames and cameras, those of `source` repeated."""
    shutil.rmtree(out, ignore_errors=True)
    (out / SPLIT / "rgb_video").mkdir(parents=True)
    for name in BODY_FILES:
        shutil.copy(source / name, out / name)
    for folder in ("intrinisc", "pose"):
        (out / folder).mkdir()
        for number, path in enumerate(islice(cycle(sorted((source / folder).glob("*.txt"))), cameras)):
            shutil.copy(path, out / folder / f"{number:04d}.txt")
    videos = sorted((source / SPLIT / "rgb_video").iterdir())
    for number, path in enumerate(islice(cycle(videos), cameras)):
        repeat_video(path, out / SPLIT / "rgb_video" / f"{number:03d}.avi", frames)
    for path in (source / SPLIT).glob("*_modify*.avi"):
        repeat_video(path, out / SPLIT / path.name, frames)
    with zipfile.ZipFile(source / SPLIT / "transform.zip") as old:
        texts = [json.loads(old.read(name)) for name in sorted(old.namelist())]
    with zipfile.ZipFile(out / SPLIT / "transform.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for frame, values in enumerate(islice(cycle(texts), frames)):
            new.writestr(f"{frame:06d}.json", json.dumps(values))


def repeat_video(source: Path, out: Path, frames: int) -> None:
    """The packets of an intra-coded video, again and again."""
    with av.open(str(source)) as old, av.open(str(out), "w") as new:
        before = old.streams.video[0]
        packets = [bytes(packet) for packet in old.demux(before) if packet.size]
        stream = new.add_stream_from_template(before)
        for number, data in enumerate(islice(cycle(packets), frames)):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, before.time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            new.mux(packet)


def bytes_read() -> int:
    """Bytes that this process has read of files so far."""
    text = Path("/proc/self/io").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("rchar")))


def measured(name: str, work: Callable[[], Any]) -> Any:
    """Do the work, and print its row."""
    began, read, peak = time.perf_counter(), bytes_read(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = work()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    seconds, megabytes = time.perf_counter() - began, (bytes_read() - read) / 1e6
    print(f"{name:34} {seconds:8.2f} s {megabytes:10.1f} MB read {grown:8.1f} MB more memory", flush=True)
    return result


def plan(dataset: FrameDataset, epochs: int) -> int:
    """All shards of some epochs; their number."""
    return sum(len(dataset.shards(epoch)) for epoch in range(epochs))


def main() -> None:
    """See the head of this file."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("capture", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--frames", type=int, default=20000)
    words.add_argument("--cameras", type=int, default=11)
    args = words.parse_args()
    if not args.out.exists():
        enlarge(args.capture, args.out, args.frames, args.cameras)
    total = sum(path.stat().st_size for path in args.out.rglob("*.avi"))
    print(f"{args.cameras} cameras x {args.frames} frames, {total / 1e6:.1f} MB of videos")
    report = measured("every defect (examine)", lambda: examine(args.out))
    print(*report.defects, *report.notes, sep="\n")
    capture = measured("open the capture", lambda: Capture.open(args.out))
    split = measured("names and cameras of a split", lambda: capture.split(SPLIT))
    measured("its cameras", lambda: split.cameras)
    recipe: Experiment = override(RECIPES["lan"], {"data.train_views": "auto", "data.validation_views": "auto"})
    dataset = measured("the dataset", lambda: FrameDataset.make(capture, recipe))
    measured("the order of ten epochs", lambda: plan(dataset, 10))


if __name__ == "__main__":
    main()
