"""Warp kernels that carry texels to a pose and make Gaussians of them, and the gradients: one thread a texel.

Positions are relative to an origin near the body (m), so that float32 resolves well below a pixel. Symbols: n texels,
s the atlas's side.
"""

from typing import no_type_check

import warp as wp

OFFSET_UNIT = wp.constant(0.01)
"""One raw unit of an offset, m."""
SHEAR_UNIT = wp.constant(0.5)
"""One raw unit of a shear of the Gaussian's factor."""
OPACITY_UNIT = wp.constant(5.0)
"""One raw unit of opacity, in logits."""
RESIDUAL_UNIT = wp.constant(0.3)
"""One raw unit of a residual color."""
GATE_BIAS = wp.constant(3.0)
"""Logit of the share of the texture map's color where the decoder gives 0."""
SMALLEST = wp.constant(-4.0)
"""Least logarithm of a scale (in texels; of the thickness)."""
WIDEST = wp.constant(1.8)
"""Greatest logarithm of a scale along the surface."""
THICKEST = wp.constant(3.0)
"""Greatest logarithm of a scale across it."""


@wp.func
@no_type_check
def bounded(share: wp.float32, reach: wp.float32) -> wp.float32:
    """The decoder's output x, bounded: reach tanh(x / 3). `share`: (1 + tanh(x / 3)) / 2."""
    return reach * (2.0 * share - 1.0)


@wp.func
@no_type_check
def sigmoid(x: wp.float32) -> wp.float32:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + wp.exp(-x))


@wp.func
@no_type_check
def scale_slope(raw: wp.float32, widest: wp.float32, grad: wp.float32) -> wp.float32:
    """The gradient of a raw log-scale, of that of the scale: none beyond its bounds."""
    if raw < SMALLEST or raw > widest:
        return 0.0
    return grad * wp.exp(raw)


@wp.kernel(enable_backward=False)
@no_type_check
def pose_texels(
    texel: wp.array[wp.int32],
    corners: wp.array2d[wp.int32],
    barycentrics: wp.array[wp.vec3],
    vertices: wp.array[wp.vec3],
    normals: wp.array[wp.vec3],
    blended: wp.array[wp.mat33],
    rest: wp.array[wp.mat33],
    rotation: wp.array[wp.mat33],
    points: wp.array[wp.vec3],
    frames: wp.array[wp.mat33],
    image: wp.array2d[wp.float32],
) -> None:
    """A texel's point on the posed surface, its frame, and its normal's place in the image of normals. `rotation` is
    the root's, one: as an array, so that the host need not look at it."""
    i = wp.tid()
    a = corners[i, 0]
    b = corners[i, 1]
    c = corners[i, 2]
    w = barycentrics[i]
    points[i] = w[0] * vertices[a] + w[1] * vertices[b] + w[2] * vertices[c]
    frames[i] = rotation[0] * (blended[i] * rest[i])
    normal = w[0] * normals[a] + w[1] * normals[b] + w[2] * normals[c]
    for axis in range(3):
        image[axis, texel[i]] = normal[axis]


@wp.func
@no_type_check
def offset_of(fixed: wp.array2d[wp.float32], posed: wp.array2d[wp.float32], i: wp.int32, u: wp.int32) -> wp.vec3:
    """Where a Gaussian lies beside its texel, in the texel's frame; `OFFSET_UNIT` each."""
    return wp.vec3(
        fixed[0, i] + bounded(posed[0, u], 3.0),
        fixed[1, i] + bounded(posed[1, u], 3.0),
        fixed[2, i] + bounded(posed[2, u], 3.0),
    )


@wp.func
@no_type_check
def shape_of(
    p: wp.vec3,
    thickness: wp.float32,
    fixed: wp.array2d[wp.float32],
    posed: wp.array2d[wp.float32],
    i: wp.int32,
    u: wp.int32,
) -> wp.mat33:
    """U L of a texel with the footprint p, in its frame."""
    e0 = wp.exp(wp.clamp(fixed[3, i] + bounded(posed[3, u], 0.9), SMALLEST, WIDEST))
    e1 = wp.exp(wp.clamp(fixed[4, i] + bounded(posed[4, u], 0.9), SMALLEST, WIDEST))
    e2 = wp.exp(wp.clamp(fixed[5, i] + bounded(posed[5, u], 0.9), SMALLEST, THICKEST))
    h0 = SHEAR_UNIT * (fixed[6, i] + bounded(posed[6, u], 0.9))
    h1 = SHEAR_UNIT * (fixed[7, i] + bounded(posed[7, u], 0.9))
    h2 = SHEAR_UNIT * (fixed[8, i] + bounded(posed[8, u], 0.9))
    U = wp.mat33(p[0], p[1], 0.0, 0.0, p[2], 0.0, 0.0, 0.0, thickness)
    L = wp.mat33(e0, 0.0, 0.0, h0, e1, 0.0, h1, h2, e2)
    return U * L


@wp.kernel(enable_backward=False)
@no_type_check
def make_gaussians(
    texel: wp.array[wp.int32],
    places: wp.array[wp.int32],
    points: wp.array[wp.vec3],
    frames: wp.array[wp.mat33],
    footprints: wp.array[wp.vec3],
    thickness: wp.float32,
    texture: wp.array2d[wp.float32],
    lit: wp.array2d[wp.float32],
    fixed: wp.array2d[wp.float32],
    posed: wp.array2d[wp.float32],
    means: wp.array[wp.vec3],
    factors: wp.array[wp.mat33],
    opacities: wp.array[wp.float32],
    colors: wp.array[wp.vec3],
) -> None:
    """A texel's parameters, fixed (25, n) and posed (14, s * s; shares at `places`), to its Gaussian: the covariance is
    M M^T, M = F U L.

    Rows of both: offset 3, log-scales 3, shears 3, opacity; then of `fixed` own color 3, residual 3 (and the change
    of color with direction, 9, which `project` reads), of `posed` the texture's share and residual 3. `lit`: what the
    light of the pose adds to the texel's own color.
    """
    i = wp.tid()
    t = texel[i]
    u = places[i]
    F = frames[i]
    offset = offset_of(fixed, posed, i, u)
    means[i] = points[i] + F * (OFFSET_UNIT * offset)
    factors[i] = F * shape_of(footprints[i], thickness, fixed, posed, i, u)
    opacities[i] = sigmoid(OPACITY_UNIT * (fixed[9, i] + bounded(posed[9, u], 0.9)))
    share = sigmoid(GATE_BIAS + bounded(posed[10, u], 6.0))
    own = wp.vec3(fixed[10, i] + lit[0, i], fixed[11, i] + lit[1, i], fixed[12, i] + lit[2, i])
    residual = wp.vec3(
        fixed[13, i] + bounded(posed[11, u], 3.0),
        fixed[14, i] + bounded(posed[12, u], 3.0),
        fixed[15, i] + bounded(posed[13, u], 3.0),
    )
    given = wp.vec3(texture[0, t], texture[1, t], texture[2, t])
    colors[i] = share * given + (1.0 - share) * own + RESIDUAL_UNIT * residual


@wp.func
@no_type_check
def put(
    grad: wp.float32,
    row: wp.int32,
    i: wp.int32,
    u: wp.int32,
    grad_fixed: wp.array2d[wp.float32],
    grad_posed: wp.array2d[wp.float32],
) -> None:
    """The gradient of a scale, shear or opacity: of the texel's own number and of the decoder's share."""
    grad_fixed[row, i] = grad
    grad_posed[row, u] = 2.0 * 0.9 * grad


@wp.kernel(enable_backward=False)
@no_type_check
def frames_back(
    places: wp.array[wp.int32],
    footprints: wp.array[wp.vec3],
    thickness: wp.float32,
    fixed: wp.array2d[wp.float32],
    posed: wp.array2d[wp.float32],
    grad_means: wp.array[wp.vec3],
    grad_factors: wp.array[wp.mat33],
    grad_frames: wp.array[wp.mat33],
) -> None:
    """The gradient of a texel's frame F, where poses are learned: the mean is p + F offset, the factor F U L."""
    i = wp.tid()
    u = places[i]
    offset = offset_of(fixed, posed, i, u)
    shape = shape_of(footprints[i], thickness, fixed, posed, i, u)
    grad_frames[i] = OFFSET_UNIT * wp.outer(grad_means[i], offset) + grad_factors[i] * wp.transpose(shape)


@wp.kernel(enable_backward=False)
@no_type_check
def make_gaussians_back(
    texel: wp.array[wp.int32],
    places: wp.array[wp.int32],
    frames: wp.array[wp.mat33],
    footprints: wp.array[wp.vec3],
    thickness: wp.float32,
    texture: wp.array2d[wp.float32],
    lit: wp.array2d[wp.float32],
    fixed: wp.array2d[wp.float32],
    posed: wp.array2d[wp.float32],
    grad_means: wp.array[wp.vec3],
    grad_factors: wp.array[wp.mat33],
    grad_opacities: wp.array[wp.float32],
    grad_colors: wp.array[wp.vec3],
    grad_fixed: wp.array2d[wp.float32],
    grad_posed: wp.array2d[wp.float32],
) -> None:
    """The gradients of a texel's numbers, of those of its Gaussian; both are given as 0."""
    i = wp.tid()
    gm = grad_means[i]
    go = grad_opacities[i]
    gc = grad_colors[i]
    if go == 0.0 and wp.dot(gc, gc) == 0.0 and wp.dot(gm, gm) == 0.0:
        return
    t = texel[i]
    u = places[i]
    inverse = wp.transpose(frames[i])
    g_offset = OFFSET_UNIT * (inverse * gm)
    g = inverse * grad_factors[i]
    p = footprints[i]
    r3 = fixed[3, i] + bounded(posed[3, u], 0.9)
    r4 = fixed[4, i] + bounded(posed[4, u], 0.9)
    r5 = fixed[5, i] + bounded(posed[5, u], 0.9)
    g3 = scale_slope(r3, WIDEST, p[0] * g[0, 0])
    g4 = scale_slope(r4, WIDEST, p[1] * g[0, 1] + p[2] * g[1, 1])
    g5 = scale_slope(r5, THICKEST, thickness * g[2, 2])
    g6 = SHEAR_UNIT * (p[1] * g[0, 0] + p[2] * g[1, 0])
    g7 = SHEAR_UNIT * thickness * g[2, 0]
    g8 = SHEAR_UNIT * thickness * g[2, 1]
    o = sigmoid(OPACITY_UNIT * (fixed[9, i] + bounded(posed[9, u], 0.9)))
    g9 = go * o * (1.0 - o) * OPACITY_UNIT
    share = sigmoid(GATE_BIAS + bounded(posed[10, u], 6.0))
    own = wp.vec3(fixed[10, i] + lit[0, i], fixed[11, i] + lit[1, i], fixed[12, i] + lit[2, i])
    given = wp.vec3(texture[0, t], texture[1, t], texture[2, t])
    g_share = wp.dot(gc, given - own) * share * (1.0 - share)
    for c in range(3):
        grad_fixed[c, i] = g_offset[c]
        grad_posed[c, u] = 2.0 * 3.0 * g_offset[c]
        grad_fixed[10 + c, i] = (1.0 - share) * gc[c]
        grad_fixed[13 + c, i] = RESIDUAL_UNIT * gc[c]
        grad_posed[11 + c, u] = 2.0 * 3.0 * RESIDUAL_UNIT * gc[c]
    put(g3, 3, i, u, grad_fixed, grad_posed)
    put(g4, 4, i, u, grad_fixed, grad_posed)
    put(g5, 5, i, u, grad_fixed, grad_posed)
    put(g6, 6, i, u, grad_fixed, grad_posed)
    put(g7, 7, i, u, grad_fixed, grad_posed)
    put(g8, 8, i, u, grad_fixed, grad_posed)
    put(g9, 9, i, u, grad_fixed, grad_posed)
    grad_posed[10, u] = 2.0 * 6.0 * g_share
