"""Drawing by tiles of pixels, a thread a pixel: the way of a GPU. The sums are those of `scan_kernels`.

A *pair* is a Gaussian and a tile that its ellipse touches. Pairs are counted, written at places that a running sum
gives, and sorted by tile and depth. Where the room for them is fixed, nothing waits for the host.
"""

from typing import no_type_check

import warp as wp

from na_ray.models.splats.project_kernels import LEAST_ALPHA
from na_ray.models.splats.scan_kernels import MOST_ALPHA, OPAQUE

TILE = wp.constant(8)
"""Side of a tile, px."""


@wp.func
@no_type_check
def meets_tile(center: wp.vec2, conic: wp.vec3, level: wp.float32, x0: wp.float32, y0: wp.float32) -> wp.bool:
    """Whether an ellipse has a point within a tile's pixel centers, the first of which is at (x0, y0).

    The least value of the ellipse's form over a box is 0 where the box holds its center, else it lies on an edge: on
    each edge that faces the center, at the clamped minimum.
    """
    side = wp.float32(TILE - 1) + 0.002
    low_x = x0 - 0.001 - center[0]
    low_y = y0 - 0.001 - center[1]
    nearest_x = wp.clamp(0.0, low_x, low_x + side)
    nearest_y = wp.clamp(0.0, low_y, low_y + side)
    if nearest_x == 0.0 and nearest_y == 0.0:
        return True
    p = conic[0]
    m = conic[1]
    r = conic[2]
    best = wp.float32(1.0e30)
    if nearest_x != 0.0:
        y = wp.clamp(p * m * nearest_x / (r + p * m * m), low_y, low_y + side)
        best = wp.min(best, p * (nearest_x - m * y) * (nearest_x - m * y) + r * y * y)
    if nearest_y != 0.0:
        x = wp.clamp(m * nearest_y, low_x, low_x + side)
        best = wp.min(best, p * (x - m * nearest_y) * (x - m * nearest_y) + r * nearest_y * nearest_y)
    return best <= level


@wp.kernel(enable_backward=False)
@no_type_check
def count_pairs(
    windows: wp.array2d[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    reaches: wp.array2d[wp.vec2],
    opacities: wp.array[wp.float32],
    ends: wp.array2d[wp.int64],
    depths: wp.array2d[wp.float32],
    tiles: wp.int32,
    write: wp.bool,
    counts: wp.array2d[wp.int64],
    keys: wp.array[wp.int64],
    owners: wp.array[wp.int32],
) -> None:
    """Count the tiles that each ellipse touches; with `write`, put them at the places before `ends`, as far as the
    capacity goes. A key is the tile's number among those of all views (`tiles` each) and the depth's bits.
    """
    k, i = wp.tid()
    found = wp.int64(0)
    reach = reaches[k, i]
    if reach[1] >= 0.0:
        center = centers[k, i]
        conic = conics[k, i]
        level = 2.0 * wp.log(opacities[i] / LEAST_ALPHA) + 1.0e-4
        across = (windows[k, 2] + TILE - 1) / TILE
        down = (windows[k, 3] + TILE - 1) / TILE
        x = center[0] - wp.float32(windows[k, 0])
        y = center[1] - wp.float32(windows[k, 1])
        size = wp.float32(TILE)
        first_x = wp.max(wp.int32(wp.floor((x - reach[0]) / size)), 0)
        last_x = wp.min(wp.int32(wp.floor((x + reach[0]) / size)), across - 1)
        first_y = wp.max(wp.int32(wp.floor((y - reach[1]) / size)), 0)
        last_y = wp.min(wp.int32(wp.floor((y + reach[1]) / size)), down - 1)
        start = wp.int64(0)
        if write:
            start = ends[k, i] - counts[k, i]
        for ty in range(first_y, last_y + 1):
            for tx in range(first_x, last_x + 1):
                x0 = wp.float32(windows[k, 0] + tx * TILE)
                y0 = wp.float32(windows[k, 1] + ty * TILE)
                if meets_tile(center, conic, level, x0, y0):
                    if write:
                        place = wp.int32(start + found)
                        if place < keys.shape[0]:
                            tile = wp.int64(k * tiles + ty * across + tx)
                            # Positive floats are ordered as their bits are.
                            bits = wp.int64(wp.cast(depths[k, i], wp.int32))
                            keys[place] = wp.lshift(tile, wp.int64(32)) + bits
                            owners[place] = i
                    found = found + wp.int64(1)
    if not write:
        counts[k, i] = found


@wp.kernel(enable_backward=False)
@no_type_check
def draw_tiles(
    windows: wp.array2d[wp.int32],
    tiles: wp.int32,
    starts: wp.array[wp.int64],
    owners: wp.array[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    depths: wp.array2d[wp.float32],
    opacities: wp.array[wp.float32],
    with_depth: wp.bool,
    colors: wp.array3d[wp.vec3],
    passing: wp.array3d[wp.float32],
    depth: wp.array3d[wp.float32],
    last: wp.array3d[wp.int32],
    touched: wp.array2d[wp.int32],
) -> None:
    """A pixel of a view, front to back; `last` is the place among the pairs of the last that changed it."""
    k, tile, within = wp.tid()
    across = (windows[k, 2] + TILE - 1) / TILE
    row = (tile / across) * TILE + within / TILE
    column = (tile % across) * TILE + within % TILE
    if row >= windows[k, 3] or column >= windows[k, 2]:
        return
    x = wp.float32(column + windows[k, 0])
    y = wp.float32(row + windows[k, 1])
    t = wp.float32(1.0)
    total = wp.vec3(0.0, 0.0, 0.0)
    far = wp.float32(0.0)
    ending = wp.int32(-1)
    begin = wp.int32(starts[k * tiles + tile])
    end = wp.int32(starts[k * tiles + tile + 1])
    for place in range(begin, end):
        if t >= OPAQUE:
            i = owners[place]
            conic = conics[k, i]
            dx = x - centers[k, i][0]
            dy = y - centers[k, i][1]
            e = dx - conic[1] * dy
            power = -0.5 * (conic[0] * e * e + conic[2] * dy * dy)
            alpha = wp.min(opacities[i] * wp.exp(power), MOST_ALPHA)
            if alpha >= LEAST_ALPHA:
                total = total + (t * alpha) * shades[k, i]
                if with_depth:
                    far = far + t * alpha * depths[k, i]
                t = t * (1.0 - alpha)
                ending = place
                touched[k, i] = 1
    colors[k, row, column] = total
    passing[k, row, column] = t
    last[k, row, column] = ending
    if with_depth:
        depth[k, row, column] = far
