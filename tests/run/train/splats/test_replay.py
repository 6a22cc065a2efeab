"""Steps with fixed room, as a GPU replays them, beside steps that count first. A CPU does both, and records nothing."""

import numpy as np
import pytest
import torch

from na_ray.models.splats.optimizer import SplatsOptimizer
from na_ray.models.splats.splats import Splats
from na_ray.run.train.splats.replay import ROUNDED, ReplayedStep
from na_ray.run.train.splats.step import PictureRow, chance, to_batch
from tests.models.splats.actors import SMALL, body_of, column_pose, column_rig, facing

CAMERAS = [facing(64, 3.0, 0.0, 0.8), facing(64, 2.5, 0.3, 0.8), facing(64, 3.5, -0.3, 0.8)]
WINDOWS = [((8, 14, 30, 30), (30, 10, 22, 28)), ((20, 20, 20, 31), (11, 23, 25, 17)), ((0, 0, 64, 64), (30, 30, 6, 6))]


def start() -> tuple[Splats, SplatsOptimizer]:
    """The same each time."""
    torch.manual_seed(0)
    splats = Splats(SMALL, body_of(column_rig())).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in splats.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    return splats, SplatsOptimizer(splats, 6)


def row(number: int) -> PictureRow:
    """A frame of the column, in windows of several sizes."""
    rng, pose = np.random.default_rng(number), column_pose(number % 3)
    windows = np.array(WINDOWS[number % len(WINDOWS)], np.int32)
    height, width = windows[:, 3].max() + 5, windows[:, 2].max() + 3
    fixed = {name: getattr(pose, name) for name in ("joints_RT", "rotation", "translation", "joints")}
    return fixed | {
        "texture": rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        "views": np.array([number % 3, (number + 1) % 3]),
        "windows": windows,
        "pictures": rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8),
    }


def test_a_replayed_step_is_a_step() -> None:
    """Two frames a step; pictures and ellipses outgrow their room on the way."""
    splats, optimizer = start()
    plain, plain_optimizer = start()
    replayed, pictures = ReplayedStep(splats, optimizer, CAMERAS, 0.25, 2), []
    for step in range(4):
        if step == 2:
            replayed.capacity = 10
        rows, slots = [row(step), row(step + 1)], (0, 1)
        found = replayed.step(rows, [chance(0, step, slot) for slot in slots], step)
        loss, squared = 0.0, 0.0
        for one, slot in zip(rows, slots, strict=True):
            batch = to_batch(one, plain, CAMERAS, chance(0, step, slot))
            expected, error = plain(batch)
            (0.25 * expected).backward()
            loss, squared = loss + 0.25 * float(expected.detach()), squared + 0.25 * float(error)
        plain_optimizer.step(step)
        assert float(found["loss"]) == pytest.approx(loss, rel=1e-4), step
        assert float(found["squared"]) == pytest.approx(squared, rel=1e-4), step
        assert replayed.buffers is not None
        pictures.append(replayed.buffers.shapes["pictures"])
    for (name, a), b in zip(splats.named_parameters(), plain.parameters(), strict=True):
        # Adam makes whole steps of gradients that are rounding errors: hence a share.
        near = ((a - b).abs() <= 1e-4 + 1e-3 * b.abs()).double().mean()
        assert near > 0.99, f"{name}: {float(near):.1%}"
    assert pictures == [(2, ROUNDED, ROUNDED, 3)] + [(2, 2 * ROUNDED, 2 * ROUNDED, 3)] * 3
    assert replayed.capacity >= int(replayed.most) > 10


def test_gradients_of_a_step_that_had_no_room_are_forgotten() -> None:
    """Each step begins with room for one pair, and is begun again."""
    found = []
    for capacity in (1, 10**5):
        splats, optimizer = start()
        replayed = ReplayedStep(splats, optimizer, CAMERAS, 0.5, 1)
        for step in range(3):
            replayed.capacity = capacity
            losses = replayed.step([row(step)], [chance(0, step, 0)], step)
        found.append([losses["loss"], *(p.detach() for p in splats.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_frame_s_numbers_do_not_reach_the_next() -> None:
    """A small picture after a large one: what is left of the large one lies beyond its window."""
    losses = []
    for before in (0, 1):  # windows of other sizes
        splats, optimizer = start()
        replayed = ReplayedStep(splats, optimizer, CAMERAS, 1.0, 1)
        replayed.step([row(2 + 3 * before)], [chance(0, 0, 0)], 5)
        with torch.no_grad():
            for p, q in zip(splats.parameters(), start()[0].parameters(), strict=True):
                p.copy_(q)
        losses.append(replayed.step([row(1)], [chance(0, 1, 0)], 5)["loss"])
    assert torch.equal(*losses)
