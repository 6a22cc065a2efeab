"""A stage's trained network as an MLflow model: logged, registered, and found again."""

import logging
import shutil
import tempfile
from pathlib import Path

import mlflow.artifacts
import mlflow.pyfunc

from na_ray.run.tracking.runs import Tracker

REQUIREMENTS = ["na-ray", "torch", "warp-lang"]


def log_actor(tracker: Tracker, checkpoint: Path, served: str, name: str) -> None:
    """Store a checkpoint in the stage's run as a model (`served`: the file of its code), and register it by `name`.

    What only training needs stays behind: optimizers' states are several times as large as the model.
    """
    # Columns hold arrays, for which MLflow has no signature, and warns of it.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder, kept = Path(scratch) / "model", Path(scratch) / checkpoint.name
        shutil.copytree(checkpoint, kept, ignore=shutil.ignore_patterns("training.pt"))
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=served,  # as code: nothing is pickled
            artifacts={"checkpoint": str(kept)},
            pip_requirements=REQUIREMENTS,
        )
        tracker.client.log_artifacts(tracker.stage, str(folder), artifact_path="actor")
    mlflow.register_model(f"runs:/{tracker.stage}/actor", name)


def resolve(actor: str) -> Path:
    """The checkpoint folder behind a path, a run's folder, or a `models:/NAME/VERSION` or `runs:/ID/actor` URI."""
    if ":/" in actor and not Path(actor).exists():
        local = Path(mlflow.artifacts.download_artifacts(actor))
        return next(local.glob("**/experiment.json")).parent
    return Path(actor)
