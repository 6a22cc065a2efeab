"""Writes a scene as EasyMocap's folders are, from the description of the format alone."""

import json

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from na_ray.capture.video import VideoWriter


def matrix_text(name, values):
    """A matrix as OpenCV's FileStorage prints it: three numbers a line."""
    values = np.atleast_2d(values)
    numbers = [f"{v:.16e}" if v != round(v) else f"{v:.0f}." for v in values.reshape(-1)]
    lines = [", ".join(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
    body = ",\r\n       ".join(lines)
    rows, columns = values.shape
    return f"{name}: !!opencv-matrix\r\n   rows: {rows}\r\n   cols: {columns}\r\n   dt: d\r\n   data: [ {body} ]\r\n"


def calibration_texts(eyes, sizes=True):
    """(intri.yml, extri.yml)."""
    head = "%YAML:1.0\r\n---\r\nnames:\r\n" + "".join(f'   - "{eye.name}"\r\n' for eye in eyes)
    inner, outer = head, head
    for eye in eyes:
        inner += matrix_text(f"K_{eye.name}", eye.K) + matrix_text(f"dist_{eye.name}", eye.dist.reshape(-1, 1))
        if sizes:
            inner += f"H_{eye.name}: {eye.height}\r\nW_{eye.name}: {eye.width}\r\n"
        turn = Rotation.from_matrix(eye.R).as_rotvec()
        outer += matrix_text(f"R_{eye.name}", turn.reshape(3, 1)) + matrix_text(f"Rot_{eye.name}", eye.R)
        outer += matrix_text(f"T_{eye.name}", eye.T.reshape(3, 1))
    return inner, outer


def person(scene, frame, who=0):
    """The record of a tracked person."""
    return {
        "id": who,
        "Rh": [scene.Rh[frame].tolist()],
        "Th": [scene.Th[frame].tolist()],
        "poses": [scene.poses[frame].tolist()],
        "shapes": [scene.betas.tolist()],
    }


def write_track(root, scene, wrapped=False, numbers=None):
    """`smpl/000000.json`, one a frame."""
    folder = root / "smpl"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(scene.count):
        people = [person(scene, i)]
        name = f"{i if numbers is None else numbers[i]:06d}.json"
        (folder / name).write_text(json.dumps({"annots": people} if wrapped else people, indent=4))


def write_keypoints(root, joints):
    """`keypoints3d/000000.json` of `joints` (frames, 24, 3), SMPL's: OpenPose's 25, with a confidence."""
    folder = root / "keypoints3d"
    folder.mkdir(parents=True, exist_ok=True)
    openpose = {2: 17, 3: 19, 4: 21, 5: 16, 6: 18, 7: 20, 9: 2, 10: 5, 11: 8, 12: 1, 13: 4, 14: 7}
    for i, frame in enumerate(joints):
        rows = [[*map(float, frame[openpose[k]]), 0.9] if k in openpose else [0.0] * 4 for k in range(25)]
        (folder / f"{i:06d}.json").write_text(json.dumps([{"id": 0, "keypoints3d": rows}]))


def write_easymocap(root, scene, kind="jpg", masks=True, wrapped=False):
    """A whole sequence: `kind` jpg (images/), or mp4 (videos/)."""
    root.mkdir(parents=True, exist_ok=True)
    inner, outer = calibration_texts(scene.eyes)
    (root / "intri.yml").write_bytes(inner.encode())
    (root / "extri.yml").write_bytes(outer.encode())
    for eye in scene.eyes:
        shots = [scene.photograph(eye, frame) for frame in range(scene.count)]
        if kind == "mp4":
            with VideoWriter(root / "videos" / f"{eye.name}.mp4", 30, "h264", quality=4) as video:
                for image, _ in shots:
                    video.write(image)
        for frame, (image, mask) in enumerate(shots):
            if kind == "jpg":
                folder = root / "images" / eye.name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{frame:06d}.jpg", quality=98, subsampling=0)
            if masks:
                folder = root / "mask" / eye.name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / f"{frame:06d}.png")
    write_track(root, scene, wrapped)
    return root
