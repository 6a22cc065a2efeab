"""Write the synthetic actor as a complete capture in the raw published layout."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.body.unwrap import unwrap
from na_ray.capture.about import write_about
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.video import VideoWriter
from na_ray.config.selection import auto_train_views
from na_ray.config.values import AUTO, Progress, UserError, parse_indices
from na_ray.synthetic.actor import ActorFrame, SyntheticActor
from na_ray.synthetic.motion import FRAME_RATE
from na_ray.synthetic.scene import film, ring
from na_ray.synthetic.shading import Studio
from na_ray.synthetic.skeleton import tpose_rotvecs

NORMAL_VIDEO = "normal_modifysmpluv0.1_smooth3e-2.avi"
TEXTURE_VIDEO = "tex_modifysmpluv0.1_smooth3e-2.avi"


def write_capture(
    out: str | os.PathLike[str],
    *,
    frames: int = 32,
    test_frames: int = 8,
    cameras: int = 8,
    resolution: int = 128,
    texture_size: int = 256,
    seed: int = 0,
    texture_cameras: str = AUTO,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Film the actor of `seed` walking (`training`) and reaching, bending and dancing (`testing`).

    Images are `resolution` x `resolution`, maps `texture_size` x `texture_size`; the texture maps are unwrapped from
    the views of `texture_cameras` (`auto`: those that training sees by its own `auto`), which `capture.json` names.
    `progress(done, total)` is called after every frame. The same arguments write the same bytes. The capture
    is written aside and renamed when complete. Raises FileExistsError when `out` exists and `overwrite` is not set, and
    UserError for numbers out of range or when `overwrite` would replace something that is no capture.
    """
    out = os.path.abspath(os.fspath(out))
    _check_numbers(frames=frames, test_frames=test_frames, cameras=cameras)
    _check_numbers(least=0, seed=seed)
    _check_numbers(least=16, resolution=resolution, texture_size=texture_size)
    _check_free(out, overwrite)
    chosen = (
        auto_train_views(cameras)
        if texture_cameras == AUTO
        else parse_indices(texture_cameras, cameras, "--texture-cameras")
    )
    aside = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        counts = {"training": frames, "testing": test_frames}
        _write(aside, counts, cameras, chosen, resolution, texture_size, seed, progress)
        write_about(aside, "na-ray synth", (0.0, 1.0, 0.0), float(FRAME_RATE), chosen)
        _move(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_numbers(least: int = 1, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise UserError(f"{name} is {value}: it must be at least {least}")


def _check_free(out: str, overwrite: bool) -> None:
    if not os.path.lexists(out) or (os.path.isdir(out) and not os.listdir(out)):
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists: choose another folder, or allow overwriting")
    if not os.path.isfile(os.path.join(out, "canonical.obj")):
        raise UserError(f"{out} is no capture (it holds no canonical.obj): it will not be overwritten, remove it first")


def _move(aside: str, out: str) -> None:
    """Rename the finished capture; what it replaces leaves only then."""
    old = aside + ".old"
    if os.path.lexists(out):
        os.rename(out, old)
    os.rename(aside, out)
    shutil.rmtree(old, ignore_errors=True)


def _write(
    root: str,
    counts: dict[str, int],
    num_cameras: int,
    texture_cameras: Sequence[int],
    resolution: int,
    texture_size: int,
    seed: int,
    progress: Progress | None,
) -> None:
    actor = SyntheticActor(seed)
    clips = {split: actor.clip(split, count) for split, count in counts.items()}
    outline = np.concatenate([actor.outline(frame) for clip in clips.values() for frame in clip])
    cameras = ring(num_cameras, resolution, outline, seed)
    rig = actor.rig()
    os.makedirs(root)
    _write_rig(root, rig, actor)
    _write_cameras(root, cameras)
    atlas = Atlas(Body.from_rig(rig), texture_size)
    studio = Studio(actor.wardrobe, actor.style)
    done, total = 0, sum(counts.values())
    for split, clip in clips.items():
        folder = os.path.join(root, split)
        os.makedirs(os.path.join(folder, "rgb_video"))
        poses = [actor.pose(frame) for frame in clip]
        _write_transforms(os.path.join(folder, "transform.zip"), poses)
        for _ in _film_clip(folder, actor, studio, atlas, cameras, texture_cameras, clip, poses):
            done += 1
            if progress is not None:
                progress(done, total)


def _film_clip(
    folder: str,
    actor: SyntheticActor,
    studio: Studio,
    atlas: Atlas,
    cameras: Sequence[Camera],
    texture_cameras: Sequence[int],
    clip: Sequence[ActorFrame],
    poses: Sequence[Pose],
) -> Iterator[None]:
    """Write the videos of a split, frame by frame; yields after each frame."""
    with ExitStack() as stack:

        def video(*names: str) -> VideoWriter:
            return stack.enter_context(VideoWriter(os.path.join(folder, *names), FRAME_RATE, "mjpeg"))

        # Ray queries and NumPy's loops let other threads run; each picture is one thread's.
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        views = [video("rgb_video", f"{k:03d}.avi") for k in range(len(cameras))]
        normals, textures = video(NORMAL_VIDEO), video(TEXTURE_VIDEO)
        for frame, pose in zip(clip, poses, strict=True):
            stage = studio.light(actor.dressed(frame))
            images = list(pool.map(partial(film, studio, stage), cameras))
            for view, image in zip(views, images, strict=True):
                view.write(image[..., :3])
            posed = atlas.body.pose(pose)
            normals.write(atlas.normal_map(posed).numpy())
            seen, through = [images[c] for c in texture_cameras], [cameras[c] for c in texture_cameras]
            textures.write(unwrap(atlas, seen, through, posed).numpy())
            yield


def _write_rig(root: str, rig: Rig, actor: SyntheticActor) -> None:
    vertices = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in rig.vertices)
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in rig.faces + 1)
    _write_text(root, "canonical.obj", vertices + faces)
    coordinates = "".join(f"vt {u:.6f} {v:.6f}\n" for u, v in rig.uv)
    corners = zip(rig.faces + 1, rig.uv_faces + 1, strict=True)
    faces = "".join(f"f {a}/{i} {b}/{j} {c}/{k}\n" for (a, b, c), (i, j, k) in corners)
    _write_text(root, "uvmapping.obj", vertices + coordinates + faces)
    weights = "".join(" ".join(f"{w:.7f}" for w in row) + "\n" for row in rig.weights)
    _write_text(root, "skinning_weight.txt", weights)
    tpose = {
        "joints": _numbers(actor.tpose_joints()),
        "joints_RT": _numbers(rig.tpose.transpose(1, 2, 0)),
        "pose": _numbers(tpose_rotvecs().reshape(1, -1)),
    }
    _write_text(root, "transform_tpose.json", json.dumps(tpose))


def _write_cameras(root: str, cameras: Sequence[Camera]) -> None:
    for k, camera in enumerate(cameras):
        _write_text(os.path.join(root, "intrinisc"), f"{k:04d}.txt", _matrix(camera.K, "%.6f"))
        _write_text(os.path.join(root, "pose"), f"{k:04d}.txt", _matrix(camera.T_world_camera, "%.9f"))


def _write_transforms(path: str, poses: Sequence[Pose]) -> None:
    """One JSON per frame; `motion` holds the joints of the last three frames, the first ones repeated."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, pose in enumerate(poses):
            assert pose.pose is not None
            values = {
                "translation": _numbers(pose.translation[None]),
                "rotation": _numbers(pose.rotation),
                "joints": _numbers(pose.joints),
                "joints_RT": _numbers(pose.joints_RT.transpose(1, 2, 0)),
                "pose": _numbers(pose.pose[None]),
                "motion": [_numbers(poses[max(i - back, 0)].joints) for back in (2, 1, 0)],
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
