"""Join a Ray cluster, or start one on this machine."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import ray
import ray.train
from ray._common.utils import get_default_ray_temp_dir

from na_ray.config import Experiment
from na_ray.config.values import UserError
from na_ray.run.cluster.address import ClusterAddress, check_cluster, named_cluster

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
    # Workers' output stays in its files (`connect`): who would send it here need not look for new files twice a second.
    "LOG_NAME_UPDATE_INTERVAL_S": "60",
}


LONGEST = 107 - len("/session_2026-11-26_08-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of a path below which Ray's sockets have room: the system allows them 107."""

_sessions: list[str] = []


def log_folder() -> str | None:
    """Where Ray keeps the logs of the cluster that this process joined; None where it joined none."""
    return os.path.join(_sessions[-1], "logs") if _sessions else None


def connect(experiment: Experiment, at_once: int = 1) -> None:
    """Join the cluster that is named (`address.named_cluster`), else start one of this program's own here.

    `at_once`: how many such trainings will run side by side. Raises UserError, one line, for a cluster that is gone.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    if ray.is_initialized():
        return
    # Workers speak through the run's record; their own output stays in Ray's log files.
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    named, on_termination = named_cluster(), signal.getsignal(signal.SIGTERM)
    if named is not None:
        check_cluster(named)
        context = _join(named, options)
    else:
        # Nobody takes this machine away: a process that watches for it takes seconds to start in every training.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # Logical CPUs: the workers' share beside one for each decoder; the machine's cores are shared by all.
        needed = int(at_once * experiment.train.num_workers * experiment.train.cpus_per_worker)
        cpus = needed + max(2 * at_once, os.cpu_count() or 1)
        with short_folder() as folders, sigterm_blocked():
            context = ray.init(address="local", num_cpus=cpus, **options, **folders)
        _kill_at_end()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_termination)  # instead of Ray's, which ends the process there and then
    _sessions.append(str(context.address_info["session_dir"]))
    ray.data.DataContext.get_current().enable_progress_bars = False


@contextlib.contextmanager
def sigterm_blocked() -> Iterator[None]:
    """Processes that start in the body of the `with` do not hear SIGTERM. systemd, Slurm and `timeout` send it to all
    of a job: Ray would be gone before its workers have saved what this process asks them to save. Ray itself does as
    much for Ctrl-C.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_at_end() -> None:
    """Ray's processes that this one started are killed when it ends, since they do not hear SIGTERM: Ray would wait for
    them."""
    node = ray._private.worker._global_node
    if node is not None:
        node.kill_all_processes = functools.partial(_kill, node, node.kill_all_processes)


def _kill(
    node: Any, kill: Callable[..., None], check_alive: bool = True, allow_graceful: bool = False, wait: bool = False
) -> None:
    """In place of Ray's own: its processes and what they have started, which would end by itself within a minute."""
    started = []
    for process in (info.process for infos in node.all_processes.values() for info in infos):
        with contextlib.suppress(psutil.Error):
            started += psutil.Process(process.pid).children(recursive=True)
    kill(check_alive=check_alive, wait=wait)
    for child in started:
        with contextlib.suppress(psutil.Error):
            child.kill()


def _join(cluster: ClusterAddress, options: dict[str, Any]) -> Any:
    try:
        return ray.init(address=cluster.address, **options)
    except (ConnectionError, RuntimeError) as error:  # versions that differ, no token, a machine that is no node
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{cluster.address}, which {cluster.source} names, cannot be joined: {reason}") from error


@contextlib.contextmanager
def short_folder() -> Iterator[dict[str, str]]:
    """Options of `ray.init`, called in the body of the `with`, where the folder for temporary files has too long a path
    for sockets: Ray works in /tmp then, its dashboard's processes too, and spills what memory does not hold into the
    long one."""
    folder, before = get_default_ray_temp_dir(), os.environ.get("TMPDIR")
    if len(os.fsencode(folder)) <= LONGEST:
        yield {}
        return
    os.environ["TMPDIR"] = "/tmp"  # which Ray's processes inherit
    try:
        yield {"_temp_dir": "/tmp/ray", "object_spilling_directory": folder}
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
