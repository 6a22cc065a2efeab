"""The texture maps that a film wears: predicted as it goes, its capture's own, given ones, or the mean."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from na_ray.body.atlas import Atlas
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose
from na_ray.capture.textures import TextureSource
from na_ray.checkpoint import Predictor
from na_ray.motion.frame_store import FrameStore
from na_ray.motion.normals import SIZE
from na_ray.motion.predict import MEMORY, STATE_EVERY, Recursion, predictor_identity
from na_ray.pictures import png


@runtime_checkable
class FilmTextures(Protocol):
    """Texture maps of a film's frames, in order."""

    told: str
    """Which they are, for the user."""

    @property
    def identity(self) -> str:
        """What decides them, in short, beside the poses."""

    def maps(self, poses: "PoseAt", kept: Sequence[bool], store: FrameStore) -> Iterator[Map | None]:
        """The map of each frame; None is allowed where the frame is kept and need not be drawn."""


@runtime_checkable
class PoseAt(Protocol):
    """The pose of a frame of the film."""

    def __call__(self, index: int) -> Pose:
        """The pose at a frame."""


@dataclass(eq=False)
class OneTexture:
    """One map at every frame: the mean of the training's."""

    told: str
    texture: Map

    @property
    def identity(self) -> str:
        """The map itself."""
        return png.digest(self.texture)

    def maps(self, poses: PoseAt, kept: Sequence[bool], store: FrameStore) -> Iterator[Map | None]:
        """The same one for every frame."""
        return (None if done else self.texture for done in kept)


@dataclass(eq=False)
class GivenTextures:
    """Maps that lie somewhere: the split's own, or another program's."""

    told: str
    source: TextureSource
    positions: Sequence[int]
    """Position of each frame in the split."""
    identity: str

    def maps(self, poses: PoseAt, kept: Sequence[bool], store: FrameStore) -> Iterator[Map | None]:
        """Those of the frames that are to be drawn are decoded, and no others."""
        return (None if done else self.source.texture(p) for done, p in zip(kept, self.positions, strict=True))


@dataclass(eq=False)
class PredictedTextures:
    """Maps predicted from the normal maps of the poses, each after the two before it."""

    predictor: Predictor
    told: str = field(default="texture maps: predicted from the poses")

    @property
    def identity(self) -> str:
        """The network."""
        return png.digest(predictor_identity(self.predictor), str(SIZE))

    def maps(self, poses: PoseAt, kept: Sequence[bool], store: FrameStore) -> Iterator[Map | None]:
        """Predicted from where the store's state allows it; frames before that are not looked at."""
        atlas = Atlas(self.predictor.body, SIZE)

        def normal(index: int) -> Map:
            return atlas.normal_map(atlas.body.pose(poses(index))).cpu().numpy()

        recursion, first = Recursion(self.predictor), 0
        state = store.load_state()
        if all(kept):
            first = len(kept)
        elif state is not None and all(kept[: state[0]]):
            first = state[0]
            tail = deque((normal(i) for i in range(max(0, first - MEMORY), first)), maxlen=MEMORY)
            recursion.resume(tail, state[1])
        yield from (None for _ in range(first))
        for index in range(first, len(kept)):
            yield recursion.next(normal(index))
            if (index + 1) % STATE_EVERY == 0:
                images = np.concatenate([image.float().cpu().numpy() for image in recursion.images])
                store.save_state(index + 1, images)
