"""Ray Data around the stream: decode on CPU workers of the cluster, deliver rows in the planned order."""

import atexit
import hashlib
import itertools
import pickle
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import ray
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback

from na_ray.config import Experiment
from na_ray.config.values import MISTAKES, StorageError, UserError
from na_ray.run.cluster.resources import cpu_share
from na_ray.run.data.frames import Row

# Shards that one Ray Data execution reads, and most tasks of it; the next one is planned when it ends. Each task is an
# entry in the store, and all are made before the first one runs: 5 ms each, in every worker.
SEGMENT = 1024
TASKS = 128
# Most shards, and bytes of them, that a task decodes: its cost beside decoding (15 ms here) is shared by them.
TASK_SHARDS = 16
TASK_BYTES = 32 * 2**20
# Shuffle groups in a row without a readable shard: then nothing is left to train on.
MOST_BARREN = 16


@runtime_checkable
class ShardDataset(Protocol):
    """What a loader reads, shard by shard (`FrameDataset`, `SequenceDataset`). Cheap to send to a worker."""

    @property
    def experiment(self) -> Experiment:
        """Whose data it is."""

    @property
    def where(self) -> str:
        """Folder of the split, for messages."""

    def decode(self, shard: Any) -> list[Row]:
        """The rows of a shard; none for a bad one that may be skipped. A row's `skipped` counts those it stands for."""

    def prefetch(self, shard: Any) -> None:
        """Begin to fetch what `decode` will read of a storage behind a URL; do not wait for it."""

    def shard_bytes(self) -> int:
        """Most bytes that the rows of a shard take."""

    def room(self, num_slots: int) -> tuple[int, int]:
        """Bytes that so many batch slots hold, and those left for decoding. Raises UserError when they are too few."""


@runtime_checkable
class Sampler(Protocol):
    """In which order it is read (`FrameSampler`, `SequenceSampler`)."""

    @property
    def dataset(self) -> ShardDataset:
        """What is read."""

    @property
    def slots(self) -> tuple[int, ...]:
        """The batch slots of this loader: a step takes a row from each."""

    def shuffle_groups(self) -> Iterator[tuple[int, int, int, tuple[Any, ...]]]:
        """(batch slot, number of the group, rows to drop at its start, shards), endlessly, as the slots need them."""


# What a decoding process works on.
_unpacked: dict[str, tuple[ShardDataset, list[Any]]] = {}
# Datasets that a decoding process knows, by their digests: they remember cameras, poses and pixels, and what came with
# one segment is the same as what comes with the next. Of training and validation, and of a run before.
_known: dict[str, ShardDataset] = {}
MOST_KNOWN = 4


def recall(digest: str, dataset: ShardDataset) -> ShardDataset:
    """The dataset of this digest that the process has used before, if it has; else this one from now on."""
    if digest not in _known:
        while len(_known) >= MOST_KNOWN:
            del _known[next(iter(_known))]
        _known[digest] = dataset
    return _known[digest]


def digest_of(dataset: ShardDataset) -> str:
    """The same for datasets of one content, whichever process made them."""
    return hashlib.sha1(pickle.dumps(dataset), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Shipped:
    """A data set and its shards in Ray's object store: this comes with every task, and a process unpacks it once."""

    reference: Any
    token: str
    digest: str

    def unpack(self) -> tuple[ShardDataset, list[Any]]:
        """The same objects each time, and of the dataset the same for all segments."""
        if self.token not in _unpacked:
            _unpacked.clear()
            dataset, shards = ray.get(self.reference)
            _unpacked[self.token] = recall(self.digest, dataset), shards
        return _unpacked[self.token]


class StepLoader:
    """A list of rows a step, one for each batch slot of `order`, endlessly, from the order's first step on.

    `distributed` decodes on Ray's CPU workers; otherwise a thread of this process does.
    """

    def __init__(self, order: Sampler, distributed: bool) -> None:
        self.order, self.distributed = order, distributed
        _, self.room = order.dataset.room(len(order.slots))
        # Taken once: what a dataset remembers is pickled with it, and would change its digest.
        self._digest = digest_of(order.dataset) if distributed else ""
        self.skipped = 0
        """Shards that could not be read and were passed over (`data.on_bad_shard`)."""

    def __iter__(self) -> Iterator[list[Row]]:
        queues: dict[int, deque[Row]] = {slot: deque() for slot in self.order.slots}
        groups = self._decoded_groups()
        while True:
            while not all(queues.values()):
                slot, decoded = next(groups)
                queues[slot].extend(decoded)
            yield [queues[slot].popleft() for slot in self.order.slots]

    def _decoded_groups(self) -> Iterator[tuple[int, list[Row]]]:
        """(batch slot, its rows in mixed order) of every shuffle group."""
        dataset = self.order.dataset
        pending, barren = self.order.shuffle_groups(), 0
        size = _shards_of_a_task(dataset, self.room)
        groups = max(1, min(SEGMENT, TASKS * size) // dataset.experiment.data.shuffle_shards)
        while True:
            segment = list(itertools.islice(pending, groups))
            reading = [shard for *_, group in segment for shard in group]
            if self.distributed:
                decoded = _distributed(dataset, self._digest, reading, self.room)
            else:
                decoded = _threaded(dataset, reading)
            for slot, number, drop, group in segment:
                shards = [next(decoded) for _ in group]
                mixed = [row for rows in shards for row in rows]
                self.skipped += sum(not rows for rows in shards)
                self.skipped += sum(int(row["skipped"]) for row in mixed if "skipped" in row)
                barren = 0 if mixed else barren + 1
                if barren > MOST_BARREN:
                    raise UserError(
                        f"{dataset.where}: no shard of {barren} shuffle groups could be read: see na-ray inspect"
                    )
                rng = np.random.default_rng([dataset.experiment.train.seed, 1, number])
                yield slot, [mixed[i] for i in rng.permutation(len(mixed))[drop:]]


def _distributed(dataset: ShardDataset, digest: str, shards: list[Any], room: int) -> Iterator[list[Row]]:
    """Decode the shards with Ray Data, some of them a task, and yield the rows of each in the given order."""
    shard, size = dataset.shard_bytes(), _shards_of_a_task(dataset, room)
    shipped = Shipped(ray.put((dataset, shards)), uuid.uuid4().hex, digest)
    read = ray.data.range(len(shards), override_num_blocks=-(-len(shards) // size)).map_batches(
        _decode_blocks, batch_size=None, fn_kwargs={"shipped": shipped}
    )
    # Blocks on their way to the consumer are not counted by Ray.
    _bound(read, max(2 * shard, room - 3 * size * shard), cpu_share(dataset.experiment.train))
    blocks = read.iter_batches(batch_size=None, prefetch_batches=1)
    item, collected = 0, list[Row]()
    for block in blocks:
        if "mistake" in block:
            raise (StorageError if block["away"][0] else UserError)(str(block["mistake"][0]))
        for i, number in enumerate(block["item"]):
            while item < number:
                yield collected
                item, collected = item + 1, []
            collected.append({name: values[i] for name, values in block.items() if name != "item"})
    while item < len(shards):
        yield collected
        item, collected = item + 1, []


def _shards_of_a_task(dataset: ShardDataset, room: int) -> int:
    return max(1, min(TASK_SHARDS, min(TASK_BYTES, room // 16) // dataset.shard_bytes()))


def _decode_blocks(batch: dict[str, np.ndarray], shipped: Shipped) -> Iterator[dict[str, np.ndarray]]:
    """The rows of some shards stacked, with the number of the shard of each.

    What is wrong with a file is delivered, not raised: Ray Data would wrap it in messages of its own.
    """
    dataset, shards = shipped.unpack()
    items = [int(i) for i in batch["id"]]
    try:
        decoded = _fetched_ahead(dataset, [shards[i] for i in items])
        rows = [row | {"item": np.int64(item)} for item, rows in zip(items, decoded, strict=True) for row in rows]
    except (*MISTAKES, OSError) as error:
        yield {"mistake": np.array([str(error)]), "away": np.array([isinstance(error, StorageError)])}
        return
    # Windows of frames become longer at some steps: rows of one shape make a block.
    for _, alike in itertools.groupby(rows, key=lambda row: [value.shape for value in row.values()]):
        held = list(alike)
        yield {name: np.stack([row[name] for row in held]) for name in held[0]}


def _fetched_ahead(dataset: ShardDataset, shards: list[Any]) -> Iterator[list[Row]]:
    """The rows of each shard; the next one is fetched while one is decoded."""
    for number, shard in enumerate(shards):
        for soon in shards[number : number + 2]:
            dataset.prefetch(soon)
        yield dataset.decode(shard)


class Breather(ExecutionCallback):
    """Lets Ray Data's scheduling thread rest between two rounds.

    It lives in the training process, and waits only while tasks run: when enough is decoded and the consumer is the
    slower one, its loop spins, and takes the training's core and its interpreter lock (Ray 2.60).
    """

    def on_execution_step(self, executor: Any) -> None:
        """Rest: 10 ms is short beside the decoding of a shard."""
        time.sleep(0.01)


def _bound(read: ray.data.Dataset, room: int, cpus: int) -> None:
    """Keep the order, the memory bound of the experiment and its share of the cluster."""
    options = read.context.execution_options
    options.preserve_order = True
    read.context.print_on_execution_start = False
    read.context.custom_execution_callback_classes = [Breather]
    options.resource_limits = options.resource_limits.copy(object_store_memory=room, cpu=cpus)


def _threaded(dataset: ShardDataset, shards: list[Any]) -> Iterator[list[Row]]:
    """Decode the shards in a thread of this process, one shard ahead.

    The thread ends before this does, and before Python: a process that ends while a thread decodes is aborted.
    """
    ready: queue.Queue[list[Row] | Exception] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def produce() -> None:
        decoded = _fetched_ahead(dataset, shards)
        for _ in shards:
            try:
                item: list[Row] | Exception = next(decoded)
            except Exception as error:  # handed over: it must surface in the training loop, not in a thread
                item = error
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or isinstance(item, Exception):
                return

    def end() -> None:
        stop.set()
        thread.join()

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    atexit.register(end)
    try:
        for _ in shards:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        end()
        atexit.unregister(end)
