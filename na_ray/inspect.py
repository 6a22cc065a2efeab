"""Look at a capture before hours of training: what it holds, what is wrong with it, a verdict, sheets of pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from na_ray.capture.about import camera_names
from na_ray.capture.checks.defects import examine
from na_ray.capture.checks.describe import describe, describe_split
from na_ray.capture.dataset import Capture, Split
from na_ray.config.secrets import public
from na_ray.config.values import UserError
from na_ray.pictures import png
from na_ray.pictures.sheets import contact_sheet, overlay
from na_ray.pictures.turntable import textured_split, turntable
from na_ray.prepare.evidence import gather
from na_ray.prepare.verdict import Verdict, judge

_T = TypeVar("_T")


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found."""

    lines: list[str]
    """What the capture holds."""
    notes: list[str]
    """What was understood in spite of an irregularity."""
    defects: list[str]
    """What must be fixed before training, one line each; empty for a sound capture."""
    pictures: list[Path]
    """Sheets that were written."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """How cameras, body and pictures of each split agree."""

    def text(self) -> str:
        """Everything as text; the defects come last."""
        lines = [*self.lines, *(f"  picture: {path}" for path in self.pictures)]
        for split, verdict in self.verdicts.items():
            lines += [f"  verdict on {split}:", *(f"    {line}" for line in verdict.lines)]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines + ([f"defect: {defect}" for defect in self.defects] or ["no defects"]))


def inspect(
    path: str,
    out: Path | None = None,
    frames: int = 4,
    overwrite: bool = False,
    thorough: bool = False,
    verdict: bool = True,
) -> Inspection:
    """Describe the capture at `path` (folder or URL), find its defects and, with `out`, draw its sheets there.

    Writes `contact_sheet.png` and `overlay.png` of `frames` frames a split, and `turntable.png` where there are texture
    maps. `thorough` decodes every picture; `verdict`: judge units, axes, intrinsics, masks and tracking by some frames.
    Raises FileExistsError when a sheet exists, unless `overwrite`. A defect is no exception: it is in the result.
    """
    drawings = {} if out is None else {out / f"{name}.png": draw for name, draw in _DRAWINGS.items()}
    for target in drawings:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists: name another folder, or overwrite")
    report = examine(path, thorough)
    lines, pictures, problems = [public(str(path))], list[Path](), list[str]()
    verdicts: dict[str, Verdict] = {}
    capture = _attempt(partial(Capture.open, path), problems)
    if capture is not None:
        lines = [*_describe(capture, problems), *(_attempt(partial(_cameras, capture), problems) or [])]
        for target, draw in drawings.items():
            shown = _attempt(partial(draw, capture, frames), problems)
            if shown is not None:
                png.write_png(target, shown)
                pictures.append(target)
        verdicts = _judged(capture, problems) if verdict else {}
    # What stopped the description is a defect, too; the examination has said it better where it said anything.
    defects = report.defects or list(dict.fromkeys(problems))
    defects += [f"{split}: {line}" for split, found in verdicts.items() for line in found.defects]
    return Inspection(lines, report.notes, defects, pictures, verdicts)


def _cameras(capture: Capture) -> list[str]:
    """Which camera of the source is which number here: other lines tell numbers, and `convert --views` takes names."""
    named = [(f"{k:04d}", name) for k, name in enumerate(camera_names(capture.path))]
    if all(number == name for number, name in named):
        return []
    return [f"  cameras of the source: {', '.join(f'{number} is {name}' for number, name in named)}"]


def _turntable(capture: Capture, _frames: int) -> np.ndarray | None:
    return turntable(capture) if textured_split(capture) else None


_DRAWINGS: dict[str, Callable[[Capture, int], np.ndarray | None]] = {
    "contact_sheet": contact_sheet,
    "overlay": overlay,
    "turntable": _turntable,
}


def _judged(capture: Capture, problems: list[str]) -> dict[str, Verdict]:
    """Of each split that can be read and has pictures."""
    found = {}
    for name in capture.splits:
        split = _attempt(partial(capture.split, name), problems)
        if split is None or split.files.kind == "poses":
            continue
        evidence = _attempt(partial(gather, capture, split), problems)
        if evidence is not None:
            found[name] = judge(evidence)
    return found


def _attempt(make: Callable[[], _T], problems: list[str]) -> _T | None:
    """What `make` returns; None, with the reason among the problems, when the capture does not allow it."""
    try:
        return make()
    except (UserError, OSError) as error:
        problems.append(str(error))
        return None


def _describe(capture: Capture, problems: list[str]) -> list[str]:
    """The facts of the capture; those of the readable splits, when it is too broken for all of them."""
    facts = _attempt(partial(describe, capture), problems)
    if facts is not None:
        return str(facts).splitlines()
    rig = _attempt(lambda: capture.rig, problems)
    body = f"{len(rig.vertices)} vertices, {len(rig.faces)} faces, {rig.num_joints} joints" if rig else "not readable"
    lines = [capture.path, f"  body: {body}"]
    for name in capture.splits:
        split: Split | None = _attempt(partial(capture.split, name), problems)
        found = split and _attempt(partial(describe_split, split), problems)
        lines.append(f"  {found or f'{name}: not readable'}")
    return lines
