"""Runs and sweeps that na_ray 0.1 began, given today's names before they go on.

Only names change: the folder of the `renderer` stage, knobs, and the keys of `tracking.json`. Checkpoints stay as they
are: `na_ray.checkpoint` reads both.
"""

import os
from pathlib import Path

from na_ray.checkpoint import write_json
from na_ray.config.files import STAGES_0_1, VERSION, from_json, read_json, to_json, upgraded_knob


def upgrade_run(root: Path) -> bool:
    """Give a run's folder today's names, if an earlier version began it. Returns whether it did."""
    settled = root / "experiment.json"
    if not settled.exists():
        return False
    values = read_json(settled, "train", "texture", "stages")
    if values.get("version", 1) >= VERSION:
        return False
    for old, new in STAGES_0_1.items():
        if (root / old).is_dir() and not (root / new).exists():
            os.rename(root / old, root / new)
    tracking = root / "tracking.json"
    if tracking.exists():
        ids = read_json(tracking, "uri")
        write_json(tracking, {STAGES_0_1.get(name, name): value for name, value in ids.items()})
    for path in root.glob("trials/*/trial.json"):
        trial = read_json(path, "knobs")
        write_json(path, trial | {"knobs": {upgraded_knob(name): value for name, value in trial["knobs"].items()}})
        upgrade_run(path.parent)
    terms = root / "sweep.json"
    if terms.exists():
        found = read_json(terms, "space")
        write_json(terms, found | {"space": {upgraded_knob(name): value for name, value in found["space"].items()}})
    # Last: a crash before it leaves a run that is upgraded once more.
    write_json(settled, to_json(from_json(values)))
    return True
