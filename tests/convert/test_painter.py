"""Sixteen bits are enough to put a picture on a background, to the nearest level."""

import numpy as np

from na_ray.convert.painter import Painter


def test_every_share_of_every_level_is_rounded_exactly() -> None:
    level, share = np.meshgrid(np.arange(256), np.arange(256))
    image = np.repeat(level[..., None], 3, axis=2).astype(np.uint8)
    for background in ((255, 255, 255), (0, 7, 200)):
        picture, alpha = Painter(background, None).paint((image, share.astype(np.uint8)))
        a = share[..., None] / 255
        np.testing.assert_array_equal(picture, np.floor(a * image + (1 - a) * np.array(background) + 0.5))
        assert alpha is not None and np.array_equal(alpha, share)
