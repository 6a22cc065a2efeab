"""Score an actor against photographs, beside the posed mesh drawn with the same texture map.

PSNR, SSIM and, where its weights are present, LPIPS, on float pictures in [0, 1]: over the whole image, over the box
around the body, and over the pixels of its mask where the capture has masks. The box is that of the mask
(`masks/<split>/CCC/FFFFFF.png`), else that of spheres around the posed vertices, the same for every avatar; the scores
say which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import resample_area, to_colors
from na_ray.capture.masks import Masks
from na_ray.capture.textures import Textures
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.values import Progress, UserError
from na_ray.evaluation import image_metrics
from na_ray.evaluation.image_metrics import Lpips
from na_ray.evaluation.protocol import Maps, Protocol
from na_ray.evaluation.scores import Crop, ImageScore, Method, Scores
from na_ray.models.avatar import Frame
from na_ray.motion.textures import MeanTexture
from na_ray.pictures.box import Box, mask_box, sphere_box
from na_ray.render import background_of, encode, mesh_view

BOX_RADIUS = 0.06
"""Radius (m) of the spheres around the posed vertices that bound the body where no mask does: no knob of an avatar,
so that all are scored over the same pixels."""

_Three = tuple[float | None, float | None, float | None]
"""PSNR, SSIM and LPIPS; None where there is none."""

_NONE: _Three = (None, None, None)


def target_image(
    split: Split, frame: int, view: int, camera: Camera, background: Sequence[float] = (1.0, 1.0, 1.0)
) -> Float[Tensor, "h w 3"]:
    """The photograph in [0, 1] at the resolution of `camera`, area-averaged; alpha over `background` (0..1)."""
    image = resample_area(split.image(frame, view), camera.height, camera.width)
    red, green, blue = (2 * b - 1 for b in background)
    colors, _ = to_colors(image, (red, green, blue))
    return torch.from_numpy((colors.reshape(*image.shape[:2], 3) + 1) / 2)


@dataclass(frozen=True, eq=False)
class Exam:
    """What an actor is scored on, and how: frames of a split through cameras, each with every other."""

    capture: Capture
    split: str
    frames: Sequence[int]
    """Positions in the split."""
    cameras: Sequence[int]
    """Positions."""
    resolution: tuple[int, int] | None = None
    """(height, width) that the images are area-averaged to, if it is smaller than theirs."""
    baseline: bool = True
    """Whether the textured mesh is scored, too."""
    textures: Textures | MeanTexture | None = None
    """The texture maps to wear; None: the frames' own."""
    supersample: int = 2
    """A pixel is the mean of supersample x supersample rays."""
    refined: bool = False
    """Training frames in the poses that training learned, mesh and avatar alike: no comparison with a method that had
    to take them as they are."""

    def views(self, parity: bool) -> list[Camera]:
        """The cameras at the resolution of the scores. Raises UserError, one line, when there is nothing to compare."""
        if not len(self.frames) or not len(self.cameras):
            counts = f"{len(self.frames)} frames and {len(self.cameras)} cameras given"
            raise UserError(f"{self.split}: {counts}: nothing to score")
        source = self.capture.split(self.split)
        views = [_fit(source.cameras[c], self.resolution, parity) for c in self.cameras]
        if len({(v.height, v.width) for v in views}) > 1:
            folder = source.files.folder
            raise UserError(f"{folder}: the cameras' images differ in size: give a resolution to score at")
        return views


def evaluate(
    actor: TrainedAvatar,
    capture: Capture,
    split: str,
    frames: Sequence[int],
    cameras: Sequence[int],
    resolution: tuple[int, int] | None = None,
    baseline: bool = True,
    textures: Textures | MeanTexture | None = None,
    progress: Progress | None = None,
    supersample: int = 2,
    refined: bool = False,
) -> Scores:
    """Render and score the frames through the cameras (see `Exam`). `progress` is called with (pictures done, in all).

    Raises UserError or FileNotFoundError, one line, when there is nothing to compare with.
    """
    exam = Exam(capture, split, frames, cameras, resolution, baseline, textures, supersample, refined)
    lpips, missing = find_lpips()
    images, diverged = score_frames(actor, exam, frames, lpips, progress)
    return gathered(actor, exam, images, diverged, missing)


def find_lpips() -> tuple[Lpips | None, list[str]]:
    """LPIPS, on the CPU; where there is none, the reason why."""
    try:
        return image_metrics.load_lpips(), []
    except FileNotFoundError as missing:
        return None, [str(missing)]


def score_frames(
    actor: TrainedAvatar, exam: Exam, frames: Sequence[int], lpips: Lpips | None, progress: Progress | None = None
) -> tuple[list[ImageScore], int]:
    """The scores of some of an exam's frames, and how many crops are left out since they hold no finite numbers."""
    source, views = exam.capture.split(exam.split), exam.views(actor.model.parity)
    if exam.refined:
        _check_refined(actor, exam.split)
    judge = _Judge(actor, exam.capture, source, lpips)
    images: list[ImageScore] = []
    for i, frame in enumerate(frames):
        texture = (exam.textures or source).texture(frame)
        encoded = encode(actor, source.pose(frame), texture, source.frames[frame] if exam.refined else None)
        scene = _PosedActor(actor, encoded, texture, exam.baseline, exam.supersample)
        for j, (number, view) in enumerate(zip(exam.cameras, views, strict=True)):
            images += judge.scores(frame, number, view, scene.seen(view), scene.posed)
            if progress:
                progress(i * len(views) + j + 1, len(frames) * len(views))
    return images, judge.diverged


def gathered(
    actor: TrainedAvatar, exam: Exam, images: list[ImageScore], diverged: int, missing: Sequence[str]
) -> Scores:
    """The scores of all of an exam's frames, in their order; `missing`: scores that are not there, and why."""
    capture, textures = exam.capture, exam.textures
    source, views = capture.split(exam.split), exam.views(actor.model.parity)
    maps: Maps = "own" if textures is None else "mean" if isinstance(textures, MeanTexture) else "predicted"
    left_out = [f"{diverged} crops hold numbers that are not finite and are left out of the means"] if diverged else []
    return Scores(
        protocol=Protocol.of(actor, capture, source, exam.frames, exam.cameras, maps, exam.refined),
        capture=str(capture.path),
        split=exam.split,
        frames=[source.frames[f] for f in exam.frames],
        cameras=[view.name for view in views],
        resolution=(views[0].height, views[0].width),
        background=background_of(actor),
        rays_per_pixel=exam.supersample**2,
        textures=textures.source if textures else "the split's own",
        crops={str(crop): what for crop, what in _crops(capture, source).items()},
        notes=[*missing, *left_out],
        images=images,
    )


def _crops(capture: Capture, split: Split) -> dict[Crop, str]:
    """What each crop is."""
    masked = Masks.of(capture, split)
    what = f"the posed body's vertices with spheres of {BOX_RADIUS} m around them"
    if masked:
        what = f"the mask (masks/{split.name})"
    crops: dict[Crop, str] = {"whole": "the whole image", "box": f"bounding box of {what}"}
    return crops | ({"mask": f"the pixels of {what}; no LPIPS"} if masked else {})


def _check_refined(actor: TrainedAvatar, split: str) -> None:
    if not actor.model.refines_poses:
        raise UserError("refined poses: this actor learned none; train with --splats.refine-poses, or leave them out")
    if split != (trained := actor.config.data.train_split):
        raise UserError(f"refined poses: only those of {trained} are learned, not of {split}: leave them out")


def _fit(camera: Camera, resolution: tuple[int, int] | None, parity: bool) -> Camera:
    """The camera at the resolution of the evaluation: pictures only ever shrink."""
    if resolution is None or resolution[0] >= camera.height:
        return camera
    return camera.resized(*resolution, parity=parity)


class _PosedActor:
    """An actor at one frame: posed and encoded once for all cameras."""

    def __init__(
        self, actor: TrainedAvatar, frame: Frame, texture: np.ndarray, baseline: bool, supersample: int
    ) -> None:
        self.actor, self.baseline, self.texture, self.supersample = actor, baseline, texture, supersample
        self.frame, self.posed = frame, frame.posed

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

    def __init__(self, actor: TrainedAvatar, capture: Capture, split: Split, lpips: Lpips | None) -> None:
        self.split = split
        self.background = background_of(actor)
        self.diverged = 0
        self.lpips = lpips and lpips.to(actor.model.device)
        self.masks = Masks.of(capture, split)

    def scores(
        self, frame: int, number: int, camera: Camera, seen: dict[Method, Tensor], posed: PosedBody
    ) -> list[ImageScore]:
        """Scores of the pictures of one camera, over every crop."""
        target = target_image(self.split, frame, number, camera, self.background)
        whole, mask = Box(0, 0, camera.height, camera.width), None
        box = None if self.masks else sphere_box(posed.world_vertices.double().cpu().numpy(), camera, BOX_RADIUS)
        if self.masks:
            silhouette = self.masks.mask(frame, number)
            box, mask = _scaled_box(silhouette, camera), _scaled_mask(silhouette, camera)
        found = []
        for method, color in seen.items():
            truth = target.to(color)
            scored: dict[Crop, _Three] = {
                "whole": self._compare(whole.crop(color), whole.crop(truth)),
                "box": self._compare(box.crop(color), box.crop(truth)) if box else _NONE,
            }
            if mask is not None:
                scored["mask"] = self._compare_within(mask.to(color.device), color, truth)
            for crop, values in scored.items():
                found.append(ImageScore(self.split.frames[frame], camera.name, method, crop, *values))
        return found

    def _compare(self, color: Tensor, target: Tensor) -> _Three:
        """PSNR, SSIM and LPIPS; None for what the picture is too small or not finite for."""
        if not self._is_finite(color):
            return _NONE
        side = min(color.shape[:2])
        ssim = image_metrics.ssim(color, target) if side >= image_metrics.SSIM_WINDOW else None
        lpips = float(self.lpips(color, target)) if self.lpips and side >= image_metrics.LPIPS_MIN_SIDE else None
        return image_metrics.psnr(color, target), ssim, lpips

    def _compare_within(self, mask: Tensor, color: Tensor, target: Tensor) -> _Three:
        """The same over the pixels of a mask: LPIPS, whose features look far beyond a pixel, has none."""
        if not self._is_finite(color):
            return _NONE
        return image_metrics.masked_psnr(color, target, mask), image_metrics.masked_ssim(color, target, mask), None

    def _is_finite(self, color: Tensor) -> bool:
        finite = bool(torch.isfinite(color).all())
        self.diverged += not finite
        return finite


def _scaled_box(silhouette: np.ndarray, camera: Camera) -> Box | None:
    """The box of a mask, whatever its size, in the picture of `camera`."""
    box = mask_box(torch.from_numpy(silhouette))
    return box and box.scaled(camera.height / silhouette.shape[0], camera.width / silhouette.shape[1])


def _scaled_mask(silhouette: np.ndarray, camera: Camera) -> Bool[Tensor, "h w"]:
    """The pixels of the picture of `camera` of which a mask covers the half at least."""
    share = resample_area(silhouette[..., None].astype(np.uint8), camera.height, camera.width)[..., 0]
    return torch.from_numpy(share >= 0.5)
