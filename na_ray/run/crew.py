"""Pieces of work done side by side on Ray's workers, or one after the other in this process.

    with Crew(4, device_of_cluster("auto", "draw on")) as crew:
        for index, picture in crew.each(drawing, drawer, frames): ...

`drawing(drawer, device)` is called once a worker, and makes what turns a frame into its picture. Pieces of a worker
that dies are done by another. Workers for which there is no room wait for it, and those that run do all the work.
"""

import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from na_ray.config.values import MISTAKES, UserError
from na_ray.run.cluster.resources import reachable

AHEAD = 2
"""Pieces that a worker is given at a time: it does the second while the first one's result is on its way."""

DEATHS = 3
"""Workers that may die on one piece, before it is to blame."""

Preparation = Callable[[Any, str], Callable[[Any], Any]]
"""(what all pieces share, the device) to what does a piece. A function of a module: it is sent to the workers."""


@runtime_checkable
class Hands(Protocol):
    """Who does pieces of work."""

    device: str
    """`cpu` or `cuda`."""
    home: str
    """The device of what is shared, before it is sent to who works with it."""

    def each(
        self, prepare: Preparation, shared: Any, pieces: Iterable[Any], ahead: int = AHEAD
    ) -> Iterator[tuple[int, Any]]:
        """(number of the piece, its result), as they come. Raises UserError where a piece finds the user's mistake."""

    def in_order(self, prepare: Preparation, shared: Any, pieces: Iterable[Any]) -> Iterator[Any]:
        """The results in the order of the pieces; so many of these are taken in advance that no worker waits."""


class ThisProcess:
    """Does one piece after the other, here."""

    def __init__(self, device: str) -> None:
        self.device = self.home = device

    def each(
        self, prepare: Preparation, shared: Any, pieces: Iterable[Any], ahead: int = AHEAD
    ) -> Iterator[tuple[int, Any]]:
        """(number of the piece, its result)."""
        return enumerate(self.in_order(prepare, shared, pieces))

    def in_order(self, prepare: Preparation, shared: Any, pieces: Iterable[Any]) -> Iterator[Any]:
        """The results."""
        return map(prepare(shared, self.device), pieces)


def device_of_cluster(wanted: Literal["auto", "cpu", "cuda"], what: str) -> Literal["cpu", "cuda"]:
    """Where the workers of the cluster compute, which this process has joined. Raises UserError, one line, where there
    is no GPU to do `what` on."""
    has_gpu = reachable().get("GPU", 0) > 0
    if wanted == "cuda" and not has_gpu:
        raise UserError(f"the cluster has no GPU to {what}: choose --device cpu, or auto")
    return "cuda" if has_gpu and wanted != "cpu" else "cpu"


class Hand:
    """A worker of a crew, in a process of its own."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ready: tuple[str, Callable[[Any], Any]] | None = None
        """What is shared, by its name in Ray's store, and what does pieces of it."""

    def place(self) -> tuple[str, int]:
        """The node, and its CPUs. Raises UserError for a GPU that is of no use."""
        if self.device == "cuda" and not torch.cuda.is_available():
            found = f"Ray gave a worker a GPU that torch {torch.__version__} there cannot use"
            raise UserError(f"{found}: install a build of torch with CUDA on every node, or choose the CPUs")
        return ray.get_runtime_context().get_node_id(), os.cpu_count() or 1

    def do(self, prepare: Preparation, shared: list["ray.ObjectRef"], piece: Any, threads: int) -> Any:
        """Do a piece. What is shared is fetched and made ready for the first one of them."""
        torch.set_num_threads(threads)
        key = shared[0].hex()  # one for all pieces of a round
        if self.ready is None or self.ready[0] != key:
            self.ready = None  # its memory, before more is taken
            self.ready = key, prepare(ray.get(shared[0]), self.device)
        return self.ready[1](piece)


@dataclass(eq=False)
class _Member:
    """A worker as its crew sees it."""

    actor: Any
    node: str = ""
    cpus: int = 1
    load: int = 0
    """Pieces that it has."""


class Crew:
    """Ray's workers, each with `cpus` CPUs or beside them a GPU to itself. They live until `close`."""

    def __init__(self, workers: int, device: Literal["cpu", "cuda"], cpus: float = 1.0) -> None:
        """The process has joined a cluster. Returns at once: workers start meanwhile."""
        self.device: str = device
        self.home, self.size = "cpu", workers
        self._hand = ray.remote(Hand).options(num_cpus=cpus, num_gpus=int(device == "cuda"))
        self._starting: dict[ray.ObjectRef, _Member] = {}
        self._members: list[_Member] = []
        self._lost = 0
        for _ in range(workers):
            self._start()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        for member in (*self._members, *self._starting.values()):
            ray.kill(member.actor)
        self._members, self._starting = [], {}

    def each(
        self, prepare: Preparation, shared: Any, pieces: Iterable[Any], ahead: int = AHEAD
    ) -> Iterator[tuple[int, Any]]:
        """(number of the piece, its result), as they come. See `Hands`."""
        return _Round(self, prepare, shared, pieces).results(ahead, lambda: True)

    def in_order(self, prepare: Preparation, shared: Any, pieces: Iterable[Any]) -> Iterator[Any]:
        """The results in the order of the pieces. See `Hands`."""
        found, turn = dict[int, Any](), 0
        # Memory stays the same however long one piece takes that all wait for.
        results = _Round(self, prepare, shared, pieces).results(AHEAD, lambda: len(found) <= 2 * AHEAD * self.size)
        for index, result in results:
            found[index] = result
            while turn in found:
                yield found.pop(turn)
                turn += 1

    def starting(self) -> list["ray.ObjectRef"]:
        """What tells, one by one, that another worker is up: see `welcome`."""
        return list(self._starting)

    def welcome(self, ref: "ray.ObjectRef") -> None:
        """A worker is up, or could not start."""
        member = self._starting.pop(ref)
        try:
            member.node, member.cpus = ray.get(ref)
        except RayTaskError as error:
            raise _mistake(error) from error
        except RayError as error:
            self._another(error)
        else:
            self._members.append(member)

    def dismiss(self, member: _Member, error: RayError) -> None:
        """A worker is dead: another is started. What else it had comes back with an error of its own."""
        if member in self._members:
            self._members.remove(member)
            ray.kill(member.actor)
            self._another(error)

    def idle(self, ahead: int) -> _Member | None:
        """The worker with the least to do, if it may have more."""
        found = min(self._members, key=lambda member: member.load, default=None)
        return found if found is not None and found.load < ahead else None

    def threads(self, member: _Member) -> int:
        """A node's cores are shared by its workers."""
        return max(1, member.cpus // sum(other.node == member.node for other in self._members))

    def _start(self) -> None:
        actor = self._hand.remote(self.device)
        self._starting[actor.place.remote()] = _Member(actor)

    def _another(self, error: RayError) -> None:
        self._lost += 1
        if self._lost > DEATHS * (self.size + 1):
            raise RuntimeError(f"{self._lost} workers died, and no more are started: {error}") from error
        self._start()


class _Round:
    """The pieces of one call, and who has them."""

    def __init__(self, crew: Crew, prepare: Preparation, shared: Any, pieces: Iterable[Any]) -> None:
        self.crew, self.prepare, self.shared, self.source = crew, prepare, [ray.put(shared)], enumerate(pieces)
        self.waiting = deque[tuple[int, Any]]()
        self.jobs: dict[ray.ObjectRef, tuple[int, Any, _Member]] = {}
        self.deaths = Counter[int]()

    def results(self, ahead: int, has_room: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        """`ahead`: pieces that a worker has at a time. `has_room`: whether new ones may be begun."""
        while True:
            while (member := self.crew.idle(ahead)) is not None and self._has_piece(has_room):
                self._give(member)
            if not self.jobs and not self._has_piece(has_room):
                return
            (ref,), _ = ray.wait([*self.jobs, *self.crew.starting()], num_returns=1)
            if ref not in self.jobs:
                self.crew.welcome(ref)
                continue
            index, piece, member = self.jobs.pop(ref)
            member.load -= 1
            try:
                result = ray.get(ref)
            except RayTaskError as error:
                raise _mistake(error) from error
            except RayError as error:  # its process died, or its node, perhaps with the result
                self._again(index, piece, error)
                self.crew.dismiss(member, error)
            else:
                yield index, result

    def _has_piece(self, has_room: Callable[[], bool]) -> bool:
        if not self.waiting and has_room():
            self.waiting.extend(itertools.islice(self.source, 1))
        return bool(self.waiting)

    def _give(self, member: _Member) -> None:
        index, piece = self.waiting.popleft()
        ref = member.actor.do.remote(self.prepare, self.shared, piece, self.crew.threads(member))
        self.jobs[ref] = index, piece, member
        member.load += 1

    def _again(self, index: int, piece: Any, error: RayError) -> None:
        self.deaths[index] += 1
        if self.deaths[index] > DEATHS:
            raise RuntimeError(f"{self.deaths[index]} workers died on one piece of work: {error}") from error
        self.waiting.appendleft((index, piece))


def _mistake(error: RayTaskError) -> Exception:
    """What a piece of work raised, as it was raised, if it is the user's mistake."""
    return error.cause if isinstance(error.cause, MISTAKES) else error
