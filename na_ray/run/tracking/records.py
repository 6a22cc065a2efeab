"""Runs and sweeps on disk to what a report shows of them."""

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from na_ray.config import StageName, flatten
from na_ray.config.files import from_json, read_json
from na_ray.config.values import UserError
from na_ray.export.actor_page import actor_page
from na_ray.report.page import write_report
from na_ray.report.record import RunRecord, StageRecord, StepValue
from na_ray.run.train.run_folder import RunFolder

PAUSE = 20
"""A gap between two lines of a run's record that is so many times as long as they usually are was no training."""


def write_page(out: Path, folders: Sequence[Path]) -> int:
    """Write the report of runs and sweeps to `out`. Returns its size in bytes."""
    records = [record for folder in folders for record in read_runs(folder)]
    if not records:
        raise UserError(f"{folders[0]}: nothing was trained yet: there is nothing to report")
    title = ", ".join(folder.name for folder in folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_report(out, records, title, actor_page)


def read_runs(folder: Path) -> list[RunRecord]:
    """The run in a folder, or the trials of a sweep. Raises UserError, one line, for a folder that is neither."""
    if (folder / "sweep.json").is_file():
        trials = sorted((folder / "trials").glob("*/trial.json"))
        found = [read_run(path.parent, read_json(path, "number", "state")) for path in trials]
        return [record for record in found if record.stages]
    if not (folder / "experiment.json").is_file():
        raise UserError(f"{folder} is no run: experiment.json is missing; give runs/NAME, or runs/NAME-sweep")
    return [read_run(folder)]


def read_run(folder: Path, trial: dict[str, Any] | None = None) -> RunRecord:
    """The run in a folder; `trial`: what a sweep says of it."""
    experiment = from_json(read_json(folder / "experiment.json", "train", "texture", "stages"))
    stages = [_stage(folder, stage) for stage in get_args(StageName) if (folder / stage / "metrics.jsonl").is_file()]
    actor = folder / "actor"
    notes = [] if trial is None else [f"{trial['state']}: {trial.get('error') or 'no error'}"]
    name = experiment.name if trial is None else f"trial {trial['number']:03d}"
    there = actor if (actor / "actor.json").is_file() else None
    return RunRecord(name, folder, flatten(experiment), stages, there, notes)


def _stage(root: Path, stage: StageName) -> StageRecord:
    run = RunFolder(root, stage, 1)
    lines, _ = run.record(0)
    curves: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in line["metrics"].items():
            curves.setdefault(name, {})[line["step"]] = value  # steps that were done again after a kill count once
    pictures = [line["pictures"] for line in lines if "pictures" in line]
    shown = sorted((root / pictures[-1]).glob("*.png")) if pictures else []
    report, film = run.folder / "report", run.folder / "film"
    return StageRecord(
        stage,
        {name: list[StepValue](sorted(values.items())) for name, values in curves.items()},
        _seconds([line["time"] for line in lines]),
        {path.stem: read_json(path) for path in sorted(report.glob("*.json"))},
        shown if stage != "texture" else [],
        {path.stem: path for path in sorted(film.glob("*.mp4"))},
    )


def _seconds(times: list[float]) -> float:
    """Time between the lines, pauses left out."""
    gaps = [max(0.0, b - a) for a, b in itertools.pairwise(times)]
    usual = statistics.median(gaps) if gaps else 0.0
    return sum(gap for gap in gaps if gap <= max(PAUSE * usual, 60.0))
