import numpy as np
import pytest
import torch

from na_ray.models.vid2vid import losses
from na_ray.models.vid2vid.discriminator import DiscriminatorOutput, Patches
from na_ray.models.vid2vid.flow import warp
from na_ray.models.vid2vid.generator import Generated
from tests.models.vid2vid.tiny import DATA, tensor

FUNCTIONS = {"D_fake": losses.hinge_fake, "D_real": losses.hinge_real, "G_fake": losses.generator_loss}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_hinge_losses_and_gradients_are_the_originals(name):
    logits = [tensor(f"gan/in/d{k}").requires_grad_() for k in (0, 1)]
    value = FUNCTIONS[name](logits)
    value.backward()
    assert float(value.detach()) == pytest.approx(float(DATA[f"gan/{name}/value"]), rel=1e-7)
    for k, x in enumerate(logits):
        np.testing.assert_allclose(x.grad, DATA[f"gan/{name}/grad/d{k}"], rtol=1e-6)


def test_the_hinge_is_the_naive_one():
    real, fake = ([torch.randn(2, 1, 3, k, dtype=torch.float64) * 2 for k in (4, 2)] for _ in range(2))
    expected = 0.0
    for a, b in zip(real, fake, strict=True):
        expected += sum(max(0.0, 1 - float(x)) for x in a.flatten()) / a.numel() / 2
        expected += sum(max(0.0, 1 + float(x)) for x in b.flatten()) / b.numel() / 2
    found = losses.discriminator_loss(DiscriminatorOutput(Patches(real, []), Patches(fake, [])))
    assert float(found) == pytest.approx(expected, rel=1e-12)
    sure = DiscriminatorOutput(
        Patches([torch.full((1, 1, 2, 2), 1.5)], []), Patches([torch.full((1, 1, 2, 2), -1.5)], [])
    )
    assert float(losses.discriminator_loss(sure)) == 0


def test_feature_matching_is_the_naive_one_without_a_gradient_into_the_real_frames():
    sizes = [[(1, 2, 4, 4), (1, 3, 2, 2)], [(1, 2, 2, 2), (1, 3, 1, 2)]]
    fake, real = ([[torch.randn(*s).requires_grad_() for s in sub] for sub in sizes] for _ in range(2))
    found = losses.feature_matching(Patches([], fake), Patches([], real))
    found.backward()
    pairs = [(f, r) for ours, theirs in zip(fake, real, strict=True) for f, r in zip(ours, theirs, strict=True)]
    expected = sum(float(np.abs(f.detach().numpy() - r.detach().numpy()).mean()) for f, r in pairs) / 2
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    assert all(f.grad is not None and r.grad is None for f, r in pairs)


def test_half_precision_logits_are_averaged_in_full():
    logits = [torch.full((1, 1, 64, 64), 0.001, dtype=torch.bfloat16) + 1]
    assert losses.hinge_real(logits).dtype == torch.float32


def generated(seed: int = 0) -> tuple[Generated, torch.Tensor]:
    torch.manual_seed(seed)
    flow = (torch.randn(1, 2, 6, 8, dtype=torch.float64)).requires_grad_()
    mask = torch.rand(1, 1, 6, 8, dtype=torch.float64).requires_grad_()
    image, before = (torch.rand(1, 3, 6, 8, dtype=torch.float64) * 2 - 1 for _ in range(2))
    return Generated(image, flow, mask, warp(0.3 * before + 0.5 * image, flow)), image


def test_flow_losses_are_the_naive_ones():
    made, image = generated()
    target = losses.FlowTarget(
        torch.randn(1, 2, 6, 8, dtype=torch.float64), torch.rand(1, 1, 6, 8, dtype=torch.float64)
    )
    found = losses.flow_losses(made, image, target)
    l1 = warped = masked = 0.0
    assert made.flow is not None and made.mask is not None and made.warped is not None
    flow, mask, picture = (x.detach() for x in (made.flow, made.mask, made.warped))
    for y in range(6):
        for x in range(8):
            for c in range(2):
                off = abs(float(flow[0, c, y, x]) - float(target.flow[0, c, y, x]))
                l1 += float(target.confidence[0, 0, y, x]) * off / 96
            off = sum(abs(float(picture[0, c, y, x]) - float(image[0, c, y, x])) for c in range(3))
            warped += off / 144
            right, m = min(max(1 - off, 0), 1), float(mask[0, 0, y, x])
            masked += (m * right + (1 - m) * (1 - right)) / 48
    assert {k: float(v.detach()) for k, v in found.items()} == pytest.approx(
        {"flow_l1": l1, "flow_warp": warped, "flow_mask": masked}, rel=1e-9
    )


@pytest.mark.parametrize("parity", [False, True])
def test_only_with_parity_the_masks_loss_bends_the_flow(parity):
    made, image = generated()
    losses.flow_losses(made, image, None, parity)["flow_mask"].backward()
    assert made.flow is not None and made.mask is not None and made.mask.grad is not None
    assert (made.flow.grad is not None and bool(made.flow.grad.any())) == parity


def test_what_is_left_out():
    made, image = generated()
    assert set(losses.flow_losses(made, image, None)) == {"flow_warp", "flow_mask"}
    assert losses.flow_losses(Generated(image, None, None, None), image, None) == {}


def test_confidence_is_one_where_the_color_is_found_again():
    image = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    previous = image.clone()
    previous[0, :, 1, 2] = 0.08  # 3 x 0.08^2 = 0.0192
    previous[0, :, 2, 3] = 0.09  # 0.0243
    flow = torch.zeros(1, 2, 4, 5, dtype=torch.float64)
    expected = torch.ones(1, 1, 4, 5, dtype=torch.float64)
    expected[0, 0, 2, 3] = 0
    assert torch.equal(losses.confidence(image, previous, flow), expected)
    flow[:, 0] = 1  # the pixel to the left now finds it
    assert losses.confidence(image, previous, flow)[0, 0, 2, 2] == 0
