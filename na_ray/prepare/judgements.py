"""The lines of a verdict: what is measured of an arrangement, and whether it is as it should be."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from na_ray.capture.camera import Camera
from na_ray.prepare.agreement import color_spread, drifts, in_view, ious, spans
from na_ray.prepare.evidence import Arrangement, Evidence
from na_ray.prepare.hypotheses import PERSON, Aspect, rescaled

SOUND_IOU = 0.75
"""Overlap from which a conversion is not doubted: loose clothes and hair lie off the mesh."""
SOUND_COLORS = 0.5
"""Share of the colors' variance that the mesh explains, where there are no silhouettes."""
SOUND_DRIFT, SOUND_JOINTS = 0.02, 0.08
"""Metres that the mesh's middle may be off the silhouettes', and joints off those found: bodies are tracked from joints
that are not quite the body's own."""
SOUND_PIXELS = 1.5
"""So little counts for nothing: where pixels are counted from, programs do not agree."""
ODD_CAMERA = 0.2
"""A camera whose overlap is so much less than the others' is named."""
SMALLEST_PART = 0.08
"""Of the pictures' longer side: a body below it is hardly one."""


@dataclass(frozen=True)
class Judgement:
    """One line of a verdict."""

    aspect: Aspect
    state: str
    """`ok`, `doubtful`, `wrong` or `unknown`."""
    text: str

    def __str__(self) -> str:
        return f"{self.aspect}: {self.state}: {self.text}"


def score(evidence: Evidence, meant: Arrangement) -> float:
    """Mean overlap of the silhouettes; without them the share of the colors' variance that the mesh explains."""
    if evidence.outlines is not None:
        return float(ious(evidence, meant).mean())
    # A body that is hardly seen agrees by chance: what is out of view counts twice.
    return color_spread(evidence, meant).explained * float(in_view(meant).mean()) ** 2


def odd_cameras(overlap: Float64[np.ndarray, "f c"] | None) -> list[int]:
    """Cameras (positions) whose silhouettes overlap far less than most. `overlap`: IoU by frame and camera."""
    if overlap is None or overlap.shape[1] < 3:
        return []
    means = overlap.mean(axis=0)
    return [int(c) for c in np.flatnonzero(means < np.median(means) - ODD_CAMERA)]


def units_line(evidence: Evidence, meant: Arrangement) -> Judgement:
    """How large the mesh is, in metres and in pixels."""
    body = meant.bodies[0]
    height = evidence.height * body.scale
    extent = float(np.median(spans(meant)))
    middle = body.world.mean(axis=0)
    away = float(np.median([np.linalg.norm(camera.center - middle) for camera in meant.cameras]))
    side = max(meant.cameras[0].height, meant.cameras[0].width)
    sound = PERSON[0] <= height <= PERSON[1] and extent >= SMALLEST_PART * side
    rows, columns = evidence.picture
    seen = f"{extent * max(evidence.picture) / side:.0f} px in pictures of {columns}x{rows}"
    text = f"the mesh is {height:.3g} m high, {seen}, cameras {away:.3g} m away"
    return Judgement("units", "ok" if sound else "doubtful", text)


def axes_line(meant: Arrangement, overlap: Float64[np.ndarray, "f c"] | None) -> Judgement:
    """How much of the mesh the cameras see, and whether they agree. `overlap`: IoU by frame and camera."""
    shares = in_view(meant)
    share, least = float(np.median(shares)), int(shares.mean(axis=0).argmin())
    found = f"{share:.0%} of the mesh is in view"
    text = f"{found} (least: {shares.mean(axis=0)[least]:.0%}, camera {meant.cameras[least].name})"
    odd = odd_cameras(overlap)
    if overlap is not None and odd:
        means = overlap.mean(axis=0)
        named = ", ".join(f"{meant.cameras[c].name} ({means[c]:.2f})" for c in odd[:4])
        text += f"; IoU is {np.median(means):.2f} in most cameras, but not in {named}: calibrate these again"
    return Judgement("axes", "ok" if share >= 0.5 and not odd else "doubtful", text)


def intrinsics_line(evidence: Evidence, meant: Arrangement, overlap: Float64[np.ndarray, "f c"] | None) -> Judgement:
    """Whether other sizes of the intrinsics would agree better."""
    camera = meant.cameras[0]
    scale = max(evidence.picture) / max(camera.height, camera.width)
    focal = float(np.median([c.K[0, 0] for c in meant.cameras])) * scale
    off = max(max(abs(c.K[0, 2] / (c.width - 1) - 0.5), abs(c.K[1, 2] / (c.height - 1) - 0.5)) for c in meant.cameras)
    measure = "IoU" if evidence.outlines is not None else "colors explained"
    here = score(evidence, meant) if overlap is None else float(overlap.mean())
    around = [
        score(evidence, meant.with_cameras([rescaled(c, factor) for c in meant.cameras])) for factor in (0.5, 2.0)
    ]
    text = f"focal length {focal:.0f} px, principal points within {off:.0%} of the middle; {measure} {here:.2f}"
    text += f", with K halved {around[0]:.2f}, doubled {around[1]:.2f}"
    return Judgement("intrinsics", "ok" if here >= max(around) and off < 0.2 else "doubtful", text)


def mask_line(evidence: Evidence, overlap: Float64[np.ndarray, "f c"] | None, inverted: bool) -> Judgement:
    """Overlap of mesh and masks; `inverted`: the masks were turned round for it."""
    if overlap is None or evidence.outlines is None:
        return Judgement("mask", "unknown", "no masks, and the background is not of one color: nothing to compare with")
    covered = float(np.mean([o.mean() for row in evidence.outlines for o in row]))
    empty = sum(not o.any() for row in evidence.outlines for o in row)
    _, c = np.unravel_index(int(overlap.argmin()), overlap.shape)
    camera = evidence.said.cameras[int(c)].name
    text = f"IoU {overlap.mean():.2f} of the mesh and {evidence.told_by} (least: {overlap.min():.2f}, camera {camera})"
    text += f", {covered:.0%} of the pictures covered"
    if inverted:
        return Judgement(
            "mask", "wrong", f"masks/ seem to show the background: invert them (zero behind the person); {text}"
        )
    if empty:
        return Judgement("mask", "doubtful", f"{text}; {empty} of {overlap.size} are empty")
    return Judgement("mask", "ok" if overlap.mean() >= SOUND_IOU else "doubtful", text)


def tracking_line(evidence: Evidence, meant: Arrangement, overlap: Float64[np.ndarray, "f c"] | None) -> Judgement:
    """How far the mesh is off, how far the cameras disagree on its colors, and its joints from those found."""
    spread, away = color_spread(evidence, meant), _drift(evidence, meant)
    mended = meant is not evidence.said  # joints are known as the capture has them alone
    joints = None if mended else _reprojection(evidence)
    parts = list[str]()
    if away is not None:
        parts.append(f"the mesh's middle lies {away[0]:.1f} px ({100 * away[1]:.1f} cm) from the silhouette's")
    if np.isfinite(spread.levels):
        parts.append(
            f"colors of a point differ by {spread.levels:.0f} of 255 between cameras"
            f" (the mesh explains {spread.explained:.0%} of their variance)"
        )
    if joints is None:
        parts.append(f"joint reprojection left out: {'what was wrong moves joints, too' if mended else 'no keypoints'}")
    else:
        found = f"tracked joints lie {100 * joints[1]:.1f} cm from those found in the pictures"
        parts.append(f"joint reprojection {joints[0]:.1f} px: {found}")
    sound = overlap.mean() >= SOUND_IOU if overlap is not None else spread.explained >= SOUND_COLORS
    off = away is not None and away[0] > SOUND_PIXELS and away[1] > SOUND_DRIFT
    near = not off and (joints is None or joints[1] <= SOUND_JOINTS)
    if not sound:
        parts.append("no mistake that is tried here explains it: look at overlay.png, and at na-ray prepare track")
    elif not near:
        parts.append("an avatar of it would be blurred: na-ray prepare track corrects it")
    return Judgement("tracking", "ok" if sound and near else "doubtful", "; ".join(parts))


def _reprojection(evidence: Evidence) -> tuple[float, float] | None:
    """(px, m): how far tracked joints are from those found in the pictures; medians over joints, frames, cameras."""
    cameras, distances, lengths = evidence.said.cameras, list[float](), list[float]()
    for joints in evidence.joints:
        lengths += np.linalg.norm(joints.found - joints.tracked, axis=1).tolist()
        for camera in cameras:
            (found, depth), (tracked, other) = camera.project(joints.found), camera.project(joints.tracked)
            before = (depth > 0) & (other > 0)
            distances += np.linalg.norm(found - tracked, axis=1)[before].tolist()
    if not distances:
        return None
    return float(np.median(distances)) * _scale(evidence, cameras[0]), float(np.median(lengths))


def _drift(evidence: Evidence, meant: Arrangement) -> tuple[float, float] | None:
    """(px, m): how far the mesh's middle is from the silhouette's; None where nothing tells."""
    found = list(drifts(evidence, meant)) if evidence.outlines is not None else []
    if not found:
        return None
    camera, body = meant.cameras[0], meant.bodies[0]
    drift, away = float(np.median(found)), float(np.linalg.norm(camera.center - body.world.mean(axis=0)))
    return drift * _scale(evidence, camera), drift * away / float(camera.K[0, 0])


def _scale(evidence: Evidence, camera: Camera) -> float:
    """From the small pictures' pixels to those that were filmed."""
    return max(evidence.picture) / max(camera.height, camera.width)
