"""Draw what `speedrun.py --csv FILE` wrote: the scores over seconds of training, avatars and textured mesh.

python benchmarks/speedrun_plot.py docs/speedrun.png FILE...
"""

import csv
from pathlib import Path

import tyro
from matplotlib.figure import Figure

TITLES = {
    "cameras": "held-out cameras, own maps",
    "poses_own": "novel poses, own maps",
    "poses_mean": "novel poses, mean map",
}
TICKS = 10, 30, 100, 300
COLORS = {"splats": "tab:blue", "nerf": "tab:orange", "mesh": "gray"}


def main(output: tyro.conf.Positional[Path], curves: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Draw a panel for each kind of score."""
    points = [row for file in curves for row in csv.DictReader(file.read_text().splitlines())]
    figure = Figure(figsize=(10, 3.2))
    for axis, (name, title) in zip(figure.subplots(1, 3, sharey=True), TITLES.items(), strict=True):
        for kind, color in COLORS.items():
            found = [(float(p["seconds"]), float(p[key])) for p in points if p.get(key := f"{name}/{kind}/psnr")]
            if kind == "mesh":
                axis.axhline(found[0][1], color=color, linestyle="--", label="textured mesh")
            elif found:
                axis.plot(*zip(*found, strict=True), ".-", color=color, label=kind)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("CPU seconds of training", fontsize=8)
        axis.set_xscale("log")
        axis.set_xticks(TICKS, map(str, TICKS))
        axis.set_xticks([], minor=True)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("PSNR of the box, dB", fontsize=8)
    figure.axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
