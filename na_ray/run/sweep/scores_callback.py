"""Validations of a trial's workers on their way to Ray Tune. Ray Train's controller runs it, and imports no more."""

from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback


class ScoresCallback(TuneReportCallback):
    """Reports validations to Ray Tune. Everything else reaches MLflow through the run's record."""

    def __init__(self, score: str) -> None:
        """`score`: the name of what every validation has."""
        super().__init__()
        self.score = score

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called by Ray Train's controller when all workers have reported."""
        if self.score in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)
