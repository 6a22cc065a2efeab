"""How good predicted texture maps are, within the charts of the atlas, and what they must beat.

A prediction is a sequence: beside PSNR, SSIM and L1 of its frames it has a *flicker*, the mean change between
neighboring frames over that of the target (1: as lively as the real one), and where its weights are present an FID
(`na_ray.evaluation.fid`). Two baselines need no network: the mean texture map of the training motion, and the map of
the training frame whose pose is the nearest.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture.dataset import Split
from na_ray.capture.image import Map, resized
from na_ray.capture.rig import Pose
from na_ray.checkpoint import write_json
from na_ray.config.values import UserError
from na_ray.evaluation.fid import Gaussian, PictureMoments, frechet_distance
from na_ray.evaluation.image_metrics import SSIM_WINDOW, ssim_map
from na_ray.models.pretrained.inception import FEATURES, Inception, load_inception


@dataclass(frozen=True)
class MapScores:
    """Means over the frames of a sequence."""

    psnr: float
    """dB, over the texels within the charts."""
    ssim: float
    """Over the windows around them, black outside the charts."""
    l1: float
    """Mean absolute difference of colors in [0, 1]."""
    flicker: float | None
    """Mean |change between neighbors| over the target's; None where the target does not change."""
    fid: float | None = None
    """Frechet inception distance of the sequence to the target, black outside the charts; None where it is missing."""


class Tally:
    """Scores of a sequence, one frame after the other, in constant memory."""

    def __init__(self, inside: Bool[Tensor, "h w"], features: PictureMoments | None = None) -> None:
        """`inside`: the texels within the charts, at the maps' size. `features` of the predictions, for their FID."""
        self.inside = inside.cpu()
        self.features = features
        margin = SSIM_WINDOW // 2
        self.windows = self.inside[margin:-margin, margin:-margin]
        self.frames: list[tuple[float, float, float]] = []
        self.changes = np.zeros(2)
        self.last: tuple[Tensor, Tensor] | None = None

    def add(self, prediction: Map, target: Map) -> None:
        """The next frame."""
        pair = colors_within(self.inside, prediction), colors_within(self.inside, target)
        a, b = (picture[self.inside] for picture in pair)
        error = a - b
        psnr = float(-10 * torch.log10(error.square().mean().clamp_min(1e-10)))
        similarity = float(ssim_map(*pair)[self.windows].mean())
        self.frames.append((psnr, similarity, float(error.abs().mean())))
        if self.last is not None:
            self.changes += [float((now - then).abs().mean()) for now, then in zip((a, b), self.last, strict=True)]
        self.last = a, b
        if self.features:
            self.features.add(pair[0])

    def scores(self, target: Gaussian | None = None) -> MapScores:
        """Of all frames so far (one at least). `target`: the features of its frames, for the FID."""
        psnr, similarity, l1 = np.mean(self.frames, axis=0).tolist()
        ours, theirs = self.changes.tolist()
        found = self.features.gaussian() if self.features else None
        fid = frechet_distance(found, target) if found and target else None
        return MapScores(psnr, similarity, l1, ours / theirs if theirs else None, fid)


def colors_within(inside: Bool[Tensor, "h w"], picture: Map) -> Float[Tensor, "h w 3"]:
    """RGB in [0, 1], black outside the charts."""
    return torch.from_numpy(picture.astype(np.float32) / 255) * inside[..., None]


def mean_map(maps: Iterable[Map]) -> Map:
    """The mean of texture maps of one size."""
    count, total = 0, np.zeros(())
    for image in maps:
        count, total = count + 1, total + image.astype(np.float64)
    return (total / count).round().astype(np.uint8)


def nearest_frames(queries: Iterable[Pose], training: list[Pose]) -> list[int]:
    """For each pose the position of the training pose whose joints lie nearest in the body's own axes (mean square)."""
    known = np.stack([_joints(pose) for pose in training])
    return [int(((known - _joints(pose)) ** 2).sum((1, 2)).argmin()) for pose in queries]


def _joints(pose: Pose) -> Float[np.ndarray, "j 3"]:
    return (pose.joints - pose.translation.reshape(1, 3)) @ pose.rotation.T


@dataclass(frozen=True)
class TextureScores:
    """A prediction beside its baselines."""

    split: str
    frames: int
    resolution: tuple[int, int]
    """(height, width) of the maps that were compared, px."""
    scores: dict[str, MapScores]
    """By method: `predicted`, `mean texture`, `nearest pose`."""
    notes: list[str]
    """What a reader must know: scores that are missing, and why."""

    def table(self) -> str:
        """As text, one line per method."""
        height, width = self.resolution
        lines = [
            f"{self.split}: {self.frames} frames, {width}x{height} texels, within the charts",
            " " * 16 + f"{'PSNR dB':>10}{'SSIM':>8}{'L1':>8}{'flicker':>9}{'FID':>9}",
        ]
        for method, found in self.scores.items():
            flicker, fid = ("-" if value is None else f"{value:.2f}" for value in (found.flicker, found.fid))
            lines.append(f"{method:<16}{found.psnr:>10.2f}{found.ssim:>8.4f}{found.l1:>8.4f}{flicker:>9}{fid:>9}")
        return "\n".join([*lines, *self.notes])

    def save(self, path: Path) -> None:
        """Write everything as JSON, aside and renamed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, json.loads(json.dumps(asdict(self), allow_nan=False)))


def score_textures(
    predictions: Iterable[Map], split: Split, training: Split, frames: range, body: Body
) -> TextureScores:
    """Compare predictions of a split's first frames with its own maps, beside the baselines from `training`'s `frames`.

    All are compared at the predictions' size. FID is missing without its weights: a note says so.
    """
    jury: _Jury | None = None
    network, notes = _inception(body)
    for prediction, target in zip(predictions, split.textures(), strict=False):
        side = len(prediction)
        if jury is None:
            jury, baselines = _Jury(Atlas(body, side).inside, network), _baselines(split, training, frames, side)
        jury.add((prediction, *next(baselines)), resized(target, (side, side)))
    if jury is None:
        raise UserError(f"{split.files.folder}: no frame was predicted: there is nothing to score")
    if network:
        notes = [_caveat(jury.count)]
    return TextureScores(split.name, jury.count, (side, side), jury.scores(), notes)


class _Jury:
    """Compares every method with the target, whose features are computed once."""

    def __init__(self, inside: Bool[Tensor, "h w"], network: Inception | None) -> None:
        self.inside, self.count = inside.cpu(), 0
        self.target = PictureMoments(network) if network else None
        self.tallies = {
            name: Tally(inside, PictureMoments(network) if network else None)
            for name in ("predicted", "mean texture", "nearest pose")
        }

    def add(self, pictures: tuple[Map, ...], target: Map) -> None:
        """The next frame by each method."""
        self.count += 1
        if self.target:
            self.target.add(colors_within(self.inside, target))
        for tally, picture in zip(self.tallies.values(), pictures, strict=True):
            tally.add(picture, target)

    def scores(self) -> dict[str, MapScores]:
        """Of every method."""
        target = self.target.gaussian() if self.target else None
        return {name: tally.scores(target) for name, tally in self.tallies.items()}


def _inception(body: Body) -> tuple[Inception | None, list[str]]:
    """The network of FID; where there is none, the reason why it is missing."""
    try:
        return load_inception().to(body.vertices.device), []
    except FileNotFoundError as missing:
        return None, [str(missing)]
    except UserError as error:  # a training has ended: its other scores are not lost over this file
        return None, [f"FID is left out: {error}"]


def _caveat(count: int) -> str:
    if count < 2:
        return "FID is left out: a covariance needs two frames or more"
    bias = f", fewer than its {FEATURES} features: biased upwards" if count <= FEATURES else ""
    return f"FID over {count} frames{bias}; compare it with that of as many frames only"


def _baselines(split: Split, training: Split, frames: range, side: int) -> Iterator[tuple[Map, Map]]:
    """(mean texture, texture of the nearest training pose) of every frame of `split`."""
    known = training.textures(frames.start, frames.stop)
    mean = mean_map(resized(image, (side, side)) for image in known)
    queries = (split.pose(position) for position in range(split.num_frames))
    for nearest in nearest_frames(queries, [training.pose(i) for i in frames]):
        yield mean, resized(training.texture(frames[nearest]), (side, side))
