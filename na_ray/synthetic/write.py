"""Write the synthetic actor as a complete capture in the raw published layout."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.body.unwrap import unwrap
from na_ray.capture.about import write_about
from na_ray.capture.camera import Camera
from na_ray.capture.publish import (
    check_free,
    check_numbers,
    move_into_place,
    write_cameras,
    write_rig,
    write_transforms,
)
from na_ray.capture.rig import Pose
from na_ray.capture.video import VideoWriter
from na_ray.config.selection import auto_train_views
from na_ray.config.values import AUTO, Progress, parse_indices
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
    check_numbers(frames=frames, test_frames=test_frames, cameras=cameras)
    check_numbers(least=0, seed=seed)
    check_numbers(least=16, resolution=resolution, texture_size=texture_size)
    check_free(out, overwrite)
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
        move_into_place(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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
    write_rig(root, rig, actor.tpose_joints(), tpose_rotvecs())
    write_cameras(root, cameras)
    atlas = Atlas(Body.from_rig(rig), texture_size)
    studio = Studio(actor.wardrobe, actor.style)
    done, total = 0, sum(counts.values())
    for split, clip in clips.items():
        folder = os.path.join(root, split)
        os.makedirs(os.path.join(folder, "rgb_video"))
        poses = [actor.pose(frame) for frame in clip]
        write_transforms(os.path.join(folder, "transform.zip"), poses)
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
