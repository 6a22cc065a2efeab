"""MLflow: a parent run per training, one child run per stage, written by one process, the driver."""

import contextlib
import logging
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from requests import RequestException

from na_ray.checkpoint import write_json
from na_ray.config import Experiment, flatten
from na_ray.config.files import read_json, to_json, upgraded_knob
from na_ray.config.values import UserError

# The server's limit on one request.
BATCH = 1000


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or a SQLite file in the working directory, where `mlflow ui` looks for it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"


def store_exists() -> bool:
    """Whether there is a tracking store: a server is taken to be there, a database is looked for."""
    uri = tracking_uri()
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).is_file()


def where_to_look() -> str:
    """What shows the runs: a command, or the server's address."""
    uri = tracking_uri()
    return uri if uri.startswith("http") else "mlflow ui"


def connect(uri: str | None = None) -> MlflowClient:
    """A client of the tracking store, which is made and migrated here if it is new.

    A SQLite store is put into write-ahead mode, so that `mlflow ui` may read while training writes. Raises UserError,
    one line, for a server that does not answer: MLflow itself would try for minutes.
    """
    uri = uri or tracking_uri()
    if uri.startswith("http"):
        _check_server(uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow would try seven times, for minutes, in which nothing is shown; `forwarder.py` tries as long as it takes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    if uri.startswith("sqlite:///"):
        with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
            database.execute("PRAGMA journal_mode=WAL")
        database.close()
    return client


@contextlib.contextmanager
def needed(remedy: str) -> Iterator[None]:
    """What happens in here cannot do without MLflow. Raises UserError, one line, where MLflow does not answer."""
    try:
        yield
    except (MlflowException, RequestException) as error:
        raise UserError(f"{tracking_uri()}: MLflow does not answer ({_reason(error)}): {remedy}") from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_server(uri: str) -> None:
    try:
        urllib.request.urlopen(uri, timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answers, though not to everyone
    except (OSError, ValueError) as error:
        raise UserError(f"{uri}: no MLflow server answers ({error}): start it, or unset MLFLOW_TRACKING_URI") from None


@dataclass(frozen=True)
class Tracker:
    """The MLflow runs of an experiment: the parent, and the stage that is being trained."""

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
        for i in range(0, len(metrics), BATCH):
            self.client.log_batch(self.stage, metrics=metrics[i : i + BATCH])

    def pictures(self, folder: Path) -> None:
        """Store a folder of pictures under its own name."""
        self.client.log_artifacts(self.stage, str(folder), artifact_path=f"validation/{folder.name}")

    def files(self, folder: Path, name: str) -> None:
        """Store a folder under a name of its own."""
        self.client.log_artifacts(self.stage, str(folder), artifact_path=name)

    def scores(self, values: dict[str, float], step: int) -> None:
        """Log closing scores, once."""
        now = int(time.time() * 1000)
        self.client.log_batch(self.stage, metrics=[Metric(name, v, now, step) for name, v in values.items()])

    def log_summary(self, values: dict[str, float]) -> None:
        """Log what to compare trainings by in the parent's run: the scores of the stage that was trained last."""
        now = int(time.time() * 1000)  # MLflow shows the latest of a step: the stages count theirs anew
        self.client.log_batch(self.parent, metrics=[Metric(name, v, now, 0) for name, v in values.items()])

    def last_step(self, name: str) -> int:
        """The last step at which a metric was logged; -1 if it never was."""
        history = self.client.get_metric_history(self.stage, name)
        return max((m.step for m in history), default=-1)

    def finish(self, status: str) -> None:
        """End both runs: FINISHED, FAILED or KILLED."""
        try:
            for run_id in (self.stage, self.parent):
                self.client.set_terminated(run_id, status)
        except MlflowException as error:
            print(f"MLflow does not answer, and shows {status} runs as running ({_reason(error)})", file=sys.stderr)


def start(experiment: Experiment, root: Path, stage: str) -> Tracker:
    """Open the runs of an experiment: those that `tracking.json` names, or new ones with all knobs as parameters."""
    client = connect()
    record = root / "tracking.json"
    ids = _recorded(client, record)
    experiment_id = _experiment_id(client, experiment, ids)
    if "parent" not in ids:
        ids["parent"] = _create(client, experiment_id, experiment.name, experiment, {})
    if stage not in ids:
        ids[stage] = _create(client, experiment_id, stage, experiment, {"mlflow.parentRunId": ids["parent"]})
    write_json(record, {"uri": tracking_uri(), **ids})
    for run_id in (ids["parent"], ids[stage]):
        client.update_run(run_id, status="RUNNING")
        _record_knobs(client, run_id, experiment)
    return Tracker(client, experiment_id, ids["parent"], ids[stage])


def start_parent(experiment: Experiment, root: Path, name: str) -> Tracker:
    """Open the run of a sweep: the one that `tracking.json` names, or a new one. It is its own stage."""
    client = connect()
    record = root / "tracking.json"
    ids = _recorded(client, record)
    experiment_id = _experiment_id(client, experiment, ids)
    if "parent" not in ids:
        ids["parent"] = _create(client, experiment_id, name, experiment, {})
    write_json(record, {"uri": tracking_uri(), **ids})
    client.update_run(ids["parent"], status="RUNNING")
    return Tracker(client, experiment_id, ids["parent"], ids["parent"])


def child(parent: Tracker, experiment: Experiment, name: str, tags: dict[str, str]) -> Tracker:
    """The child run of that name, found again or new, with all knobs as parameters and the tags."""
    wanted = f"tags.`mlflow.parentRunId` = '{parent.parent}' and tags.`mlflow.runName` = '{name}'"
    found = parent.client.search_runs([parent.experiment_id], filter_string=wanted, max_results=1)
    if found:
        run_id = found[0].info.run_id
    else:
        owned = tags | {"mlflow.parentRunId": parent.parent}
        run_id = _create(parent.client, parent.experiment_id, name, experiment, owned)
    return Tracker(parent.client, parent.experiment_id, parent.parent, run_id)


def _record_knobs(client: MlflowClient, run_id: str, experiment: Experiment) -> None:
    """Keep what a resumed run changed: parameters cannot be rewritten.

    A tag `changed.KNOB` holds `old -> new`, with one more arrow for each later change, and the artifact
    `experiment.json` (then `experiment_2.json` ...) all knobs.
    """
    data = client.get_run(run_id).data
    began = {upgraded_knob(name): value for name, value in data.params.items()}
    changed = []
    for name, value in flatten(experiment).items():
        history = data.tags.get(f"changed.{name}", began.get(name))
        if history is not None and history.split(" -> ")[-1] != str(value):
            changed.append(RunTag(f"changed.{name}", f"{history} -> {value}"))
    kept = [f.path for f in client.list_artifacts(run_id) if f.path.startswith("experiment")]
    if changed or not kept:
        client.log_dict(run_id, to_json(experiment), f"experiment_{len(kept) + 1}.json" if kept else "experiment.json")
        client.log_batch(run_id, tags=changed)


def _experiment_id(client: MlflowClient, experiment: Experiment, ids: dict[str, str]) -> str:
    """The MLflow experiment that holds the runs, or is to: a resumed run stays where it is."""
    if "parent" in ids:
        return client.get_run(ids["parent"]).info.experiment_id
    name = experiment.project or experiment.name
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)


def _recorded(client: MlflowClient, record: Path) -> dict[str, str]:
    """The run ids of an earlier start, if they are in this store."""
    if not record.exists():
        return {}
    ids = read_json(record, "uri")
    if ids.pop("uri") != tracking_uri():
        return {}
    return ids


def _create(client: MlflowClient, experiment_id: str, name: str, experiment: Experiment, tags: dict[str, str]) -> str:
    run = client.create_run(experiment_id, run_name=name, tags=tags)
    params = [Param(k, str(v)) for k, v in flatten(experiment).items()]
    client.log_batch(run.info.run_id, params=params, tags=[RunTag("stage", tags.get("stage", name))])
    return run.info.run_id


def system_metrics(tracker: Tracker) -> SystemMetricsMonitor:
    """CPU, memory, disk and GPU use of the driver's machine, as metrics of the stage's run. Start and finish it."""
    return SystemMetricsMonitor(tracker.stage, resume_logging=True)
