"""What all tests share: the environment of Ray and MLflow, and one small Ray cluster for those that ask for it."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

# Read by Ray, MLflow and OpenMP when they are imported or start a process: set before any test module is.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Not the cluster that somebody started on this machine, nor the one whose address was left behind.
    "RAY_ADDRESS": "local",
    # Ray's workers are polite by default (15): beside two busy programs they hardly run at all.
    "RAY_worker_niceness": "0",
    # Nobody reads the workers' output, which a process of Ray's looks for twice a second.
    "LOG_NAME_UPDATE_INTERVAL_S": "60",
    # What Ray's dashboard asks the machine every 2.5 s.
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    # Threads that wait by spinning take the cores that Ray's workers need.
    "OMP_WAIT_POLICY": "passive",
}

# Ctrl-C is ignored by what a shell starts behind `&`, as CI may start the tests, and by all that is started from there.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _with_ray(item: pytest.Item) -> bool:
    return "ray_cluster" in item.fixturenames  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)  # xdist's own reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of Ray come first, and share a process and its cluster; of the others, each file is one process's.

    A cluster that stands idle takes an eighth of a core: two of them would take a quarter.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if _with_ray(item) else item.location[0]))
    items.sort(key=lambda item: not _with_ray(item))


_clusters = contextlib.ExitStack()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the cluster at the first test that needs none: those that do came before."""
    if not _with_ray(item):
        _clusters.close()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of this machine with four logical CPUs: starting one takes seconds, so tests share it.

    Four, whatever the machine has, since two workers and a Ray Data operator on two CPUs wait for each other for ever.
    Ray Tune needs the dashboard, which is therefore left on. Each of several test processes has a cluster of its own;
    RAY_ADDRESS leads the programs that its tests start to it, where `auto` would take any.
    """
    import ray
    from ray.data import DataContext

    folder = tempfile.mkdtemp(prefix="ray")  # paths of sockets must be short
    options = {"logging_level": "error", "log_to_driver": False, "_temp_dir": folder}
    ray.init(address="local", num_cpus=4, object_store_memory=512 * 2**20, **options)
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    # Nobody takes this machine away, and a process that watches for it takes seconds to start in every training.
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False

    def end() -> None:
        os.environ["RAY_ADDRESS"] = "local"
        del os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"]
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)

    _clusters.callback(end)
    yield
    _clusters.close()
