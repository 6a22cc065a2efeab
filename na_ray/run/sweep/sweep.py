"""Sweeps: many trainings with different knobs, on Ray Tune, compared in MLflow.

    sweep(LAN, {"nerf.samples_per_ray": tune.choice([32, 64, 96]), "optim.lr": tune.loguniform(1e-5, 1e-3)})

Ray Tune starts and stops the trials; what is known of them lies on disk (`sweep.state`), from which a killed sweep goes
on. A trial is a Ray Train run nested under Tune, or with `train.num_workers` 0 a plain task.
"""

import functools
import os
import shutil
from pathlib import Path
from typing import Any

from na_ray.capture.dataset import Capture
from na_ray.checkpoint import write_json
from na_ray.config import Experiment, StageName, override
from na_ray.config.files import read_json
from na_ray.config.values import UserError
from na_ray.run.cluster.connection import connect
from na_ray.run.cluster.resources import num_workers, reachable, uses_gpu
from na_ray.run.sweep import report
from na_ray.run.sweep.config import Budget, SweepConfig
from na_ray.run.sweep.forwarder import following, say
from na_ray.run.sweep.runner import SweepRunner, run
from na_ray.run.sweep.schedulers import make_scheduler
from na_ray.run.sweep.search_space import DEFAULT, Space, check_space, describe, grid, propose, stage_of
from na_ray.run.sweep.state import SweepState
from na_ray.run.sweep.trial import DRIVER_CPUS, Share
from na_ray.run.tracking import runs
from na_ray.run.tracking.store import needed
from na_ray.run.tracking.system_metrics import system_metrics
from na_ray.run.train.context import Schedule
from na_ray.run.train.fingerprint import check_capture, fingerprint, keep_fingerprint
from na_ray.run.train.lock import only_driver
from na_ray.run.train.preflight import preflight
from na_ray.run.train.run_folder import begin, open_run
from na_ray.run.train.stages import STAGES
from na_ray.run.train.surroundings import check_names, check_surroundings, run_root

# Read by Ray Tune: no files of its own beside the trials', Ctrl-C ends the sweep, no warnings about slow disks.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def sweep(
    experiment: Experiment, space: Space = DEFAULT, config: SweepConfig | None = None, resume: bool = False
) -> Path:
    """Search the space for the highest validation PSNR. Returns the folder of the best trial's best checkpoint.

    `resume` goes on with the sweep of that name: trials that have ended stay as they are, the others go on from their
    checkpoints, into the same MLflow runs. Raises UserError or FileExistsError, one line, for what the user can fix.
    """
    config = config or SweepConfig()
    check_space(space, experiment, config.search)
    stage = stage_of(space, experiment)
    named = override(experiment, {"name": f"{experiment.name}-sweep", "stages": (stage,)})
    check_names(experiment)
    check_surroundings(named)
    with only_driver(run_root(named)):
        return _sweep(*open_run(named, resume), experiment.name, stage, space, config)


def _sweep(root: Path, settled: Experiment, name: str, stage: StageName, space: Space, config: SweepConfig) -> Path:
    runs.check(override(settled, {"name": name}), root)
    dataset = preflight(settled, root)[stage]
    schedule = STAGES[stage].schedule(dataset)
    total = len(grid(space)) if config.search == "grid" else config.trials
    _check_disk(settled, STAGES[stage].estimate(dataset)[2], total, config, root)
    sweep_state = SweepState(root, override(settled, {"name": name}), stage)
    scheduler = make_scheduler(config.scheduler, sweep_state, schedule, space, config.seed)
    terms = _terms(space, config, schedule)
    _check_same(root / "sweep.json", terms)
    capture = fingerprint(Capture.open(settled.capture), settled.data.train_split)
    check_capture(root, capture)
    share = _share(settled, config)
    begin(root, settled)
    keep_fingerprint(root, capture)
    write_json(root / "sweep.json", terms)
    proposals = functools.partial(propose, space, config.search, config.seed, total)
    runner = SweepRunner(sweep_state, scheduler, Budget.parse(config.budget), share.gpus_in_all, total, proposals)
    knobs = " ".join(f"{name}={values}" for name, values in describe(space).items())
    print(
        f"sweep     {total} trials of the {stage} stage, {share.concurrent} side by side, {config.search} search, "
        f"scheduler {config.scheduler}: {knobs}",
        flush=True,
    )
    _run(runner, share, space, settled.name)
    best = sweep_state.best()
    if best is None:
        raise UserError(f"no trial of {root} was validated: see the errors above")
    found = sweep_state.run(best).checkpoints.best()
    assert found is not None
    return found


def _run(runner: SweepRunner, share: Share, space: Space, name: str) -> None:
    """Run the sweep under its MLflow run, and print its results."""
    sweep_state, status = runner.sweep_state, "FAILED"
    parent = runs.start_parent(sweep_state.experiment, sweep_state.root, name)
    try:
        with system_metrics(parent), following(sweep_state, parent):
            run(runner, share)
        with needed("the trials are done, and --resume auto reports on them"):
            parent.restore()
            summary = report.close(sweep_state, space, parent)
        print(f"{summary}\n{_account(runner)}", flush=True)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        parent.finish(status)


def _account(runner: SweepRunner) -> str:
    account = f"time      {runner.wall:.0f} s, {runner.sweep_state.seconds():.0f} s of all trials together"
    if runner.is_over():
        return account
    return f"{account}; the budget is used up: --resume auto with a larger --budget goes on"


def _terms(space: Space, config: SweepConfig, schedule: Schedule) -> dict[str, Any]:
    """What a resumed sweep must share with its first start."""
    return {
        "space": describe(space),
        "search": config.search,
        "scheduler": config.scheduler,
        "seed": config.seed,
        "steps": schedule.steps,
        "validate_every": schedule.validate_every,
    }


def _check_disk(experiment: Experiment, checkpoint: int, trials: int, config: SweepConfig, root: Path) -> None:
    """Refuse a sweep whose checkpoints (bytes each) do not fit on the disk.

    Trials that have ended keep their best one alone; those of population-based training end together.
    """
    under_way = trials if config.scheduler == "pbt" else min(trials, config.concurrent or trials)
    need = (under_way * (experiment.train.keep_last + 1) + trials) * checkpoint
    there = sum(f.stat().st_size for f in root.glob("trials/*/*/checkpoints/*/*.pt"))
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    if free + there < need:
        raise UserError(
            f"{root} has {free / 1e9:.1f} GB free and the checkpoints of {trials} trials need up to {need / 1e9:.1f} "
            "GB: free some, choose another --storage, lower train.keep_last or --trials"
        )


def _check_same(path: Path, now: dict[str, Any]) -> None:
    before = read_json(path, *now) if path.exists() else now
    changed = [f"{k}: {before[k]} -> {now[k]}" for k in now if now[k] != before[k]]
    if changed:
        raise UserError(
            f"{path.parent} was started with other terms ({'; '.join(changed)}): restore them or choose another --name"
        )


def _share(experiment: Experiment, config: SweepConfig) -> Share:
    """Divide the cluster so that every trial that is started can go on: its workers and a decoder find room.

    Raises UserError, one line, where not even one finds it.
    """
    train = experiment.train
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    connect(experiment, max(1, config.concurrent))
    available = reachable()
    use_gpu = uses_gpu(train, available)
    workers = num_workers(train, available)
    cpus = DRIVER_CPUS + workers * train.cpus_per_worker + 1 if workers else train.cpus_per_worker
    gpus = max(1, workers) if use_gpu else 0
    room = int(available.get("CPU", 0) / cpus + 1e-6)
    if gpus:
        room = min(room, int(available.get("GPU", 0) / gpus))
    if room < 1:
        raise UserError(
            f"a trial needs {cpus:g} CPUs" + (f" and {gpus} GPUs" if gpus else "") + " (its workers, and one to decode "
            f"the videos), the cluster has {available.get('CPU', 0):g} and {available.get('GPU', 0):g}: lower "
            "train.num_workers or train.cpus_per_worker"
        )
    if Budget.parse(config.budget).gpu_hours is not None and not gpus:
        raise UserError(f"--budget {config.budget}: these trials hold no GPU: give minutes of wall time (90m)")
    wanted = config.concurrent or room
    if wanted > room:
        say(f"{wanted} trials side by side need {wanted * cpus:g} CPUs and {wanted * gpus} GPUs: {room} fit, and run")
    return Share(DRIVER_CPUS if workers else cpus, 0 if workers else gpus, gpus, min(wanted, room))
