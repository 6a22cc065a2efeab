"""The command that makes a capture from other programs' files: na-ray convert."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from na_ray.cli.train import ProgressBar
from na_ray.config.values import UserError

if TYPE_CHECKING:  # numpy and scipy take a while to import: --help need not wait
    from na_ray.convert.plan import Plan
    from na_ray.convert.source import SourceSequence


@dataclass(frozen=True)
class Convert:
    """Make a capture from calibrated footage and a tracked body: EasyMocap's or ZJU-MoCap's; or its cameras alone."""

    kind: Positional[Literal["easymocap", "zju-mocap", "cameras"]]
    """easymocap (intri.yml, extri.yml, videos/ or images/, smpl/); zju-mocap (annots.npy, pictures, new_params/);
    cameras (PATH is EasyMocap's folder, annots.npy, a COLMAP model's folder, nerfstudio's transforms.json, or OpenCV's
    yml: its cameras alone, for a capture that has all the rest)."""
    source: Positional[str]
    """Folder of the sequence; of `cameras`, the calibration."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for the capture. A call that was cut off goes on where it was."""
    body: str = ""
    """The body that was tracked: an SMPL, SMPL-H or SMPL-X model (.npz, .pkl: your own, na-ray has none), a rigged
    .glb, or a folder with the four published body files."""
    uv: str | None = None
    """An OBJ of the same mesh with texture coordinates. An atlas is made if not given."""
    test_frames: str | None = None
    """Frames (their numbers in the source) for the split `testing`: `300..400`, the end is exclusive. All others are
    `training`."""
    person: str | None = None
    """Whom to follow, where several are tracked: their id."""
    views: str = "all"
    """Names of the cameras to take: `1,2,5`."""
    calibration: str = ""
    """Where the calibration lies, if not in the sequence's folder."""
    track: str = ""
    """Where the tracked body lies, if not in smpl/, output/smpl/, ... (new_params/, params/)."""
    unit: float = 1.0
    """Metres a unit of the calibration: 0.001 where it is in millimetres. ZJU-MoCap's own millimetres are known."""
    fps: float | None = None
    """Frames a second. As the first video says, or 25, if not given."""
    background: str = "white"
    """What is put behind the person: white, black or R,G,B (0 to 255), by masks where there are some; `chroma`, to cut
    the person out of a screen of one colour; or a folder with a picture of the empty set for each camera."""
    undistort: Literal["on", "off"] = "on"
    """Whether lens distortion is removed from the pictures."""
    workers: int = 0
    """Cameras that are converted at once. As many as this machine has cores if 0."""
    dry_run: bool = False
    """Say what would be done, and write nothing."""
    overwrite: bool = False
    """Replace an existing capture (of `cameras`: its cameras)."""

    def run(self) -> int:
        """Convert."""
        if self.kind == "cameras":
            return self._cameras()
        from na_ray.convert.write import summary, write

        if not self.body:
            raise UserError("whose body was tracked? --body MODEL: SMPL's .npz or .pkl, a rigged .glb, or a folder")
        made = self._plan()
        print("\n".join(made.lines))
        if self.dry_run:
            print("\n".join(summary(made, str(self.out))))
            return 0
        with ProgressBar("frames") as progress:
            lines = write(made, str(self.out), self.workers, self.overwrite, progress)
        print("\n".join([*lines, f"wrote {self.out}: look at it with na-ray inspect {self.out} -o looks"]))
        return 0

    def _chosen(self) -> list[str]:
        return [] if self.views == "all" else [name.strip() for name in self.views.split(",") if name.strip()]

    def _source(self) -> "SourceSequence":
        from na_ray.convert.source import easymocap_source, zju_source

        reader = easymocap_source if self.kind == "easymocap" else zju_source
        return reader(self.source.rstrip("/") or "/", self._chosen(), self.calibration, self.track)

    def _plan(self) -> "Plan":
        from na_ray.convert.plan import ConvertOptions, plan

        if not 0 < self.unit < float("inf") or not (self.fps is None or 0 < self.fps < float("inf")):
            raise UserError("--unit and --fps must be positive numbers")
        return plan(
            self._source(),
            ConvertOptions(
                body=self.body,
                uv=self.uv,
                test_frames=self.test_frames,
                person=self.person,
                undistort=self.undistort == "on",
                unit=self.unit,
                fps=self.fps,
                background=self.background,
            ),
        )

    def _cameras(self) -> int:
        from na_ray.convert.cameras_alone import write_calibration

        lines = write_calibration(self.source, str(self.out), self._chosen(), self.unit, self.overwrite, self.dry_run)
        print("\n".join(lines))
        return 0
