"""The Warp kernel that reads texels out of a photograph."""

from typing import no_type_check

import warp as wp


@wp.func
@no_type_check
def mixed(values: wp.array3d[wp.float32], x: wp.float32, y: wp.float32, channel: wp.int32) -> wp.float32:
    """Bilinear value of a picture at a place within it, pixel centers at integers."""
    left = wp.min(wp.int32(wp.floor(x)), values.shape[1] - 2)
    top = wp.min(wp.int32(wp.floor(y)), values.shape[0] - 2)
    s = x - wp.float32(left)
    t = y - wp.float32(top)
    upper = (1.0 - s) * values[top, left, channel] + s * values[top, left + 1, channel]
    lower = (1.0 - s) * values[top + 1, left, channel] + s * values[top + 1, left + 1, channel]
    return (1.0 - t) * upper + t * lower


@wp.kernel(enable_backward=False)
@no_type_check
def read_texels(
    points: wp.array[wp.vec3],
    normals: wp.array[wp.vec3],
    center: wp.vec3,
    rotation: wp.mat33,
    intrinsics: wp.mat33,
    depth: wp.array2d[wp.float32],
    picture: wp.array3d[wp.float32],
    least_cosine: wp.float32,
    tolerance: wp.float32,
    last_resort: wp.float32,
    colors: wp.array2d[wp.float32],
    weights: wp.array[wp.float32],
) -> None:
    """Color and weight of each texel in one camera: `picture` holds red, green, blue, trust, and how far (x, y) the
    photograph is to be read beside each pixel. The weight is cos^4 times the trust, zero for what is not seen."""
    i = wp.tid()
    weights[i] = 0.0
    offset = points[i] - center
    cosine = -wp.dot(normals[i], offset) / wp.length(offset)
    if not (cosine > least_cosine):
        return
    local = rotation * offset
    if local[2] <= 0.0:
        return
    place = intrinsics * local
    x = place[0] / local[2]
    y = place[1] / local[2]
    right = wp.float32(picture.shape[1] - 1)
    bottom = wp.float32(picture.shape[0] - 1)
    if x < 0.0 or x > right or y < 0.0 or y > bottom:
        return
    slope = wp.sqrt(1.0 / (cosine * cosine) - 1.0)
    margin = tolerance + slope * local[2] / intrinsics[0, 0]
    if local[2] > depth[wp.int32(wp.round(y)), wp.int32(wp.round(x))] + margin:
        return
    trust = mixed(picture, x, y, 3)
    if trust <= 0.0:
        return
    if picture.shape[2] > 4:
        x, y = (
            wp.clamp(x + mixed(picture, x, y, 4), 0.0, right),
            wp.clamp(y + mixed(picture, x, y, 5), 0.0, bottom),
        )
    weights[i] = cosine * cosine * cosine * cosine * wp.max(trust, last_resort)
    for c in range(3):
        colors[i, c] = mixed(picture, x, y, c)
