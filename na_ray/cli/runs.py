"""The commands that list what is there: na-ray runs, na-ray actors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from na_ray.config.values import UserError


@dataclass(frozen=True)
class Runs:
    """List the runs and sweeps of a storage, or delete one. na-ray report compares them."""

    storage: Positional[Path] = Path("runs")
    """Folder that holds them."""
    delete: str | None = None
    """Name of a run or a sweep to delete: its folder, with all its checkpoints. MLflow's record of it stays."""
    yes: Annotated[bool, arg(aliases=["-y"])] = False
    """Delete it; without, what would go is said."""

    def run(self) -> int:
        """List, or delete."""
        import os
        import shutil

        from na_ray.run.tracking.listing import list_runs, size_of
        from na_ray.run.train.lock import only_driver

        if self.delete is None:
            print(list_runs(self.storage))
            return 0
        folder = self.storage / self.delete
        if folder.parent != self.storage or not any((folder / f).is_file() for f in ("experiment.json", "sweep.json")):
            raise UserError(f"{folder} is no run and no sweep: na-ray runs {self.storage} lists them")
        if not self.yes:
            raise UserError(f"{folder} holds {size_of(folder) / 1e6:.1f} MB, which would be gone for good: add --yes")
        gone = folder.with_name(f".{folder.name}.gone")
        with only_driver(folder):  # which refuses one that is being trained
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(folder, gone)
        shutil.rmtree(gone)
        print(f"deleted {folder}")
        return 0


@dataclass(frozen=True)
class Actors:
    """List the trained actors of a storage, and those that are registered in MLflow."""

    storage: Positional[Path] = Path("runs")
    """Folder that holds the runs."""

    def run(self) -> int:
        """List."""
        from na_ray.run.tracking.listing import list_actors

        print(list_actors(self.storage))
        return 0
