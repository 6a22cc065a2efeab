"""A person on a set, as plain numbers: what the writers of other programs' folders write down.

The pictures are formulas of the pin-hole pixel, so that a distorted picture is exact: its value at a pixel is that of
the formula where the lens shows it. Nothing here comes from na_ray.formats or na_ray.convert.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from na_ray.synthetic.skeleton import PARENTS, REST

SIZE = (96, 72)
"""Width and height of a picture."""
NAMES = ("2", "10", "01", "cam_a")
"""Neither in order nor contiguous."""


@dataclass
class Eye:
    """A camera: x_camera = R x + T, metres."""

    name: str
    K: np.ndarray
    dist: np.ndarray
    R: np.ndarray
    T: np.ndarray
    width: int = SIZE[0]
    height: int = SIZE[1]

    def pixels(self, points):
        """World points to pin-hole pixels."""
        local = points @ self.R.T + self.T
        return (local @ self.K.T)[:, :2] / local[:, 2:]

    def bend(self, x, y):
        """OpenCV's formula on the plane z = 1, written out."""
        k1, k2, p1, p2, k3 = self.dist
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2 * r2 + k3 * r2 * r2 * r2
        return (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )

    def straight(self):
        """The pin-hole pixel (x, y) that each pixel of the real picture shows; each (height, width)."""
        v, u = np.mgrid[: self.height, : self.width].astype(float)
        x0, y0 = (u - self.K[0, 2]) / self.K[0, 0], (v - self.K[1, 2]) / self.K[1, 1]
        x, y = x0.copy(), y0.copy()
        for _ in range(60):
            bx, by = self.bend(x, y)
            x, y = x + x0 - bx, y + y0 - by
        return x * self.K[0, 0] + self.K[0, 2], y * self.K[1, 1] + self.K[1, 2]


@dataclass
class Scene:
    """Eyes, a body, and what it does."""

    eyes: list[Eye]
    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    rest: np.ndarray
    Rh: np.ndarray
    Th: np.ndarray
    poses: np.ndarray
    betas: np.ndarray = field(default_factory=lambda: np.array([0.6, -0.4, 0.2, 0, 0, 0, 0, 0, 0, 0.1]))
    parents: tuple[int, ...] = PARENTS

    @property
    def count(self):
        """Frames."""
        return len(self.poses)

    def skinned(self, frame):
        """World vertices and joints by loops: each joint turned about its place in its parent's turned space."""
        turns = Rotation.from_rotvec(self.poses[frame].reshape(-1, 3)).as_matrix()
        G = []
        for j, parent in enumerate(self.parents):
            local = np.eye(4)
            local[:3, :3] = turns[j]
            local[:3, 3] = self.rest[j] - (self.rest[parent] if parent >= 0 else 0)
            G.append(local if parent < 0 else G[parent] @ local)
        points = np.zeros_like(self.vertices)
        for j, matrix in enumerate(G):
            moved = (self.vertices - self.rest[j]) @ matrix[:3, :3].T + matrix[:3, 3]
            points += self.weights[:, j : j + 1] * moved
        R = Rotation.from_rotvec(self.Rh[frame]).as_matrix()
        joints = np.array([matrix[:3, 3] for matrix in G])
        return points @ R.T + self.Th[frame], joints @ R.T + self.Th[frame]

    def person(self, eye, frame, x, y):
        """(colours (h, w, 3), alpha (h, w)) at pin-hole pixels: a soft oval where the body is."""
        points = eye.pixels(self.skinned(frame)[0][::7])
        middle, radii = (points.max(0) + points.min(0)) / 2, 0.45 * np.ptp(points, axis=0)
        reach = np.hypot((x - middle[0]) / radii[0], (y - middle[1]) / radii[1])
        alpha = np.clip((1.15 - reach) / 0.3, 0, 1)
        alpha = alpha * alpha * (3 - 2 * alpha)
        waves = [
            np.sin((x - middle[0]) * f + (y - middle[1]) * g + frame) for f, g in ((0.2, 0.1), (0.1, -0.2), (0, 0.25))
        ]
        return 120 + 80 * np.stack(waves, axis=-1), alpha

    def photograph(self, eye, frame):
        """(RGB, mask) as the real lens shows them, before a set that is not white."""
        x, y = eye.straight()
        colors, alpha = self.person(eye, frame, x, y)
        set_behind = np.stack([60 + 30 * np.sin(x / 9), 90 + 20 * np.cos(y / 7), 70 + 0 * x], axis=-1)
        image = alpha[..., None] * colors + (1 - alpha[..., None]) * set_behind
        return np.round(image).astype(np.uint8), np.round(255 * alpha).astype(np.uint8)

    def expected(self, eye, frame):
        """What a pin-hole camera would show before white."""
        y, x = np.mgrid[: eye.height, : eye.width].astype(float)
        colors, alpha = self.person(eye, frame, x, y)
        return alpha[..., None] * colors + 255 * (1 - alpha[..., None])


def tubes(rest=REST, parents=PARENTS, sides=6, rings=4):
    """(vertices, faces, weights): a tube along each bone, which turns with the upper joint, its end with the lower."""
    points, faces, weights = [], [], []
    for j, parent in enumerate(parents):
        if parent < 0:
            continue
        along = rest[j] - rest[parent]
        length = np.linalg.norm(along)
        axis = along / length
        first = np.cross(axis, [0.3, 0.2, 1.0])
        first /= np.linalg.norm(first)
        second = np.cross(axis, first)
        start = len(points)
        for r in range(rings):
            share = r / (rings - 1)
            radius = 0.09 if j in (3, 6, 9) else 0.05
            for k in range(sides):
                angle = 2 * np.pi * k / sides
                offset = radius * (np.cos(angle) * first + np.sin(angle) * second)
                points.append(rest[parent] + share * along + offset)
                row = np.zeros(len(rest))
                row[j] = 0.5 * max(0, 2 * share - 1)
                row[parent] = 1 - row[j]
                weights.append(row)
        for r in range(rings - 1):
            for k in range(sides):
                a, b = start + r * sides + k, start + r * sides + (k + 1) % sides
                faces += [[a, b, b + sides], [a, b + sides, a + sides]]
    return np.array(points), np.array(faces), np.array(weights)


def make_scene(frames=4, names=NAMES, size=SIZE, seed=0):
    """A body of tubes that moves its joints at random, walks and turns; eyes round it, each with a lens of its own."""
    rng = np.random.default_rng(seed)
    vertices, faces, weights = tubes()
    t = np.linspace(0, 1, frames)[:, None]
    start, stop = rng.normal(size=(2, 1, 72)) * 0.2
    poses = start + t * (stop - start)
    poses[:, :3] = 0
    Rh = np.array([[0.1, 0.4, -0.05]]) + t * np.array([[0.05, 0.9, 0.1]])
    Th = np.array([[0.05, 0.95, -0.1]]) + t * np.array([[0.1, 0.02, 0.2]])
    eyes = [_eye(i, name, len(names), size) for i, name in enumerate(names)]
    return Scene(eyes, vertices, faces, weights, REST, Rh, Th, poses)


def _eye(i, name, count, size):
    angle = 2 * np.pi * i / count + 0.3
    place, target = np.array([3.2 * np.sin(angle), 1.3 + 0.1 * i, 3.2 * np.cos(angle)]), np.array([0, 0.9, 0])
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    width, height = size
    K = np.array([[1.15 * height + i, 0, width / 2 - 0.5 + i], [0, 1.16 * height + i, height / 2 - i], [0, 0, 1.0]])
    dist = np.array([-0.12 + 0.02 * i, 0.03, 0.002, -0.0015 * i, 0.004]) * (i != 3)
    return Eye(name, K, dist, R, -R @ place, width, height)


def model_arrays(scene, pose_offsets=0.004, seed=0):
    """The arrays of an SMPL-like model whose body in the shape `scene.betas` is the scene's."""
    rng = np.random.default_rng(seed)
    count, joints = scene.weights.shape
    waves = rng.normal(size=(3, 3, 10)) * 3
    shapedirs = 0.008 * np.sin(np.einsum("vc,cds->vds", scene.vertices, waves))
    template = scene.vertices - shapedirs @ scene.betas
    # The least numbers that give the joint: they sum to 1, as a regressor's do.
    system = np.concatenate([scene.vertices.T, np.ones((1, count))])
    regressor = (np.linalg.pinv(system) @ np.concatenate([scene.rest.T, np.ones((1, joints))])).T
    kintree = np.array([[p % 2**32 for p in scene.parents], range(joints)], np.uint32)
    return {
        "v_template": template,
        "f": scene.faces.astype(np.uint32),
        "weights": scene.weights,
        "J_regressor": regressor,
        "shapedirs": shapedirs,
        "posedirs": pose_offsets * rng.normal(size=(count, 3, 9 * (joints - 1))),
        "kintree_table": kintree,
    }
