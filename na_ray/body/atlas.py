"""The body's UV atlas on a grid of texels: normal maps from poses, texture maps from images.

Texel (row r, column c) of an S x S map has its center at u = (c + 0.5) / S, v = 1 - (r + 0.5) / S: the first row is
v = 1. A chart is an island of faces in the atlas; texels between the charts belong to no face.
"""

import torch
import warp as wp
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from na_ray.body import kernels, raster_kernels
from na_ray.body.body import Body, PosedBody
from na_ray.config.values import UserError

UNCOVERED = 2**31 - 1


LARGEST = 2**14
"""Texels a side: a map of that has 800 MB."""


class Atlas:
    """The face and the barycentrics at every texel of a square map; made once for a body and a size."""

    def __init__(self, body: Body, size: int = 512):
        if size < 1:
            raise UserError(f"an atlas needs a size of at least one texel, got {size}")
        if size > LARGEST:
            raise UserError(f"an atlas of {size} texels a side; expected at most {LARGEST}: ask for a smaller one")
        self.body = body
        self.size = size
        corners = _corners_in_texels(body, size)
        fill = _fill(corners, size)
        texel, face, barycentrics = _edge_fragments(corners, size)
        barycentrics = barycentrics.to(body.vertices)
        self.inside: Bool[Tensor, "s s"] = fill >= 0
        """Texels whose center lies in a face."""
        self.face: Int[Tensor, "s s"] = fill.clone()
        """Face of each texel: the lowest of those that hold its center, or one that touches the texel, or -1."""
        self.barycentrics: Float[Tensor, "s s 3"] = torch.zeros(size, size, 3, **_like(body))
        """Barycentrics on that face, in the order of its corners; zero outside."""
        self._put_barycentrics(corners, fill)
        drawn_face, drawn_weights = self.face.clone().view(-1), self.barycentrics.clone().view(-1, 3)
        drawn_face[texel], drawn_weights[texel] = face, barycentrics
        border = ~self.inside.view(-1)[texel]
        self.face.view(-1)[texel[border]] = face[border]
        self.barycentrics.view(-1, 3)[texel[border]] = barycentrics[border]
        self._drawn: Int[Tensor, " m"] = (drawn_face >= 0).nonzero()[:, 0]
        self._drawn_vertices: Int[Tensor, "m 3"] = body.faces[drawn_face[self._drawn]]
        self._drawn_weights: Float[Tensor, "m 3"] = drawn_weights[self._drawn]

    def _put_barycentrics(self, corners: Float[Tensor, "f 3 2"], fill: Int[Tensor, "s s"]) -> None:
        row, column = (fill >= 0).nonzero(as_tuple=True)
        a, b, c = corners[fill[row, column]].unbind(1)
        p = torch.stack([column, row], dim=1).to(a)
        area, wb, wc = _cross(b - a, c - a), _cross(p - a, c - a), _cross(b - a, p - a)
        weights = torch.stack([area - wb - wc, wb, wc], dim=1) / area[:, None]
        self.barycentrics[row, column] = weights.to(self.barycentrics)

    def normal_map(self, posed: PosedBody) -> UInt8[Tensor, "s s 3"]:
        """World normals as published: R, G, B = z, y, x of n / 2 + 0.5, linear over each face, white outside.

        Like the original's drawing (parity section 5), a texel that the outline of a face touches takes the normal of
        the outline, within the charts and around them: the charts grow by up to a texel.
        """
        colors = posed.vertex_normals().flip(1) * 127.5 + 127.5
        values = torch.nn.functional.embedding_bag(
            self._drawn_vertices, colors, per_sample_weights=self._drawn_weights, mode="sum"
        )
        result = torch.full((self.size**2, 3), 255, dtype=torch.uint8, device=colors.device)
        result[self._drawn] = values.round_().clamp_(0, 255).to(torch.uint8)
        return result.view(self.size, self.size, 3)

    def interpolate(self, values: Float[Tensor, "v c"]) -> Float[Tensor, "s s c"]:
        """A quantity given at the vertices, linear over each face; zero where no face is."""
        corners = self.body.faces[self.face.clamp(min=0)]
        return (self.barycentrics[..., None] * values[corners]).sum(2)


def _like(body: Body) -> dict:
    return {"dtype": body.vertices.dtype, "device": body.vertices.device}


def _cross(a: Float[Tensor, "n 2"], b: Float[Tensor, "n 2"]) -> Float[Tensor, "n"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _corners_in_texels(body: Body, size: int) -> Float[Tensor, "f 3 2"]:
    """(x, y) of each face's corners in texels, whose centers lie at integers here; in float64."""
    u, v = body.face_uv.to(torch.float64).unbind(2)
    return torch.stack([u * size - 0.5, (1 - v) * size - 0.5], dim=2)


def _fill(corners: Float[Tensor, "f 3 2"], size: int) -> Int[Tensor, "s s"]:
    """The lowest index among the faces that hold each texel's center, -1 for none."""
    faces = torch.full((size, size), UNCOVERED, dtype=torch.int32, device=corners.device)
    flat = torch.nn.functional.pad(corners, (0, 1)).contiguous()
    with kernels.on_device(corners.device) as name:
        inputs = [wp.from_torch(flat, dtype=wp.vec3d), wp.from_torch(faces)]
        wp.launch(raster_kernels.fill_faces, len(flat), inputs, device=name)
    return torch.where(faces == UNCOVERED, -1, faces.to(torch.int64))


def _edge_fragments(
    corners: Float[Tensor, "f 3 2"], size: int
) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"], Float[Tensor, "n 3"]]:
    """(texel, face, barycentrics) of every texel that a line one texel wide along a face's outline touches.

    A line has one texel per column, or per row if it is steep. Of several lines in a texel the first one stays.
    """
    start, end = corners.reshape(-1, 2), corners[:, [1, 2, 0]].reshape(-1, 2)
    steep = ((end - start)[:, 1].abs() > (end - start)[:, 0].abs()).long()[:, None]
    first, last = start.gather(1, steep)[:, 0], end.gather(1, steep)[:, 0]
    low = torch.minimum(first, last).round()
    counts = (torch.maximum(first, last).round() - low + 1).long()
    edge = torch.repeat_interleave(counts)
    step = torch.arange(len(edge), device=edge.device) - (counts.cumsum(0) - counts)[edge]
    t = (low[edge] + step - first[edge]) / (last - first)[edge]
    passes = (t >= 0) & (t <= 1)
    t = t.nan_to_num(0).clamp(0, 1)
    center = torch.lerp(start[edge], end[edge], t[:, None]).round()
    center.scatter_(1, steep[edge], (low[edge] + step)[:, None])
    # OpenGL's rule: a line draws the texels whose inner diamond it leaves, hence not the one that it ends in.
    starts, ends = ((p[edge] - center).abs().sum(1) < 0.5 for p in (start, end))
    drawn = torch.where(passes, ~ends, starts & ~ends)
    kept = (drawn & ((center >= 0) & (center < size)).all(1)).nonzero()[:, 0]
    column, row = center.long()[kept].unbind(1)
    texel, kept = _first_of_each(row * size + column, kept)
    edge, t = edge[kept], t[kept]
    barycentrics = torch.zeros(len(kept), 3, dtype=corners.dtype, device=corners.device)
    barycentrics.scatter_(1, (edge % 3)[:, None], (1 - t)[:, None])
    barycentrics.scatter_(1, ((edge + 1) % 3)[:, None], t[:, None])
    return texel, edge // 3, barycentrics


def _first_of_each(keys: Int[Tensor, "n"], values: Int[Tensor, "n"]) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"]]:
    """Distinct keys, each with the first of its values."""
    ordered, order = keys.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first], values[order[first]]


def shrink_texture(texture: Float[Tensor, "3 h w"], inside: Bool[Tensor, "h w"], side: int) -> Float[Tensor, "3 s s"]:
    """A texture map area-averaged to the atlas's side, over the texels inside the charts (h, w) alone.

    A texel that holds none of them takes the mean of its neighbors that do, so that what lies between the charts, black
    as a rule, darkens no border; where none does either, the plain average.
    """
    functional = torch.nn.functional
    mask = inside.to(texture)[None]
    both = functional.interpolate(torch.cat([texture * mask, mask, texture])[None], (side, side), mode="area")
    colors, cover, plain = both.split([3, 1, 3], dim=1)
    around = functional.avg_pool2d(torch.cat([colors, cover], dim=1), 3, 1, 1)
    beside = torch.where(around[:, 3:] > 0, around[:, :3] / around[:, 3:].clamp(min=1e-6), plain)
    return torch.where(cover > 0, colors / cover.clamp(min=1e-6), beside)[0]
