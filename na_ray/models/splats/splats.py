"""The splat avatar: Gaussians in the UV atlas, posed by skinning, corrected by a decoder of pose and texture."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from na_ray.body.atlas import Atlas, shrink_texture
from na_ray.body.body import Body, PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.config import DataConfig
from na_ray.config.splats import SplatsConfig
from na_ray.models.avatar import Avatar, Picture, rays_per_depth
from na_ray.models.gaussians import Gaussians
from na_ray.models.lighting import COUNT, fit_light, local_light, relit
from na_ray.models.splats.coarse import CHANNELS, Coarse
from na_ray.models.splats.decoder import Decoder
from na_ray.models.splats.loss import picture_loss, pictures_loss
from na_ray.models.splats.make import MakeGaussians
from na_ray.models.splats.poses import CarriedBack, MovedPose, PoseTable
from na_ray.models.splats.rasterize import draw
from na_ray.models.splats.recording import Replayed
from na_ray.models.splats.texels import PosedTexels, Texels
from na_ray.models.splats.views import Views

FIXED, POSED = CHANNELS, 14
"""Numbers a texel: its own (beside 9 for the change of color with direction), and those that the decoder gives."""
START_SCALE, START_OPACITY, START_DEPTH = 0.42, 0.95, 0.0005
"""Before training: standard deviation in texels, opacity, and depth below the surface (m)."""
COARSER = 8
"""Texels, in each direction, that share a part of their numbers."""
AS_MEAN = 1 / 128
"""A map that differs from the mean of the training's by less, on average over its texels, is that mean; a frame's own
differs by 0.03 and more."""
BACKGROUND_DEPTH = 5.0
"""Depth (m) where nothing is seen."""


@dataclass(frozen=True)
class SplatFrame:
    """A pose and its texture map, made ready for any number of cameras."""

    posed: PosedBody
    origin: np.ndarray
    """World position (m) that the Gaussians are relative to."""
    gaussians: Gaussians


@dataclass(frozen=True)
class PictureBatch:
    """What training compares of one frame: the pictures of k views, the parts of them around the body."""

    posed: PosedBody
    texture: Float[Tensor, "3 s s"]
    """The frame's own map at the atlas's side, RGB in [0, 1]."""
    share: Float[Tensor, ""]
    """How much of it is seen; the rest is the mean map in the light of the pose."""
    turn: Float[Tensor, "3 3"]
    """Rotation of the normals that the decoder sees."""
    views: Views
    targets: Float[Tensor, "k h w 3"]
    """RGB in [0, 1], padded to one size."""
    sizes: tuple[tuple[int, int], ...] | None
    """Height and width of each view's part; None: as the views' windows say, which the device alone reads."""
    moved: MovedPose | None = None
    """Where the pose is learned: `posed`, and what its gradients flow through."""


class Splats(Avatar[SplatFrame]):
    """One Gaussian a texel of one body's UV atlas. The texels' tables are buffers that no checkpoint holds."""

    name = "splats"
    mean_texture: Tensor
    """(3, s, s), RGB in [0, 1]: of the training's maps."""
    mean_harmonics: Tensor
    """(8, n): of the training's normals."""
    light: Tensor
    """(8, 3, n): how colors follow the harmonics of the normals."""

    def __init__(self, config: SplatsConfig, body: Body, data: DataConfig | None = None) -> None:
        """`data` says what lies behind the body."""
        super().__init__(body, data or DataConfig())
        self.config = config
        self.texels = Texels(body, config.side)
        n, side = len(self.texels), config.side
        self.fixed = nn.Parameter(_start(n))
        self.changes = nn.Parameter(torch.zeros(9, n))
        self.coarse = Coarse(self.texels.index, side, COARSER)
        self.decoder = Decoder(9, POSED, side, config.widths)
        self.register_buffer("mean_texture", torch.full((3, side, side), 0.5))
        self.register_buffer("mean_harmonics", torch.zeros(COUNT, n))
        self.register_buffer("light", torch.zeros(COUNT, 3, n))
        self.poses = PoseTable.empty(body.weights.shape[1]) if config.refine_poses else None
        self.carried_back = CarriedBack(self.texels, len(body.vertices)) if config.refine_poses else None
        self._insides: dict[tuple[int, int], Tensor] = {}
        self._shrunk: tuple[Tensor, int, Tensor] | None = None
        self._replayed = Replayed(self._encode)

    @property
    def texture_side(self) -> int | None:
        """Maps are wanted as they are stored: they are averaged within the charts."""
        return None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Splats":
        """Move the tensors, as `.to` does; which texels lie inside the charts is found anew."""
        super()._apply(fn, recurse)
        self._insides, self._shrunk, self._replayed = {}, None, Replayed(self._encode)
        return self

    @torch.no_grad()
    def start_from(self, frames: Callable[[], Iterable[tuple[PosedBody, Tensor]]]) -> None:
        """Begin with the mean of the training's texture maps, as every texel's own color, and with the light that
        they show. `frames`: poses and maps (3, s, s) of some training frames, each time anew.
        """
        side, index = self.config.side, self.texels.index.long()

        def whole() -> Iterator[tuple[Tensor, Tensor]]:
            for posed, texture in frames():
                yield self._in_charts(texture).reshape(3, -1), self.texels.pose(posed).normals.view(3, -1)

        fit = fit_light(whole)
        mean, basis, _ = fit
        self.mean_texture.copy_(mean.view(3, side, side))
        self.mean_harmonics.copy_(basis[:, index])
        self.light.copy_(local_light(whole, fit, (side, side))[..., index])
        self.fixed[10:13] = mean[:, index]

    def shrink(self, texture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 s s"]:
        """A texture map (RGB in [0, 1]) at the atlas's side."""
        # The mean map is worn at every frame of a motion, and this is a fifth of what a frame takes.
        held = self._shrunk
        if held is not None and held[0] is texture and held[1] == texture._version:
            return held[2]
        size = (texture.shape[1], texture.shape[2])
        small = shrink_texture(texture, self._inside(size), self.config.side)
        self._shrunk = (texture, texture._version, small)
        return small

    def _inside(self, size: tuple[int, int]) -> Tensor:
        """Which texels of a map of some size lie inside the charts; remembered."""
        if size not in self._insides:
            square = Atlas(self.body, max(size)).inside[None, None].float()
            self._insides[size] = torch.nn.functional.interpolate(square, size)[0, 0] > 0
        return self._insides[size]

    @property
    def refines_poses(self) -> bool:
        """Whether it has a table of corrections."""
        return self.poses is not None

    @torch.no_grad()
    def refined(self, pose: Pose, frame: int) -> PosedBody | None:
        """The body at a training frame's pose, corrected; None where the frame was not trained on."""
        row = None if self.poses is None else self.poses.row_of(frame)
        if self.poses is None or row is None:
            return None
        return self.poses.move(self.body, pose, self.poses.corrections[row]).posed

    @torch.no_grad()
    def encode(
        self, posed: PosedBody, texture: Float[Tensor, "3 h w"], normals: Float[Tensor, "3 i j"] | None = None
    ) -> SplatFrame:
        """The Gaussians of a pose and a texture map (RGB in [0, 1], first row at v = 1), for any number of cameras.

        The mean of the training's maps is put into the light of the pose: the pose alone decides then.
        Normals are drawn from the pose, in training as well: normal maps that are given are not looked at.
        """
        given = posed.joints_RT, posed.rotation, posed.translation, posed.joints, posed.vertices, self.shrink(texture)
        # Training changes tensors in places that a recording knows, and no others: what it has recorded stays right.
        means, factors, opacities, colors, frames = self._replayed(*given)
        gaussians = Gaussians(means, factors, opacities, colors, frames, self.changes)
        return SplatFrame(posed, posed.translation.double().cpu().numpy(), gaussians)

    def _encode(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Five parts of the Gaussians of a pose, as `PosedBody` has it, and a texture map at the atlas's side."""
        *pose, small = given
        texels = self.texels.pose(PosedBody(self.body, *pose))
        lit = self._lit(texels)
        # Without a host's look at the device: the mean map says nothing of the frame, and its light is another pose's.
        apart = (self._in_charts(small) - self.mean_texture).abs().sum() / (3 * len(self.texels))
        is_mean = apart < AS_MEAN
        small = torch.where(is_mean, self._lit_texture(lit), small)
        gaussians, _ = self.gaussians_of(texels, small, lit, texels.normals)
        return gaussians.means, gaussians.factors, gaussians.opacities, gaussians.colors, gaussians.frames

    def gaussians(self, frame: SplatFrame) -> tuple[Gaussians, Float64[np.ndarray, "3"]]:
        """The frame's Gaussians, and the origin (world, m) that they are relative to."""
        return frame.gaussians, frame.origin

    def gaussians_of(
        self,
        texels: PosedTexels,
        texture: Float[Tensor, "3 s s"],
        lit: Float[Tensor, "3 n"],
        normals: Float[Tensor, "3 s s"],
    ) -> tuple[Gaussians, Float[Tensor, "14 t"]]:
        """The Gaussians, and the decoder's output that corrected them; differentiable in the parameters.

        `lit`: what the light of the pose adds to the texels' colors. `normals`: as the decoder sees them.
        """
        texture = self._in_charts(texture)
        seen = torch.cat([texture - 0.5, normals, 3 * (texture - self.mean_texture)])
        output = self.decoder(seen[None])[0]
        means, factors, opacities, colors = MakeGaussians.apply(
            self.fixed + self.coarse(), output, texture, lit, texels.points, texels.frames, self.texels
        )
        return Gaussians(means, factors, opacities, colors, texels.frames, self.changes), output

    def _in_charts(self, texture: Float[Tensor, "3 s s"]) -> Float[Tensor, "3 s s"]:
        """A map without what lies between its charts, where captures hold anything."""
        return torch.where(self.texels.covered, texture, self.mean_texture)

    @torch.no_grad()
    def _lit(self, texels: PosedTexels) -> Float[Tensor, "3 n"]:
        """What the light adds to the texels' own colors at this pose."""
        index = self.texels.index.long()
        mean = self.mean_texture.view(3, -1)[:, index]
        return relit(mean, self.mean_harmonics, self.light, texels.normals.view(3, -1)[:, index]).contiguous()

    def _lit_texture(self, lit: Float[Tensor, "3 n"]) -> Float[Tensor, "3 s s"]:
        """The mean map in the light of a pose, RGB in [0, 1]: what the pose alone says of a frame's texture map."""
        result = self.mean_texture.clone()
        result.view(3, -1)[:, self.texels.index.long()] += lit
        return result.clamp_(0, 1)

    @torch.no_grad()
    def picture(self, frame: SplatFrame, camera: Camera, supersample: int = 1) -> Picture:
        """A whole picture, drawn at `supersample` times its size and averaged.

        A pixel's filter is a property of the picture: averaging does a part of the blur that training added.
        """
        large = camera.resized(supersample * camera.height, supersample * camera.width)
        spread = max(self.config.blur - (1 - 1 / supersample**2) / 12, 0.01) * supersample**2
        views = Views.of([large], frame.origin, self.background.device)
        drawn = draw(frame.gaussians, views, spread, depth=True)
        assert drawn.depth is not None
        color, passing, far = (
            _pooled(part[0], supersample) for part in (drawn.colors, drawn.transmittance, drawn.depth)
        )
        colors = (color + passing[..., None] * (self.background + 1) / 2).clamp(0, 1)
        # Depths along the optical axis to distances along the rays, as the seam has them.
        depth = far * rays_per_depth(camera, far.device).norm(dim=2).to(far) + passing * BACKGROUND_DEPTH
        return Picture(colors, depth, passing, camera)

    def forward(self, batch: PictureBatch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The sum over a frame's pictures of their loss, and of their mean squared error: what DDP wraps."""
        config = self.config
        texels = self.texels.pose(batch.posed, None if batch.moved is None else batch.moved.origin)
        if batch.moved is not None and self.carried_back is not None:
            texels = self.carried_back(self.texels, texels, batch.moved)
        normals = (batch.turn @ texels.normals.reshape(3, -1)).view_as(texels.normals)
        lit = self._lit(texels)
        texture = torch.lerp(self._lit_texture(lit), batch.texture, batch.share)
        gaussians, output = self.gaussians_of(texels, texture, lit, normals)
        drawn = draw(gaussians, batch.views, config.blur)
        colors = drawn.colors + drawn.transmittance[..., None] * (self.background + 1) / 2
        loss = len(batch.views) * config.output_weight * output.square().mean()
        weights = config.l1_weight, config.l2_weight, config.ssim_weight
        if batch.sizes is None:
            seen, squared = pictures_loss(colors, batch.targets, batch.views.windows, *weights)
            return loss + seen, squared
        squared = torch.zeros_like(loss)
        for color, target, (height, width) in zip(colors, batch.targets, batch.sizes, strict=True):
            one, error = picture_loss(color[:height, :width], target[:height, :width], *weights)
            loss, squared = loss + one, squared + error
        return loss, squared


def _pooled(large: Float[Tensor, "*size"], supersample: int) -> Float[Tensor, "*smaller"]:
    """The means over squares of supersample x supersample pixels of (h, w, ...)."""
    if supersample == 1:
        return large
    height, width, *rest = large.shape
    return large.view(height // supersample, supersample, width // supersample, supersample, *rest).mean(dim=(1, 3))


def _start(n: int) -> Tensor:
    fixed = torch.zeros(FIXED, n)
    fixed[2] = -START_DEPTH / 0.01
    fixed[3:6] = math.log(START_SCALE)
    fixed[9] = math.log(START_OPACITY / (1 - START_OPACITY)) / 5.0
    fixed[10:13] = 0.5
    return fixed
