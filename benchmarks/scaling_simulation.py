"""N GPUs that train in step, as events: rows are read and decoded, workers compute, gradients are averaged; and, over
days, checkpoints are written and machines are lost.

A *row* is what a worker takes a step one of or some: a frame with its views (nerf), a window (texture predictor).
An *update* ends with an all-reduce: one a step (nerf), one a frame of the window (texture predictor).
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One stage on one kind of machine. Seconds, bytes, and bytes a second."""

    rows: int = 1
    """Rows of a step on each GPU."""
    updates: int = 1
    """All-reduces of a step."""
    compute: float
    """Seconds from one all-reduce to the next on a GPU that waits for nothing."""
    jitter: float = 0.0
    """Standard deviation of that, as a share of it; each worker and update draws its own."""
    gradient_bytes: float = 0.0
    bucket_bytes: float = 25 * 2**20
    """What is averaged at once (DDP's default): the last bucket can hide behind nothing."""
    overlap: float = 0.0
    """Share of `compute` behind which an all-reduce can hide."""
    gpus_per_node: int = 8
    inside: float = math.inf
    """Of each GPU to the others of its node."""
    link: float = math.inf
    """Of a node to the network."""
    latency: float = 0.0
    """Seconds of one hop of a ring."""
    row_bytes: float = 0.0
    """Read from the storage for a row."""
    decode: float = 0.0
    """Seconds of a core for a row."""
    cores: int = 1
    """That decode, for each GPU."""
    storage: float = math.inf
    """Read by all together."""
    checkpoint_bytes: float = 0.0
    save: float = math.inf
    """Of the one worker that writes checkpoints."""
    every: int = 500
    """Steps between two checkpoints."""
    loss_rate: float = 0.0
    """Losses of a node, a second."""
    restart: float = 0.0
    """Seconds from the loss of a node to the first step after it."""
    notice: float = math.inf
    """Seconds before the loss of a node at which a checkpoint is written; inf: nobody knows of the loss before."""

    def nodes(self, n: int) -> int:
        """Machines of n GPUs."""
        return -(-n // self.gpus_per_node)


def ring_seconds(size: float, n: int, bandwidth: float, latency: float) -> float:
    """A ring all-reduce: 2 (n - 1) hops of size / n bytes each."""
    return 2 * (n - 1) * (size / n / bandwidth + latency)


def all_reduce_seconds(s: Scenario, n: int) -> float:
    """The mean of all gradients: scattered in each node, by rings of one GPU a node between them, gathered again.

    The rings of a node share its link, so between nodes it takes as long as one ring of all bytes.
    """
    local = min(n, s.gpus_per_node)
    between = ring_seconds(s.gradient_bytes, s.nodes(n), s.link, s.latency)
    return ring_seconds(s.gradient_bytes, local, s.inside, s.latency) + between


def exposed_seconds(s: Scenario, n: int) -> float:
    """The part of an all-reduce that computing does not hide."""
    whole = all_reduce_seconds(s, n)
    last = min(1.0, s.bucket_bytes / s.gradient_bytes) if s.gradient_bytes else 0.0
    return max(whole - s.overlap * s.compute, whole * last)


@dataclass
class Step:
    """Mean seconds of a step and where they went: the parts sum up to `total`."""

    total: float
    parts: dict[str, float] = field(default_factory=dict)
    """compute, data (decoding), storage (reading), network, stragglers."""


class Fleet:
    """The workers and their decoders, driven by a queue of events."""

    def __init__(self, s: Scenario, n: int, seed: int = 0) -> None:
        self.s, self.n, self.rng = s, n, np.random.default_rng(seed)
        self.events: list[tuple[float, int, str, int]] = []
        self.count, self.now = 0, 0.0
        self.storage_free = 0.0
        self.decoded, self.busy = [0] * n, [0] * n
        self.prefetch = 4 * s.rows + 2 * s.cores
        self.waiting, self.arrived, self.update, self.begun = set(range(n)), 0, 0, 0.0
        self.exposed = exposed_seconds(s, n)
        self.reading, self.decoding, self.last_row = 0.0, 0.0, 0.0
        self.steps: list[dict[str, float]] = []

    def run(self, steps: int, warm: int) -> Step:
        """Do `warm` steps and `steps` more; the mean of the latter."""
        for _ in range(self.s.cores):  # a row each in turn: no worker's first row waits for another's last
            for worker in range(self.n):
                self._start_row(worker)
        while len(self.steps) < warm + steps:
            self.now, _, kind, worker = heapq.heappop(self.events)
            if kind == "row":
                self._row(worker)
            elif kind == "computed":
                self._computed()
            else:
                self._averaged()
        parts: Counter[str] = Counter()
        for step in self.steps[warm:]:
            parts.update(step)
        means = {name: value / steps for name, value in parts.items()}
        return Step(sum(means.values()), means)

    def _at(self, time: float, kind: str, worker: int = 0) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, kind, worker))

    def _start_row(self, worker: int) -> None:
        """A core reads a row, when it is its turn at the storage, and decodes it."""
        self.busy[worker] += 1
        read = max(self.now, self.storage_free) + self.s.row_bytes / self.s.storage
        self.storage_free = read
        self.reading += read - self.now
        self.decoding += self.s.decode
        self._at(read + self.s.decode, "row", worker)

    def _row(self, worker: int) -> None:
        self.busy[worker] -= 1
        self.decoded[worker] += 1
        if worker in self.waiting:
            self._take([worker])
        self._refill(worker)

    def _refill(self, worker: int) -> None:
        while self.busy[worker] < self.s.cores and self.decoded[worker] + self.busy[worker] < self.prefetch:
            self._start_row(worker)

    def _take(self, workers: Iterable[int]) -> None:
        """Those that have their rows begin the step."""
        for worker in workers:
            if self.decoded[worker] < self.s.rows:
                continue
            self.decoded[worker] -= self.s.rows
            self.waiting.discard(worker)
            self.last_row = self.now
            self._compute(worker)
            self._refill(worker)

    def _compute(self, worker: int) -> None:
        noise = 1 + self.s.jitter * self.rng.standard_normal() if self.s.jitter else 1.0
        self._at(self.now + self.s.compute * max(0.1, noise), "computed", worker)

    def _computed(self) -> None:
        self.arrived += 1
        if self.arrived == self.n:
            self._at(self.now + self.exposed, "averaged")

    def _averaged(self) -> None:
        self.arrived, self.update = 0, self.update + 1
        if self.update < self.s.updates:
            for worker in range(self.n):
                self._compute(worker)
            return
        self._record()
        self.update, self.begun, self.last_row = 0, self.now, self.now
        self.waiting = set(range(self.n))
        self._take(range(self.n))

    def _record(self) -> None:
        """Where the step's seconds went; waiting for rows is the storage's fault as far as cores waited for it."""
        compute, network = self.s.updates * self.s.compute, self.s.updates * self.exposed
        rest = self.now - self.begun - compute - network
        waited = min(self.last_row - self.begun, max(0.0, rest))
        share = self.reading / (self.reading + self.decoding) if self.reading + self.decoding else 0.0
        self.steps.append(
            {
                "compute": compute,
                "data": waited * (1 - share),
                "storage": waited * share,
                "network": network,
                "stragglers": rest - waited,
            }
        )
        self.reading = self.decoding = 0.0


@dataclass(frozen=True)
class Days:
    """A long run: `seconds` = steps that count + `saving` + `losing`."""

    seconds: float
    steps: int
    saving: float
    """Writing checkpoints."""
    losing: float
    """Steps that are done again, and restarts."""
    losses: int
    """Nodes lost."""


def run_days(s: Scenario, n: int, step: float, seconds: float, seed: int = 0) -> Days:
    """Train for so long with steps of `step` seconds. The loss of any node stops all until it is replaced."""
    rng = np.random.default_rng(seed)
    rate, write = s.loss_rate * s.nodes(n), s.checkpoint_bytes / s.save
    clock, steps, saving, losing, losses = 0.0, 0, 0.0, 0.0, 0
    lost_at = rng.exponential(1 / rate) if rate else math.inf
    while clock < seconds:
        end = clock + s.every * step + write
        if end <= lost_at:
            clock, steps, saving = end, steps + s.every, saving + write
            continue
        # What an announced loss leaves: the steps before the last checkpoint that there is time for.
        kept = max(0, int((lost_at - clock - s.notice - write) // step)) if s.notice < math.inf else 0
        if kept:
            steps, saving = steps + kept, saving + write
            clock += kept * step + write
        losing += lost_at - clock + s.restart
        clock, losses = lost_at + s.restart, losses + 1
        lost_at = clock + rng.exponential(1 / rate)
    return Days(clock, steps, saving, losing, losses)


def best_interval(s: Scenario, n: int, step: float) -> int | None:
    """Steps between checkpoints that lose least, sqrt(2 write / rate) seconds (Young 1974); None: nothing is lost."""
    rate, write = s.loss_rate * s.nodes(n), s.checkpoint_bytes / s.save
    return max(1, round(math.sqrt(2 * write / rate) / step)) if rate and write else None
