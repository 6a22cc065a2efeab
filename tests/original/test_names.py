import pytest
import torch

from na_ray.config import Vid2vidConfig
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.original.names import from_original, to_original

KNOWN = {
    "up.1.skip.spade.1.weight": "up_1.conv_block_s.layers.norm.mlps.1.0.layers.conv.weight",
    "flow.labels.0.norm.weight": "flow_network_temp.down_lbl.0.layers.norm.weight",
    "label_embedder.down.3.weight": "label_embedding.down_3.layers.conv.weight_orig",
    "temporal.0.2.layers.4.conv.u": "net_DT0.discriminator_2.layer4.0.layers.conv.weight_u",
    "code.bias": "fc.layers.conv.bias",
}
"""Examples of the parity page."""


@pytest.mark.parametrize("ours", KNOWN)
def test_the_examples_of_the_parity_page(ours):
    assert to_original(ours) == KNOWN[ours]
    assert from_original(KNOWN[ours]) == ours


@pytest.mark.parametrize("spectral", [True, False])
def test_every_name_has_one_key_and_comes_back(spectral):
    with torch.device("meta"):
        networks = [Generator(Vid2vidConfig(), spectral=spectral)]
        networks += [Discriminator(Vid2vidConfig())] if spectral else []
    names = [name for network in networks for name in network.state_dict()]
    keys = [to_original(name, folded=not spectral) for name in names]
    assert len(set(keys)) == len(keys) == (536 + 248 if spectral else 358)
    assert [from_original(key) for key in keys] == names


@pytest.mark.parametrize("key", ["up_1.weight", "fc.layers.conv.weight_u", "net_D.layers", "up_x.conv_block_0", ""])
def test_other_keys_have_no_name(key):
    assert from_original(key) is None
