"""Warp kernels that fill triangles on a grid whose pixel centers lie at integer coordinates."""

from typing import no_type_check

import warp as wp

BEHIND = wp.constant(1.0e-3)
"""Triangles with a corner nearer than this (m) to the camera's plane are not drawn."""


@wp.func
@no_type_check
def weights_at(x: wp.float64, y: wp.float64, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d) -> wp.vec3d:
    """Barycentrics of a point of the picture's plane; NaN for a triangle without area."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    wb = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
    wc = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
    return wp.vec3d(wp.float64(1.0) - wb - wc, wb, wc)


@wp.func
@no_type_check
def first_pixel(a: wp.float64, b: wp.float64, c: wp.float64) -> wp.int32:
    """The first pixel center not below three coordinates."""
    return wp.max(wp.int32(wp.ceil(wp.min(a, wp.min(b, c)))), 0)


@wp.func
@no_type_check
def last_pixel(a: wp.float64, b: wp.float64, c: wp.float64, count: wp.int32) -> wp.int32:
    """The last pixel center not above three coordinates."""
    return wp.min(wp.int32(wp.floor(wp.max(a, wp.max(b, c)))), count - 1)


@wp.kernel(enable_backward=False)
@no_type_check
def fill_faces(corners: wp.array2d[wp.vec3d], faces: wp.array2d[wp.int32]) -> None:
    """Leave the lowest index among the triangles that cover each pixel center."""
    f = wp.tid()
    a = corners[f, 0]
    b = corners[f, 1]
    c = corners[f, 2]
    zero = wp.float64(0.0)
    for row in range(first_pixel(a[1], b[1], c[1]), last_pixel(a[1], b[1], c[1], faces.shape[0]) + 1):
        for column in range(first_pixel(a[0], b[0], c[0]), last_pixel(a[0], b[0], c[0], faces.shape[1]) + 1):
            w = weights_at(wp.float64(column), wp.float64(row), a, b, c)
            if w[0] >= zero and w[1] >= zero and w[2] >= zero:
                wp.atomic_min(faces, row, column, f)


@wp.kernel(enable_backward=False)
@no_type_check
def fill_depth(corners: wp.array2d[wp.vec3d], depth: wp.array2d[wp.float32]) -> None:
    """Leave the smallest depth among the triangles that cover each pixel center; corners are (x, y, depth)."""
    f = wp.tid()
    a = corners[f, 0]
    b = corners[f, 1]
    c = corners[f, 2]
    zero = wp.float64(0.0)
    if wp.min(a[2], wp.min(b[2], c[2])) < wp.float64(BEHIND):
        return
    for row in range(first_pixel(a[1], b[1], c[1]), last_pixel(a[1], b[1], c[1], depth.shape[0]) + 1):
        for column in range(first_pixel(a[0], b[0], c[0]), last_pixel(a[0], b[0], c[0], depth.shape[1]) + 1):
            w = weights_at(wp.float64(column), wp.float64(row), a, b, c)
            if w[0] >= zero and w[1] >= zero and w[2] >= zero:
                # Depth's inverse is linear in the picture.
                z = wp.float64(1.0) / (w[0] / a[2] + w[1] / b[2] + w[2] / c[2])
                wp.atomic_min(depth, row, column, wp.float32(z))
