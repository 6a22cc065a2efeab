"""The texture predictor's training step and its inference beside what their multiply-adds cost at the speed of this
machine's matrix products, and the memory of a step beside its window's length.

    python benchmarks/texture_step.py [--sizes demo full] [--threads 1] [--device cpu] [--precision float32]

A step is one frame with flow and one temporal scale: an update of the discriminators, then one of the generator, with
the perceptual loss of VGG-19 (random weights), batch 1. Its multiply-adds are counted while it runs, forward and
backward, matrix products and convolutions alone. Matrix products and the call are timed alternately.
Memory: peaks of processes of their own that train one window of 4, 8 and 16 frames, with and without
`activation_checkpointing`; on the CPU (Linux) the process' peak
less what it took before the first frame.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from na_ray.config import TextureConfig, Vid2vidConfig
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid.blocks import folded
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Networks, iterate, train_frame
from na_ray.models.vid2vid.perceptual import Vgg19
from na_ray.run.train.allocator import keep_freed_memory

SIZES = {
    "demo": Vid2vidConfig(
        resolution=(128, 128),
        num_filters=16,
        max_num_filters=128,
        num_layers=5,
        num_downsamples_img=3,
        embed_downsamples=4,
        flow_filters=16,
        flow_blocks=3,
        warp_downsamples=4,
        image_filters=16,
        temporal_filters=16,
        max_discriminator_filters=128,
    ),
    "full": Vid2vidConfig(),
}
"""Networks; `full` is the published one."""


def game(config: Vid2vidConfig, options: argparse.Namespace) -> Networks:
    """Networks and optimizers with start values."""
    torch.manual_seed(0)
    texture, device = TextureConfig(), options.device
    generator, discriminator = Generator(config).to(device).train(), Discriminator(config).to(device).train()
    first, second = (predictor_adam(network.parameters(), 1e-6, texture) for network in (generator, discriminator))
    bfloat16 = options.precision == "bfloat16"
    return Networks(generator, discriminator, Vgg19().to(device), first, second, texture, bfloat16)


def maps(config: Vid2vidConfig, frames: int, device: str) -> torch.Tensor:
    """A random window."""
    return torch.rand(1, frames, 3, *config.resolution, device=device) * 2 - 1


def timed(function: Callable[[], object], device: str) -> float:
    """Seconds of one call; of this process' CPU time with one thread, so that other work does not count."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(name: str, function: Callable[[], object], device: str, repeats: int) -> None:
    """Print a call's time beside its floor: matrix products and the call measured alternately, the best of each."""
    with FlopCounterMode(display=False) as counter:
        function()
    work = counter.get_total_flops() // 2
    a = torch.randn(2048, 2048, device=device)
    products, calls = [timed(lambda: a @ a, device) for _ in range(5)], []
    for _ in range(repeats):
        calls.append(timed(function, device))
        products += [timed(lambda: a @ a, device) for _ in range(5)]
    rate, seconds = 2048**3 / min(products), min(calls)
    print(f"{name}: {work / 1e9:.1f} G multiply-adds, GEMM {rate / 1e9:.1f} G/s, {1 / seconds:.3g} frames/s")
    print(f"  floor {work / rate:.3f} s, measured {seconds:.3f} s, ratio {seconds * rate / work:.2f}")


def report(name: str, options: argparse.Namespace) -> None:
    """One frame's update and one frame's prediction, each beside its floor."""
    config, device = SIZES[name], options.device
    networks, labels, images = game(config, options), *(maps(config, 3, device) for _ in range(2))
    fakes = list(maps(config, 2, device).unbind(1))

    def frame() -> None:
        train_frame(networks, 2, labels, images, fakes, None)

    compare(f"{name}: training, a frame", frame, device, 3 if name == "demo" else 1)
    predict(name, config, networks, options)


def predict(name: str, config: Vid2vidConfig, networks: Networks, options: argparse.Namespace) -> None:
    """Inference as `na-ray predict-textures` does it, with the last label's embedding kept."""
    generator = Generator(config, spectral=False).to(options.device)
    assert isinstance(networks.generator, Generator)
    generator.load_state_dict(folded(networks.generator))
    del networks
    generator.eval()
    label, past = maps(config, 1, options.device)[:, 0], maps(config, 2, options.device)
    bfloat16 = options.precision == "bfloat16"

    def frame() -> None:
        with torch.no_grad(), torch.autocast(options.device, torch.bfloat16, enabled=bfloat16):
            generator(label, past, past, embedding)

    with torch.no_grad(), torch.autocast(options.device, torch.bfloat16, enabled=bfloat16):
        embedding = generator(label).embedding
    compare(f"{name}: inference, a frame", frame, options.device, 3)


def peak(options: argparse.Namespace) -> None:
    """Print the MiB that training one window took at most (in a process of its own)."""
    config = replace(SIZES["demo"], resolution=(256, 256), activation_checkpointing=options.recompute)
    networks, labels, images = game(config, options), *(maps(config, options.frames, options.device) for _ in range(2))
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if options.device == "cpu" else 0
    before = pages * resource.getpagesize() / 2**20
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    iterate(networks, labels, images)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print((torch.cuda.max_memory_allocated() / 2**20 if options.device == "cuda" else after) - before)


def memory(options: argparse.Namespace) -> None:
    """The table of peaks."""
    print("demo at 256x256: peak of a window above the networks, MiB, by its frames")
    for recompute, lengths in ((False, (4, 8, 16)), (True, (4,))):
        cells = []
        for frames in lengths:
            command = [sys.executable, __file__, "--frames", str(frames), "--device", options.device]
            command += ["--threads", str(options.threads), *(["--recompute"] if recompute else [])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cells.append(f"{frames}: {float(done.stdout):.0f}")
        print(f"  {'with' if recompute else 'without'} activation checkpointing  {'  '.join(cells)}")


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--frames", type=int, default=0, help="measure the memory of one window of so many frames")
    parser.add_argument("--recompute", action="store_true", help="with --frames: recompute activations")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.frames:
        peak(options)
        return
    keep_freed_memory()
    print(f"{options.device}, {options.threads} threads, {options.precision}; forward + backward + Adam, batch 1")
    for name in options.sizes:
        report(name, options)
    memory(options)


if __name__ == "__main__":
    main()
