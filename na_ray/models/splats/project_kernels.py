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
    r0 = wp.vec3(views[k, 0], views[k, 1], views[k, 2])
    r1 = wp.vec3(views[k, 3], views[k, 4], views[k, 5])
    r2 = wp.vec3(views[k, 6], views[k, 7], views[k, 8])
    x = wp.dot(r0, means[i]) + views[k, 9]
    y = wp.dot(r1, means[i]) + views[k, 10]
    z = wp.dot(r2, means[i]) + views[k, 11]
    if z < NEAR:
        reaches[k, i] = wp.vec2(-1.0, -1.0)
        depths[k, i] = 1.0e30
        return
    fx = views[k, 12]
    skew = views[k, 13]
    fy = views[k, 15]
    across = (fx * x + skew * y) / z
    down = fy * y / z
    u = across + views[k, 14]
    v = down + views[k, 16]
    wide = MARGIN * (views[k, 21] - views[k, 20])
    high = MARGIN * (views[k, 23] - views[k, 22])
    if u < views[k, 20] - wide or u > views[k, 21] + wide or v < views[k, 22] - high or v > views[k, 23] + high:
        reaches[k, i] = wp.vec2(-1.0, -1.0)
        depths[k, i] = 1.0e30
        return
    M = wp.transpose(factors[i])
    a = M * ((fx * r0 + skew * r1 - across * r2) / z)
    b = M * ((fy * r1 - down * r2) / z)
    aa = wp.dot(a, a)
    bb = wp.dot(b, b)
    ab = wp.dot(a, b)
    n = wp.cross(a, b)
    # |a x b|^2, since (a.a)(b.b) - (a.b)^2 cancels where the ellipse is thin.
    determinant = wp.dot(n, n) + blur * (aa + bb) + blur * blur
    centers[k, i] = wp.vec2(u, v)
    conics[k, i] = wp.vec3((bb + blur) / determinant, ab / (bb + blur), 1.0 / (bb + blur))
    depths[k, i] = z
    toward = means[i] - wp.vec3(views[k, 17], views[k, 18], views[k, 19])
    d = wp.transpose(frames[i]) * wp.normalize(toward)
    change = wp.vec3(
        changes[0, i] * d[0] + changes[1, i] * d[1] + changes[2, i] * d[2],
        changes[3, i] * d[0] + changes[4, i] * d[1] + changes[5, i] * d[2],
        changes[6, i] * d[0] + changes[7, i] * d[1] + changes[8, i] * d[2],
    )
    shades[k, i] = colors[i] + DIRECTION_UNIT * change
    level = 2.0 * wp.log(wp.max(opacities[i] / LEAST_ALPHA, 1.0e-6))
    if level <= 0.0:
        reaches[k, i] = wp.vec2(-1.0, -1.0)
        depths[k, i] = 1.0e30
        return
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
            r0 = wp.vec3(views[k, 0], views[k, 1], views[k, 2])
            r1 = wp.vec3(views[k, 3], views[k, 4], views[k, 5])
            r2 = wp.vec3(views[k, 6], views[k, 7], views[k, 8])
            x = wp.dot(r0, means[i]) + views[k, 9]
            y = wp.dot(r1, means[i]) + views[k, 10]
            z = wp.dot(r2, means[i]) + views[k, 11]
            fx = views[k, 12]
            skew = views[k, 13]
            fy = views[k, 15]
            across = (fx * x + skew * y) / z
            down = fy * y / z
            ja = (fx * r0 + skew * r1 - across * r2) / z
            jb = (fy * r1 - down * r2) / z
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
            g_across = grad_centers[k, i][0] - wp.dot(r2, gja) / z
            g_down = grad_centers[k, i][1] - wp.dot(r2, gjb) / z
            gx = fx / z * g_across
            gy = skew / z * g_across + fy / z * g_down
            gz = -(wp.dot(ja, gja) + wp.dot(jb, gjb) + across * g_across + down * g_down) / z
            gm = gm + gx * r0 + gy * r1 + gz * r2
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
    grad_changes: wp.array2d[wp.float32],
) -> None:
    """The gradients of a Gaussian's color and of its change with direction; what the direction owes to the center is
    added to the gradient of the center."""
    i = wp.tid()
    gm = wp.vec3(0.0, 0.0, 0.0)
    gc = wp.vec3(0.0, 0.0, 0.0)
    gC = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
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
            gn = frames[i] * gd
            gm = gm + (gn - wp.dot(n, gn) * n) / wp.length(toward)
    if any_view != 0:
        grad_means[i] = grad_means[i] + gm
        grad_colors[i] = gc
        for r in range(3):
            for c in range(3):
                grad_changes[3 * r + c, i] = gC[r, c]
