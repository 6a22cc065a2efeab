"""Choose the pixels of a view that are worth training on: those whose rays can meet the shell of the body.

The test here is a cheap superset (a tile grid in the image, numpy only), for it runs beside the video decoder. The
exact intervals are computed once, on the training worker, for the pixels that were drawn.
"""

import numpy as np
from scipy import ndimage

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig


def posed_vertices(rig: Rig, pose: Pose) -> np.ndarray:
    """World positions (V, 3) in m of the skinned vertices: linear blend skinning (paper eq. 1), then the root's motion."""
    num_joints = rig.weights.shape[1]
    blended = (rig.weights @ pose.joints_RT.reshape(num_joints, 16)).reshape(-1, 4, 4)
    normalized = np.einsum("vij,vj->vi", blended[:, :3, :3], rig.vertices) + blended[:, :3, 3]
    return normalized @ pose.rotation + pose.translation.reshape(1, 3)


def near_body(vertices: np.ndarray, camera: Camera, radius: float) -> tuple[np.ndarray, int]:
    """Tiles of the picture in which a ray may pass within `radius` (m) of one of the world `vertices` (V, 3).

    Returns a boolean grid (ceil(height / tile), ceil(width / tile)) and the tile's side in pixels. Every pixel whose
    ray meets a sphere of that radius in front of the camera lies in a marked tile; some others do too.
    """
    pixels, depth = camera.project(vertices)
    if depth.min() <= 2 * radius:  # the camera is in the crowd: a disc no longer bounds the sphere's picture
        return np.ones((1, 1), bool), max(camera.height, camera.width)
    focal = max(camera.K[0, 0], camera.K[1, 1])
    # A sphere's outline is an ellipse, longest away from the image centre: bound it through the slant of the ray.
    slant = np.linalg.norm((pixels - camera.K[:2, 2]) / np.diag(camera.K)[:2], axis=1).max()
    reach = float(focal * radius / (depth.min() - radius) * np.sqrt(1 + slant**2))
    tile = max(1, int(reach / 4))
    shape = (-(-camera.height // tile), -(-camera.width // tile))
    margin = int(np.ceil(reach / tile)) + 2
    grid = np.ones((shape[0] + 2 * margin, shape[1] + 2 * margin), bool)
    cells = np.floor((pixels[:, ::-1] + 0.5) / tile).astype(np.int64) + margin
    inside = ((cells >= 0) & (cells < grid.shape)).all(axis=1)
    grid[cells[inside, 0], cells[inside, 1]] = False
    # Half a diagonal for the vertex within its cell, half a diagonal for the pixel within its own.
    near = ndimage.distance_transform_edt(grid) <= reach / tile + np.sqrt(2)
    return near[margin:-margin, margin:-margin], tile


def draw_pixels(
    rng: np.random.Generator, near: np.ndarray, tile: int, height: int, width: int, count: int
) -> np.ndarray:
    """Draw `count` pixels (count, 2) as integer x, y, uniformly over the marked tiles, without repeats if they suffice."""
    rows, columns = np.nonzero(near)
    if len(rows) == 0:
        rows, columns, tile = np.zeros(1, int), np.zeros(1, int), max(height, width)
    total = len(rows) * tile * tile
    # Tiles at the border stick out of the picture: draw some more and drop what fell outside.
    take = min(total, int(1.3 * count) + 64)
    drawn = rng.choice(total, size=take, replace=False, shuffle=True)
    cell, inner = np.divmod(drawn, tile * tile)
    xy = np.stack([columns[cell] * tile + inner % tile, rows[cell] * tile + inner // tile], axis=1)
    xy = xy[(xy[:, 0] < width) & (xy[:, 1] < height)]
    repeats = -(-count // max(1, len(xy)))
    return np.tile(xy, (repeats, 1))[:count]
