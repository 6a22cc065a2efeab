"""The sound files that `benchmarks/fuzz.py` damages, and the readers that get them."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from na_ray.capture import video
from na_ray.capture.camera import read_extrinsics, read_intrinsics
from na_ray.capture.checks.defects import examine
from na_ray.capture.checks.distortion import distortion_notes
from na_ray.capture.checks.textures import read_flow
from na_ray.capture.dataset import Capture
from na_ray.capture.image import check_image, image_resolution, orientation_of, read_image, read_mask
from na_ray.capture.obj import read_obj
from na_ray.capture.rig import Pose, read_tpose, read_weights
from na_ray.capture.storage.archive import leaving_members
from na_ray.capture.trajectory import from_file
from na_ray.capture.video import VideoWriter

JOINTS, FRAMES, SIDE = 3, 3, 16


@dataclass
class Reader:
    """A reader and its sound files."""

    name: str
    place: Path
    """Where the file must lie."""
    seeds: list[bytes]
    read: Callable[[Path], Any]
    hostile: bool = False
    """Whether a seed is to be read as it is, too."""
    many_lines: bool = False
    """Whether several mistakes may be told at once."""

    def write(self, data: bytes) -> Path:
        """Put a file in its place."""
        self.place.write_bytes(data)
        return self.place


def mesh(corner: str) -> bytes:
    """Two triangles."""
    lines = [f"v {i} {i * i} 0.5" for i in range(4)] + [f"vt 0.{i} 0.{9 - i}" for i in range(4)] + ["vn 0 0 1"] * 4
    faces = [f"f {' '.join(corner.format(i) for i in face)}" for face in ((1, 2, 3), (2, 3, 4))]
    return "\n".join([*lines, *faces, ""]).encode()


def pose(frame: int = 0) -> dict[str, Any]:
    """A transform."""
    bones = np.repeat(np.eye(4)[:, :, None], JOINTS, axis=2)
    joints = np.stack([np.zeros(JOINTS), np.linspace(0, 1, JOINTS), np.zeros(JOINTS)], axis=1)
    values = {"translation": [[0.1 * frame, 0, 0]], "rotation": np.eye(3), "joints": joints, "joints_RT": bones}
    return {key: np.asarray(value).tolist() for key, value in values.items()} | {"pose": [[0.0] * 3 * JOINTS]}


def film(folder: Path, name: str, codec: video.Codec) -> bytes:
    """A short video."""
    rng = np.random.default_rng(0)
    with VideoWriter(folder / name, 25, codec) as writer:
        for _ in range(FRAMES):
            writer.write(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    return (folder / name).read_bytes()


def picture(format: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture."""
    held = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image = (
        Image.fromarray(noise).convert(mode) if mode != "I;16" else Image.fromarray(noise[..., 0].astype(np.uint16) * 9)
    )
    image.save(held, format, **options)
    return held.getvalue()


def archive(method: int) -> bytes:
    """A transform.zip."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as packed:
        for frame in range(FRAMES):
            packed.writestr(f"{frame:06d}.json", json.dumps(pose(frame)))
    return held.getvalue()


def read_video(path: Path) -> None:
    """Everything that is asked of a video."""
    place = str(path)
    video.header(place)
    info = video.survey(place)
    video.probe(place)
    video.mark_of(place)
    video.entry(place, max(0, info.num_frames - 1))
    for _ in zip(video.decode(place), range(2 * FRAMES), strict=False):
        pass


def read_picture(path: Path) -> None:
    """Everything that is asked of a picture; a reader's complaint does not spare the next one."""
    mistakes = []
    for read in (check_image, image_resolution, orientation_of, read_mask, read_image):
        try:
            read(str(path))
        except ValueError as error:
            mistakes.append(error)
    if mistakes:
        raise mistakes[-1]


def read_capture(path: Path) -> None:
    """A capture of which one file is damaged: `inspect`, then what training reads."""
    root = next(p for p in path.parents if (p / "canonical.obj").parent.name == "capture")
    examine(root, thorough=True)
    split = Capture.open(root).split("training")
    assert split.rig.weights is not None
    for position in range(min(FRAMES, split.num_frames)):
        split.pose(position)
    for position in range(min(FRAMES, split.num_frames)):
        split.image(position, 0)


def read_archive(path: Path) -> None:
    """A split that holds a transform.zip alone."""
    leaving_members(str(path))
    split = Capture.open(path.parent).split(path.parent.name)
    for position in range(split.num_frames):
        split.pose(position)


def at_place(folder: Path, name: str) -> Path:
    """A file's place, its folder made."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name


def whole_capture(folder: Path) -> Reader:
    """A capture of which one file after another is damaged."""
    root = folder / "capture"
    files = {
        "canonical.obj": mesh("{0}"),
        "uvmapping.obj": mesh("{0}/{0}"),
        "skinning_weight.txt": b"1 0 0\n0 1 0\n0 0 1\n.5 .5 0\n",
        "transform_tpose.json": json.dumps({"joints_RT": pose()["joints_RT"]}).encode(),
        "intrinisc/0000.txt": b"20 0 7.5\n0 20 7.5\n0 0 1\n",
        "pose/0000.txt": b"1 0 0 0\n0 1 0 0\n0 0 1 -9\n0 0 0 1\n",
        "training/transform.zip": archive(zipfile.ZIP_STORED),
        "training/rgb_video/000.avi": film(folder, "film.avi", "mjpeg"),
        "training/tex.avi": film(folder, "film.avi", "mjpeg"),
        "capture.json": b'{"version": 1, "textures": {"cameras": [0]}}',
    }
    for name, data in files.items():
        at_place(folder, f"capture/{name}").write_bytes(data)
    reader = Reader("capture", root, list(files.values()), read_capture, many_lines=True)
    kinds = {data: name for name, data in files.items()}
    return _Whole(reader, {name: data for data, name in kinds.items()})


def text(path: Path) -> None:
    """A matrix as intrinsics and as extrinsics."""
    read_intrinsics(str(path))
    read_extrinsics(str(path))
    read_extrinsics(str(path), True)


def poses(path: Path) -> None:
    """A frame's transform."""
    Pose.from_json(path.read_bytes(), str(path))


def capture_readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """The readers of captures' files."""
    whole = {"capture": lambda: whole_capture(folder)}
    return text_readers(folder) | media_readers(folder) | whole


def text_readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """The readers of numbers."""

    def at(name: str) -> Path:
        return at_place(folder, name)

    matrix = b"1 0 0 3\n0 1 0 2\n0 0 1 1\n0 0 0 1\n"
    camera = {"K": np.eye(3).tolist(), "T_world_camera": np.eye(4).tolist(), "height": 4, "width": 4}
    path_file = json.dumps({"cameras": [camera, camera]}).encode()
    flow = io.BytesIO()
    np.savez(flow, flow=np.zeros((2, 4, 4), np.float32), confidence=np.ones((4, 4), np.float32))
    return {
        "obj": lambda: Reader(
            "obj",
            at("a.obj"),
            [mesh(c) for c in ("{0}", "{0}/{0}", "{0}//{0}", "{0}/{0}/")],
            lambda p: read_obj(str(p)),
        ),
        "weights_text": lambda: Reader(
            "weights_text", at("w.txt"), [b".5 .5\n1 0\n0 1e0\n" * 3], lambda p: read_weights(str(p))
        ),
        "camera": lambda: Reader(
            "camera", at("c.txt"), [matrix, b"9 0 3\n0 9 3\n0 0 1\n8 8\n", b"9 3 3 0.\n0 0 0\n0\n1\n8 8\n"], text
        ),
        "pose": lambda: Reader(
            "pose", at("p.json"), [json.dumps(pose()).encode(), json.dumps(pose(), indent=1).encode()], poses
        ),
        "tpose": lambda: Reader(
            "tpose",
            at("t.json"),
            [json.dumps({"joints_RT": pose()["joints_RT"]}).encode()],
            lambda p: read_tpose(str(p)),
        ),
        "path": lambda: Reader("path", at("path.json"), [path_file], lambda p: from_file(str(p))),
        "distortion": lambda: Reader(
            "distortion",
            at("d/intri.yml"),
            [b"dist_0: !!m\n  rows: 1\n  data: [ 0.1, 2 ]\n", path_file],
            lambda p: list(distortion_notes(str(p.parent))),
        ),
        "flow": lambda: Reader("flow", at("f.npz"), [flow.getvalue()], lambda p: read_flow(str(p))),
    }


def media_readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """The readers of archives, videos and pictures."""

    def at(name: str) -> Path:
        return at_place(folder, name)

    return {
        "zip": lambda: Reader(
            "zip",
            at("clip/transform.zip"),
            [archive(m) for m in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)],
            read_archive,
        ),
        "avi": lambda: Reader(
            "avi", at("v.avi"), [film(folder, "film.avi", c) for c in ("mjpeg", "ffv1", "h264")], read_video
        ),
        "mp4": lambda: Reader("mp4", at("v.mp4"), [film(folder, "film.mp4", "h264")], read_video),
        "mkv": lambda: Reader("mkv", at("v.mkv"), [film(folder, "film.mkv", c) for c in ("h264", "ffv1")], read_video),
        "png": lambda: Reader(
            "png", at("i.png"), [picture("PNG", m) for m in ("RGB", "RGBA", "P", "L", "1", "I;16")], read_picture
        ),
        "jpeg": lambda: Reader(
            "jpeg",
            at("i.jpg"),
            [picture("JPEG"), picture("JPEG", progressive=True), picture("JPEG", "CMYK")],
            read_picture,
        ),
    }


class _Whole(Reader):
    """A capture: a seed goes where it belongs, and all other files are as they were."""

    def __init__(self, reader: Reader, files: dict[str, bytes]) -> None:
        super().__init__(**vars(reader))
        self.files, self.turn = files, 0
        self.seeds = [name.encode() + b"\n" + data for name, data in files.items()]

    def write(self, data: bytes) -> Path:
        """The seed's first line is its name; where that was damaged, the next file's in turn is taken."""
        for name, sound in self.files.items():
            (self.place / name).write_bytes(sound)
        head, _, body = data.partition(b"\n")
        names = list(self.files)
        self.turn += 1
        name = head.decode(errors="replace")
        name = name if name in names else names[self.turn % len(names)]
        (self.place / name).write_bytes(body)
        return self.place / name
