"""What `mlflow.pyfunc.load_model` opens: MLflow stores this file with the model and runs it when the model is loaded.

model = mlflow.pyfunc.load_model("models:/lan/1")
(picture,) = model.predict(pandas.DataFrame([{"joints_RT": ..., "texture": ..., "K": ..., ...}]))
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.checkpoint import TrainedAvatar, load_avatar
from na_ray.config.values import UserError
from na_ray.pictures.picture import to_uint8
from na_ray.render import encode


class ActorModel(PythonModel):
    """Renders one picture per row.

    Columns, arrays or nested lists: `joints_RT` (J, 4, 4), joint first, `rotation` (3, 3), `translation` (3,), `joints`
    (J, 3) as in a capture's transform files, `texture` (H, W, 3) of 0..255, `K` (3, 3), `T_world_camera` (4, 4), and
    the numbers `height` and `width`. Returns a list of dicts: `color` (height, width, 3) uint8 and `depth` in m.
    """

    def __init__(self) -> None:
        self.actor: TrainedAvatar | None = None

    def load_context(self, context: PythonModelContext) -> None:
        """Open the checkpoint that was stored with the model."""
        self.actor = load_avatar(context.artifacts["checkpoint"], "cuda" if torch.cuda.is_available() else "cpu")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Render each row's pose, with its texture map, through its camera."""
        assert self.actor is not None, "load_context comes first"
        return [_render(self.actor, row) for row in model_input.to_dict("records")]


def _render(actor: TrainedAvatar, row: dict[Any, Any]) -> dict[str, np.ndarray]:
    columns = ("joints_RT", "rotation", "translation", "joints", "texture", "K", "T_world_camera", "height", "width")
    missing = [name for name in columns if name not in row]
    if missing:
        raise UserError(f"column {missing[0]!r} is missing; expected {', '.join(columns)}")
    pose = Pose(**{name: np.asarray(row[name], np.float32) for name in columns[:4]}, pose=None)
    K, T_world_camera = (np.asarray(row[name], np.float64) for name in ("K", "T_world_camera"))
    camera = Camera("requested", K, T_world_camera, int(row["height"]), int(row["width"]))
    frame = encode(actor, pose, np.asarray(row["texture"], np.uint8))
    picture = actor.model.picture(frame, camera)
    return {"color": to_uint8(picture.colors), "depth": picture.depth.cpu().numpy()}


set_model(ActorModel())
