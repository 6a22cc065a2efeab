"""The command line: na-ray synth, inspect, extract, import, render, evaluate."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tqdm import tqdm
from tyro.conf import Positional, arg

from na_ray.capture.dataset import Capture
from na_ray.capture.trajectory import along
from na_ray.config import Experiment, override, parse_indices
from na_ray.run.command import guarded

if TYPE_CHECKING:
    from na_ray.checkpoint import Actor  # torch takes seconds to import: --help need not wait


@dataclass(frozen=True)
class Synth:
    """Make an actor from nothing: a complete capture in the published layout."""

    out: Positional[Path]
    """Folder to write the capture to."""
    frames: int = 32
    """Frames of the training motion."""
    test_frames: int = 8
    """Frames of the held-out motion."""
    cameras: int = 8
    """Cameras around the actor."""
    resolution: int = 256
    """Side of the images, pixels."""
    texture_size: int = 256
    """Side of the texture and normal maps, texels."""
    seed: int = 0
    """The same seed makes the same files."""
    overwrite: bool = False
    """Replace a capture that is there."""

    def run(self) -> int:
        """Write it."""
        from na_ray.synthetic.write import write_capture

        with _bar("frames") as progress:
            write_capture(**vars(self), progress=progress)
        print(f"wrote {self.out}: look at it with na-ray inspect {self.out}")
        return 0


@dataclass(frozen=True)
class Inspect:
    """Say what a capture holds and everything that is wrong with it; exit code 2 if something is."""

    path: Positional[str]
    """Folder or URL of the capture."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for a contact sheet, and an overlay of the posed mesh on real frames."""
    overwrite: bool = False
    """Replace pictures that are there."""

    def run(self) -> int:
        """Print the findings."""
        from na_ray.inspect import inspect

        found = inspect(self.path, self.out, overwrite=self.overwrite)
        print(found.text())
        return 2 if found.defects else 0


@dataclass(frozen=True)
class Extract:
    """Write frames of a raw split as pictures, in the extracted layout. Frame f of the videos is named f."""

    source: Annotated[Path, arg(name="input", aliases=["-i"])]
    """A split of a capture, as CAPTURE/training."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder to write to, as CAPTURE/training_images. What is complete there is kept."""
    frames: Annotated[str | None, arg(aliases=["-f"])] = None
    """START,END: END is exclusive. All frames if not given."""
    cameras: Annotated[str | None, arg(aliases=["-c"])] = None
    """FIRST,LAST: LAST is exclusive. All cameras if not given."""
    overwrite: bool = False
    """Replace pictures that are there."""

    def run(self) -> int:
        """Extract."""
        from na_ray.capture.extract import extract

        start, stop = _pair(self.frames, "--frames") or (0, None)
        between = _pair(self.cameras, "--cameras")
        cameras = range(*between) if between else None
        with _bar("pictures") as progress:
            where = extract(self.source, self.out, start, stop, cameras, self.overwrite, progress)
        print(f"wrote {where}")
        return 0


@dataclass(frozen=True)
class Import:
    """Turn a checkpoint of the original implementation into an actor of ours."""

    checkpoint: Positional[Path]
    """The original's file, as nerf_checkpoint.pt."""
    capture: str
    """The capture it was trained on: its body is compared with the file's."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder to write the actor to."""

    def run(self) -> int:
        """Import, strictly."""
        from na_ray import checkpoint
        from na_ray.body.body import Body
        from na_ray.models.renderer import Renderer
        from na_ray.original import import_checkpoint

        capture = Capture.open(self.capture)
        found = import_checkpoint(str(self.checkpoint), capture.rig)
        renderer = Renderer(found.renderer, Body.from_rig(found.rig))
        renderer.load_state_dict(found.state)
        config = Experiment(name=self.out.name, capture=capture.path, renderer=found.renderer, optim=found.optim)
        config = override(config, found.settings)
        training = None if found.adam is None else {"optimizer": found.adam}
        checkpoint.save(self.out, "renderer", renderer.state_dict(), found.rig, config, found.num_updates, training)
        print(
            "\n".join(
                [
                    *(f"note   {note}" for note in found.notes),
                    f"wrote {self.out}, trained for {found.num_updates} steps",
                ]
            )
        )
        return 0


@dataclass(frozen=True)
class Render:
    """Film an actor: the poses and texture maps of any capture, any camera."""

    actor: Positional[str]
    """A checkpoint's folder, or an MLflow URI as models:/lan/1."""
    capture: str
    """Capture that the poses and texture maps come from."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for the frames and films. Frames that are there are kept."""
    split: str = "testing"
    """The motion."""
    frames: str = "all"
    """Frames of it: `0..40`, `3,7` or `all`."""
    camera: str = "orbit"
    """orbit, spiral, the position of a recorded camera (`3`), several to move between (`0,4,8`), or a JSON file."""
    views: tuple[Literal["color", "depth", "normals", "mesh"], ...] = ("color",)
    """What to show: color, depth, normals, and the textured mesh."""
    side_by_side: bool = False
    """Add a film of all views in a row."""
    size: int | None = None
    """Longer side of the pictures, pixels. As the camera says if not given."""
    fps: float = 25.0
    """Frames a second of the films."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""
    overwrite: bool = False
    """Replace frames that are there."""

    def run(self) -> int:
        """Render."""
        from na_ray.render import Motion, render_sequence

        split = Capture.open(self.capture).split(self.split)
        frames = parse_indices(self.frames, split.num_frames)
        cameras = along(self.camera, split, frames)
        if self.size is not None:
            cameras = [c.fitted(self.size) for c in cameras]
        with _bar("frames") as progress:
            films = render_sequence(
                _load(self.actor, self.device),
                Motion(split, frames),
                cameras,
                self.out,
                self.views,
                self.side_by_side,
                self.fps,
                self.overwrite,
                progress,
            )
        print("\n".join(f"wrote {film}" for film in films))
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Score an actor against photographs, beside the textured mesh."""

    actor: Positional[str]
    """A checkpoint's folder, or an MLflow URI as models:/lan/1."""
    capture: str
    """The capture to score on."""
    out: Annotated[Path | None, arg(name="output", aliases=["-o"])] = None
    """JSON file for the scores of every picture."""
    split: str = "testing"
    """The motion."""
    frames: str = "all"
    """Frames of it: `0..40`, `3,7` or `all`."""
    cameras: str = "all"
    """Cameras: `0..11` (the end is exclusive), `0,3,7` or `all`."""
    size: int | None = None
    """Longer side to score at, pixels. As the images are if not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""
    overwrite: bool = False
    """Replace a score file that is there."""

    def run(self) -> int:
        """Score."""
        from na_ray.evaluate import evaluate

        if self.out is not None and self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists: name another file, or --overwrite")
        capture = Capture.open(self.capture)
        split = capture.split(self.split)
        frames = parse_indices(self.frames, split.num_frames)
        cameras = parse_indices(self.cameras, len(split.cameras))
        small = split.cameras[cameras[0]].fitted(self.size) if self.size else split.cameras[cameras[0]]
        actor = _load(self.actor, self.device)
        size = (small.height, small.width)
        with _bar("pictures") as progress:
            scores = evaluate(actor, capture, self.split, frames, cameras, size, progress=progress)
        print(scores.table())
        if self.out is not None:
            scores.save(self.out)
        return 0


def _load(actor: str, device: str) -> "Actor":
    """Open an actor where it is, or fetch it from MLflow."""
    import torch

    from na_ray.checkpoint import load_actor

    if actor.startswith(("models:/", "runs:/")):
        from na_ray.run.model import resolve

        actor = str(resolve(actor))
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return load_actor(actor, chosen)


def _pair(text: str | None, option: str) -> tuple[int, int] | None:
    """Read START,END."""
    if text is None:
        return None
    first, comma, last = text.partition(",")
    if not (comma and first.isdigit() and last.isdigit()):
        raise ValueError(f"{option} is {text!r}: expected START,END as 20,25 (the end is exclusive)")
    return int(first), int(last)


class _bar:
    """A progress bar on a terminal, as the `progress(done, total)` that the library calls; silent elsewhere."""

    def __init__(self, unit: str) -> None:
        self.bar = tqdm(unit=unit, disable=not sys.stderr.isatty())

    def __enter__(self) -> Callable[[int, int], None]:
        return self._show

    def _show(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()


COMMANDS: dict[str, Callable[..., Any]] = {
    "synth": Synth,
    "inspect": Inspect,
    "extract": Extract,
    "import": Import,
    "render": Render,
    "evaluate": Evaluate,
}


def main() -> None:
    """Run `na-ray`. A user's mistake is told in one line a defect, with exit code 2."""
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="na-ray", description=__doc__)
    sys.exit(guarded(command.run))
