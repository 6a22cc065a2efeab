"""The commands that make what a capture lacks: na-ray prepare normals, textures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from na_ray.cli.render import chosen_device
from na_ray.cli.train import ProgressBar
from na_ray.config import parse_indices
from na_ray.config.values import AUTO


@dataclass(frozen=True)
class Normals:
    """Draw the UV normal map of every pose, as published: what predict-textures sees."""

    capture: Positional[str]
    """Folder or URL of a capture, or of one split of it. Poses and body are enough: images need not be there."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for normal/NNNNNN.png or normal.avi; with several splits, for one folder per split that holds them: the
    capture itself, for maps that are found in it. Existing pictures are kept."""
    split: tuple[str, ...] = ()
    """Motions. All of the capture if not given."""
    frames: str = "all"
    """Frames of each: `0..40`, `3,7` or `all`."""
    size: int = 512
    """Side of the maps, texels."""
    format: Literal["png", "avi"] = "png"
    """png: lossless. avi: motion JPEG, as published, less than half the bytes."""
    fps: float = 25.0
    """Frames a second of an .avi."""
    overwrite: bool = False
    """Replace existing maps."""

    def run(self) -> int:
        """Draw them."""
        from na_ray.capture.dataset import Capture
        from na_ray.motion.normals import write_normals

        capture = Capture.open(self.capture)
        splits = [capture.split(name) for name in self.split or capture.splits]
        for split in splits:
            out = self.out / split.name if len(splits) > 1 else self.out
            frames = parse_indices(self.frames, split.num_frames, "--frames")
            with ProgressBar("frames") as progress:
                where = write_normals(split, out, frames, self.size, self.format, self.overwrite, self.fps, progress)
            print(f"wrote {where}: {len(frames)} normal maps")
        return 0


@dataclass(frozen=True)
class UnwrapTextures:
    """Unwrap the texture maps of every frame from some cameras alone, into a capture of their own that links to the
    files of this one."""

    capture: Positional[str]
    """Folder of a capture, or of one split of it. Nothing in it is changed."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for the new capture, beside the old one. An interrupted call goes on."""
    cameras: str = AUTO
    """Cameras (positions) whose photographs make the maps: `0,1,2`, `0..11` (the end is exclusive), `all`, or `auto`:
    those that data.train_views auto trains on, all but every sixth, beginning with the fourth."""
    split: tuple[str, ...] = ()
    """Motions. All of the capture if not given."""
    frames: str = "all"
    """Frames of each: `0..40`, `3,7` or `all`."""
    size: int = 512
    """Side of the maps, texels."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to unwrap."""
    overwrite: bool = False
    """Replace existing maps, also those from other cameras. Never those of the old capture."""

    def run(self) -> int:
        """Unwrap them."""
        from na_ray.capture.dataset import Capture
        from na_ray.prepare.textures import write_textures

        capture, device = Capture.open(self.capture), chosen_device(self.device)
        with ProgressBar("frames") as progress:
            lines = write_textures(
                capture,
                self.out,
                self.cameras,
                self.split,
                self.frames,
                self.size,
                device,
                self.overwrite,
                progress,
            )
        print("\n".join(lines))
        return 0


@dataclass(frozen=True)
class Prepare:
    """Make what a capture lacks."""

    what: Annotated[
        Annotated[Normals, subcommand("normals", prefix_name=False)]
        | Annotated[UnwrapTextures, subcommand("textures", prefix_name=False)],
        arg(name=""),
    ]

    def run(self) -> int:
        """Make it."""
        return self.what.run()
