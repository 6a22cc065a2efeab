"""What a run left behind, as plain values: all that a report shows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

StepValue = tuple[int, float]
"""A step and a value."""


@dataclass(frozen=True)
class StageRecord:
    """One stage of a run."""

    name: str
    curves: dict[str, list[StepValue]]
    """Metrics by name."""
    seconds: float
    """Time that it trained; pauses between a kill and a resume are left out."""
    scores: dict[str, dict[str, Any]]
    """What `Scores.to_json` gave, by the name of its file; of the texture stage, what it wrote."""
    pictures: list[Path]
    """Photograph and rendering side by side, of the last validation."""
    films: dict[str, Path]
    """By name: `comparison`, `color`, ..."""


@dataclass(frozen=True)
class RunRecord:
    """A run, or a trial of a sweep."""

    name: str
    folder: Path
    knobs: dict[str, Any]
    """By dotted name."""
    stages: list[StageRecord]
    actor: Path | None = None
    """The actor's folder, where it is written."""
    notes: list[str] = field(default_factory=list)
    """For the reader: why a trial ended, and the like."""

    def stage(self, name: str) -> StageRecord | None:
        """A stage by name."""
        return next((stage for stage in self.stages if stage.name == name), None)
