"""The synthetic actor as a sequence of EasyMocap: what `na-ray convert easymocap` reads, made from nothing.

intri.yml  extri.yml  images/1/000000.jpg ...  mask/1/000000.png ...  smpl/000000.json ...  keypoints3d/000000.json ...
body_model.npz  uvmapping.obj        a model with the keys of SMPL's files, whose rest is this actor's, and its UVs
"""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from scipy.spatial.transform import Rotation

from na_ray.capture.camera import Camera
from na_ray.capture.publish import check_numbers, move_into_place, uv_text
from na_ray.capture.skeleton import SMPL_JOINTS
from na_ray.config.values import Progress, UserError
from na_ray.formats.body25 import SMPL_NAMES
from na_ray.synthetic.actor import ActorFrame, SyntheticActor
from na_ray.synthetic.scene import film, ring
from na_ray.synthetic.shading import Studio
from na_ray.synthetic.skeleton import PARENTS, REST

MODEL, UV = "body_model.npz", "uvmapping.obj"


def write_sequence(
    out: str | os.PathLike[str],
    *,
    frames: int = 32,
    test_frames: int = 8,
    cameras: int = 8,
    resolution: int = 128,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Film the actor of `seed`: `frames` of the walk, then `test_frames` of the routine, in one sequence.

    `progress(done, total)` is called after every frame. The same arguments write the same bytes. Written aside and
    renamed when complete. Raises FileExistsError when `out` exists and `overwrite` is not set.
    """
    out = os.path.abspath(os.fspath(out))
    check_numbers(frames=frames, cameras=cameras)
    check_numbers(least=0, seed=seed, test_frames=test_frames)
    check_numbers(least=16, resolution=resolution)
    if os.path.lexists(out) and os.listdir(out):
        if not overwrite:
            raise FileExistsError(f"{out} exists: choose another folder, or allow overwriting")
        if not os.path.isfile(os.path.join(out, "intri.yml")):
            raise UserError(
                f"{out} is no sequence (it holds no intri.yml): it will not be overwritten, remove it first"
            )
    aside = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write(aside, frames, test_frames, cameras, resolution, seed, progress)
        move_into_place(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(
    root: str, frames: int, test_frames: int, num_cameras: int, resolution: int, seed: int, progress: Progress | None
) -> None:
    actor = SyntheticActor(seed)
    clip = actor.clip("training", frames) + (actor.clip("testing", test_frames) if test_frames else [])
    cameras = ring(num_cameras, resolution, np.concatenate([actor.outline(frame) for frame in clip]), seed)
    for folder in ("smpl", "keypoints3d"):
        os.makedirs(os.path.join(root, folder))
    intrinsics, extrinsics = calibration_texts(cameras)
    _write_text(root, "intri.yml", intrinsics)
    _write_text(root, "extri.yml", extrinsics)
    _write_model(root, actor)
    studio = Studio(actor.wardrobe, actor.style)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, frame in enumerate(clip):
            _write_text(root, f"smpl/{i:06d}.json", json.dumps(_people(actor, frame)))
            _write_text(root, f"keypoints3d/{i:06d}.json", json.dumps(_keypoints(actor, frame)))
            stage = studio.light(actor.dressed(frame))
            for k, image in enumerate(pool.map(partial(film, studio, stage), cameras), 1):
                _save(image[..., :3], os.path.join(root, "images", str(k)), f"{i:06d}.jpg", quality=98, subsampling=0)
                # An outline, and not the coverage: the set is white already, and edges would be blended with it twice.
                outline = np.where(image[..., 3] > 0, 255, 0).astype(np.uint8)
                _save(outline, os.path.join(root, "mask", str(k)), f"{i:06d}.png")
            if progress is not None:
                progress(i + 1, len(clip))


def _save(image: ndarray, folder: str, name: str, **options: Any) -> None:
    os.makedirs(folder, exist_ok=True)
    Image.fromarray(image).save(os.path.join(folder, name), **options)


def calibration_texts(cameras: Sequence[Camera]) -> tuple[str, str]:
    """(intri.yml, extri.yml) of cameras that are called 1, 2, ..., as OpenCV writes them."""
    head = "%YAML:1.0\n---\nnames:\n" + "".join(f'   - "{k}"\n' for k in range(1, len(cameras) + 1))
    inner, outer = head, head
    for k, camera in enumerate(cameras, 1):
        inner += _matrix(f"K_{k}", camera.K) + _matrix(f"dist_{k}", np.zeros((1, 5)))
        inner += f"H_{k}: {camera.height}\nW_{k}: {camera.width}\n"
        R = camera.T_world_camera[:3, :3].T
        outer += _matrix(f"R_{k}", Rotation.from_matrix(R).as_rotvec()[:, None])
        outer += _matrix(f"Rot_{k}", R) + _matrix(f"T_{k}", -(R @ camera.center)[:, None])
    return inner, outer


def _matrix(name: str, values: Float[ndarray, "r c"]) -> str:
    rows, columns = values.shape
    data = ", ".join(f"{v:.16e}" for v in values.reshape(-1))
    return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"


def _people(actor: SyntheticActor, frame: ActorFrame) -> list[dict]:
    """V = R(Rh) X(poses) + Th; the model rests with its pelvis at the origin."""
    pose = actor.pose(frame)
    assert pose.pose is not None
    turn = Rotation.from_matrix(pose.rotation.T.astype(np.float64)).as_rotvec()
    rows = {"Rh": turn, "Th": pose.translation, "poses": pose.pose, "shapes": np.zeros(10)}
    return [{"id": 0} | {key: [np.round(row.astype(np.float64), 9).tolist()] for key, row in rows.items()}]


def _keypoints(actor: SyntheticActor, frame: ActorFrame) -> list[dict]:
    """OpenPose's 25 joints, of which those that the actor has were found; the last column is the confidence."""
    points = np.zeros((25, 4))
    for name, k in SMPL_NAMES.items():
        points[k] = [*actor.pose(frame).joints[SMPL_JOINTS.index(name)], 1]
    return [{"id": 0, "keypoints3d": np.round(points, 9).tolist()}]


def _write_model(root: str, actor: SyntheticActor) -> None:
    """Keys as in SMPL's files. Its first shape coefficient is the stature: a hundredth a unit."""
    rig = actor.rig()
    vertices, joints = rig.vertices.astype(np.float64), actor.style.stature * REST
    # The least numbers whose mean of the vertices is the joint.
    system = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    regressor = np.linalg.pinv(system) @ np.concatenate([joints.T, np.ones((1, len(joints)))])
    shapedirs = np.zeros((*vertices.shape, 10))
    shapedirs[..., 0] = 0.01 * vertices
    arrays = {
        "v_template": vertices,
        "f": rig.faces.astype(np.uint32),
        "weights": rig.weights.astype(np.float64),
        "J_regressor": regressor.T,
        "shapedirs": shapedirs,
        "kintree_table": np.array([[p % 2**32 for p in PARENTS], range(len(PARENTS))], np.uint32),
    }
    np.savez(os.path.join(root, MODEL), **arrays)
    _write_text(root, UV, uv_text(rig))


def _write_text(root: str, name: str, text: str) -> None:
    with open(os.path.join(root, name), "w", encoding="ascii", newline="\n") as file:
        file.write(text)
