"""Frechet inception distance of two sequences of pictures (Heusel et al. 2017), in constant memory.

Each sequence is described by the mean m and the covariance S of its pictures' Inception features. The distance of the
two Gaussians is |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.models.pretrained.inception import FEATURES, Inception

# Vectors that are held back: the covariance takes up a few dozen almost as fast as one.
BATCH = 32


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution."""

    mean: Float[np.ndarray, " c"]
    covariance: Float[np.ndarray, "c c"]

    @cached_property
    def factor(self) -> Float[np.ndarray, "c r"]:
        """A with A A^T = S, by Cholesky with pivoting; r is the rank of S: less than c for up to c samples."""
        lower, order, rank, _ = scipy.linalg.lapack.dpstrf(self.covariance, lower=1)
        found = np.zeros((len(order), rank))
        found[order - 1] = np.tril(lower)[:, :rank]
        return found


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet (2-Wasserstein) distance: symmetric, 0 for equal distributions.

    With S1 = A A^T and S2 = B B^T the trace of (S1 S2)^(1/2) is the sum of the singular values of A^T B, which needs
    no root of a singular matrix.
    """
    shift = float(((a.mean - b.mean) ** 2).sum())
    spread = float((a.factor**2).sum() + (b.factor**2).sum())
    product = a.factor.T @ b.factor
    common = float(scipy.linalg.svdvals(product).sum()) if product.size else 0.0
    return max(shift + spread - 2 * common, 0.0)


class Moments:
    """Mean and covariance of vectors, in float64, one batch after the other."""

    def __init__(self, size: int) -> None:
        """Of vectors of `size` numbers."""
        self.count = 0
        self.mean = np.zeros(size)
        self.scatter = np.zeros((size, size))

    def add(self, vectors: Float[np.ndarray, "n c"]) -> None:
        """The next vectors, one at least (Chan et al. 1983: no large sums are subtracted)."""
        values = vectors.astype(np.float64)
        mean, count = values.mean(0), self.count + len(values)
        centered, shift = values - mean, mean - self.mean
        self.scatter += centered.T @ centered
        self.scatter += np.outer(shift, shift * (self.count * len(values) / count))
        self.mean = self.mean + shift * (len(values) / count)
        self.count = count

    def gaussian(self) -> Gaussian | None:
        """Mean and sample covariance of all vectors so far; None for fewer than two."""
        return Gaussian(self.mean, self.scatter / (self.count - 1)) if self.count > 1 else None


class PictureMoments:
    """Moments of the features of a sequence of pictures."""

    def __init__(self, network: Inception) -> None:
        """Several may share the network."""
        self.network = network
        self.moments = Moments(FEATURES)
        self.waiting: list[Float[np.ndarray, " c"]] = []
        self.last: tuple[Tensor, Float[np.ndarray, " c"]] | None = None

    def add(self, picture: Float[Tensor, "h w 3"]) -> None:
        """The next picture, RGB in [0, 1]."""
        self.add_features(self.features(picture))

    @torch.no_grad()
    def features(self, picture: Float[Tensor, "h w 3"]) -> Float[np.ndarray, " c"]:
        """Those of a picture, RGB in [0, 1]."""
        # A still picture, as the mean texture is, goes through the network once.
        if self.last is None or not torch.equal(self.last[0], picture):
            like = self.network.Conv2d_1a_3x3.conv.weight
            features = self.network(picture.permute(2, 0, 1)[None].to(like))[0]
            self.last = picture, features.double().cpu().numpy()
        return self.last[1]

    def add_features(self, features: Float[np.ndarray, " c"]) -> None:
        """The next picture's, as `features` gave them, perhaps elsewhere."""
        self.waiting.append(features)
        if len(self.waiting) == BATCH:
            self._flush()

    def gaussian(self) -> Gaussian | None:
        """Of all pictures so far; None for fewer than two."""
        self._flush()
        return self.moments.gaussian()

    def _flush(self) -> None:
        if self.waiting:
            self.moments.add(np.stack(self.waiting))
            self.waiting = []
