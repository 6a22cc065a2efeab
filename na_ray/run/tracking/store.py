"""Where MLflow keeps the runs: a database or a server, met with care.

A database that is new is made by one process; one on a local disk is put into write-ahead mode, so that `mlflow ui`
reads while training writes. What MLflow and the storages of its artifacts raise, of whatever library, is one error.
"""

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
from mlflow.entities import Experiment as MlflowExperiment
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from na_ray.config.secrets import hidden
from na_ray.config.values import UserError
from na_ray.run.tracking.login import told, whole
from na_ray.run.train.disk import on_network_disk

SQLITE = "sqlite:///"

REFUSALS = {ErrorCode.Name(code) for code in (INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST)}
"""MLflow's codes of answers that asking again does not change."""

STRANGERS = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
"""Its codes for who has no name and password, or wrong ones."""

LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write them into the URI, http://NAME:PASSWORD@HOST"
)


class TrackingError(Exception):
    """MLflow, or the storage of its artifacts, does not answer, or refuses: the message is one line."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final
        """Whether it has answered, and would give the same answer again."""


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """What happens in here asks MLflow, and nothing else. Raises TrackingError for whatever goes wrong.

    Artifacts may lie in S3, GCS or Azure, and each has errors of its own, which are no OSErrors.
    """
    try:
        yield
    except (TrackingError, UserError):
        raise
    except Exception as error:
        final = isinstance(error, MlflowException) and error.error_code in REFUSALS
        raise TrackingError(_reason(error), final) from error


@contextlib.contextmanager
def needed(remedy: str) -> Iterator[None]:
    """What happens in here cannot do without MLflow. Raises UserError, one line, where MLflow does not answer."""
    try:
        yield
    except TrackingError as error:
        said = "refuses" if error.final else "does not answer"
        raise UserError(f"{shown(tracking_uri())}: MLflow {said} ({error}): {remedy}") from error


def _reason(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return shown(line)[:200]


def shown(uri: str) -> str:
    """A text without the passwords of the addresses in it."""
    return hidden(uri)


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI` without its password, or a SQLite file in the working directory, as `mlflow ui` has it."""
    return told(os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path('mlflow.db').absolute()}")


def store_exists() -> bool:
    """Whether there is a tracking store: a server is taken to be there, a database is looked for."""
    uri = tracking_uri()
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).is_file()


def where_to_look() -> str:
    """What shows the runs: a command, or the server's address."""
    uri = tracking_uri()
    return shown(uri) if uri.startswith("http") else "mlflow ui"


def check_uri(uri: str) -> None:
    """Refuse a store that cannot be one, before anything is made. Raises UserError, one line.

    MLflow itself would try for minutes, or make a database of another name.
    """
    if uri.startswith("http"):
        _check_server(uri)
    elif uri.startswith(SQLITE):
        _check_file(Path(uri.removeprefix(SQLITE)))
    elif uri.startswith("file:") or "://" not in uri:
        raise UserError(
            f"{uri} is a folder, in which MLflow keeps runs no longer: set MLFLOW_TRACKING_URI to a database "
            f"({SQLITE}mlflow.db) or a server, or unset it; `mlflow migrate-filestore` moves what is there"
        )


def _check_server(uri: str) -> None:
    try:
        urllib.request.urlopen(shown(uri), timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answers, though not to everyone
    except (OSError, ValueError) as error:
        remedy = "start it, or unset MLFLOW_TRACKING_URI"
        raise UserError(f"{shown(uri)}: no MLflow server answers ({error}): {remedy}") from None


def _check_file(path: Path) -> None:
    odd = next((character for character in "?%" if character in str(path)), None)
    if odd is not None:
        raise UserError(
            f"{path}: a path with a {odd} is no place for MLflow's database: start in another folder, or name a "
            "database elsewhere by MLFLOW_TRACKING_URI"
        )
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder for MLflow's database: make it, or correct MLFLOW_TRACKING_URI")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written: start in a folder of your own, or set MLFLOW_TRACKING_URI")


def connect(uri: str | None = None) -> MlflowClient:
    """A client of the tracking store, which is made and migrated here if it is new.

    Raises UserError, one line, for a store that is none, or does not answer.
    """
    uri = uri or tracking_uri()
    check_uri(uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow would try seven times, for minutes, in which nothing is shown; `forwarder.py` tries as long as it takes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It prints the traceback of each error that it raises as well: every second, while a database is away.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri(whole(uri))
    with needed("correct MLFLOW_TRACKING_URI, or start again when it does"):
        return _database(uri) if uri.startswith(SQLITE) else _opened(uri)


def _opened(uri: str) -> MlflowClient:
    with asking():
        client = MlflowClient(whole(uri))
        try:
            client.search_experiments(max_results=1)
        except MlflowException as error:
            if error.error_code not in STRANGERS:
                raise
            raise UserError(f"{uri}: MLflow lets nobody in by that name and password: {LOGIN}") from None
        return client


def _database(uri: str) -> MlflowClient:
    """A client of a SQLite file: processes that meet a new one would each make its tables, and all but one fail."""
    path = Path(uri.removeprefix(SQLITE))
    with _one_at_a_time(path.with_name(f".{path.name}.lock")):
        client = _opened(uri)
        if not on_network_disk(path):
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA journal_mode=WAL")
    return client


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise  # else a file system that cannot lock: drivers that meet a new database there may fail
        yield


def check_place(experiment: MlflowExperiment) -> None:
    """Refuse an experiment whose artifacts lay in a folder that is gone: a project was moved, its database with it.

    MLflow keeps absolute paths, and would make the old folder anew. Raises UserError, one line.
    """
    place = urlparse(experiment.artifact_location)
    if place.scheme not in ("", "file"):
        return
    project = Path(unquote(place.path) if place.scheme else experiment.artifact_location).parent.parent
    if not project.is_dir():
        raise UserError(
            f"the artifacts of the MLflow experiment {experiment.name!r} lay in {project}, which is gone: if the "
            f"project was moved, `ln -s NEW_FOLDER {project}` lets MLflow find them"
        )
