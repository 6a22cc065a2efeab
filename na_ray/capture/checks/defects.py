"""Find everything that is wrong with a capture before hours of training do. Each defect is one line:

file (frame, field): what is wrong; what was expected: what to do.
"""

import os

from na_ray.capture.camera import Camera, read_extrinsics, read_intrinsics
from na_ray.capture.checks import numbers, scale
from na_ray.capture.checks.distortion import distortion_notes
from na_ray.capture.checks.footage import examine_pictures, examine_transforms
from na_ray.capture.checks.report import Report
from na_ray.capture.layout import (
    BODY_FILES,
    CAMERA_TO_WORLD,
    INTRINSICS,
    WORLD_TO_CAMERA,
    SplitFiles,
    find_calibration,
    find_file,
    find_sources,
    find_split,
    find_splits,
    match_numbers,
)
from na_ray.capture.rig import Pose, Rig, read_obj, read_rig, read_tpose, read_weights
from na_ray.capture.storage import basename
from na_ray.config.secrets import public


def examine(path: str | os.PathLike[str], thorough: bool = False) -> Report:
    """Read a whole capture: every name, matrix and transform, the packets of every video, and some frames of each.

    Of a video behind a URL, the frames are counted by its own index where that names all of them (AVI, mp4), so that
    it is not fetched whole. `thorough` decodes every frame and picture too.
    """
    report = Report()
    found = report.attempt(find_splits, public(os.fspath(path)))
    if found is None:
        return report
    root, folders = found
    rigs: dict[tuple[str | None, ...], Rig | None] = {}
    splits: list[SplitFiles] = []
    for name, folder in sorted(folders.items()):
        body = tuple(_body_file(folder, root, file) for file in BODY_FILES)
        if body not in rigs:
            rigs[body] = _examine_rig(report, root, body)
        split = report.attempt(find_split, name, folder, root)
        splits += [split] if split else []
        if split is not None:
            _examine_split(report, split, rigs[body], thorough)
    report.notes += distortion_notes(root, *(split.folder for split in splits))
    if splits and all(split.kind == "poses" for split in splits):
        expected = f"expected rgb_video/ or rgb/ in one of: {', '.join(sorted(folders))}"
        report.defects.append(f"{root}: no pictures; {expected}: copy them there")
    return report.merged()


def _body_file(folder: str, root: str, name: str) -> str | None:
    try:
        return find_file((folder, root), name)
    except FileNotFoundError:
        return None


def _examine_rig(report: Report, root: str, body: tuple[str | None, ...]) -> Rig | None:
    """Each body file by itself, so that one broken file does not hide another; then all together."""
    for name, path in zip(BODY_FILES, body, strict=True):
        if path is None:
            expected = "expected in the capture's root or in the split"
            report.defects.append(f"{root}: {name} is missing; {expected}: copy it there")
    canonical, uvmapping, weights, tpose = body
    mesh = report.attempt(read_obj, canonical) if canonical else None
    skinning = report.attempt(read_weights, weights) if weights else None
    if mesh is not None:
        report.faults(str(canonical), numbers.vertices_faults(mesh[0]))
    if skinning is not None:
        report.faults(str(weights), numbers.weights_faults(skinning))
    for read, path in ((read_obj, uvmapping), (read_tpose, tpose)):
        if path:
            report.attempt(read, path)
    if None in body:
        return None
    unread = Report()
    rig = unread.attempt(read_rig, *body)
    # What one file alone is guilty of is known by now.
    report.defects += [line for line in unread.defects if line not in report.defects]
    if rig is not None:
        report.faults(str(uvmapping), numbers.uv_faults(rig))
        report.notes += [f"{canonical}: {note}" for note in scale.body_notes(rig)]
    return rig


def _examine_split(report: Report, split: SplitFiles, rig: Rig | None, thorough: bool) -> None:
    poses = examine_transforms(report, split, rig.num_joints if rig else None)
    motion_fits = rig is not None and scale.measurable(rig, poses) and _examine_motion(report, split, rig, poses)
    sizes = examine_pictures(report, split, thorough)
    if split.kind == "poses":
        report.notes.append(f"{split.folder}: transforms alone, no pictures: a motion to render, not to train on")
        return
    cameras = _examine_cameras(report, split, sizes)
    if rig is not None and motion_fits:
        inverse = find_calibration(split, WORLD_TO_CAMERA, required=False)
        todo = f"name the folder {'pose/' if inverse else 'extrinsic/'}"
        defects, notes = scale.camera_faults(cameras, scale.bodies_of(rig, poses), todo)
        report.faults(split.folder, defects)
        report.notes += [f"{split.folder}: {note}" for note in (*notes, *scale.intrinsics_notes(cameras))]


def _examine_motion(report: Report, split: SplitFiles, rig: Rig, poses: list[Pose]) -> bool:
    """Whether the poses fit the body, and cameras may be measured by them."""
    defects, notes = scale.pose_faults(rig, poses)
    report.faults(split.transforms.folder, defects)
    report.notes += [f"{split.transforms.folder}: {note}" for note in notes]
    return not defects


def _examine_cameras(report: Report, split: SplitFiles, sizes: dict[int, tuple[int, int]]) -> list[Camera]:
    """The cameras whose calibration is sound. `sizes`: camera number to (height, width) of its pictures."""
    sources = report.attempt(find_sources, split)
    intrinsics = report.attempt(find_calibration, split, INTRINSICS)
    inverse = report.attempt(find_calibration, split, WORLD_TO_CAMERA, False)
    extrinsics = inverse or report.attempt(find_calibration, split, CAMERA_TO_WORLD)
    if not sources or not intrinsics or not extrinsics:
        return []
    numbers = match_numbers(list(sources), list(extrinsics))
    _report_unfilmed(report, split, set(extrinsics) - set(numbers.values()))
    cameras = []
    for number, source in sources.items():
        known = numbers.get(number)
        if known is None:
            expected = f"expected a matrix numbered {number}, as {basename(source)}"
            report.defects.append(
                f"{split.folder}: {basename(source)} has no extrinsics; {expected}: copy its calibration"
            )
            continue
        matrix = intrinsics.get(-1) or intrinsics.get(known)
        if matrix is None:
            expected = f"expected an intrinsics file numbered {known}"
            report.defects.append(
                f"{extrinsics[known]}: this camera has no intrinsics; {expected}: copy its calibration"
            )
            continue
        camera = _examine_camera(report, matrix, extrinsics[known], bool(inverse), sizes.get(number))
        cameras += [camera] if camera else []
    return cameras


def _report_unfilmed(report: Report, split: SplitFiles, cameras: set[int]) -> None:
    for number in sorted(cameras):
        if split.kind == "raw":
            found = f"camera {number} is calibrated, but rgb_video/ has no video of it"
            report.defects.append(f"{split.folder}: {found}; expected one a camera: copy it, or remove the calibration")
    if cameras and split.kind == "extracted":
        numbers = ", ".join(map(str, sorted(cameras)))
        report.notes.append(f"{split.folder}: cameras {numbers} are calibrated, but their pictures were not extracted")


def _examine_camera(
    report: Report, intrinsics: str, extrinsics: str, inverse: bool, size: tuple[int, int] | None
) -> Camera | None:
    before = len(report.defects)
    K = report.attempt(read_intrinsics, intrinsics)
    T_world_camera = report.attempt(read_extrinsics, extrinsics, inverse)
    if K is None or T_world_camera is None:
        return None
    camera = Camera(basename(extrinsics).rsplit(".", 1)[0], K, T_world_camera, *(size or (1, 1)))
    if size is not None:
        report.faults(intrinsics, numbers.intrinsics_faults(camera))
    report.faults(extrinsics, numbers.extrinsics_faults(camera))
    return camera if size is not None and len(report.defects) == before else None
