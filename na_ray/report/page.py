"""One self-contained page that compares runs: it opens offline, and needs nothing beside it (`page.html`)."""

import base64
import html
import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from na_ray.pictures.png import read_png
from na_ray.report.chart import chart, color_of
from na_ray.report.record import RunRecord
from na_ray.version import __version__

CURVES = (
    "loss",
    "psnr",
    "validation/psnr",
    "validation/ssim",
    "fit/psnr",
    "lr",
    "steps_per_second",
    "data_wait_percent",
)
"""Metrics that are drawn, in this order, where a stage has them."""
MOST_PICTURES = 4
"""Pictures of a run's last validation that are shown."""
FULL_ERROR = 0.25
"""Mean difference of the channels, of 1, that is drawn in full red."""
PARTS = ("color", "depth", "normals", "mesh")
"""Films that the one of all views in a row holds."""
METRICS = ("psnr", "ssim", "lpips")


def write_report(path: Path, runs: Sequence[RunRecord], title: str, turnable: Callable[[Path], str | None]) -> int:
    """Write the page. Returns its size in bytes.

    `turnable`: an actor's folder to a page that turns it (`export.html`); None where it cannot be.
    """
    stages = list(dict.fromkeys(stage.name for run in runs for stage in run.stages))
    parts = [f"<h1>{html.escape(title)}</h1>", _overview(runs), _knobs(runs)]
    for name in stages:
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [_scores(runs, name), _curves(runs, name), _films(runs, name), _pictures(runs, name)]
    parts.append(_actors(runs, turnable))
    parts.append(f'<p class="seen">Written by na_ray {__version__}.</p>')
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    values = {"$TITLE": html.escape(title), "$BODY": "\n".join(part for part in parts if part)}
    page = re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], page)
    path.write_text(page, encoding="utf-8")
    return len(page.encode())


def _key(number: int, run: RunRecord) -> str:
    return f'<span class="key" style="background:{color_of(number)}"></span>{html.escape(run.name)}'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _overview(runs: Sequence[RunRecord]) -> str:
    """Every run: its stages, their steps, time, speed and best validation."""
    rows = []
    for number, run in enumerate(runs):
        for stage in run.stages:
            steps = max((curve[-1][0] for curve in stage.curves.values() if curve), default=0)
            best = max((v for _, v in stage.curves.get("validation/psnr", [])), default=None)
            speed = steps / stage.seconds if stage.seconds > 0 else None
            cells = [_key(number, run), stage.name, str(steps), _time(stage.seconds)]
            rows.append([*cells, _number(speed, 2), _number(best, 2)])
    notes = "".join(f"<p>{_key(i, run)}: {html.escape(note)}</p>" for i, run in enumerate(runs) for note in run.notes)
    head = ["run", "stage", "steps", "time", "steps a second", "best validation PSNR, dB"]
    return _table(head, rows) + notes


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _knobs(runs: Sequence[RunRecord]) -> str:
    """The knobs that differ; of one run none are shown."""
    names = dict.fromkeys(name for run in runs for name in run.knobs)
    quiet = ("name", "storage", "project")
    differing = [n for n in names if n not in quiet and len({repr(run.knobs.get(n)) for run in runs}) > 1]
    if not differing:
        return "" if len(runs) < 2 else "<p>The knobs of these runs are the same.</p>"
    rows = [[html.escape(n), *(html.escape(str(run.knobs.get(n, "-"))) for run in runs)] for n in differing]
    return "<h2>Knobs that differ</h2>" + _table(["knob", *(_key(i, r) for i, r in enumerate(runs))], rows)


def _scores(runs: Sequence[RunRecord], stage: str) -> str:
    """A table for each kind of score, under its protocol."""
    found = [(i, run, record) for i, run in enumerate(runs) if (record := run.stage(stage)) is not None]
    names = dict.fromkeys(name for _, _, record in found for name in record.scores if "protocol" in record.scores[name])
    tables = []
    for name in names:
        rows, seen = [], dict[str, None]()
        crops: list[str] = []
        for number, run, record in found:
            scores = record.scores.get(name)
            if scores is None:
                continue
            crops = crops or list(scores["crops"])
            seen[_protocol(scores)] = None
            for method, by_crop in scores["mean"].items():
                cells = [_number(by_crop[c][m], 2 if m == "psnr" else 3) for c in crops for m in METRICS]
                rows.append([_key(number, run), html.escape(method), *cells])
        heading = next(r.scores[name]["protocol"]["heading"] for _, _, r in found if name in r.scores)
        head = ["run", "method", *(f"{c} {m.upper()}{', dB' if m == 'psnr' else ''}" for c in crops for m in METRICS)]
        notes = "".join(f'<p class="seen">{line}</p>' for line in seen)
        tables.append(f"<h3>{html.escape(heading)}</h3>{_table(head, rows)}{notes}")
    return "".join(tables)


def _protocol(scores: dict[str, Any]) -> str:
    """What a reader must know of a table, in a line."""
    protocol, (height, width) = scores["protocol"], scores["resolution"]
    parts = [
        f"{scores['split']}, {width}x{height} px, {scores['rays_per_pixel']} rays a pixel",
        f"trained on: {protocol['trained_on']}",
        f"chose the checkpoint: {protocol['chosen_by']}",
        f"texture maps: {scores['textures']}; {protocol['maps_made_from']}",
        *([f"poses: {protocol['poses']}"] if protocol.get("poses") else []),
        *([protocol["warning"]] if protocol.get("warning") else []),
    ]
    return html.escape("; ".join(parts))


def _curves(runs: Sequence[RunRecord], stage: str) -> str:
    found = [(i, run, record) for i, run in enumerate(runs) if (record := run.stage(stage)) is not None]
    # Names may be the same in two storages.
    labels = {i: f"{run.name} ({i})" for i, run, _ in found}
    colors = {labels[i]: color_of(i) for i in labels}
    charts = [
        chart(metric, {labels[i]: r.curves[metric] for i, _, r in found if metric in r.curves}, colors)
        for metric in CURVES
        if any(len(r.curves.get(metric, [])) > 1 for _, _, r in found)
    ]
    legend = " ".join(_key(i, run) for i, run, _ in found)
    shown = "".join(f"<figure>{c}</figure>" for c in charts if c)
    return f'<p>{legend}</p><div class="row">{shown}</div>' if shown else ""


def _films(runs: Sequence[RunRecord], stage: str) -> str:
    """The films of one name side by side, played in step."""
    found = [(i, run, record) for i, run in enumerate(runs) if (record := run.stage(stage)) is not None]
    names = dict.fromkeys(name for _, _, record in found for name in record.films)
    if "side_by_side" in names:
        names = {name: None for name in names if name not in PARTS}
    groups = []
    for name in names:
        videos = "".join(
            f'<figure><video muted playsinline preload="auto" src="{_film(r.films[name])}"></video>'
            f"<figcaption>{_key(i, run)}</figcaption></figure>"
            for i, run, r in found
            if name in r.films
        )
        groups.append(
            f'<h3>{html.escape(name.replace("_", " "))}</h3><div class="players"><div class="row">{videos}</div>'
            '<div class="controls"><button>Play</button><input type="range" min="0" max="1" step="0.001" value="0" '
            'aria-label="time"></div></div>'
        )
    return "".join(groups)


def _film(path: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _pictures(runs: Sequence[RunRecord], stage: str) -> str:
    """A wipe between photograph and rendering, and where they differ, of the last validation."""
    rows = []
    for number, run in enumerate(runs):
        record = run.stage(stage)
        if record is None or not record.pictures:
            continue
        cells = "".join(_wipe(path) for path in record.pictures[:MOST_PICTURES])
        rows.append(f'<p>{_key(number, run)}</p><div class="row">{cells}</div>')
    head = "<h3>Photograph | rendering, and their difference (validation)</h3>"
    return head + "".join(rows) if rows else ""


def _wipe(path: Path) -> str:
    pair = read_png(path)
    half = pair.shape[1] // 2
    target, drawn = pair[:, :half], pair[:, half : 2 * half]
    error = np.abs(target.astype(np.float64) - drawn).mean(2) / 255 / FULL_ERROR
    heat = 255 * np.stack([np.ones_like(error), 1 - error.clip(0, 1), 1 - error.clip(0, 1)], 2)
    images = [_data(picture) for picture in (target, drawn, heat.round().astype(np.uint8))]
    name = html.escape(path.stem.replace("_", " "))
    return (
        f'<figure><div class="wipe"><img src="{images[1]}" alt="rendering"><div class="top"><img src="{images[0]}" '
        'alt="photograph"></div><input type="range" min="0" max="100" value="50" aria-label="wipe"></div>'
        f'<figcaption>{name}</figcaption></figure><figure><div class="plain"><img src="{images[2]}" alt="difference">'
        "</div></figure>"
    )


def _data(picture: np.ndarray) -> str:
    stored = BytesIO()
    Image.fromarray(picture).save(stored, format="JPEG", quality=92)
    return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"


def _actors(runs: Sequence[RunRecord], turnable: Callable[[Path], str | None]) -> str:
    """Each actor, to be turned by hand."""
    parts = []
    for number, run in enumerate(runs):
        page = None if run.actor is None else turnable(run.actor)
        if page is not None:
            parts.append(f'<p>{_key(number, run)}</p><iframe loading="lazy" srcdoc="{html.escape(page)}"></iframe>')
    return "<h2>The actor</h2>" + "".join(parts) if parts else ""
