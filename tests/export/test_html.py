"""The page's data, read back by another decoder: places, forms and colors within their steps."""

import base64
import json
import re
import zlib

import numpy as np
from scipy.spatial.transform import Rotation

from na_ray.export.html import SplatPose, html_page
from tests.export.test_ply import gaussians


def decode(page: str) -> tuple[dict, np.ndarray, np.ndarray]:
    """What the page says of itself, the 16 bytes of each splat of each pose, and the opacities."""
    meta = json.loads(re.search(r"const META = (.*);", page).group(1))  # type: ignore[union-attr]
    data = re.search(r'const DATA = "(.*)";', page).group(1)  # type: ignore[union-attr]
    raw = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8)
    texels, poses = meta["width"] * meta["height"], meta["poses"]
    planes = raw[: 16 * texels * poses].reshape(poses, 16, texels)
    bytes_ = (planes.astype(np.int64).cumsum(0) % 256).astype(np.uint8).transpose(0, 2, 1)[:, : meta["count"]]
    return meta, np.ascontiguousarray(bytes_), raw[16 * texels * poses :][: meta["count"]]


def test_every_pose_comes_back_within_its_steps() -> None:
    origins = [np.array([1.0, 2.0, 3.0]), np.array([1.2, 2.0, 2.9]), np.array([1.4, 2.1, 3.0])]
    given = [gaussians(300, seed) for seed in range(3)]
    poses = [SplatPose.of(g, o) for g, o in zip(given, origins, strict=True)]
    page = html_page(poses, "<anna>", 12.0, np.array([0, 0, 2.0]))
    assert "<anna>" not in page and "&lt;anna&gt;" in page
    assert not re.search(r"https?://|src=|href=", page), "it needs nothing beside it"
    meta, words, faint = decode(page)
    ever = np.max([g.opacities.numpy() for g in given], axis=0) >= 1 / 255
    assert meta["up"] == [0, 0, 1] and meta["count"] == ever.sum() and meta["fps"] == 12.0
    np.testing.assert_allclose(faint / 255, given[0].opacities.numpy()[ever], atol=0.5 / 255 + 1e-6)
    for pose, (g, origin) in enumerate(zip(given, origins, strict=True)):
        short = words[pose].view("<u2")
        places = short[:, :3] / 65535 * meta["span"] + meta["low"]
        np.testing.assert_allclose(places, g.means.numpy()[ever] + origin, atol=max(meta["span"]) / 65535)
        colors = words[pose][:, 12:15] / 255
        np.testing.assert_allclose(colors, g.colors.numpy()[ever].clip(0, 1), atol=0.5 / 255 + 1e-6)
        logs = words[pose][:, [6, 7, 15]] / 255 * meta["sizes"][1] + meta["sizes"][0]
        bits = words[pose].view("<u4")[:, 2].astype(np.int64)
        largest, parts = bits >> 30, np.stack([bits & 1023, bits >> 10 & 1023, bits >> 20 & 1023], 1)
        rest = (parts / 1023 - 0.5) * 2**0.5
        quaternions = np.stack(
            [np.insert(r, k, np.sqrt(max(0.0, 1 - r @ r))) for r, k in zip(rest, largest, strict=True)]
        )
        axes = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix()
        factors = g.factors.double().numpy()[ever]
        step = meta["sizes"][1] / 255
        for axis, log, factor in zip(axes, logs, factors, strict=True):
            covariance = axis @ np.diag(np.exp(2 * log)) @ axis.T
            expected = factor @ factor.T
            assert np.abs(covariance - expected).max() < (2 * step + 0.01) * expected.max()
