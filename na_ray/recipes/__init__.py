"""Recipes: experiments as values, by the word that `na-ray train` and `na-ray sweep` know them by.

A recipe of your own is a YAML file (`na-ray train lan --config mine.yaml`) or a short script: import one of these,
`override` what differs, and give it to `na_ray.cli.train.main`.
"""

from na_ray.config import Experiment
from na_ray.recipes.demo import DEMO
from na_ray.recipes.lan import LAN
from na_ray.recipes.splats import SPLATS

RECIPES: dict[str, Experiment] = {"demo": DEMO, "lan": LAN, "splats": SPLATS}
"""All of them. Each trains under its own name where `--name` is not given."""

__all__ = ["DEMO", "LAN", "RECIPES", "SPLATS"]
