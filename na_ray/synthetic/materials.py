"""Colors of the figure where a ray meets it: patterns of cloth, a painted face, strands of hair.

Patterns are looked up at the coordinates of `Wardrobe.coords`: rest positions on solid pieces (metres), (round, down)
on sheets, (angle, share of the length) on the ponytail. Colors are sRGB in 0..1.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from na_ray.synthetic.figure import SOLE
from na_ray.synthetic.skeleton import REST, index
from na_ray.synthetic.style import Color, Style
from na_ray.synthetic.wardrobe import PIECES

# Share of light that each piece mirrors, and how sharply.
GLOSS: dict[str, tuple[float, float]] = {
    "head": (0.10, 18.0),
    "hands": (0.08, 18.0),
    "shoes": (0.16, 28.0),
    "hair": (0.22, 26.0),
    "ponytail": (0.22, 26.0),
}
_SHIRT: Color = (0.95, 0.94, 0.92)
_TIGHTS: Color = (0.24, 0.22, 0.27)
_SHOE: Color = (0.90, 0.89, 0.87)
_RUBBER: Color = (0.16, 0.16, 0.18)

Coords = Float[ndarray, "n 3"]
Colors = Float[ndarray, "n 3"]


class _Paint:
    """Layers of color over a ground, each with its coverage in 0..1."""

    def __init__(self, count: int, ground: Color) -> None:
        self.colors = np.tile(np.array(ground), (count, 1))

    def over(self, coverage: Float[ndarray, "n"], color: Color) -> "_Paint":
        """Lay `color` over what is there."""
        self.colors += np.clip(coverage, 0.0, 1.0)[:, None] * (np.array(color) - self.colors)
        return self


def _inside(distance: Float[ndarray, "n"], edge: float = 0.0015) -> Float[ndarray, "n"]:
    """1 where a signed distance (m) is negative, with an edge of about `edge`."""
    return np.clip(0.5 - distance / edge, 0.0, 1.0)


def _stripe(position: Float[ndarray, "n"], period: float, share: float) -> Float[ndarray, "n"]:
    """Coverage of stripes that take `share` of each period."""
    phase = position / period - np.floor(position / period)
    return _inside((np.abs(phase - 0.5) - 0.5 * share) * period)


def _ellipse(x: ndarray, y: ndarray, width: float, height: float) -> Float[ndarray, "n"]:
    return (np.hypot(x / width, y / height) - 1.0) * min(width, height)


def _mix(a: Color, b: Color, share: float) -> Color:
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def _head(coords: Coords, style: Style) -> Colors:
    x, y, z = coords.T
    front = _inside(0.020 - z, 0.01)
    side = np.abs(x)
    lips = _mix(style.skin, (0.66, 0.16, 0.20), 0.65)
    paint = _Paint(len(coords), style.skin)
    blush = 0.35 * np.exp(-(((side - 0.042) / 0.020) ** 2) - ((y - 0.636) / 0.018) ** 2)
    paint.over(front * blush, (0.86, 0.36, 0.32))
    paint.over(0.30 * front * np.exp(-(((side - 0.030) / 0.022) ** 2) - ((y - 0.672) / 0.014) ** 2), style.hair)
    paint.over(front * _inside(_ellipse(side - 0.030, y - 0.670, 0.0165, 0.0085)), (0.97, 0.96, 0.95))
    paint.over(front * _inside(_ellipse(side - 0.029, y - 0.6705, 0.0078, 0.0082)), (0.16, 0.22, 0.24))
    paint.over(
        front * _inside(np.abs(y - 0.6785 + 6.0 * (side - 0.030) ** 2) - 0.0020) * (np.abs(side - 0.030) < 0.018),
        style.hair,
    )
    brow = np.abs(y - 0.694 - 0.10 * (side - 0.020) + 9.0 * (side - 0.034) ** 2) - 0.0034
    paint.over(front * _inside(brow) * (np.abs(side - 0.033) < 0.019), _mix(style.hair, (0.05, 0.04, 0.04), 0.4))
    paint.over(front * _inside(_ellipse(x, y - 0.6035, 0.0225, 0.0085)), lips)
    paint.over(front * _inside(np.abs(y - 0.6035) - 0.0012) * (side < 0.020), _mix(lips, (0.1, 0.02, 0.02), 0.6))
    paint.over(0.6 * front * _inside(_ellipse(side - 0.0075, y - 0.630, 0.0035, 0.0030)), (0.25, 0.10, 0.08))
    return paint.colors


def _skin(coords: Coords, style: Style) -> Colors:
    return _Paint(len(coords), style.skin).colors


def _jacket(coords: Coords, style: Style) -> Colors:
    x, y, z = coords.T
    side = np.abs(x)
    elbow, shoulder = REST[index("left_elbow")], REST[index("left_shoulder")]
    axis = (elbow - shoulder) / np.linalg.norm(elbow - shoulder)
    along = (side - shoulder[0]) * axis[0] + (y - shoulder[1]) * axis[1]
    sleeve = (side > 0.165) & (along > -0.01)
    paint = _Paint(len(coords), style.jacket)
    paint.over(
        np.where(sleeve, _stripe(along, style.stripe_width, 0.32), _stripe(x, style.stripe_width, 0.28)), style.stripes
    )
    patch = _ellipse(
        along - 0.27, side * axis[1] - y * axis[0] - (elbow[0] * axis[1] - elbow[1] * axis[0]), 0.062, 0.040
    )
    paint.over(_inside(patch) * (sleeve & (z < -0.035)), style.lining)
    paint.over(_inside(0.475 - along) * sleeve, style.lining)
    front = ~sleeve & (z > -0.02)
    neckline = side - 0.40 * np.maximum(y - 0.285, 0.0)
    paint.over(_inside(neckline - 0.020) * front * (y > 0.26), style.lining)
    paint.over(_inside(neckline) * front * (y > 0.285), _SHIRT)
    paint.over(_inside(side - 0.0020) * front * (y <= 0.285), style.lining)
    for height in (0.135, 0.195, 0.255):
        paint.over(_inside(np.hypot(x - 0.014, y - height) - 0.0085) * front, style.accent)
    return paint.colors


def _legs(coords: Coords, style: Style) -> Colors:
    y = coords[:, 1]
    paint = _Paint(len(coords), _TIGHTS)
    paint.over(_inside(y + 0.640), style.accent)
    return paint.over(_inside(np.abs(y + 0.675) - 0.010) + _inside(np.abs(y + 0.715) - 0.010), _SHIRT).colors


def _shoes(coords: Coords, style: Style) -> Colors:
    x, y, z = coords.T
    paint = _Paint(len(coords), _SHOE)
    paint.over(_inside(0.088 - z) * (y < -0.91), _mix(_SHOE, style.lining, 0.55))
    paint.over(
        _inside(np.abs(np.abs(x) - 0.099) - 0.017) * (z > 0.005) * _stripe(z, 0.018, 0.5) * (y > -0.938), style.lining
    )
    paint.over(_inside(z + 0.052) * (y < -0.89), style.accent)
    return paint.over(_inside(y - SOLE - 0.017), _RUBBER).colors


def _strands(angle: ndarray, along: ndarray, style: Style) -> Colors:
    """Hair: thin strands that run along, lighter and darker."""
    wave = np.sin(23.0 * angle + 2.0 * np.sin(9.0 * along)) + 0.6 * np.sin(41.0 * angle + 3.0 * along)
    paint = _Paint(len(angle), style.hair)
    paint.over(0.45 * np.clip(wave, 0.0, 1.0), _mix(style.hair, (0.95, 0.80, 0.60), 0.30))
    return paint.over(0.5 * np.clip(-wave, 0.0, 1.0), _mix(style.hair, (0.0, 0.0, 0.0), 0.45)).colors


def _hair(coords: Coords, style: Style) -> Colors:
    x, y, z = coords.T
    bun = z < -0.102
    # Strands run from the parting and the hairline back towards the bun.
    angle = np.where(bun, np.arctan2(x, y - 0.70), np.arctan2(x - 0.018 * (z > 0), y - 0.66))
    return _strands(angle, z * 8.0, style)


def _ponytail(coords: Coords, style: Style) -> Colors:
    colors = _strands(coords[:, 0], coords[:, 1] * 2.0, style)
    tie = (coords[:, 1] < 0.10)[:, None]
    return np.where(tie, np.array(style.accent), colors)


def _skirt(coords: Coords, style: Style) -> Colors:
    round_about, down, _ = coords.T
    u, v = round_about + 0.5 * style.check_width, down
    paint = _Paint(len(coords), style.skirt)
    darker = _mix(style.skirt, (0.0, 0.0, 0.0), 0.35)
    paint.over(0.8 * _stripe(u, style.check_width, 0.36), darker).over(
        0.8 * _stripe(v, style.check_width, 0.36), darker
    )
    line = 0.5 * style.check_width
    paint.over(_stripe(u + line, style.check_width, 0.13), style.bands).over(
        _stripe(v + line, style.check_width, 0.13), style.bands
    )
    # One side of the skirt has dots, so that left and right differ.
    du = (u / style.check_width - np.floor(u / style.check_width) - 0.5) * style.check_width
    dv = (v / style.check_width - np.floor(v / style.check_width) - 0.5) * style.check_width
    dotted = (round_about > 0.02) & (round_about < 0.42)
    paint.over(_inside(np.hypot(du, dv) - 0.015) * dotted, style.dots)
    return paint.over(_inside(0.495 - down), style.bands).colors


def _coat_tail(coords: Coords, style: Style) -> Colors:
    round_about, down, _ = coords.T
    paint = _Paint(len(coords), style.jacket)
    paint.over(_stripe(round_about, 1.25 * style.stripe_width, 0.28), style.stripes)
    paint.over(_inside(np.abs(down - 0.028) - 0.013), style.lining)
    return paint.over(_inside(0.268 - down), style.lining).colors


def _collar(coords: Coords, style: Style) -> Colors:
    return _Paint(len(coords), style.lining).colors


_PAINTERS: dict[str, Callable[[Coords, Style], Colors]] = {
    "head": _head,
    "hands": _skin,
    "jacket": _jacket,
    "legs": _legs,
    "shoes": _shoes,
    "hair": _hair,
    "skirt": _skirt,
    "coat_tail": _coat_tail,
    "collar": _collar,
    "ponytail": _ponytail,
}


def paint(piece: Int[ndarray, "n"], coords: Coords, style: Style) -> Colors:
    """sRGB of points on the pieces."""
    colors = np.empty_like(coords)
    for number, name in enumerate(PIECES):
        chosen = piece == number
        if chosen.any():
            colors[chosen] = _PAINTERS[name](coords[chosen], style)
    return colors


def gloss(piece: Int[ndarray, "n"]) -> tuple[Float[ndarray, "n"], Float[ndarray, "n"]]:
    """Strength and exponent of the highlight."""
    table = np.array([GLOSS.get(name, (0.02, 8.0)) for name in PIECES])
    return table[piece, 0], table[piece, 1]
