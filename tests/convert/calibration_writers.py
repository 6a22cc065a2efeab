"""Cameras of a scene in other programs' files, from the formats' descriptions alone."""

import json
import struct

import numpy as np
from scipy.spatial.transform import Rotation


def write_colmap(folder, eyes, binary):
    """A model of one image a camera; each with the model OPENCV, and some points that nobody reads."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, eye in enumerate(eyes, 1):
        k1, k2, p1, p2, _ = eye.dist
        fx, fy, cx, cy = eye.K[0, 0], eye.K[1, 1], eye.K[0, 2] + 0.5, eye.K[1, 2] + 0.5
        x, y, z, w = Rotation.from_matrix(eye.R).as_quat()
        rows.append((i, eye, (fx, fy, cx, cy, k1, k2, p1, p2), (w, x, y, z), eye.T))
    if binary:
        cameras, images = struct.pack("<Q", len(rows)), struct.pack("<Q", len(rows))
        for i, eye, values, q, t in rows:
            cameras += struct.pack("<iiQQ8d", i, 4, eye.width, eye.height, *values)
            images += struct.pack("<i7di", i + 40, *q, *t, i) + f"cam_{eye.name}/0001.jpg".encode() + b"\0"
            images += struct.pack("<Q", i) + struct.pack("<ddq", 1.0, 2.0, -1) * i
        (folder / "cameras.bin").write_bytes(cameras)
        (folder / "images.bin").write_bytes(images)
        return folder
    inner, outer = ["# Camera list", "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"], ["# Image list"]
    for i, eye, values, q, t in rows:
        inner.append(f"{i} OPENCV {eye.width} {eye.height} " + " ".join(map(repr, map(float, values))))
        numbers = " ".join(map(repr, map(float, (*q, *t))))
        outer += [f"{i + 40} {numbers} {i} cam_{eye.name}/0001.jpg", "1.0 2.0 -1 3.5 4.5 7" if i % 2 else ""]
    (folder / "cameras.txt").write_text("\n".join(inner) + "\n")
    (folder / "images.txt").write_text("\n".join(outer) + "\n")
    return folder


def write_transforms(path, eyes):
    """nerfstudio's: OpenGL's axes, intrinsics for each frame."""
    frames = []
    for eye in eyes:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = eye.R.T, -eye.R.T @ eye.T
        pose[:3, 1:3] *= -1
        k1, k2, p1, p2, k3 = eye.dist
        frames.append(
            {
                "file_path": f"images/cam_{eye.name}.png",
                "transform_matrix": pose.tolist(),
                **{"fl_x": eye.K[0, 0], "fl_y": eye.K[1, 1], "cx": eye.K[0, 2] + 0.5, "cy": eye.K[1, 2] + 0.5},
                **{"w": eye.width, "h": eye.height, "k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3},
            }
        )
    path.write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))
    return path


def opencv_text(eye):
    """As OpenCV's calibration sample writes its result, with the extrinsics that multi-camera programs add."""

    def matrix(name, values):
        values = np.atleast_2d(values)
        data = ", ".join(f"{v:.17g}" for v in values.reshape(-1))
        rows, columns = values.shape
        return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"

    return (
        f'%YAML:1.0\n---\ncalibration_time: "Thu 01 Jan 2026"\nimage_width: {eye.width}\nimage_height: {eye.height}\n'
        + matrix("camera_matrix", eye.K)
        + matrix("distortion_coefficients", eye.dist.reshape(5, 1))
        + matrix("R", eye.R)
        + matrix("T", eye.T.reshape(3, 1))
    )
