"""Curves as SVG, without a library in the page."""

import html
import math
from collections.abc import Mapping, Sequence

from na_ray.report.record import StepValue

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 460, 240, 58, 26, 22


def color_of(number: int) -> str:
    """The color of a run by its position."""
    return COLORS[number % len(COLORS)]


def chart(title: str, curves: Mapping[str, Sequence[StepValue]], colors: Mapping[str, str]) -> str:
    """Curves over steps, one a run; values of a loss that spans more than a decade are drawn by their logarithm."""
    points = [point for curve in curves.values() for point in curve if math.isfinite(point[1])]
    if not points:
        return ""
    least, most = min(v for _, v in points), max(v for _, v in points)
    logarithmic = least > 0 and most / least > 10
    scale = math.log10 if logarithmic else float
    low, high = scale(least), scale(most)
    low, high = (low - 0.5, high + 0.5) if high == low else (low, high)
    last = max(step for step, _ in points) or 1

    def place(step: float | int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 8) * step / last
        return x, HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (scale(value) - low) / (high - low)

    parts = [f'<text x="{LEFT}" y="14" class="title">{html.escape(title)}{" (log)" if logarithmic else ""}</text>']
    for i in range(5):
        value = low + (high - low) * i / 4
        shown = 10**value if logarithmic else value
        y = place(0, shown)[1]
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{shown:.4g}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">0</text>')
    parts.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 8}" text-anchor="end">step {last}</text>')
    for name, curve in curves.items():
        at = [place(s, v) for s, v in _thinned(curve) if math.isfinite(v)]
        if len(at) == 1:
            parts.append(f'<circle cx="{at[0][0]:.1f}" cy="{at[0][1]:.1f}" r="3" fill="{colors[name]}"/>')
        elif at:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            parts.append(
                f'<polyline points="{line}" stroke="{colors[name]}"><title>{html.escape(name)}</title></polyline>'
            )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _thinned(curve: Sequence[StepValue], most: int = 300) -> list[StepValue]:
    """Means of neighbors, where there are more points than the picture has pixels to spare."""
    size = -(-len(curve) // most)
    groups = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(round(sum(s for s, _ in g) / len(g)), sum(v for _, v in g) / len(g)) for g in groups]
