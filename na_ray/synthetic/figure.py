"""Measures of the figure: the blobs that its body, clothes and hair are made of (rest pose, metres)."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from na_ray.synthetic.implicit import Blob, Point, blob_distance, smooth_union
from na_ray.synthetic.skeleton import REST, index

# Sole of the shoes in the rest pose.
SOLE = -0.962


def _mirrored(blobs: tuple[Blob, ...]) -> tuple[Blob, ...]:
    """The blobs of the left side, and their images on the right."""

    def flip(p: Point) -> Point:
        return (-p[0], p[1], p[2])

    images = tuple(
        Blob(
            b.joint.replace("left", "right"),
            flip(b.start),
            flip(b.end),
            b.start_radius,
            b.end_radius,
            b.flat,
            b.name.replace("left", "right"),
        )
        for b in blobs
    )
    return blobs + images


TORSO: tuple[Blob, ...] = (
    Blob("pelvis", (-0.058, -0.045, -0.004), (0.058, -0.045, -0.004), 0.098, 0.098, 0.94, "torso"),
    Blob("pelvis", (-0.055, -0.065, -0.036), (0.055, -0.065, -0.036), 0.078, 0.078, 1.0, "torso"),
    Blob("spine1", (-0.040, 0.095, -0.004), (0.040, 0.095, -0.004), 0.078, 0.078, 0.98, "torso"),
    Blob("spine2", (-0.046, 0.205, -0.008), (0.046, 0.205, -0.008), 0.085, 0.085, 0.96, "torso"),
    Blob("spine3", (-0.062, 0.325, -0.012), (0.062, 0.325, -0.012), 0.087, 0.087, 0.98, "torso"),
    Blob("spine3", (-0.078, 0.395, -0.020), (0.078, 0.395, -0.020), 0.066, 0.066, 0.95, "torso"),
    *_mirrored(
        (
            Blob("spine3", (0.064, 0.318, 0.052), (0.060, 0.305, 0.056), 0.045, 0.045, 1.0, "torso"),
            Blob("left_collar", (0.060, 0.438, -0.024), (0.138, 0.430, -0.022), 0.040, 0.045, 1.0, "torso"),
            Blob("left_collar", (0.020, 0.485, -0.030), (0.105, 0.447, -0.026), 0.036, 0.034, 1.0, "torso"),
        )
    ),
)

SLEEVES: tuple[Blob, ...] = _mirrored(
    (
        Blob("left_shoulder", (0.160, 0.428, -0.022), (0.333, 0.228, -0.032), 0.046, 0.036, 1.0, "left_arm"),
        Blob("left_elbow", (0.333, 0.228, -0.032), (0.470, 0.069, -0.001), 0.037, 0.032, 1.0, "left_arm"),
        Blob("left_elbow", (0.461, 0.080, -0.003), (0.474, 0.065, 0.000), 0.033, 0.034, 1.0, "left_arm"),
    )
)

# Two blunt mittens: what a tracked template knows of a hand.
MITTENS: tuple[Blob, ...] = _mirrored(
    (
        Blob("left_wrist", (0.485, 0.052, 0.003), (0.530, -0.002, 0.020), 0.026, 0.022, 1.0, "left_hand"),
        Blob("left_wrist", (0.515, 0.012, 0.034), (0.560, -0.045, 0.045), 0.018, 0.016, 1.0, "left_hand"),
        Blob("left_wrist", (0.515, 0.012, 0.000), (0.565, -0.045, 0.005), 0.018, 0.016, 1.0, "left_hand"),
        Blob("left_hand", (0.550, -0.030, 0.034), (0.576, -0.076, 0.033), 0.017, 0.015, 1.0, "left_hand"),
        Blob("left_hand", (0.552, -0.030, 0.010), (0.578, -0.076, 0.010), 0.017, 0.015, 1.0, "left_hand"),
        Blob("left_wrist", (0.505, 0.020, 0.035), (0.528, -0.026, 0.066), 0.016, 0.012, 1.0, "left_hand"),
    )
)

# Along the arm, across the palm (towards the thumb) and out of its back: fingers are laid out in these axes.
_ALONG = (REST[index("left_hand")] - REST[index("left_wrist")]) / np.linalg.norm(
    REST[index("left_hand")] - REST[index("left_wrist")]
)
_ACROSS = np.cross(np.cross(_ALONG, (0.0, 0.0, 1.0)), _ALONG)
_ACROSS /= np.linalg.norm(_ACROSS)
_BACK = np.cross(_ACROSS, _ALONG)

# joint, then (along, across, back) from the wrist of both ends in millimetres, radii in millimetres
_FINGERS = (
    ("left_wrist", (-45, 0, 0), (12, 2, 0), 22, 22),
    ("left_wrist", (8, 18, 1), (82, 24, 2), 15, 11),
    ("left_wrist", (8, 6, 2), (86, 8, 3), 15, 11),
    ("left_wrist", (8, -6, 2), (83, -9, 2), 15, 11),
    ("left_wrist", (8, -16, 0), (76, -23, -1), 14, 10),
    ("left_hand", (82, 25, 2), (120, 31, -6), 9.5, 8.5),
    ("left_hand", (120, 31, -6), (146, 33, -20), 8.5, 7),
    ("left_hand", (86, 9, 3), (128, 11, -5), 9.5, 8.5),
    ("left_hand", (128, 11, -5), (157, 11, -20), 8.5, 7),
    ("left_hand", (83, -9, 2), (122, -11, -7), 9.5, 8.5),
    ("left_hand", (122, -11, -7), (148, -11, -23), 8.5, 7),
    ("left_hand", (76, -24, -1), (106, -29, -9), 8.5, 7.5),
    ("left_hand", (106, -29, -9), (126, -31, -22), 7.5, 6.5),
    ("left_wrist", (12, 20, -4), (50, 46, -14), 15, 11),
    ("left_wrist", (50, 46, -14), (88, 56, -22), 11, 8),
)


def _finger(joint: str, start: tuple, end: tuple, start_radius: float | int, end_radius: float | int) -> Blob:
    axes = np.stack([_ALONG, _ACROSS, _BACK]) / 1000.0
    ends: list[Point] = []
    for place in (start, end):
        x, y, z = REST[index("left_wrist")] + np.array(place) @ axes
        ends.append((float(x), float(y), float(z)))
    return Blob(joint, ends[0], ends[1], start_radius / 1000.0, end_radius / 1000.0, 1.0, "left_hand")


HANDS: tuple[Blob, ...] = _mirrored(tuple(_finger(*row) for row in _FINGERS))

LEGS: tuple[Blob, ...] = _mirrored(
    (
        Blob("left_hip", (0.082, -0.085, -0.006), (0.088, -0.470, 0.008), 0.076, 0.046, 1.0, "left_leg"),
        Blob("left_knee", (0.088, -0.470, 0.008), (0.092, -0.885, -0.024), 0.045, 0.030, 1.0, "left_leg"),
        Blob("left_knee", (0.090, -0.580, -0.014), (0.091, -0.690, -0.022), 0.042, 0.037, 1.0, "left_leg"),
    )
)

SHOES: tuple[Blob, ...] = _mirrored(
    (
        Blob("left_ankle", (0.092, -0.885, -0.026), (0.093, -0.930, -0.040), 0.036, 0.036, 1.0, "left_foot"),
        Blob("left_ankle", (0.093, -0.915, -0.020), (0.100, -0.942, 0.080), 0.037, 0.033, 1.0, "left_foot"),
        Blob("left_foot", (0.100, -0.944, 0.070), (0.106, -0.946, 0.128), 0.037, 0.029, 1.0, "left_foot"),
    )
)

HEAD: tuple[Blob, ...] = (
    Blob("neck", (0.0, 0.470, -0.022), (0.0, 0.600, -0.016), 0.043, 0.043, 1.0, "head"),
    Blob("head", (0.0, 0.672, -0.012), (0.0, 0.698, -0.012), 0.069, 0.072, 1.24, "head"),
    Blob("head", (0.0, 0.605, 0.030), (0.0, 0.650, 0.022), 0.038, 0.055, 1.08, "head"),
    Blob("head", (0.0, 0.580, 0.060), (0.0, 0.592, 0.058), 0.018, 0.022, 1.0, "head"),
)

FACE: tuple[Blob, ...] = (
    Blob("head", (0.0, 0.668, 0.078), (0.0, 0.640, 0.097), 0.009, 0.0125, 1.0, "head"),
    Blob("head", (0.0, 0.606, 0.078), (0.0, 0.602, 0.078), 0.017, 0.016, 1.0, "head"),
    *_mirrored(
        (
            Blob("head", (0.079, 0.665, -0.014), (0.076, 0.638, -0.008), 0.013, 0.009, 1.3, "head"),
            Blob("head", (0.018, 0.694, 0.074), (0.042, 0.694, 0.062), 0.012, 0.012, 1.0, "head"),
            Blob("head", (0.040, 0.636, 0.052), (0.034, 0.630, 0.058), 0.022, 0.020, 1.0, "head"),
        )
    ),
)

# What hair adds to the cranium, and how far down it reaches at the back.
HAIR_THICKNESS, HAIR_BOTTOM = 0.014, 0.572
BUN = Blob("head", (0.0, 0.700, -0.098), (0.0, 0.694, -0.120), 0.028, 0.025, 1.0, "hair")

# What tracking makes of skirt and hair: hips, thighs and skull a little fuller than they are underneath.
CLOTHED: tuple[Blob, ...] = (
    Blob("pelvis", (-0.070, -0.045, -0.012), (0.070, -0.045, -0.012), 0.114, 0.114, 1.05, "torso"),
    Blob("pelvis", (-0.056, 0.035, -0.009), (0.056, 0.035, -0.009), 0.099, 0.099, 1.02, "torso"),
    Blob("head", (0.0, 0.676, -0.016), (0.0, 0.704, -0.016), 0.077, 0.080, 1.25, "head"),
    *_mirrored(
        (
            Blob("left_hip", (0.090, -0.110, -0.008), (0.101, -0.290, -0.002), 0.082, 0.073, 1.12, "left_leg"),
            Blob("left_hip", (0.101, -0.290, -0.002), (0.099, -0.405, 0.004), 0.072, 0.063, 1.12, "left_leg"),
        )
    ),
)

BODY: tuple[Blob, ...] = TORSO + SLEEVES + MITTENS + LEGS + SHOES + HEAD + CLOTHED


def soled(points: Float[ndarray, "n 3"], distance: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """Cut a surface off at the sole."""
    return np.maximum(distance, SOLE - points[:, 1])


def body_level(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n"]:
    """The clothed body that the template follows: no fingers, no face, no loose cloth."""
    return soled(points, smooth_union(points, BODY, 0.011))


def head_level(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n"]:
    """Head and neck with a nose, lips, brows, cheeks and ears."""
    return smooth_union(points, HEAD + FACE, 0.009)


def hair_level(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n"]:
    """A cap of hair: the cranium grown, cut along a slanting hairline with a side parting, plus a bun."""
    x, y, z = points.T
    cap = smooth_union(points, HEAD[:2], 0.012) - HAIR_THICKNESS
    hairline = z - 0.058 - 1.25 * (y - 0.712) - 0.35 * np.abs(x - 0.018)
    cap = np.maximum(np.maximum(cap, 0.7 * hairline), HAIR_BOTTOM - y)
    bun = blob_distance(points, BUN)
    return -0.006 * np.log(np.exp(-np.clip(cap / 0.006, -99, 40)) + np.exp(-np.clip(bun / 0.006, -99, 40)))
