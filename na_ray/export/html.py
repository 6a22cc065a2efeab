"""One self-contained page that turns an actor through a motion, by splats, without a network (`page.html`).

A splat takes 16 bytes a pose: its center in 16-bit steps of the motion's box, its axes as a quaternion without its
largest number (3 x 10 bits), the logarithms of its standard deviations and its color in 8 bits each. Poses are stored
as differences to the one before, byte by byte, and deflated. The browser interpolates between poses. Colors are those
of the mean direction; opacities those of the first pose.
"""

import base64
import html
import itertools
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, UInt8, UInt32

from na_ray.export.ply import LEAST_OPACITY, axes_of
from na_ray.models.gaussians import Gaussians

HALF_TURN = 2**0.5
"""Range of a unit quaternion's numbers beside its largest: from -1/sqrt 2 to 1/sqrt 2."""

THINNEST = 2e-5
"""Standard deviations (m) are no smaller here, so that the steps between them are finer."""


@dataclass(frozen=True)
class SplatPose:
    """The Gaussians of one frame, as the page needs them."""

    centers: Float64[np.ndarray, "n 3"]
    """World, m."""
    scales: Float64[np.ndarray, "n 3"]
    """Standard deviations, m."""
    quaternions: Float64[np.ndarray, "n 4"]
    """w, x, y, z."""
    colors: Float64[np.ndarray, "n 3"]
    opacities: Float64[np.ndarray, "n"]

    @classmethod
    def of(cls, gaussians: Gaussians, origin: Float[np.ndarray, "3"]) -> "SplatPose":
        """Of a frame's Gaussians around an origin (world, m)."""
        scales, quaternions = axes_of(gaussians.factors)
        arrays = (gaussians.means, scales, quaternions, gaussians.colors, gaussians.opacities)
        means, *rest = (values.detach().double().cpu().numpy() for values in arrays)
        return cls(means + np.asarray(origin, np.float64), *rest)


def html_page(
    poses: Sequence[SplatPose],
    title: str,
    fps: float,
    up: Float[np.ndarray, "3"],
    eye: Float[np.ndarray, "3"] | None = None,
    background: Sequence[float] = (1.0, 1.0, 1.0),
) -> str:
    """The page.

    `fps`: poses a second. `eye`: where a camera stood (world, m), from whose side the actor is seen first.
    `background`: RGB in [0, 1].
    """
    ever = np.max([pose.opacities for pose in poses], axis=0) >= LEAST_OPACITY
    centers = np.stack([pose.centers[ever] for pose in poses])
    low, high = centers.min((0, 1)), centers.max((0, 1))
    span = np.maximum(high - low, 1e-6)
    logs = np.log(np.stack([pose.scales[ever] for pose in poses]).clip(min=THINNEST))
    sizes = float(logs.min()), max(float(np.ptp(logs)), 1e-6)
    count = centers.shape[1]
    width = int(np.ceil(np.sqrt(count)))
    height = -(-count // width)
    planes = [_planes(_words(pose, ever, low, span, sizes), width * height) for pose in poses]
    changes = [planes[0], *(b - a for a, b in itertools.pairwise(planes))]  # modulo 256
    faint = np.zeros(width * height, np.uint8)
    faint[:count] = (poses[0].opacities[ever] * 255).round().clip(0, 255)
    packed = zlib.compress(b"".join(c.tobytes() for c in changes) + faint.tobytes(), 9)
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    target = (low + high) / 2
    meta = {
        "count": count,
        "poses": len(poses),
        "width": width,
        "height": height,
        "low": low.tolist(),
        "span": span.tolist(),
        "sizes": list(sizes),
        "fps": fps,
        "up": up.tolist(),
        "target": target.tolist(),
        "angle": _angle(target, up, eye),
        "distance": 2.2 * float(np.linalg.norm(high - low)),
        "background": list(background),
        "told": f"{title}: {count} splats, {len(poses)} poses. Drag to turn, scroll to come nearer, shift to move.",
    }
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    colors = "#" + "".join(f"{round(255 * float(c)):02x}" for c in background)
    parts = {
        "$TITLE": html.escape(title),
        "$BACKGROUND": colors,
        "$META": json.dumps(meta).replace("<", "\\u003c"),
        "$DATA": base64.b64encode(packed).decode(),
    }
    return re.sub("|".join(map(re.escape, parts)), lambda found: parts[found[0]], page)


def _words(
    pose: SplatPose,
    ever: np.ndarray,
    low: Float64[np.ndarray, "3"],
    span: Float64[np.ndarray, "3"],
    sizes: tuple[float, float],
) -> UInt32[np.ndarray, "n 4"]:
    """Four words a splat: x and y; z and two sizes; the quaternion; color and the third size."""
    place = ((pose.centers[ever] - low) / span * 65535).round().clip(0, 65535).astype(np.uint32)
    size = (
        ((np.log(pose.scales[ever].clip(min=THINNEST)) - sizes[0]) / sizes[1] * 255)
        .round()
        .clip(0, 255)
        .astype(np.uint32)
    )
    color = (pose.colors[ever] * 255).round().clip(0, 255).astype(np.uint32)
    return np.stack(
        [
            place[:, 0] | place[:, 1] << 16,
            place[:, 2] | size[:, 0] << 16 | size[:, 1] << 24,
            _smallest_three(pose.quaternions[ever]),
            color[:, 0] | color[:, 1] << 8 | color[:, 2] << 16 | size[:, 2] << 24,
        ],
        axis=1,
    ).astype("<u4")


def _smallest_three(quaternions: Float64[np.ndarray, "n 4"]) -> UInt32[np.ndarray, "n"]:
    """Unit quaternions in 32 bits: which number is the largest, and the others in 10 bits each."""
    rows = np.arange(len(quaternions))
    largest = np.abs(quaternions).argmax(1)
    signed = quaternions * np.sign(quaternions[rows, largest])[:, None]
    others = signed[np.arange(4)[None] != largest[:, None]].reshape(-1, 3)
    steps = ((others / HALF_TURN + 0.5) * 1023).round().clip(0, 1023).astype(np.uint32)
    return steps[:, 0] | steps[:, 1] << 10 | steps[:, 2] << 20 | largest.astype(np.uint32) << 30


def _planes(words: UInt32[np.ndarray, "n 4"], texels: int) -> UInt8[np.ndarray, "16 m"]:
    """Byte k of every splat together, padded to the texture's texels."""
    table = np.zeros((16, texels), np.uint8)
    table[:, : len(words)] = words.view(np.uint8).reshape(len(words), 16).T
    return table


def _angle(target: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"], eye: Float[np.ndarray, "3"] | None) -> float:
    """The direction of `eye` around the up axis, as the page counts it."""
    level = np.cross(up, [0, 1, 0] if abs(up[1]) < 0.9 else [0, 0, 1])
    level /= np.linalg.norm(level)
    ahead = np.cross(up, level)
    out = np.zeros(3) if eye is None else np.asarray(eye, np.float64) - target
    return float(np.arctan2(out @ ahead, out @ level)) if np.linalg.norm(np.cross(out, up)) > 1e-9 else 0.0
