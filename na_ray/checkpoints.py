"""The checkpoints of a run, in its folder: which are whole, which is the latest, which the best."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from na_ray.checkpoint import damage
from na_ray.config import StageName
from na_ray.config.files import STAGES_0_1, read_json
from na_ray.config.values import UserError


class Checkpoints:
    """The checkpoints of a run: `root/step_NNNNNN`. The last few and the best (highest validation PSNR) are kept."""

    def __init__(self, root: Path, keep_last: int) -> None:
        self.root, self.keep_last = root, keep_last

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first: those that lack nothing, and whose files are whole."""
        return [folder for folder in self._written() if damage(folder) is None]

    def _written(self) -> list[Path]:
        found = self.root.glob("step_*/metrics.json")
        return sorted((f.parent for f in found), key=lambda f: int(f.name.removeprefix("step_")))

    def set_aside(self) -> list[str]:
        """Rename the damaged ones to `damaged_step_NNNNNN`, so that their steps can be saved again. Returns a line
        for each that says what is wrong with it."""
        lines = []
        for folder in self._written():
            wrong = damage(folder)
            if wrong is not None:
                aside = folder.with_name(f"damaged_{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(folder, aside)
                lines.append(f"{wrong}; it was renamed to {aside.name}")
        return lines

    def latest(self) -> Path | None:
        """The checkpoint to go on from."""
        return next((folder for folder in reversed(self._written()) if damage(folder) is None), None)

    def best(self) -> Path | None:
        """The validated checkpoint with the highest PSNR, else the latest."""
        scores = {f: read_json(f / "metrics.json").get("validation/psnr") for f in self.all()}
        scored = {f: s for f, s in scores.items() if s is not None}
        return max(scored, key=lambda f: scored[f]) if scored else self.latest()

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.root / f"step_{step:06d}"

    def prune(self) -> None:
        """Remove what is neither among the last `keep_last` nor the best, and what a crash left half removed.

        Only the process that writes checkpoints calls this, when none is being written.
        """
        for left in self.root.glob(".step_*"):
            shutil.rmtree(left, ignore_errors=True)
        self._keep({*self.all()[-self.keep_last :], self.best()})

    def keep_best(self) -> None:
        """Remove all but the best: nobody goes on from the others."""
        self._keep({self.best()})

    def _keep(self, kept: set[Path | None]) -> None:
        for folder in self.all():
            if folder not in kept:
                # Renamed first: a crash half way through leaves no folder that looks complete.
                gone = folder.with_name(f".{folder.name}.gone")
                os.replace(folder, gone)
                shutil.rmtree(gone, ignore_errors=True)


def find_checkpoint(path: Path, stages: Sequence[StageName]) -> Path:
    """A stage's checkpoint: `path` itself, or the best one where `path` is the folder of a run or of one of its stages.

    `stages`: the kinds that are wanted, the preferred one first. Raises UserError, one line, where there is none; a
    `path` that is neither is returned as it is, for those who read it to refuse.
    """
    if (path / "metrics.json").is_file():  # a checkpoint
        return path
    if (path / "checkpoints").is_dir():  # a stage's folder
        return _best(path, path.name)
    there = {stage: stage_folder(path, stage) for stage in get_args(StageName)}
    trained = {stage: folder for stage, folder in there.items() if (folder / "checkpoints").is_dir()}
    if not trained:
        return path
    wanted = [stage for stage in stages if stage in trained]
    if not wanted:
        raise UserError(f"{path} has no {' or '.join(stages)} stage; it has: {', '.join(trained)}")
    # The preferred stage may have begun a minute ago.
    chosen = next((stage for stage in wanted if any((trained[stage] / "checkpoints").glob("step_*"))), wanted[0])
    return _best(trained[chosen], chosen)


def stage_folder(run: Path, stage: str) -> Path:
    """A stage's folder in a run, by today's name or by that of na_ray 0.1."""
    names = [stage, *(old for old, new in STAGES_0_1.items() if new == stage)]
    return next((run / name for name in names if (run / name).is_dir()), run / stage)


def _best(folder: Path, stage: str) -> Path:
    best = Checkpoints(folder / "checkpoints", keep_last=1).best()
    if best is None:
        raise UserError(f"{folder} has no whole checkpoint yet: train its stage {stage} on, or give another actor")
    return best
