"""Join a Ray cluster, or start one on this machine."""

import os
from typing import Any

import ray
import ray.train

from na_ray.config import Experiment

# Read by Ray when it starts: quiet logs, no usage reports, dead workers noticed within half a second, objects that
# nobody needs removed ten times a second (by default once: 60 MB of read frames stayed in the store meanwhile).
ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_free_objects_period_milliseconds": "100",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


_sessions: list[str] = []


def log_folder() -> str | None:
    """Where Ray keeps the logs of the cluster that this process joined; None where it joined none."""
    return os.path.join(_sessions[-1], "logs") if _sessions else None


def connect(experiment: Experiment, at_once: int = 1) -> None:
    """Join the cluster that is there (RAY_ADDRESS, or one started on this machine), else start one here.

    `at_once`: how many such trainings will run side by side.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    if ray.is_initialized():
        return
    # Workers speak through the run's record; their own output stays in Ray's log files.
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    try:
        context = ray.init(address="auto", **options)
    except ConnectionError:
        # Logical CPUs: the workers' share beside one for each decoder; the machine's cores are shared by all.
        needed = experiment.train.num_workers * experiment.train.cpus_per_worker
        context = ray.init(num_cpus=int(at_once * needed) + max(2 * at_once, os.cpu_count() or 1), **options)
    _sessions.append(str(context.address_info["session_dir"]))
    ray.data.DataContext.get_current().enable_progress_bars = False
