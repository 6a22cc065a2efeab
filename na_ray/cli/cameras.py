"""The command that makes paths of a camera: na-ray cameras."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from na_ray.config import parse_indices
from na_ray.config.values import UserError

if TYPE_CHECKING:  # numpy and scipy take a while to import: --help need not wait
    from na_ray.capture.camera import Camera
    from na_ray.capture.dataset import Split

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Cameras:
    """Make a path of a camera, for na-ray animate and na-ray render --camera FILE.json, or for nerfstudio."""

    kind: Positional[Literal["orbit", "spiral", "zoom", "look-at", "between", "keys", "convert"]]
    """orbit; spiral (loops across one view); zoom (from --radius to --radius-end); look-at (from --eye); between
    (recorded cameras of --capture); keys (of --input, by hand, a list "keys" of {"seconds": 0, "eye": [0, 1, 3],
    "at": [0, 1, 0], "fov": 40}); convert (--input, ours or nerfstudio's)."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """The file to write."""
    format: Literal["na-ray", "nerfstudio"] = "na-ray"
    """Cameras with intrinsics in OpenCV's axes, or nerfstudio's camera_path.json."""
    num_frames: int = 100
    """Cameras of the path: one a frame of the film. Key frames have as many as their seconds say."""
    fps: float = 25.0
    """Frames a second, of key frames and of nerfstudio's file."""
    size: int = 512
    """Side of the pictures, pixels; of recorded and converted ones the longer side, if it is smaller."""
    fov: float = 40.0
    """Field of view, degrees."""
    fov_end: float | None = None
    """zoom: the field of view at the end."""
    at: Vector | None = None
    """Point that is looked at, metres. The middle of the body in --capture, else the origin, if not given."""
    up: Vector | None = None
    """Upwards. As --capture says, else y, if not given."""
    axis: Vector | None = None
    """Axis of the circle. As --up if not given."""
    radius: float = 3.0
    """Distance from the axis, metres; the loops of a spiral reach a sixth of it."""
    radius_end: float | None = None
    """The same at the end of the path."""
    height: float = 0.0
    """Height over the point that is looked at, metres."""
    height_end: float | None = None
    """The same at the end of the path."""
    start: float = 0.0
    """Where the circle begins, degrees: 0 is the z axis, 90 the x axis where y is up."""
    angular_speed: float | None = None
    """Degrees a frame. If not given: one turn for orbit, none for zoom."""
    eye: Vector | None = None
    """look-at: where the camera stands, metres."""
    capture: str | None = None
    """A capture, for its cameras and for where its body is."""
    split: str = "training"
    """The split of it."""
    cameras: str = "all"
    """between: its cameras, in order: 0,4,8."""
    closed: bool = False
    """between: return to the first camera."""
    input: Annotated[Path | None, arg(aliases=["-i"])] = None
    """keys, convert: the file to read."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> int:
        """Write the path."""
        from na_ray.capture.trajectory import to_file
        from na_ray.formats.nerfstudio import write_cameras

        if self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists: name another file, or --overwrite")
        if self.num_frames < 1 or self.size < 1 or not self.fps > 0:
            raise UserError("--num-frames and --size must be 1 or more, --fps positive")
        path = self._path()
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if self.format == "nerfstudio":
            write_cameras(path, self.out, self.fps)
        else:
            to_file(path, self.out)
        first = path[0]
        print(f"wrote {self.out}: {len(path)} cameras of {first.height}x{first.width} pixels")
        return 0

    def _path(self) -> "list[Camera]":
        from na_ray.capture.camera_paths import around, lens, read_keys, through_keys
        from na_ray.capture.trajectory import interpolate, spiral
        from na_ray.formats.nerfstudio import read_cameras

        square = (self.size, self.size)
        if self.kind == "convert":
            return [camera.fitted(self.size) for camera in read_cameras(self._input())]
        if self.kind == "keys":
            return through_keys(*read_keys(self._input(), square), self.fps)
        split = self._split()
        if self.kind == "between":
            if split is None:
                raise UserError("between: whose cameras? name a capture, --capture PATH")
            chosen = [split.cameras[i] for i in parse_indices(self.cameras, len(split.cameras), "--cameras")]
            return interpolate([c.fitted(self.size) for c in chosen], self.num_frames, self.closed)
        at, up = self._at(split), self._up(split)
        K = lens(*square, self.fov)
        if self.kind == "look-at":
            return self._look_at(at, up)
        turn = 360 / self.num_frames if self.kind == "orbit" else 0.0
        speed = turn if self.angular_speed is None else self.angular_speed
        radius = (self.radius, self.radius if self.radius_end is None else self.radius_end)
        height = (self.height, self.height if self.height_end is None else self.height_end)
        count = 1 if self.kind == "spiral" else self.num_frames
        path = around(count, K, square, at, up, self.axis, radius, height, self.start, speed)
        if self.kind == "spiral":
            import numpy as np

            return spiral(path[0], np.array(at), self.num_frames, self.radius / 6, up=up)
        return self._zoomed(path)

    def _zoomed(self, path: "list[Camera]") -> "list[Camera]":
        """The same with a field of view that changes along the path."""
        from na_ray.capture.camera import Camera
        from na_ray.capture.camera_paths import lens

        if self.fov_end is None:
            return path
        last = max(1, len(path) - 1)
        views = [self.fov + (self.fov_end - self.fov) * i / last for i in range(len(path))]
        return [
            Camera(c.name, lens(c.height, c.width, fov), c.T_world_camera, c.height, c.width)
            for c, fov in zip(path, views, strict=True)
        ]

    def _look_at(self, at: Vector, up: Vector) -> "list[Camera]":
        import numpy as np

        from na_ray.capture.camera import Camera
        from na_ray.capture.camera_paths import lens
        from na_ray.capture.trajectory import look_at

        if self.eye is None:
            raise UserError("look-at: where does the camera stand? --eye X Y Z")
        pose = look_at(np.array(self.eye, np.float64), np.array(at, np.float64), np.array(up, np.float64))
        return [Camera("look_at", lens(self.size, self.size, self.fov), pose, self.size, self.size)]

    def _input(self) -> Path:
        if self.input is None:
            raise UserError(f"{self.kind}: which file? --input FILE.json")
        return self.input

    def _split(self) -> "Split | None":
        from na_ray.capture.dataset import Capture

        return None if self.capture is None else Capture.open(self.capture).split(self.split)

    def _at(self, split: "Split | None") -> Vector:
        from na_ray.capture.trajectory import body_center

        if self.at is not None or split is None:
            return self.at or (0.0, 0.0, 0.0)
        step = max(1, split.num_frames // 64)
        x, y, z = body_center(split.pose(i) for i in range(0, split.num_frames, step)).tolist()
        return x, y, z

    def _up(self, split: "Split | None") -> Vector:
        from na_ray.capture.trajectory import up_of

        if self.up is not None or split is None or split.files.kind == "poses":
            return self.up or (0.0, 1.0, 0.0)
        x, y, z = up_of(split.cameras).tolist()
        return x, y, z
