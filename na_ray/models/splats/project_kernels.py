"""Warp kernels that make ellipses in a picture of Gaussians, and the gradients.

One thread a (view, Gaussian); on the way back a Gaussian, which sums over the views: nothing is added atomically.
Symbols: n Gaussians, k views.
"""

from typing import no_type_check

import warp as wp

DIRECTION_UNIT = wp.constant(0.1)
"""One raw unit of a color's change with the direction of view."""
NEAR = wp.constant(0.05)
"""Gaussians nearer to the camera's plane than this (m) are not drawn."""
MARGIN = wp.constant(0.3)
"""Nor those whose center lies farther outside the picture than this share of its size: there the linear projection
of a Gaussian is worth nothing."""
LEAST_ALPHA = wp.constant(1.0 / 255.0)
"""A pixel whose alpha is less is not changed."""


@wp.func
@no_type_check
def axis(views: wp.array2d[wp.float32], k: wp.int32, row: wp.int32) -> wp.vec3:
    """A camera's axis: right, down or forward."""
    return wp.vec3(views[k, 3 * row], views[k, 3 * row + 1], views[k, 3 * row + 2])


@wp.func
@no_type_check
def sight(mean: wp.vec3, views: wp.array2d[wp.float32], k: wp.int32) -> wp.vec3:
    """Where a center lies right of and below the picture's own center (px), and its depth (m)."""
    x = wp.dot(axis(views, k, 0), mean) + views[k, 9]
    y = wp.dot(axis(views, k, 1), mean) + views[k, 10]
    z = wp.dot(axis(views, k, 2), mean) + views[k, 11]
    return wp.vec3((views[k, 12] * x + views[k, 13] * y) / z, views[k, 15] * y / z, z)


@wp.func
@no_type_check
def slope_right(s: wp.vec3, views: wp.array2d[wp.float32], k: wp.int32) -> wp.vec3:
    """The derivative (px / m) of a center's place in the picture, to the right, by its place in space."""
    return (views[k, 12] * axis(views, k, 0) + views[k, 13] * axis(views, k, 1) - s[0] * axis(views, k, 2)) / s[2]


@wp.func
@no_type_check
def slope_down(s: wp.vec3, views: wp.array2d[wp.float32], k: wp.int32) -> wp.vec3:
    """The same downwards."""
    return (views[k, 15] * axis(views, k, 1) - s[1] * axis(views, k, 2)) / s[2]


@wp.func
@no_type_check
def outside(u: wp.float32, v: wp.float32, views: wp.array2d[wp.float32], k: wp.int32) -> wp.bool:
    """Whether a center lies too far beside the picture to be drawn."""
    wide = MARGIN * (views[k, 21] - views[k, 20])
    high = MARGIN * (views[k, 23] - views[k, 22])
    beside = u < views[k, 20] - wide or u > views[k, 21] + wide
    return beside or v < views[k, 22] - high or v > views[k, 23] + high


@wp.kernel(enable_backward=False)
@no_type_check
def project(
    means: wp.array[wp.vec3],
    factors: wp.array[wp.mat33],
    opacities: wp.array[wp.float32],
    colors: wp.array[wp.vec3],
    frames: wp.array[wp.mat33],
    changes: wp.array2d[wp.float32],
    views: wp.array2d[wp.float32],
    blur: wp.float32,
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    depths: wp.array2d[wp.float32],
    reaches: wp.array2d[wp.vec2],
) -> None:
    """A Gaussian's ellipse in a picture (Zwicker et al. 2001): its center (px), its form, its color from this side, its
    depth (m) and how far it reaches right and down (px; negative: not drawn).

    The form (p, m, r) is q = p (dx - m dy)^2 + r dy^2: a sum of squares, where the entries of the covariance's inverse
    would cancel for a thin slanted ellipse.

    A view is world-to-camera rotation 9 and translation 3, fx, skew, cx, fy, cy, the camera's center 3, then the
    picture's least and greatest x and y.
    """
    k, i = wp.tid()
    reaches[k, i] = wp.vec2(-1.0, -1.0)
    depths[k, i] = 1.0e30
    s = sight(means[i], views, k)
    u = s[0] + views[k, 14]
    v = s[1] + views[k, 16]
    level = 2.0 * wp.log(wp.max(opacities[i] / LEAST_ALPHA, 1.0e-6))
    if s[2] < NEAR or outside(u, v, views, k) or level <= 0.0:
        return
    a = wp.transpose(factors[i]) * slope_right(s, views, k)
    b = wp.transpose(factors[i]) * slope_down(s, views, k)
    aa = wp.dot(a, a)
    bb = wp.dot(b, b)
    ab = wp.dot(a, b)
    n = wp.cross(a, b)
    # |a x b|^2, since (a.a)(b.b) - (a.b)^2 cancels where the ellipse is thin.
    determinant = wp.dot(n, n) + blur * (aa + bb) + blur * blur
    centers[k, i] = wp.vec2(u, v)
    conics[k, i] = wp.vec3((bb + blur) / determinant, ab / (bb + blur), 1.0 / (bb + blur))
    depths[k, i] = s[2]
    toward = means[i] - wp.vec3(views[k, 17], views[k, 18], views[k, 19])
    d = wp.transpose(frames[i]) * wp.normalize(toward)
    change = wp.vec3(
        changes[0, i] * d[0] + changes[1, i] * d[1] + changes[2, i] * d[2],
        changes[3, i] * d[0] + changes[4, i] * d[1] + changes[5, i] * d[2],
        changes[6, i] * d[0] + changes[7, i] * d[1] + changes[8, i] * d[2],
    )
    shades[k, i] = colors[i] + DIRECTION_UNIT * change
    reaches[k, i] = wp.vec2(wp.sqrt(level * (aa + blur)), wp.sqrt(level * (bb + blur)))


@wp.kernel(enable_backward=False)
@no_type_check
def project_back(
    means: wp.array[wp.vec3],
    factors: wp.array[wp.mat33],
    views: wp.array2d[wp.float32],
    touched: wp.array2d[wp.int32],
    conics: wp.array2d[wp.vec3],
    grad_centers: wp.array2d[wp.vec2],
    grad_conics: wp.array2d[wp.vec3],
    pair_opacities: wp.array2d[wp.float32],
    grad_means: wp.array[wp.vec3],
    grad_factors: wp.array[wp.mat33],
    grad_opacities: wp.array[wp.float32],
) -> None:
    """The gradients of a Gaussian, of those of its ellipses in all views; the former are given as 0. Its colors are
    `shade_back`'s, which comes after."""
    i = wp.tid()
    gm = wp.vec3(0.0, 0.0, 0.0)
    go = wp.float32(0.0)
    gF = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    any_view = wp.int32(0)
    for k in range(views.shape[0]):
        if touched[k, i] != 0:
            any_view = 1
            s = sight(means[i], views, k)
            ja = slope_right(s, views, k)
            jb = slope_down(s, views, k)
            M = factors[i]
            a = wp.transpose(M) * ja
            b = wp.transpose(M) * jb
            # With the covariance [[A, B], [B, C]] of determinant D: p = C / D, m = B / C, r = 1 / C.
            q = conics[k, i]
            g = grad_conics[k, i]
            pp = q[0] * q[0]
            gaa = -g[0] * pp
            gab = 2.0 * g[0] * q[1] * pp + g[1] * q[2]
            gbb = -g[0] * q[1] * q[1] * pp - g[1] * q[1] * q[2] - g[2] * q[2] * q[2]
            ga = 2.0 * gaa * a + gab * b
            gb = 2.0 * gbb * b + gab * a
            gF = gF + wp.outer(ja, ga) + wp.outer(jb, gb)
            gja = M * ga
            gjb = M * gb
            g_across = grad_centers[k, i][0] - wp.dot(axis(views, k, 2), gja) / s[2]
            g_down = grad_centers[k, i][1] - wp.dot(axis(views, k, 2), gjb) / s[2]
            gx = views[k, 12] / s[2] * g_across
            gy = views[k, 13] / s[2] * g_across + views[k, 15] / s[2] * g_down
            gz = -(wp.dot(ja, gja) + wp.dot(jb, gjb) + s[0] * g_across + s[1] * g_down) / s[2]
            gm = gm + gx * axis(views, k, 0) + gy * axis(views, k, 1) + gz * axis(views, k, 2)
            go = go + pair_opacities[k, i]
    if any_view != 0:
        grad_means[i] = gm
        grad_factors[i] = gF
        grad_opacities[i] = go


@wp.kernel(enable_backward=False)
@no_type_check
def shade_back(
    means: wp.array[wp.vec3],
    frames: wp.array[wp.mat33],
    changes: wp.array2d[wp.float32],
    views: wp.array2d[wp.float32],
    touched: wp.array2d[wp.int32],
    grad_shades: wp.array2d[wp.vec3],
    grad_means: wp.array[wp.vec3],
    grad_colors: wp.array[wp.vec3],
    grad_frames: wp.array[wp.mat33],
    grad_changes: wp.array2d[wp.float32],
) -> None:
    """The gradients of a Gaussian's color, of its change with direction and of the frame that the direction is seen
    in; what the direction owes to the center is added to the gradient of the center."""
    i = wp.tid()
    gm = wp.vec3(0.0, 0.0, 0.0)
    gc = wp.vec3(0.0, 0.0, 0.0)
    gC = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gF = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    any_view = wp.int32(0)
    for k in range(views.shape[0]):
        if touched[k, i] != 0:
            any_view = 1
            gs = grad_shades[k, i]
            gc = gc + gs
            toward = means[i] - wp.vec3(views[k, 17], views[k, 18], views[k, 19])
            n = wp.normalize(toward)
            d = wp.transpose(frames[i]) * n
            gC = gC + DIRECTION_UNIT * wp.outer(gs, d)
            gd = DIRECTION_UNIT * wp.vec3(
                changes[0, i] * gs[0] + changes[3, i] * gs[1] + changes[6, i] * gs[2],
                changes[1, i] * gs[0] + changes[4, i] * gs[1] + changes[7, i] * gs[2],
                changes[2, i] * gs[0] + changes[5, i] * gs[1] + changes[8, i] * gs[2],
            )
            gF = gF + wp.outer(n, gd)
            gn = frames[i] * gd
            gm = gm + (gn - wp.dot(n, gn) * n) / wp.length(toward)
    if any_view != 0:
        grad_means[i] = grad_means[i] + gm
        grad_colors[i] = gc
        grad_frames[i] = gF
        for r in range(3):
            for c in range(3):
                grad_changes[3 * r + c, i] = gC[r, c]
