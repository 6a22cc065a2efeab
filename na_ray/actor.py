"""Where a person's networks lie: in a checkpoint's folder as it is given, or in the best checkpoint of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from na_ray.checkpoint import expect_stage
from na_ray.checkpoints import Checkpoints
from na_ray.config import AvatarName, StageName
from na_ray.config.files import STAGES_0_1
from na_ray.config.values import UserError


def find_avatar(path: Path, wanted: AvatarName | None = None) -> Path:
    """The checkpoint of an avatar: `path` itself, or the best one where `path` is the folder of a run or of its stage.

    `wanted`: which kind, where a run has several; None: the first of `AvatarName` that it has. Raises UserError, one
    line, where there is none; a `path` that is neither is returned as it is, for `load_avatar` to refuse.
    """
    stages: tuple[StageName, ...] = (wanted,) if wanted else get_args(AvatarName)
    found = find_checkpoint(path, stages)
    expect_stage(found, *stages)
    return found


def find_checkpoint(path: Path, stages: Sequence[StageName]) -> Path:
    """The same for any stages, the preferred one first."""
    if (path / "metrics.json").is_file():  # a checkpoint
        return path
    if (path / "checkpoints").is_dir():  # a stage's folder
        return _best(path, path.name)
    there = {stage: _stage_folder(path, stage) for stage in get_args(StageName)}
    trained = {stage: folder for stage, folder in there.items() if (folder / "checkpoints").is_dir()}
    if not trained:
        return path
    wanted = [stage for stage in stages if stage in trained]
    if not wanted:
        raise UserError(f"{path} has no {' or '.join(stages)} stage; it has: {', '.join(trained)}")
    # The preferred stage may have begun a minute ago.
    chosen = next((stage for stage in wanted if any((trained[stage] / "checkpoints").glob("step_*"))), wanted[0])
    return _best(trained[chosen], chosen)


def _stage_folder(run: Path, stage: str) -> Path:
    """A stage's folder in a run, by today's name or by that of na_ray 0.1."""
    names = [stage, *(old for old, new in STAGES_0_1.items() if new == stage)]
    return next((run / name for name in names if (run / name).is_dir()), run / stage)


def _best(folder: Path, stage: str) -> Path:
    best = Checkpoints(folder / "checkpoints", keep_last=1).best()
    if best is None:
        raise UserError(f"{folder} has no whole checkpoint yet: train its stage {stage} on, or give another actor")
    return best
