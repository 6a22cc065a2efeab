"""Faults of a cluster: of workers, machines, a head, a disk, a server, memory for objects and a video."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

from scene import Scene

NOTICE = 40.0

HOLDER = """
import sys, time, numpy, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")

@ray.remote(num_cpus=0)
def hold(seconds):
    held = [ray.put(numpy.zeros(10_000_000, numpy.uint8)) for _ in range(15)]
    time.sleep(seconds)
    return len(held)

there = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
placed = [hold.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)) for node in there]
ray.get([node.remote(float(sys.argv[2])) for node in placed])
"""
"""Fills every node's 150 MB for objects, for some seconds."""


def worker(scene: Scene) -> None:
    """a worker is killed"""
    scene.kill(scene.training_processes()[:1])


def node(scene: Scene) -> None:
    """a machine is lost, another one is there"""
    scene.cluster.add()
    scene.strike(lambda: scene.cluster.lose(scene.cluster.training()))


def elastic(scene: Scene) -> None:
    """a machine is lost, no other is there (`min-workers 1`)"""
    scene.strike(lambda: scene.cluster.lose(scene.cluster.training()))


def growth(scene: Scene) -> None:
    """the same, and a machine comes later"""
    scene.strike(lambda: scene.cluster.lose(scene.cluster.training()))
    scene.wait_for_steps(scene.struck + 20)
    scene.cluster.add()


def notice(scene: Scene) -> None:
    """a machine is taken 40 s after it was announced"""
    scene.cluster.add()
    victim = scene.cluster.training()
    scene.cluster.announce(victim, NOTICE)
    time.sleep(NOTICE)
    scene.strike(lambda: scene.cluster.lose(victim))


def decoder(scene: Scene) -> None:
    """decoding processes are killed"""
    scene.kill(scene.decoding_processes())


def driver(scene: Scene) -> None:
    """the driver is killed, then `--resume auto`"""
    scene.kill_driver()
    scene.start(resume=True)


def head(scene: Scene) -> None:
    """the head is lost, with all of Ray; `--resume auto` elsewhere"""
    scene.strike(scene.cluster.lose_head)
    scene.driver.wait()
    scene.cluster.start()
    scene.start(resume=True)


def disk(scene: Scene) -> None:
    """the disk is full for 20 s"""
    scene.strike(lambda: scene.fill_disk(20.0))


def server(scene: Scene) -> None:
    """MLflow is away for 60 s"""
    scene.strike(lambda: scene.server_away(60.0))


def video(scene: Scene) -> None:
    """a video turns unreadable; mended, `--resume auto`"""
    mend = scene.damage_video()
    scene.driver.wait()
    mend()
    scene.start(resume=True)


def skipped(scene: Scene) -> None:
    """a video turns unreadable, `on-bad-shard skip`"""
    scene.damage_video()


def interrupted(scene: Scene) -> None:
    """Ctrl-C, then `--resume auto`"""
    scene.strike(lambda: scene.driver.send_signal(signal.SIGINT))
    scene.end(130)
    scene.start(resume=True)


def terminated(scene: Scene) -> None:
    """SIGTERM, then `--resume auto`"""
    scene.strike(scene.driver.terminate)
    scene.end(143)
    scene.start(resume=True)


def objects(scene: Scene) -> None:
    """every node's memory for objects is full for 20 s"""
    command = [sys.executable, "-c", HOLDER, scene.cluster.ray.address, "20"]

    def fill() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    scene.strike(fill)


ELASTIC: dict[str, object] = {"train.min_workers": 1, "train.global_batch": 2}
# So long, and with so little memory, that videos are read on after the fault.
LONG: dict[str, object] = {"train.steps": 600, "data.memory_mb": 4}

CLUSTER_FAULTS: dict[str, tuple[Callable[[Scene], None], dict[str, object]]] = {
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
    "interrupted": (interrupted, {}),
    "terminated": (terminated, {}),
    "objects": (objects, LONG),
    "skipped": (skipped, LONG | {"data.on_bad_shard": "skip"}),
}
