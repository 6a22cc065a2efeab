"""Break a training in every way that a cluster knows, and count what is lost.

    python benchmarks/faults.py [--faults worker node ...] [--times 3]

Several Ray nodes on this machine, each with its own processes; a synthetic capture; two workers on two nodes; real
signals to real processes, a real MLflow server, a real disk that is full (as root). Each fault strikes once, some steps
behind a checkpoint. A line for each: the outcome, the longest time without a new step, steps done twice, and how many
of the steps' losses MLflow misses or has twice in the end.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tyro
from faults_scene import Outcome, Scene, Settings, prepare

NOTICE = 40.0


def worker(scene: Scene) -> None:
    """A training process is killed."""
    scene.kill(scene.training_processes()[:1])


def node(scene: Scene) -> None:
    """A machine is lost, with all that runs on it; another one is there."""
    scene.cluster.add()
    scene.strike(lambda: scene.cluster.lose(scene.cluster.training()))


def elastic(scene: Scene) -> None:
    """A machine is lost and there is no other: training goes on with the workers that are left."""
    scene.strike(lambda: scene.cluster.lose(scene.cluster.training()))


def growth(scene: Scene) -> None:
    """A machine is lost; training goes on with the workers that are left, and with more when a machine comes."""
    scene.strike(lambda: scene.cluster.lose(scene.cluster.training()))
    scene.wait_for_steps(scene.struck + 20)
    scene.cluster.add()


def notice(scene: Scene) -> None:
    """A machine is taken, after a notice."""
    scene.cluster.add()
    victim = scene.cluster.training()
    scene.cluster.announce(victim, NOTICE)
    time.sleep(NOTICE)
    scene.strike(lambda: scene.cluster.lose(victim))


def decoder(scene: Scene) -> None:
    """The processes that decode videos are killed."""
    scene.kill(scene.decoding_processes())


def driver(scene: Scene) -> None:
    """The driver is killed, and started again with --resume auto."""
    scene.kill_driver()
    scene.start(resume=True)


def head(scene: Scene) -> None:
    """The head of the cluster is lost, and with it all of Ray; the run is started on another cluster."""
    scene.strike(scene.cluster.lose_head)
    scene.driver.wait()
    scene.cluster.start()
    scene.start(resume=True)


def disk(scene: Scene) -> None:
    """The disk of the runs is full for 20 seconds."""
    scene.strike(lambda: scene.fill_disk(20.0))


def server(scene: Scene) -> None:
    """The MLflow server is away for a minute."""
    scene.strike(lambda: scene.server_away(60.0))


def video(scene: Scene) -> None:
    """A video turns unreadable; it is mended, and the run started again with --resume auto."""
    mend = scene.damage_video()
    scene.driver.wait()
    mend()
    scene.start(resume=True)


def skipped(scene: Scene) -> None:
    """A video turns unreadable, and its shards are passed over and counted (data.on_bad_shard skip)."""
    scene.damage_video()


ELASTIC: dict[str, object] = {"train.min_workers": 1, "train.global_batch": 2}
# So long, and with so little memory, that videos are read on after the fault.
LONG: dict[str, object] = {"train.steps": 600, "data.memory_mb": 4}

FAULTS: dict[str, tuple[Callable[[Scene], None], dict[str, object]]] = {
    "worker": (worker, {}),
    "node": (node, {}),
    "elastic": (elastic, ELASTIC),
    "growth": (growth, ELASTIC | {"train.steps": 2500}),
    "notice": (notice, {"train.steps": 1500}),
    "decoder": (decoder, LONG),
    "driver": (driver, {}),
    "head": (head, {}),
    "disk": (disk, {}),
    "server": (server, {}),
    "video": (video, LONG),
    "skipped": (skipped, LONG | {"data.on_bad_shard": "skip"}),
}


def line(name: str, outcomes: list[Outcome]) -> str:
    """A row of the table."""
    good = sum(o.finished for o in outcomes)
    still = [o.standstill for o in outcomes if o.standstill is not None]
    seconds = f"{statistics.median(still):.0f} ({min(still):.0f}-{max(still):.0f})" if still else "-"
    redone = "-".join(str(n) for n in sorted({min(o.redone for o in outcomes), max(o.redone for o in outcomes)}))
    lost = sum(o.missing + o.doubled for o in outcomes)
    messages = next((o.messages for o in outcomes if o.messages), "")
    return f"| {name} | {len(outcomes)} | {good} ended well | {seconds} | {redone} | {lost} | {messages} |"


def main() -> None:
    """Print a table."""
    settings = tyro.cli(Settings, description=__doc__)
    unknown = set(settings.faults) - set(FAULTS)
    if unknown:
        sys.exit(f"error: no fault is named {', '.join(sorted(unknown))}: choose from {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        capture = prepare(Path(scratch))
        print("| fault | times | outcome | standstill, s | steps done twice | metrics lost or doubled | said |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for name in settings.faults or tuple(FAULTS):
            inject, knobs = FAULTS[name]
            outcomes = []
            for turn in range(settings.times):
                folder = Path(scratch) / f"{name}{turn}"
                with Scene(folder, capture, knobs) as scene:
                    scene.start()
                    scene.wait_for_steps(settings.strike_at)
                    inject(scene)
                    outcomes.append(scene.finish())
                if settings.curves:
                    curve = json.dumps({"fault": name, "struck": outcomes[-1].struck, "losses": outcomes[-1].losses})
                    with open(settings.curves, "a") as file:
                        file.write(curve + os.linesep)
            print(line(name, outcomes), flush=True)


if __name__ == "__main__":
    main()
