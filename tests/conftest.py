"""What all tests share: the environment of Ray and MLflow, and one small Ray cluster for those that ask for it."""

import os
from collections.abc import Iterator

import pytest

# Read by Ray, MLflow and OpenMP when they are imported or start a process: set before any test module is.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Threads that wait by spinning take the cores that Ray's workers need.
    "OMP_WAIT_POLICY": "passive",
}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of this machine with four logical CPUs: starting one takes seconds, so tests share it.

    Four, whatever the machine has, since two workers and a Ray Data operator on two CPUs wait for each other for ever.
    Ray Tune needs the dashboard, which is therefore left on.
    """
    import ray
    from ray.data import DataContext

    ray.init(address="local", num_cpus=4, object_store_memory=512 * 2**20, logging_level="error", log_to_driver=False)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    yield
    ray.shutdown()
