"""Compare the texture predictor with the numbers of the original vid2vid, array by array.

    python benchmarks/parity_vid2vid.py --data FOLDER [--dtype float64 float32] [--only NAME ...] [--skip NAME ...]

FOLDER is a fixture set: generator.npz, discriminator.npz, losses.npz, one_iteration.npz, resample.npz, keys_*.json,
weights_tiny.npz, vid2vid_tiny.pt and the rest. Prints the largest error of each group of arrays beside its tolerance;
exit code 1 when one is exceeded, or when an array was compared with nothing. float64 compares everything; float32 what
has a stated tolerance, gradients away from kinks. `--skip generator_full` leaves out what takes minutes and 4 GB.
"""

import argparse
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch
from parity_vid2vid_fixture import TINY, Numbers, Summary, roll
from parity_vid2vid_iteration import iterations
from parity_vid2vid_losses import confidence, flows, full_vgg, gan, matching, perceptual
from parity_vid2vid_networks import (
    discriminator,
    discriminator_full,
    generator_deep,
    generator_eval,
    generator_full,
    generator_train,
    names_and_shapes,
    outputs,
    resample,
    temporal_skip,
    tolerance,
)

from na_ray.config import DataConfig, Experiment
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.original.names import to_original
from na_ray.original.texture_predictor import ImportedPredictor, import_predictor
from na_ray.run.data.sequences import SequenceDataset, epoch_steps, window_length

FLOAT64_ONLY = (
    "one_iteration/seq4/fused64/it",
    "one_iteration/seq4/adam64/it",
    "one_iteration/seq8/fused64/it",
    "one_iteration/seq8/adam64/it",
)
"""Arrays that section 3 of the fixtures' page gives no float32 tolerance, or only a loose one."""


def checkpoint(numbers: Numbers, table: Summary) -> None:
    """The original's checkpoint, imported: sizes, optimizers, and what both generators predict."""
    data = numbers.load("checkpoint_expect")
    found = import_predictor(str(numbers.folder / "vid2vid_tiny.pt"), TINY.resolution)
    table.check("checkpoint sizes", "vid2vid", int(found.vid2vid != TINY), 0, 0)
    assert found.training is not None
    labels = numbers.tensor(data["label"])
    networks = {
        "averaged": (Generator(found.vid2vid, spectral=False), found.weights),
        "regular": (Generator(found.vid2vid), found.training["generator"]),
    }
    theirs = {"fake_images": "fake_images", "flow": "fake_flow_maps", "mask": "fake_occlusion_masks"}
    for name, (network, state) in networks.items():
        network.load_state_dict(state)
        frames = roll(network.to(numbers.dtype).eval(), labels)
        for t, frame in enumerate(frames):
            for ours, value in outputs(frame).items():
                key = f"{name}/{theirs.get(ours)}/t{t}"
                if key in data:
                    # A flow is 20 times what its layer gives, and so is its rounding.
                    allowed = tolerance(numbers, "flow", t) if ours == "flow" else 1e-6 if numbers.double else 2e-4
                    table.check(f"checkpoint {name} {ours}", f"t{t}", value, data[key], allowed)
    optimizers(numbers, table, found)
    data.unread.discard("meta_noise_f32_json")


def optimizers(numbers: Numbers, table: Summary, found: ImportedPredictor) -> None:
    """Adam's moments by the order of parameters that the fixtures state; counts of steps and of averagings."""
    given = torch.load(numbers.folder / "vid2vid_tiny.pt", weights_only=True)
    keys, training = numbers.json("keys_tiny"), cast(dict[str, Any], found.training)
    networks = {"G": ("generator", Generator(found.vid2vid)), "D": ("discriminator", Discriminator(found.vid2vid))}
    for side, (part, network) in networks.items():
        state, theirs = training[f"{part}_optimizer"], given[f"opt_{side}"]
        names = [to_original(name) for name, _ in network.named_parameters()]
        table.check(f"checkpoint opt_{side}", "count", state["param_groups"][0]["shared_step"], 8, 0)
        table.check(f"checkpoint opt_{side}", "states", len(state["state"]), len(theirs["state"]), 0)
        for i, entry in state["state"].items():
            moments = theirs["state"][keys[f"opt_{side}_param_order"].index(names[i])]
            for moment in ("exp_avg", "exp_avg_sq"):
                table.check(f"checkpoint opt_{side}", f"{names[i]} {moment}", entry[moment], moments[moment], 0)
    table.check("checkpoint counters", "average", training["average_updates"], 2, 0)
    table.check("checkpoint counters", "iteration", found.num_updates, given["current_iteration"], 0)


def schedule(numbers: Numbers, table: Summary) -> None:
    """Window length and learning rates of every epoch."""
    experiment = Experiment(data=DataConfig(), stages=("texture",))
    dataset = SequenceDataset(cast(Any, None), cast(Any, None), experiment, range(1000))
    texture = experiment.texture
    for epoch, length, lr_generator, lr_discriminator in numbers.json("schedule")["rows"]:
        found = [window_length(dataset, epoch * epoch_steps(dataset)), texture.lr_generator, texture.lr_discriminator]
        table.check("schedule", f"epoch {epoch}", found, [length, lr_generator, lr_discriminator], 0)


def meta(numbers: Numbers) -> None:
    """Read what says how noisy the original is in float32: it is no output."""
    for file in ("generator", "generator_deep", "generator_full", "discriminator", "discriminator_full"):
        json.loads(str(numbers.load(file)["meta_noise_f32_json"]))


STEPS = [names_and_shapes, generator_eval, generator_train, generator_deep, discriminator, discriminator_full]
STEPS += [resample, gan, matching, perceptual, full_vgg, flows, confidence, iterations]
STEPS += [schedule, temporal_skip, checkpoint, generator_full]
NAMES = [step.__name__ for step in STEPS]


def compare(folder: Path, dtype: torch.dtype, chosen: list[str]) -> int:
    """The chosen comparisons in one precision; returns how many failed."""
    start, table, numbers = time.perf_counter(), Summary(), Numbers(folder, dtype)
    with torch.no_grad():
        for step in STEPS:
            if step.__name__ in chosen:
                step(numbers, table)
                gc.collect()
    print(f"\n{dtype}")
    bad = table.print()
    if chosen == NAMES:
        meta(numbers)
        for name, arrays in numbers.opened.items():
            left = [m for m in sorted(arrays.unread) if numbers.double or not f"{name}/{m}".startswith(FLOAT64_ONLY)]
            bad += len(left)
            print(f"{name}: {len(arrays.names)} arrays, {len(left)} compared with nothing", *left[:1])
    print(f"{time.perf_counter() - start:.0f} s")
    return bad


def main() -> int:
    """Run all comparisons; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dtype", nargs="+", choices=("float64", "float32"), default=["float64", "float32"])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--skip", nargs="+", choices=NAMES, default=[])
    options = parser.parse_args()
    chosen = [name for name in NAMES if name in options.only and name not in options.skip]
    bad = [compare(options.data, getattr(torch, name), chosen) for name in options.dtype]
    return 1 if any(bad) else 0


if __name__ == "__main__":
    sys.exit(main())
