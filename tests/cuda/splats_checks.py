"""What a GPU draws of splats, and learns of pictures, beside what the CPU does (see checks.py)."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
sys.path.append(str(Path(__file__).parents[1] / "models" / "splats"))
import oracle
from comparing import beside, camera, close, random
from icosphere import sphere

from na_ray.body.body import Body
from na_ray.config import SplatsConfig
from na_ray.models.gaussians import Gaussians
from na_ray.models.splats.optimizer import SplatsOptimizer
from na_ray.models.splats.poses import PoseTable
from na_ray.models.splats.rasterize import DrawnBy, draw
from na_ray.models.splats.splats import Splats
from na_ray.models.splats.views import Views
from na_ray.run.train.splats.replay import ReplayedStep
from na_ray.run.train.splats.step import POSE, PictureRow, chance, to_batch


def scene(count: int) -> list[Tensor]:
    """Gaussians in front of the camera, and some behind it: (means, factors, opacities, colors, frames, changes)."""
    frames = torch.linalg.qr(random(count, 3, 3, seed=1))[0].contiguous()
    means = 0.4 * random(count, 3) + torch.tensor([0.0, 0.0, 3.0])
    means[::17, 2] *= -1
    factors, opacities = 0.05 * random(count, 3, 3, seed=2), 0.02 + 0.96 * random(count, seed=3).sigmoid()
    return [means, factors, opacities, random(count, 3, seed=4), frames, random(9, count, seed=5)]


def pictures_of_splats(device: str, path: DrawnBy, weights: tuple[Tensor, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """([colors, transmittance, depth], gradients) of two views of the scene; `weights` make a loss of a picture."""
    tensors = [t.to(device).requires_grad_(i != 4) for i, t in enumerate(scene(150))]
    views = Views.of([camera(), beside()], np.zeros(3), torch.device(device))
    found = draw(Gaussians(*tensors), views, 0.05, depth=True, path=path)
    assert found.depth is not None
    by_color, by_passing = (w.to(device) for w in weights)
    ((found.colors * by_color).sum() + (found.transmittance * by_passing).sum()).backward()
    gradients = [t.grad for t in tensors if t.grad is not None]
    return [found.colors.detach(), found.transmittance.detach(), found.depth], gradients


def check_splats_beside_the_float64_loop(device: str) -> None:
    """Kernels `project`, `project_back`, `shade_back`, and those that draw: by tiles, and, which a CPU alone can, one
    after the other."""
    exact = [t.double().requires_grad_(i != 4) for i, t in enumerate(scene(150))]
    expected = oracle.draw(exact, [camera(), beside()], 0.05)
    sure = ~expected.unsure
    weights = random(2, 64, 96, 3, seed=6) * sure[..., None], random(2, 64, 96, seed=7) * sure
    ((expected.colors * weights[0]).sum() + (expected.passing * weights[1]).sum()).backward()
    wanted = [t.grad for t in exact if t.grad is not None]
    drawn: dict[DrawnBy, Tensor] = {}
    path: DrawnBy
    for path in ("tiles", "scan") if device == "cpu" else ("tiles",):
        (colors, passing, depth), gradients = pictures_of_splats(device, path, weights)
        drawn[path] = depth * sure.to(device)
        close(f"{path}: colors", colors.cpu() * sure[..., None], expected.colors * sure[..., None], 2e-5)
        close(f"{path}: transmittance", passing.cpu() * sure, expected.passing * sure, 1e-5)
        for name, found, other in zip(
            ("means", "factors", "opacities", "colors", "changes"), gradients, wanted, strict=True
        ):
            apart = float((found.cpu() - other).abs().max() / other.abs().max())
            assert apart < 1e-4, f"{path}: gradient of {name}: {apart:.1e} of its largest entry"
    if len(drawn) == 2:
        close("depth by both ways", drawn["tiles"], drawn["scan"], 1e-5)


def check_splats_give_the_same_gradients_again(device: str) -> None:
    """Kernels `add_pixels` and `add_pairs`: bit for bit where that is asked for, and beside the sums that come in any
    order."""
    weights = random(2, 64, 96, 3, seed=6), random(2, 64, 96, seed=7)
    _, any_order = pictures_of_splats(device, "tiles", weights)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        _, first = pictures_of_splats(device, "tiles", weights)
        for _ in range(10):
            _, again = pictures_of_splats(device, "tiles", weights)
            assert all(map(torch.equal, first, again)), "gradients differ from run to run"
    finally:
        torch.use_deterministic_algorithms(False)
    for found, other in zip(first, any_order, strict=True):
        assert float((found - other).abs().max()) < 1e-4 * float(other.abs().max()), "the order decides too much"


def check_gradients_of_a_pose(device: str) -> None:
    """How a loss of texels' points and frames changes with a correction of the pose, which the CPU finds as well."""
    found, config = [], SplatsConfig(size=96, texels=64, widths=(8, 8), refine_poses=True)
    for where in (device, "cpu"):
        rig, pose = sphere(3)
        splats = Splats(config, Body.from_rig(rig)).to(where)
        assert splats.carried_back is not None
        joints = rig.weights.shape[1]
        table = PoseTable([0], [-1, *range(joints - 1)], np.zeros((joints, 3))).to(where)
        correction = (0.02 * random(1 + joints, 3)).to(where).requires_grad_()
        moved = table.move(splats.body, pose, correction)
        at = splats.carried_back(splats.texels, splats.texels.pose(moved.posed, moved.origin), moved)
        by_points, by_frames = (random(*t.shape, seed=1).to(where) for t in (at.points, at.frames))
        ((at.points * by_points).sum() + (at.frames * by_frames).sum()).backward()
        found.append((correction.grad, at.points))
    (gradient, points), (other, others) = found
    assert gradient is not None and other is not None
    close("points of a corrected pose", points, others, 1e-5)
    assert float((gradient.cpu() - other).abs().max()) < 1e-4 * float(other.abs().max()), "gradients of a pose"


def splats_step(device: str) -> tuple[Tensor, dict[str, Tensor], Splats, Tensor]:
    """(loss, gradients, the splats after the update, the picture of a view then) of a training step's second half."""
    config = SplatsConfig(size=96, texels=64, widths=(8, 8), warmup_steps=1)
    torch.manual_seed(0)
    rig, pose = sphere(3)
    splats = Splats(config, Body.from_rig(rig)).train().to(device)
    with torch.no_grad():
        for number, p in enumerate(splats.parameters()):
            p += 0.05 * random(*p.shape, seed=10 + number).to(device)
    texture = random(64, 64, 3, seed=8).sigmoid()
    maps = [(splats.body.pose(pose), texture.permute(2, 0, 1).contiguous().to(device))]
    splats.start_from(lambda: maps)
    optimizer = SplatsOptimizer(splats, 10)
    fixed = {name: getattr(pose, name) for name in POSE}
    row = fixed | {
        "texture": (texture.numpy() * 255).astype(np.uint8),
        "views": np.array([0, 1]),
        "windows": np.array([[20, 4, 60, 58], [0, 10, 50, 50]], np.int32),
        "pictures": (random(2, 64, 64, 3, seed=9).sigmoid().numpy() * 255).astype(np.uint8),
    }
    batch = to_batch(row, splats, [camera(), beside()], chance(0, 0, 0))
    loss, _ = splats(batch)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in splats.named_parameters() if p.grad is not None}
    optimizer.step(0)
    seen = splats.picture(splats.encode(*maps[0]), camera(), 2)
    return loss.detach(), gradients, splats, seen.colors


def check_a_step_of_the_splats(device: str) -> None:
    """Kernels `pose_texels`, `make_gaussians` and its gradient; loss, gradients, the update, and a picture after it."""
    found, gradients, splats, picture = splats_step(device)
    expected, others, _, other = splats_step("cpu")
    close("loss", found, expected, 1e-4)
    assert gradients.keys() == others.keys() == dict(splats.named_parameters()).keys()
    for name, gradient in gradients.items():
        apart = float((gradient.cpu() - others[name]).norm() / others[name].norm().clamp(min=1e-6))
        assert apart < 0.01, f"gradient of {name}: {apart:.1%} apart"
    assert all(bool(torch.isfinite(p).all()) for p in splats.parameters())
    # Adam makes whole steps of gradients that are rounding errors: hence the share.
    close("picture", picture, other, 0.03, 0.98)


def rows_of_splats(count: int) -> list[PictureRow]:
    """Two views of the ball in windows of several sizes."""
    rng, (_, pose) = np.random.default_rng(0), sphere(3)
    fixed = {name: getattr(pose, name) for name in POSE}
    windows = [[[40, 16, 30, 30], [20, 20, 32, 20]], [[20, 4, 60, 58], [0, 10, 50, 50]]]
    return [
        fixed
        | {
            "texture": rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),
            "views": np.array([0, 1]),
            "windows": np.array(windows[min(number // 4, 1)], np.int32),
            "pictures": rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8),
        }
        for number in range(count)
    ]


def check_replayed_steps_of_the_splats(device: str) -> None:
    """Recorded steps, in which pictures and pairs outgrow their room, beside steps that launch their kernels: losses to
    rounding, the weights but for the few that rounding decides."""
    config = SplatsConfig(size=96, texels=64, widths=(8, 8), warmup_steps=4)
    (rig, _), cameras, losses, models = sphere(3), [camera(), beside()], [], []
    for replays in (True, False):
        torch.manual_seed(0)
        splats = Splats(config, Body.from_rig(rig)).train()
        with torch.no_grad():
            for number, p in enumerate(splats.parameters()):
                p += 0.05 * random(*p.shape, seed=10 + number)
        splats = splats.to(device)
        optimizer = SplatsOptimizer(splats, 12)
        replayed = ReplayedStep(splats, optimizer, cameras, 0.5, 1) if replays else None
        for step, row in enumerate(rows_of_splats(12)):
            rng = chance(0, step, 0)
            if replayed is not None:
                if step == 8:
                    replayed.capacity = 100
                losses.append(replayed.step([row], [rng], step)["loss"])
                continue
            loss, _ = splats(to_batch(row, splats, cameras, rng))
            (0.5 * loss).backward()
            optimizer.step(step)
            losses.append(0.5 * loss.detach())
        models.append([*optimizer.parameters, *optimizer.average])
    found, expected = (torch.stack(part) for part in (losses[:12], losses[12:]))
    close("losses", found, expected, 2e-3)
    close("the first losses", found[:2], expected[:2], 1e-5)
    values = [torch.cat([p.detach().flatten() for p in model]) for model in models]
    assert float((values[0] - values[1]).norm() / values[1].norm()) < 0.02, "weights"
