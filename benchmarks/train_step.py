"""Time of a training step beside what its multiply-adds cost at the speed of this machine's matrix products.

    python benchmarks/train_step.py [--sizes small full] [--threads 2] [--precision float32]

Per size: multiply-adds of the model's forward pass as published (features multiplied per sample) and as computed here
(multiplied per texel of each latent, `RadianceField.project`); forward + backward = 3 times that; the GEMM rate and the
step measured alternately, the best of each. The floor is the published count over the rate; a second one takes the rate
of products of a layer's shape (a chunk times H x H), which narrow layers cannot exceed. Every sample is evaluated; the
body is an icosphere of 2562 vertices whose shell every ray meets.
"""

import argparse
import time
from collections.abc import Callable

import torch
from icosphere import sphere

from na_ray.body.body import Body
from na_ray.config import DataConfig, NerfConfig, OptimConfig
from na_ray.models import losses, optim
from na_ray.models.nerf.cost import encoder_multiply_adds, field_multiply_adds, step_multiply_adds
from na_ray.models.nerf.renderer import Nerf
from na_ray.run.train.allocator import keep_freed_memory

SIZES = {
    "small": (NerfConfig(hidden=64, encoder_width=16, samples_per_ray=24, skip_empty=False), 512, 128),
    "full": (NerfConfig(skip_empty=False), 1024, 512),
}
"""Nerf, rays, side of the texture map."""


def one_step(config: NerfConfig, rays: int, side: int, precision: str, device: str) -> Callable[[], None]:
    """A training step at the given size."""
    torch.manual_seed(0)
    rig, pose = sphere()
    nerf = Nerf(config, Body.from_rig(rig)).to(device).train()
    posed = nerf.body.pose(pose)
    optimizer = optim.adam(nerf.parameters(), OptimConfig())
    texture, target = torch.rand(3, side, side, device=device), torch.rand(rays, 3, device=device)
    directions = torch.randn(rays, 3, device=device) * torch.tensor([0.03, 0.03, 0], device=device)
    directions = torch.nn.functional.normalize(directions + torch.tensor([0.0, 0, 1], device=device), dim=1)
    origins = torch.zeros(rays, 3, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            rendering = nerf(posed, texture, origins, directions)
        losses.photometric(rendering.colors, target).backward()
        optimizer.step()
        assert rendering.hit.all(), "every ray should meet the shell"

    return step


def timed(function: Callable[[], object], device: str) -> float:
    """Seconds of one call; of this process' CPU time with one thread, so that other work does not count."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def projected_multiply_adds(config: NerfConfig, rays: int, side: int) -> int:
    """Multiply-adds of the forward pass as computed here."""
    width, channels = config.encoder_width, 8 * config.encoder_width
    columns = config.hidden * (2 if config.deformation else 1)
    samples = rays * (config.samples_per_ray + 1)
    texels = sum(c * (side >> k) ** 2 for c, k in ((width, 1), (width, 2), (2 * width, 3), (4 * width, 4)))
    field = samples * (field_multiply_adds(config) - channels * columns)
    return field + texels * columns + encoder_multiply_adds(width, side)


def report(name: str, precision: str, device: str, repeats: int) -> None:
    """Measure one size and print it."""
    config, rays, side = SIZES[name]
    published = 3 * step_multiply_adds(config, DataConfig(rays_per_view=rays), side)
    computed = 3 * projected_multiply_adds(config, rays, side)
    step = one_step(config, rays, side, precision, device)
    dtype = getattr(torch, precision)
    a = torch.randn(4096, 4096, device=device, dtype=dtype)
    x = torch.randn(8192, config.hidden, device=device, dtype=dtype)
    w = torch.randn(config.hidden, config.hidden, device=device, dtype=dtype)
    step()
    pairs = [(timed(lambda: a @ a, device), timed(step, device)) for _ in range(repeats)]
    layer = x.shape[0] * config.hidden**2 / min(timed(lambda: x @ w.t(), device) for _ in range(50))
    rate = 4096**3 / min(gemm for gemm, _ in pairs)
    measured = min(seconds for _, seconds in pairs)
    print(f"{name}: {rays} rays x {config.samples_per_ray + 1} samples, texture {side}x{side}")
    print(f"  {published / 1e9:.1f} G multiply-adds ({computed / 1e9:.1f} G computed), GEMM {rate / 1e9:.1f} G/s")
    print(f"  floor {published / rate:.3f} s, measured {measured:.3f} s, ratio {measured * rate / published:.2f}")
    own = published / layer
    print(f"  products of a layer's shape {layer / 1e9:.1f} G/s: floor {own:.3f} s, ratio {measured / own:.2f}")


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--default-allocator", action="store_true", help="without what training sets")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.default_allocator:
        keep_freed_memory()
    print(f"{options.device}, {options.threads} threads, {options.precision}; forward + backward + Adam")
    for name in options.sizes:
        report(name, options.precision, options.device, options.repeats)


if __name__ == "__main__":
    main()
