"""What a capture holds, in a few lines: for `na-ray inspect`. Headers and names are read, no frame is decoded."""

from dataclasses import dataclass

from na_ray.capture import video
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import Size, image_resolution
from na_ray.capture.naming import Series
from na_ray.capture.storage import size


@dataclass(frozen=True)
class SplitFacts:
    """One split, in numbers."""

    name: str
    """Folder of the split."""
    kind: str
    """`raw`, `extracted` or `poses` (no pictures)."""
    num_frames: int
    """Frames, as many as there are transforms."""
    first_frame: int
    """Number of the first frame, as its file is named."""
    last_frame: int
    """Number of the last frame."""
    num_cameras: int
    """Cameras with pictures."""
    resolutions: tuple[Size, ...]
    """(height, width) of the cameras' pictures, each once."""
    codec: str
    """Codec of the cameras' videos, or the pictures' ending."""
    fps: float | None
    """Frames per second, as the videos say; None for pictures."""
    texture_size: Size | None
    """(height, width) of the texture maps."""
    normal_size: Size | None
    """(height, width) of the normal maps."""
    num_bytes: int
    """Bytes of all pictures and transforms; for extracted pictures, those of the first frame times their number."""

    @property
    def seconds(self) -> float | None:
        """Time span of the motion, as far as the frame rate is known."""
        return self.num_frames / self.fps if self.fps else None

    def __str__(self) -> str:
        span = f", {self.seconds:.2f} s at {self.fps:g} frames/s" if self.seconds is not None else ""
        numbers = f"{self.num_frames} frames ({self.first_frame}..{self.last_frame}{span})"
        sizes = " ".join(f"{h}x{w}" for h, w in self.resolutions) or "no pictures"
        maps = f"texture {_text(self.texture_size)}, normals {_text(self.normal_size)}"
        about = f"{self.num_cameras} cameras of {sizes} {self.codec}, {maps}, {self.num_bytes / 1e6:.1f} MB"
        return f"{self.name}: {self.kind}, {numbers}, {about}"


@dataclass(frozen=True)
class CaptureFacts:
    """A capture, in numbers."""

    path: str
    """Root folder or URL."""
    num_vertices: int
    """V."""
    num_faces: int
    """F."""
    num_uv: int
    """T, texture coordinates."""
    num_joints: int
    """J."""
    extent: tuple[float, float, float]
    """Size of the canonical body along x, y, z, in metres."""
    splits: tuple[SplitFacts, ...]
    """One for each split."""

    def __str__(self) -> str:
        body = f"{self.num_vertices} vertices, {self.num_faces} faces, {self.num_uv} UVs, {self.num_joints} joints"
        size = " x ".join(f"{e:.2f}" for e in self.extent)
        return "\n".join([self.path, f"  body: {body}, {size} m", *(f"  {split}" for split in self.splits)])


def describe(capture: Capture) -> CaptureFacts:
    """The facts of a capture. Raises UserError or FileNotFoundError where it is too broken for that."""
    rig = capture.rig
    x, y, z = (rig.vertices.max(axis=0) - rig.vertices.min(axis=0)).tolist()
    splits = tuple(describe_split(capture.split(name)) for name in capture.splits)
    counts = (len(rig.vertices), len(rig.faces), len(rig.uv), rig.num_joints)
    return CaptureFacts(capture.path, *counts, (x, y, z), splits)


def describe_split(split: Split) -> SplitFacts:
    """The facts of one split."""
    files, cameras = split.files, split.cameras
    info = video.header(split.camera_files[0].source) if files.kind == "raw" else None
    sources = [c.source for c in split.camera_files]
    return SplitFacts(
        name=split.name,
        kind=files.kind,
        num_frames=split.num_frames,
        first_frame=files.frames[0],
        last_frame=files.frames[-1],
        num_cameras=len(cameras),
        resolutions=tuple(dict.fromkeys((c.height, c.width) for c in cameras)),
        codec=info.codec if info else sources[0].rsplit(".", 1)[-1] if sources else "",
        fps=info.fps if info else None,
        texture_size=_map_size(files.texture, files.texture_video, files.frames[0]),
        normal_size=_map_size(files.normal, files.normal_video, files.frames[0]),
        num_bytes=_bytes(split, sources),
    )


def _text(size: Size | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "missing"


def _map_size(series: Series | None, path: str | None, first: int) -> Size | None:
    if series is not None:
        return image_resolution(series.path(first))
    return video.resolution(path) if path else None


def _bytes(split: Split, sources: list[str]) -> int:
    files, first = split.files, split.files.frames[0]
    transforms = files.transforms
    total = size(transforms.folder) if transforms.archive else split.num_frames * size(transforms.path(first))
    if files.rgb is None:
        total += sum(map(size, sources))
    else:
        total += split.num_frames * sum(size(files.picture(first, name)) for name in sources)
    for series, path in ((files.texture, files.texture_video), (files.normal, files.normal_video)):
        if series is not None:
            total += split.num_frames * size(series.path(first))
        elif path is not None:
            total += size(path)
    return total
