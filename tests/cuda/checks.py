"""What a GPU computes beside what the CPU does: every kernel, and a training step of each stage.

Plain functions of a device, so that they run without pytest (run.py); test_checks.py runs them where pytest is. They
import what a training step does: torch, numpy, warp and pure Python, no Ray, no MLflow, no reader of videos.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import splats_checks
from comparing import camera, close, random
from icosphere import sphere

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody
from na_ray.body.intervals import shell_intervals
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.body.triangles import project_to_faces
from na_ray.body.unwrap import depth_buffer
from na_ray.body.views import TexelReader
from na_ray.config import DataConfig, Experiment, NerfConfig, TextureConfig, Vid2vidConfig
from na_ray.models import optim
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Networks, iterate
from na_ray.models.vid2vid.perceptual import LaplacianPyramid
from na_ray.run.train.nerf.step import noise_source, to_batch, train_step

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


def rays(count: int) -> tuple[Tensor, Tensor]:
    """From the origin, most of them towards the ball."""
    directions = random(count, 3) * torch.tensor([0.15, 0.15, 0.0]) + torch.tensor([0.0, 0.0, 1.0])
    return torch.zeros(count, 3), torch.nn.functional.normalize(directions, dim=1)


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


def checks() -> dict[str, Callable[[str], None]]:
    """All checks, by name."""
    found = globals() | vars(splats_checks)
    return {name.removeprefix("check_"): f for name, f in found.items() if name.startswith("check_")}
