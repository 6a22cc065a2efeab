"""The skinned body: a template mesh with weights, and the same mesh at one pose.

Symbols: v vertices, f faces, t texture coordinates, j joints. Lengths are metres.

Spaces: *canonical* is the template as stored; *normalized* is posed but neither rotated nor translated as a whole;
*world* is where the cameras are. Row vectors: ``world = normalized @ rotation + translation``.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from na_ray.body.upload import upload
from na_ray.capture.rig import Pose, Rig
from na_ray.config.values import UserError


@dataclass(frozen=True, eq=False)
class Body:
    """A template mesh, its UV atlas, its skinning weights and its rest pose; what never changes in a capture."""

    vertices: Float[Tensor, "v 3"]
    """Canonical vertices, m."""
    faces: Int[Tensor, "f 3"]
    """Vertex of each corner of each face."""
    uv: Float[Tensor, "t 2"]
    """Texture coordinates; the origin is the map's bottom left."""
    uv_faces: Int[Tensor, "f 3"]
    """Texture coordinate of each corner of each face."""
    weights: Float[Tensor, "v j"]
    """Skinning weights; each row sums to one."""
    tpose: Float[Tensor, "j 4 4"]
    """Each joint's transform from canonical space to the T pose."""

    @classmethod
    def from_rig(cls, rig: Rig, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> "Body":
        """The tensors of a rig that was read from disk."""

        def real(array: object) -> Tensor:
            return torch.tensor(array, dtype=dtype, device=device)

        def index(array: object) -> Tensor:
            return torch.tensor(array, dtype=torch.int64, device=device)

        return cls(
            vertices=real(rig.vertices),
            faces=index(rig.faces),
            uv=real(rig.uv),
            uv_faces=index(rig.uv_faces),
            weights=real(rig.weights),
            tpose=real(rig.tpose),
        )

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "Body":
        """The same body in another precision or on another device (indices keep their type)."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return Body(
            **{
                name: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
                for name, tensor in tensors.items()
            }
        )

    @cached_property
    def face_uv(self) -> Float[Tensor, "f 3 2"]:
        """Texture coordinates of the three corners of each face."""
        return self.uv[self.uv_faces]

    @cached_property
    def neighbors(self) -> Int[Tensor, "f 3"]:
        """The face across the edges AB, AC and BC of each face; the face itself where the mesh ends."""
        return edge_neighbors(self.faces)

    @cached_property
    def corners(self) -> "Corners":
        """The corners of the faces, sorted by vertex."""
        return corners_by_vertex(self.faces, len(self.vertices))

    def pose(self, pose: Pose) -> "PosedBody":
        """Skin the template: each vertex is moved by the blend of its joints' transforms (parity 3.1)."""

        def real(array: object) -> Tensor:
            return upload(array, self.vertices.device, self.vertices.dtype)

        if pose.joints_RT.shape[0] != self.weights.shape[1]:
            raise UserError(
                f"pose has {pose.joints_RT.shape[0]} joints in joints_RT but the body's skinning weights have "
                f"{self.weights.shape[1]} columns: they must come from the same capture"
            )
        return self.skinned(*map(real, (pose.joints_RT, pose.rotation, pose.translation, pose.joints)))

    def skinned(
        self,
        joints_RT: Float[Tensor, "j 4 4"],
        rotation: Float[Tensor, "3 3"],
        translation: Float[Tensor, "3"],
        joints: Float[Tensor, "k 3"],
    ) -> "PosedBody":
        """`pose` of tensors that lie on the body's device."""
        return PosedBody(
            body=self,
            joints_RT=joints_RT,
            rotation=rotation,
            translation=translation,
            joints=joints,
            vertices=skin(self.vertices, self.weights, joints_RT),
        )


@dataclass(frozen=True, eq=False)
class PosedBody:
    """The body at one pose."""

    body: Body
    """The template."""
    joints_RT: Float[Tensor, "j 4 4"]
    """Each joint's transform from canonical to normalized space."""
    rotation: Float[Tensor, "3 3"]
    """As stored: ``world = normalized @ rotation + translation``."""
    translation: Float[Tensor, "3"]
    """World position of the normalized space's origin, m."""
    joints: Float[Tensor, "k 3"]
    """World positions of the joints, m."""
    vertices: Float[Tensor, "v 3"]
    """Posed vertices in normalized space, m."""

    @cached_property
    def world_vertices(self) -> Float[Tensor, "v 3"]:
        """Posed vertices in world space, m."""
        return self.to_world(self.vertices)

    @cached_property
    def pseudo_normals(self) -> Float[Tensor, "f 7 3"]:
        """Normals that tell inside from outside at any closest point, in normalized space (see `pseudo_normals`)."""
        return pseudo_normals(self.vertices, self.body.faces, self.body.neighbors, self.body.corners)

    def to_world(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Normalized points in world space."""
        return rotate(points, self.rotation) + self.translation

    def to_normalized(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """World points in normalized space."""
        return rotate(points - self.translation, self.rotation.T)

    def vertex_normals(self, world: bool = True) -> Float[Tensor, "v 3"]:
        """Unit normals of the posed vertices: the area-weighted mean of their faces' normals."""
        vertices = self.world_vertices if world else self.vertices
        return vertex_normals(vertices, self.body.faces, self.body.corners)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "PosedBody":
        """The same posed body in another precision or on another device."""
        names = ("joints_RT", "rotation", "translation", "joints", "vertices")
        moved = {name: getattr(self, name).to(device=device, dtype=dtype) for name in names}
        return replace(self, body=self.body.to(dtype=dtype, device=device), **moved)


def rotate(vectors: Float[Tensor, "*n 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "*n 3"]:
    """``vectors @ rotation`` in full precision: a matrix product may be TF32 or bfloat16, millimetres off here."""
    x, y, z = vectors[..., :1], vectors[..., 1:2], vectors[..., 2:]
    return x * rotation[0] + y * rotation[1] + z * rotation[2]


def skin(
    vertices: Float[Tensor, "v 3"], weights: Float[Tensor, "v j"], joints_RT: Float[Tensor, "j 4 4"]
) -> Float[Tensor, "v 3"]:
    """Linear blend skinning, x = (sum_j w_j A_j) [v; 1] (parity 3.1)."""
    # In float64, which neither autocast nor TF32 touches.
    blended = torch.einsum("vj,jrc->vrc", weights.double(), joints_RT[:, :3].double())
    posed = torch.einsum("vrc,vc->vr", blended[:, :, :3], vertices.double()) + blended[:, :, 3]
    return posed.to(vertices.dtype)


def face_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "f 3"]:
    """(B-A) x (C-A) of each face: its normal with twice its area as length."""
    a, b, c = vertices.index_select(0, faces.T.reshape(-1)).view(3, -1, 3)
    return torch.linalg.cross(b - a, c - a)


@dataclass(frozen=True, eq=False)
class Corners:
    """The corners of a mesh's faces, sorted by vertex. Corner k of face i has the number k * f + i."""

    numbers: Int[Tensor, "c"]
    """The corners at vertex 0, those at vertex 1, ..., each vertex's in ascending order."""
    starts: Int[Tensor, "v"]
    """Where each vertex's begin."""


def corners_by_vertex(faces: Int[Tensor, "f 3"], num_vertices: int) -> Corners:
    """Sort the corners of faces by vertex."""
    vertex, numbers = faces.T.reshape(-1).sort(stable=True)
    return Corners(numbers, torch.searchsorted(vertex, torch.arange(num_vertices, device=faces.device)))


def _summed(rows: Float[Tensor, "n c"], chosen: Int[Tensor, "m"], starts: Int[Tensor, "v"]) -> Float[Tensor, "v c"]:
    """Sums of the chosen rows of each vertex, in their order: `index_add_` adds in any order on CUDA, so that the last
    bits differ from run to run, and with them the marks of what is drawn."""
    return torch.nn.functional.embedding_bag(chosen, rows, starts, mode="sum")


def vertex_normals(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], corners: Corners | None = None
) -> Float[Tensor, "v 3"]:
    """Unit vertex normals: the normalized sum of the un-normalized face normals around a vertex.

    `corners`: of the faces, where they are known. The same to the bit from run to run, also on CUDA.
    """
    corners = corners or corners_by_vertex(faces, len(vertices))
    total = _summed(face_normals(vertices, faces), corners.numbers % len(faces), corners.starts)
    return torch.nn.functional.normalize(total, dim=1)


def edge_neighbors(faces: Int[Tensor, "f 3"]) -> Int[Tensor, "f 3"]:
    """The face across the edges AB, AC and BC of each face; the face itself where the mesh ends."""
    edges = faces[:, [[0, 1], [0, 2], [1, 2]]].sort(dim=2).values.reshape(-1, 2)
    _, edge = edges.unique(dim=0, return_inverse=True)
    # Sorted by edge, the two sides of one edge stand next to each other.
    order = edge.argsort(stable=True)
    same = edge[order[1:]] == edge[order[:-1]]
    first, second = order[:-1][same], order[1:][same]
    result = torch.arange(len(edges), device=faces.device)
    result[first], result[second] = second, first
    return (result // 3).view(-1, 3)


def pseudo_normals(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    neighbors: Int[Tensor, "f 3"],
    corners: Corners | None = None,
) -> Float[Tensor, "f 7 3"]:
    """Angle-weighted pseudo-normals of each face's features (Baerentzen and Aanaes, 2005).

    The order is inside, edge AB, AC, BC, corner A, B, C. The offset from the closest point of a watertight mesh has a
    positive product with the pseudo-normal of the feature that it lies on exactly when it is outside; a face's own
    normal lacks that property on edges and corners. Lengths are arbitrary. `corners` as in `vertex_normals`.
    """
    flat = torch.nn.functional.normalize(face_normals(vertices, faces), dim=1)
    ends, weighted = vertices[faces], []
    for k in range(3):
        one = torch.nn.functional.normalize(ends[:, (k + 1) % 3] - ends[:, k], dim=1)
        two = torch.nn.functional.normalize(ends[:, (k + 2) % 3] - ends[:, k], dim=1)
        weighted.append((one * two).sum(1).clamp(-1, 1).acos()[:, None] * flat)
    corners = corners or corners_by_vertex(faces, len(vertices))
    total = _summed(torch.cat(weighted), corners.numbers, corners.starts)
    return torch.cat([flat[:, None], flat[:, None] + flat[neighbors], total[faces]], dim=1)
