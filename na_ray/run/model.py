"""A stage's trained network as an MLflow model: logged, registered, and found again."""

import tempfile
from pathlib import Path

import mlflow.artifacts
import mlflow.pyfunc

from na_ray.run.tracking import Tracker

REQUIREMENTS = ["na-ray", "torch", "warp-lang"]


def log_actor(tracker: Tracker, checkpoint: Path, served: str, name: str) -> None:
    """Store a checkpoint in the stage's run as a model (`served`: the file of its code), and register it by `name`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=served,  # as code: nothing is pickled
            artifacts={"checkpoint": str(checkpoint)},
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
