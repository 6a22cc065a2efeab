"""The posed surface: closest points, ray hits, and the shell around it.

Acceleration structures hold float32 coordinates relative to the body's center and return face ids only; values are
computed anew from the face in the tensors' own precision. Several faces tie where the closest point lies on an edge:
which one is returned is no property of the surface, so compare points and interpolated values, never ids.
"""

import math
import weakref
from collections import deque

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from na_ray.body import kernels
from na_ray.body.intervals import shell_intervals
from na_ray.body.triangles import Closest, meet_faces, project_to_faces
from na_ray.config.values import UserError

__all__ = ["Closest", "Surface", "meet_faces", "project_to_faces", "shell_intervals"]


class Surface:
    """A bounding-volume hierarchy over a mesh, refitted to each pose; one code path on CPU and CUDA.

    With the vertices of the `rest` pose the hierarchy is built over these, else over the first pose it is given. On a
    tie the face that is met first wins: with `rest` that depends on the pose alone, not on those that came before it.
    It can be pickled and copied: the copy is empty until its first `refit`.
    """

    def __init__(
        self,
        faces: Int[Tensor, "f 3"],
        num_vertices: int,
        device: torch.device | str = "cpu",
        rest: Float[Tensor, "v 3"] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.faces = faces.to(self.device)
        self.num_vertices = num_vertices
        self.rest = None if rest is None else rest.to(self.device)
        self._mesh: wp.Mesh | None = None
        self._vertices = torch.zeros(0, 3, device=self.device)
        self._center = torch.zeros(3, device=self.device)

    def __reduce__(self) -> tuple:
        return Surface, (self.faces, self.num_vertices, self.device, self.rest)

    def refit(self, vertices: Float[Tensor, "v 3"]) -> None:
        """Move the hierarchy to new vertices; float64 ones are kept, too, for float64 queries."""
        if self._mesh is None and self.rest is not None:
            rest, self.rest = self.rest, None
            self.refit(rest)
            self.rest = rest
        if len(vertices) != self.num_vertices:
            raise ValueError(f"{len(vertices)} vertices given, but this surface was made for {self.num_vertices}")
        if not torch.isfinite(vertices).all():
            raise UserError("the posed vertices hold NaN or infinite numbers: check this frame's joints_RT")
        self._vertices = vertices.detach()
        self._center = self._vertices.mean(dim=0)
        centered = (self._vertices - self._center).to(torch.float32)
        with kernels.on_device(self.device):
            if self._mesh is None:
                self._mesh = wp.Mesh(
                    points=wp.clone(kernels.as_vec3(centered)),
                    indices=kernels.as_int32(self.faces.reshape(-1)),
                    bvh_constructor=kernels.constructor(self.device),
                )
            else:
                wp.copy(self._mesh.points, kernels.as_vec3(centered))
                self._mesh.refit()

    def lend(self) -> "Surface":
        """The same surface as another object, so that one can tell when its holder drops it."""
        other = Surface(self.faces, self.num_vertices, self.device, self.rest)
        other._mesh, other._vertices, other._center = self._mesh, self._vertices, self._center
        return other

    def closest(
        self, points: Float[Tensor, "n 3"], max_distance: float = math.inf, parity: bool = False
    ) -> Int[Tensor, "n"]:
        """The face nearest to each point, -1 beyond `max_distance` (m).

        float64 points, and all under `parity`, are searched again in float64 (four times the work): the lowest index
        wins ties there, and parity's distances carry the original's epsilons (3.6, 3.7).
        """
        mesh = self._fitted()
        centered = points.detach() - self._center
        faces = torch.empty(len(points), dtype=torch.int64, device=self.device)
        out = wp.from_torch(faces)
        reach = min(max_distance, 1e6)
        with kernels.on_device(self.device) as name:
            queries = kernels.as_vec3(centered.to(torch.float32))
            wp.launch(kernels.nearest_faces, len(points), [mesh.id, queries, reach, out], device=name)
            if parity or points.dtype == torch.float64:
                exact = [kernels.as_vec3(x.to(torch.float64)) for x in (centered, self._vertices - self._center)]
                options = (kernels.PARITY_EPSILON, 1.25) if parity else (0.0, 1.0)
                wp.launch(kernels.refine_faces, len(points), [mesh.id, *exact, *options, out], device=name)
        return faces

    def intersect(
        self, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """The first face that each ray meets (-1 for none), the depth in lengths of its direction, and barycentrics."""
        mesh = self._fitted()
        faces = torch.empty(len(origins), dtype=torch.int64, device=self.device)
        if not len(origins):  # of a body beside the picture: warp takes no tensor without rows
            return faces, origins.new_zeros(0), origins.new_zeros(0, 3)
        with kernels.on_device(self.device) as name:
            rays = [kernels.as_vec3(x.detach().to(torch.float32)) for x in (origins - self._center, directions)]
            wp.launch(kernels.first_hits, len(origins), [mesh.id, *rays, wp.from_torch(faces)], device=name)
        depth, barycentrics = meet_faces(origins, directions, self._vertices.to(origins), self.faces, faces)
        return faces, depth, barycentrics

    def _fitted(self) -> wp.Mesh:
        if self._mesh is None:
            raise ValueError("this surface has no vertices yet: call refit(posed.vertices) before asking")
        return self._mesh


class SurfacePool:
    """Surfaces of one body, each with one holder at a time: fitting one again is ten times faster than a new one.

    Threads may share a pool. A surface returns to it when its last holder has dropped it.
    """

    def __init__(self, rest: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> None:
        self.rest, self.faces = rest, faces
        self._idle: deque[Surface] = deque()

    def __reduce__(self) -> tuple:
        return SurfacePool, (self.rest, self.faces)

    def fitted(self, vertices: Float[Tensor, "v 3"]) -> "Surface":
        """A surface at these vertices, which nobody else moves as long as it is held."""
        try:
            surface = self._idle.pop()
        except IndexError:
            surface = Surface(self.faces, len(self.rest), self.rest.device, rest=self.rest)
        surface.refit(vertices)
        lent = surface.lend()
        weakref.finalize(lent, self._idle.append, surface).atexit = False
        return lent
