"""The command that compares runs on a page: na-ray report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class ReportCommand:
    """Compare runs on one page that opens offline: scores, curves, films in step, differences, the actor to turn."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs (runs/NAME) and sweeps (runs/NAME-sweep)."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """The page, OUT.html."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> int:
        """Write the page."""
        from na_ray.run.tracking.records import write_page

        if self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists: name another page, or --overwrite")
        size = write_page(self.out, self.runs)
        print(f"wrote {self.out}: {size / 1e6:.1f} MB")
        return 0
