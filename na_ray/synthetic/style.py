"""Which person it is: colors, sizes and habits drawn from a seed."""

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]

# sRGB in 0..1: jacket, its stripes, its lining and cuffs; skirt, its bands, its dots; hair tie and socks.
_OUTFITS: tuple[tuple[Color, ...], ...] = (
    (
        (0.90, 0.84, 0.72), (0.62, 0.14, 0.12), (0.30, 0.10, 0.12),
        (0.05, 0.38, 0.38), (0.93, 0.79, 0.25), (0.95, 0.93, 0.88), (0.80, 0.16, 0.18),
    ),
    (
        (0.17, 0.25, 0.42), (0.88, 0.86, 0.80), (0.86, 0.60, 0.18),
        (0.66, 0.20, 0.16), (0.96, 0.86, 0.68), (0.18, 0.16, 0.24), (0.94, 0.66, 0.16),
    ),
    (
        (0.86, 0.62, 0.20), (0.38, 0.20, 0.10), (0.28, 0.20, 0.16),
        (0.20, 0.24, 0.44), (0.82, 0.42, 0.34), (0.92, 0.90, 0.86), (0.16, 0.46, 0.48),
    ),
    (
        (0.52, 0.66, 0.60), (0.95, 0.93, 0.86), (0.16, 0.30, 0.30),
        (0.50, 0.16, 0.32), (0.94, 0.70, 0.62), (0.98, 0.92, 0.76), (0.96, 0.80, 0.30),
    ),
)  # fmt: skip
_SKINS: tuple[Color, ...] = ((0.93, 0.75, 0.64), (0.83, 0.62, 0.48), (0.64, 0.43, 0.31), (0.45, 0.29, 0.21))
_HAIRS: tuple[Color, ...] = ((0.20, 0.13, 0.09), (0.48, 0.27, 0.13), (0.62, 0.45, 0.22), (0.10, 0.09, 0.10))


@dataclass(frozen=True)
class Style:
    """Colors are sRGB in 0..1, lengths metres, angles as named."""

    jacket: Color
    stripes: Color
    lining: Color
    skirt: Color
    bands: Color
    dots: Color
    accent: Color
    skin: Color
    hair: Color
    stature: float
    """Scale of the whole figure; 1 is 1.73 m."""
    stripe_width: float
    """Period of the jacket's stripes."""
    check_width: float
    """Period of the skirt's check."""
    fold_phase: float
    """Radians: where folds and wrinkles begin."""
    walk_phase: float
    """Radians: where in its cycle the walk begins."""
    heading: float
    """Degrees: where the figure looks at first."""
    turn: float
    """1 or -1: which way the walk turns, and which arm leads the routine."""

    @classmethod
    def from_seed(cls, seed: int) -> "Style":
        """The person of this seed."""
        rng = np.random.default_rng(seed)
        outfit = _OUTFITS[seed % len(_OUTFITS)]
        skin, hair = _SKINS[int(rng.integers(len(_SKINS)))], _HAIRS[int(rng.integers(len(_HAIRS)))]
        jacket, stripes, lining, skirt, bands, dots, accent = outfit
        return cls(
            jacket=jacket,
            stripes=stripes,
            lining=lining,
            skirt=skirt,
            bands=bands,
            dots=dots,
            accent=accent,
            skin=skin,
            hair=hair,
            stature=float(rng.uniform(0.94, 1.04)),
            stripe_width=float(rng.uniform(0.030, 0.040)),
            check_width=float(rng.uniform(0.080, 0.105)),
            fold_phase=float(rng.uniform(0.0, 2 * np.pi)),
            walk_phase=float(rng.uniform(0.0, 2 * np.pi)),
            heading=float(rng.uniform(-60.0, 60.0)),
            turn=float(rng.choice((-1.0, 1.0))),
        )
