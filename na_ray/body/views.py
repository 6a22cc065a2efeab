"""What the cameras of one frame see of each texel: colors, and how much each is to be trusted.

Symbols: n texels inside the charts, row by row; k cameras. A texel's *view* is one camera's color of it.

A view counts by cos^4 of the angle between normal and camera, and by its *trust*: the distance in the picture to the
nearest silhouette, of the person (`masks`) or of a part of the body before another, where template and person differ
and a pixel shows what lies behind. What the body hides is told by a depth buffer with a margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import warp as wp
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from na_ray.body import kernels, view_kernels
from na_ray.body.atlas import Atlas
from na_ray.body.body import PosedBody
from na_ray.body.unwrap import DEPTH_TOLERANCE, LAST_RESORT, LEAST_COSINE, depth_of
from na_ray.capture.camera import Camera
from na_ray.config.values import UserError

JUMP = 0.03
"""Neighboring pixels whose depths differ by more (m) are a silhouette; more where a pixel is wide."""
WIDE_PIXELS = 4.0
"""A surface may rise by as many pixels' width from one pixel to the next."""
RAMP = 3.0
"""Pixels from the first that is trusted to those trusted wholly."""
RAMP_METRES = 0.02
"""The same in metres, for pictures of finer pixels."""

Image = UInt8[np.ndarray, "_ _ _"]
Mask = Bool[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class TexelViews:
    """What k cameras see of n texels."""

    colors: Float[Tensor, "k n 3"]
    """In [0, 1]; without meaning where the weight is zero."""
    weights: Float[Tensor, "k n"]
    """How much each counts; zero where the camera does not see the texel."""

    @property
    def seen(self) -> Bool[Tensor, "n"]:
        """Texels that any camera sees."""
        return self.weights.amax(0) > 0


class TexelReader:
    """Reads the texels of one atlas out of the photographs of its posed body."""

    def __init__(self, atlas: Atlas):
        self.atlas = atlas
        self._corners: Int[Tensor, "n 3"] = atlas.body.faces[atlas.face[atlas.inside]]
        self._shares: Float[Tensor, "n 3"] = atlas.barycentrics[atlas.inside].to(torch.float32)

    def at_texels(self, values: Float[Tensor, "v c"]) -> Float[Tensor, "n c"]:
        """A quantity given at the vertices, linear over each face."""
        return torch.nn.functional.embedding_bag(
            self._corners, values.to(torch.float32), per_sample_weights=self._shares, mode="sum"
        )

    def at_vertices(self, values: Float[Tensor, "n c"]) -> Float[Tensor, "v c"]:
        """Sums over the texels around each vertex, by their barycentrics; the same from run to run."""
        rows, order, starts = self._by_vertex
        return torch.nn.functional.embedding_bag(
            rows, values, starts, per_sample_weights=self._shares.view(-1)[order], mode="sum"
        )

    @cached_property
    def _by_vertex(self) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"], Int[Tensor, "v"]]:
        """(texel of each corner, corner, where each vertex's begin), sorted by vertex."""
        vertex, order = self._corners.view(-1).sort(stable=True)
        count = torch.arange(len(self.atlas.body.vertices), device=vertex.device)
        return order // 3, order, torch.searchsorted(vertex, count)

    def read(
        self,
        posed: PosedBody,
        images: Sequence[Image],
        cameras: Sequence[Camera],
        masks: Sequence[Mask] | None = None,
        shifts: Sequence[Float[np.ndarray, "_ _ 2"]] | None = None,
    ) -> TexelViews:
        """The views of one frame; `shifts`: how far (x, y) beside each pixel the photograph is to be read, pixels.

        Silhouettes are `masks`, or the alpha of RGBA images. Raises UserError for an image of the wrong size.
        """
        points = self.at_texels(posed.world_vertices)
        normals = normalize(self.at_texels(posed.vertex_normals()), dim=1)
        colors = points.new_zeros(len(cameras), len(points), 3)
        weights = points.new_zeros(len(cameras), len(points))
        for k, (image, camera) in enumerate(zip(images, cameras, strict=True)):
            check_size(image, camera)
            mask = masks[k] if masks is not None else image[..., 3] > 127 if image.shape[2] == 4 else None
            cut = near_body(posed, camera)
            part = cut.rows, cut.columns
            shift = None if shifts is None else shifts[k][part]
            depth, picture = prepared(posed, cut.camera, image[part], None if mask is None else mask[part], shift)
            _read(points, normals, cut.camera, depth, picture, colors[k], weights[k])
        return TexelViews(colors, weights)


def check_size(image: Image, camera: Camera) -> None:
    """Raise UserError unless the image has the camera's size."""
    if image.shape[:2] != (camera.height, camera.width):
        raise UserError(
            f"camera {camera.name}: the image is {image.shape[1]}x{image.shape[0]} but the camera expects "
            f"{camera.width}x{camera.height}: resize one of them"
        )


@dataclass(frozen=True, eq=False)
class BodyCut:
    """The part of a camera's picture that shows the body."""

    rows: slice
    columns: slice
    camera: Camera
    """The camera of that part."""


def near_body(posed: PosedBody, camera: Camera, margin: int = 4) -> BodyCut:
    """The box around the body in a picture, with a margin in pixels; the whole picture where a vertex is behind."""
    pixels, depth = camera.project(posed.world_vertices.detach().cpu().numpy())
    low, high = np.zeros(2, int), np.array([camera.width, camera.height])
    if (depth > 0).all():
        # At least two pixels each way, that bilinear values exist.
        low = np.clip(np.floor(pixels.min(0)).astype(int) - margin, 0, high - 2)
        high = np.clip(np.ceil(pixels.max(0)).astype(int) + margin + 1, low + 2, high)
    K = camera.K.copy()
    K[:2, 2] -= low
    part = Camera(camera.name, K, camera.T_world_camera, int(high[1] - low[1]), int(high[0] - low[0]))
    return BodyCut(slice(low[1], high[1]), slice(low[0], high[0]), part)


def prepared(
    posed: PosedBody,
    camera: Camera,
    image: Image,
    mask: Mask | None,
    shift: Float[np.ndarray, "h w 2"] | None = None,
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w c"]]:
    """(the body's depth, the picture with its trust and shift), as the kernel reads them."""
    device = posed.vertices.device
    depth = depth_of(posed, camera)
    channels = [torch.tensor(image[..., :3], device=device).to(torch.float32) / 255]
    channels.append(trust(depth, camera, None if mask is None else torch.tensor(mask, device=device))[..., None])
    if shift is not None:
        channels.append(torch.tensor(shift, device=device, dtype=torch.float32))
    return depth, torch.cat(channels, dim=2).contiguous()


def trust(depth: Float[Tensor, "h w"], camera: Camera, mask: Bool[Tensor, "h w"] | None) -> Float[Tensor, "h w"]:
    """How much each pixel is to be trusted, 0..1: by its distance to silhouettes. What is outside the mask, or is mixed
    with it, is not trusted at all."""
    edge, near = silhouettes(depth, camera, outline=mask is None), float(depth.min())
    ramp = max(RAMP, RAMP_METRES * camera.K[0, 0] / near) if near < np.inf else RAMP
    outer = None if mask is None else _highest((~mask).float()) > 0
    away = distance_within(edge if outer is None else edge | outer, int(np.ceil(ramp)) + 1)
    value = ((away - 1) / ramp).clamp(LAST_RESORT, 1)
    return value if outer is None else torch.where(outer, 0.0, value)


def silhouettes(depth: Float[Tensor, "h w"], camera: Camera, outline: bool) -> Bool[Tensor, "h w"]:
    """Pixels right behind the edge of a part of the body, on another part of it; with `outline`, also those of the body
    beside the background, which a mask tells better."""
    far = depth.clamp(max=1e3)
    lowest = -_highest(-far)
    jump = JUMP + WIDE_PIXELS * lowest / camera.K[0, 0]
    behind = (far - lowest > jump) & depth.isfinite()
    return behind | ((_highest(far) >= 1e3) & depth.isfinite()) if outline else behind


def _highest(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The highest value in the 3 x 3 pixels around each; `max_pool2d` takes five times as long."""
    for dim in (0, 1):
        result, count = values.clone(), values.shape[dim] - 1
        for start, other in ((0, 1), (1, 0)):
            place = result.narrow(dim, start, count)
            torch.maximum(place, values.narrow(dim, other, count), out=place)
        values = result
    return values


def distance_within(target: Bool[Tensor, "h w"], reach: int) -> Float[Tensor, "h w"]:
    """Euclidean distance (pixels) to the nearest target, exact up to `reach` and that beyond it."""
    found = torch.where(target, 0.0, float(reach + 1) ** 2)
    for dim in (0, 1):
        result = found.clone()
        for step in range(1, reach + 1):
            near, far = found.narrow(dim, 0, found.shape[dim] - step), found.narrow(dim, step, found.shape[dim] - step)
            for part, other in ((near, far), (far, near)):
                start = step if part is far else 0
                place = result.narrow(dim, start, part.shape[dim])
                torch.minimum(place, other + step**2, out=place)
        found = result
    return found.sqrt().clamp(max=reach)


def _read(
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    camera: Camera,
    depth: Float[Tensor, "h w"],
    picture: Float[Tensor, "h w c"],
    colors: Float[Tensor, "n 3"],
    weights: Float[Tensor, "n"],
) -> None:
    """Fill the colors and the weights of one camera."""
    rotation = np.linalg.inv(camera.T_world_camera[:3, :3])
    with kernels.on_device(points.device) as name:
        inputs = [
            *map(kernels.as_vec3, (points, normals)),
            wp.vec3(*camera.center),
            wp.mat33(*rotation.ravel()),
            wp.mat33(*camera.K.ravel()),
            *map(wp.from_torch, (depth, picture)),
            *(LEAST_COSINE, DEPTH_TOLERANCE, LAST_RESORT),
            *map(wp.from_torch, (colors, weights)),
        ]
        wp.launch(view_kernels.read_texels, len(points), inputs, device=name)
