"""Sound files of other programs' sequences for `benchmarks/fuzz.py`, and the readers that get them."""

import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from fuzz_files import Reader, at_place

from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import SMPL_PARENTS
from na_ray.convert.cameras_alone import read_calibration
from na_ray.export.glb import Joints, write_glb
from na_ray.formats.easymocap import people_of, read_cameras
from na_ray.formats.rigged_glb import read_glb
from na_ray.formats.smpl_body import read_smpl_body
from na_ray.formats.zju_mocap import read_annotations, read_params

OPENCV: dict[str, Any] = {"K": np.eye(3), "D": [0.0] * 5, "R": np.eye(3), "T": [[0], [0], [3]]}
CAMERAS, VERTICES, JOINTS = 2, 30, 24


class Runs:
    """A pickle that writes a file, if it is let."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def matrix(name: str, values: Any) -> str:
    """As OpenCV writes one."""
    values = np.atleast_2d(np.asarray(values, np.float64))
    data = ", ".join(map(repr, values.reshape(-1).tolist()))
    rows, columns = values.shape
    return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"


def calibration() -> tuple[bytes, bytes]:
    """intri.yml and extri.yml."""
    head = '%YAML:1.0\n---\nnames:\n   - "1"\n   - "02"\n'
    inner, outer = head, head
    for name in ("1", "02"):
        inner += matrix(f"K_{name}", [[90, 0, 48], [0, 90, 36], [0, 0, 1]]) + matrix(f"dist_{name}", [0.1, 0, 0, 0, 0])
        inner += f"H_{name}: 72\nW_{name}: 96\n"
        outer += matrix(f"R_{name}", [[0.1], [0.2], [0.3]]) + matrix(f"T_{name}", [[0], [0], [3]])
    return inner.encode(), outer.encode()


def annotations() -> dict[str, Any]:
    """What annots.npy holds."""
    K = np.array([[90.0, 0, 48], [0, 90, 36], [0, 0, 1]])
    column = {"K": K, "R": np.eye(3), "T": np.array([[0.0], [0], [3000]]), "D": np.zeros((5, 1))}
    ims = [{"ims": [f"Camera_{c}/{f:06d}.jpg" for c in range(CAMERAS)], "kpts2d": np.zeros((2, 3))} for f in range(2)]
    return {"cams": {key: [value] * CAMERAS for key, value in column.items()}, "ims": ims}


def model(joints: int = JOINTS) -> dict[str, Any]:
    """A body model."""
    rng = np.random.default_rng(0)
    points = rng.random((VERTICES, 3))
    points[0, 1], points[1, 1] = 0, 1.7
    return {
        "v_template": points,
        "f": rng.integers(0, VERTICES, (8, 3)).astype(np.uint32),
        "weights": np.eye(joints)[np.arange(VERTICES) % joints],
        "J_regressor": np.full((joints, VERTICES), 1 / VERTICES),
        "shapedirs": rng.random((VERTICES, 3, 10)),
        "posedirs": np.zeros((VERTICES, 3, 9 * (joints - 1)), np.float32),
        "kintree_table": np.array([SMPL_PARENTS, range(joints)]),
    }


def npy(value: Any) -> bytes:
    """A saved object."""
    held = io.BytesIO()
    np.save(held, value, allow_pickle=True)
    return held.getvalue()


def npz(**arrays: Any) -> bytes:
    """Saved arrays."""
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def colmap() -> dict[str, bytes]:
    """A model, as text and as binary."""
    cameras = struct.pack("<Q", 1) + struct.pack("<iiQQ4d", 1, 1, 96, 72, 90, 90, 48, 36)
    images, lines = struct.pack("<Q", CAMERAS), []
    for i in range(CAMERAS):
        images += struct.pack("<i7di", i, 1, 0, 0, 0, 0, 0, 3, 1) + f"cam{i}/0.jpg".encode() + b"\0"
        images += struct.pack("<Q", 1) + struct.pack("<ddq", 1, 2, -1)
        lines += [f"{i} 1 0 0 0 0 0 3 1 cam{i}/0.jpg", "1 2 -1"]
    return {
        "cameras.bin": cameras,
        "images.bin": images,
        "cameras.txt": b"# Camera list\n1 OPENCV 96 72 90 90 48 36 0.1 0 0 0\n",
        "images.txt": "\n".join([*lines, ""]).encode(),
    }


def transforms() -> bytes:
    """nerfstudio's."""
    pose = np.eye(4).tolist()
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": pose} for i in range(CAMERAS)]
    head = {"camera_model": "OPENCV", "fl_x": 90.0, "fl_y": 90.0, "cx": 48.0, "cy": 36.0, "w": 96, "h": 72, "k1": 0.1}
    return json.dumps(head | {"frames": frames}).encode()


def skinned(folder: Path) -> bytes:
    """A rigged .glb."""
    rng = np.random.default_rng(0)
    points = rng.random((4, 3)).astype(np.float32)
    faces, eye = np.array([[0, 1, 2], [1, 2, 3]]), np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    weights = np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 1]], np.float32)
    rig = Rig(points, faces, points[:, :2].copy(), faces, weights, eye)
    still = Pose(eye, np.eye(3, dtype=np.float32), np.zeros(3, np.float32), points[:2])
    joints = Joints(["hips", "spine"], [-1, 0])
    write_glb(folder / "seed.glb", rig, [still, still], np.zeros((2, 2, 3), np.uint8), joints=joints)
    return (folder / "seed.glb").read_bytes()


def beside(folder: Path, name: str, others: dict[str, bytes], read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader of a folder of which one file is damaged."""

    def reads(path: Path) -> None:
        for other, data in others.items():
            if other != path.name:
                (path.parent / other).write_bytes(data)
        read(path.parent)

    at_place(folder, name)
    return reads


def sequence_readers(folder: Path, canary: Path) -> dict[str, Callable[[], Reader]]:
    """The readers of sequences' files. `canary`: what a hostile pickle would write."""
    inner, outer = calibration()
    person = {"id": 0, "Rh": [[0.0] * 3], "Th": [[0.0] * 3], "poses": [[0.0] * 72], "shapes": [[0.0] * 10]}
    params = {"poses": np.zeros((1, 72)), "Rh": np.zeros((1, 3)), "Th": np.zeros((1, 3)), "shapes": np.zeros((1, 10))}
    pickled = model() | {"J_regressor": scipy.sparse.csc_matrix(model()["J_regressor"])}
    solved = colmap()
    binary = {name: data for name, data in solved.items() if name.endswith(".bin")}
    text = {name: data for name, data in solved.items() if name.endswith(".txt")}

    def one(name: str, seeds: list[bytes], read: Callable[[Path], Any], hostile: bool = False) -> Callable[[], Reader]:
        kind = name.split("/")[0]
        return lambda: Reader(kind, at_place(folder, name), seeds, read, hostile)

    def calibrated(path: Path) -> None:
        read_cameras(str(path))

    def solution(path: Path) -> None:
        read_calibration(str(path))

    runs = [npy(Runs(canary)), pickle.dumps({"f": Runs(canary)}, 2)]
    both = {"intri.yml": inner, "extri.yml": outer}
    return {
        "intri.yml": one("intri.yml/intri.yml", [inner], beside(folder, "intri.yml/intri.yml", both, calibrated)),
        "extri.yml": one("extri.yml/extri.yml", [outer], beside(folder, "extri.yml/extri.yml", both, calibrated)),
        "opencv.yml": one(
            "opencv.yml/a.yml",
            ["".join(matrix(key, value) for key, value in OPENCV.items()).encode()],
            lambda p: read_calibration(str(p)),
        ),
        "people.json": one(
            "people.json/0.json",
            [json.dumps([person]).encode(), json.dumps({"annots": [person, person | {"id": 1}]}, indent=1).encode()],
            lambda p: people_of(str(p)),
        ),
        "annots.npy": one(
            "annots.npy/annots.npy", [npy(annotations()), runs[0]], lambda p: read_annotations(str(p)), True
        ),
        "params.npy": one("params.npy/0.npy", [npy(params)], lambda p: read_params(str(p.parent))),
        "model.npz": one("model.npz/a.npz", [npz(**model())], lambda p: read_smpl_body(str(p))),
        "model.pkl": one(
            "model.pkl/a.pkl",
            [*(pickle.dumps(pickled, protocol) for protocol in (0, 2, 4)), runs[1]],
            lambda p: read_smpl_body(str(p)),
            True,
        ),
        **{
            f"colmap_{name}": one(
                f"colmap_{name}/{name}", [data], beside(folder, f"colmap_{name}/{name}", all_of, solution)
            )
            for all_of in (binary, text)
            for name, data in all_of.items()
        },
        "transforms.json": one("transforms.json/transforms.json", [transforms()], lambda p: read_calibration(str(p))),
        "rig.glb": one("rig.glb/a.glb", [skinned(folder)], lambda p: read_glb(str(p))),
    }
