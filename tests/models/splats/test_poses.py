"""Corrections of poses, against plain float64 formulas; a planted one is found; a step moves its own frames alone."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import Skeleton
from na_ray.config.values import UserError
from na_ray.models.splats.make import MakeGaussians
from na_ray.models.splats.pose_optimizer import PoseOptimizer
from na_ray.models.splats.poses import CarriedBack, PoseTable
from na_ray.models.splats.splats import PictureBatch, Splats
from na_ray.models.splats.texels import Texels
from na_ray.models.splats.views import Views
from na_ray.motion.posed import make_pose
from na_ray.prepare.kinematics import Correction, corrected
from na_ray.run.train.splats.pose_table import check_tree
from tests.models.splats.actors import SMALL, beside, body_of, column_rig, pattern
from tests.models.splats.test_make import in_squares, reference

SIDE = 32
TREE = Skeleton(tuple("abcde"), (1, 2, -1, 2, 3), np.array([[0.0, 0.4 * j, 0.01 * j] for j in range(5)]))
"""Of the column: its root is the middle joint, and a parent may come after its child."""


def table_of(frames: Sequence[int]) -> PoseTable:
    return PoseTable(frames, TREE.parents, TREE.rest)


def pose_of(seed: int, bend: float = 0.3) -> Pose:
    rng = np.random.default_rng(seed)
    return make_pose(TREE, bend * rng.normal(size=(5, 3)), rng.normal(size=3))


def random_correction(seed: int, size: float) -> Tensor:
    return size * torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turn(d: Tensor) -> Tensor:
    """A rotation matrix as the exponential of a skew matrix."""
    none = torch.zeros((), dtype=d.dtype)
    x, y, z = d
    skew = torch.stack([none, -z, y, z, none, -x, -y, x, none]).view(3, 3)
    return torch.linalg.matrix_exp(skew)


def naive(pose: Pose, correction: Tensor, texels: Texels, at_rest: Tensor) -> tuple[Tensor, Tensor]:
    """Points (n, 3) relative to the old translation and frames (n, 3, 3), joint by joint, corner by corner."""
    rig = column_rig()
    A, R = torch.from_numpy(pose.joints_RT).double(), torch.from_numpy(pose.rotation).double()
    t, joints = torch.from_numpy(pose.translation).double(), torch.from_numpy(pose.joints).double()
    rest, root = torch.from_numpy(TREE.rest), TREE.parents.index(-1)
    moved: dict[int, tuple[Tensor, Tensor]] = {}

    def displacement(j: int) -> tuple[Tensor, Tensor]:
        """x' = turn x + shift."""
        if j not in moved:
            place = A[j, :3, :3] @ rest[j] + A[j, :3, 3]
            own = turn(correction[1 + j]) if j != root else torch.eye(3, dtype=torch.float64)
            shift = place - own @ place
            if TREE.parents[j] >= 0:
                above, further = displacement(TREE.parents[j])
                own, shift = above @ own, above @ shift + further
            moved[j] = own, shift
        return moved[j]

    center, whole = joints.mean(0), turn(correction[1 + root])

    def to_world(x: Tensor) -> Tensor:
        return whole @ (x @ R + t - center) + center + correction[0] - t

    vertices, turns = [], []
    for vertex, weights in zip(rig.vertices.astype(float), rig.weights.astype(float), strict=True):
        total, rotation = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        for j, w in enumerate(weights):
            own, shift = displacement(j)
            total = total + w * (own @ (A[j, :3, :3] @ torch.from_numpy(vertex) + A[j, :3, 3]) + shift)
            rotation = rotation + w * own @ A[j, :3, :3]
        vertices.append(to_world(total))
        turns.append(whole @ R.T @ rotation)
    corners, shares = texels.corners.long(), texels.barycentrics.double()
    points = (torch.stack(vertices)[corners] * shares[..., None]).sum(1)
    frames = (torch.stack(turns)[corners] * shares[..., None, None]).sum(1) @ at_rest
    return points, frames


def test_gradients_through_positions_and_covariances_are_those_of_the_formulas() -> None:
    body = body_of(column_rig())
    texels = Texels(body, SIDE)
    back, table = CarriedBack(texels, len(body.vertices)), table_of([7])
    rng = torch.Generator().manual_seed(0)
    n = len(texels)
    shapes = ((16, n), (14, SIDE, SIDE), (3, SIDE, SIDE), (3, n), (9, n))
    numbers = [0.5 * torch.randn(*shape, generator=rng) for shape in shapes]
    for seed, size in ((1, 0.0), (2, 0.2)):  # at no correction, where most of training is, and at a large one
        pose = pose_of(seed)
        fast = random_correction(seed, size).float().requires_grad_()
        moved = table.move(body, pose, fast)
        at = back(texels, texels.pose(moved.posed, moved.origin), moved)
        found = MakeGaussians.apply(numbers[0], in_squares(numbers[1]), *numbers[2:4], at.points, at.frames, texels)

        exact = fast.detach().double().requires_grad_()
        points, frames = naive(pose, exact, texels, texels.rest.double())
        scene = {"points": points, "frames": frames, "footprints": texels.footprints.double()}
        expected = reference(*(x.double() for x in numbers[:4]), scene | {"index": texels.index.long()})
        names = ("points", "frames", "means", "factors")
        pairs = zip((at.points, at.frames, *found[:2]), (points, frames, *expected[:2]), strict=True)
        total, reference_total = torch.zeros(()), torch.zeros((), dtype=torch.float64)
        for name, (a, b) in zip(names, pairs, strict=True):
            assert (a - b).abs().max() < 3e-6 * max(1.0, float(b.detach().abs().max())), name
            weights = torch.randn(*a.shape, generator=rng) / b.detach().abs().max()
            total, reference_total = total + (a * weights).sum(), reference_total + (b * weights).sum()
        total.backward()
        reference_total.backward()
        assert fast.grad is not None and exact.grad is not None
        assert (exact.grad[1 + np.array([j for j in range(5) if j != 2])].abs() > 0).all(), "each joint matters"
        assert (fast.grad - exact.grad).abs().max() < 2e-5 * exact.grad.abs().max()
        for k in range(18):  # and the oracle's own gradient is that of finite differences
            step = torch.zeros(6, 3, dtype=torch.float64)
            step.view(-1)[k] = 1e-6
            ends = []
            for sign in (1, -1):
                p, f = naive(pose, exact.detach() + sign * step, texels, texels.rest.double())
                ends.append(float(p.square().sum() + (f * torch.arange(9.0).view(3, 3)).sum()))
            leaf = exact.detach().clone().requires_grad_()
            p, f = naive(pose, leaf, texels, texels.rest.double())
            (p.square().sum() + (f * torch.arange(9.0).view(3, 3)).sum()).backward()
            slope = float(leaf.grad.view(-1)[k])  # type: ignore[union-attr]
            assert abs((ends[0] - ends[1]) / 2e-6 - slope) < 1e-5 * max(1.0, abs(slope)), k


def test_a_corrected_pose_is_the_one_that_prepare_makes() -> None:
    """Vertices and joints of the same correction by `prepare track`."""
    body, table = body_of(column_rig()), table_of([7])
    correction, pose = random_correction(3, 0.2), pose_of(3)
    joints = correction[1:].numpy().copy()
    joints[2] = 0
    expected = corrected(pose, Correction(correction[0].numpy(), correction[3].numpy(), joints), TREE)
    found = table.move(body, pose, correction.float()).posed
    torch.testing.assert_close(found.world_vertices, body.pose(expected).world_vertices, rtol=0, atol=2e-6)
    torch.testing.assert_close(found.joints, torch.from_numpy(expected.joints), rtol=0, atol=2e-6)
    same = table.move(body, pose, torch.zeros(6, 3)).posed
    torch.testing.assert_close(same.world_vertices, body.pose(pose).world_vertices, rtol=0, atol=1e-6)


def refining(frames: int = 1) -> Splats:
    torch.manual_seed(0)
    config = replace(SMALL, refine_poses=True, lr_poses=0.01)
    splats = Splats(config, body_of(column_rig()))
    splats.poses = table_of(range(10, 10 + frames))
    splats.start_from(lambda: [(splats.body.pose(pose_of(0)), pattern(32))])
    return splats


def batch_of(splats: Splats, true: Pose, given: Pose, correction: Tensor | None) -> PictureBatch:
    """Pictures of the actor in its true pose from two sides, and the pose that is given."""
    cameras = []
    for angle in (0.0, 1.5):
        side = turn(torch.tensor([0.0, angle, 0.0], dtype=torch.float64)).numpy()
        T = np.eye(4)
        T[:3, :3] = side @ np.diag([1.0, -1.0, -1.0])
        T[:3, 3] = true.joints.mean(0) + side @ [0, 0, 3]
        cameras.append(replace(beside(64), T_world_camera=T))
    with torch.no_grad():
        frame = splats.encode(splats.body.pose(true), pattern(32))
        targets = torch.stack([splats.picture(frame, camera).colors for camera in cameras])
    moved = None if correction is None or splats.poses is None else splats.poses.move(splats.body, given, correction)
    posed = splats.body.pose(given) if moved is None else moved.posed
    views = Views.of(cameras, given.translation, torch.device("cpu"))
    size = (64, 64)
    return PictureBatch(posed, pattern(32), torch.tensor(1.0), torch.eye(3), views, targets, (size, size), moved)


def apart(splats: Splats, one: Pose, correction: Tensor, true: Pose) -> float:
    """Mean distance of the vertices from the true ones, m."""
    assert splats.poses is not None
    found = splats.poses.move(splats.body, one, correction).posed.world_vertices
    return float((found - splats.body.pose(true).world_vertices).norm(dim=1).mean())


def test_planted_corrections_are_found_again() -> None:
    """Six frames, each off by 2 cm and joints by 3 degrees its own way, an avatar that stands still."""
    count, steps = 6, 72
    splats = refining(count)
    assert splats.poses is not None
    table, true, given = splats.poses, [pose_of(20 + i, bend=0.2) for i in range(count)], []
    for i, pose in enumerate(true):
        planted = 0.05 * torch.nn.functional.normalize(random_correction(40 + i, 1.0), dim=1)
        joints = planted[1:].numpy().copy()
        joints[2] = 0
        given.append(corrected(pose, Correction(0.4 * planted[0].numpy(), planted[3].numpy(), joints), TREE))
    optimizer = PoseOptimizer(table, splats.config, steps, 1)

    def off() -> float:
        return float(np.mean([apart(splats, given[i], table.corrections[i], true[i]) for i in range(count)]))

    before, losses = off(), []
    for step in range(steps):
        i = step % count
        taken = optimizer.take(i)
        loss, squared = splats(batch_of(splats, true[i], given[i], taken))
        loss.backward()
        optimizer.give(0, i, taken, 1.0)
        optimizer.step(step)
        losses.append(float(squared))
    assert before > 0.015 and off() < 0.6 * before, (before, off())
    assert np.mean(losses[-count:]) < 0.5 * np.mean(losses[:count])


def test_a_step_moves_the_rows_of_its_frames_and_workers_exchange_them() -> None:
    """One that has both frames, and two that have a part of each: the same table, to rounding; others' rows stay."""
    config = replace(SMALL, refine_poses=True, pose_decay=0.1)
    one, *two = (PoseOptimizer(table_of(range(40)), config, 9, 2) for _ in range(3))

    def give(optimizer: PoseOptimizer, slot: int, row: int, gradient: Tensor, share: float) -> None:
        taken = optimizer.take(row)
        taken.grad = gradient
        optimizer.give(slot, row, taken, share)

    rng = torch.Generator().manual_seed(0)
    for step, rows in enumerate([(3, 17), (17, 3), (30, 31), (3, 3)]):
        for slot, row in enumerate(rows):
            parts = torch.randn(2, 6, 3, generator=rng)
            give(one, slot, row, parts.sum(0), 1.0)
            for optimizer, part in zip(two, parts, strict=True):
                give(optimizer, slot, row, 2 * part, 0.5)
        total = two[0].gathered + two[1].gathered
        one.step(step)
        for optimizer in two:
            optimizer.step(step, lambda mine, total=total: mine.copy_(total))
    tables = [o.table.corrections for o in (one, *two)]
    assert torch.equal(tables[1], tables[2])
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-4, atol=1e-7)
    moved = (tables[0] != 0).any(2).any(1).nonzero()[:, 0].tolist()
    assert moved == [3, 17, 30, 31]
    assert one.visits[[3, 17, 30]].tolist() == [3, 2, 1]


def test_going_on_is_the_same_to_the_bit() -> None:
    config = replace(SMALL, refine_poses=True)

    def steps(optimizer: PoseOptimizer, numbers: range) -> None:
        for step in numbers:
            taken = optimizer.take(step % 3)
            taken.grad = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
            optimizer.give(0, step % 3, taken, 1.0)
            optimizer.step(step)

    one = PoseOptimizer(table_of(range(3)), config, 9, 1)
    steps(one, range(5))
    other = PoseOptimizer(copy.deepcopy(one.table), config, 9, 1)
    other.load(copy.deepcopy(one.state()))
    steps(one, range(5, 9))
    steps(other, range(5, 9))
    assert torch.equal(one.table.corrections, other.table.corrections)


def test_a_checkpoint_holds_the_table_and_novel_poses_do_not_see_it() -> None:
    splats = refining(frames=3)
    assert splats.poses is not None
    splats.poses.corrections[1] = random_correction(4, 0.1).float()
    weights = splats.state_dict()
    assert weights["poses.frames"].tolist() == [10, 11, 12]
    fresh = Splats(splats.config, splats.body)
    fresh.load_state_dict(weights)
    true = pose_of(8)
    found = fresh.refined(true, 11)
    assert found is not None and splats.poses is not None
    expected = splats.poses.move(splats.body, true, splats.poses.corrections[1]).posed
    assert torch.equal(found.world_vertices, expected.world_vertices)
    assert fresh.refined(true, 13) is None, "not a frame of the training"
    plain = Splats(replace(splats.config, refine_poses=False), splats.body)
    plain.load_state_dict({k: v for k, v in weights.items() if not k.startswith("poses.")})
    assert plain.refined(true, 11) is None and not plain.refines_poses
    pictures = [s.picture(s.encode(s.body.pose(true), pattern(32)), beside(64)).colors for s in (fresh, plain)]
    assert torch.equal(*pictures)


def test_without_corrections_a_frame_is_drawn_as_without_refinement() -> None:
    splats, pose = refining(), pose_of(2, bend=0.2)
    with torch.no_grad():
        plain, _ = splats(batch_of(splats, pose, pose, None))
        moved, _ = splats(batch_of(splats, pose, pose, torch.zeros(6, 3)))
    assert abs(float(plain) - float(moved)) < 1e-5


def test_a_step_s_gradient_is_the_loss_s_slope() -> None:
    """The gradient of a whole step by a correction, against differences of the loss in both directions."""
    splats, true = refining(), pose_of(5, bend=0.2)
    splats.changes.data = torch.randn(9, len(splats.texels), generator=torch.Generator().manual_seed(0))
    given = pose_of(5, bend=0.22)
    leaf = torch.zeros(6, 3, requires_grad=True)
    loss, _ = splats(batch_of(splats, true, given, leaf))
    loss.backward()
    assert leaf.grad is not None
    direction, step = leaf.grad / leaf.grad.norm(), 2e-3
    with torch.no_grad():
        ends = [float(splats(batch_of(splats, true, given, sign * step * direction))[0]) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(leaf.grad.norm()), rel=0.1)


def test_poses_of_no_tree_are_refused() -> None:
    poses = [pose_of(seed) for seed in range(3)]
    check_tree(poses, [0, 1, 2], "here", TREE)
    loose = [replace(p, joints_RT=p.joints_RT.copy()) for p in poses]
    for p in loose:
        p.joints_RT[:, 0, 3] += np.array([0.1, 0.2, 0.3, 0.5, 0.8], np.float32)
    with pytest.raises(
        UserError, match=r"here, frame 0: splats.refine_poses wants .*, but [a-e] is .* cm off .*: leave"
    ):
        check_tree(loose, [0, 1, 2], "here", TREE)
    scaled = [replace(p, joints_RT=p.joints_RT * np.array([1.1, 1, 1, 1], np.float32)) for p in poses]
    with pytest.raises(UserError, match="[a-e] is scaled or sheared"):
        check_tree(scaled, [0, 1, 2], "here", TREE)
    turned = [replace(p, rotation=2 * p.rotation) for p in poses]
    with pytest.raises(UserError, match="the body's rotation is scaled or sheared"):
        check_tree(turned, [0, 1, 2], "here", TREE)
