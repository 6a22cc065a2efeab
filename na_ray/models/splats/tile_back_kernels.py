"""The way back through pictures drawn by tiles: a thread a pixel adds to its Gaussians' gradients as it comes.

Sums of floats depend on their order, and that of a GPU's threads is nobody's. Where the same bits are asked for, a
thread a pixel writes down what it finds of light, a thread a pair adds up the 64 pixels of its tile, and a thread a
Gaussian its pairs: more memory (512 bytes a pair), and a little more time.
"""

from typing import no_type_check

import warp as wp

from na_ray.models.splats.project_kernels import LEAST_ALPHA
from na_ray.models.splats.scan_kernels import MOST_ALPHA
from na_ray.models.splats.tile_kernels import TILE


@wp.func
@no_type_check
def falloff(conic: wp.vec3, dx: wp.float32, dy: wp.float32) -> wp.float32:
    """exp(-q / 2) of an ellipse at an offset (px) from its center."""
    e = dx - conic[1] * dy
    return wp.exp(-0.5 * (conic[0] * e * e + conic[2] * dy * dy))


@wp.func
@no_type_check
def of_opacity(
    weight: wp.float32,
    opacity: wp.float32,
    shade: wp.vec3,
    g: wp.vec3,
    before: wp.float32,
    rest: wp.float32,
) -> wp.float32:
    """The gradient of alpha / weight at a pixel, where `before` is the light that reaches the Gaussian and `rest` what
    the light that passes it is worth; 0 where alpha is cut."""
    if opacity * weight >= MOST_ALPHA:
        return 0.0
    return (before * wp.dot(g, shade) - rest / (1.0 - opacity * weight)) * weight


@wp.func
@no_type_check
def of_center(conic: wp.vec3, dx: wp.float32, dy: wp.float32, gp: wp.float32) -> wp.vec2:
    """The gradient of an ellipse's center from that of its exponent, `gp`."""
    pe = conic[0] * (dx - conic[1] * dy)
    return gp * wp.vec2(pe, conic[2] * dy - pe * conic[1])


@wp.func
@no_type_check
def of_conic(conic: wp.vec3, dx: wp.float32, dy: wp.float32, gp: wp.float32) -> wp.vec3:
    """The gradient of an ellipse's form from that of its exponent, `gp`."""
    e = dx - conic[1] * dy
    return gp * wp.vec3(-0.5 * e * e, conic[0] * e * dy, -0.5 * dy * dy)


@wp.kernel(enable_backward=False)
@no_type_check
def draw_tiles_back(
    windows: wp.array2d[wp.int32],
    tiles: wp.int32,
    starts: wp.array[wp.int64],
    owners: wp.array[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    opacities: wp.array[wp.float32],
    last: wp.array3d[wp.int32],
    passing: wp.array3d[wp.float32],
    behind: wp.array3d[wp.float32],
    grad_colors: wp.array3d[wp.vec3],
    written: wp.bool,
    light: wp.array3d[wp.float32],
    grad_centers: wp.array2d[wp.vec2],
    grad_conics: wp.array2d[wp.vec3],
    grad_shades: wp.array2d[wp.vec3],
    grad_opacities: wp.array2d[wp.float32],
) -> None:
    """A pixel, back to front: its part of the gradients, added to those of its Gaussians; or, where that is `written`,
    the light that reaches each pair and what the light that passes it is worth. All are given as 0.
    """
    k, tile, within = wp.tid()
    across = (windows[k, 2] + TILE - 1) / TILE
    row = (tile / across) * TILE + within / TILE
    column = (tile % across) * TILE + within % TILE
    if row >= windows[k, 3] or column >= windows[k, 2]:
        return
    x = wp.float32(column + windows[k, 0])
    y = wp.float32(row + windows[k, 1])
    t = passing[k, row, column]
    rest = behind[k, row, column]
    g = grad_colors[k, row, column]
    begin = wp.int32(starts[k * tiles + tile])
    for back in range(0, last[k, row, column] + 1 - begin):
        place = last[k, row, column] - back
        i = owners[place]
        conic = conics[k, i]
        dx = x - centers[k, i][0]
        dy = y - centers[k, i][1]
        weight = falloff(conic, dx, dy)
        alpha = wp.min(opacities[i] * weight, MOST_ALPHA)
        if alpha >= LEAST_ALPHA:
            before = t / (1.0 - alpha)
            if written:
                light[place, within, 0] = before
                light[place, within, 1] = rest
            else:
                by_opacity = of_opacity(weight, opacities[i], shades[k, i], g, before, rest)
                wp.atomic_add(grad_shades, k, i, (before * alpha) * g)
                if by_opacity != 0.0:
                    gp = by_opacity * opacities[i]
                    wp.atomic_add(grad_opacities, k, i, by_opacity)
                    wp.atomic_add(grad_centers, k, i, of_center(conic, dx, dy, gp))
                    wp.atomic_add(grad_conics, k, i, of_conic(conic, dx, dy, gp))
            rest = rest + before * alpha * wp.dot(g, shades[k, i])
            t = before


@wp.kernel(enable_backward=False)
@no_type_check
def add_pixels(
    windows: wp.array2d[wp.int32],
    tiles: wp.int32,
    keys: wp.array[wp.int64],
    owners: wp.array[wp.int32],
    slots: wp.array[wp.int64],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    opacities: wp.array[wp.float32],
    grad_colors: wp.array3d[wp.vec3],
    light: wp.array3d[wp.float32],
    pair_centers: wp.array[wp.vec2],
    pair_conics: wp.array[wp.vec3],
    pair_shades: wp.array[wp.vec3],
    pair_opacities: wp.array[wp.float32],
) -> None:
    """A pair's gradients: the sum over its tile's pixels, row by row, at the pair's place before sorting (`slots`)."""
    place = wp.tid()
    number = wp.int32(wp.rshift(keys[place], wp.int64(32)))
    k = number / tiles
    if k >= windows.shape[0]:
        return  # room that no pair has taken
    across = (windows[k, 2] + TILE - 1) / TILE
    top = (number % tiles / across) * TILE
    left = (number % tiles % across) * TILE
    i = owners[place]
    conic = conics[k, i]
    by_center = wp.vec2()
    by_conic = wp.vec3()
    by_shade = wp.vec3()
    by_opacity = wp.float32(0.0)
    for within in range(TILE * TILE):
        before = light[place, within, 0]
        if before > 0.0:
            row = top + within / TILE
            column = left + within % TILE
            g = grad_colors[k, row, column]
            dx = wp.float32(column + windows[k, 0]) - centers[k, i][0]
            dy = wp.float32(row + windows[k, 1]) - centers[k, i][1]
            weight = falloff(conic, dx, dy)
            here = of_opacity(weight, opacities[i], shades[k, i], g, before, light[place, within, 1])
            by_shade = by_shade + (before * wp.min(opacities[i] * weight, MOST_ALPHA)) * g
            by_opacity = by_opacity + here
            by_center = by_center + of_center(conic, dx, dy, here * opacities[i])
            by_conic = by_conic + of_conic(conic, dx, dy, here * opacities[i])
    slot = wp.int32(slots[place])
    pair_centers[slot] = by_center
    pair_conics[slot] = by_conic
    pair_shades[slot] = by_shade
    pair_opacities[slot] = by_opacity


@wp.kernel(enable_backward=False)
@no_type_check
def add_pairs(
    counts: wp.array2d[wp.int64],
    ends: wp.array2d[wp.int64],
    pair_centers: wp.array[wp.vec2],
    pair_conics: wp.array[wp.vec3],
    pair_shades: wp.array[wp.vec3],
    pair_opacities: wp.array[wp.float32],
    grad_centers: wp.array2d[wp.vec2],
    grad_conics: wp.array2d[wp.vec3],
    grad_shades: wp.array2d[wp.vec3],
    grad_opacities: wp.array2d[wp.float32],
) -> None:
    """A Gaussian's gradients of a view: the sum over its pairs, which were written side by side before `ends`."""
    k, i = wp.tid()
    by_center = wp.vec2()
    by_conic = wp.vec3()
    by_shade = wp.vec3()
    by_opacity = wp.float32(0.0)
    end = wp.min(wp.int32(ends[k, i]), pair_opacities.shape[0])
    for slot in range(wp.int32(ends[k, i] - counts[k, i]), end):
        by_center = by_center + pair_centers[slot]
        by_conic = by_conic + pair_conics[slot]
        by_shade = by_shade + pair_shades[slot]
        by_opacity = by_opacity + pair_opacities[slot]
    grad_centers[k, i] = by_center
    grad_conics[k, i] = by_conic
    grad_shades[k, i] = by_shade
    grad_opacities[k, i] = by_opacity
