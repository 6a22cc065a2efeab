"""A texture map from the images of one frame.

Symbols: n texels of the charts, k cameras. A texel's *view* is one camera's color of it, with a weight.
"""

from collections.abc import Sequence

import numpy as np
import torch
import warp as wp
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d, normalize

from na_ray.body import kernels, raster_kernels
from na_ray.body.atlas import Atlas
from na_ray.body.body import PosedBody, rotate
from na_ray.capture.camera import Camera
from na_ray.config.values import UserError

LEAST_COSINE = 0.2
"""Texels seen at a flatter angle than this are not read."""
LAST_RESORT = 1e-4
"""Weight of what a camera sees beside the edge of an occluder, where the template and the person differ."""
DEPTH_TOLERANCE = 0.005
"""A texel may lie this far (m) behind the depth buffer, and a pixel's worth of its slope, and still be seen."""


def unwrap(
    atlas: Atlas,
    images: Sequence[UInt8[np.ndarray, "_ _ _"]],
    cameras: Sequence[Camera],
    posed: PosedBody,
    masks: Sequence[Bool[np.ndarray, "_ _"]] | None = None,
    padding: int = 1,
) -> UInt8[Tensor, "s s 3"]:
    """A texture map from the views of one frame; black outside the charts and their padding (in texels).

    A texel's color is the mean over the cameras that see it, weighted by cos^4 of the angle between its normal and
    the camera. Silhouettes (`masks`, or the alpha of RGBA images) keep the background out; texels that no camera
    sees take the color of their surroundings on the body. Raises UserError for an image of the wrong size.
    """
    colors, seen = back_project(atlas, images, cameras, posed, masks)
    colors = torch.where(seen[:, None], colors, _inpaint(atlas, colors, seen))
    texture = torch.zeros(atlas.size**2, 3, device=colors.device)
    texture[atlas.inside.view(-1)] = colors
    texture = _pad(texture.view(atlas.size, atlas.size, 3), atlas.inside, padding)
    return texture.mul(255).round().clamp(0, 255).to(torch.uint8)


def back_project(
    atlas: Atlas,
    images: Sequence[UInt8[np.ndarray, "_ _ _"]],
    cameras: Sequence[Camera],
    posed: PosedBody,
    masks: Sequence[Bool[np.ndarray, "_ _"]] | None = None,
) -> tuple[Float[Tensor, "n 3"], Bool[Tensor, "n"]]:
    """Color (0..1) of the texels inside the charts, row by row, and whether any camera sees them."""
    if not len(images) == len(cameras) == len(masks if masks is not None else images):
        raise ValueError(f"{len(images)} images for {len(cameras)} cameras: give one image and one mask a camera")
    points = atlas.interpolate(posed.world_vertices)[atlas.inside].to(torch.float32)
    normals = normalize(atlas.interpolate(posed.vertex_normals())[atlas.inside], dim=1).to(torch.float32)
    total, weight = torch.zeros_like(points), points.new_zeros(len(points), 1)
    for k, (image, camera) in enumerate(zip(images, cameras, strict=True)):
        if image.shape[:2] != (camera.height, camera.width):
            raise UserError(
                f"camera {camera.name}: the image is {image.shape[1]}x{image.shape[0]} but the camera expects "
                f"{camera.width}x{camera.height}: resize one of them"
            )
        mask = masks[k] if masks is not None else image[..., 3] > 127 if image.shape[2] == 4 else None
        color, w = _view(points, normals, posed, image[..., :3], camera, mask)
        total += w[:, None] * color
        weight += w[:, None]
    return total / weight.clamp(min=1e-12), weight[:, 0] > 0


def _view(
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    posed: PosedBody,
    image: UInt8[np.ndarray, "h w 3"],
    camera: Camera,
    mask: Bool[np.ndarray, "h w"] | None,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """One camera's color of each texel, and its weight: cos^4, zero where hidden or outside the silhouette."""
    center = torch.tensor(camera.center).to(points)
    offset = center - points
    distance = offset.norm(dim=1)
    cosine = (normals * offset).sum(1) / distance
    pixels, depth = project(points, camera)
    buffer, occluder = depth_buffer(posed, camera)
    slope = (1 / cosine.clamp(min=LEAST_COSINE) ** 2 - 1).sqrt()
    tolerance = DEPTH_TOLERANCE + slope * depth / camera.K[0, 0]
    x, y = pixels.round().long().unbind(1)
    on_picture = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (depth > 0)
    at = y.clamp(0, camera.height - 1) * camera.width + x.clamp(0, camera.width - 1)
    visible = on_picture & (cosine > LEAST_COSINE) & (depth <= buffer.view(-1)[at] + tolerance)
    # Two pixels' slope: the occluder's buffer looks one pixel further.
    safe = depth <= occluder.view(-1)[at] + 2 * tolerance
    if mask is not None:
        inner = _erode(torch.tensor(mask, device=points.device))
        visible &= inner.view(-1)[at]
        # All four pixels that a bilinear look-up mixes have to be the person's.
        safe &= _sample(inner[..., None].float(), pixels)[:, 0] > 0.999
    weight = cosine.clamp(min=0) ** 4 * visible * torch.where(safe, 1.0, LAST_RESORT)
    return _sample(torch.tensor(image, device=points.device) / 255, pixels), weight


def project(points: Float[Tensor, "n 3"], camera: Camera) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """Pixels (x, y) and depth along the optical axis (m) of world points, as `Camera.project`, on the device."""
    K, T = (torch.tensor(x).to(points) for x in (camera.K, np.linalg.inv(camera.T_world_camera)))
    local = rotate(points, T[:3, :3].T) + T[:3, 3]
    depth = local[:, 2]
    safe = torch.where(depth.abs() < 1e-9, 1e-9, depth)
    return rotate(local, K.T)[:, :2] / safe[:, None], depth


def depth_buffer(posed: PosedBody, camera: Camera) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Depth (m) of the body at each pixel, infinite beside it, and the least depth in each 3 x 3 neighborhood."""
    buffer = depth_of(posed, camera)
    return buffer, -max_pool2d(-buffer[None], 3, 1, 1)[0]


def depth_of(posed: PosedBody, camera: Camera) -> Float[Tensor, "h w"]:
    """Depth (m) of the body at each pixel, infinite beside it."""
    pixels, depth = project(posed.world_vertices.to(torch.float64), camera)
    corners = torch.cat([pixels, depth[:, None]], dim=1)[posed.body.faces].contiguous()
    buffer = torch.full((camera.height, camera.width), torch.inf, device=corners.device)
    with kernels.on_device(corners.device) as name:
        inputs = [wp.from_torch(corners, dtype=wp.vec3d), wp.from_torch(buffer)]
        wp.launch(raster_kernels.fill_depth, len(corners), inputs, device=name)
    return buffer


def _erode(mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """The mask without its outermost pixel, which is mixed with the background."""
    return max_pool2d((~mask).float()[None], 3, 1, 1)[0] == 0


def _sample(picture: Float[Tensor, "h w c"], pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """Bilinear values at pixels (x, y), centers at integers."""
    height, width = picture.shape[:2]
    size = torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=pixels.device)
    grid = (2 * pixels / size - 1)[None, None]
    chw = picture.permute(2, 0, 1)[None].to(pixels)
    return grid_sample(chw, grid, padding_mode="border", align_corners=True)[0, :, 0].T


def _inpaint(atlas: Atlas, colors: Float[Tensor, "n 3"], seen: Bool[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """Colors of the surroundings on the body: means at the vertices, spread along edges to those that see nothing."""
    faces = atlas.body.faces
    corners = faces[atlas.face[atlas.inside]]
    weights = atlas.barycentrics[atlas.inside].to(colors)
    values = colors.new_zeros(len(atlas.body.vertices), 4)
    for k in range(3):
        w = (weights[:, k] * seen)[:, None]
        values.index_add_(0, corners[:, k], torch.cat([w * colors, w], dim=1))
    known = values[:, 3] > 0
    vertex = values[:, :3] / values[:, 3:].clamp(min=1e-12)
    vertex = _spread(vertex, known, faces)
    return (weights[:, :, None] * vertex[corners]).sum(1)


def _spread(vertex: Float[Tensor, "v 3"], known: Bool[Tensor, "v"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "v 3"]:
    """Fill unknown vertices ring by ring with the mean of their neighbors, then smooth what was filled."""
    if not known.any():
        return torch.full_like(vertex, 0.5)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    mean = vertex[known].mean(0)
    filled, count, smoothing = known.clone(), -1, 20
    while smoothing > 0:
        total = torch.zeros(len(vertex), 4).to(vertex)
        source = torch.cat([vertex, torch.ones_like(vertex[:, :1])], dim=1) * filled[:, None]
        total.index_add_(0, edges[:, 0], source[edges[:, 1]])
        new = (total[:, 3] > 0) & ~known
        vertex = torch.where(new[:, None], total[:, :3] / total[:, 3:].clamp(min=1), vertex)
        filled |= new
        smoothing -= int(filled.sum()) == count
        count = int(filled.sum())
    # A part of the mesh that no camera sees has no surroundings.
    return torch.where(filled[:, None], vertex, mean)


def _pad(texture: Float[Tensor, "s s 3"], inside: Bool[Tensor, "s s"], padding: int) -> Float[Tensor, "s s 3"]:
    """Grow the charts by texels that take the mean of their neighbors, so that bilinear look-ups stay in color."""
    image = torch.cat([texture, inside[..., None].to(texture)], dim=2).permute(2, 0, 1)[None]
    image = image * image[:, 3:]
    for _ in range(padding):
        total = torch.nn.functional.avg_pool2d(image, 3, 1, 1, divisor_override=1)
        grown = torch.cat([total[:, :3] / total[:, 3:].clamp(min=1), (total[:, 3:] > 0).to(texture)], dim=1)
        image = torch.where(image[:, 3:] > 0, image, grown)
    return image[0, :3].permute(1, 2, 0)
