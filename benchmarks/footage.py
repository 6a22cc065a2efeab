"""Pictures a second and core of `na-ray convert`, and its memory.

    python benchmarks/footage.py [--frames 60] [--sizes 512 1024] [--long 1000]

1. For each kind of lens and matte: pictures a second of one process, from an H.264 video (and PNG masks) to MJPEG.
2. Peak memory of a process that converts 100 pictures and `--long` of them.

The scene is made up: a person of soft outline, a tenth of the picture, before waves of color.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from na_ray.capture.video import VideoWriter
from na_ray.config.values import Progress
from na_ray.convert.clips import CameraClip
from na_ray.convert.footage import write_footage
from na_ray.convert.lens import Lens
from na_ray.convert.matte import ChromaMatte, MaskMatte, Matte, PlateMatte

GREEN = (0, 177, 64)


def waves(size: int) -> np.ndarray:
    """A room, (size, size, 3) in 0..255."""
    y, x = np.mgrid[:size, :size] / size * 96
    return 110 + 50 * np.stack([np.sin(x / 7), np.cos(y / 6), np.sin((x + y) / 9)], axis=-1)


def shot(room: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """(picture, matte) of a person before the room."""
    size = len(room)
    y, x = np.mgrid[:size, :size] / size
    share = np.clip((1 - np.hypot((x - 0.45 - 0.001 * (frame % 60)) / 0.12, (y - 0.5) / 0.3)) * size / 20 + 0.5, 0, 1)
    own = np.stack([215 + 20 * np.sin(400 * y), 40 + 15 * np.cos(300 * x), 60 + 0 * x], axis=-1)
    mixed = own * share[..., None] + room * (1 - share[..., None])
    return (mixed + 0.5).astype(np.uint8), (255 * share + 0.5).astype(np.uint8)


def write_inputs(folder: Path, size: int, frames: int) -> None:
    """Videos before waves and before green, masks, and a clean plate. The motion repeats every 60 frames."""
    room, green = waves(size), np.broadcast_to(np.array(GREEN, float), (size, size, 3))
    masks, plates = folder / "mask", folder / "plate"
    masks.mkdir(parents=True)
    plates.mkdir()
    Image.fromarray((room + 0.5).astype(np.uint8)).save(plates / "a.png")
    shots = [shot(room, n) for n in range(min(60, frames))]
    keyed = [shot(green, n)[0] for n in range(min(60, frames))]
    with VideoWriter(folder / "a.mp4", 25, "h264") as plain, VideoWriter(folder / "green.mp4", 25, "h264") as studio:
        for n in range(frames):
            plain.write(shots[n % 60][0])
            studio.write(keyed[n % 60])
            Image.fromarray(shots[n % 60][1]).save(masks / f"{n:06d}.png", compress_level=1)


def lens_of(size: int, bent: bool) -> Lens:
    """A lens of a barrel's look, or none."""
    K = np.array([[1.1 * size, 0, size / 2], [0, 1.1 * size, size / 2], [0, 0, 1]])
    return Lens(K, np.array([-0.25, 0.08, 0.001, -0.001, 0.0]) if bent else np.zeros(0), size, size)


def convert(
    folder: Path,
    out: Path,
    frames: int,
    size: int,
    bent: bool,
    matte: Matte | None,
    progress: Progress | None = None,
) -> float:
    """Seconds of one core: other programs do not count."""
    name = "green.mp4" if isinstance(matte, ChromaMatte) else "a.mp4"
    clip = CameraClip("a", str(folder / name), str(folder / "mask"))
    start = time.process_time()
    write_footage(
        [clip], [lens_of(size, bent)], {"training": range(frames)}, out, matte=matte, workers=1, progress=progress
    )
    return time.process_time() - start


def speed(folder: Path, size: int, frames: int) -> None:
    """Print the rates of all kinds at a size."""
    write_inputs(folder, size, frames)
    kinds: dict[str, Matte | None] = {
        "none": None,
        "masks": MaskMatte(),
        "chroma": ChromaMatte(),
        "plate": PlateMatte(str(folder / "plate")),
    }
    for kind, matte in kinds.items():
        for bent in (False, True):
            few, many = (
                convert(folder, folder / f"{kind}{bent}{n}", n, size, bent, matte) for n in (frames // 6, frames)
            )
            rate = (frames - frames // 6) / (many - few)
            print(
                f"{size:5d}  matte {kind:7s} lens {'bent' if bent else 'straight':8s} {rate:7.1f} pictures/s of a core"
            )


def peak(folder: Path, size: int, frames: int) -> float:
    """MiB of a process that converts so many pictures."""
    command = [sys.executable, __file__, "--memory", str(folder), str(size), str(frames)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


def main() -> None:
    """Print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs="*", default=[512, 1024])
    parser.add_argument("--long", type=int, default=1000)
    parser.add_argument("--memory", nargs=3, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        folder, size, frames = Path(args.memory[0]), int(args.memory[1]), int(args.memory[2])
        process, held = psutil.Process(), [0]
        look = lambda *_: held.append(process.memory_info().rss)  # noqa: E731
        convert(folder, folder / f"memory{frames}", frames, size, True, MaskMatte(), look)
        print(max(held))
        return
    with tempfile.TemporaryDirectory() as name:
        for size in args.sizes:
            speed(Path(name) / str(size), size, args.frames)
        for size in args.sizes:
            folder = Path(name) / f"long{size}"
            write_inputs(folder, size, args.long)
            few, many = (peak(folder, size, n) for n in (100, args.long))
            print(f"{size:5d}  memory: {few:.0f} MiB for 100 pictures, {many:.0f} MiB for {args.long}")


if __name__ == "__main__":
    main()
