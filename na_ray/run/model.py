"""The trained actor as an MLflow model: logged, registered, found again, and rendered with by `mlflow.pyfunc`."""

import tempfile
from pathlib import Path

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.checkpoint import Actor, load_actor
from na_ray.render import render_view
from na_ray.run.tracking import Tracker

REQUIREMENTS = ["na-ray", "torch", "warp-lang"]


class ActorModel(PythonModel):
    """Renders one picture a call.

    `predict` takes a dict of arrays: `joints_RT` (J, 4, 4), `rotation` (3, 3), `translation` (3,), `joints` (J, 3) as
    in a capture's transform files, `texture` (H, W, 3) uint8, `K` (3, 3), `T_world_camera` (4, 4), and the numbers
    `height` and `width`. It returns `color` (height, width, 3) uint8 and `depth` (height, width) in m.
    """

    def __init__(self) -> None:
        self.actor: Actor | None = None

    def load_context(self, context: PythonModelContext) -> None:
        """Open the checkpoint that was stored with the model."""
        self.actor = load_actor(context.artifacts["checkpoint"], "cuda" if torch.cuda.is_available() else "cpu")

    # Without annotations: MLflow would read them as a schema, and it has none for arrays of several shapes.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Render the given pose, with the given texture map, through the given camera."""
        assert self.actor is not None, "load_context comes first"
        fields = ("joints_RT", "rotation", "translation", "joints")
        pose = Pose(**{f: np.asarray(model_input[f], np.float32) for f in fields}, pose=None)
        camera = Camera(
            name="requested",
            K=np.asarray(model_input["K"], np.float64),
            T_world_camera=np.asarray(model_input["T_world_camera"], np.float64),
            height=int(model_input["height"]),
            width=int(model_input["width"]),
        )
        texture = torch.as_tensor(np.asarray(model_input["texture"], np.uint8)).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            features = self.actor.renderer.encode(texture.to(self.actor.body.vertices.device))
        picture = render_view(self.actor.renderer, self.actor.body.pose(pose), features, camera)
        color = picture.color.clamp(0, 1).mul(255).round().to(torch.uint8)
        return {"color": color.cpu().numpy(), "depth": picture.depth.cpu().numpy()}


def log_actor(tracker: Tracker, checkpoint: Path, name: str) -> None:
    """Store a checkpoint in the stage's run as a model, and register it under the experiment's name."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=ActorModel(),
            artifacts={"checkpoint": str(checkpoint)},
            pip_requirements=REQUIREMENTS,
        )
        tracker.client.log_artifacts(tracker.stage, str(folder), artifact_path="actor")
    mlflow.register_model(f"runs:/{tracker.stage}/actor", name)


def resolve(actor: str) -> Path:
    """The checkpoint folder behind a path, a run's folder, or a `models:/NAME/VERSION` or `runs:/ID/actor` URI."""
    if ":/" in actor and not Path(actor).exists():
        local = Path(mlflow.artifacts.download_artifacts(actor))
        return next(local.glob("**/renderer.pt")).parent
    return Path(actor)
