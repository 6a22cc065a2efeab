"""The driver of a training: preflight, MLflow, the workers, and the trained actor at the end."""

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from na_ray.capture.dataset import Capture
from na_ray.checkpoint import validation
from na_ray.config import Experiment, from_dict, to_dict
from na_ray.run.cluster.notice import time_left
from na_ray.run.cluster.resources import check_room, reachable
from na_ray.run.data import loader as loader
from na_ray.run.tracking import runs as tracking
from na_ray.run.tracking.forwarder import following
from na_ray.run.tracking.registry import log_actor
from na_ray.run.train.loop import TrainContext, Worker, train_stage
from na_ray.run.train.preflight import preflight
from na_ray.run.train.restart_policy import RestartPolicy, mistake_in
from na_ray.run.train.run_folder import RunFolder, begin, open_run
from na_ray.run.train.stages import STAGES, AnyDataset

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

# Seconds in which Ray starts the workers of elastic training that it has counted room for, before it counts again.
ELASTIC_WAIT = "30"
# How often Ray tries to start workers for which machines are missing; by its default, a try takes a minute.
MOST_STARTS = 24 * 60


def train(experiment: Experiment, resume: bool = False) -> Path:
    """Train the stages of an experiment. Returns the folder of the best checkpoint of the last stage.

    `resume` goes on with the run of that name in `experiment.storage`, if there is one: from its latest checkpoint,
    into the same MLflow run. Raises UserError, FileExistsError or FileNotFoundError, one line a defect, for what the
    user can mend.
    """
    root, experiment = open_run(experiment, resume)
    datasets = preflight(experiment, root)
    begin(root, experiment)
    best = root
    for stage in experiment.stages:
        run = RunFolder(root, stage, experiment.train.keep_last)
        run.folder.mkdir(parents=True, exist_ok=True)
        steps = STAGES[stage].pace(datasets[stage]).steps
        told = run.closed(steps)
        if told is None:
            told = _train_stage(experiment, datasets[stage], run, steps)
            run.close(steps, told)
        print(told, flush=True)
        found = run.checkpoints.best()
        assert found is not None, "training ends with a checkpoint"
        best = found
    return best


def _train_stage(experiment: Experiment, dataset: AnyDataset, run: RunFolder, steps: int) -> str:
    """Train a stage to its end, log its model, score and film it. Returns what to tell the user."""
    parts = STAGES[run.stage]
    tracker = tracking.start(experiment, run.root, run.stage)
    monitor = tracking.system_metrics(tracker)
    status = "FAILED"
    try:
        monitor.start()
        with following(run, tracker, steps):
            if experiment.train.num_workers == 0:
                train_here(experiment, dataset, run)
            else:
                train_on_ray(experiment, run)
        best = run.checkpoints.best()
        assert best is not None, "training ends with a checkpoint"
        with tracking.needed("training is done, and --resume auto scores, films and registers what it left"):
            log_actor(tracker, best, parts.served, experiment.name + parts.suffix)
            told = parts.close(best, Capture.open(experiment.capture), run.folder, tracker)
            tracker.log_summary(validation(best))
        status = "FINISHED"
        return told
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        monitor.finish()
        tracker.finish(status)


def train_here(
    experiment: Experiment,
    dataset: AnyDataset,
    run: RunFolder,
    report: Callable[[dict[str, float]], None] = lambda _: None,
) -> None:
    """Train in this process, without Ray: for debugging, and for machines that are too small for it."""
    cuda = experiment.train.device == "cuda" or (experiment.train.device == "auto" and torch.cuda.is_available())
    worker = Worker(0, 1, torch.device("cuda:0" if cuda else "cpu"), report)
    _train_worker(experiment, dataset, run, worker)


def _train_worker(experiment: Experiment, dataset: AnyDataset, run: RunFolder, worker: Worker) -> None:
    """Train a stage as one of the workers."""
    parts = STAGES[run.stage]
    num_slots = parts.slots(experiment) or worker.world
    slots = tuple(range(worker.rank, num_slots, worker.world))
    context = TrainContext(experiment, dataset.rig, run, worker)
    distributed = ray.is_initialized() and experiment.train.num_workers > 0
    train_stage(
        parts.trainer(context, dataset),
        context,
        lambda step: loader.StepLoader(parts.order(dataset, slots, num_slots, step), distributed=distributed),
    )


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
        ray.init(address="auto", **options)
    except ConnectionError:
        # Logical CPUs: the workers' share beside one for each decoder; the machine's cores are shared by all.
        needed = experiment.train.num_workers * experiment.train.cpus_per_worker
        ray.init(num_cpus=int(at_once * needed) + max(2 * at_once, os.cpu_count() or 1), **options)
    ray.data.DataContext.get_current().enable_progress_bars = False


def train_on_ray(experiment: Experiment, run: RunFolder, callbacks: Sequence[UserCallback] = ()) -> None:
    """Train on Ray's workers; those that die are started again and go on from the latest checkpoint."""
    connect(experiment)
    train_config = experiment.train
    available = reachable()
    use_gpu = train_config.device == "cuda" or (train_config.device == "auto" and available.get("GPU", 0) > 0)
    check_room(train_config, available, use_gpu)
    resources = {"CPU": train_config.cpus_per_worker} | ({"GPU": 1} if use_gpu else {})
    most = train_config.num_workers
    if train_config.min_workers:  # else the time for which Ray waits for all workers before it takes fewer
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = ELASTIC_WAIT
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"experiment": to_dict(experiment), "root": str(run.root), "stage": run.stage},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(train_config.min_workers, most) if train_config.min_workers else most,
            use_gpu=use_gpu,
            resources_per_worker=resources,
        ),
        # Checkpoints are the run's own: Ray keeps only its records here, under a new name each time.
        run_config=RunConfig(
            name=f"{run.stage}-{uuid.uuid4().hex[:8]}",
            storage_path=str(run.root / "ray"),
            failure_config=FailureConfig(max_failures=-1, controller_failure_limit=MOST_STARTS),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            callbacks=[RestartPolicy(run.checkpoints, train_config.max_failures), *callbacks],
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        mistake = mistake_in(error)  # that only training could find, such as a video that turned unreadable
        raise (mistake or error) from error


def _worker(config: dict[str, Any]) -> None:
    """One Ray Train worker."""
    experiment = from_dict(Experiment, config["experiment"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":  # Ray sets one thread a CPU reserved; the other cores are used, but one that decodes
        torch.set_num_threads(max(1, ((os.cpu_count() or 1) - 1) // context.get_local_world_size()))
    run = RunFolder(Path(config["root"]), config["stage"], experiment.train.keep_last)
    dataset = STAGES[run.stage].make_dataset(Capture.open(experiment.capture), experiment)
    _train_worker(experiment, dataset, run, Worker(rank, world, device, ray.train.report, time_left))
