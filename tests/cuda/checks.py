"""What a GPU computes beside what the CPU does: every kernel, and a training step of each stage.

Plain functions of a device, so that they run without pytest (run.py); test_checks.py runs them where pytest is. They
import what a training step does: torch, numpy, warp and pure Python, no Ray, no MLflow, no reader of videos.
"""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
sys.path.append(str(Path(__file__).parents[1] / "models" / "splats"))
import oracle
from icosphere import sphere

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody
from na_ray.body.intervals import shell_intervals
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.body.triangles import project_to_faces
from na_ray.body.unwrap import depth_buffer
from na_ray.body.views import TexelReader
from na_ray.capture.camera import Camera
from na_ray.config import DataConfig, Experiment, NerfConfig, SplatsConfig, TextureConfig, Vid2vidConfig
from na_ray.models import optim
from na_ray.models.gaussians import Gaussians
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.optim import predictor_adam
from na_ray.models.splats.optimizer import SplatsOptimizer
from na_ray.models.splats.poses import PoseTable
from na_ray.models.splats.rasterize import DrawnBy, draw
from na_ray.models.splats.splats import Splats
from na_ray.models.splats.views import Views
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Networks, iterate
from na_ray.models.vid2vid.perceptual import LaplacianPyramid
from na_ray.run.train.nerf.step import noise_source, to_batch, train_step
from na_ray.run.train.splats import step as splats_stage
from na_ray.run.train.splats.replay import ReplayedStep

SMALL = NerfConfig(hidden=32, encoder_width=8, samples_per_ray=16, stratified=False, density_noise=0.0)
"""Without random numbers: each kind of device draws its own."""
TINY = Vid2vidConfig(
    resolution=(32, 64),
    num_filters=2,
    max_num_filters=6,
    num_layers=4,
    num_downsamples_img=3,
    embed_downsamples=2,
    latent_channels=3,
    flow_filters=2,
    flow_downsamples=2,
    flow_blocks=1,
    warp_layers=2,
    warp_downsamples=3,
    image_filters=2,
    image_layers=2,
    temporal_filters=2,
    temporal_scales=1,
    temporal_subscales=2,
    temporal_layers=1,
    max_discriminator_filters=8,
)


def posed(device: str, dtype: torch.dtype = torch.float32) -> PosedBody:
    """A ball of 0.5 m, 3 m in front of the origin."""
    rig, pose = sphere(3)
    return Body.from_rig(rig, dtype, device).pose(pose)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers, the same on every device: drawn on the CPU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rays(count: int) -> tuple[Tensor, Tensor]:
    """From the origin, most of them towards the ball."""
    directions = random(count, 3) * torch.tensor([0.15, 0.15, 0.0]) + torch.tensor([0.0, 0.0, 1.0])
    return torch.zeros(count, 3), torch.nn.functional.normalize(directions, dim=1)


def camera() -> Camera:
    """Of 96 x 64 pixels, at the origin."""
    return Camera("c", np.array([[150.0, 0, 47.5], [0, 150.0, 31.5], [0, 0, 1]]), np.eye(4), 64, 96)


def close(name: str, found: Tensor, expected: Tensor, tolerance: float, share: float = 1.0) -> None:
    """At least this share of the values agree: ties and edges may fall the other way."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    assert found.shape == expected.shape, f"{name}: {tuple(found.shape)} beside {tuple(expected.shape)}"
    error = (found - expected).abs()
    right = float((error <= tolerance * (1 + expected.abs())).double().mean())
    assert right >= share, f"{name}: {right:.1%} within {tolerance:g}, at most {float(error.max()):.3g} apart"


def closest(body: PosedBody, points: Tensor, parity: bool) -> Tensor:
    """The nearest points of the surface, by way of the faces that hold them. Faces tie along edges: their numbers and
    their middles may differ where the points do not."""
    surface = Surface(body.body.faces, len(body.vertices), body.vertices.device)
    surface.refit(body.vertices)
    faces = surface.closest(points.to(body.vertices), parity=parity).cpu()
    vertices, exact = body.vertices.detach().cpu().double(), points.cpu().double()
    return project_to_faces(exact, vertices, body.body.faces.cpu(), faces).points


def check_nearest_faces(device: str) -> None:
    """Kernels `nearest_faces` and, with parity and in float64, `refine_faces`."""
    points = torch.nn.functional.normalize(random(4000, 3), dim=1) * (0.5 + 0.03 * random(4000, 1, seed=1))
    for dtype, parity in ((torch.float32, False), (torch.float32, True), (torch.float64, False)):
        found, expected = (closest(posed(where, dtype), points, parity) for where in (device, "cpu"))
        close(f"nearest point, {dtype}, parity {parity}", found, expected, 1e-5, 0.999)


def check_first_hits(device: str) -> None:
    """Kernel `first_hits`."""
    seen = []
    for where in (device, "cpu"):
        body = posed(where)
        surface = Surface(body.body.faces, len(body.vertices), where)
        surface.refit(body.world_vertices)
        face, depth, _ = surface.intersect(*(x.to(where) for x in rays(4000)))
        seen.append((depth * (face >= 0), face >= 0))
    close("hits", seen[0][1], seen[1][1], 0, 0.999)
    close("depth of first hits", seen[0][0], seen[1][0], 1e-5, 0.999)


def check_shell_intervals(device: str) -> None:
    """Kernels `sphere_bounds` and `sphere_intervals`, beside every sphere tried in float64."""
    for parity in (False, True):
        found = shell_intervals(posed(device).world_vertices, *(x.to(device) for x in rays(4000)), 0.06, parity)
        vertices = posed("cpu").world_vertices.double()
        expected = shell_intervals(vertices, *(x.double() for x in rays(4000)), 0.06, parity)
        for name, a, b in zip(("near", "far", "hit"), found, expected, strict=True):
            close(f"{name}, parity {parity}", a, b, 2e-4, 0.998)


def check_atlas(device: str) -> None:
    """Kernel `fill_faces`, and normal maps that are the same to the bit, again and again."""
    atlas, expected = (Atlas(posed(where).body, 128) for where in (device, "cpu"))
    close("faces of texels", atlas.face, expected.face, 0, 0.999)
    body = posed(device)
    first = atlas.normal_map(body)
    close("normal map", first, expected.normal_map(posed("cpu")), 0.02, 0.999)
    for _ in range(10):
        assert torch.equal(posed(device).vertex_normals(), body.vertex_normals()), "normals differ from run to run"
        assert torch.equal(posed(device).pseudo_normals, body.pseudo_normals), "pseudo-normals differ from run to run"
        assert torch.equal(atlas.normal_map(posed(device)), first), "normal maps differ from run to run"


def check_depth_buffer(device: str) -> None:
    """Kernel `fill_depth`."""
    for found, expected in zip(
        depth_buffer(posed(device), camera()), depth_buffer(posed("cpu"), camera()), strict=True
    ):
        close("depth buffer", found.nan_to_num(posinf=9), expected.nan_to_num(posinf=9), 1e-6, 0.999)


def check_texel_reader(device: str) -> None:
    """Kernel `read_texels`."""
    view, found = camera(), []
    image = (random(view.height, view.width, 3).sigmoid() * 255).to(torch.uint8).numpy()
    for where in (device, "cpu"):
        body = posed(where)
        reader = TexelReader(Atlas(body.body, 64))
        views = reader.read(body, [image], [view])
        found.append((views.weights, views.colors, reader.at_vertices(views.colors[0])))
    for name, here, there in zip(("weight of a view", "color of a view", "sums at vertices"), *found, strict=True):
        close(name, here, there, 1e-3, 0.99)


def check_textured_mesh(device: str) -> None:
    """A picture of the mesh."""
    views = []
    for where in (device, "cpu"):
        body = posed(where)
        surface = Surface(body.body.faces, len(body.vertices), where)
        views.append(textured_mesh(body, random(3, 32, 32).to(where), camera(), surface))
    for name, found, expected in zip(("color", "depth", "coverage"), *views, strict=True):
        close(name, found, expected, 1e-4, 0.998)


def row() -> dict[str, np.ndarray]:
    """A row of the stream: two views of 100 rays."""
    _, pose = sphere(3)
    origins, directions = (x.reshape(2, 100, 3).numpy() for x in rays(200))
    texture = (random(32, 32, 3).sigmoid() * 255).to(torch.uint8).numpy()
    colors = random(2, 100, 3, seed=2).tanh().numpy()
    fixed = {name: getattr(pose, name) for name in ("joints_RT", "rotation", "translation", "joints")}
    return fixed | {"texture": texture, "origins": origins, "directions": directions, "colors": colors}


def nerf_step(device: str, precision: str = "float32") -> tuple[Tensor, dict[str, Tensor], Nerf]:
    """(loss, gradients, the NeRF after the update) of a training step."""
    experiment = Experiment(nerf=SMALL, data=DataConfig(rays_per_view=64, texture_size=32))
    experiment = replace(experiment, train=replace(experiment.train, precision=precision))
    torch.manual_seed(0)
    body = Body.from_rig(sphere(3)[0])
    nerf = Nerf(SMALL, body).train().to(device)
    optimizer = optim.adam(nerf.parameters(), experiment.optim)
    batches = [to_batch(row(), nerf.body, experiment)]
    noises = [noise_source(experiment, 0, 0, torch.device(device))]
    loss, _ = train_step(nerf, batches, experiment, noises, 1.0)
    gradients = {n: p.grad.clone() for n, p in nerf.named_parameters() if p.grad is not None}
    optimizer.step()
    return loss, gradients, nerf


def check_a_step_of_the_nerf(device: str) -> None:
    """Loss and gradients, in float32 and in bfloat16."""
    found, gradients, nerf = nerf_step(device)
    expected, others, _ = nerf_step("cpu")
    close("loss", found, expected, 1e-4)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        apart = float((gradient.cpu() - others[name]).norm() / others[name].norm().clamp(min=1e-6))
        assert apart < 0.02, f"gradient of {name}: {apart:.1%} apart"
    assert all(bool(torch.isfinite(p).all()) for p in nerf.parameters())
    close("loss in bfloat16", nerf_step(device, "bfloat16")[0], expected, 0.05)


def texture_step(device: str) -> tuple[list[dict[str, Tensor]], Tensor, Networks]:
    """(losses of three frames, the frames, the networks) of a training step."""
    torch.manual_seed(0)
    texture = TextureConfig()
    networks = [network(TINY).train().to(device) for network in (Generator, Discriminator)]
    optimizers = [predictor_adam(network.parameters(), 1e-6, texture) for network in networks]
    generator, discriminator = networks
    assert isinstance(generator, Generator) and isinstance(discriminator, Discriminator)
    networks = Networks(generator, discriminator, LaplacianPyramid().to(device), *optimizers, texture)
    labels, images = (random(1, 3, 3, *TINY.resolution, seed=seed).tanh().to(device) for seed in (3, 4))
    record, fakes = iterate(networks, labels, images)
    return record, fakes, networks


def check_a_step_of_the_texture_predictor(device: str) -> None:
    """Losses and frames of a window of three, the third with flow and a temporal discriminator."""
    record, fakes, _ = texture_step(device)
    expected, others, _ = texture_step("cpu")
    close("frames", fakes, others, 2e-3, 0.999)
    for found, other in zip(record, expected, strict=True):
        assert found.keys() == other.keys()
        for name, value in found.items():
            close(name, value, other[name], 5e-3)


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


def beside() -> Camera:
    """The other view, a little to the right."""
    T = np.eye(4)
    T[0, 3] = 0.3
    return replace(camera(), T_world_camera=T)


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
    fixed = {name: getattr(pose, name) for name in ("joints_RT", "rotation", "translation", "joints")}
    row = fixed | {
        "texture": (texture.numpy() * 255).astype(np.uint8),
        "views": np.array([0, 1]),
        "windows": np.array([[20, 4, 60, 58], [0, 10, 50, 50]], np.int32),
        "pictures": (random(2, 64, 64, 3, seed=9).sigmoid().numpy() * 255).astype(np.uint8),
    }
    batch = splats_stage.to_batch(row, splats, [camera(), beside()], splats_stage.chance(0, 0, 0))
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


def rows_of_splats(count: int) -> list[splats_stage.PictureRow]:
    """Two views of the ball in windows of several sizes."""
    rng, (_, pose) = np.random.default_rng(0), sphere(3)
    fixed = {name: getattr(pose, name) for name in ("joints_RT", "rotation", "translation", "joints")}
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
            rng = splats_stage.chance(0, step, 0)
            if replayed is not None:
                if step == 8:
                    replayed.capacity = 100
                losses.append(replayed.step([row], [rng], step)["loss"])
                continue
            loss, _ = splats(splats_stage.to_batch(row, splats, cameras, rng))
            (0.5 * loss).backward()
            optimizer.step(step)
            losses.append(0.5 * loss.detach())
        models.append([*optimizer.parameters, *optimizer.average])
    found, expected = (torch.stack(part) for part in (losses[:12], losses[12:]))
    close("losses", found, expected, 2e-3)
    close("the first losses", found[:2], expected[:2], 1e-5)
    values = [torch.cat([p.detach().flatten() for p in model]) for model in models]
    assert float((values[0] - values[1]).norm() / values[1].norm()) < 0.02, "weights"


def checks() -> dict[str, Callable[[str], None]]:
    """All checks, by name."""
    found = copy.copy(globals())
    return {name.removeprefix("check_"): f for name, f in found.items() if name.startswith("check_")}
