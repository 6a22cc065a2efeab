import numpy as np
import pytest
import torch

from na_ray.models.vid2vid.flow import FlowNetwork, warp
from tests.models.vid2vid.tiny import CONFIG, DATA, enliven, tensor


def test_the_warp_and_its_gradients_are_the_originals():
    image, flow = tensor("resample/image").requires_grad_(), tensor("resample/sub/flow").requires_grad_()
    out = warp(image, flow)
    (out * tensor("resample/sub/cotangent")).sum().backward()
    np.testing.assert_allclose(out.detach(), DATA["resample/sub/out"], atol=1e-6)
    np.testing.assert_allclose(image.grad, DATA["resample/sub/grad_image"], atol=1e-5)
    np.testing.assert_allclose(flow.grad, DATA["resample/sub/grad_flow"], atol=1e-5)


def test_the_warp_is_the_naive_sum_out_of_bounds_too():
    image = torch.randn(1, 2, 5, 7, dtype=torch.float64)
    flow = torch.randn(1, 2, 5, 7, dtype=torch.float64) * 4
    expected = np.empty((2, 5, 7))
    for y in range(5):
        for x in range(7):
            px, py = np.clip(x + float(flow[0, 0, y, x]), 0, 6), np.clip(y + float(flow[0, 1, y, x]), 0, 4)
            left, top = min(int(px), 5), min(int(py), 3)
            a, b = px - left, py - top
            corner = image[0, :, top : top + 2, left : left + 2].numpy()
            above, below = ((1 - a) * corner[:, i, 0] + a * corner[:, i, 1] for i in (0, 1))
            expected[:, y, x] = (1 - b) * above + b * below
    np.testing.assert_allclose(warp(image, flow)[0], expected, atol=1e-9)


def test_a_flow_of_whole_pixels_points_right_and_down():
    image = torch.arange(12.0, dtype=torch.float64).view(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4, dtype=torch.float64)
    flow[:, 0], flow[:, 1] = 1, 2
    np.testing.assert_allclose(warp(image, flow)[0, 0, 0], [9, 10, 11, 11], atol=1e-9)


def test_positions_keep_the_pictures_precision():
    image = torch.arange(512.0).expand(1, 1, 2, 512)
    out = warp(image, torch.zeros(1, 2, 2, 512, dtype=torch.bfloat16))
    np.testing.assert_allclose(out, image, atol=1e-3)


def test_the_network_scales_its_flow_and_bounds_its_mask():
    network = enliven(FlowNetwork(CONFIG, spectral=False)).double()
    labels, images = (torch.randn(1, c, *CONFIG.resolution, dtype=torch.float64) for c in (9, 6))
    flow, mask = (x.detach() for x in network(labels, images))
    network.scale = 10 * network.scale
    np.testing.assert_allclose(network(labels, images)[0].detach(), 10 * flow, rtol=1e-12)
    assert network.scale == pytest.approx(200)
    assert float(mask.min()) >= 0 and float(mask.max()) <= 1 and float(mask.std()) > 1e-3
