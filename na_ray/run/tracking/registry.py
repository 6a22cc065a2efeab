"""A trained actor as an MLflow model: logged, registered, and found again."""

import hashlib
import logging
import re
import tempfile
from pathlib import Path

import mlflow.artifacts
import mlflow.pyfunc
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository
from mlflow.tracking import MlflowClient

from na_ray.actor import FILE, open_actor
from na_ray.config import StageName
from na_ray.config.values import UserError
from na_ray.run.tracking.packaging import CODE, actor_in, requirements
from na_ray.run.tracking.runs import Tracker
from na_ray.run.tracking.store import SQLITE, TrackingError, asking, connect, shown, store_exists, tracking_uri
from na_ray.run.train.fingerprint import body_digest

MAPS = "texture maps"
"""What judges an actor that has no avatar yet."""
BEST = "best"
"""The alias of the version that did best on held-out pictures."""

_fetched: list[tempfile.TemporaryDirectory[str]] = []
"""Models from afar: their folders are removed when the program ends."""


def model_name(name: str) -> str:
    """The registered model's name of a run: MLflow's registry takes no colons, which runs of 0.1 may have."""
    return re.sub(r"[/:]", "-", name)


def log_actor(tracker: Tracker, actor: Path, name: str) -> str:
    """Store an actor's folder in the stage's run as a model, and register it by `name`. Returns the version.

    The alias `best` goes to it where no other version did better on the same held-out pictures (`_is_better`).
    """
    # Columns hold arrays, for which MLflow has no signature, and warns of it.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("pyfunc.py")),  # as code: nothing is pickled
            artifacts={"actor": str(actor)},
            pip_requirements=requirements(),
            code_paths=[str(CODE)],
        )
        tracker.files(folder, "actor")
    with asking():
        return _register(tracker, actor, model_name(name))


def _register(tracker: Tracker, actor: Path, name: str) -> str:
    score, judged_by = held_out_score(actor)
    about = hashlib.sha256((actor / FILE).read_bytes()).hexdigest()[:16]  # its networks' knobs, steps and scores
    tags = {"judged_by": judged_by, "run": tracker.parent, "actor": about}
    if score is not None:
        tags["validation/psnr"] = str(score)
    version = _made(tracker, name, about)
    if version is None:
        version = mlflow.register_model(f"runs:/{tracker.stage}/actor", name, tags=tags).version
    best = _alias(tracker.client, name, BEST)
    if best is None or _is_better(best.tags, tracker.parent, score, judged_by):
        tracker.client.set_registered_model_alias(name, BEST, version)
    return str(version)


def _made(tracker: Tracker, name: str, about: str) -> str | None:
    """The version of the same actor that a driver has made which was killed before it could note the end."""
    found = tracker.client.search_model_versions(f"run_id = '{tracker.stage}'")
    return next((str(v.version) for v in found if v.name == name and v.tags.get("actor") == about), None)


def _is_better(best: dict[str, str], run: str, score: float | None, judged_by: str) -> bool:
    """Whether an actor takes the place of the best one (its version's tags): after a later stage of the same run, which
    holds all that the earlier did; over one that has no avatar; or by a higher score on the same pictures."""
    judge = best.get("judged_by", "")
    if best.get("run") == run or (judge.startswith(MAPS) and not judged_by.startswith(MAPS)):
        return True
    return score is not None and judge == judged_by and float(best.get("validation/psnr", "-inf")) < score


def held_out_score(actor: Path) -> tuple[float | None, str]:
    """The highest validation PSNR (dB) of an actor's avatars, or of its predictor where it has none, and by what it was
    judged: numbers of other pictures do not compare."""
    opened = open_actor(actor)
    stages = opened.values["stages"]
    avatars: list[StageName] = [stage for stage in opened.networks if stage != "texture"]
    found = {stage: stages[stage]["validation"].get("validation/psnr") for stage in avatars or opened.networks}
    scored = {stage: value for stage, value in found.items() if value is not None}
    if not scored:
        return None, "nothing"
    stage = max(scored, key=lambda name: scored[name])
    knobs = opened.knobs(stage)
    data, train = knobs.data, knobs.train
    parts = (
        "pictures" if avatars else MAPS,
        body_digest(opened.rig),
        data.train_split,
        data.validation_views,
        train.validation_frames if avatars else knobs.texture.validation_frames,
        train.validation_size if avatars else knobs.vid2vid.resolution,
    )
    return scored[stage], ", ".join(map(str, parts))


def _alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException:  # there is none yet
        return None


def resolve(actor: str) -> Path:
    """The folder behind a path, or that of the actor (before 0.3: the checkpoint) behind a `models:/NAME/VERSION`,
    `models:/NAME@ALIAS` or `runs:/ID/actor` URI.

    Raises UserError, one line, for what MLflow does not have. A database that is not there is not made.
    """
    if ":/" not in actor or Path(actor).exists():
        return Path(actor)
    uri = tracking_uri()
    if not store_exists():
        raise UserError(
            f"{actor}: there is no MLflow database {uri.removeprefix(SQLITE)}: start in the folder of the training, or "
            "set MLFLOW_TRACKING_URI"
        )
    connect(uri)
    try:
        with asking():
            local = _local(actor)
    except TrackingError as error:
        reason = f"MLflow at {shown(uri)} does not give it ({error})"
        raise UserError(f"{actor}: {reason}: `mlflow ui` shows what it has") from error
    return actor_in(local, actor)


def _local(actor: str) -> Path:
    """A model's folder: where it is, or fetched into one that lasts as long as this program."""
    place = get_artifact_repository(actor)
    while isinstance(place, ModelsArtifactRepository | RunsArtifactRepository):
        place = place.repo
    if isinstance(place, LocalArtifactRepository):
        return Path(place.artifact_dir)
    _fetched.append(tempfile.TemporaryDirectory(prefix="na_ray_model."))
    return Path(mlflow.artifacts.download_artifacts(actor, dst_path=_fetched[-1].name))
