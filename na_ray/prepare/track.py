"""A repaired track: every frame's pose corrected by silhouettes and colors, in a capture of its own.

new/capture.json              as the old one, and `track`: what was corrected, from which cameras
    training/transform.zip    the corrected poses
    (all else)                links to the files of the old capture, but for its maps: they are of the old poses
"""

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from na_ray.body.body import Body, PosedBody
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.about import read_about, write_values
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import find_map_videos
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import skeleton_of
from na_ray.config.values import AUTO, Progress, UserError
from na_ray.prepare.kinematics import Correction, corrected
from na_ray.prepare.links import link_capture
from na_ray.prepare.photographs import Photographs
from na_ray.prepare.repair import DrawBody, TrackScene, fit, mean_iou
from na_ray.prepare.textures import check_other_place, chosen_cameras
from na_ray.prepare.workshop import Workshop

TOOL = "na-ray prepare track"
COLOR_SIDE = 256
"""Texels of the colors over time that poses are fitted to."""
BETTER = 0.005
"""A frame whose overlap (IoU) does not rise by as much keeps its old pose: a template that is not quite the person
pulls a good track millimetres off."""
CALM = 0.25
"""How far a joint's correction is drawn to the mean of its neighbors' in time."""


@dataclass(eq=False)
class Repaired:
    """What became of one split's track."""

    name: str
    poses: list[Pose]
    kept: list[int]
    """Positions of frames that keep their old pose."""
    iou: tuple[list[float], list[float]]
    """Overlap of body and silhouettes, mean over the cameras, of each frame: before, after."""
    spread: tuple[float, float]
    """How far the cameras' colors of a texel differ (0..255) on some frames: before, after."""
    moved: tuple[float, float]
    """Mean move (m) and turn (rad) of the body."""

    def lines(self) -> list[str]:
        """For the user."""
        before, after = (np.array(iou) for iou in self.iou)
        millimetres, degrees = 1e3 * self.moved[0], np.degrees(self.moved[1])
        lines = [
            f"{self.name}: overlap of body and silhouettes (IoU), mean / worst frame: {before.mean():.3f} / "
            f"{before.min():.3f} before, {after.mean():.3f} / {after.min():.3f} after",
            f"{self.name}: the cameras' colors of a texel differ by {self.spread[0]:.1f} of 255 before, "
            f"{self.spread[1]:.1f} after",
            f"{self.name}: the body was moved by {millimetres:.0f} mm and turned by {degrees:.1f} degrees on average",
        ]
        if self.kept:
            lines.append(
                f"{self.name}: {len(self.kept)} of {len(self.poses)} frames got hardly better and keep their pose"
            )
        return lines


def write_track(
    capture: Capture,
    out: Path,
    cameras: str = AUTO,
    splits: Sequence[str] = (),
    colors: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[str]:
    """Write the capture `out`, which links to `capture` and has corrected poses; returns lines for the user.

    The old capture is not changed. Splits that are not repaired keep their poses. Raises UserError or FileExistsError,
    one line, where `out` is not free or there are no silhouettes.
    """
    check_other_place(capture, out)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is there: name another folder, or remove it")
    names = list(splits) or [n for n in capture.splits if capture.split(n).files.kind != "poses"]
    chosen = chosen_cameras(cameras, [capture.split(name) for name in names])
    jobs = [Photographs.of(capture, capture.split(name), chosen) for name in names]
    for job in jobs:
        _check_silhouettes(job)
    total, done = sum(job.split.num_frames for job in jobs), 0
    repaired = []
    for job in jobs:

        def shown(here: int, before: int = done) -> None:
            if progress:
                progress(before + here, total)

        repaired.append(repair(job, colors, device, shown))
        done += job.split.num_frames
    redrawn = {name: {"transform", "transform.zip", "tex", "normal"} for name in names}
    link_capture(capture, out, lambda folder, name: _is_left_out(capture, redrawn, folder, name))
    for job, found in zip(jobs, repaired, strict=True):
        write_transforms(out / found.name / "transform.zip", job.split, found.poses)
    about = read_about(capture.path)
    about.pop("textures", None)
    write_values(str(out), about | {"track": _said(repaired, chosen)}, TOOL)
    lines = [f"wrote {out}: its poses are corrected, from cameras {', '.join(map(str, chosen))}; it has no maps yet"]
    return lines + [line for found in repaired for line in found.lines()]


def _check_silhouettes(job: Photographs) -> None:
    frame = next(iter(job.frames([0])))
    if frame.masks is None:
        expected = f"expected masks/{job.split.name}/CCC/FFFFFF.png, or pictures with alpha"
        raise UserError(f"{job.split.files.folder}: no silhouettes to repair the track by; {expected}: add them")


def _is_left_out(capture: Capture, redrawn: dict[str, set[str]], folder: str, name: str) -> bool:
    """Whether a file of a split that is repaired depends on its poses."""
    split = next(n for n, place in capture.folders.items() if place == folder)
    if split not in redrawn:
        return False
    videos = [os.path.basename(v) for what in ("tex", "normal") for v in find_map_videos(folder, [name], what)]
    return name in redrawn[split] or name in videos


def _said(repaired: Sequence[Repaired], cameras: Sequence[int]) -> dict[str, Any]:
    """For `capture.json`."""
    rows = {
        r.name: {
            "iou": [round(float(np.mean(iou)), 4) for iou in r.iou],
            "spread": [round(s, 2) for s in r.spread],
            "kept": r.kept,
        }
        for r in repaired
    }
    return {"tool": TOOL, "cameras": list(cameras), "splits": rows}


def repair(job: Photographs, colors: bool, device: str, progress: Progress | None = None) -> Repaired:
    """Correct the poses of a split: by silhouettes, then by these and the colors over time."""
    split = job.split
    scene = TrackScene(split.rig, Body.from_rig(split.rig), skeleton_of(split), job.cameras)
    old = [split.pose(i) for i in range(split.num_frames)]
    found = [Correction.none(len(scene.skeleton.parents))] * len(old)
    rounds = 2 if colors else 1
    for turn in range(rounds):
        draw = _drawer(replace(job, poses=_moved(old, found, scene)), device) if turn else None
        before = list(found)
        for frame in job.frames(range(len(old))):
            i = frame.position
            prior = _neighbors(before, i) if turn else None
            found[i] = fit(scene, old[i], frame, before[i], draw, prior)
            if progress:
                progress((turn * len(old) + i + 1) // rounds, len(old))
    return _judged(job, scene, old, found, device)


def _neighbors(found: Sequence[Correction], i: int) -> Float64[np.ndarray, "p"]:
    """What a correction is drawn to: nothing of the body's, and some of what the joints of the frames beside it had."""
    beside = [found[k].joints for k in (i - 1, i + 1) if 0 <= k < len(found)]
    joints = CALM * np.mean(beside, axis=0) if beside else np.zeros_like(found[i].joints)
    return np.concatenate([np.zeros(6), joints.ravel()])


def _moved(old: Sequence[Pose], found: Sequence[Correction], scene: TrackScene) -> list[Pose]:
    return [corrected(pose, correction, scene.skeleton) for pose, correction in zip(old, found, strict=True)]


def _drawer(job: Photographs, device: str) -> DrawBody:
    """Draws the posed body in the colors that its poses give it over time."""
    shop = Workshop(job, COLOR_SIDE, device)
    texture = shop.painter.paint(shop.reference).permute(2, 0, 1).float().cpu() / 255
    body = Body.from_rig(job.split.rig)
    surface = Surface(body.faces, len(body.vertices), rest=body.vertices)

    def draw(posed: PosedBody, camera: Camera) -> Float64[np.ndarray, "h w 3"]:
        return textured_mesh(posed, texture, camera, surface, supersample=1)[0].double().numpy()

    return draw


def _judged(
    job: Photographs, scene: TrackScene, old: Sequence[Pose], found: Sequence[Correction], device: str
) -> Repaired:
    """The corrections of the frames that got better; the others keep their poses."""
    poses, kept, before, after = _moved(old, found, scene), [], [], []
    for frame in job.frames(range(len(old))):
        i, masks = frame.position, frame.masks or []
        one, two = (mean_iou(scene, pose, masks) for pose in (old[i], poses[i]))
        if two < one + BETTER:
            poses[i], two = old[i], one
            kept.append(i)
        before.append(one)
        after.append(two)
    used = [c for i, c in enumerate(found) if i not in kept] or [Correction.none(len(scene.skeleton.parents))]
    move = float(np.mean([np.linalg.norm(c.move) for c in used]))
    turn = float(np.mean([np.linalg.norm(c.turn) for c in used]))
    spread = _spread(replace(job, poses=old), device), _spread(replace(job, poses=poses), device)
    return Repaired(job.split.name, poses, kept, (before, after), spread, (move, turn))


def _spread(job: Photographs, device: str) -> float:
    """How far the cameras' colors of a texel differ, 0..255, on some frames."""
    shop = Workshop(job, COLOR_SIDE // 2, device)
    return float(np.mean([shop.spread(frame) for frame in job.frames(job.some(12))]))


def write_transforms(path: Path, split: Split, poses: Sequence[Pose]) -> None:
    """The frames' JSON files as they are but for their poses, aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for i, number in enumerate(split.frames):
                # A fixed date: the same poses have the same bytes.
                member = zipfile.ZipInfo(f"{number:06d}.json", date_time=(2024, 1, 1, 0, 0, 0))
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, json.dumps(_values(split, poses, i)))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _values(split: Split, poses: Sequence[Pose], i: int) -> dict[str, Any]:
    values, pose = json.loads(split.read_transform(i)), poses[i]
    values["translation"] = _numbers(pose.translation[None])
    values["rotation"] = _numbers(pose.rotation)
    values["joints"] = _numbers(pose.joints)
    values["joints_RT"] = _numbers(pose.joints_RT.transpose(1, 2, 0))
    if pose.pose is not None:
        values["pose"] = _numbers(pose.pose[None])
    if "motion" in values:
        values["motion"] = [_numbers(poses[max(i - back, 0)].joints) for back in (2, 1, 0)]
    return values


def _numbers(array: np.ndarray) -> list[Any]:
    return np.round(array.astype(np.float64), 7).tolist()
