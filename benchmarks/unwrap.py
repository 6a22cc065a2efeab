"""Texture maps unwrapped from photographs: how close to a capture's own, how steady, how fast; and a track repaired.

    python benchmarks/unwrap.py [--capture PATH] [--split training] [--frames 6] [--track 0]

1. For each way of unwrapping: PSNR (dB) against the capture's own maps in seen texels; share of the charts' texels
   seen; flicker: mean absolute change from frame to frame (0..255) in texels seen in both, beside the own maps' in the
   same texels; PSNR of the textured mesh in the cameras that `auto` holds out, where mesh and mask overlap; frames a
   second of CPU time on one core (read, unwrap, complete, encode and write), and what is solved once a split.
2. With `--track N`: every pose put off by 2 cm and 3 degrees, each joint by 3 degrees, and N frames repaired: overlap
   with the silhouettes and distance of the vertices from the true ones.

The own maps of the human capture were made from all twelve cameras, the held-out ones among them; ours from ten.
Without a capture, a synthetic actor's maps are measured: it has no silhouettes, hence no track is repaired.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from na_ray.body.body import Body
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.body.unwrap import back_project, unwrap
from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import skeleton_of
from na_ray.config.selection import auto_train_views
from na_ray.pictures.png import write_png
from na_ray.prepare.kinematics import Correction, corrected
from na_ray.prepare.photographs import FilmedFrame, Photographs
from na_ray.prepare.repair import TrackScene, fit, mean_iou
from na_ray.prepare.workshop import Workshop
from na_ray.synthetic.write import write_capture


@dataclass(frozen=True)
class Row:
    """A way of unwrapping."""

    name: str
    cameras: Sequence[int]
    side: int
    options: dict | None
    """Of the workshop; None: `unwrap`, as `na-ray synth` makes its maps."""


def psnr(error: np.ndarray) -> float:
    """dB of an error in 0..1."""
    return float(-10 * np.log10(max(np.mean(np.square(error)), 1e-12)))


def measure(capture: Capture, name: str, row: Row, positions: Sequence[int], folder: Path) -> None:
    """Print the row."""
    photographs = Photographs.of(capture, capture.split(name), row.cameras)
    start = time.process_time()
    shop = Workshop(photographs, row.side, **(row.options or {}))
    assert row.options is None or shop.reference is not None
    once, start = time.process_time() - start, time.process_time()
    maps, seen = [], []
    for frame in photographs.frames(positions):
        posed = photographs.posed(shop.body, frame.position)
        if row.options is not None:
            maps.append(shop.make(frame))
        else:
            maps.append(unwrap(shop.atlas, frame.images, photographs.cameras, posed, frame.masks).numpy())
        write_png(folder / f"{row.name.replace(' ', '_')}_{frame.position}.png", maps[-1], fast=True)
    rate = len(maps) / (time.process_time() - start)
    for frame in photographs.frames(positions):
        posed = photographs.posed(shop.body, frame.position)
        seen.append(
            shop.reader.read(posed, frame.images, photographs.cameras, frame.masks).seen.numpy()
            if row.options is not None
            else back_project(shop.atlas, frame.images, photographs.cameras, posed, frame.masks)[1].numpy()
        )
    score(capture, name, row, shop, positions, maps, seen, f"{rate:.1f} {once:.1f}")


def score(
    capture: Capture,
    name: str,
    row: Row,
    shop: Workshop,
    positions: Sequence[int],
    maps: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    speed: str,
) -> None:
    """Print what the maps are worth."""
    split, inside = capture.split(name), shop.atlas.inside.numpy()
    own = [split.texture(i) for i in positions]
    like = own[0].shape == maps[0].shape
    errors = [psnr((m[inside] / 255.0 - o[inside] / 255.0)[s]) for m, o, s in zip(maps, own, seen, strict=True) if like]

    def flicker(pictures: Sequence[np.ndarray]) -> float:
        pairs = itertools.pairwise(zip(pictures, seen, strict=True))
        return float(np.mean([np.abs(a[inside].astype(float) - b[inside])[s & t].mean() for (a, s), (b, t) in pairs]))

    own_flicker = f"{flicker(own):.2f}" if like else "-"
    share = 100 * np.mean([s.mean() for s in seen])
    held = held_out(capture, name, shop, positions, maps)
    close = f"{np.mean(errors):.2f}" if like else "-"
    print(
        f"| {row.name} | {close} | {share:.1f} | {flicker(maps):.2f} / {own_flicker} | {held:.2f} | {speed} |",
        flush=True,
    )


def held_out(
    capture: Capture, name: str, shop: Workshop, positions: Sequence[int], maps: Sequence[np.ndarray]
) -> float:
    """PSNR of the textured mesh in the held-out cameras."""
    split = capture.split(name)
    cameras = [c for c in range(len(split.cameras)) if c not in auto_train_views(len(split.cameras))] or [0]
    photographs = Photographs.of(capture, split, cameras)
    surface = Surface(shop.body.faces, len(shop.body.vertices), rest=shop.body.vertices)
    scores = []
    for frame, texture in zip(photographs.frames(positions), maps, strict=True):
        posed, chw = photographs.posed(shop.body, frame.position), torch.tensor(texture).permute(2, 0, 1) / 255
        for k, camera in enumerate(photographs.cameras):
            color, _, coverage = textured_mesh(posed, chw, camera, surface)
            where = coverage.numpy() > 0.99
            where &= frame.masks[k] if frame.masks is not None else True
            scores.append(psnr((color.numpy() - frame.images[k][..., :3] / 255.0)[where]))
    return float(np.mean(scores))


def put_off(pose: Pose, skeleton: object, rng: np.random.Generator, degrees: float = 3.0) -> Pose:
    """By 2 cm and 3 degrees; each joint by `degrees`."""

    def unit(count: int) -> np.ndarray:
        found = rng.normal(size=(count, 3))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    parents = skeleton.parents  # type: ignore[attr-defined]
    joints = unit(len(parents)) * np.radians(degrees) * (np.array(parents) >= 0)[:, None]
    return corrected(pose, Correction(0.02 * unit(1)[0], np.radians(3) * unit(1)[0], joints), skeleton)  # type: ignore[arg-type]


def track(capture: Capture, name: str, count: int) -> None:
    """Print what a repair gives back."""
    split = capture.split(name)
    photographs = Photographs.of(capture, split, auto_train_views(len(split.cameras)))
    body, skeleton, rng = Body.from_rig(split.rig), skeleton_of(split), np.random.default_rng(0)
    scene, rows, start = TrackScene(split.rig, body, skeleton, photographs.cameras), [], time.process_time()

    def apart(one: Pose, two: Pose) -> float:
        return 1e3 * float((body.pose(one).world_vertices - body.pose(two).world_vertices).norm(dim=1).mean())

    def overlap(pose: Pose, frame: FilmedFrame) -> float:
        assert frame.masks is not None
        return mean_iou(scene, pose, frame.masks)

    for frame in photographs.frames(photographs.some(count)):
        true = split.pose(frame.position)
        off = put_off(true, skeleton, rng)
        found = corrected(off, fit(scene, off, frame, Correction.none(len(skeleton.parents))), skeleton)
        rows.append([*(overlap(pose, frame) for pose in (true, off, found)), apart(off, true), apart(found, true)])
    a, b, c, d, e = np.mean(rows, axis=0)
    print(f"\nTrack, {len(rows)} frames: IoU of the true poses {a:.3f}, put off {b:.3f}, repaired {c:.3f};")
    print(
        f"vertices off by {d:.1f} mm before, {e:.1f} after; {(time.process_time() - start) / len(rows):.1f} s a frame"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", default="")
    parser.add_argument("--split", default="training")
    parser.add_argument("--frames", type=int, default=6, help="in a row, from the middle")
    parser.add_argument("--track", type=int, default=0, help="frames to repair")
    parser.add_argument("--out", type=Path, help="a folder for the maps, to look at")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        if not given.capture:
            write_capture(f"{place}/actor", frames=6, test_frames=1, cameras=6, resolution=128, texture_size=256)
        capture = Capture.open(given.capture or f"{place}/actor")
        split = capture.split(given.split)
        side, count = split.texture(0).shape[0], len(split.cameras)
        first = max(0, (split.num_frames - given.frames) // 2)
        positions = range(first, min(first + given.frames, split.num_frames))
        every, some = range(count), auto_train_views(count)
        rows = [
            Row(f"unwrap (0.2), {count} cameras", every, side, None),
            Row(f"unwrap (0.2), {len(some)} cameras", some, side, None),
            Row(f"blended, {count} cameras", every, side, {}),
            Row(f"blended, {len(some)} cameras", some, side, {}),
            Row(f"best, {len(some)} cameras", some, side, {"mode": "best"}),
            Row(f"blended, registered, {len(some)} cameras", some, side, {"register": True}),
            Row(f"blended, {2 * side} texels, {len(some)} cameras", some, 2 * side, {}),
        ]
        print(f"{capture.path}, {given.split}, frames {positions}, {side} texels unless said\n")
        print("| maps | PSNR to the own, dB | seen, % | flicker / own's | held-out cameras, dB | frames a s, once s |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            measure(capture, given.split, row, positions, given.out or Path(place))
        if given.track:
            track(capture, given.split, given.track)


if __name__ == "__main__":
    main()
