"""Every Warp kernel of the package, and how torch tensors reach them.

Kernels compile at their first launch (seconds) and are cached on disk; CPU and CUDA run the same source. Coordinates
in float32 are relative to the body's center, so that their resolution is better than a micrometre.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

wp.config.log_level = wp.LOG_ERROR  # the banner and the compiler's progress are noise in a training log


def _start() -> None:
    """Start Warp. Its native code reports a missing CUDA driver on stderr: no news where torch has no CUDA either."""
    if torch.cuda.is_available():
        wp.init()
        return
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


_start()

PARITY_EPSILON = 1e-8
"""The original adds this to denominators of its point-triangle distance (parity 3.6)."""

FAR_AWAY = wp.constant(1.0e4)
"""Farther (m) than anything that a camera sees."""

CHUNK = 4096
"""Rays in one block of the float64 intervals: bounds its memory."""


@wp.kernel(enable_backward=False)
@no_type_check
def nearest_faces(
    mesh: wp.uint64, points: wp.array[wp.vec3], max_distance: wp.float32, faces: wp.array[wp.int64]
) -> None:
    """The face nearest to each point, -1 beyond the distance."""
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], max_distance)
    face = wp.int32(-1)
    if query.result:
        face = query.face
    faces[i] = wp.int64(face)


@wp.kernel(enable_backward=False)
@no_type_check
def first_hits(
    mesh: wp.uint64, origins: wp.array[wp.vec3], directions: wp.array[wp.vec3], faces: wp.array[wp.int64]
) -> None:
    """The first face that each ray meets, -1 for none."""
    i = wp.tid()
    query = wp.mesh_query_ray(mesh, origins[i], directions[i], 1.0e6)
    face = wp.int32(-1)
    if query.result:
        face = query.face
    faces[i] = wp.int64(face)


@wp.func
@no_type_check
def edge_sq_distance(p: wp.vec3d, a: wp.vec3d, b: wp.vec3d, epsilon: wp.float64) -> wp.float64:
    """Squared distance to an edge; one whose squared length is at most epsilon counts as its first end."""
    e = b - a
    length = wp.dot(e, e)
    t = wp.float64(0.0)
    if length > epsilon:
        t = wp.clamp(wp.dot(p - a, e) / length, wp.float64(0.0), wp.float64(1.0))
    r = p - (a + t * e)
    return wp.dot(r, r)


@wp.func
@no_type_check
def triangle_sq_distance(p: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d, epsilon: wp.float64) -> wp.float64:
    """Squared distance to a triangle (parity 3.6, exact for epsilon 0)."""
    zero = wp.float64(0.0)
    e0 = b - a
    e1 = c - a
    n = wp.cross(e1, e0)
    size = wp.length(n)
    if size > epsilon:
        n = n / (size + epsilon)
        t = wp.dot(a - p, n)
        r = p + t * n - a
        d00 = wp.dot(e0, e0)
        d01 = wp.dot(e0, e1)
        d11 = wp.dot(e1, e1)
        d20 = wp.dot(r, e0)
        d21 = wp.dot(r, e1)
        m = wp.max(wp.max(d00, d11), wp.max(d20, d21))
        den = (d00 * d11 - d01 * d01) / m + epsilon
        w1 = (d11 * d20 - d01 * d21) / m / den
        w2 = (d00 * d21 - d01 * d20) / m / den
        if w1 >= zero and w2 >= zero and w1 + w2 <= wp.float64(1.0):
            return t * t * wp.dot(n, n)
    ab = edge_sq_distance(p, a, b, epsilon)
    ac = edge_sq_distance(p, a, c, epsilon)
    bc = edge_sq_distance(p, b, c, epsilon)
    return wp.min(ab, wp.min(ac, bc))


@wp.kernel(enable_backward=False)
@no_type_check
def refine_faces(
    mesh: wp.uint64,
    points: wp.array[wp.vec3d],
    vertices: wp.array[wp.vec3d],
    epsilon: wp.float64,
    slack: wp.float64,
    faces: wp.array[wp.int64],
) -> None:
    """Search again, in float64, near the face that float32 found; among equals the lowest index wins (parity 3.7).

    The box searched is `slack` times the distance found: the original's epsilons shorten distances to small faces.
    """
    i = wp.tid()
    if faces[i] < wp.int64(0):
        return
    p = points[i]
    face = int(faces[i])
    corners = wp.mesh_get(mesh).indices
    best = triangle_sq_distance(
        p, vertices[corners[3 * face]], vertices[corners[3 * face + 1]], vertices[corners[3 * face + 2]], epsilon
    )
    reach = wp.float32(slack * wp.sqrt(best)) + 1.0e-5
    low = wp.vec3(wp.float32(p[0]) - reach, wp.float32(p[1]) - reach, wp.float32(p[2]) - reach)
    high = wp.vec3(wp.float32(p[0]) + reach, wp.float32(p[1]) + reach, wp.float32(p[2]) + reach)
    query = wp.mesh_query_aabb(mesh, low, high)
    other = wp.int32(0)
    while wp.mesh_query_aabb_next(query, other):
        d = triangle_sq_distance(
            p, vertices[corners[3 * other]], vertices[corners[3 * other + 1]], vertices[corners[3 * other + 2]], epsilon
        )
        tie = best * wp.float64(1.0e-9) + wp.float64(1.0e-13)
        if d < best - tie or (d <= best + tie and other < face):
            best = wp.min(best, d)
            face = other
    faces[i] = wp.int64(face)


@wp.kernel(enable_backward=False)
@no_type_check
def sphere_bounds(
    centers: wp.array[wp.vec3], radius: wp.float32, lowers: wp.array[wp.vec3], uppers: wp.array[wp.vec3]
) -> None:
    """The boxes around spheres, widened by what float32 can lose."""
    i = wp.tid()
    r = radius * 1.00001 + 1.0e-6
    lowers[i] = centers[i] - wp.vec3(r, r, r)
    uppers[i] = centers[i] + wp.vec3(r, r, r)


@wp.func
@no_type_check
def first_entry(
    bvh: wp.uint64,
    centers: wp.array[wp.vec3],
    radius: wp.float32,
    o: wp.vec3,
    d: wp.vec3,
    low: wp.float32,
    high: wp.float32,
    share: wp.float32,
) -> wp.float32:
    """Distance to where a ray first enters a sphere, FAR_AWAY for none.

    With its center at distance p and half the chord h, a sphere counts if p + share h > low and p - share h < high.
    """
    nearest = wp.float32(FAR_AWAY)
    k = wp.int32(0)
    query = wp.bvh_query_ray(bvh, o, d)
    # Boxes entered beyond the nearest entry so far cannot better it.
    while wp.bvh_query_next(query, k, wp.max(nearest, 1.0e-4)):
        r = centers[k] - o
        p = wp.dot(r, d)
        # |r|^2 - p^2 would cancel: the spheres are fifty radii away.
        r = r - p * d
        h2 = radius * radius - wp.dot(r, r)
        if h2 > 0.0:
            h = wp.sqrt(h2)
            if p + share * h > low and p - share * h < high:
                nearest = wp.min(nearest, p - h)
    return nearest


@wp.kernel(enable_backward=False)
@no_type_check
def sphere_intervals(
    bvh: wp.uint64,
    centers: wp.array[wp.vec3],
    radius: wp.float32,
    extent: wp.array[wp.float32],
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    parity: wp.bool,
    near: wp.array[wp.float32],
    far: wp.array[wp.float32],
    hit: wp.array[wp.bool],
) -> None:
    """Where each ray enters the first and leaves the last sphere; under parity (3.3) those behind it count, too.

    The last exit is the first entry of the ray that comes back from beyond the body, whose `extent` is given.
    """
    i = wp.tid()
    o = origins[i]
    d = directions[i]
    end = wp.length(o) + extent[0] + 2.0 * radius
    share = wp.where(parity, 0.0, 1.0)
    first = first_entry(bvh, centers, radius, o, d, 0.0, FAR_AWAY, share)
    last = wp.float32(0.0)
    if first < FAR_AWAY:
        last = end - first_entry(bvh, centers, radius, o + end * d, -d, -FAR_AWAY, end, share)
    if parity:
        behind = first_entry(bvh, centers, radius, o, -d, 0.0, FAR_AWAY, share)
        if behind < FAR_AWAY:
            first = wp.min(first, behind)
            last = wp.max(last, end - first_entry(bvh, centers, radius, o - end * d, d, -FAR_AWAY, end, share))
    else:
        first = wp.max(first, 0.0)
    met = first < FAR_AWAY
    near[i] = wp.where(met, first, 0.0)
    far[i] = wp.where(met, last, 0.0)
    hit[i] = met


def as_vec3(tensor: Float[Tensor, "n 3"]) -> Any:
    """A tensor of points as Warp's vectors, without a copy where it is contiguous."""
    dtype = wp.vec3d if tensor.dtype == torch.float64 else wp.vec3
    return wp.from_torch(tensor.detach().contiguous(), dtype=dtype)


# Warp's current stream belongs to the device, not to the thread.
_CURRENT_STREAM = threading.RLock()


@contextlib.contextmanager
def on_device(device: torch.device) -> Iterator[str]:
    """Queue launches where torch queues its own work on this device; yields the device's name for Warp."""
    if device.type != "cuda":
        yield "cpu"
        return
    stream = wp.stream_from_torch(torch.cuda.current_stream(device))
    with _CURRENT_STREAM, wp.ScopedStream(stream, sync_enter=False):
        yield stream.device.alias


def constructor(device: torch.device) -> str:
    """The faster way to build a hierarchy on this device."""
    return "lbvh" if device.type == "cuda" else "sah"


def as_array(tensor: Tensor, dtype: Any = None) -> Any:
    """A tensor as an argument of a kernel: what Warp's launch reads, made in less than half the time of an array."""
    return wp.from_torch(tensor, dtype=dtype, return_ctype=True)


def as_int32(tensor: Int[Tensor, "n"]) -> Any:
    """A tensor of indices as Warp's."""
    return wp.from_torch(tensor.to(torch.int32).contiguous())
