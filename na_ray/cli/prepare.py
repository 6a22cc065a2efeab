"""The commands that make what a capture lacks: na-ray prepare CAPTURE, and its parts normals, textures, track."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from na_ray.cli.render import chosen_device
from na_ray.cli.train import ProgressBar
from na_ray.config import parse_indices
from na_ray.config.values import AUTO

if TYPE_CHECKING:
    from na_ray.prepare.textures import TextureOptions


@dataclass(frozen=True)
class Normals:
    """Draw the UV normal map of every pose, as published: what predict-textures sees."""

    capture: Positional[str]
    """Folder or URL of a capture, or of one split of it. Poses and body are enough: images need not be there."""
    out: Annotated[Path | None, arg(name="output", aliases=["-o"])] = None
    """Folder for normal/NNNNNN.png or normal.avi; with several splits, for one folder per split that holds them. The
    capture itself if not given. Existing pictures are kept."""
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
        from na_ray.prepare.foreign import check_free_of_maps
        from na_ray.prepare.textures import check_own_place

        capture = Capture.open(self.capture)
        splits = [capture.split(name) for name in self.split or capture.splits]
        if self.out is None:
            check_own_place(capture)
        for split in splits:
            if self.out is None:
                check_free_of_maps(split, "normal", self.overwrite)
                out = Path(split.files.folder)
            else:
                out = self.out / split.name if len(splits) > 1 else self.out
            frames = parse_indices(self.frames, split.num_frames, "--frames")
            with ProgressBar("frames") as progress:
                where = write_normals(split, out, frames, self.size, self.format, self.overwrite, self.fps, progress)
            print(f"wrote {where}: {len(frames)} normal maps")
        return 0


@dataclass(frozen=True)
class UnwrapTextures:
    """Unwrap the texture maps of every frame from the photographs of some cameras alone."""

    capture: Positional[str]
    """Folder of a capture, or of one split of it."""
    out: Annotated[Path | None, arg(name="output", aliases=["-o"])] = None
    """Folder for a new capture, beside the old one, that links to its files; the old one is not changed. If not given,
    the maps go into the capture itself. An interrupted call goes on."""
    cameras: str = AUTO
    """Cameras (positions) whose photographs make the maps: `0,1,2`, `0..11` (the end is exclusive), `all`, or `auto`:
    those that data.train_views auto trains on, all but every sixth, beginning with the fourth."""
    split: tuple[str, ...] = ()
    """Motions. All of the capture if not given."""
    frames: str = "all"
    """Frames of each: `0..40`, `3,7` or `all`."""
    size: int = 512
    """Side of the maps, texels."""
    mode: Literal["blended", "best"] = "blended"
    """blended: all cameras that see a texel, by angle and distance to silhouettes; best: almost only the best one,
    sharper, with more flicker."""
    register: bool = False
    """Fit each photograph to the colors over time by a small flow: against drift of the track. Three times as long."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to unwrap."""
    overwrite: bool = False
    """Replace existing maps, also those from other cameras, and those that na_ray did not make. Never those of the old
    capture where --output names another."""

    def run(self) -> int:
        """Unwrap them."""
        from na_ray.capture.dataset import Capture
        from na_ray.prepare.textures import write_textures

        with ProgressBar("frames") as progress:
            lines = write_textures(Capture.open(self.capture), self.out, options_of(self), self.split, progress)
        print("\n".join(lines))
        return 0


@dataclass(frozen=True)
class All(UnwrapTextures):
    """Make the normal maps and the texture maps that a capture lacks."""

    def run(self) -> int:
        """Make them."""
        from na_ray.capture.dataset import Capture
        from na_ray.prepare.everything import write_all

        with ProgressBar("frames") as progress:
            lines = write_all(Capture.open(self.capture), self.out, options_of(self), self.split, progress)
        print("\n".join(lines))
        return 0


@dataclass(frozen=True)
class RepairTrack:
    """Correct the pose of every frame by silhouettes and colors, into a capture of its own."""

    capture: Positional[str]
    """Folder of a capture with silhouettes (masks/, or pictures with alpha). Nothing in it is changed."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for the new capture, beside the old one: it links to its files, and has the corrected poses."""
    cameras: str = AUTO
    """Cameras (positions) to correct by: `0,1,2`, `0..11`, `all`, or `auto`, as for texture maps."""
    split: tuple[str, ...] = ()
    """Motions. All that were filmed if not given."""
    colors: bool = False
    """Fit the photographs' patterns to their colors over time, too. Three times as long."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where colors are unwrapped."""

    def run(self) -> int:
        """Correct them."""
        from na_ray.capture.dataset import Capture
        from na_ray.prepare.track import write_track

        device = chosen_device(self.device)
        with ProgressBar("frames") as progress:
            capture = Capture.open(self.capture)
            lines = write_track(capture, self.out, self.cameras, self.split, self.colors, device, progress)
        print("\n".join(lines))
        return 0


def options_of(given: UnwrapTextures) -> "TextureOptions":
    """The library's options."""
    from na_ray.prepare.textures import TextureOptions

    return TextureOptions(
        cameras=given.cameras,
        frames=given.frames,
        side=given.size,
        mode=given.mode,
        register=given.register,
        device=chosen_device(given.device),
        overwrite=given.overwrite,
    )


@dataclass(frozen=True)
class Prepare:
    """Make what a capture lacks."""

    what: Annotated[
        Annotated[All, subcommand("all", prefix_name=False)]
        | Annotated[Normals, subcommand("normals", prefix_name=False)]
        | Annotated[UnwrapTextures, subcommand("textures", prefix_name=False)]
        | Annotated[RepairTrack, subcommand("track", prefix_name=False)],
        arg(name=""),
    ]

    def run(self) -> int:
        """Make it."""
        from na_ray.capture.publish import only_writer

        with only_writer(str(self.what.out or self.what.capture)):
            return self.what.run()
