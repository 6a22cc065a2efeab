"""The cameras of a calibration, for a capture that has all the rest in the published layout."""

import os
import shutil
from collections.abc import Sequence

import numpy as np

from na_ray.capture.about import read_about, write_values
from na_ray.capture.layout import IMAGES, VIDEOS, is_split
from na_ray.capture.naming import by_number
from na_ray.capture.publish import write_cameras
from na_ray.capture.storage import basename, join, listing, parent
from na_ray.capture.video import resolution
from na_ray.config.values import UserError
from na_ray.convert.cameras import crooked, for_pictures, ordered, published, scaled
from na_ray.formats import colmap, easymocap, nerfstudio_transforms, opencv_yml, zju_mocap
from na_ray.formats.calibrated import CalibratedCamera, calibrated

KINDS = (
    "EasyMocap's folder (intri.yml, extri.yml), ZJU-MoCap's annots.npy, COLMAP's model (cameras and images, .txt or "
    ".bin), nerfstudio's transforms.json, or OpenCV's .yml (a camera each)"
)
MODEL_FILES = ("cameras.txt", "cameras.bin", "images.txt", "images.bin")
FOLDERS = ("intrinisc", "pose")


def read_calibration(path: str) -> tuple[tuple[CalibratedCamera, ...], list[str]]:
    """(the cameras of any calibration that is read, lines). Raises UserError, one line, for another file."""
    names, name = listing(path), basename(path).lower()
    if not names and not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file; expected {KINDS}")
    if easymocap.INTRINSICS in names or name in (easymocap.INTRINSICS, easymocap.EXTRINSICS):
        found = easymocap.read_cameras(path if names else parent(path))
        return found.cameras, [*found.notes, *(f"{half}: left out" for half in found.lone.values())]
    if name.endswith(".npy") or zju_mocap.CALIBRATION in names:
        file = path if name.endswith(".npy") else join(path, zju_mocap.CALIBRATION)
        return zju_mocap.read_annotations(file).cameras, []
    if name.endswith(".json") or "transforms.json" in names:
        return nerfstudio_transforms.read_transforms(
            path if name.endswith(".json") else join(path, "transforms.json")
        ), []
    if name in MODEL_FILES or any(file in names for file in MODEL_FILES[:2]):
        told = "COLMAP's unit is any, unless the model was scaled: --unit says how many metres"
        return colmap.read_model(path if names else parent(path)), [told]
    files = [join(path, n) for n in names if n.lower().endswith((".yml", ".yaml"))] if names else [path]
    if not files or not files[0].lower().endswith((".yml", ".yaml")):
        below = [join(path, *place) for place in (("0",), ("sparse",), ("sparse", "0"))]
        models = [place for place in below if any(file in listing(place) for file in MODEL_FILES)]
        if models:
            raise UserError(f"{path}: no calibration in it, but {models[-1]} is a COLMAP model: name that folder")
        raise UserError(f"{path}: no calibration that is known; expected {KINDS}")
    return tuple(_opencv(file) for file in files), []


def _opencv(path: str) -> CalibratedCamera:
    """One camera of OpenCV's own calibration program, or of those that write like it: world to camera."""
    values = opencv_yml.read_yml(path)
    opencv_yml.check_lens(values, path)

    def find(what: str, *names: str) -> np.ndarray:
        lower = {key.lower(): key for key in values}
        key = next((lower[name] for name in names if name in lower), None)
        if key is None:
            expected = f"expected {' or '.join(names[:3])}, the camera's {what}"
            raise UserError(f"{path}: it has {', '.join(values)[:80]}; {expected}: write it so")
        return opencv_yml.matrix_of(values, key, path)

    K = find("matrix", "camera_matrix", "k", "intrinsics", "m1")
    distortion = find("distortion", "distortion_coefficients", "dist_coeffs", "dist", "d", "d1")
    T = find("translation, world to camera", "t", "tvec", "translation_vector")
    R = find("rotation, world to camera", "r", "rvec", "rotation_matrix", "rotation_vector")
    if R.size == 3:
        from scipy.spatial.transform import Rotation

        R = Rotation.from_rotvec(np.nan_to_num(R.reshape(-1))).as_matrix()
    size = [_side(values, key, path) for key in ("image_width", "image_height")]
    return calibrated(path, basename(path).rsplit(".", 1)[0], K, distortion, R, T.reshape(-1), (size[0], size[1]))


def _side(values: dict[str, object], key: str, path: str) -> int | None:
    if key not in values:
        return None
    try:
        return int(opencv_yml.number_of(values[key]))
    except (ValueError, OverflowError):
        raise UserError(f"{path}: {key} is no whole number: calibrate again") from None


def write_calibration(
    path: str, out: str, chosen: Sequence[str], unit: float, overwrite: bool, dry_run: bool = False
) -> list[str]:
    """Write `intrinisc/` and `pose/` into a capture; lines say what was read. Raises UserError, FileExistsError."""
    found, lines = read_calibration(path.rstrip("/") or "/")
    cameras = [scaled(camera, unit) for camera in ordered(found, chosen, path)]
    sizes = _filmed(out)
    if sizes and len(sizes) != len(cameras):
        names = ", ".join(camera.name for camera in cameras[:8])
        todo = "name those of the videos, --views"
        raise UserError(f"{out}: {len(sizes)} videos for {len(cameras)} cameras ({names}): {todo}")
    fitted = []
    for i, camera in enumerate(cameras):
        width, height = sizes[i] if sizes else (camera.width or 0, camera.height or 0)
        if width and height:
            camera, told = for_pictures(camera, width, height, path)
            lines += told
        fitted.append(published(camera, camera.K))
    lines += crooked(cameras)
    bent = [camera.name for camera in cameras if np.any(camera.distortion)]
    if bent:
        todo = "where the pictures still have it, undistort them, or convert the whole sequence"
        lines.append(f"warning: {', '.join(bent[:6])} have lens distortion, which a capture's cameras have not: {todo}")
    there = [name for name in FOLDERS if listing(join(out, name))]
    if there and not overwrite and not dry_run:
        raise FileExistsError(f"{join(out, there[0])} exists: --overwrite replaces it")
    what = f"{len(fitted)} cameras, in this order: {', '.join(camera.name for camera in fitted)}"
    if dry_run:
        return [*lines, f"would write {what}"]
    os.makedirs(out, exist_ok=True)
    aside = os.path.join(out, f".cameras.{os.getpid()}.partial")
    write_cameras(aside, fitted)
    for name in FOLDERS:
        shutil.rmtree(os.path.join(out, name), ignore_errors=True)
        os.rename(os.path.join(aside, name), os.path.join(out, name))
    os.rmdir(aside)
    about = read_about(out)
    about["cameras"] = [{"name": camera.name} for camera in fitted]
    write_values(out, about, "na-ray convert cameras")
    return [*lines, f"wrote {what}"]


def _filmed(out: str) -> list[tuple[int, int]]:
    """(width, height) of each video or camera's picture of the capture's first split, in order; empty where none is."""
    for name in listing(out):
        folder = join(out, name)
        if "." in name or not is_split(listing(folder)):
            continue
        place = join(folder, "rgb_video")
        videos = by_number(place, listing(place), (*VIDEOS, *IMAGES))
        if videos:
            sizes = [resolution(join(place, file)) for file in videos.values()]
            return [(width, height) for height, width in sizes]
    return []
