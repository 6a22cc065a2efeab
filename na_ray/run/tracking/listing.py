"""What a storage and MLflow's registry hold, as tables for the terminal."""

import time
from collections.abc import Sequence
from pathlib import Path

from na_ray.actor import FILE, Actor, open_actor
from na_ray.config.values import UserError
from na_ray.report.record import StageRecord
from na_ray.run.tracking.records import read_runs
from na_ray.run.tracking.store import asking, connect, needed, shown, store_exists, tracking_uri


def list_runs(storage: Path) -> str:
    """A line for each run and sweep in a storage. Raises UserError where the folder is not there."""
    rows = []
    for folder in _folders(storage, ("experiment.json", "sweep.json")):
        try:
            records = read_runs(folder)
        except UserError as error:
            rows.append([folder.name, "damaged", "-", "-", str(error)])
            continue
        stages = [stage for record in records for stage in record.stages]
        found = [value for stage in stages for _, value in stage.curves.get("validation/psnr", [])]
        kind = f"sweep, {len(records)} trials" if (folder / "sweep.json").is_file() else _steps(records[0].stages)
        best = f"{max(found):.2f}" if found else "-"
        changed = max((path.stat().st_mtime for path in folder.glob("**/metrics.jsonl")), default=0.0)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(changed)) if changed else "-"
        rows.append([folder.name, kind, best, when, f"{size_of(folder) / 1e6:.1f} MB"])
    if not rows:
        return f"{storage} holds no run: na-ray train RECIPE makes one"
    return _table(["run", "stages (steps)", "best PSNR", "last step", "size"], rows)


def list_actors(storage: Path) -> str:
    """A line for each actor's folder in a storage, and for each version of MLflow's registered models."""
    rows = []
    if storage.is_dir():
        for path in sorted([*storage.glob(f"*/actor/{FILE}"), *storage.glob(f"*/trials/*/actor/{FILE}")]):
            try:
                rows.append([str(path.parent), *_contents(open_actor(path.parent))])
            except UserError as error:
                rows.append([str(path.parent), "damaged", str(error)])
    rows += _registered()
    if not rows:
        return f"no actor: neither {storage} nor {shown(tracking_uri())} holds one; na-ray train RECIPE makes one"
    return _table(["actor", "networks", "held-out PSNR"], rows)


def _contents(actor: Actor) -> tuple[str, str]:
    stages = actor.values["stages"]
    scores = {s: stages[s]["validation"].get("validation/psnr") for s in actor.networks}
    told = ", ".join(f"{stage} {value:.2f}" for stage, value in scores.items() if value is not None)
    return ", ".join(actor.networks), told or "-"


def _registered() -> list[list[str]]:
    """The registered models; none where there is no store yet: to look makes none."""
    if not store_exists():
        return []
    rows = []
    with needed("start it, or try again later"), asking():
        client = connect()
        for model in client.search_registered_models():
            aliases = {str(version): alias for alias, version in model.aliases.items()}
            for version in client.search_model_versions(f"name = '{model.name}'"):
                number = str(version.version)
                named = f"models:/{model.name}/{number}" + (f" (@{aliases[number]})" if number in aliases else "")
                rows.append([named, version.tags.get("judged_by", "-"), version.tags.get("validation/psnr", "-")[:6]])
    return rows


def _folders(storage: Path, files: Sequence[str]) -> list[Path]:
    if not storage.is_dir():
        raise UserError(f"{storage}: no such folder; name the storage of your runs, or train one first")
    return sorted(f for f in storage.iterdir() if any((f / name).is_file() for name in files))


def _steps(stages: Sequence[StageRecord]) -> str:
    told = []
    for stage in stages:
        last = max((curve[-1][0] for curve in stage.curves.values()), default=0)
        told.append(f"{stage.name} {last}")
    return ", ".join(told) or "nothing yet"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows])
