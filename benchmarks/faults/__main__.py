"""Break a training in every way that computers, disks, people and clusters know, and count what is lost.

    python benchmarks/faults [--faults worker torn ...] [--times 3] [--write docs/faults.md]

Faults of a cluster: several Ray nodes on this machine, each with its own processes; two workers on two nodes; real
signals to real processes, a real MLflow server, a real disk that is full (as root). Each strikes once, some steps
behind a checkpoint. A line for each: the outcome, the longest time without a new step, steps done twice, and how many
of the steps' losses MLflow misses or has twice in the end.

The other faults need no cluster: drivers that train in their own process, as they are typed. A line for each: the exit
codes of the drivers, in turn, what the last one of them said about it, and the same counts.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ray
import tyro
from alone import LoneScene, Verdict, prepare_lone
from cluster import CLUSTER_FAULTS
from forge import Forge
from lone_faults import LONE_FAULTS
from scene import Outcome, Scene, prepare


@dataclass(frozen=True)
class Settings:
    """What to break."""

    faults: tuple[str, ...] = ()
    """Names of faults; none: all. `cluster`, `lone`: all of a kind."""
    times: int = 1
    """How often each fault of a cluster strikes."""
    strike_at: int = 47
    """The step after which a fault of a cluster strikes; checkpoints are 20 steps apart."""
    jobs: int = 1
    """How many drivers are broken side by side."""
    curves: str | None = None
    """A file to add the losses of each training on a cluster to, a line of JSON each."""
    write: Path | None = None
    """A page to put the tables into, between their marks."""


def of_cluster(name: str, outcomes: list[Outcome]) -> str:
    """A row of the table."""
    about = str(CLUSTER_FAULTS[name][0].__doc__)
    good = sum(o.finished for o in outcomes)
    ended = "ended well" if good == len(outcomes) else f"**{good} of {len(outcomes)} ended well**"
    still = [o.standstill for o in outcomes if o.standstill is not None]
    seconds = f"{statistics.median(still):.0f}" if still else "-"
    if len(still) > 1:
        seconds += f" ({min(still):.0f}-{max(still):.0f})"
    redone = "-".join(str(n) for n in sorted({min(o.redone for o in outcomes), max(o.redone for o in outcomes)}))
    lost = sum(o.missing + o.doubled for o in outcomes)
    return f"| {about} | {len(outcomes)} | {ended} | {seconds} | {redone} | {lost} |"


def of_lone(about: str, found: Verdict) -> str:
    """A row of the other table."""
    ended = "ended well" if not found.wrong else f"**{'; '.join(found.wrong)}**"
    said = f"`` {found.said[-1]} ``" if found.said else "-"  # a line may have backticks of its own
    codes = ", ".join(map(str, found.codes))
    return f"| {about} | {codes} | {ended} | {found.redone} | {found.lost} | {said} |"


def cluster_rows(settings: Settings, scratch: Path, names: list[str]) -> Iterator[str]:
    """Break clusters."""
    capture = prepare(scratch)
    for name in names:
        inject, knobs = CLUSTER_FAULTS[name]
        outcomes = []
        for turn in range(settings.times):
            with Scene(scratch / f"{name}{turn}", capture, knobs) as scene:
                scene.start()
                scene.wait_for_steps(settings.strike_at)
                inject(scene)
                outcomes.append(scene.finish())
            if settings.curves:
                curve = json.dumps({"fault": name, "struck": outcomes[-1].struck, "losses": outcomes[-1].losses})
                with open(settings.curves, "a") as file:
                    file.write(curve + os.linesep)
        yield of_cluster(name, outcomes)


def lone_rows(settings: Settings, scratch: Path, names: list[str]) -> Iterator[str]:
    """Break drivers."""
    capture, store = prepare_lone(scratch / "lone")
    forge = Forge()

    def row(name: str) -> str:
        with LoneScene(scratch / name, capture, store, forge, fresh_store=name == "fresh_store") as scene:
            LONE_FAULTS[name](scene)
            found = scene.verdict()
        for driver in scene.drivers if found.wrong else []:
            print(f"--- {name}, {driver.log.name}\n{driver.text()[-3000:]}", file=sys.stderr, flush=True)
        return of_lone(str(LONE_FAULTS[name].__doc__), found)

    with ThreadPoolExecutor(settings.jobs) as threads:
        yield from threads.map(row, names)
    forge.stop()


def table(head: str, rows: Iterator[str], names: list[str]) -> list[str]:
    """Print a table as it grows."""
    columns = head.split(" | ")
    lines = [f"| {head} |", "|" + "---|" * len(columns)]
    print("\n".join(lines), flush=True)
    began = time.perf_counter()
    for name, row in zip(names, rows, strict=True):
        lines.append(row)
        print(f"{row}  [{name}, {time.perf_counter() - began:.0f} s]", flush=True)
        began = time.perf_counter()
    return lines


def main() -> int:
    """Print the tables. Exit code 1 where a fault did harm."""
    settings = tyro.cli(Settings, description=__doc__)
    kinds = {"cluster": list(CLUSTER_FAULTS), "lone": list(LONE_FAULTS)}
    wanted = [n for word in settings.faults or tuple(kinds) for n in kinds.get(word, [word])]
    unknown = set(wanted) - set(CLUSTER_FAULTS) - set(LONE_FAULTS)
    if unknown:
        known = ", ".join([*LONE_FAULTS, *CLUSTER_FAULTS])
        sys.exit(f"error: no fault is named {', '.join(sorted(unknown))}: choose from {known}")
    harm = False
    with tempfile.TemporaryDirectory() as scratch:
        for kind, (head, rows) in KINDS.items():
            names, began = [name for name in kinds[kind] if name in wanted], time.perf_counter()
            if not names:
                continue
            lines = table(head, rows(settings, Path(scratch), names), names)
            harm |= any("**" in line for line in lines)
            minutes = (time.perf_counter() - began) / 60
            with_what = f"{os.cpu_count()} CPUs, Python {platform.python_version()}, Ray {ray.__version__}"
            about = f"{time.strftime('%Y-%m-%d')}: {len(names)} faults in {minutes:.0f} minutes, {with_what}."
            print(about, flush=True)
            if settings.write:
                put(settings.write, kind, lines[:2], lines[2:], about)
    return int(harm)


KINDS: dict[str, tuple[str, Callable[[Settings, Path, list[str]], Iterator[str]]]] = {
    "lone": ("fault | exit codes | outcome | steps done twice | losses lost or doubled | said", lone_rows),
    "cluster": ("fault | times | outcome | standstill, s | steps done twice | losses lost or doubled", cluster_rows),
}
"""The head of each table, and what makes its rows."""


def put(page: Path, kind: str, head: list[str], rows: list[str], about: str) -> None:
    """Put a table between its marks in a page: rows of faults that did not strike this time stay as they are."""
    first, last = f"<!-- faults: {kind} -->\n", f"<!-- end: {kind} -->"
    before, _, rest = page.read_text().partition(first)
    inside, _, after = rest.partition(last)
    held = {row.split(" | ")[0]: row for row in inside.splitlines()[3:] if row.startswith("| ")}
    held |= {row.split(" | ")[0]: row for row in rows}
    page.write_text("\n".join([f"{before}{first}", *head, *held.values(), "", about, "", f"{last}{after}"]))


if __name__ == "__main__":
    sys.exit(main())
