"""The studio's cameras, and filming the figure through them."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from scipy.ndimage import binary_dilation

from na_ray.capture.camera import Camera
from na_ray.synthetic.shading import LitScene, Studio

# Cameras stand on a ring at these heights in turn (m), at about this distance from the middle (m).
HEIGHTS = (1.15, 1.75, 0.75, 2.35)
DISTANCE = 3.6
# The farthest point of the figure in any frame comes to this share of the half image.
FILL_SHARE = 0.93
# Rays a pixel: scattered, so that edges near the vertical or horizontal have as many steps as rays.
RAYS_PER_PIXEL = 4
# No edge of the filmed meshes is longer (m), however they are stretched.
LONGEST_EDGE = 0.035


def ring(count: int, resolution: int, points: Float[ndarray, "n 3"], seed: int) -> list[Camera]:
    """Cameras all round that keep `points` (the figure over all frames) in view, each a little different."""
    rng = np.random.default_rng([seed, 1])
    target = 0.5 * (points.min(0) + points.max(0))
    turns = np.arange(count) * 2 * np.pi / count
    if count > 4:
        turns = turns + rng.uniform(-0.25, 0.25, count) * 2 * np.pi / count
    cameras = []
    for k in range(count):
        distance = DISTANCE * rng.uniform(0.92, 1.10)
        height = HEIGHTS[k % len(HEIGHTS)] + rng.uniform(-0.08, 0.08)
        aside = distance * np.array((np.sin(turns[k]), 0.0, np.cos(turns[k])))
        center = np.array((target[0], height, target[2])) + aside
        pose = _look(center, target, roll=rng.uniform(-0.035, 0.035))
        principal = (resolution - 1) / 2 + rng.uniform(-0.015, 0.015, 2) * resolution
        zoom = rng.uniform(0.93, 1.0)
        cameras.append(_fit(f"{k:03d}", pose, principal, resolution, points, zoom))
    return cameras


def _look(center: Float[ndarray, "3"], target: Float[ndarray, "3"], roll: float) -> Float[ndarray, "4 4"]:
    """Camera to world, OpenCV axes."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    pose[:3, 2], pose[:3, 3] = forward, center
    return pose


def _fit(
    name: str,
    pose: Float[ndarray, "4 4"],
    principal: Float[ndarray, "2"],
    resolution: int,
    points: Float[ndarray, "n 3"],
    zoom: float,
) -> Camera:
    """The longest focal length that keeps all points inside the image, times `zoom`."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    slope = np.abs(local[:, :2] / local[:, 2:]).max(0)
    room = np.minimum(principal + 0.5, resolution - 0.5 - principal)
    focal = zoom * FILL_SHARE * float((room / slope).min())
    K = np.array([[focal, 0.0, principal[0]], [0.0, focal, principal[1]], [0.0, 0.0, 1.0]])
    return Camera(name, K, pose, resolution, resolution)


def film(
    studio: Studio, stage: LitScene, camera: Camera, rays_per_pixel: int = RAYS_PER_PIXEL
) -> UInt8[ndarray, "h w 4"]:
    """RGB over white and the coverage of the figure: means of `rays_per_pixel` rays a pixel, in display values."""
    rows, columns = np.nonzero(_touched(stage, camera))
    offsets = _scattered(rays_per_pixel)
    rays = (np.stack([columns, rows], axis=1)[:, None] + offsets).reshape(-1, 2)
    # Rays of a pixel look at different points of the sun, in another order from pixel to pixel.
    spin = np.repeat(columns * 2.39996 + rows * 1.88396, len(offsets))
    corner = np.tile(2.0 * (offsets[:, 0] + 1j * offsets[:, 1]), len(rows)) * np.exp(1j * spin)
    colors, hit = studio.see(stage, *camera.rays(rays), np.stack([corner.real, corner.imag], axis=1))
    samples = np.tile((1.0, 1.0, 1.0, 0.0), (len(rays), 1))
    samples[hit] = np.c_[colors, np.ones(len(hit))]
    image = np.full((camera.height, camera.width, 4), (255, 255, 255, 0), dtype=np.uint8)
    image[rows, columns] = np.round(255.0 * samples.reshape(len(rows), -1, 4).mean(1)).astype(np.uint8)
    return image


def _scattered(count: int) -> Float[ndarray, "n 2"]:
    """Places in a pixel, -0.5..0.5, of mean zero and with no two in a row or column (Roberts' R2 sequence)."""
    golden = 1.32471795724474602596
    places = (np.arange(1, count + 1)[:, None] * (1 / golden, 1 / golden**2)) % 1.0
    return places - places.mean(0)


def _touched(stage: LitScene, camera: Camera) -> Bool[ndarray, "h w"]:
    """Pixels that the figure may reach: those of its vertices, grown by how far a face reaches from its corners."""
    pixels, depth = camera.project(stage.vertices)
    places = np.round(pixels).astype(int)
    seen = (depth > 0) & (places >= 0).all(1) & (places < (camera.width, camera.height)).all(1)
    mask = np.zeros((camera.height, camera.width), dtype=bool)
    mask[places[seen, 1], places[seen, 0]] = True
    grow = 1 + int(np.ceil(LONGEST_EDGE / np.sqrt(3) * camera.K[0, 0] / depth[seen].min())) if seen.any() else 1
    return binary_dilation(mask, np.ones((3, 3)), iterations=grow)
