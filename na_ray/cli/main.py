"""The command line: na-ray synth, inspect, extract, import, prepare, predict-textures, render, evaluate."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from na_ray.capture.dataset import Capture
from na_ray.cli.predict import PredictTextures, Prepare
from na_ray.cli.render import Evaluate, Render
from na_ray.cli.train import ProgressBar, guarded, take_traceback
from na_ray.config import Experiment, override
from na_ray.config.values import UserError


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
    texture_cameras: str = "auto"
    """Cameras that the texture maps are made from, as 0,1,3: those that training will see, or scores would flatter.
    auto: all but every sixth, beginning with the fourth, as data.train_views auto."""
    overwrite: bool = False
    """Replace a capture that is there."""

    def run(self) -> int:
        """Write it."""
        from na_ray.synthetic.write import write_capture

        with ProgressBar("frames") as progress:
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
        with ProgressBar("pictures") as progress:
            where = extract(self.source, self.out, start, stop, cameras, self.overwrite, progress)
        print(f"wrote {where}")
        return 0


@dataclass(frozen=True)
class Import:
    """Turn a checkpoint of the original implementation, nerf or texture predictor, into one of ours."""

    checkpoint: Positional[Path]
    """The original's file: nerf_checkpoint.pt, or vid2vid's epoch_N_iteration_N_checkpoint.pt."""
    capture: str
    """The capture it was trained on: its body is compared with the NeRF's file, and goes with the predictor."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder to write the checkpoint to."""
    resolution: tuple[int, int] | None = None
    """Texture predictor: HEIGHT WIDTH of its maps. Needed where they are no squares."""

    def run(self) -> int:
        """Import, strictly."""
        from na_ray.original.renderer import read_file
        from na_ray.original.texture_predictor import is_predictor

        capture = Capture.open(self.capture)
        contents = read_file(str(self.checkpoint))
        save = self._save_predictor if is_predictor(contents) else self._save_nerf
        notes, num_updates = save(contents, capture)
        lines = [*(f"note   {note}" for note in notes), f"wrote {self.out}, trained for {num_updates} steps"]
        print("\n".join(lines))
        return 0

    def _save_nerf(self, contents: Any, capture: Capture) -> tuple[tuple[str, ...], int]:
        from na_ray import checkpoint
        from na_ray.body.body import Body
        from na_ray.models.nerf.renderer import Nerf
        from na_ray.original.renderer import from_contents

        found = from_contents(contents, str(self.checkpoint), capture.rig)
        nerf = Nerf(found.nerf, Body.from_rig(found.rig))
        nerf.load_state_dict(found.state)
        config = Experiment(name=self.out.name, capture=capture.path, nerf=found.nerf, optim=found.optim)
        config = override(config, found.settings)
        training = None if found.adam is None else {"optimizer": found.adam}
        checkpoint.save(self.out, "nerf", nerf.state_dict(), found.rig, config, found.num_updates, training)
        return found.notes, found.num_updates

    def _save_predictor(self, contents: Any, capture: Capture) -> tuple[tuple[str, ...], int]:
        from na_ray import checkpoint
        from na_ray.original.texture_predictor import from_contents

        found = from_contents(contents, str(self.checkpoint), self.resolution)
        config = Experiment(name=self.out.name, capture=capture.path, vid2vid=found.vid2vid, texture=found.texture)
        notes = found.notes
        if len(set(found.vid2vid.resolution)) == 1:
            config = override(config, {"stages": ("texture",)})
        else:
            notes = (*notes, "its maps are no squares: it predicts, but the texture stage cannot train it")
        weights, rig = found.weights, capture.rig
        checkpoint.save(self.out, "texture", weights, rig, config, found.num_updates, found.training)
        return notes, found.num_updates


def _pair(text: str | None, option: str) -> tuple[int, int] | None:
    """Read START,END."""
    if text is None:
        return None
    first, comma, last = text.partition(",")
    if not (comma and first.isdigit() and last.isdigit()):
        raise UserError(f"{option} is {text!r}: expected START,END as 20,25 (the end is exclusive)")
    return int(first), int(last)


COMMANDS: dict[str, Callable[..., Any]] = {
    "synth": Synth,
    "inspect": Inspect,
    "extract": Extract,
    "import": Import,
    "prepare": Prepare,
    "predict-textures": PredictTextures,
    "render": Render,
    "evaluate": Evaluate,
}


def main() -> None:
    """Run `na-ray`. A user's mistake is told in one line a defect, with exit code 2."""
    arguments, shown = take_traceback(sys.argv[1:])
    description = f"{__doc__}\n\n--traceback, with any of them: show where in the program a mistake was found."
    sys.exit(guarded(lambda: _command(arguments, description).run(), shown))


def _command(arguments: list[str], description: str) -> Any:
    return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="na-ray", description=description, args=arguments)
