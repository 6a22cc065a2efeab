"""What `mlflow.pyfunc.load_model` opens: MLflow stores this file with the model and runs it when the model is loaded.

model = mlflow.pyfunc.load_model("models:/anna@best")
(picture,) = model.predict(pandas.DataFrame([{"joints_RT": ..., "rotation": ..., "K": ..., ...}]))
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from na_ray.actor import Actor, open_actor
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.checkpoint import Predictor, TrainedAvatar
from na_ray.config.values import UserError
from na_ray.motion.predict import maps_of_poses, predict_maps
from na_ray.pictures.picture import to_uint8
from na_ray.render import encode

POSE = ("joints_RT", "rotation", "translation", "joints")
CAMERA = ("K", "T_world_camera", "height", "width")


class ActorModel(PythonModel):
    """Renders one picture per row.

    Columns, arrays or nested lists: `joints_RT` (J, 4, 4), joint first, `rotation` (3, 3), `translation` (3,), `joints`
    (J, 3) as in a capture's transform files, `K` (3, 3), `T_world_camera` (4, 4), the numbers `height` and `width` and,
    if given, `texture` (H, W, 3) of 0..255. Returns a list of dicts: `color` (height, width, 3) uint8, `depth` in m,
    and `textures`: `given`, `predicted` or `mean`. Rows without texture maps are one sequence, in its order, where the
    actor has a texture predictor; else they are drawn in the mean map.

    With the column `normals` (H, W, 3) of 0..255 instead: the predicted texture maps of that sequence, (size, size, 3)
    uint8 each.

    `params`: `avatar` (nerf or splats) and `supersample` (rays a pixel, in each direction).
    """

    def __init__(self) -> None:
        self.actor: Actor | None = None
        self.avatars: dict[str, TrainedAvatar] = {}
        self.predictor: Predictor | None = None

    def load_context(self, context: PythonModelContext) -> None:
        """Open the actor that was stored with the model: all of it, since requests come in several threads."""
        from pathlib import Path

        device = "cuda" if torch.cuda.is_available() else "cpu"
        actor = open_actor(Path(context.artifacts["actor"]))
        self.avatars = {name: actor.avatar(name, device) for name in ("splats", "nerf") if name in actor.networks}
        self.predictor, self.actor = actor.predictor(device), actor

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[Any]:
        """Render each row's pose through its camera."""
        assert self.actor is not None, "load_context comes first"
        if "normals" in model_input:
            if self.predictor is None:
                raise UserError(f"{self.actor.folder} has no texture predictor: give texture maps, column 'texture'")
            return list(predict_maps(self.predictor, (np.asarray(row, np.uint8) for row in model_input["normals"])))
        options = params or {}
        rows = model_input.to_dict("records")
        missing = [name for name in (*POSE, *CAMERA) if rows and name not in rows[0]]
        if missing:
            raise UserError(f"column {missing[0]!r} is missing; expected {', '.join((*POSE, *CAMERA))}")
        avatar = self.avatars.get(options.get("avatar") or self.actor.choose())
        if avatar is None:
            raise UserError(f"there is no avatar {options['avatar']!r}; there is: {', '.join(self.avatars)}")
        poses = [Pose(**{name: np.asarray(row[name], np.float32) for name in POSE}, pose=None) for row in rows]
        return [
            _render(avatar, pose, texture, row, int(options.get("supersample", 1))) | {"textures": source}
            for row, pose, (source, texture) in zip(rows, poses, self._textures(rows, poses), strict=True)
        ]

    def _textures(self, rows: list[dict[Any, Any]], poses: list[Pose]) -> Iterator[tuple[str, np.ndarray]]:
        """The map that each row wears, and where it came from."""
        assert self.actor is not None
        given = [row.get("texture") is not None and np.ndim(row["texture"]) > 0 for row in rows]
        without = [pose for pose, there in zip(poses, given, strict=True) if not there]
        if self.predictor is not None:
            source, maps = "predicted", maps_of_poses(self.predictor, without)
        else:
            mean = self.actor.mean_texture() if without else np.zeros((1, 1, 3), np.uint8)
            source, maps = "mean", iter([mean] * len(without))
        for row, there in zip(rows, given, strict=True):
            yield ("given", np.asarray(row["texture"], np.uint8)) if there else (source, next(maps))


def _render(
    avatar: TrainedAvatar, pose: Pose, texture: np.ndarray, row: dict[Any, Any], supersample: int
) -> dict[str, Any]:
    K, T_world_camera = (np.asarray(row[name], np.float64) for name in CAMERA[:2])
    camera = Camera("requested", K, T_world_camera, int(row["height"]), int(row["width"]))
    picture = avatar.model.picture(encode(avatar, pose, texture), camera, supersample)
    return {"color": to_uint8(picture.colors), "depth": picture.depth.cpu().numpy()}


set_model(ActorModel())
