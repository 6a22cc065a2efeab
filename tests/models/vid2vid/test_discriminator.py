from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from na_ray.config import Vid2vidConfig
from na_ray.models.vid2vid.discriminator import Discriminator, PatchDiscriminator, history_length
from na_ray.original.names import from_original
from tests.models.vid2vid.tiny import CONFIG, DATA, enliven, maps, tensor, window


def discriminator(config: Vid2vidConfig = CONFIG) -> Discriminator:
    torch.manual_seed(0)
    made = enliven(Discriminator(config))
    assert isinstance(made, Discriminator)
    return made.double()


def test_a_patch_discriminator_gives_the_originals_logits():
    network = PatchDiscriminator(6, 4, 4, 16, norm=True).double().eval()
    keys = [name for name in DATA.files if name.startswith("D/")]
    named = {str(from_original(key.removeprefix("D/"))): tensor(key) for key in keys}
    network.load_state_dict({name.removeprefix("image.1."): value for name, value in named.items()})
    x = torch.cat([maps("judged/label_u8"), maps("judged/real_u8")], dim=1)
    half = torch.nn.functional.interpolate(x, (32, 64), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(network(half)[-1].detach(), DATA["judged/output"], atol=1e-6)


def test_temporal_scales_look_1_and_3_frames_back():
    network = discriminator()
    seen: dict[int, list[float]] = {}
    for scale, parts in enumerate(network.temporal):
        parts[0].register_forward_pre_hook(lambda _, x, s=scale: seen.update({s: x[0][0, ::3, 0, 0].tolist()}))
    for t in range(9):
        frames = torch.arange(t + 1.0, dtype=torch.float64)[None, :, None, None, None]
        frames = frames.expand(1, t + 1, 3, *CONFIG.resolution)
        past = frames[:, max(0, t - history_length(CONFIG)) : t]
        seen.clear()
        outputs = network(frames[:, t], frames[:, t], frames[:, t], past, past)
        expected = {s: [t - 2 * 3**s, t - 3**s, t] for s in range(2) if t >= 2 * 3**s}
        assert seen == expected and set(outputs.temporal) == set(expected)


@pytest.mark.parametrize(("scales", "length"), [(0, 0), (1, 2), (2, 6), (3, 18)])
def test_history_is_as_long_as_the_coarsest_scale_looks_back(scales, length):
    assert history_length(replace(CONFIG, temporal_scales=scales)) == length


def test_real_and_fake_pass_one_after_the_other():
    network, frames, nothing = discriminator().train(), window(2), window(1)[:, :0]
    reference = discriminator().train()
    outputs = network(frames[:, 0], frames[:, 0], frames[:, 1], nothing, nothing)
    first = reference.image[0]
    for frame, found in ((frames[:, 0], outputs.image.real), (frames[:, 1], outputs.image.fake)):
        expected = first(torch.cat([frames[:, 0], frame], dim=1))[-1]
        np.testing.assert_allclose(found.logits[0].detach(), expected.detach(), atol=1e-12)
    assert torch.equal(network.image[0].layers[0].conv.u, first.layers[0].conv.u)


def test_published_sizes_have_the_published_number_of_parameters():
    with FakeTensorMode():
        network = Discriminator(Vid2vidConfig())
        logits = network(*[torch.zeros(1, 3, 512, 512)] * 3, *[torch.zeros(1, 2, 3, 512, 512)] * 2)
    assert sum(p.numel() for p in network.parameters()) == 30_497_547
    assert sum(b.numel() for b in network.buffers()) == 142_683
    assert [x.shape[2] for x in logits.image.real.logits] == [31, 15]
    assert [x.shape[2] for x in logits.temporal[0].real.logits] == [63, 31, 15]
    assert [len(x) for x in logits.image.real.features] == [5, 5]
    assert [len(x) for x in logits.temporal[0].fake.features] == [4, 4, 4]
