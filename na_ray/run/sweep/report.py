"""The results of a sweep: the table of trials, the parallel coordinates, and the best actor, in the parent's run."""

import csv
import html
import io
import json
import math
from pathlib import Path
from typing import Any

from na_ray.actor import write_actor
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import write_json
from na_ray.config.files import read_json
from na_ray.run.sweep.search_space import Space, is_log
from na_ray.run.sweep.state import SCORE, SweepState, Trial
from na_ray.run.tracking.records import write_page
from na_ray.run.tracking.registry import log_actor, model_name
from na_ray.run.tracking.runs import Tracker
from na_ray.run.train.closing import Closing, closing_hands, forget
from na_ray.run.train.stages import STAGES

TableRow = dict[str, Any]


def rows(sweep_state: SweepState) -> list[TableRow]:
    """One row per trial, best first: trial, state, validation/psnr (dB), steps, seconds, knobs, error."""
    return [
        {
            "trial": trial.name,
            "state": _state(trial),
            SCORE: sweep_state.score(trial),
            "steps": sweep_state.steps(trial),
            "seconds": round(trial.seconds, 1),
            "knobs": trial.knobs,
            "error": trial.error,
            "lineage": trial.lineage,
        }
        for trial in sweep_state.ranking()
    ]


def _state(trial: Trial) -> str:
    return "unfinished" if trial.state in ("waiting", "resting", "running") else trial.state


def _cells(row: TableRow, space: Space) -> list[str]:
    score = "" if row[SCORE] is None else f"{row[SCORE]:.2f}"
    knobs = [_short(row["knobs"][name]) for name in space]
    return [row["trial"], row["state"], score, str(row["steps"]), f"{row['seconds']:.0f}", *knobs, row["error"]]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace(" ", "")


def _heads(space: Space) -> list[str]:
    return ["trial", "state", "PSNR/dB", "steps", "seconds", *space, "error"]


def text_table(table: list[TableRow], space: Space) -> str:
    """The table for a terminal."""
    lines = [_heads(space), *(_cells(row, space) for row in table)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


def write_report(folder: Path, table: list[TableRow], space: Space) -> None:
    """Write table.json, table.csv, table.md and parallel_coordinates.html."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "table.json", table)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["trial", "state", SCORE, "steps", "seconds", *space, "error"])
    for row in table:
        knobs = [row["knobs"][name] for name in space]
        writer.writerow([row["trial"], row["state"], row[SCORE], row["steps"], row["seconds"], *knobs, row["error"]])
    (folder / "table.csv").write_text(text.getvalue())
    lines = [_heads(space), ["---"] * len(_heads(space)), *(_cells(row, space) for row in table)]
    (folder / "table.md").write_text(
        "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
    )
    (folder / "parallel_coordinates.html").write_text(parallel_coordinates(table, space))


def parallel_coordinates(table: list[TableRow], space: Space) -> str:
    """A page with one axis per knob and one for the score, one line per trial: the better, the darker. No script."""
    width, height, gap, top = 220 * (len(space) + 1), 420, 220, 50
    scored = [row for row in table if row[SCORE] is not None and math.isfinite(row[SCORE])]
    axes = [_axis([row["knobs"][name] for row in scored], is_log(space[name])) for name in space]
    axes.append(_axis([row[SCORE] for row in scored], False))
    drawn = []
    for i, row in enumerate(reversed(scored)):  # the best on top
        values = [*(row["knobs"][name] for name in space), row[SCORE]]
        at = [(gap // 2 + gap * k, top + (1 - axes[k][0][_key(v)]) * (height - 100)) for k, v in enumerate(values)]
        light = 85 - 55 * (i + 1) / len(scored)
        points = " ".join(f"{x:.0f},{y:.1f}" for x, y in at)
        title = html.escape(", ".join(_cells(row, space)[:3] + [f"{n}={_short(row['knobs'][n])}" for n in space]))
        stroke = f'fill="none" stroke="hsl(215 80% {light:.0f}%)" stroke-width="{3 if i == len(scored) - 1 else 1.5}"'
        drawn.append(f'<polyline points="{points}" {stroke}><title>{title}</title></polyline>')
    for k, (name, (_, ticks)) in enumerate(zip([*space, "PSNR (dB)"], axes, strict=True)):
        x, halo = gap // 2 + gap * k, 'stroke="#fff" stroke-width="3" paint-order="stroke"'
        drawn.append(f'<line x1="{x}" x2="{x}" y1="{top}" y2="{height - 50}" stroke="#333"/>')
        drawn.append(f'<text x="{x}" y="{top - 20}" text-anchor="middle" font-weight="bold">{html.escape(name)}</text>')
        for place, label in ticks:
            y = top + (1 - place) * (height - 100)
            drawn.append(f'<text x="{x + 6}" y="{y + 4:.1f}" fill="#333" {halo}>{html.escape(label)}</text>')
    return (
        '<!doctype html><meta charset="utf-8"><title>Sweep</title>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12">\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _key(value: Any) -> str:
    return json.dumps(value)


def _axis(values: list[Any], log: bool) -> tuple[dict[str, float], list[tuple[float, str]]]:
    """The place of each value on an axis, 0 (bottom) to 1, and the labels at their places."""
    numbers = all(type(v) in (int, float) for v in values)
    if not numbers or len({_key(v) for v in values}) <= 5:
        order = sorted(set(values)) if numbers else sorted(set(map(_key, values)))
        keys = [_key(v) for v in order] if numbers else list(order)
        places = {key: (i + 0.5) / len(keys) for i, key in enumerate(keys)}
        return places, [(place, _short(json.loads(key))) for key, place in places.items()]
    scale = math.log if log else float
    low, high = min(values), max(values)
    span = (scale(high) - scale(low)) or 1.0
    places = {_key(v): (scale(v) - scale(low)) / span for v in values}
    return places, [(0.0, _short(low)), (1.0, _short(high))]


def close(sweep_state: SweepState, space: Space, parent: Tracker) -> str:
    """Write the report, register the best actor, score and film it; all of it into the parent's run.

    Returns a summary for the user: the table, the best trial's knobs, and how to open it.
    """
    table = rows(sweep_state)
    write_report(sweep_state.root / "report", table, space)
    parent.files(sweep_state.root / "report", "sweep")
    best = sweep_state.best()
    if best is None:
        return f"\n{text_table(table, space)}\nno trial was validated: there is no best one"
    summary = [_close_best(sweep_state, best, parent), f"\n{text_table(table, space)}\n"]
    score, knobs = sweep_state.score(best), " ".join(f"{name}={_short(best.knobs[name])}" for name in space)
    assert score is not None
    parent.scores({SCORE: score}, sweep_state.steps(best))
    parent.tag({"best": f"trial {best.name}: {knobs}"[:5000]})
    summary += [
        f"best      trial {best.name}, validation PSNR {score:.2f} dB: {knobs}",
        "train     " + " ".join(f"--{name.replace('_', '-')} {_argument(best.knobs[name])}" for name in space),
    ]
    return "\n".join(summary)


def _close_best(sweep_state: SweepState, best: Trial, parent: Tracker) -> str:
    """Score and film the best actor, unless an earlier start of the sweep has done so."""
    checkpoint = sweep_state.run(best).checkpoints.best()
    assert checkpoint is not None
    path = sweep_state.root / "closed.json"
    place = str(checkpoint.relative_to(sweep_state.root))
    closed = read_json(path, "checkpoint", "told") if path.exists() else {}
    if closed.get("checkpoint") == place:
        return str(closed["told"])
    parts = STAGES[sweep_state.stage]
    capture, run = Capture.open(sweep_state.experiment.capture), sweep_state.run(best)
    with closing_hands(sweep_state.experiment) as hands:
        closing = Closing(checkpoint, run.folder, parent, hands)
        summary = parts.close(closing, capture)
    actor = write_actor(run.root / "actor", {sweep_state.stage: checkpoint}, capture, closing.mean)
    version = closing.once("version", lambda: log_actor(parent, actor, sweep_state.experiment.name))
    summary += f"\nactor: {actor}, and models:/{model_name(sweep_state.experiment.name)}/{version} in MLflow"
    write_page(sweep_state.root / "report.html", [sweep_state.root])
    parent.page(sweep_state.root / "report.html")
    summary += f"\nreport: {sweep_state.root / 'report.html'}"
    write_json(path, {"checkpoint": place, "told": summary})
    forget(run.folder)
    return summary


def _argument(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
