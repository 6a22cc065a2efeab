"""CPU, memory, disk, network and GPUs of every machine that trains, as metrics of the stage's run.

MLflow's own monitor ends for good at the first request that fails, and sees the driver's machine alone. Here a sample
that MLflow does not take is left out, and the other machines are read from the agents of Ray that run on them.
"""

import contextlib
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import ray
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from ray._private.thirdparty import pynvml

from na_ray.run.tracking.runs import Tracker
from na_ray.run.tracking.store import TrackingError

# Seconds between two samples, and the longest wait for another machine's.
PERIOD = 10.0
TIMEOUT = 2.0

NAMES = {
    "ray_node_cpu_utilization": ("cpu_utilization_percentage", 1.0),
    "ray_node_mem_used": ("system_memory_usage_megabytes", 1e-6),
    "ray_node_disk_utilization_percentage": ("disk_usage_percentage", 1.0),
    "ray_node_gpus_utilization": ("gpu_{}_utilization_percentage", 1.0),
    "ray_node_gram_used": ("gpu_{}_memory_usage_megabytes", 1.0),
}
"""Gauges of Ray's agents: MLflow's names of them, and the factor between their units."""


class SystemMetrics:
    """Samples all machines and logs what they say, with the number of the sample as the step."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        self.step: int | None = None

    def sample(self) -> None:
        """Log a sample; one that MLflow does not take is left out."""
        metrics = {f"system/{name}": value for name, value in self._here().items()}
        for host, place in other_machines().items():
            metrics |= {f"system/{host}/{name}": value for name, value in read_agent(place).items()}
        try:
            if self.step is None:  # a resumed run goes on counting
                self.step = 1 + self.tracker.last_step("system/cpu_utilization_percentage")
            self.tracker.log([{"time": time.time(), "step": self.step, "metrics": metrics}])
        except TrackingError:
            return  # the forwarder tells of it
        self.step += 1

    def _here(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return found | gpus_here()


def gpus_here() -> dict[str, float]:
    """Use and memory of this machine's NVIDIA GPUs; empty where there are none."""
    found: dict[str, float] = {}
    with contextlib.suppress(pynvml.NVMLError):  # no driver, no GPU, or one that was taken away
        pynvml.nvmlInit()
        for i in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found[f"gpu_{i}_memory_usage_megabytes"] = memory.used / 1e6
            found[f"gpu_{i}_memory_usage_percentage"] = 100 * memory.used / memory.total
            found[f"gpu_{i}_utilization_percentage"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            found[f"gpu_{i}_power_usage_watts"] = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return found


def other_machines() -> dict[str, str]:
    """The cluster's machines but this one: their names, and HOST:PORT of their agents."""
    if not ray.is_initialized():
        return {}
    own = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != own]
    names = Counter(node["NodeManagerHostname"] for node in nodes)
    return {
        node["NodeManagerHostname"] if names[node["NodeManagerHostname"]] == 1 else node["NodeID"][:8]: (
            f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
        )
        for node in nodes
    }


def read_agent(place: str) -> dict[str, float]:
    """What the agent of Ray on another machine says of it; empty where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{place}/metrics", timeout=TIMEOUT) as answer:
            return parse(answer.read().decode(errors="replace"))
    except (OSError, ValueError):
        return {}


def parse(text: str) -> dict[str, float]:
    """The gauges of `NAMES` in an answer in Prometheus' format."""
    found = {}
    for line in text.splitlines():
        gauge = re.match(r"(ray_node_\w+)(\{.*\})? ([-+.\deE]+)", line)
        if gauge is None or gauge[1] not in NAMES:
            continue
        name, factor = NAMES[gauge[1]]
        index = re.search(r'GpuIndex="(\d+)"', gauge[2] or "")
        found[name.format(index[1] if index else 0)] = factor * float(gauge[3])
    return found


@contextlib.contextmanager
def system_metrics(tracker: Tracker) -> Iterator[None]:
    """Log system metrics in a thread while the body of the `with` runs."""
    over, metrics = threading.Event(), SystemMetrics(tracker)

    def loop() -> None:
        while not over.wait(PERIOD):
            with contextlib.suppress(Exception):  # a machine that comes or goes: the next sample has it right
                metrics.sample()

    thread = threading.Thread(target=loop, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
