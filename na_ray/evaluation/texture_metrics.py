"""How good predicted texture maps are, within the charts of the atlas, and what they must beat.

A prediction is a sequence: beside PSNR, SSIM and L1 of its frames it has a *flicker*, the mean change between
neighboring frames over that of the target (1: as lively as the real one), and where its weights are present an FID
(`na_ray.evaluation.fid`). Two baselines need no network: the mean texture map of the training motion, and the map of
the training frame whose pose is the nearest.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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
from na_ray.capture.textures import TextureSource
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


Measured = tuple[tuple[float, float, float], list[float], Float[np.ndarray, " c"] | None]
"""Of a frame: PSNR, SSIM and L1; the changes of prediction and target since the frame before; features for the FID."""


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
        self.keep(self.measure(prediction, target))

    def measure(self, prediction: Map, target: Map) -> "Measured":
        """The numbers of the next frame, which `keep` counts, here or in another process."""
        pair = colors_within(self.inside, prediction), colors_within(self.inside, target)
        a, b = (picture[self.inside] for picture in pair)
        error = a - b
        psnr = float(-10 * torch.log10(error.square().mean().clamp_min(1e-10)))
        similarity = float(ssim_map(*pair)[self.windows].mean())
        changes: list[float] = []
        if self.last is not None:
            changes = [float((now - then).abs().mean()) for now, then in zip((a, b), self.last, strict=True)]
        self.last = a, b
        features = self.features.features(pair[0]) if self.features else None
        return (psnr, similarity, float(error.abs().mean())), changes, features

    def keep(self, measured: "Measured") -> None:
        """Count a frame."""
        scores, changes, features = measured
        self.frames.append(scores)
        if changes:
            self.changes += changes
        if self.features and features is not None:
            self.features.add_features(features)

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


class MapMean:
    """The mean of texture maps of one size, one in memory at a time."""

    def __init__(self) -> None:
        self.count, self.total = 0, np.zeros(())

    def add(self, image: Map) -> None:
        """The next one."""
        self.count, self.total = self.count + 1, self.total + image.astype(np.float64)

    @property
    def map(self) -> Map:
        """The mean of those so far."""
        return (self.total / self.count).round().astype(np.uint8)


def mean_map(maps: Iterable[Map]) -> Map:
    """The mean of texture maps of one size."""
    mean = MapMean()
    for image in maps:
        mean.add(image)
    return mean.map


def nearest_frames(queries: Iterable[Pose], training: list[Pose]) -> list[int]:
    """For each pose the position of the training pose whose joints lie nearest in the body's own axes (mean square)."""
    known = np.stack([_joints(pose) for pose in training])
    return [int(((known - _joints(pose)) ** 2).sum((1, 2)).argmin()) for pose in queries]


def nearest_of(split: Split, training: Split, frames: range) -> list[int]:
    """For each frame of `split` the position in `training`, among `frames`, of the nearest pose."""
    queries = (split.pose(position) for position in range(split.num_frames))
    return [frames[i] for i in nearest_frames(queries, [training.pose(i) for i in frames])]


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


FrameMeasures = tuple[Float[np.ndarray, " c"] | None, list[Measured]]
"""Of a frame: the target's features for the FID, and what each method's `Tally` measured."""


@dataclass(frozen=True, eq=False)
class TextureExam:
    """What predictions of a split's frames are compared with."""

    split: Split
    training: Split
    body: Body
    mean: Map
    """Mean of the training's maps, square, at the predictions' size."""
    nearest: Sequence[int]
    """For each frame of `split` the position in `training` of the nearest pose."""
    network: Inception | None
    """For the FID."""

    def on(self, device: str) -> "TextureExam":
        """The same on another kind of device."""
        return replace(self, body=self.body.to(device=device), network=self.network and self.network.to(device))

    def jury(self) -> "_Jury":
        """What compares one frame after the other."""
        return _Jury(Atlas(self.body, len(self.mean)).inside, self.network)

    def baselines(self, positions: range) -> Iterator[tuple[Map, Map]]:
        """(mean texture, texture of the nearest training pose) of frames of the split."""
        for position in positions:
            yield self.mean, resized(self.training.texture(self.nearest[position]), self.mean.shape[:2])

    def measure(self, predictions: TextureSource, positions: range) -> list[FrameMeasures]:
        """Compare frames in a row, in any process; the flicker looks at the frame before them, too."""
        jury, first = self.jury(), max(0, positions.start - 1)
        read = range(first, positions.stop)
        found = []
        targets = self.split.textures(first, positions.stop)
        for position, target, baselines in zip(read, targets, self.baselines(read), strict=True):
            pictures = predictions.texture(position), *baselines
            found.append(jury.measure(pictures, resized(target, self.mean.shape[:2])))
        return found[positions.start - first :]


def judged(exam: TextureExam, measured: Sequence[FrameMeasures], notes: list[str]) -> TextureScores:
    """The scores of all frames, given in their order. `notes`: why the FID is missing."""
    jury = exam.jury()
    for frame in measured:
        jury.keep(frame)
    if exam.network:
        notes = [_caveat(len(measured))]
    side = len(exam.mean)
    return TextureScores(exam.split.name, len(measured), (side, side), jury.scores(), notes)


class _Jury:
    """Compares every method with the target, whose features are computed once."""

    def __init__(self, inside: Bool[Tensor, "h w"], network: Inception | None) -> None:
        self.target = PictureMoments(network) if network else None
        self.tallies = {
            name: Tally(inside, PictureMoments(network) if network else None)
            for name in ("predicted", "mean texture", "nearest pose")
        }

        self.inside = inside.cpu()

    def measure(self, pictures: tuple[Map, ...], target: Map) -> FrameMeasures:
        """The next frame by each method."""
        features = self.target.features(colors_within(self.inside, target)) if self.target else None
        tallies = zip(self.tallies.values(), pictures, strict=True)
        return features, [tally.measure(picture, target) for tally, picture in tallies]

    def keep(self, measured: FrameMeasures) -> None:
        """Count a frame."""
        features, methods = measured
        if self.target and features is not None:
            self.target.add_features(features)
        for tally, found in zip(self.tallies.values(), methods, strict=True):
            tally.keep(found)

    def scores(self) -> dict[str, MapScores]:
        """Of every method."""
        target = self.target.gaussian() if self.target else None
        return {name: tally.scores(target) for name, tally in self.tallies.items()}


def find_inception(body: Body) -> tuple[Inception | None, list[str]]:
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
