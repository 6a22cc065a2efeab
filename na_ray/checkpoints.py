"""The checkpoints of a run, in its folder: which are whole, which is the latest, which the best."""

import os
import shutil
from pathlib import Path

from na_ray.checkpoint import damage
from na_ray.config.files import read_json


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
