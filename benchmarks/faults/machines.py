"""Machines for `benchmarks/faults` to break: Ray nodes with processes of their own, and an MLflow server, all here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster as RayCluster
from ray.experimental.internal_kv import _internal_kv_reset


class Cluster:
    """Nodes of three CPUs beside a head of one: a worker takes two, so no node holds both."""

    def __init__(self) -> None:
        # Of its own: Ray's `Cluster` leaves its address where later programs of this machine look for one to join.
        self.folder = tempfile.mkdtemp(prefix="ray")  # paths of sockets must be short
        os.environ["RAY_TMPDIR"] = self.folder
        self.start()

    def start(self) -> None:
        """A head and two nodes."""
        self.ray = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(2):
            self.add()

    def add(self) -> None:
        """Another node."""
        self.ray.add_node(num_cpus=3, wait=True)

    def processes(self, node: Any) -> list[psutil.Process]:
        """All of a node."""
        own = [psutil.Process(p.process.pid) for parts in node.all_processes.values() for p in parts]
        return [p for process in own for p in (process, *process.children(recursive=True))]

    def training(self) -> Any:
        """A node on which a worker trains."""
        for node in self.ray.worker_nodes:
            if any("RayTrainWorker" in name(p) for p in self.processes(node)):
                return node
        raise AssertionError("no node trains")

    def lose(self, node: Any) -> None:
        """A machine is gone, all at once."""
        kill(self.processes(node))
        self.ray.worker_nodes.discard(node)

    def lose_head(self) -> None:
        """The head is gone, and its nodes cannot live without it."""
        self._end()
        self.ray.worker_nodes.clear()

    def _end(self) -> None:
        for node in (self.ray.head_node, *self.ray.worker_nodes):
            kill(self.processes(node))
        # Ray ends a process that holds on to a head for a minute after it is gone. Ray Tune asks it at a program's end.
        self.ray.global_state.disconnect()
        _internal_kv_reset()

    def announce(self, node: Any, seconds: float) -> None:
        """Say that a machine will be taken, as `na_ray.run.cluster.spot_watcher` does."""
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self.ray.address),
                *("--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"),
                *("--deadline-remaining-seconds", str(int(seconds))),
            ],
            check=True,
            capture_output=True,
        )

    def stop(self) -> None:
        """End all nodes."""
        self._end()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(self.folder, ignore_errors=True)


def name(process: psutil.Process) -> str:
    """What a process calls itself; empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL, to those that are there."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """An MLflow server on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.start()

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        command = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *command, *store, *artifacts],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)

    def stop(self) -> None:
        """End it at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
