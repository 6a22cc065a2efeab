"""A tiny capture made from nothing, in the raw or the extracted layout, for tests that need files.

The body is a box-like column with J joints stacked along y; every picture tells its split, frame and camera by its
colors, so that a frame out of place is noticed (`picture`).
"""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from na_ray.capture.trajectory import look_at
from na_ray.capture.video import Codec, VideoWriter

JOINTS = 5
RINGS = 5
SIDES = 6


def column() -> tuple[np.ndarray, np.ndarray]:
    """(vertices (V, 3), faces (F, 3)) of a closed column, 1.6 m high, y up."""
    angles = np.arange(SIDES) * 2 * np.pi / SIDES
    ring = np.stack([0.2 * np.sin(angles), np.zeros(SIDES), 0.2 * np.cos(angles)], axis=1)
    heights = np.linspace(0, 1.6, RINGS)
    vertices = np.concatenate([*(ring + np.array([0, y, 0]) for y in heights), [[0, 0, 0], [0, 1.6, 0]]])
    bottom, top, faces = len(vertices) - 2, len(vertices) - 1, []
    for s in range(SIDES):
        n = (s + 1) % SIDES
        for r in range(RINGS - 1):
            a, b, c, d = (r * SIDES + s, r * SIDES + n, (r + 1) * SIDES + n, (r + 1) * SIDES + s)
            faces += [[a, b, c], [a, c, d]]
        faces += [[bottom, n, s], [top, (RINGS - 1) * SIDES + s, (RINGS - 1) * SIDES + n]]
    return vertices, np.array(faces)


def write_body(folder: Path) -> None:
    """The four body files; each face has a UV triangle of its own."""
    vertices, faces = column()
    points = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    side = int(np.ceil(np.sqrt(len(faces))))
    corners = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)]
    uv = [f"vt {(k % side + u) / side:.6f} {(k // side + v) / side:.6f}" for k in range(len(faces)) for u, v in corners]
    plain = [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    mapped = [f"f {a + 1}/{3 * k + 1} {b + 1}/{3 * k + 2} {c + 1}/{3 * k + 3}" for k, (a, b, c) in enumerate(faces)]
    (folder / "canonical.obj").write_text("\n".join(points + plain) + "\n")
    (folder / "uvmapping.obj").write_text("\n".join(points + uv + mapped) + "\n")
    place = vertices[:, 1] / 1.6 * (JOINTS - 1)
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(JOINTS)), 0, 1)
    (folder / "skinning_weight.txt").write_text("\n".join(" ".join(f"{w:.6f}" for w in row) for row in weights) + "\n")
    joints_RT = np.repeat(np.eye(4)[:, :, None], JOINTS, axis=2)
    (folder / "transform_tpose.json").write_text(json.dumps({"joints_RT": joints_RT.tolist()}))


def write_cameras(folder: Path, cameras: int, resolution: tuple[int, int]) -> None:
    """intrinisc/ and pose/: a ring round the body, 3 m away."""
    height, width = resolution
    K = np.diag([1.2 * width, 1.2 * width, 1.0, 1.0])
    K[:2, 2] = (width - 1) / 2, (height - 1) / 2
    for name in ("intrinisc", "pose"):
        (folder / name).mkdir(parents=True)
    for c in range(cameras):
        angle = 2 * np.pi * c / cameras
        eye = np.array([3 * np.sin(angle), 1.2, 3 * np.cos(angle)])
        pose = look_at(eye, np.array([0, 0.8, 0.0]), np.array([0, 1.0, 0]))
        np.savetxt(folder / "intrinisc" / f"{c:04d}.txt", K, fmt="%.8f")
        np.savetxt(folder / "pose" / f"{c:04d}.txt", pose, fmt="%.8f")


def transform(frame: int, split: str = "training") -> dict[str, list]:
    """The JSON of a frame: the column sways and turns."""
    sway = 0.1 * frame + (0.5 if split == "testing" else 0.0)
    joints_RT = np.repeat(np.eye(4)[:, :, None], JOINTS, axis=2)
    for j in range(1, JOINTS):
        joints_RT[:3, :3, j] = Rotation.from_rotvec([0.05 * j * np.sin(sway), 0, 0]).as_matrix()
    rotation = Rotation.from_rotvec([0, 0.2 * sway, 0]).as_matrix().T
    translation = np.array([[0.02 * frame, 0.0, 0.01]])
    joints = np.stack([np.zeros(JOINTS), np.linspace(0, 1.6, JOINTS), np.zeros(JOINTS)], axis=1)
    values = {
        "translation": translation,
        "rotation": rotation,
        "joints": joints @ rotation + translation,
        "joints_RT": joints_RT,
        "pose": np.full((1, 3 * JOINTS), 0.01 * frame),
        "motion": np.zeros((3, JOINTS, 3)),
    }
    return {key: np.round(value, 8).tolist() for key, value in values.items()}


def picture(split: str, frame: int, camera: int, resolution: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8: stripes whose place is the frame and whose color is the camera, on white."""
    height, width = resolution
    image = np.full((height, width, 3), 255, np.uint8)
    image[height // 4 : -height // 4, width // 4 : -width // 4] = [
        40 + 20 * camera % 200,
        200 if split == "testing" else 90,
        60,
    ]
    image[:, (3 * frame + camera) % width] = [10 * frame % 256, 20, 250]
    return image


def texture(frame: int, size: int) -> np.ndarray:
    """(size, size, 3) uint8: a gradient that moves with the frame."""
    ramp = (np.arange(size)[:, None] * 3 + np.arange(size)[None] * 2 + 11 * frame) % 256
    return np.stack([ramp, 255 - ramp, np.full_like(ramp, 7 * frame % 256)], axis=-1).astype(np.uint8)


def write_tiny_capture(
    folder: Path,
    frames: int = 4,
    cameras: int = 3,
    resolution: tuple[int, int] = (32, 48),
    layout: str = "raw",
    codec: Codec = "ffv1",
    texture_size: int = 32,
    splits: tuple[str, ...] = ("training", "testing"),
) -> Path:
    """Write a whole capture into a new folder and return it. FFV1 keeps `picture` exactly."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_body(folder)
    write_cameras(folder, cameras, resolution)
    for split in splits:
        write_split(folder / split, frames, cameras, resolution, layout, codec, texture_size)
    return folder


def write_split(
    folder: Path,
    frames: int,
    cameras: int,
    resolution: tuple[int, int],
    layout: str,
    codec: Codec,
    texture_size: int,
) -> None:
    """One split, `raw` or `extracted`; its name is the folder's."""
    assert layout in ("raw", "extracted")
    folder.mkdir()
    rgb = [[picture(folder.name, f, c, resolution) for f in range(frames)] for c in range(cameras)]
    maps = [texture(f, texture_size) for f in range(frames)]
    normals = [255 - m for m in maps]
    texts = {f"{f:06d}.json": json.dumps(transform(f, folder.name)) for f in range(frames)}
    if layout == "raw":
        with zipfile.ZipFile(folder / "transform.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
        for c in range(cameras):
            write_video(folder / "rgb_video" / f"{c:03d}.avi", rgb[c], codec)
        write_video(folder / "tex_modifysmpluv0.1_smooth3e-2.avi", maps, codec)
        write_video(folder / "normal_modifysmpluv0.1_smooth3e-2.avi", normals, codec)
        return
    for name, text in texts.items():
        (folder / "transform").mkdir(exist_ok=True)
        (folder / "transform" / name).write_text(text)
    for f in range(frames):
        for c in range(cameras):
            write_picture(folder / "rgb" / f"{f:06d}" / f"{c:04d}.png", rgb[c][f])
        write_picture(folder / "tex" / f"{f:06d}.png", maps[f])
        write_picture(folder / "normal" / f"{f:06d}.png", normals[f])


def write_video(path: Path, pictures: list[np.ndarray], codec: Codec = "ffv1", fps: float = 25) -> None:
    """Pictures (h, w, 3) uint8 as a video."""
    with VideoWriter(str(path), fps, codec) as video:
        for image in pictures:
            video.write(image)


def write_picture(path: Path, image: np.ndarray) -> None:
    """A picture as a file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def rewrite_zip(path: Path, change: dict[str, str | None]) -> None:
    """Replace (or, with None, remove) members of an archive."""
    aside = path.with_suffix(".new")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(aside, "w") as new:
        for name in old.namelist():
            if name not in change:
                new.writestr(name, old.read(name))
        for name, text in change.items():
            if text is not None:
                new.writestr(name, text)
    shutil.move(aside, path)
