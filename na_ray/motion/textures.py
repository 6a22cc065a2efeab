"""Which texture maps a motion wears: its own, given ones, or the mean of the training maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import Map, resized
from na_ray.capture.textures import Textures
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment
from na_ray.config.selection import select_frames
from na_ray.config.values import UserError
from na_ray.evaluation.texture_metrics import MapMean, mean_map
from na_ray.pictures.png import read_png

MOST_MAPS = 512
"""The mean is taken of all training maps up to so many; of more, of `SOME_MAPS`, evenly spaced."""

SOME_MAPS = 256


@dataclass(frozen=True, eq=False)
class MeanTexture:
    """The mean training texture map, worn at every frame."""

    source: str
    map: Map

    @classmethod
    def of(cls, config: Experiment, capture: Capture) -> "MeanTexture":
        """The mean over the frames that an experiment trains on, one map in memory at a time."""
        split = capture.split(config.data.train_split)
        frames, source = _averaged(config, split)
        if isinstance(frames, range):
            return cls(source, mean_map(split.textures(frames.start, frames.stop)))
        return cls(source, mean_map(split.texture(frame) for frame in frames))

    @classmethod
    def beside(
        cls, config: Experiment, capture: Capture, frames: range, size: tuple[int, int]
    ) -> tuple["MeanTexture", Map]:
        """The same, and the mean of the training split's maps of `frames`, each resized to `size` (height, width): all
        maps are read once."""
        split = capture.split(config.data.train_split)
        chosen, source = _averaged(config, split)
        counted, means = set(chosen), (MapMean(), MapMean())
        start, stop = min(chosen[0], frames.start), max(chosen[-1] + 1, frames.stop)
        for position, image in zip(range(start, stop), split.textures(start, stop), strict=True):
            if position in counted:
                means[0].add(image)
            if position in frames:
                means[1].add(resized(image, size))
        return cls(source, means[0].map), means[1].map

    @classmethod
    def find(cls, actor: TrainedAvatar, capture: Capture | None = None) -> "MeanTexture":
        """The one that the actor keeps, else that of a capture that is at hand or, where it has no training maps of the
        actor's body, of the one that it was trained on. Raises UserError, one line, where that has none either."""
        if actor.mean_texture is not None:
            return cls("the mean of the training maps, kept with the actor", read_png(actor.mean_texture))
        for candidate in (capture, _opened(actor.config.capture)):
            if candidate is not None and _has_training_maps(actor, candidate):
                return cls.of(actor.config, candidate)
        tried = [capture.path] if capture else []
        places = " nor ".join(dict.fromkeys([*tried, actor.config.capture or "the capture of the training"]))
        raise UserError(
            f"no mean texture map: neither {places} holds the actor's training maps: give --textures a folder that "
            "na-ray predict-textures wrote"
        )

    def texture(self, position: int) -> Map:
        """The same one for every frame."""
        return self.map


def _averaged(config: Experiment, split: Split) -> tuple[range | list[int], str]:
    """The frames whose maps make the mean, and that in words."""
    frames = select_frames(config.data, split.num_frames)
    if len(frames) <= MOST_MAPS:
        return frames, f"the mean of all {len(frames)} training maps ({split.name})"
    chosen = np.linspace(frames[0], frames[-1], SOME_MAPS).round().astype(int).tolist()
    return chosen, f"the mean of {SOME_MAPS} of {len(frames)} training maps ({split.name}), evenly spaced"


def choose_textures(
    word: str | None, actor: TrainedAvatar, capture: Capture, split: Split, frames: Sequence[int]
) -> Textures | MeanTexture | None:
    """The texture maps that `--textures` names for frames (positions) of a split; None: the split's own.

    `word`: `own`, `mean`, or what `Textures.open` opens; None: own ones where the split has some, else the mean. Raises
    FileNotFoundError or UserError, one line, where there are none.
    """
    if word == "own" or (word is None and split.has_textures):
        return None
    if word in ("mean", None):
        return MeanTexture.find(actor, capture)
    return Textures.open(word, split, frames)


def told_textures(chosen: Textures | MeanTexture | None, split: Split) -> str:
    """The same in one line for the user."""
    if chosen is None:
        return f"texture maps: own, those of {split.name}"
    kind = "mean" if isinstance(chosen, MeanTexture) else "given"
    return f"texture maps: {kind}, {chosen.source}"


def _opened(path: str) -> Capture | None:
    """The capture of the training, where it still is."""
    try:
        return Capture.open(path) if path else None
    except (UserError, OSError):
        return None


def _has_training_maps(actor: TrainedAvatar, capture: Capture) -> bool:
    """Whether a capture holds texture maps of the actor's training motion, and for its body."""
    name = actor.config.data.train_split
    if name not in capture.splits or not capture.split(name).has_textures:
        return False
    return np.array_equal(actor.body.vertices.cpu().numpy(), capture.split(name).rig.vertices)
