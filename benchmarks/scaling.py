"""Weak scaling of both stages at the published size to hundreds of GPUs, by simulation (`scaling_simulation.py`).

    python benchmarks/scaling.py [--stage nerf] [--card a10g] [--gpus 1 8 64] [--step-ms 20] [--link-gbs 12.5] ...
    python benchmarks/scaling.py --figure docs/scaling.svg

Counted: parameters, multiply-adds and operators of the networks; bytes of gradients, checkpoints and rows. Measured
(benchmarks/RESULTS.md): decoding, and what Ray Data delivers of it. Assumed: all that a GPU, a network, a storage or a
spot market does. No GPU was at hand. Any option replaces a preset.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from scaling_simulation import Fleet, Scenario, Step, best_interval, run_days

from na_ray.config import DataConfig, NerfConfig, StageName, TextureConfig, TrainConfig, Vid2vidConfig
from na_ray.models.nerf.cost import step_multiply_adds
from na_ray.models.nerf.field import RadianceField
from na_ray.models.nerf.texture_encoder import TextureEncoder
from na_ray.models.vid2vid.perceptual import Vgg19
from na_ray.run.cluster.notice import LAST
from na_ray.run.train.texture.stage import frame_cost

OPERATORS: dict[StageName, int] = {"nerf": 917, "texture": 6107}
"""Tensor operators of an update, forward, backward and Adam, views left out: counted on the CPU, whatever the sizes."""
SECONDS_PER_OPERATOR = 10e-6
"""Assumed: Python and a launch. An update takes no less than this for all its operators."""
WINDOWS_PER_WORKER = 4
"""Windows of a step on each GPU, as the original has them (parity/vid2vid 4.6)."""
TEXTURE_SIDE = 512
KB_TEXTURE, KB_NORMAL, KB_MEGAPIXEL = 69.0, 75.0, 139.0
"""MJPEG of the rendered human: a texture map and a normal map of 512 x 512; a million pixels of a camera's picture."""
DAY = 86400.0


@dataclass(frozen=True)
class Card:
    """A machine, from data sheets, and the share of its peak that training is assumed to reach."""

    name: str
    peak: float
    """Multiply-adds a second, dense: bfloat16 where the card has it, else float32."""
    share: float
    gpus_per_node: int
    cores: int
    """vCPUs for each GPU."""
    inside: float
    """Bytes a second of each GPU within its node, one direction."""
    link: float
    """Bytes a second of a node to the network."""


CARDS = {
    "h100": Card("H100, bfloat16, 8 a node, 3200 Gb/s", 989e12 / 2, 0.35, 8, 24, 450e9, 400e9),
    "v100": Card("V100, float32, 8 a node, 100 Gb/s", 15.7e12 / 2, 0.5, 8, 12, 150e9, 12.5e9),
    "a10g": Card("A10G, bfloat16, 1 a node, 10 Gb/s (cluster.yaml)", 70e12 / 2, 0.35, 1, 15, math.inf, 1.25e9),
}


@dataclass(frozen=True)
class Cost:
    """What a stage's networks cost."""

    trained: int
    """Parameters with gradients."""
    checkpoint_bytes: float
    multiply_adds: float
    """Of an update for one row, forward and backward."""


@dataclass(frozen=True)
class Options:
    """What is simulated. None: the preset of the stage or the card."""

    gpus: tuple[int, ...] = (1, 2, 8, 64, 512)
    stage: Literal["nerf", "texture"] | None = None
    card: Literal["h100", "v100", "a10g"] | None = None
    rows: int | None = None
    """Rows of a step on each GPU. Nerf: frames (train.global_batch / workers); texture: windows."""
    views: int = 1
    """data.views_per_frame of the NeRF."""
    step_ms: float | None = None
    """Of one update on one GPU, measured: replaces what the multiply-adds and the operators give."""
    jitter: float = 0.03
    """Standard deviation of an update's time, as a share. Assumed."""
    overlap: float = 0.4
    """Share of an update behind which DDP averages gradients. Assumed: the backward pass is two thirds."""
    gradient_mb: float | None = None
    link_gbs: float | None = None
    """GB/s of a node to the network."""
    latency_us: float = 10.0
    """Of one hop of a ring. Assumed."""
    decode_rate: float = 1100.0
    """Frames of 512 x 512 a core-second. Measured: MJPEG 1100, H.264 580 to 870."""
    delivery: float = 0.63
    """Share of it that Ray Data delivers. Measured on two quiet cores."""
    cores: int | None = None
    """That decode, for each GPU."""
    row_kb: float | None = None
    storage_gbs: float = 2.0
    """GB/s that the shared storage reads for all together. Assumed."""
    checkpoint_mb: float | None = None
    save_gbs: float = 0.5
    """GB/s at which rank 0 writes. Assumed."""
    every: int = TrainConfig().checkpoint_every
    """Steps between two checkpoints."""
    losses_per_day: float = 0.2
    """Spot machines that a node's place loses a day. Assumed."""
    restart_s: float = 180.0
    """To the first step with a new machine. Assumed; measured with a spare one: 14 to 30 s (docs/faults.md)."""
    notice_s: float = LAST
    """Before a spot machine is taken, training saves for the last time: that of na_ray. inf: nobody says so before."""
    figure: Path | None = None
    """Draw the efficiencies to this SVG."""


def nerf_cost(views: int) -> Cost:
    """The published nerf; a row is one frame."""
    config = NerfConfig()
    with torch.device("meta"):
        encoder = TextureEncoder(config.encoder_width)
        field = RadianceField(config, encoder.channels)
    trained = sum(p.numel() for network in (encoder, field) for p in network.parameters())
    work = 3 * step_multiply_adds(config, DataConfig(views_per_frame=views), TEXTURE_SIDE)
    return Cost(trained, 12 * trained, work)


def texture_cost() -> Cost:
    """The published texture predictor with VGG-19; an update is one frame of a window."""
    with torch.device("meta"):
        perceptual = Vgg19()
    generator, discriminator, work = frame_cost(Vid2vidConfig(), perceptual)
    return Cost(generator + discriminator, 4 * (4 * generator + 3 * discriminator), work)


def row_frames(stage: StageName, views: int, frames: int) -> tuple[float, float]:
    """Frames of 512 x 512 to decode for a row, by their pixels, and its KB."""
    if stage == "texture":
        return 2.0 * frames, (KB_TEXTURE + KB_NORMAL) * frames
    height, width = DataConfig().resolution or (1024, 1024)
    return 1 + views * height * width / TEXTURE_SIDE**2, KB_TEXTURE + KB_MEGAPIXEL * views * height * width / 1e6


def given(option: float | None, unit: float, preset: float) -> float:
    """An option in its unit, or the preset."""
    return preset if option is None else option * unit


def scenario(options: Options, stage: StageName, card: Card, cost: Cost) -> Scenario:
    """The numbers of a stage on a card."""
    updates = TextureConfig().max_window if stage == "texture" else 1
    rows = options.rows or (WINDOWS_PER_WORKER if stage == "texture" else 1)
    batched = rows if stage == "texture" else 1  # the NeRF does its rows one after the other
    launch = OPERATORS[stage] * SECONDS_PER_OPERATOR
    update = max(launch, batched * cost.multiply_adds / (card.peak * card.share)) * rows / batched
    frames, kilobytes = row_frames(stage, options.views, updates)
    return Scenario(
        rows=rows,
        updates=updates,
        compute=given(options.step_ms, 1e-3, update),
        jitter=options.jitter,
        gradient_bytes=given(options.gradient_mb, 1e6, 4.0 * cost.trained),
        overlap=options.overlap * batched / rows,  # only the last row's backward pass has an all-reduce
        gpus_per_node=card.gpus_per_node,
        inside=card.inside,
        link=given(options.link_gbs, 1e9, card.link),
        latency=options.latency_us * 1e-6,
        row_bytes=given(options.row_kb, 1e3, 1e3 * kilobytes),
        decode=frames / (options.decode_rate * options.delivery),
        cores=options.cores or card.cores,
        storage=options.storage_gbs * 1e9,
        checkpoint_bytes=given(options.checkpoint_mb, 1e6, cost.checkpoint_bytes),
        save=options.save_gbs * 1e9,
        every=options.every,
        loss_rate=options.losses_per_day / DAY,
        restart=options.restart_s,
        notice=options.notice_s,
    )


@dataclass(frozen=True)
class Result:
    """N GPUs: where their time goes, as shares of all of it."""

    gpus: int
    step: float
    """Seconds of a step, checkpoints and lost nodes aside."""
    rows: float
    """Rows a second over the whole run."""
    shares: dict[str, float]
    """compute (the efficiency), data, storage, network, stragglers, checkpoint, preemption."""

    @property
    def limit(self) -> str:
        """What costs most, if it costs more than 2 %."""
        name = max((n for n in self.shares if n != "compute"), key=lambda n: self.shares[n])
        return name if self.shares[name] > 0.02 else "-"


def simulate(s: Scenario, n: int, seed: int = 0) -> Result:
    """Some steps in detail, then a month of them with checkpoints and lost nodes."""
    steps = max(4, 40 // s.updates)
    step: Step = Fleet(s, n, seed).run(steps, warm=steps // 2)
    days = run_days(s, n, step.total, 30 * DAY, seed)
    training = days.steps * step.total
    shares = {name: part / step.total * training / days.seconds for name, part in step.parts.items()}
    shares |= {"checkpoint": days.saving / days.seconds, "preemption": days.losing / days.seconds}
    return Result(n, step.total, n * s.rows * days.steps / days.seconds, shares)


def needs(s: Scenario) -> str:
    """What each GPU asks for when it never waits."""
    rate = s.rows / (s.updates * s.compute)
    wire = 2 * s.gradient_bytes / s.compute / 1e9  # a ring of many nodes
    return (
        f"  to never wait, a GPU needs {rate * s.decode:.2f} cores and {rate * s.row_bytes / 1e6:.1f} MB/s of storage, "
        f"and a node {wire:.2f} GB/s of network to average in the time of an update"
    )


def lines(s: Scenario, results: Iterable[Result]) -> Iterator[str]:
    """The table of a stage on a card."""
    gradients, checkpoint = s.gradient_bytes / 1e6, s.checkpoint_bytes / 1e6
    yield f"  {s.updates} updates a step, each computes {1e3 * s.compute:.1f} ms and averages {gradients:.0f} MB"
    yield f"  a row: {1e3 * s.decode:.1f} ms of a core, {s.row_bytes / 1e3:.0f} KB; checkpoint {checkpoint:.0f} MB"
    yield needs(s)
    names = ("data", "storage", "network", "stragglers", "checkpoint", "preemption")
    yield (
        "  GPUs  step (s)    rows/s  efficiency  limit        "
        + "".join(f"{n:>11}" for n in names)
        + "  save every  lost/day"
    )
    for r in results:
        best = best_interval(s, r.gpus, r.step)
        lost = s.loss_rate * s.nodes(r.gpus) * DAY
        shares = "".join(f"{100 * r.shares[n]:10.1f}%" for n in names)
        head = f"  {r.gpus:4d}  {r.step:8.3f}  {r.rows:8.1f}  {100 * r.shares['compute']:9.1f}%  {r.limit:<13}"
        yield f"{head}{shares}  {best or '-':>10}  {lost:8.1f}"


def draw(curves: dict[tuple[StageName, str], list[Result]]) -> str:
    """Efficiency over GPUs as SVG: a panel a stage, a line a card."""
    colors = dict(zip(CARDS, ("#1b6ca8", "#c8553d", "#5a8f29"), strict=True))
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="760" height="300" font-family="sans-serif" font-size="12">'
    ]
    parts.append('<rect width="760" height="300" fill="white"/>')
    for panel, stage in enumerate(dict.fromkeys(stage for stage, _ in curves)):
        left, bottom, width, height = 50 + 370 * panel, 250, 300, 200
        parts.append(f'<text x="{left}" y="30" font-size="14">{stage}: efficiency over GPUs (simulated)</text>')
        for percent in (0, 25, 50, 75, 100):
            y = bottom - height * percent / 100
            parts.append(
                f'<path d="M{left} {y}h{width}" stroke="#ddd"/><text x="{left - 38}" y="{y + 4}">{percent} %</text>'
            )
        most = max(r.gpus for results in curves.values() for r in results)
        for (of, card), results in curves.items():
            if of != stage:
                continue
            at = [(left + width * math.log2(r.gpus) / max(1.0, math.log2(most)), r) for r in results]
            points = " ".join(f"{x:.0f},{bottom - height * r.shares['compute']:.0f}" for x, r in at)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colors[card]}" stroke-width="2"/>')
            parts += [f'<text x="{x - 6:.0f}" y="{bottom + 18}">{r.gpus}</text>' for x, r in at]
    for i, (name, machine) in enumerate(CARDS.items()):
        parts.append(f'<text x="{50 + 215 * i}" y="290" fill="{colors[name]}" font-size="10">{machine.name}</text>')
    return "\n".join([*dict.fromkeys(parts), "</svg>\n"])


def main() -> None:
    """Print the tables."""
    options = tyro.cli(Options, description=__doc__)
    curves: dict[tuple[StageName, str], list[Result]] = {}
    stages: tuple[StageName, ...] = (options.stage,) if options.stage else ("nerf", "texture")
    for stage in stages:
        cost = texture_cost() if stage == "texture" else nerf_cost(options.views)
        print(f"{stage}: {cost.trained / 1e6:.1f} M parameters, {cost.multiply_adds / 1e9:.0f} G multiply-adds a row")
        for name in (options.card,) if options.card else CARDS:
            s = scenario(options, stage, CARDS[name], cost)
            curves[stage, name] = [simulate(s, n) for n in options.gpus]
            print(f"\n{stage} on {CARDS[name].name}", *lines(s, curves[stage, name]), sep="\n", flush=True)
        print()
    if options.figure:
        options.figure.write_text(draw(curves))


if __name__ == "__main__":
    main()
