"""What Ray Train's controller runs of a training, in a process of its own that starts the workers.

It imports no torch, nor what needs it: that would take seconds before the first worker is started. The workers make
their process group themselves (`ray_trainer`), where Ray's `TorchConfig` has the controller do it.
"""

from typing import Any

from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


class WorkersBackend(Backend):
    """Nothing is done for the workers but that each sees all GPUs that its node gave to them, as NCCL wants it."""

    share_cuda_visible_devices = True


class WorkersConfig(BackendConfig):
    """Asks Ray for that."""

    @property
    def backend_cls(self) -> type[WorkersBackend]:
        """What Ray makes in the driver and sends to the controller."""
        return WorkersBackend


class NoDatasets(DatasetsCallback):
    """Brings Ray Data's settings to the workers, and no data sets: they read through their own (`run.data.loader`).

    Ray would start a process for the data sets that there are not, with each group of workers (Ray 2.60).
    """

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        """What Ray gives the workers beside their ranks: nothing."""
        return {}


class WorkersTrainer(DataParallelTrainer):
    """Ray Train without the parts that cost processes and imports and serve nothing here."""

    def _create_default_callbacks(self) -> list[Any]:
        instead = NoDatasets(train_run_context=self.train_run_context, datasets={})
        callbacks = super()._create_default_callbacks()
        return [instead if type(callback) is DatasetsCallback else callback for callback in callbacks]
