"""What `mlflow.pyfunc.load_model` opens for the texture stage: MLflow stores this file with the model.

model = mlflow.pyfunc.load_model("models:/lan-texture/1")
textures = model.predict(pandas.DataFrame({"normals": [first, second, ...]}))
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from na_ray.checkpoint import Predictor, load_predictor
from na_ray.config.values import UserError
from na_ray.motion.predict import predict_maps


class PredictorModel(PythonModel):
    """Predicts one texture map a row; the rows are one sequence, in its order.

    Column `normals`: (H, W, 3) of 0..255, arrays or nested lists. Returns a list of (size, size, 3) uint8.
    """

    def __init__(self) -> None:
        self.predictor: Predictor | None = None

    def load_context(self, context: PythonModelContext) -> None:
        """Open the checkpoint that was stored with the model."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.predictor = load_predictor(context.artifacts["checkpoint"], device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[np.ndarray]:
        """Predict the rows one after the other."""
        assert self.predictor is not None, "load_context comes first"
        if "normals" not in model_input:
            raise UserError("column 'normals' is missing; expected normal maps (H, W, 3) of 0..255, one row per frame")
        return list(predict_maps(self.predictor, (np.asarray(row, np.uint8) for row in model_input["normals"])))


set_model(PredictorModel())
