"""The recipe of the paper: python experiments/lan.py [train|sweep] --capture PATH [--optim.lr 2e-4 ...]."""

from na_ray.cli.train import main
from na_ray.recipes.lan import LAN

if __name__ == "__main__":
    main(LAN)
