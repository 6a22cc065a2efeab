"""The networks on the device `meta`, which has shapes and no numbers: it finds mistakes of devices without a GPU.

An element-wise operation or a concatenation with a tensor that was made on the CPU raises there, and so does whatever
waits for the device: `item`, `nonzero`, boolean masks. (Matrix products and index tensors of the CPU pass unseen.)
"""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import na_ray
from na_ray.config import NerfConfig, OptimConfig, SplatsConfig, TextureConfig
from na_ray.models import losses
from na_ray.models.lighting import relit
from na_ray.models.nerf.compositing import composite
from na_ray.models.nerf.field import RadianceField
from na_ray.models.nerf.sampling import sample_along_rays
from na_ray.models.nerf.texture_encoder import TextureEncoder, lookup
from na_ray.models.splats.decoder import Decoder
from na_ray.models.splats.loss import picture_loss
from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Flows, Networks, iterate
from na_ray.models.vid2vid.perceptual import LaplacianPyramid, Vgg19
from tests.models.vid2vid.tiny import CONFIG

RAYS = 10

MEANT = {
    "models/nerf/renderer.py": [
        "rays = hit.nonzero()[:, 0]",
        "index = (faces >= 0).nonzero()[:, 0]",
    ],
    "models/splats/poses.py": [
        "mean = torch.stack([moved.norm(dim=1).mean(), turned.norm(dim=2).mean()]).tolist()",
        "found = (self.frames == frame).nonzero()[:, 0].tolist()",
    ],
    "models/splats/rasterize.py": ["bits = depths.numpy().view(np.uint32)"],
    "models/splats/splats.py": ["return SplatFrame(posed, posed.translation.double().cpu().numpy(), gaussians)"],
    "models/splats/texels.py": ["index = ((flat >= 0) & sound[flat.clamp(min=0)]).nonzero()[:, 0]"],
}
"""Where the host waits for the device, on purpose. In a training step of the NeRF: how many rays meet the shell, and
how many samples. Of the splats: the order on a CPU, a frame made for pictures, learned poses in a report and in a
validation, and the atlas, once; a step asks for the number of pairs (`int(ends[-1, -1])`)."""


def made(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


def without_gradient(module: torch.nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.grad is None}


def test_the_device_finds_what_it_is_for() -> None:
    with pytest.raises(RuntimeError, match="device"):
        made(3) + torch.ones(3)
    with pytest.raises(RuntimeError, match="item"):
        made(1).sum().item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        made(3).nonzero()


@pytest.mark.parametrize("changes", [{}, {"mesh_residual": True}, {"deformation": False}])
def test_texture_encoder_field_and_compositing(changes: dict) -> None:
    config = NerfConfig(hidden=16, encoder_width=4, samples_per_ray=5, **changes)
    with torch.device("meta"):
        encoder = TextureEncoder(config.encoder_width)
        field = RadianceField(config, encoder.channels)
    texture = made(3, 32, 32)
    depths, lengths = sample_along_rays(made(RAYS), made(RAYS), config.samples_per_ray, made(RAYS, 5))
    count = depths.numel()
    seen = lookup(field.project(encoder(texture), texture), made(count, 2))
    stored = made(count, 3) if config.sharp else None
    sigma, colors = field(made(count, 3), made(count, 3), made(count, 3), seen, stored)
    parts = (sigma.view(depths.shape), colors.view(*depths.shape, 3), depths, lengths)
    found = composite(*parts, made(3), 5.0)
    loss = losses.total(found.colors, found.transmittance, made(RAYS, 3), OptimConfig(alpha_weight=0.1))
    loss.backward()
    assert loss.is_meta and not without_gradient(encoder) and not without_gradient(field)
    torch.nn.utils.clip_grad_norm_(field.parameters(), 1.0)


def test_decoder_light_and_loss_of_the_splats() -> None:
    """The kernels between them have no such device."""
    config = SplatsConfig(texels=64, widths=(8, 16, 8))
    with torch.device("meta"):
        decoder = Decoder(9, 14, config.side, config.widths)
    output = decoder(made(1, 9, 64, 64))
    assert output.is_meta and output.shape == (1, 14, 64 * 64)
    colors = relit(made(3, 50), made(8, 50), made(8, 3), made(3, 50)) + output[0, :3, :50]
    loss, squared = picture_loss(colors.reshape(10, 15, 1).expand(10, 15, 3), made(10, 15, 3), 1.0, 5.0, 0.2)
    (loss + output.square().mean()).backward()
    assert loss.is_meta and squared.is_meta and not without_gradient(decoder)


class NoAutocast(torch.autocast):
    """The device has none: in float32 there is nothing to do."""

    def __init__(self, *_: object, **__: object) -> None:
        return

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


def test_generator_discriminator_and_their_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of three frames: without flow, with it, and with a temporal discriminator; both updates of each."""
    monkeypatch.setattr(torch, "autocast", NoAutocast)
    texture = TextureConfig(flow_target="file", flow_folder="flows")
    with torch.device("meta"):
        generator, discriminator, perceptual = Generator(CONFIG), Discriminator(CONFIG), LaplacianPyramid()
    optimizers = [torch.optim.SGD(n.parameters(), 1e-4) for n in (generator, discriminator)]  # Adam's is fused: no meta
    networks = Networks(generator.train(), discriminator.train(), perceptual, *optimizers, texture)
    flows = Flows(made(1, 3, 2, *CONFIG.resolution), made(1, 3, 1, *CONFIG.resolution))
    average = Average(generator, 0.999, 1)
    record, fakes = iterate(networks, made(1, 3, 3, *CONFIG.resolution), made(1, 3, 3, *CONFIG.resolution), flows)
    average.update(generator)
    assert fakes.is_meta and all(value.is_meta for frame in record for value in frame.values())
    assert {"G/flow_warp", "D/gan_t0", "G/perceptual"} <= set(record[-1])


def test_vgg19() -> None:
    with torch.device("meta"):
        network = Vgg19()
    image = made(1, 3, 64, 64).requires_grad_()
    network(image, made(1, 3, 64, 64)).backward()
    assert image.grad is not None and image.grad.is_meta


def test_nothing_else_waits_for_the_device() -> None:
    """Source lines of the networks, their losses and a step that bring a number to the host, or depend on one."""
    root = Path(na_ray.__file__).parent
    waits = re.compile(r"\.(item|tolist|nonzero|cpu|numpy|masked_select|unique)\(|torch\.(nonzero|masked_select)\(")
    # A measurement, what is not trained, and pictures, which are made for the host.
    left_out = {"cost.py", "gemm.py", "inception.py", "imagenet.py", "ray_picture.py"}
    files = [p for p in sorted(root.glob("models/**/*.py")) if p.name not in left_out]
    found = {}
    steps = [root / "run" / "train" / stage / "step.py" for stage in ("nerf", "splats")]
    for path in [*files, *steps]:
        lines = [line.strip() for line in path.read_text().splitlines() if waits.search(line)]
        if lines:
            found[str(path.relative_to(root))] = lines
    assert found == MEANT
