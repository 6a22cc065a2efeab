"""The commands that make, check and unpack captures: na-ray synth, inspect, extract."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from na_ray.cli.train import ProgressBar
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
    format: Literal["na-ray", "easymocap"] = "na-ray"
    """The published layout; or the folders that EasyMocap leaves, for na-ray convert: pictures, masks, calibration and
    track of both motions in one sequence, with a body model. Maps are not part of it."""
    overwrite: bool = False
    """Replace an existing capture."""

    def run(self) -> int:
        """Write it."""
        options = {name: value for name, value in vars(self).items() if name != "format"}
        with ProgressBar("frames") as progress:
            if self.format == "na-ray":
                from na_ray.synthetic.write import write_capture

                write_capture(**options, progress=progress)
                print(f"wrote {self.out}: look at it with na-ray inspect {self.out}")
                return 0
            from na_ray.synthetic.easymocap import MODEL, UV, write_sequence

            del options["texture_size"], options["texture_cameras"]
            write_sequence(**options, progress=progress)
        files = f"--body {self.out / MODEL} --uv {self.out / UV}"
        tested = f" --test-frames {self.frames}..{self.frames + self.test_frames}" if self.test_frames else ""
        print(f"wrote {self.out}: na-ray convert easymocap {self.out} -o CAPTURE {files}{tested}")
        return 0


@dataclass(frozen=True)
class Inspect:
    """Say what a capture holds and everything that is wrong with it, with a verdict; exit code 2 if something is."""

    path: Positional[str]
    """Folder or URL of the capture."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for a contact sheet, an overlay of the posed mesh on real frames, and a turntable of the textured body."""
    verdict: bool = True
    """Judge units, axes, intrinsics, masks and tracking by some frames of all cameras. Takes seconds."""
    overwrite: bool = False
    """Replace existing pictures."""

    def run(self) -> int:
        """Print the findings."""
        from na_ray.inspect import inspect

        found = inspect(self.path, self.out, overwrite=self.overwrite, verdict=self.verdict)
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
    """Replace existing pictures."""

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


def _pair(text: str | None, option: str) -> tuple[int, int] | None:
    """Read START,END."""
    if text is None:
        return None
    first, comma, last = text.partition(",")
    if not (comma and first.isdigit() and last.isdigit()):
        raise UserError(f"{option} is {text!r}: expected START,END as 20,25 (the end is exclusive)")
    return int(first), int(last)
