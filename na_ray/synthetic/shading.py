"""Light: a gradient sky seen past the figure itself, a soft sun with shadows, a fill light, and the display curve."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from na_ray.body.surface import Surface
from na_ray.synthetic.implicit import vertex_normals
from na_ray.synthetic.materials import gloss, paint
from na_ray.synthetic.style import Style
from na_ray.synthetic.wardrobe import Wardrobe

# World directions towards the lights, and their linear colors.
SUN = np.array((0.48, 0.78, 0.40)) / np.linalg.norm((0.48, 0.78, 0.40))
SUN_COLOR = np.array((1.18, 1.10, 0.97))
FILL = np.array((-0.70, 0.25, 0.67)) / np.linalg.norm((-0.70, 0.25, 0.67))
FILL_COLOR = np.array((0.14, 0.16, 0.20))
SKY_COLOR, HORIZON_COLOR, GROUND_COLOR = (
    np.array((0.66, 0.72, 0.82)),
    np.array((0.58, 0.58, 0.58)),
    np.array((0.34, 0.31, 0.28)),
)
# Half angle of the sun's disc as a tangent: shadows get soft edges.
SUN_SPREAD = 0.045
# The sky is sampled by this many directions, at every STRIDE-th vertex.
SKY_DIRECTIONS, STRIDE = 28, 6
# Rays start this far off the surface (m), so as not to meet the face that they leave.
LIFT = 0.003


def _sphere_directions(count: int) -> Float[ndarray, "n 3"]:
    """A Fibonacci lattice on the unit sphere."""
    k = np.arange(count) + 0.5
    y = 1.0 - 2.0 * k / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * k
    radius = np.sqrt(1.0 - y * y)
    return np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], axis=1)


def sky(directions: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Linear radiance of the surroundings: sky above, bright horizon, ground below."""
    y = directions[:, 1:2]
    return np.where(
        y > 0, HORIZON_COLOR + y * (SKY_COLOR - HORIZON_COLOR), HORIZON_COLOR - y * (GROUND_COLOR - HORIZON_COLOR)
    )


def to_linear(srgb: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Display values to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_display(linear: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Linear light to display values, with a soft shoulder instead of clipping above 0.8."""
    bent = np.where(linear > 0.8, 0.8 + 0.2 * (1.0 - np.exp(-(linear - 0.8) / 0.2)), np.maximum(linear, 0.0))
    return np.where(bent <= 0.0031308, 12.92 * bent, 1.055 * bent ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class LitScene:
    """The draped figure at one frame, ready to be filmed."""

    vertices: Float[ndarray, "v 3"]
    normals: Float[ndarray, "v 3"]
    ambient: Float[ndarray, "v 3"]
    """Linear light from the sky that reaches each vertex past the figure itself, over pi."""


class Studio:
    """Lights the figure and answers what rays see of it."""

    def __init__(self, wardrobe: Wardrobe, style: Style) -> None:
        self.wardrobe, self.style = wardrobe, style
        self.surface = Surface(torch.from_numpy(wardrobe.faces), len(wardrobe.vertices))
        # Ponytail vertices share one rest position: the pattern coordinates tell them apart.
        place = np.concatenate([wardrobe.coords, 10.0 * wardrobe.piece[:, None]], axis=1)
        self._samples = np.arange(0, len(place), STRIDE)
        distance, self._near = cKDTree(place[self._samples]).query(place, k=4)
        share = 1.0 / (distance + 0.005)
        self._share = share / share.sum(1, keepdims=True)

    def light(self, vertices: Float[ndarray, "v 3"]) -> LitScene:
        """Take up a new pose (world vertices)."""
        self.surface.refit(torch.from_numpy(vertices))
        normals = vertex_normals(vertices, self.wardrobe.faces)
        return LitScene(vertices, normals, self._ambient(vertices, normals))

    def _hits(self, origins: Float[ndarray, "n 3"], directions: Float[ndarray, "n 3"]) -> tuple[ndarray, ndarray]:
        """Faces and barycentrics."""
        rays = (torch.from_numpy(x.astype(np.float32)) for x in (origins, directions))
        face, _, bary = self.surface.intersect(*rays)
        return face.numpy(), bary.numpy()

    def _ambient(self, vertices: Float[ndarray, "v 3"], normals: Float[ndarray, "v 3"]) -> Float[ndarray, "v 3"]:
        directions = _sphere_directions(SKY_DIRECTIONS)
        radiance = sky(directions)
        points, facing = vertices[self._samples], normals[self._samples]
        cosine = np.maximum(facing @ directions.T, 0.0)
        who, which = np.nonzero(cosine > 0.08)
        face, _ = self._hits(points[who] + LIFT * facing[who], directions[which])
        open_sky = np.zeros_like(cosine)
        open_sky[who, which] = face < 0
        # Cloth and skin near by throw back about a third of what they block.
        weight = cosine * (open_sky + 0.30 * (1.0 - open_sky))
        gathered = weight @ radiance / np.maximum(cosine.sum(1, keepdims=True), 1e-9)
        return np.einsum("vk,vkc->vc", self._share, gathered[self._near])

    def see(
        self,
        stage: LitScene,
        origins: Float[ndarray, "n 3"],
        directions: Float[ndarray, "n 3"],
        jitter: Float[ndarray, "n 2"],
    ) -> tuple[Float[ndarray, "h 3"], Int[ndarray, "h"]]:
        """Display colors where rays meet the figure, and which rays do; `jitter` (-1..1) picks a point of the sun."""
        face, bary = self._hits(origins, directions)
        hit = np.flatnonzero(face >= 0)
        corners, bary = self.wardrobe.faces[face[hit]], bary[hit]

        def blend(values: Float[ndarray, "v c"]) -> Float[ndarray, "h c"]:
            return sum(bary[:, k, None] * values[corners[:, k]] for k in range(3))

        normals, view = blend(stage.normals), directions[hit]
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        # Sheets of cloth have two sides.
        normals *= np.where((normals * view).sum(1, keepdims=True) > 0.0, -1.0, 1.0)
        piece = self.wardrobe.piece[corners[:, 0]]
        albedo = to_linear(paint(piece, self._coords(corners, bary), self.style))
        sun = self._sunlight(blend(stage.vertices) + LIFT * normals, normals, jitter[hit])
        fill = np.maximum(normals @ FILL, 0.0)[:, None] * FILL_COLOR
        strength, exponent = gloss(piece)
        middle = SUN - view
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        shine = strength * np.maximum((middle * normals).sum(1), 0.0) ** exponent
        light = (
            albedo * (blend(stage.ambient) + sun[:, None] * SUN_COLOR + fill) + (shine * (sun > 0))[:, None] * SUN_COLOR
        )
        return to_display(light), hit

    def _coords(self, corners: Int[ndarray, "h 3"], bary: Float[ndarray, "h 3"]) -> Float[ndarray, "h 3"]:
        """Pattern coordinates at the hits; faces across the seam of a closed sheet are unrolled first."""
        values = self.wardrobe.coords[corners]
        for name, sheet in self.wardrobe.sheets.items():
            if not sheet.closed:
                continue
            last = self.wardrobe.coords[sheet.start + sheet.columns - 1, 0]
            period = last * sheet.columns / (sheet.columns - 1)
            inside = (corners[:, 0] >= sheet.start) & (corners[:, 0] < sheet.start + sheet.rows * sheet.columns)
            assert period > 0, name
            over = inside[:, None] & (values[:, :, 0].max(1, keepdims=True) - values[:, :, 0] > 0.5 * period)
            values[:, :, 0] += np.where(over, period, 0.0)
        return np.einsum("hk,hkc->hc", bary, values)

    def _sunlight(
        self, points: Float[ndarray, "h 3"], normals: Float[ndarray, "h 3"], jitter: Float[ndarray, "h 2"]
    ) -> Float[ndarray, "h"]:
        """Cosine towards the sun, 0 in shadow."""
        side = np.cross(SUN, (0.0, 1.0, 0.0))
        side /= np.linalg.norm(side)
        spread = jitter[:, :1] * side + jitter[:, 1:] * np.cross(SUN, side)
        directions = SUN + SUN_SPREAD * spread
        cosine = np.maximum(normals @ SUN, 0.0)
        lit = np.flatnonzero(cosine > 0.0)
        face, _ = self._hits(points[lit], directions[lit])
        cosine[lit[face >= 0]] = 0.0
        return cosine
