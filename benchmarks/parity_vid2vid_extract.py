"""Copy the few arrays that the tests compare with out of the numbers of the original vid2vid.

    python benchmarks/parity_vid2vid_extract.py --data FOLDER --out tests/data/parity/vid2vid.npz

Warp and hinge losses with gradients; one generator block with its power iteration; one image discriminator.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = "up_4."
JUDGE = "net_D.discriminator_1."


def as_bytes(maps: Any) -> Any:
    """The bytes u of maps (u / 255 - 0.5) / 0.5."""
    u = np.round((maps * 0.5 + 0.5) * 255).astype(np.uint8)
    back = (u.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    assert np.abs(back - maps).max() < 1e-6
    return u


def extract(folder: Path) -> dict[str, Any]:
    """The arrays, batch element 0 only, by their names in the fixture."""
    files = {
        name: np.load(folder / f"{name}.npz")
        for name in ("weights_tiny", "generator", "discriminator", "losses", "resample")
    }
    kept = {f"resample/{n}": files["resample"][n][:1] for n in ("image", *_under(files["resample"], "sub/"))}
    kept |= {n: files["losses"][n] for n in _under(files["losses"], "gan/")}
    weights, generator, judge = files["weights_tiny"], files["generator"], files["discriminator"]
    kept |= {n: weights[n] for n in _under(weights, f"G/{BLOCK}")}
    kept |= {n: weights[n] for n in _under(weights, f"D/{JUDGE}")}
    kept |= {n: generator[n] for n in ("eval/block/t0/up_5", "eval/block/t0/up_4", "eval/cond/label_t0/level4")}
    kept |= {n: generator[n] for n in _under(generator, f"train/uv_after_t0/{BLOCK}")}
    kept |= {f"judged/{name}_u8": as_bytes(judge[f"short/{name}"][:1, 0]) for name in ("label", "real")}
    kept["judged/output"] = judge["short/eval/t0/indv/pred_real/output/d1"][:1]
    return kept


def _under(arrays: Any, prefix: str) -> list[str]:
    return [name for name in arrays.files if name.startswith(prefix)]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    np.savez_compressed(options.out, allow_pickle=False, **extract(options.data))


if __name__ == "__main__":
    main()
