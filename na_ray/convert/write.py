"""A sequence of another program as a complete capture in the published layout.

Everything is written into a hidden folder beside the capture's, `.NAME.partial`, and renamed when it is whole: what
opens as a capture is one. The videos, which take longest, are kept there when a call is cut off, and the next one goes
on with the cameras that are missing.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from na_ray.capture import shapes
from na_ray.capture.about import write_values
from na_ray.capture.publish import (
    check_free,
    move_into_place,
    only_writer,
    write_cameras,
    write_rig,
    write_transforms,
)
from na_ray.capture.storage import basename, join, listing, read_bytes, size
from na_ray.config.values import Progress
from na_ray.convert.footage import write_footage
from na_ray.convert.matte import ChromaMatte, MaskMatte, PlateMatte
from na_ray.convert.plan import Plan
from na_ray.convert.poses import transforms


def write(
    made: Plan, out: str, workers: int = 0, overwrite: bool = False, progress: Progress | None = None
) -> list[str]:
    """Write the capture; lines say what was done. A call that was cut off goes on where it was.

    Raises FileExistsError where `out` is there and `overwrite` is not set, UserError where a picture is unreadable or
    another process writes `out`.
    """
    out = os.path.abspath(out)
    with only_writer(out):
        check_free(out, overwrite)
        aside = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.partial")
        os.makedirs(aside, exist_ok=True)
        _sweep(made, aside)
        lines = _write_footage(made, aside, workers, progress)
        _write_numbers(made, aside)
        move_into_place(aside, out)
    return lines


def _write_footage(made: Plan, aside: str, workers: int, progress: Progress | None) -> list[str]:
    report = write_footage(
        made.clips,
        made.lenses,
        {
            name: [at for n in numbers if (at := made.source.position(n)) is not None]
            for name, numbers in made.splits.items()
        },
        Path(aside),
        background=made.background,
        matte=made.matte,
        undistort=made.options.undistort,
        fps=made.fps,
        workers=workers or None,
        overwrite=True,  # what lies aside is ours: the same pictures are kept, others are made anew
        progress=progress,
    )
    return list(report.lines)


def _sweep(made: Plan, aside: str) -> None:
    """Remove what an earlier call, cut off, made for other splits or cameras: the capture would count it."""
    for split in listing(aside):
        if os.path.isdir(os.path.join(aside, split)) and split not in (*made.splits, "masks"):
            shutil.rmtree(os.path.join(aside, split))
    masks = join(aside, "masks")
    for split in listing(masks):
        for number in listing(join(masks, split)):
            if made.matte is None or split not in made.splits or int(number) >= len(made.cameras):
                shutil.rmtree(os.path.join(masks, split, number))


def _write_numbers(made: Plan, aside: str) -> None:
    """All but the pictures."""
    skeleton, turns = made.template.skeleton, made.template.tpose
    tpose = transforms(turns[None], skeleton)[0]
    joints = np.einsum("jab,jb->ja", tpose[:, :3, :3], skeleton.rest) + tpose[:, :3, 3]
    write_rig(aside, made.rig, joints, turns)
    write_cameras(aside, made.cameras)
    for split, numbers in made.splits.items():
        starts = [i for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1] + 1]
        folder = os.path.join(aside, split)
        os.makedirs(folder, exist_ok=True)
        write_transforms(os.path.join(folder, "transform.zip"), [made.poses[n] for n in numbers], starts)
    arrays = made.template.shape_arrays()
    if arrays:
        np.savez(os.path.join(aside, shapes.FILE), **arrays)  # type: ignore[arg-type]
    if made.keypoints is not None:
        made.keypoints.write(aside)
    write_values(aside, about(made), "na-ray convert")


def summary(made: Plan, out: str) -> list[str]:
    """What `write` would do, in words."""
    sizes = sorted({f"{camera.width}x{camera.height}" for camera in made.cameras})
    mattes = {MaskMatte: "by masks", ChromaMatte: "by the screen's colour", PlateMatte: "by pictures of the empty set"}
    behind = f"cut out {mattes[type(made.matte)]}, on {made.background}" if made.matte else "with their background"
    frames = ", ".join(f"{len(numbers)} frames of {split}" for split, numbers in made.splits.items())
    pictures = len(made.cameras) * sum(map(len, made.splits.values()))
    return [
        f"would write {out}: {len(made.cameras)} cameras ({', '.join(sizes)} pixels), {frames}: {pictures} pictures",
        f"pictures: {behind}; {'undistorted' if made.options.undistort else 'as the lenses show them'}; MJPEG",
    ]


def about(made: Plan) -> dict[str, Any]:
    """What `capture.json` says: no dates, and no paths of this machine."""
    skeleton, source = made.template.skeleton, made.source
    names = skeleton.names
    joints = [
        {"name": name, "parent": None if parent < 0 else names[parent]}
        for name, parent in zip(names, skeleton.parents, strict=True)
    ]
    cameras = [
        {"name": camera.name, "width": camera.width, "height": camera.height, "distortion": list(lens.distortion)}
        for camera, lens in zip(made.cameras, made.lenses, strict=True)
    ]
    files = [*source.calibration, made.options.body, *([made.options.uv] if made.options.uv else [])]
    return {
        "unit": "metre",
        "up": [float(v) for v in made.up],
        "fps": made.fps,
        "joints": joints,
        "cameras": cameras,
        "undistorted": made.options.undistort,
        "source": {
            "program": source.program,
            "cameras": "world to camera of the calibration, inverted; metres a unit: " + f"{made.options.unit:g}",
            "poses": "V = R(Rh) X(poses) + Th of the tracked body",
            "body": {"kind": made.template.kind, **made.template.extra},
            "frames": {split: _spans(numbers) for split, numbers in made.splits.items()},
            "files": [_hashed(path) for path in files if os.path.isfile(path)],
            "track": _hashed_folder(source.track),
            "footage": [
                {"camera": f.camera, "name": basename(f.path), "bytes": _bytes_of(f.path)} for f in source.footage
            ],
        },
    }


def _spans(numbers: Sequence[int]) -> str:
    """`0..40,50..60`: ends are exclusive."""
    cuts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    return ",".join(f"{numbers[a]}..{numbers[b - 1] + 1}" for a, b in pairwise(cuts))


def _hashed(path: str) -> dict[str, Any]:
    return {"name": basename(path), "bytes": size(path), "sha256": hashlib.sha256(read_bytes(path)).hexdigest()}


def _hashed_folder(folder: str) -> dict[str, Any]:
    """One hash of all the small files of a folder."""
    total, names = hashlib.sha256(), [n for n in listing(folder) if n.lower().endswith((".json", ".npy"))]
    for name in names:
        total.update(name.encode() + b"\0" + read_bytes(join(folder, name)))
    return {"name": basename(folder), "files": len(names), "sha256": total.hexdigest()}


def _bytes_of(path: str) -> int:
    """Of a video, or of all files of a folder."""
    if os.path.isdir(path):
        return sum(size(join(path, name)) for name in listing(path) if os.path.isfile(join(path, name)))
    return size(path)
