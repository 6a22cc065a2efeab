"""MLflow: a parent run per training, one child run per stage, written by one process, the driver."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from na_ray.checkpoint import write_json
from na_ray.config import Experiment, flatten
from na_ray.config.files import read_json, to_json, upgraded_knob
from na_ray.config.values import UserError
from na_ray.run.tracking.experiments import experiment_id, experiment_of
from na_ray.run.tracking.pictures import log_pictures
from na_ray.run.tracking.store import (
    TrackingError,
    asking,
    check_place,
    connect,
    needed,
    shown,
    store_exists,
    tracking_uri,
)

# The server's limit on one request.
BATCH = 1000

AGAIN = "start again with --resume auto when it does"


@dataclass(frozen=True)
class Tracker:
    """The MLflow runs of an experiment: the parent, and the stage that is being trained.

    Its methods raise TrackingError where MLflow does not answer, or refuses.
    """

    client: MlflowClient
    experiment_id: str
    parent: str
    stage: str

    def log(self, lines: list[dict[str, Any]]) -> None:
        """Write lines of a run's record (step, time in s, metrics) to the stage's run."""
        metrics = [
            Metric(name, value, int(line["time"] * 1000), line["step"])
            for line in lines
            for name, value in line["metrics"].items()
        ]
        with asking():
            for i in range(0, len(metrics), BATCH):
                self.client.log_batch(self.stage, metrics=metrics[i : i + BATCH])

    def pictures(self, folder: Path, step: int) -> None:
        """Log a validation's pictures at its step (`log_pictures`)."""
        with asking():
            log_pictures(self.client, self.stage, folder, step)

    def files(self, folder: Path, name: str) -> None:
        """Store a folder under a name of its own."""
        with asking():
            self.client.log_artifacts(self.stage, str(folder), artifact_path=name)

    def page(self, path: Path) -> None:
        """Store a file in the parent's run."""
        with asking():
            self.client.log_artifact(self.parent, str(path))

    def scores(self, values: dict[str, float], step: int) -> None:
        """Log closing scores, once."""
        self.log([{"time": time.time(), "step": step, "metrics": values}])

    def log_summary(self, values: dict[str, float]) -> None:
        """Log what to compare trainings by in the parent's run: the scores of the stage that was trained last."""
        now = int(time.time() * 1000)  # MLflow shows the latest of a step: the stages count theirs anew
        with asking():
            self.client.log_batch(self.parent, metrics=[Metric(name, v, now, 0) for name, v in values.items()])

    def last_step(self, name: str) -> int:
        """The last step at which a metric was logged; -1 if it never was."""
        with asking():
            history = self.client.get_metric_history(self.stage, name)
        return max((m.step for m in history), default=-1)

    def tag(self, tags: dict[str, str]) -> None:
        """Set tags of the stage's run."""
        with asking():
            self.client.log_batch(self.stage, tags=[RunTag(name, value) for name, value in tags.items()])

    def mark(self, status: str, ended: float | None = None) -> None:
        """Set the status of the stage's run; `ended`: when it ended, Unix seconds."""
        with asking():
            if status == "RUNNING":
                self.client.update_run(self.stage, status=status)
            else:
                self.client.set_terminated(self.stage, status, end_time=None if ended is None else int(1000 * ended))

    def restore(self) -> bool:
        """Bring back those of the runs that were deleted in MLflow's pages meanwhile. Returns whether one was."""
        with asking():
            restored = [_restored(self.client, run_id) for run_id in dict.fromkeys((self.parent, self.stage))]
        return any(restored)

    def finish(self, status: str) -> None:
        """End both runs: FINISHED, FAILED or KILLED."""
        try:
            with asking():
                for run_id in (self.stage, self.parent):
                    self.client.set_terminated(run_id, status)
        except TrackingError as error:
            print(f"MLflow does not answer, and shows {status} runs as running ({error})", file=sys.stderr)


def check(experiment: Experiment, root: Path) -> None:
    """Refuse, before anything is written, what `start` could not open runs in. Raises UserError, one line.

    There is nothing to find in a store that is not there yet, and `start` makes it.
    """
    if not store_exists():
        return
    client = connect()
    with needed("start again when it does"), asking():
        ids = _recorded(client, root / "tracking.json")
        found = experiment_of(client, experiment, ids)
    if found is not None:
        check_place(found)


def start(experiment: Experiment, root: Path, stage: str) -> Tracker:
    """Open the runs of an experiment: those that `tracking.json` names, or new ones with all knobs as parameters.

    A run that was deleted meanwhile is restored, or, where it is gone for good, begun anew. Raises UserError, one line,
    where MLflow or the storage of its artifacts refuses.
    """
    client = connect()
    record = root / "tracking.json"
    with needed(AGAIN), asking():
        ids = _recorded(client, record)
        place = experiment_id(client, experiment, ids)
        if "parent" not in ids:
            ids["parent"] = _create(client, place, experiment.name, experiment, {})
        if stage not in ids:
            ids[stage] = _create(client, place, stage, experiment, {"mlflow.parentRunId": ids["parent"]})
        write_json(record, {"uri": tracking_uri(), **ids})
        for run_id in (ids["parent"], ids[stage]):
            client.update_run(run_id, status="RUNNING")
            _record_knobs(client, run_id, experiment)
    return Tracker(client, place, ids["parent"], ids[stage])


def start_parent(experiment: Experiment, root: Path, name: str) -> Tracker:
    """Open the run of a sweep: the one that `tracking.json` names, or a new one. It is its own stage."""
    client = connect()
    record = root / "tracking.json"
    with needed(AGAIN), asking():
        ids = _recorded(client, record)
        place = experiment_id(client, experiment, ids)
        if "parent" not in ids:
            ids["parent"] = _create(client, place, name, experiment, {})
        write_json(record, {"uri": tracking_uri(), **ids})
        client.update_run(ids["parent"], status="RUNNING")
        _record_knobs(client, ids["parent"], experiment)
    return Tracker(client, place, ids["parent"], ids["parent"])


def child(parent: Tracker, experiment: Experiment, name: str, tags: dict[str, str]) -> Tracker:
    """The child run of that name, found again or new, with all knobs as parameters and the tags."""
    wanted = f"tags.`mlflow.parentRunId` = '{parent.parent}' and tags.`mlflow.runName` = '{name}'"
    with asking():
        # Those that were deleted, too: a trial that goes on goes on in its own run.
        found = parent.client.search_runs([parent.experiment_id], wanted, run_view_type=ViewType.ALL, max_results=1)
        if found:
            run_id = found[0].info.run_id
            _restored(parent.client, run_id)
        else:
            owned = tags | {"mlflow.parentRunId": parent.parent}
            run_id = _create(parent.client, parent.experiment_id, name, experiment, owned)
    return Tracker(parent.client, parent.experiment_id, parent.parent, run_id)


def _restored(client: MlflowClient, run_id: str) -> bool:
    """Bring a run back that was deleted in MLflow's pages. Returns whether it was."""
    if client.get_run(run_id).info.lifecycle_stage != LifecycleStage.DELETED:
        return False
    client.restore_run(run_id)
    return True


def _record_knobs(client: MlflowClient, run_id: str, experiment: Experiment) -> None:
    """Keep what a resumed run changed: parameters cannot be rewritten.

    A tag `changed.KNOB` holds `old -> new`, with one more arrow for each later change, and the artifact
    `experiment.json` (then `experiment_2.json` ...) all knobs. It is written at every start, and looked for: that
    artifacts can be stored is known before training.
    """
    run = client.get_run(run_id)
    began = {upgraded_knob(name): value for name, value in run.data.params.items()}
    changed = []
    for name, value in flatten(experiment).items():
        history = run.data.tags.get(f"changed.{name}", began.get(name))
        if history is not None and history.split(" -> ")[-1] != str(value):
            changed.append(RunTag(f"changed.{name}", f"{history} -> {value}"))
    try:
        kept = _experiments_kept(client, run)
        number = len(kept) + bool(changed) if kept else 1
        name = f"experiment_{number}.json" if number > 1 else "experiment.json"
        client.log_dict(run_id, to_json(experiment), name)
        stored = name in _experiments_kept(client, run)
    except Exception as error:  # of S3, GCS, Azure, a disk
        raise _no_artifacts(run, " ".join(str(error).split())[:200]) from error
    if not stored:
        raise _no_artifacts(run, f"{name} is not there after it was written")
    if changed:
        client.log_batch(run_id, tags=changed)


def _experiments_kept(client: MlflowClient, run: Run) -> list[str]:
    return [f.path for f in client.list_artifacts(run.info.run_id) if f.path.startswith("experiment")]


def _no_artifacts(run: Run, reason: str) -> UserError:
    place = shown(str(run.info.artifact_uri))
    return UserError(
        f"{place}: MLflow's artifacts cannot be stored there ({shown(reason)}): mend that, then go on with "
        "--resume auto"
    )


def _recorded(client: MlflowClient, record: Path) -> dict[str, str]:
    """The run ids of an earlier start, as far as they are in this store, wherever it lies by now. Deleted runs are
    restored."""
    if not record.exists():
        return {}
    ids = {name: run_id for name, run_id in read_json(record, "uri").items() if name != "uri"}
    there = {name: run_id for name, run_id in ids.items() if _is_there(client, run_id)}
    return there if "parent" in there else {}


def _is_there(client: MlflowClient, run_id: str) -> bool:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
        return True
    if client.get_experiment(run.info.experiment_id).lifecycle_stage == LifecycleStage.ACTIVE:
        client.restore_run(run_id)
        print(f"MLflow: run {run_id} was deleted there, and is restored: its training goes on", flush=True)
    return True


def _create(client: MlflowClient, experiment_id: str, name: str, experiment: Experiment, tags: dict[str, str]) -> str:
    run = client.create_run(experiment_id, run_name=name, tags=tags)
    params = [Param(k, str(v)) for k, v in flatten(experiment).items()]
    client.log_batch(run.info.run_id, params=params, tags=[RunTag("stage", tags.get("stage", name))])
    return run.info.run_id
