r"""A capture whose track was put off, and the same after `na-ray prepare track`: for training with and without
`--splats.refine-poses` on either.

    python benchmarks/refine.py --capture human --out /tmp/refine --joints 3
    python benchmarks/speedrun.py --capture /tmp/refine/off --seconds 120 --first 120 --steps 1000 --until 99 \
        --set splats.refine_poses=true

Every training pose is put off by 2 cm and 3 degrees, each joint by `--joints` degrees; maps are made of the photographs
of all cameras, by the poses of the capture that they are for. The testing split keeps its true poses.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from unwrap import put_off

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.skeleton import skeleton_of
from na_ray.prepare.links import link_capture
from na_ray.prepare.textures import TextureOptions, write_textures
from na_ray.prepare.track import write_track, write_transforms


def write_off(capture: Capture, out: Path, joints: float) -> None:
    """A capture with poses that were put off, and maps by them."""
    split, rng = capture.split("training"), np.random.default_rng(0)
    skeleton, body = skeleton_of(split), Body.from_rig(split.rig)
    true = [split.pose(i) for i in range(split.num_frames)]
    poses = [put_off(pose, skeleton, rng, joints) for pose in true]
    pairs = zip(true, poses, strict=True)
    apart = [(body.pose(a).world_vertices - body.pose(b).world_vertices).norm(dim=1).mean() for a, b in pairs]
    print(f"vertices off by {1e3 * float(torch.stack(apart).mean()):.1f} mm")
    own = ("transform", "tex", "normal")
    link_capture(capture, out, lambda folder, name: name.startswith(own) and folder == capture.folders["training"])
    write_transforms(out / "training" / "transform.zip", split, poses)
    write_textures(Capture.open(str(out)), None, TextureOptions(cameras="all"), ["training"])


def main() -> None:
    """Write the captures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--joints", type=float, default=3.0, help="degrees")
    parser.add_argument("--track", action="store_true", help="the repaired one, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_off(Capture.open(given.capture), given.out / "off", given.joints)
    if given.track:
        off = Capture.open(str(given.out / "off"))
        print("\n".join(write_track(off, given.out / "tracked", splits=["training"])))
        write_textures(Capture.open(str(given.out / "tracked")), None, TextureOptions(cameras="all"), ["training"])


if __name__ == "__main__":
    main()
