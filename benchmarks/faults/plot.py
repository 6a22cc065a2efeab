"""Draw what `benchmarks/faults --curves FILE` wrote: the loss over time, and when a machine was lost.

    python benchmarks/faults/plot.py FILE docs/faults.png [--faults node growth notice head]

The first training of each fault is drawn. Steps that are done a second time lie over those of the first: random numbers
are functions of the step, so their losses are the same.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Options:
    """What is drawn."""

    curves: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]
    faults: tuple[str, ...] = field(default=("node", "growth", "notice", "head"))


def main() -> None:
    """Draw a row a fault."""
    options = tyro.cli(Options, description=__doc__)
    found = [json.loads(line) for line in options.curves.read_text().splitlines()]
    first = {name: next(c for c in found if c["fault"] == name) for name in options.faults}
    figure = Figure(figsize=(8, 1.7 * len(first)))
    axes = figure.subplots(len(first), 1, sharey=True)
    for (name, curve), axis in zip(first.items(), axes, strict=True):
        steps, seconds, losses = zip(*curve["losses"], strict=True)
        struck = seconds[steps.index(curve["struck"])]
        furthest = [max(steps[: i + 1]) for i in range(len(steps))]
        again = [i for i in range(1, len(steps)) if steps[i] <= furthest[i - 1]]
        axis.plot(seconds, losses, ".", markersize=2, color="tab:blue")
        axis.plot([seconds[i] for i in again], [losses[i] for i in again], "x", markersize=4, color="tab:orange")
        axis.axvline(struck, color="tab:red", linewidth=1)
        axis.set_title(f"{name}: {len(again)} steps done twice", fontsize=9, loc="left")
        axis.set_ylabel("loss", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[-1].set_xlabel("seconds since the first step", fontsize=8)
    figure.tight_layout()
    figure.savefig(options.output, dpi=100)


if __name__ == "__main__":
    main()
