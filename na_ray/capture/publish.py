"""Writing the files of the published layout: body, cameras, transforms; and a capture as a whole, or none."""

import contextlib
import fcntl
import json
import os
import shutil
import zipfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig
from na_ray.config.values import UserError


def check_numbers(least: int = 1, **numbers: int) -> None:
    """Raise UserError for a number below the least that is allowed."""
    for name, value in numbers.items():
        if value < least:
            raise UserError(f"{name} is {value}: it must be at least {least}")


@contextlib.contextmanager
def only_writer(out: str) -> Iterator[None]:
    """Keep other processes from writing a folder meanwhile, by a lock beside it that ends with this one, however it
    ends. Raises UserError, one line, where another process writes there."""
    folder, name = os.path.split(os.path.abspath(out))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(PermissionError, FileNotFoundError):  # no place for a lock: what writes will say so
            stack.enter_context(_locked(os.path.join(folder, f".{name}.lock"), out))
        yield


@contextlib.contextmanager
def _locked(path: str, out: str) -> Iterator[IO[str]]:
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{out}: another na-ray is writing it: wait, or name another folder") from None
            except OSError:  # a file system without locks
                yield file
                return
            if not os.path.exists(path) or os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
                continue  # the one before has just removed it
            try:
                yield file
            finally:
                os.unlink(path)
            return


def check_free(out: str, overwrite: bool) -> None:
    """Raise FileExistsError where a folder is in the way; with `overwrite`, UserError where it is no capture."""
    if not os.path.lexists(out) or (os.path.isdir(out) and not os.listdir(out)):
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists: choose another folder, or allow overwriting")
    if not os.path.isfile(os.path.join(out, "canonical.obj")):
        raise UserError(f"{out} is no capture (it holds no canonical.obj): it will not be overwritten, remove it first")


def move_into_place(aside: str, out: str) -> None:
    """Rename the finished capture; what it replaces leaves only then."""
    old = aside + ".old"
    if os.path.lexists(out):
        os.rename(out, old)
    os.rename(aside, out)
    shutil.rmtree(old, ignore_errors=True)


def write_rig(root: str, rig: Rig, tpose_joints: Float[ndarray, "j 3"], tpose_rotvecs: Float[ndarray, "j 3"]) -> None:
    """The four body files. `tpose_joints` (m), `tpose_rotvecs`: the joints of the T pose, and the turns to it."""
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in rig.faces + 1)
    _write_text(root, "canonical.obj", _vertex_lines(rig) + faces)
    _write_text(root, "uvmapping.obj", uv_text(rig))
    weights = "".join(" ".join(f"{w:.7f}" for w in row) + "\n" for row in rig.weights)
    _write_text(root, "skinning_weight.txt", weights)
    tpose = {
        "joints": _numbers(tpose_joints),
        "joints_RT": _numbers(rig.tpose.transpose(1, 2, 0)),
        "pose": _numbers(tpose_rotvecs.reshape(1, -1)),
    }
    _write_text(root, "transform_tpose.json", json.dumps(tpose))


def _vertex_lines(rig: Rig) -> str:
    return "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in rig.vertices)


def uv_text(rig: Rig) -> str:
    """The mesh with its texture coordinates, as OBJ."""
    coordinates = "".join(f"vt {u:.6f} {v:.6f}\n" for u, v in rig.uv)
    corners = zip(rig.faces + 1, rig.uv_faces + 1, strict=True)
    faces = "".join(f"f {a}/{i} {b}/{j} {c}/{k}\n" for (a, b, c), (i, j, k) in corners)
    return _vertex_lines(rig) + coordinates + faces


def write_cameras(root: str, cameras: Sequence[Camera]) -> None:
    """`intrinisc/` and `pose/`, numbered by position."""
    for k, camera in enumerate(cameras):
        _write_text(os.path.join(root, "intrinisc"), f"{k:04d}.txt", _matrix(camera.K, "%.6f"))
        _write_text(os.path.join(root, "pose"), f"{k:04d}.txt", _matrix(camera.T_world_camera, "%.9f"))


def write_transforms(path: str, poses: Sequence[Pose], starts: Sequence[int] = (0,)) -> None:
    """One JSON per frame; `motion` holds the joints of the last three frames, the first ones repeated.

    `starts`: the positions, ascending from 0, before which the motion is another one or is not known.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, pose in enumerate(poses):
            assert pose.pose is not None
            first = starts[bisect_right(starts, i) - 1]
            values = {
                "translation": _numbers(pose.translation[None]),
                "rotation": _numbers(pose.rotation),
                "joints": _numbers(pose.joints),
                "joints_RT": _numbers(pose.joints_RT.transpose(1, 2, 0)),
                "pose": _numbers(pose.pose[None]),
                "motion": [_numbers(poses[max(i - back, first)].joints) for back in (2, 1, 0)],
            }
            # A fixed date: the same capture has the same bytes.
            member = zipfile.ZipInfo(f"{i:06d}.json", date_time=(2024, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, json.dumps(values))


def _numbers(array: Float[ndarray, "..."]) -> list:
    return np.round(array.astype(np.float64), 7).tolist()


def _matrix(matrix: Float[ndarray, "r c"], form: str) -> str:
    return "".join(" ".join(form % x for x in row) + "\n" for row in matrix)


def _write_text(folder: str, name: str, text: str) -> None:
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="ascii", newline="\n") as file:
        file.write(text)
