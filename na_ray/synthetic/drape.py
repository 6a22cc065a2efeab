"""How cloth and hair follow a pose: wrinkles at bending joints, a skirt that sways and rests on the legs, a ponytail.

All of it is a function of the pose and the velocity, none of it of linear skinning alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import convolve1d

from na_ray.synthetic import figure
from na_ray.synthetic.implicit import Blob, closest_on_axis
from na_ray.synthetic.motion import Moment
from na_ray.synthetic.skeleton import REST, index, skin
from na_ray.synthetic.wardrobe import PIECES, Sheet, Wardrobe

# Seconds over which velocities are taken, and by which loose cloth lags behind.
LAG_SECONDS = 0.10


@dataclass(frozen=True)
class WrinkleSite:
    """Rings of cloth that fold when a joint bends."""

    joint: str
    axis: tuple[float, float, float]
    """Along the limb, rest axes."""
    wavelength: float
    reach: float
    """Decay along the limb (m)."""
    amplitude: float
    """Metres at a bend of one radian."""
    pieces: tuple[str, ...] = ("jacket",)


_ARM = (0.64, -0.77, 0.0)
_OTHER_ARM = (-0.64, -0.77, 0.0)
WRINKLES: tuple[WrinkleSite, ...] = (
    WrinkleSite("spine1", (0.0, 1.0, 0.0), 0.054, 0.10, 0.030),
    WrinkleSite("spine2", (0.15, 1.0, 0.0), 0.062, 0.12, 0.028),
    WrinkleSite("left_elbow", _ARM, 0.040, 0.075, 0.0090),
    WrinkleSite("right_elbow", _OTHER_ARM, 0.040, 0.075, 0.0090),
    WrinkleSite("left_shoulder", (0.80, -0.60, 0.0), 0.052, 0.090, 0.0100),
    WrinkleSite("right_shoulder", (-0.80, -0.60, 0.0), 0.052, 0.090, 0.0100),
    WrinkleSite("left_knee", (0.0, 1.0, 0.0), 0.045, 0.05, 0.0028, ("legs",)),
    WrinkleSite("right_knee", (0.0, 1.0, 0.0), 0.045, 0.05, 0.0028, ("legs",)),
)

# What loose parts rest on: blobs of these joints, and the gap kept (m).
_SKIRT_SUPPORT = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")
_TAIL_SUPPORT = ("head", "neck", "spine3", "left_collar", "right_collar")
_GAPS = {"skirt": 0.008, "coat_tail": 0.020, "ponytail": 0.018}
# Metres of sway a metre a second, at the hem.
_SWAY = {"skirt": 0.034, "coat_tail": 0.040}
_SWAY_LIMIT = 0.035
# Folds round the hem, their depth (m), and how far they stand out: the coat stays off the skirt.
_FOLDS = {"skirt": (8, 0.0140, 0.55), "coat_tail": (7, 0.0090, 1.10)}
_PONYTAIL_LENGTH = 0.215
# Radius along the ponytail (m): tied, full, pointed.
_PONYTAIL_RADII = (0.015, 0.022, 0.027, 0.028, 0.026, 0.021, 0.013, 0.004)


def drape(wardrobe: Wardrobe, moment: Moment, before: Moment, phase: float) -> Float[ndarray, "v 3"]:
    """World positions of all that is filmed; `before` is the figure `LAG_SECONDS` earlier, `phase` varies the folds."""
    rest = wardrobe.vertices + wrinkles(wardrobe, moment, phase)[:, None] * wardrobe.normals
    posed = skin(rest, wardrobe.weights, moment.transforms)
    earlier = before.to_world(skin(rest, wardrobe.weights, before.transforms))
    velocity = (moment.to_world(posed) - earlier) / LAG_SECONDS @ moment.rotation
    for name in ("skirt", "coat_tail"):
        _hang(posed, velocity, wardrobe.sheets[name], name, moment, phase)
    _tie_ponytail(posed, velocity, wardrobe, moment)
    return moment.to_world(posed)


def wrinkles(wardrobe: Wardrobe, moment: Moment, phase: float) -> Float[ndarray, "v"]:
    """Displacement along the rest normals (m): damped waves along the limb, deeper inside the bend."""
    total = np.zeros(len(wardrobe.vertices))
    for site in WRINKLES:
        bend = moment.rotvecs[index(site.joint)]
        angle = float(np.linalg.norm(bend))
        chosen = np.flatnonzero(np.isin(wardrobe.piece, [PIECES.index(piece) for piece in site.pieces]))
        offset = wardrobe.vertices[chosen] - REST[index(site.joint)]
        axis = np.array(site.axis) / np.linalg.norm(site.axis)
        along = offset @ axis
        near = (np.abs(along) < 2.5 * site.reach) & (np.linalg.norm(offset, axis=1) < 0.24)
        chosen, offset, along = chosen[near], offset[near], along[near]
        inner = np.cross(bend, -axis if site.axis[1] > 0 else axis) / max(angle, 1e-6)
        normals = wardrobe.normals[chosen]
        side = 0.30 + 0.70 * np.clip(normals @ inner, 0.0, 1.0)
        wave = np.sin(2 * np.pi * along / site.wavelength + 1.7 * normals[:, 0] + 2.3 * normals[:, 2] + phase)
        total[chosen] += site.amplitude * min(angle, 1.4) * side * np.exp(-((along / site.reach) ** 2)) * wave
    return total


def _grid(posed: Float[ndarray, "v 3"], sheet: Sheet) -> Float[ndarray, "r c 3"]:
    """The sheet's vertices as a view: changes go to `posed`."""
    return posed[sheet.start : sheet.start + sheet.rows * sheet.columns].reshape(sheet.rows, sheet.columns, 3)


def _hang(
    posed: Float[ndarray, "v 3"],
    velocity: Float[ndarray, "v 3"],
    sheet: Sheet,
    name: str,
    moment: Moment,
    phase: float,
) -> None:
    """Sway against the velocity, fall a little towards the ground, rest on the legs, then fold where there is slack."""
    net = _grid(posed, sheet)
    drop = np.linspace(0.0, 1.0, sheet.rows)[:, None, None] ** 1.6
    sway = -_SWAY[name] * _grid(velocity, sheet)
    length = np.linalg.norm(sway, axis=-1, keepdims=True)
    net += drop * sway * _SWAY_LIMIT / (_SWAY_LIMIT + length)
    mode = "wrap" if sheet.closed else "nearest"
    supports = [blob for blob in figure.TORSO + figure.LEGS if blob.joint in _SKIRT_SUPPORT]
    for rounds in (3, 2, 1):
        net[:] = _push_out(net.reshape(-1, 3), supports, moment, _GAPS[name]).reshape(net.shape)
        for _ in range(rounds):
            net[2:] = convolve1d(net, (0.25, 0.5, 0.25), axis=1, mode=mode)[2:]
    net[:] = _push_out(net.reshape(-1, 3), supports, moment, 0.6 * _GAPS[name]).reshape(net.shape)
    _fold(net, name, phase, sheet.closed)


def _fold(net: Float[ndarray, "r c 3"], name: str, phase: float, closed: bool) -> None:
    """Add vertical folds, shallow where the legs pull the cloth tight."""
    count, depth, stand = _FOLDS[name]
    rows, columns, _ = net.shape
    step = np.roll(net, -1, axis=1) - net
    if not closed:
        step[:, -1] = step[:, -2]
    width = np.linalg.norm(step, axis=-1)
    slack = np.clip(1.9 - width / np.median(width, axis=1, keepdims=True), 0.25, 1.5)
    slack = convolve1d(slack, np.ones(9) / 9, axis=1, mode="wrap" if closed else "nearest")
    center = net.mean(axis=1, keepdims=True)
    outward = net - center
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-6)
    angle = 2 * np.pi * np.arange(columns) / columns
    drop = np.linspace(0.0, 1.0, rows)[:, None]
    # Where the hem is pulled sideways the folds lean with it.
    lean = 4.0 * (center[:, :, 0] - center[:1, :, 0])
    wave = np.sin(count * angle + phase + lean * drop) + 0.45 * np.sin((2 * count - 3) * angle - 2 * phase)
    net += (depth * drop**1.3 * slack * (stand + wave))[..., None] * outward


def _push_out(points: Float[ndarray, "n 3"], blobs: list[Blob], moment: Moment, gap: float) -> Float[ndarray, "n 3"]:
    """Move points that are nearer than `gap` to a posed blob straight out of it."""
    points = points.copy()
    for blob in blobs:
        transform = moment.transforms[index(blob.joint)]
        local = (points - transform[:3, 3]) @ transform[:3, :3]
        offsets, radii = closest_on_axis(local, blob)
        distance = np.linalg.norm(offsets, axis=1)
        lack = np.maximum(radii + gap - distance, 0.0)
        move = offsets * (lack / np.maximum(distance, 1e-6))[:, None] * (1.0, 1.0, blob.flat)
        points += move @ transform[:3, :3].T
    return points


def _tie_ponytail(
    posed: Float[ndarray, "v 3"], velocity: Float[ndarray, "v 3"], wardrobe: Wardrobe, moment: Moment
) -> None:
    """A chain from the bun that starts stiff and ends hanging, trailing behind the head; then a tube round it."""
    sheet = wardrobe.sheets["ponytail"]
    head = moment.transforms[index("head")]
    start = head[:3, :3] @ np.array(figure.BUN.end) + head[:3, 3]
    down = moment.rotation.T @ np.array((0.0, -1.0, 0.0))
    trail = -0.16 * velocity[sheet.start]
    stiff = head[:3, :3] @ np.array((0.0, -0.80, -0.55))
    # Heavy hair lies against the nape.
    nape = moment.transforms[index("neck")][:3, :3] @ np.array((0.0, 0.0, 0.75))
    step = _PONYTAIL_LENGTH / (sheet.rows - 1)
    chain = [start]
    supports = [blob for blob in figure.BODY if blob.joint in _TAIL_SUPPORT]
    for row in range(1, sheet.rows):
        share = np.clip(2.2 * row / sheet.rows, 0.0, 0.93)
        heading = (1 - share) * stiff + share * (down + nape + trail)
        tip = chain[-1] + step * heading / np.linalg.norm(heading)
        chain.append(_push_out(tip[None], supports, moment, _GAPS["ponytail"])[0])
    line = convolve1d(np.array(chain), (0.25, 0.5, 0.25), axis=0, mode="nearest")
    _grid(posed, sheet)[:] = _tube(line, head[:3, 0], sheet.columns)


def _tube(line: Float[ndarray, "r 3"], side: Float[ndarray, "3"], columns: int) -> Float[ndarray, "r c 3"]:
    """Rings round a line, wider along `side` than across it."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    across = np.cross(tangent, side)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    along_side = np.cross(across, tangent)
    radius = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(_PONYTAIL_RADII)), _PONYTAIL_RADII)
    angle = 2 * np.pi * np.arange(columns) / columns
    ring = np.sin(angle)[None, :, None] * along_side[:, None] + 0.8 * np.cos(angle)[None, :, None] * across[:, None]
    return line[:, None] + radius[:, None, None] * ring
