"""Drawing one Gaussian after the other, nearest first: the way of a CPU, which has one thread and large caches.

Every pixel of an ellipse is found from the ellipse's equation, a row at a time, so that hardly a pair of Gaussian and
pixel is evaluated in vain. Nothing depends on timing: results are the same to the bit from run to run.
"""

from typing import no_type_check

import warp as wp

from na_ray.models.splats.project_kernels import LEAST_ALPHA

OPAQUE = wp.constant(1.0e-3)
"""A pixel that lets less light pass is finished."""
MOST_ALPHA = wp.constant(0.995)
"""Greatest alpha of one Gaussian: what is behind it keeps a gradient."""


@wp.func
@no_type_check
def span(middle: wp.float32, half: wp.float32, start: wp.int32, count: wp.int32) -> wp.vec2i:
    """The first and one past the last of the pixel centers within half a width of the middle, a little generously, in a
    picture of `count` pixels that begins at `start`."""
    first = wp.max(wp.int32(wp.ceil(middle - half - 0.001)) - start, 0)
    last = wp.min(wp.int32(wp.floor(middle + half + 0.001)) - start, count - 1)
    return wp.vec2i(first, last + 1)


@wp.func
@no_type_check
def half_width(conic: wp.vec3, dy: wp.float32, level: wp.float32) -> wp.float32:
    """Half the width of an ellipse's row, where p (dx - m dy)^2 + r dy^2 = level; negative where it has none. The
    row's middle lies at m dy."""
    rest = level - conic[2] * dy * dy
    if rest < 0.0:
        return -1.0
    return wp.sqrt(rest / conic[0])


@wp.kernel(enable_backward=False)
@no_type_check
def draw_in_order(
    order: wp.array2d[wp.int64],
    windows: wp.array2d[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    depths: wp.array2d[wp.float32],
    reaches: wp.array2d[wp.vec2],
    opacities: wp.array[wp.float32],
    height: wp.int32,
    width: wp.int32,
    with_depth: wp.bool,
    colors: wp.array[wp.vec3],
    passing: wp.array[wp.float32],
    depth: wp.array[wp.float32],
    last: wp.array[wp.int32],
    touched: wp.array2d[wp.int32],
) -> None:
    """Front to back, view by view: colors over black, the light that passes (given as 1), the mean depth times alpha.

    Pictures are flat, `height` x `width` each. A view's window (left, top, width, height; px) is what is drawn of it.
    `last` is the place in the order of the last Gaussian that changed a pixel (given as -1), `touched` marks those that
    changed any.
    """
    k = wp.tid()
    left = windows[k, 0]
    top = windows[k, 1]
    for place in range(order.shape[1]):
        i = wp.int32(order[k, place])
        reach = reaches[k, i]
        if reach[1] >= 0.0:
            center = centers[k, i]
            conic = conics[k, i]
            opacity = opacities[i]
            level = 2.0 * wp.log(opacity / LEAST_ALPHA)
            shade = shades[k, i]
            changed = wp.int32(0)
            rows = span(center[1], reach[1], top, windows[k, 3])
            for row in range(rows[0], rows[1]):
                dy = wp.float32(row + top) - center[1]
                half = half_width(conic, dy, level)
                if half >= 0.0:
                    middle = center[0] + conic[1] * dy
                    base = (k * height + row) * width
                    fall = conic[2] * dy * dy
                    columns = span(middle, half, left, windows[k, 2])
                    for column in range(columns[0], columns[1]):
                        t = passing[base + column]
                        if t >= OPAQUE:
                            e = wp.float32(column + left) - middle
                            power = -0.5 * (conic[0] * e * e + fall)
                            alpha = wp.min(opacity * wp.exp(power), MOST_ALPHA)
                            if alpha >= LEAST_ALPHA:
                                colors[base + column] = colors[base + column] + (t * alpha) * shade
                                if with_depth:
                                    depth[base + column] = depth[base + column] + t * alpha * depths[k, i]
                                passing[base + column] = t * (1.0 - alpha)
                                last[base + column] = place
                                changed = 1
            touched[k, i] = changed


@wp.kernel(enable_backward=False)
@no_type_check
def draw_in_order_back(
    order: wp.array2d[wp.int64],
    windows: wp.array2d[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    reaches: wp.array2d[wp.vec2],
    opacities: wp.array[wp.float32],
    height: wp.int32,
    width: wp.int32,
    last: wp.array[wp.int32],
    touched: wp.array2d[wp.int32],
    passing: wp.array[wp.float32],
    behind: wp.array[wp.float32],
    grad_colors: wp.array[wp.vec3],
    grad_centers: wp.array2d[wp.vec2],
    grad_conics: wp.array2d[wp.vec3],
    grad_shades: wp.array2d[wp.vec3],
    grad_opacities: wp.array2d[wp.float32],
) -> None:
    """The gradients, back to front: by the time a Gaussian comes, `passing` is what passes those before and itself,
    and `behind` the sum over all that lies behind it of (its gradient of color . what it adds), which begins with
    that of the light that passes everything. Both are used up.
    """
    k = wp.tid()
    left = windows[k, 0]
    top = windows[k, 1]
    for back in range(order.shape[1]):
        place = order.shape[1] - 1 - back
        i = wp.int32(order[k, place])
        if touched[k, i] != 0:
            center = centers[k, i]
            conic = conics[k, i]
            opacity = opacities[i]
            shade = shades[k, i]
            reach = reaches[k, i]
            level = 2.0 * wp.log(opacity / LEAST_ALPHA)
            gm = wp.vec2(0.0, 0.0)
            gf = wp.vec3(0.0, 0.0, 0.0)
            go = wp.float32(0.0)
            gs = wp.vec3(0.0, 0.0, 0.0)
            rows = span(center[1], reach[1], top, windows[k, 3])
            for row in range(rows[0], rows[1]):
                dy = wp.float32(row + top) - center[1]
                half = half_width(conic, dy, level)
                if half >= 0.0:
                    middle = center[0] + conic[1] * dy
                    base = (k * height + row) * width
                    fall = conic[2] * dy * dy
                    columns = span(middle, half, left, windows[k, 2])
                    for column in range(columns[0], columns[1]):
                        if place <= last[base + column]:
                            e = wp.float32(column + left) - middle
                            power = -0.5 * (conic[0] * e * e + fall)
                            weight = wp.exp(power)
                            alpha = wp.min(opacity * weight, MOST_ALPHA)
                            if alpha >= LEAST_ALPHA:
                                g = grad_colors[base + column]
                                t = passing[base + column] / (1.0 - alpha)
                                gs = gs + (t * alpha) * g
                                own = wp.dot(g, shade)
                                rest = behind[base + column]
                                grad_alpha = t * own - rest / (1.0 - alpha)
                                behind[base + column] = rest + t * alpha * own
                                passing[base + column] = t
                                if opacity * weight < MOST_ALPHA:
                                    go = go + grad_alpha * weight
                                    gp = grad_alpha * alpha
                                    pe = conic[0] * e
                                    gm = gm + gp * wp.vec2(pe, conic[2] * dy - pe * conic[1])
                                    gf = gf + gp * wp.vec3(-0.5 * e * e, pe * dy, -0.5 * dy * dy)
            grad_centers[k, i] = gm
            grad_conics[k, i] = gf
            grad_shades[k, i] = gs
            grad_opacities[k, i] = go
