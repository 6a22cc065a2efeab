"""Seconds until the splats are 3 dB above the textured mesh on poses that they never saw, and the curve to there.

    python benchmarks/speedrun.py                                  # the synthetic capture, written where it is missing
    python benchmarks/speedrun.py --capture anna --seconds 120 --until 99 --csv curve.csv --avatars splats nerf

Training runs in this process on one thread, with the code of `na-ray train splats`; the clock counts the training
thread's CPU seconds (on a GPU: seconds) in steps alone, without loading, kernels' compilation and scoring. Scores are
those of `na-ray evaluate`: box of the mask or of the body, `--supersample` 2 x 2 rays a pixel for both sides.
"""

import argparse
import dataclasses
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment, override
from na_ray.config.selection import select
from na_ray.evaluation.evaluate import evaluate
from na_ray.models.avatars import AVATARS
from na_ray.motion.textures import MeanTexture
from na_ray.recipes import DEMO, SPLATS
from na_ray.run.data.frames import Row
from na_ray.run.data.loader import StepLoader
from na_ray.run.train.context import TrainContext, Trainer, Worker
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES

SYNTHETIC = Path("demo/capture")


def stage_trainer(
    experiment: Experiment, capture: Capture, folder: Path
) -> tuple[Trainer, Iterator[list[Row]], TrainContext]:
    """What trains the last stage of an experiment in this process, and its rows."""
    stage = experiment.stages[-1]
    dataset = STAGES[stage].make_dataset(capture, experiment)
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    run = RunFolder(folder, stage, keep_last=1)
    run.folder.mkdir(parents=True)
    context = TrainContext(experiment, dataset.rig, run, Worker(0, 1, device, lambda _: None))
    slots = STAGES[stage].slots(experiment)
    sampler = STAGES[stage].order(dataset, tuple(range(slots)), slots, 0)
    return STAGES[stage].trainer(context, dataset), iter(StepLoader(sampler, distributed=False)), context


class Clock:
    """Seconds of training: the thread's CPU time, or time where a GPU works."""

    def __init__(self) -> None:
        self.total = 0.0
        self.cuda = torch.cuda.is_available()

    def time(self, step: Callable[[], object]) -> None:
        """Count one step."""
        start = self._now()
        step()
        self.total += self._now() - start

    def _now(self) -> float:
        if not self.cuda:
            return time.thread_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def score(trainer: Trainer, context: TrainContext, capture: Capture, every: int, supersample: int) -> dict[str, float]:
    """PSNR and SSIM of the box, of held-out cameras and of novel poses in own and mean maps, and the mesh's."""
    experiment = context.experiment
    kind = context.run.stage
    assert kind != "texture", "only avatars are scored here"
    device = context.worker.device
    model = AVATARS[kind].make(experiment, Body.from_rig(context.rig))
    model.load_state_dict(trainer.weights())
    actor = TrainedAvatar(model.to(device).eval(), model.body, experiment)
    data, found = experiment.data, {}
    training = capture.split(data.train_split)
    chosen = select(data, len(training.cameras), training.num_frames)
    held_out = [v for v in range(len(training.cameras)) if v not in chosen.train_views]
    size = training.cameras[0].fitted(experiment.splats.size)
    parts: list[tuple[str, str, list[int], MeanTexture | None]] = [("cameras", data.train_split, held_out, None)]
    parts += [("cameras_refined", data.train_split, held_out, None)] if model.refines_poses else []
    testing = capture.split(data.test_split)
    cameras = list(range(0, len(testing.cameras), every))
    parts += [("poses_own", data.test_split, cameras, None)]
    parts += [("poses_mean", data.test_split, cameras, MeanTexture.of(actor.config, capture))]
    for name, split, views, textures in parts:
        frames = range(0, capture.split(split).num_frames, every)
        scores = evaluate(
            actor,
            capture,
            split,
            frames,
            views,
            (size.height, size.width),
            True,
            textures,
            None,
            supersample,
            "refined" in name,
        )
        for method in (kind, "mesh"):
            for metric in ("psnr", "ssim"):
                found[f"{name}/{method}/{metric}"] = scores.mean(method, "box", metric) or float("nan")
    return found


def run(experiment: Experiment, capture: Capture, options: argparse.Namespace) -> tuple[list[dict[str, float]], float]:
    """Train until the aim or the end. Returns the curve, and the seconds at which the aim was met (else inf)."""
    kind, clock, curve, step = experiment.stages[-1], Clock(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        trainer, rows, context = stage_trainer(experiment, capture, Path(folder))
        met, due, steps = float("inf"), options.first, []
        while step < trainer.schedule.steps:
            batch, before = next(rows), clock.total
            if step == 0:  # compiles the kernels
                _warm_up(experiment, capture)
            clock.time(partial(trainer.step, batch, step))
            steps.append(clock.total - before)
            step += 1
            if clock.total >= due or clock.total >= options.seconds or step == trainer.schedule.steps:
                due = max(due + options.first, due * options.spacing)
                point = score(trainer, context, capture, options.every, options.supersample)
                curve.append({"seconds": clock.total, "steps": step} | point)
                gain = point[f"poses_own/{kind}/psnr"] - point["poses_own/mesh/psnr"]
                print(line(kind, curve[-1], gain), flush=True)
                if gain >= options.until:
                    met = clock.total
                if gain >= options.until or clock.total >= options.seconds:
                    break
    print(f"a step of {kind}: median {1e3 * statistics.median(steps):.0f} ms")
    return curve, met


def _warm_up(experiment: Experiment, capture: Capture) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainer, rows, _ = stage_trainer(experiment, capture, Path(folder))
        for step in range(2):
            trainer.step(next(rows), step)


def line(kind: str, point: dict[str, float], gain: float) -> str:
    """A row of the table."""
    cells = [f"{point[f'{name}/{kind}/psnr']:6.2f}/{point[f'{name}/{kind}/ssim']:.3f}" for name in PARTS]
    return f"{kind:<8}{point['seconds']:>8.1f} s{point['steps']:>7.0f} steps  {'  '.join(cells)}   mesh {gain:+.2f} dB"


PARTS = ("cameras", "poses_own", "poses_mean")


def main() -> None:
    """Run the race."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default=str(SYNTHETIC), help="any capture with two splits")
    parser.add_argument("--until", type=float, default=3.0, help="dB above the textured mesh, novel poses, own maps")
    parser.add_argument("--seconds", type=float, default=600.0, help="when to give up")
    parser.add_argument("--steps", type=int, default=None, help="length of the schedule; default: the recipe's")
    parser.add_argument("--first", type=float, default=5.0, help="seconds until the first look")
    parser.add_argument("--spacing", type=float, default=1.15, help="factor between two looks")
    parser.add_argument("--every", type=int, default=3, help="score every so many frames and cameras")
    parser.add_argument("--supersample", type=int, default=2)
    parser.add_argument(
        "--avatars",
        nargs="+",
        default=["splats"],
        choices=("splats", "nerf"),
        help="nerf: the demo's, on the same pictures",
    )
    parser.add_argument("--train-views", default="auto")
    parser.add_argument("--csv", type=Path, default=None, help="where the curve goes")
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", help="change the recipe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    knobs = {"data.train_views": options.train_views, "stages": ("splats",), "train.num_workers": 0}
    knobs |= {"splats.steps": options.steps} if options.steps else {}
    for change in options.set:
        name, _, value = change.partition("=")
        knobs[name] = type_of(SPLATS, name)(value)
    capture = Capture.open(options.capture)
    experiments = {
        "splats": override(SPLATS, knobs | {"capture": options.capture}),
        "nerf": override(DEMO, knobs | {"capture": options.capture, "stages": ("nerf",)}),
    }
    print(f"capture {options.capture}, {SPLATS.splats.size} px; PSNR/SSIM of held-out cameras, of novel poses in own")
    print(
        "maps, of novel poses in the mean map; the last column is novel poses in own maps against the mesh in the same"
    )
    curve = []
    for kind in options.avatars:
        found, met = run(experiments[kind], capture, options)
        curve += found
        mesh = {name: found[-1][f"{name}/mesh/psnr"] for name in PARTS}
        print("mesh: " + ", ".join(f"{name} {value:.2f}" for name, value in mesh.items()))
        print(f"{kind}, seconds to mesh + {options.until:g} dB: {met:.1f}   commit {commit()}", flush=True)
    if options.csv:
        names = list(dict.fromkeys(name for point in curve for name in point))
        lines = [",".join(names)]
        lines += [",".join(f"{point[name]:.5f}" if name in point else "" for name in names) for point in curve]
        options.csv.write_text("\n".join(lines) + "\n")


def type_of(experiment: Experiment, knob: str) -> type:
    """The type of a knob's value."""
    section, name = knob.split(".")
    return type(dataclasses.asdict(experiment)[section][name])


def commit() -> str:
    """What is measured."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
