"""Score an actor against photographs, beside the posed mesh drawn with the same texture map.

PSNR, SSIM and, where its weights are present, LPIPS, on float pictures in [0, 1]: over the whole image, and over the
box around the body. The box is that of the capture's `masks/<split>/CCC/FFFFFF.png` where it has them, else that of
spheres around the posed vertices, the same for every avatar; the scores say which.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.capture import storage
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import read_image, resample_area, to_colors
from na_ray.capture.layout import IMAGES, by_number, number_of
from na_ray.capture.rig import Pose
from na_ray.capture.textures import Textures
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.values import UserError
from na_ray.evaluation import image_metrics
from na_ray.evaluation.image_metrics import Lpips
from na_ray.evaluation.protocol import Maps, MeanTexture, Protocol
from na_ray.evaluation.scores import Crop, ImageScore, Method, Scores
from na_ray.pictures.box import Box, mask_box, sphere_box
from na_ray.render import background_of, encode, mesh_view

BOX_RADIUS = 0.06
"""Radius (m) of the spheres around the posed vertices that bound the body where no mask does: no knob of an avatar,
so that all are scored over the same pixels."""


def target_image(
    split: Split, frame: int, view: int, camera: Camera, background: Sequence[float] = (1.0, 1.0, 1.0)
) -> Float[Tensor, "h w 3"]:
    """The photograph in [0, 1] at the resolution of `camera`, area-averaged; alpha over `background` (0..1)."""
    image = resample_area(split.image(frame, view), camera.height, camera.width)
    red, green, blue = (2 * b - 1 for b in background)
    colors, _ = to_colors(image, (red, green, blue))
    return torch.from_numpy((colors.reshape(*image.shape[:2], 3) + 1) / 2)


def evaluate(
    actor: TrainedAvatar,
    capture: Capture,
    split: str,
    frames: Sequence[int],
    cameras: Sequence[int],
    resolution: tuple[int, int] | None = None,
    baseline: bool = True,
    textures: Textures | MeanTexture | None = None,
    progress: Callable[[int, int], None] | None = None,
    supersample: int = 2,
) -> Scores:
    """Render and score the frames (positions in the split) through the cameras (positions), each with every other.

    Texture maps are the frame's own unless `textures` are given. `resolution` (height, width), if it is smaller than
    the images', is what they are area-averaged to. `baseline` scores the textured mesh, too; a pixel of either is the
    mean of supersample x supersample rays. `progress` is called with (pictures done, in all). Raises UserError or
    FileNotFoundError, one line, when there is nothing to compare with.
    """
    if not len(frames) or not len(cameras):
        raise UserError(f"{split}: {len(frames)} frames and {len(cameras)} cameras given: nothing to score")
    source = capture.split(split)
    judge = _Judge(actor, capture, source)
    views = [_fit(source.cameras[c], resolution, actor.model.parity) for c in cameras]
    if len({(v.height, v.width) for v in views}) > 1:
        raise UserError(f"{source.files.folder}: the cameras' images differ in size: give a resolution to score at")
    images: list[ImageScore] = []
    for i, frame in enumerate(frames):
        scene = _PosedActor(actor, source.pose(frame), (textures or source).texture(frame), baseline, supersample)
        for j, (number, view) in enumerate(zip(cameras, views, strict=True)):
            images += judge.scores(frame, number, view, scene.seen(view), scene.posed)
            if progress:
                progress(i * len(cameras) + j + 1, len(frames) * len(cameras))
    maps: Maps = "own" if textures is None else "mean" if isinstance(textures, MeanTexture) else "predicted"
    return Scores(
        protocol=Protocol.of(actor, capture, source, frames, cameras, maps),
        capture=str(capture.path),
        split=split,
        frames=[source.frames[f] for f in frames],
        cameras=[view.name for view in views],
        resolution=(views[0].height, views[0].width),
        background=background_of(actor),
        rays_per_pixel=supersample**2,
        textures=textures.source if textures else "the split's own",
        crops={"whole": "the whole image", "box": f"bounding box of {judge.box_source}"},
        notes=judge.notes,
        images=images,
    )


def _fit(camera: Camera, resolution: tuple[int, int] | None, parity: bool) -> Camera:
    """The camera at the resolution of the evaluation: pictures only ever shrink."""
    if resolution is None or resolution[0] >= camera.height:
        return camera
    return camera.resized(*resolution, parity=parity)


class _PosedActor:
    """An actor at one frame: posed and encoded once for all cameras."""

    def __init__(self, actor: TrainedAvatar, pose: Pose, texture: np.ndarray, baseline: bool, supersample: int) -> None:
        self.actor, self.baseline, self.texture, self.supersample = actor, baseline, texture, supersample
        self.frame = encode(actor, pose, texture)
        self.posed = self.frame.posed

    def seen(self, camera: Camera) -> dict[Method, Tensor]:
        """Pictures (h, w, 3) in [0, 1] by each method."""
        found: dict[Method, Tensor] = {
            self.actor.name: self.actor.model.picture(self.frame, camera, self.supersample).colors
        }
        if self.baseline:
            found["mesh"] = mesh_view(self.actor, self.posed, self.texture, camera, self.supersample)
        return found


class _Judge:
    """Compares pictures with the photographs of a split."""

    def __init__(self, actor: TrainedAvatar, capture: Capture, split: Split) -> None:
        self.split = split
        self.background = background_of(actor)
        self.diverged = 0
        self.missing: list[str] = []
        self.lpips: Lpips | None = None
        try:
            self.lpips = image_metrics.load_lpips().to(actor.model.device)
        except FileNotFoundError as missing:
            self.missing.append(str(missing))
        self.masks = storage.join(capture.path, "masks", split.name)
        self.has_masks = bool(storage.listing(self.masks))

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        if not self.diverged:
            return self.missing
        return [*self.missing, f"{self.diverged} crops hold numbers that are not finite and are left out of the means"]

    @property
    def box_source(self) -> str:
        """What the box bounds."""
        if self.has_masks:
            return f"the mask (masks/{self.split.name})"
        return f"the posed body's vertices with spheres of {BOX_RADIUS} m around them"

    def box(self, frame: int, number: int, camera: Camera, posed: PosedBody) -> Box | None:
        """The body's box in the picture of `camera`."""
        if not self.has_masks:
            return sphere_box(posed.world_vertices.double().cpu().numpy(), camera, BOX_RADIUS)
        mask = read_image(self._mask_file(frame, number))[..., 0]
        box = mask_box(torch.from_numpy(mask))
        return box and box.scaled(camera.height / mask.shape[0], camera.width / mask.shape[1])

    def _mask_file(self, frame: int, number: int) -> str:
        """The mask of a frame: folders go by the camera's number, files by the frame's."""
        folders = {number_of(name): name for name in storage.listing(self.masks)}
        name = self.split.cameras[number].name
        folder = storage.join(self.masks, folders.get(number_of(name), name))
        masks = by_number(folder, storage.listing(folder), IMAGES)
        wanted = self.split.frames[frame]
        if wanted not in masks:
            raise FileNotFoundError(f"{folder}: no mask of frame {wanted}: copy it there, or remove masks/")
        return storage.join(folder, masks[wanted])

    def scores(
        self, frame: int, number: int, camera: Camera, seen: dict[Method, Tensor], posed: PosedBody
    ) -> list[ImageScore]:
        """Scores of the pictures of one camera, over the whole image and over the box."""
        target = target_image(self.split, frame, number, camera, self.background)
        whole, box = Box(0, 0, camera.height, camera.width), self.box(frame, number, camera, posed)
        crops: dict[Crop, Box | None] = {"whole": whole, "box": box}
        number_on_disk = self.split.frames[frame]
        found = []
        for method, color in seen.items():
            for crop, part in crops.items():
                values = self._compare(part.crop(color), part.crop(target.to(color))) if part else (None,) * 3
                found.append(ImageScore(number_on_disk, camera.name, method, crop, *values))
        return found

    def _compare(self, color: Tensor, target: Tensor) -> tuple[float | None, float | None, float | None]:
        """PSNR, SSIM and LPIPS; None for what the picture is too small or not finite for."""
        if not torch.isfinite(color).all():
            self.diverged += 1
            return None, None, None
        side = min(color.shape[:2])
        ssim = image_metrics.ssim(color, target) if side >= image_metrics.SSIM_WINDOW else None
        lpips = float(self.lpips(color, target)) if self.lpips and side >= image_metrics.LPIPS_MIN_SIDE else None
        return image_metrics.psnr(color, target), ssim, lpips
