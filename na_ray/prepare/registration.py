"""How far beside its place each pixel of a photograph shows what the texture map has there: track and template drift.

The posed body is drawn in the reference map; a small, smooth flow takes the drawing to the photograph. Symbols: D the
drawing, I the photograph, both as gray levels freed of their local mean and contrast; s the shift (x, y) in pixels
with D(p) = I(p + s(p)), found by Lucas and Kanade's least squares in a Gaussian window.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter, map_coordinates

LARGEST = 4.0
"""Pixels: what is farther off is no drift."""
LOCAL = 6.0
"""Width (sigma, pixels) of the window that mean and contrast are taken in."""
WINDOW = 4.0
"""Width of the window that moves as one."""
CALM = 2e-3
"""What a shift of a pixel costs, beside squared gradients: where there is no pattern nothing moves."""
STEPS = 6
FLAT = 0.02
"""A contrast below this is noise rather than a pattern."""

Gray = Float[np.ndarray, "h w"]


def shift_between(
    drawing: Float[np.ndarray, "h w 3"], photograph: UInt8[np.ndarray, "h w 3"], shown: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 2"]:
    """s at every pixel; it fades to zero away from `shown`, the pixels where both show the person."""
    return flow(drawing, photograph, shown)[0]


def flow(
    drawing: Float[np.ndarray, "h w 3"], photograph: UInt8[np.ndarray, "h w 3"], shown: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "h w 2"], Float[np.ndarray, "h w 2 2"]]:
    """(s, how well each pixel's is known: of the two directions, 0..1): along a stripe nothing is."""
    weight = shown.astype(np.float64)
    if not shown.any():
        return np.zeros((*shown.shape, 2)), np.zeros((*shown.shape, 2, 2))
    still = _normalized(drawing.mean(axis=2), weight)
    moving = _normalized(photograph.astype(np.float64).mean(axis=2) / 255, weight)
    gy, gx = np.gradient(still)
    xx, xy, yy = (gaussian_filter(weight * g, WINDOW) for g in (gx * gx, gx * gy, gy * gy))
    xx, yy = xx + CALM, yy + CALM
    determinant = xx * yy - xy * xy
    shift = np.zeros((*shown.shape, 2))
    for _ in range(STEPS):
        there, known = _moved(moving, shift), _moved(weight, shift) * weight
        difference = known * (still - there)
        bx = gaussian_filter(gx * difference, WINDOW) - CALM * shift[..., 0]
        by = gaussian_filter(gy * difference, WINDOW) - CALM * shift[..., 1]
        step = np.stack([yy * bx - xy * by, xx * by - xy * bx], axis=2) / determinant[..., None]
        shift = np.clip(shift + step, -LARGEST, LARGEST)
    # T (T + calm)^-1 = 1 - calm (T + calm)^-1, with the calm already added to the diagonal above.
    inverse = np.stack([np.stack([yy, -xy], 2), np.stack([-xy, xx], 2)], 3) / determinant[..., None, None]
    return shift, weight[..., None, None] * (np.eye(2) - CALM * inverse)


def _normalized(gray: Gray, weight: Gray) -> Gray:
    """Freed of its mean and contrast around each pixel, over those of weight one."""
    total = gaussian_filter(weight, LOCAL) + 1e-6
    mean = gaussian_filter(weight * gray, LOCAL) / total
    spread = gaussian_filter(weight * (gray - mean) ** 2, LOCAL) / total
    return weight * (gray - mean) / np.sqrt(spread + FLAT**2)


def _moved(picture: Gray, shift: Float[np.ndarray, "h w 2"]) -> Gray:
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return map_coordinates(picture, [rows + shift[..., 1], columns + shift[..., 0]], order=1, mode="nearest")
