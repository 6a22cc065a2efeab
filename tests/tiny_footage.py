"""Pictures through real lenses, for tests: a scene that is a formula, so that any picture of it is exact."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

K = np.array([[100.0, 0, 46.3], [0, 103.0, 37.1], [0, 0, 1]])
WIDTH, HEIGHT = 96, 72
BARREL = (-0.28, 0.09, 0.0012, -0.0009, -0.01)


def bend(x: float, y: float, k: Sequence[float]) -> tuple[float, float]:
    """OpenCV's model, term by term, for one point of the plane z = 1."""
    k1, k2, p1, p2, k3, k4, k5, k6 = [*k, *[0.0] * (8 - len(k))]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return bent_x, bent_y


def unbend(x: float, y: float, k: Sequence[float]) -> tuple[float, float]:
    """By plain repetition, as OpenCV does it."""
    u, v = x, y
    for _ in range(60):
        a, b = bend(u, v, k)
        u, v = u + x - a, v + y - b
    return u, v


def straight_places(k: Sequence[float], width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Where each pixel of the real picture lies in the pin-hole one: (h, w, 2)."""
    places = np.empty((height, width, 2))
    for row in range(height):
        for column in range(width):
            x, y = unbend((column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1], k)
            places[row, column] = K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]
    return places


def grid(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """The places of the pin-hole picture's own pixels."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)


def room(places: np.ndarray) -> np.ndarray:
    """Colors of the scene without the person at places (..., 2), 0..255 float."""
    x, y = places[..., 0], places[..., 1]
    waves = [np.sin(x / 7 + 1), np.cos(y / 6), np.sin((x + y) / 9)]
    return 110 + 50 * np.stack(waves, axis=-1)


def person(places: np.ndarray, frame: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(colors, share 0..1 with edges some pixels soft) of the person."""
    x, y = places[..., 0], places[..., 1]
    radius = np.hypot((x - 44 - 2 * frame) / 12, (y - 36) / 22)
    colors = np.stack([215 + 20 * np.sin(y / 4), 40 + 15 * np.cos(x / 5), 60 + 0 * x], axis=-1)
    return colors, np.clip((1 - radius) * 8 + 0.5, 0, 1)


def shot(places: np.ndarray, frame: int, behind: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(picture, matte) uint8 of the person before the room, or before colors of `behind`."""
    colors, share = person(places, frame)
    mixed = colors * share[..., None] + (room(places) if behind is None else behind) * (1 - share[..., None])
    return (mixed + 0.5).astype(np.uint8), (255 * share + 0.5).astype(np.uint8)


def write_pictures(folder: Path, pictures: Sequence[np.ndarray], ending: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for n, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{n:06d}{ending}")
    return folder


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2) / 255**2))
