"""What a film is made of, from what the user says: the actor's training, the texture maps, the cameras."""

from collections.abc import Sequence

import numpy as np

from na_ray.actor import Actor
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.framing import Extent, check_seen, from_opengl, holding
from na_ray.capture.rig import Rig
from na_ray.capture.textures import Textures
from na_ray.capture.trajectory import interpolate, orbit, spiral
from na_ray.checkpoint import Predictor, TrainedAvatar
from na_ray.config import Experiment, parse_indices
from na_ray.config.selection import select_frames
from na_ray.config.values import UserError
from na_ray.formats.joint_names import parts_of
from na_ray.formats.nerfstudio import read_cameras
from na_ray.motion.film_textures import FilmTextures, GivenTextures, OneTexture, PredictedTextures
from na_ray.motion.posed import PoseSource
from na_ray.motion.sources import OpenedMotion
from na_ray.motion.textures import MeanTexture
from na_ray.motion.trained_poses import TrainedPoses

ROUND = 16
"""Places on an orbit from which its distance is found."""


def training_capture(config: Experiment, rig: Rig, given: str | None) -> Capture:
    """The capture that an actor was trained on, where it was or where it is said to be now."""
    place = given or config.capture
    missing = "says where the actor's joints are at rest: name the capture it was trained on, --capture PATH"
    if not place:
        raise UserError(f"the actor does not say which capture it was trained on, which {missing}")
    try:
        capture = Capture.open(place)
    except FileNotFoundError as error:
        raise UserError(f"{error}; it {missing}") from None
    name = config.data.train_split
    if name not in capture.splits:
        raise UserError(f"{place}: no split {name!r}, which {missing}")
    if not np.array_equal(rig.vertices, capture.split(name).rig.vertices):
        raise UserError(f"{place}: its body is not the actor's: name the capture it was trained on, --capture PATH")
    return capture


def trained_poses(actor: Actor, config: Experiment, capture: Capture | None) -> TrainedPoses:
    """What an actor was trained on: `capture` where one is given (`training_capture`), else what its folder keeps."""
    if capture is not None:
        split = capture.split(config.data.train_split)
        return TrainedPoses.of(split, select_frames(config.data, split.num_frames), split.rig)
    return TrainedPoses.of_poses(actor.poses(), actor.skeleton(), actor.rig, actor.up.astype(np.float64))


def choose_film_textures(
    word: str | None,
    actor: TrainedAvatar,
    predictor: Predictor | None,
    capture: Capture | None,
    motion: OpenedMotion,
    frames: Sequence[int],
) -> FilmTextures:
    """The texture maps that `--textures` names: `predicted`, `own`, `mean`, or what `Textures.open` opens; None:
    predicted where there is a predictor, else the mean. Raises UserError, one line, where there are none."""
    if word == "predicted" and predictor is None:
        raise UserError(
            "--textures predicted: the actor has no texture predictor: train its texture stage, or take mean"
        )
    if predictor is not None and word in ("predicted", None):
        return PredictedTextures(predictor)
    if word in ("mean", None):
        mean = MeanTexture.find(actor, capture)
        return OneTexture(f"texture maps: mean, {mean.source}", mean.map)
    split = motion.split
    if split is None:
        raise UserError(
            f"--textures {word}: {motion.name} is a motion of another program, or at another frame rate: "
            "its frames have no texture maps: take predicted or mean"
        )
    positions = [motion.positions[frame] for frame in frames]
    if word == "own":
        if not split.has_textures:
            raise UserError(f"--textures own: {split.files.folder} has no texture maps: take predicted or mean")
        return GivenTextures(f"texture maps: own, those of {split.name}", split, positions, f"own {split.files.folder}")
    given = Textures.open(str(word), split, positions)
    return GivenTextures(f"texture maps: given, {given.source}", given, positions, f"given {given.source}")


def extent_of(poses: PoseSource, frames: Sequence[int], trained: TrainedPoses) -> Extent:
    """Where a motion takes place."""
    parts = parts_of(trained.skeleton.names)
    pairs = [
        (parts[f"left_{p}"], parts[f"right_{p}"])
        for p in ("hip", "shoulder")
        if {f"left_{p}", f"right_{p}"} <= {*parts}
    ]
    return Extent.of((poses.pose(frame) for frame in frames), trained.up, pairs[0] if pairs else None, trained.around)


def choose_cameras(
    choice: str,
    poses: PoseSource,
    frames: Sequence[int],
    trained: TrainedPoses,
    size: int | None,
    recorded: Split | None,
) -> list[Camera]:
    """Cameras for frames of a motion, one or one a frame: `still`, `orbit`, `spiral`, a JSON file of ours or
    nerfstudio's, or recorded ones (`3`, or `0,4,8` to move between them) of `recorded`.

    `size`: the longer side, pixels; None: 512, or as the cameras say. Raises UserError, one line, for cameras that see
    nobody.
    """
    if choice in ("still", "orbit", "spiral"):
        extent = extent_of(poses, frames, trained)
        square = (size or 512, size or 512)
        if choice == "still":
            return [holding(extent, square)]
        if choice == "spiral":
            return spiral(_farthest(extent, square), extent.center, len(frames), up=extent.up)
        return orbit(_farthest(extent, square), extent.center, len(frames), up=extent.up)
    if choice.lower().endswith(".json"):
        return cameras_of_file(choice, poses, frames, size)
    return _sized(_recorded(choice, recorded, len(frames)), size)


def cameras_of_file(path: str, poses: PoseSource, frames: Sequence[int], size: int | None) -> list[Camera]:
    """Cameras of a JSON file of ours or nerfstudio's, one or one a frame, `size` as in `choose_cameras`; those of ours
    that were written in OpenGL's axes are turned.

    Raises UserError, one line, for another number of them, or where they see nobody.
    """
    cameras = read_cameras(path)
    if len(cameras) not in (1, len(frames)):
        found = f"{path} holds {len(cameras)} cameras for {len(frames)} frames"
        raise UserError(f"{found}: give one, or one a frame (na-ray cameras --num-frames {len(frames)})")
    some = np.unique(np.linspace(0, len(frames) - 1, 32).round().astype(int)).tolist()
    given = [cameras[i if len(cameras) > 1 else 0] for i in some]
    seeing = check_seen(given, [poses.pose(frames[i]) for i in some], path)
    if seeing is not given:
        print(f"{path}: written in OpenGL's axes (y up, z backward), and turned to OpenCV's")
        cameras = [from_opengl(camera) for camera in cameras]
    return _sized(cameras, size)


def _sized(cameras: list[Camera], size: int | None) -> list[Camera]:
    """The same with pictures whose longer side is `size`."""
    if size is None:
        return cameras
    factors = [size / max(camera.height, camera.width) for camera in cameras]
    return [c.resized(round(c.height * f), round(c.width * f)) for c, f in zip(cameras, factors, strict=True)]


def _recorded(choice: str, recorded: Split | None, count: int) -> list[Camera]:
    if recorded is None or recorded.files.kind == "poses":
        expected = "expected still, orbit, spiral, or a .json of na-ray cameras or nerfstudio"
        raise UserError(f"--camera {choice}: no filmed capture is at hand; {expected}")
    filmed = recorded.cameras
    chosen = [filmed[i] for i in parse_indices(choice, len(filmed), "--camera")]
    return chosen if len(chosen) == 1 else interpolate(chosen, count)


def _farthest(extent: Extent, size: tuple[int, int]) -> Camera:
    """Of the cameras round a motion that hold it, the one that stands farthest, looking at its middle from ahead."""
    around = [holding(extent, size, azimuth=360 * k / ROUND) for k in range(ROUND)]
    reach = max(float(np.linalg.norm(camera.center - extent.center)) for camera in around)
    front = holding(extent, size)
    away = front.center - extent.center
    T = front.T_world_camera.copy()
    T[:3, 3] = extent.center + away * reach / np.linalg.norm(away)
    return Camera("orbit", front.K, T, front.height, front.width)
