"""Check a GPU without pytest, and time a training step, a picture and a vid2vid step beside their floors.

    make test-cuda [PYTHON=python3] [DEVICE=cuda]        or: python tests/cuda/run.py [--device cpu] [--quick]

Needs torch, numpy, warp, and pure-Python packages (jaxtyping with wadler-lindig, fsspec). Ends within minutes; its exit
code is 1 where a check failed. A floor is the multiply-adds over the measured rate of matrix products.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import texture_step
import train_step
from checks import checks
from icosphere import sphere

from na_ray.body.body import Body
from na_ray.models.nerf.cost import field_multiply_adds
from na_ray.models.nerf.renderer import Nerf
from na_ray.run.train.allocator import keep_freed_memory

SIDE = {"small": 128, "full": 512}
"""Side of the picture, pixels."""


def run_checks(device: str) -> int:
    """Run them all. Returns the number of those that failed."""
    failed = 0
    for name, check in checks().items():
        start = time.perf_counter()
        try:
            check(device)
            told = "ok"
        except Exception:
            failed += 1
            told = "FAILED\n" + traceback.format_exc()
        print(f"{name}: {told} ({time.perf_counter() - start:.1f} s)", flush=True)
    return failed


def picture(size: str, device: str) -> None:
    """A picture of a ball in evaluation mode, beside the multiply-adds of its samples."""
    config, _, texture_side = train_step.SIZES[size]
    side = SIDE[size]
    torch.manual_seed(0)
    rig, pose = sphere()
    nerf = Nerf(config, Body.from_rig(rig)).to(device).eval()
    posed = nerf.body.pose(pose)
    lines = torch.linspace(-0.17, 0.17, side, device=device)
    x, y = (part.reshape(-1) for part in torch.meshgrid(lines, lines, indexing="xy"))
    directions = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], dim=1), dim=1)
    origins, hits = torch.zeros_like(directions), 0

    @torch.no_grad()
    def draw() -> None:
        nonlocal hits
        frame = nerf.encode(posed, torch.rand(3, texture_side, texture_side, device=device))
        parts = zip(origins.split(65536), directions.split(65536), strict=True)
        hits = sum(int(nerf.march(frame, *part).hit.sum()) for part in parts)

    a = torch.randn(4096, 4096, device=device)
    draw()
    seconds = min(train_step.timed(draw, device) for _ in range(3))
    rate = 4096**3 / min(train_step.timed(lambda: a @ a, device) for _ in range(5))
    work = hits * (config.samples_per_ray + 1) * field_multiply_adds(config)
    print(f"picture, {size}: {side}x{side}, {hits} rays hit, {work / 1e9:.1f} G multiply-adds")
    print(f"  floor {work / rate:.3f} s, measured {seconds:.3f} s, ratio {seconds * rate / work:.2f}", flush=True)


def ratios(device: str, size: str) -> None:
    """The benchmarks, each beside its floor."""
    options = argparse.Namespace(device=device, precision="float32")
    parts: list[Callable[[], None]] = [
        lambda: train_step.report(size, "float32", device, 3),
        lambda: picture(size, device),
        lambda: texture_step.report("full" if size == "full" else "demo", options),
    ]
    if device == "cuda":
        parts.insert(1, lambda: train_step.report(size, "bfloat16", device, 3))
    for part in parts:
        part()


def main() -> int:
    """Print a line for each check, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, as on the CPU")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("this torch finds no CUDA device: choose --device cpu to try the checks without one")
        return 1
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}")
    start, failed = time.perf_counter(), run_checks(options.device)
    ratios(options.device, "small" if options.quick or options.device == "cpu" else "full")
    print(f"{failed} of {len(checks())} checks failed; {time.perf_counter() - start:.0f} s in all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
