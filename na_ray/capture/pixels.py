"""Choose the pixels of a view that are worth training on: those whose rays can meet the shell of the body.

The test here is a cheap superset (a tile grid in the image, numpy only), for it runs beside the video decoder. The
exact intervals are computed once, on the training worker, for the pixels that were drawn.
"""

import math

import numpy as np

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig

# Grids of up to so many cells are held whole, as one byte each.
DENSE_CELLS = 1 << 21


def posed_vertices(rig: Rig, pose: Pose) -> np.ndarray:
    """World positions (V, 3) in m of the skinned vertices: linear blend skinning, then the root's motion."""
    num_joints = rig.weights.shape[1]
    blended = (rig.weights @ pose.joints_RT.reshape(num_joints, 16)).reshape(-1, 4, 4)
    normalized = np.einsum("vij,vj->vi", blended[:, :3, :3], rig.vertices) + blended[:, :3, 3]
    return normalized @ pose.rotation + pose.translation.reshape(1, 3)


def thin_out(vertices: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """Fewer points whose spheres, of the larger radius returned with them, hold the spheres of all `vertices` (V, 3).

    One point a cell of a grid a quarter of the radius wide: 5 to 10 times fewer on a dense mesh.
    """
    width = radius / 4
    low = vertices.min(axis=0)
    x, y, z = np.floor((vertices - low) / width).astype(np.int64).T
    spans = int(x.max()) + 1, int(y.max()) + 1, int(z.max()) + 1
    keys = (x * spans[1] + y) * spans[2] + z
    if math.prod(spans) <= DENSE_CELLS:  # ticking them off is ten times faster than sorting
        taken = np.zeros(math.prod(spans), bool)
        taken[keys] = True
        keys = np.flatnonzero(taken)
    else:
        keys = np.unique(keys)
    rest, z = np.divmod(keys, spans[2])
    centers = np.stack([*np.divmod(rest, spans[1]), z], axis=1) + 0.5
    return centers * width + low, radius + width * np.sqrt(3) / 2


def near_body(vertices: np.ndarray, camera: Camera, radius: float) -> tuple[np.ndarray, int]:
    """Tiles of the picture in which a ray may pass within `radius` (m) of one of the world `vertices` (V, 3).

    Returns a boolean grid (ceil(height / tile), ceil(width / tile)) and the tile's side in pixels. Every pixel whose
    ray meets a sphere of that radius in front of the camera lies in a marked tile; some others do too.
    """
    from scipy import ndimage  # a training step on a GPU machine needs none of this: `make test-cuda`

    pixels, depth = camera.project(vertices)
    if depth.min() <= 2 * radius:  # a camera among the spheres: a disc no longer bounds a sphere's picture
        return np.ones((1, 1), bool), max(camera.height, camera.width)
    x, y = pixels.T
    # A sphere's outline is an ellipse, longest away from the image center: bound it through the slant of the ray.
    slant = (((x - camera.K[0, 2]) / camera.K[0, 0]) ** 2 + ((y - camera.K[1, 2]) / camera.K[1, 1]) ** 2).max()
    reach = float(max(camera.K[0, 0], camera.K[1, 1]) * radius / (depth.min() - radius) * np.sqrt(1 + slant))
    tile = max(1, int(reach / 3))
    row, column = (np.floor((p + 0.5) / tile).astype(np.int64) for p in (y, x))
    near = np.zeros((-(-camera.height // tile), -(-camera.width // tile)), bool)
    # Only the part of the picture around the body is looked at.
    margin = int(np.ceil(reach / tile)) + 2
    first = np.maximum((row.min() - margin, column.min() - margin), -margin)
    stop = np.minimum((row.max() + margin + 1, column.max() + margin + 1), np.array(near.shape) + margin)
    if (stop <= first).any():
        return near, tile
    empty = np.ones(stop - first, bool)
    inside = (row >= first[0]) & (row < stop[0]) & (column >= first[1]) & (column < stop[1])
    empty[row[inside] - first[0], column[inside] - first[1]] = False
    # Half a diagonal for the point within its cell, half a diagonal for the pixel within its own.
    close = ndimage.distance_transform_edt(empty) <= reach / tile + np.sqrt(2)
    low, high = np.maximum(first, 0), np.minimum(stop, near.shape)
    window = close[low[0] - first[0] : high[0] - first[0], low[1] - first[1] : high[1] - first[1]]
    near[low[0] : high[0], low[1] : high[1]] = window if inside.any() else False
    return near, tile


def draw_pixels(
    rng: np.random.Generator, tiles: np.ndarray, tile: int, height: int, width: int, count: int
) -> np.ndarray:
    """Draw `count` pixels (count, 2) as integer x, y, uniformly over tiles (n, 2) of the picture: (row, column).

    Without repeats if the tiles hold enough pixels; over the whole picture if there is no tile.
    """
    if len(tiles) == 0:
        tiles, tile = np.zeros((1, 2), int), max(height, width)
    total = len(tiles) * tile * tile
    # Tiles at the border stick out of the picture: draw some more and drop what fell outside.
    drawn = rng.choice(total, size=min(total, int(1.3 * count) + 64), replace=False, shuffle=True)
    cell, inner = np.divmod(drawn, tile * tile)
    y, x = (tile * tiles[cell, axis].astype(np.int64) + at for axis, at in enumerate(np.divmod(inner, tile)))
    inside = (x < width) & (y < height)
    xy = np.stack([x[inside], y[inside]], axis=1)
    return np.tile(xy, (-(-count // max(1, len(xy))), 1))[:count]


def map_size(height: int, width: int, side: int | None) -> tuple[int, int]:
    """(height, width) to which `image.shrink_map` brings a map: its longer side has at most `side` texels."""
    longer = max(height, width)
    if side is None or side >= longer:
        return height, width
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))
