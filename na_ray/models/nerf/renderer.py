"""The NeRF: rays through the shell of a posed body to colors.

intervals -> samples -> closest surface -> un-pose -> texture features -> field -> composite.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from na_ray.body.body import Body, PosedBody
from na_ray.body.intervals import Intervals, shell_intervals
from na_ray.body.surface import Surface
from na_ray.body.triangles import project_to_faces
from na_ray.config import NerfConfig
from na_ray.models.nerf.canonical import surface_coordinates, unpose, vertex_transforms
from na_ray.models.nerf.field import RadianceField
from na_ray.models.nerf.sampling import Composite, composite, sample_along_rays
from na_ray.models.nerf.texture_encoder import TextureEncoder, lookup


@dataclass(frozen=True)
class Noise:
    """What training randomizes, for n rays of k boundaries and s = k + 1 samples. None: not randomized."""

    jitter: Float[Tensor, "n k"] | None = None
    """Where each boundary lies in its stratum, in (0, 1)."""
    density: Float[Tensor, "n s"] | None = None
    """Added to the density of each sample, 1/m."""

    def of(self, rays: Int[Tensor, "m"]) -> "Noise":
        """The noise of some of the rays."""
        jitter = None if self.jitter is None else self.jitter[rays]
        return Noise(jitter, None if self.density is None else self.density[rays])


@dataclass(frozen=True)
class Rendering:
    """What n rays see."""

    colors: Float[Tensor, "n 3"]
    """RGB, nominally in [-1, 1] (not clamped), background included."""
    depths: Float[Tensor, "n"]
    """Expected depth, m, background included."""
    transmittance: Float[Tensor, "n"]
    """Part of the light that passes the actor: 1 - opacity."""
    hit: Bool[Tensor, "n"]
    """Whether the ray meets the shell."""


@dataclass(frozen=True)
class _Samples:
    """The m samples that the field evaluates."""

    index: Int[Tensor, "m"]
    """Position among all samples, ray by ray."""
    surface: Float[Tensor, "m 3"]
    uv: Float[Tensor, "m 2"]
    position: Float[Tensor, "m 3"]


@dataclass(frozen=True)
class _Scene:
    """A pose, made ready for queries."""

    posed: PosedBody
    surface: Surface
    transforms: Float[Tensor, "v 25"]


class Nerf(nn.Module):
    """The pose- and texture-conditioned radiance field of one body (the parity page's `joint_nerf_coarse`).

    The body's tensors are buffers that no checkpoint holds: `.to`, `.double` move them, and `nerf.body` is the body
    in the NeRF's own precision, to be posed for it. ImageNet weights are not loaded here but where training
    starts (`texture.load_imagenet(nerf.encoder, config.encoder_weights)`).
    """

    background: Tensor

    def __init__(self, config: NerfConfig, body: Body) -> None:
        super().__init__()
        self.config = config
        self.encoder = TextureEncoder(config.encoder_width)
        self.field = RadianceField(config, self.encoder.channels)
        self._body_fields = tuple(f.name for f in fields(Body))
        for name in self._body_fields:
            self.register_buffer(f"body_{name}", getattr(body, name), persistent=False)
        self.register_buffer("background", torch.tensor(config.background), persistent=False)
        self._body, self._surface = body, _surface(body)

    @property
    def body(self) -> Body:
        """The body on the NeRF's device and in its precision."""
        if self._body.vertices is not self.body_vertices:
            self._body = Body(**{name: self.get_buffer(f"body_{name}") for name in self._body_fields})
        return self._body

    def compile_field(self) -> None:
        """Compile the field with torch.compile (its first call takes a minute; names in the state dict stay)."""
        self.field.compile(dynamic=True)

    def encode(self, texture: Float[Tensor, "3 h w"]) -> Float[Tensor, "i j d"]:
        """Feature map of a texture map (RGB in [0, 1], first row at v = 1): `features` of `forward`, once per frame.

        It holds the texture's share of the field's first layers at half the texture's size, so it belongs to the
        weights of the moment.
        """
        return self.field.project(self.encoder(texture), texture)

    def forward(
        self,
        posed: PosedBody,
        texture: Float[Tensor, "3 h w"] | None,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        noise: Noise | None = None,
        near: Float[Tensor, "n"] | None = None,
        far: Float[Tensor, "n"] | None = None,
        features: Float[Tensor, "i j d"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """Render n rays (world space, m, unit directions) of the body at a pose.

        The texture map, or `features` that `encode` made of it. `near`, `far` (m): the intervals of the rays, when they
        are known (near = far where a ray misses). Noise: as given; else, in training mode, as the configuration says,
        drawn from `generator`. With gradients all rays are one batch, else they pass in chunks of bounded memory.
        """
        if features is None:
            assert texture is not None, "give a texture map or its features"
            features = self.encode(texture)
        scene = self._prepare(posed)
        if near is None or far is None:
            near, far, hit = self.intervals(posed, origins, directions)
        else:
            hit = far > near
        if noise is None:
            noise = self.draw_noise(len(origins), generator) if self.training else Noise()
        rays = hit.nonzero()[:, 0]
        parts = []
        for chunk in rays.split(self._rays_at_once(len(rays))):
            depths, deltas = sample_along_rays(
                near[chunk], far[chunk], self.config.samples_per_ray, noise.of(chunk).jitter
            )
            samples = self._locate(scene, origins[chunk], directions[chunk], depths)
            seen = lookup(features, samples.uv)
            sigma, colors = self._evaluate(samples, directions[chunk], seen, noise.of(chunk).density, depths)
            parts.append(composite(sigma, colors, depths, deltas, self.background, self.config.background_depth))
        return self._spread(parts, rays, hit)

    def intervals(self, posed: PosedBody, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Intervals:
        """Near, far (m) and whether a ray meets the shell of the posed body (`body.intervals.shell_intervals`)."""
        with _full_precision(origins):
            vertices = posed.world_vertices
            return shell_intervals(vertices, origins, directions, self.config.shell_radius, self.config.parity)

    def draw_noise(self, num_rays: int, generator: torch.Generator | None = None) -> Noise:
        """Fresh noise for training, as the configuration says; `generator` on the NeRF's device."""
        like, boundaries, scale = self.background, self.config.samples_per_ray, self.config.density_noise
        jitter = density = None
        if self.config.stratified:
            jitter = like.new_empty(num_rays, boundaries).uniform_(generator=generator)
        if scale > 0:
            density = like.new_empty(num_rays, boundaries + 1).normal_(std=scale, generator=generator)
        return Noise(jitter, density)

    def _rays_at_once(self, num_rays: int) -> int:
        # Each separate lookup would cost a dense gradient of the whole feature map: with gradients, one batch.
        if torch.is_grad_enabled():
            return max(1, num_rays)
        return max(1, self.config.samples_per_chunk // (self.config.samples_per_ray + 1))

    def _prepare(self, posed: PosedBody) -> _Scene:
        """What is computed once per pose."""
        if self._surface.device != posed.vertices.device:
            self._surface = _surface(posed.body)
        self._surface.refit(posed.vertices)
        with _full_precision(posed.vertices):
            return _Scene(posed, self._surface, vertex_transforms(posed))

    def _locate(
        self,
        scene: _Scene,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        depths: Float[Tensor, "n s"],
    ) -> _Samples:
        """The samples to evaluate (all under `parity`), on the surface and in canonical space."""
        posed, config = scene.posed, self.config
        skip = config.skip_empty and not config.parity
        with torch.no_grad(), _full_precision(depths):
            world = origins[:, None] + depths[:, :, None] * directions[:, None]
            points = posed.to_normalized(world).flatten(0, 1)
            faces = scene.surface.closest(points, config.shell_radius if skip else math.inf, config.parity)
            index = (faces >= 0).nonzero()[:, 0]
            points = points[index]
            normals = None if config.parity else posed.pseudo_normals
            closest = project_to_faces(points, posed.vertices, posed.body.faces, faces[index], config.parity, normals)
            uv, surface = surface_coordinates(closest, posed)
            return _Samples(index, surface, uv, unpose(points, closest, posed, scene.transforms))

    def _evaluate(
        self,
        samples: _Samples,
        directions: Float[Tensor, "n 3"],
        texture: Float[Tensor, "m d"],
        noise: Float[Tensor, "n s"] | None,
        depths: Float[Tensor, "n s"],
    ) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s 3"]]:
        """Density and color of every sample, zeros where the field is not evaluated."""
        num_rays, num_samples = depths.shape
        inputs = (samples.surface, samples.position, directions[samples.index // num_samples], texture)
        # Chunks that fit the caches: 1.4x faster on a CPU than one batch of 65k samples.
        chunks = zip(*(x.split(self.config.samples_per_chunk) for x in inputs), strict=True)
        sigma, colors = (torch.cat(parts) for parts in zip(*(self.field(*chunk) for chunk in chunks), strict=True))
        if noise is not None:
            sigma = sigma + noise.flatten()[samples.index]
        if len(samples.index) < num_rays * num_samples:
            sigma = sigma.new_zeros(num_rays * num_samples).index_copy(0, samples.index, sigma)
            colors = colors.new_zeros(num_rays * num_samples, 3).index_copy(0, samples.index, colors)
        return sigma.view(num_rays, num_samples), colors.view(num_rays, num_samples, 3)

    def _spread(self, parts: list[Composite], rays: Int[Tensor, "m"], hit: Bool[Tensor, "n"]) -> Rendering:
        """All rays from those that meet the shell; the others see the background."""
        colors, depths, transmittance = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("colors", "depths", "transmittance")
        )
        return Rendering(
            colors=self.background.repeat(len(hit), 1).index_copy(0, rays, colors),
            depths=depths.new_full((len(hit),), self.config.background_depth).index_copy(0, rays, depths),
            transmittance=transmittance.new_ones(len(hit)).index_copy(0, rays, transmittance),
            hit=hit,
        )


def _full_precision(like: Tensor) -> torch.autocast:
    """Geometry never runs in the half precision that the networks may use."""
    return torch.autocast(like.device.type, enabled=False)


def _surface(body: Body) -> Surface:
    return Surface(body.faces, len(body.vertices), body.vertices.device, rest=body.vertices)
