"""The NeRF: rays through the shell of a posed body to colors.

intervals -> samples -> closest surface -> un-pose -> texture features -> field -> composite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from na_ray.body.body import Body, PosedBody, rotate
from na_ray.body.intervals import Intervals, shell_intervals
from na_ray.body.rasterize import sample_texture
from na_ray.body.surface import SurfacePool
from na_ray.body.triangles import project_to_faces
from na_ray.capture.camera import Camera
from na_ray.capture.pixels import map_size
from na_ray.config import DataConfig, NerfConfig
from na_ray.models.avatar import Avatar, Picture
from na_ray.models.nerf.canonical import surface_coordinates, unpose, vertex_transforms
from na_ray.models.nerf.compositing import Composite, composite
from na_ray.models.nerf.field import RadianceField
from na_ray.models.nerf.frame import CHUNK, FittedBody, NerfFrame, Samples
from na_ray.models.nerf.noise import Noise
from na_ray.models.nerf.ray_picture import draw, near_pixels
from na_ray.models.nerf.sampling import sample_along_rays, sample_by_surface
from na_ray.models.nerf.texture_encoder import TextureEncoder, lookup


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


class Nerf(Avatar[NerfFrame]):
    """The pose- and texture-conditioned radiance field of one body (the parity page's `joint_nerf_coarse`).

    ImageNet weights are not loaded here but where training starts
    (`texture.load_imagenet(nerf.encoder, config.encoder_weights)`).
    """

    name = "nerf"

    def __init__(self, config: NerfConfig, body: Body, data: DataConfig | None = None) -> None:
        """`data` says what lies behind the body, and the side of the texture map that the encoder sees."""
        data = data or DataConfig()
        super().__init__(body, data)
        self.config, self.texture_size = config, data.texture_size
        self.encoder = TextureEncoder(config.encoder_width)
        self.field = RadianceField(config, self.encoder.channels)
        # Surfaces to fit, no frame's as long as they lie here.
        self._surfaces = SurfacePool(body.vertices, body.faces)

    @property
    def parity(self) -> bool:
        """Whether the original's numbers are reproduced."""
        return self.config.parity

    @property
    def texture_side(self) -> int | None:
        """The encoder's side; None where the field starts from the map as it is stored."""
        return None if self.config.sharp else self.texture_size

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Nerf":
        """Move or convert the tensors, as `.to` does; surfaces are fitted to the new body."""
        super()._apply(fn, recurse)
        self._surfaces = SurfacePool(self.body.vertices, self.body.faces)
        return self

    def compile_field(self) -> None:
        """Compile the field with torch.compile (its first call takes a minute; names in the state dict stay)."""
        self.field.compile(dynamic=True)

    def encode(
        self, posed: PosedBody, texture: Float[Tensor, "3 h w"], normals: Float[Tensor, "3 i j"] | None = None
    ) -> NerfFrame:
        """What is computed once a frame, of a texture map (RGB in [0, 1], first row at v = 1).

        Normal maps are not looked at. The features hold the texture's share of the field's first layers at half the
        texture's size, so a frame belongs to the weights of the moment.
        """
        small = self._shrunk(texture)
        features = self.field.project(self.encoder(small), small)
        return NerfFrame(self._fit(posed), features, texture if self.config.sharp else None)

    def _shrunk(self, texture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 i j"]:
        """The map as the encoder sees it."""
        size = map_size(texture.shape[1], texture.shape[2], self.texture_size)
        return texture if texture.shape[1:] == size else F.interpolate(texture[None], size, mode="area")[0]

    @torch.no_grad()
    def picture(self, frame: NerfFrame, camera: Camera, supersample: int = 1) -> Picture:
        """A whole picture, each pixel the mean of supersample x supersample rays, without noise.

        Only rays that can meet the shell are marched, in chunks of bounded memory.
        """
        config = self.config
        if config.parity:  # the original's shell also lies behind the camera, where no picture shows it
            pixels = np.arange(camera.height * camera.width)
        else:
            pixels = near_pixels(frame.posed, camera, config.shell_radius)

        def march(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            seen = self.march(frame, origins, directions, Noise())
            return seen.colors, seen.depths, seen.transmittance

        return draw(march, camera, pixels, supersample, self.background, config.background_depth)

    def forward(
        self,
        posed: PosedBody,
        texture: Float[Tensor, "3 h w"],
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        noise: Noise | None = None,
        near: Float[Tensor, "n"] | None = None,
        far: Float[Tensor, "n"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """`march` of a frame made for the occasion: what training calls, and DDP wraps."""
        frame = self.encode(posed, texture)
        return self.march(frame, origins, directions, noise, near, far, generator)

    def march(
        self,
        frame: NerfFrame,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        noise: Noise | None = None,
        near: Float[Tensor, "n"] | None = None,
        far: Float[Tensor, "n"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """Render n rays (world space, m, unit directions) of a frame.

        `near`, `far` (m): the intervals of the rays, when they are known (near = far where a ray misses). Noise: as
        given; else, in training mode, as the configuration says, drawn from `generator`. With gradients all rays are
        one batch, else they pass in chunks of bounded memory.
        """
        if near is None or far is None:
            near, far, hit = self.intervals(frame.posed, origins, directions)
        else:
            hit = far > near
        if noise is None:
            noise = self.draw_noise(len(origins), generator) if self.training else Noise()
        rays = hit.nonzero()[:, 0]
        parts = []
        for chunk in rays.split(self._rays_at_once(len(rays))):
            ends = near[chunk], far[chunk]
            depths, deltas = self._sample(
                frame.fitted, origins[chunk], directions[chunk], *ends, noise.of(chunk).jitter
            )
            samples = self._locate(frame.fitted, origins[chunk], directions[chunk], depths)
            seen = self._look_up(frame, samples.uv)
            sigma, colors = self._evaluate(samples, directions[chunk], *seen, noise.of(chunk).density, depths)
            parts.append(composite(sigma, colors, depths, deltas, self.background, self.config.background_depth))
        return self._spread(parts, rays, hit)

    def density_at(
        self, frame: NerfFrame, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """Density (1/m; zero outside the shell) and color (RGB in [0, 1]) at world points, by unit directions."""
        # Rays of one sample, at their origins; all in one batch.
        depths = points.new_zeros(len(points), 1)
        samples = self._locate(frame.fitted, points, directions, depths)
        sigma, colors = self._evaluate(samples, directions, *self._look_up(frame, samples.uv), None, depths)
        return sigma[:, 0], (colors[:, 0] + 1) / 2

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

    def _samples_at_once(self) -> int:
        return self.config.samples_per_chunk or CHUNK[self.device.type == "cuda"]

    def _rays_at_once(self, num_rays: int) -> int:
        # Each separate lookup would cost a dense gradient of the whole feature map: with gradients, one batch.
        if torch.is_grad_enabled():
            return max(1, num_rays)
        return max(1, self._samples_at_once() // (self.config.samples_per_ray + 1))

    def _fit(self, posed: PosedBody) -> FittedBody:
        """What is computed once per pose."""
        with _full_precision(posed.vertices):
            return FittedBody(posed, self._surfaces.fitted(posed.vertices), vertex_transforms(posed))

    def _sample(
        self,
        fitted: FittedBody,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        near: Float[Tensor, "n"],
        far: Float[Tensor, "n"],
        jitter: Float[Tensor, "n k"] | None,
    ) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
        """Depths (m) and deltas (m) of the samples of every ray."""
        count = self.config.samples_per_ray
        if not self.config.guided:
            return sample_along_rays(near, far, count, jitter)
        posed = fitted.posed
        with torch.no_grad(), _full_precision(near):
            local = posed.to_normalized(origins), rotate(directions, posed.rotation.T)
            face, depth, _ = fitted.surface.intersect(*local)
            return sample_by_surface(near, far, torch.where(face >= 0, depth, torch.inf), count, jitter)

    def _look_up(
        self, frame: NerfFrame, uv: Float[Tensor, "m 2"]
    ) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m 3"] | None]:
        """The texture's features, and the RGB in [-1, 1] of the stored map where the field starts from it."""
        rgb = None if frame.rgb is None else sample_texture(frame.rgb, uv) * 2 - 1
        return lookup(frame.features, uv), rgb

    def _locate(
        self,
        scene: FittedBody,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        depths: Float[Tensor, "n s"],
    ) -> Samples:
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
            return Samples(index, surface, uv, unpose(points, closest, posed, scene.transforms))

    def _evaluate(
        self,
        samples: Samples,
        directions: Float[Tensor, "n 3"],
        texture: Float[Tensor, "m d"],
        rgb: Float[Tensor, "m 3"] | None,
        noise: Float[Tensor, "n s"] | None,
        depths: Float[Tensor, "n s"],
    ) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s 3"]]:
        """Density and color of every sample, zeros where the field is not evaluated."""
        num_rays, num_samples = depths.shape
        inputs = [samples.surface, samples.position, directions[samples.index // num_samples], texture]
        inputs += [] if rgb is None else [rgb]
        # Chunks that fit the caches: 1.4x faster on a CPU than one batch of 65k samples.
        chunks = zip(*(x.split(self._samples_at_once()) for x in inputs), strict=True)
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
