"""Normal maps a second from poses, and the memory of a long prediction.

    python benchmarks/normal_maps.py [--capture PATH] [--frames 300] [--threads 1] [--predict 1000]

1. Maps of 512 x 512 a second and core: drawn alone, and by the whole of `na-ray prepare normals` (poses read, maps
   drawn, encoded and written) as PNG and as AVI; each also over the 60 that were asked for.
2. Peak memory of a process that predicts `--predict` texture maps of 256 x 256 from poses: at frame 100 and at the
   last.

The motion repeats the training poses of a capture; without one, a synthetic actor's.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import BODY_FILES, find_file
from na_ray.capture.storage import read_bytes
from na_ray.checkpoint import Predictor
from na_ray.config import Experiment, override
from na_ray.models.vid2vid.generator import Generator
from na_ray.motion.normals import Format, write_normals
from na_ray.motion.predict import Request, predict_sequence
from na_ray.synthetic.write import write_capture

ASKED = 60.0
"""Frames a second and core."""

SMALL = {
    "vid2vid.resolution": (256, 256),
    "vid2vid.num_filters": 8,
    "vid2vid.max_num_filters": 64,
    "vid2vid.num_layers": 6,
    "vid2vid.flow_filters": 8,
}
"""The texture predictor of the memory's measurement."""


def long_motion(capture: str, folder: Path, frames: int) -> Split:
    """A split of poses and a body alone, as long as asked for."""
    if not capture:
        capture = str(folder / "actor")
        write_capture(capture, frames=24, test_frames=1, cameras=1, resolution=32, texture_size=32)
    source = Capture.open(capture).split("training")
    target = folder / "motion"
    (target / "transform").mkdir(parents=True)
    for name in BODY_FILES:
        path = find_file((source.files.folder, source.files.root), name)
        (target / name).write_bytes(read_bytes(path))
    poses = [source.read_transform(i) for i in range(source.num_frames)]
    for i in range(frames):
        (target / "transform" / f"{i:06d}.json").write_bytes(poses[i % len(poses)])
    return Capture.open(target).split("motion")


def rate(work: Callable[[], None], frames: int) -> float:
    """Frames a second of CPU time, which other work on the machine does not touch: the best of three."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return frames / min(seconds)


def speed(split: Split, out: Path) -> None:
    """Print the rates."""
    body = Body.from_rig(split.rig)
    atlas = Atlas(body)
    poses = [body.pose(split.pose(i)) for i in range(min(50, split.num_frames))]
    for posed in poses[:5]:
        atlas.normal_map(posed)
    found = {"drawn alone": rate(lambda: [atlas.normal_map(posed) for posed in poses].clear(), len(poses))}

    def written(form: Format) -> None:
        shutil.rmtree(out, ignore_errors=True)
        write_normals(split, out, form=form)

    for form in ("png", "avi"):
        found[f"prepare normals, {form}"] = rate(lambda form=form: written(form), split.num_frames)  # type: ignore[misc]
    vertices, faces = len(body.vertices), len(body.faces)
    print(f"normal maps 512 x 512, {vertices} vertices, {faces} faces, {torch.get_num_threads()} threads:")
    for name, frames in found.items():
        print(f"  {name:<22} {frames:6.1f} a second of CPU time, {frames / ASKED:.2f} of the {ASKED:.0f} asked for")


def predict(motion: str, out: str) -> None:
    """Predict a whole motion, and print this process's peak memory after frame 100 and at the end."""
    split = Capture.open(motion).split("motion")
    config = override(Experiment(stages=("texture",)), SMALL)
    torch.manual_seed(0)
    generator = Generator(config.vid2vid, spectral=False).eval().requires_grad_(False)
    start = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if done in (100, total):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            held, pace = psutil.Process().memory_info().rss / 2**20, done / (time.perf_counter() - start)
            print(f"  frame {done}: peak {peak:.1f} MB, held {held:.1f} MB, {pace:.1f} frames/s", flush=True)

    request = Request(normals="poses", normal_size=256)
    predict_sequence(Predictor(generator, Body.from_rig(split.rig), config), split, Path(out), request, progress)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default="")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--predict", type=int, default=1000, help="0: no prediction")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        predict(*options.child)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        speed(long_motion(options.capture, folder / "short", options.frames), folder / "maps")
        if options.predict:
            print("textures 256 x 256 from poses, 8..64 filters, in a process of its own:", flush=True)
            motion = long_motion(options.capture, folder / "long", options.predict).files.folder
            command = [sys.executable, __file__, "--threads", str(options.threads), "--child", motion]
            subprocess.run([*command, str(folder / "textures")], check=True)


if __name__ == "__main__":
    main()
