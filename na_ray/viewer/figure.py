"""An actor in the viewer: its avatars, opened when they are first shown, and the texture maps it wears."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from na_ray.actor import Actor
from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import Skeleton
from na_ray.checkpoint import Predictor, TrainedAvatar
from na_ray.config import AvatarName
from na_ray.config.values import UserError
from na_ray.models.avatar import Frame
from na_ray.models.gaussians import Gaussians
from na_ray.motion.normals import SIZE
from na_ray.motion.playable import PlayableMotion
from na_ray.motion.predict import Recursion
from na_ray.render import texture_map
from na_ray.viewer.joints import skeleton_of_actor

Kind = Literal["splats", "nerf", "mesh"]
"""How a figure may be drawn: an avatar, or the textured mesh, which every actor has."""
TextureWord = Literal["own", "predicted", "mean", "given"]
"""Texture maps: the motion's, the predictor's, the mean of the training's, those that the user gave."""

COMPUTE = threading.RLock()
"""One thread computes at a time: several browsers share the machine."""


@dataclass(frozen=True, eq=False)
class DrawnPose:
    """A figure at a pose, ready to be seen from anywhere."""

    posed: PosedBody
    texture: Map
    frame: Frame | None
    """The avatar's; None where the mesh is what is drawn."""
    gaussians: tuple[Gaussians, Float64[np.ndarray, "3"]] | None = None
    """The avatar's, and their origin (world, m); None where it has none."""

    @property
    def in_browser(self) -> bool:
        """Whether the browser can draw it: Gaussians and meshes."""
        return self.frame is None or self.gaussians is not None


@dataclass(eq=False)
class Figure:
    """An actor in the scene."""

    actor: Actor
    name: str
    """As the user gave it."""
    clips: list[PlayableMotion]
    """Motions that it can be shown in; those of all figures of a scene have the same names."""
    device: str = "cpu"
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """From the world of its training to the scene, m."""
    given: Any = None
    """Texture maps of the user's choice (`TextureSource`), by position in the first clip; None: none."""
    _opened: dict[AvatarName, TrainedAvatar] = field(default_factory=dict)
    _worn: tuple[Map, AvatarName, Tensor] | None = None
    """The texture map that was drawn last, as that avatar takes it."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """How it can be drawn, the best first."""
        return (*(name for name in get_args(AvatarName) if name in self.actor.networks), "mesh")

    def nearest(self, kind: Kind) -> Kind:
        """The kind if it has it, else what the browser can draw of it."""
        return kind if kind in self.kinds else self.kinds[0] if self.kinds[0] == "splats" else "mesh"

    def told(self, kind: Kind) -> str:
        """What the user should know who wants to see it as `kind`; empty where it is shown so."""
        return "" if kind in self.kinds else f"{self.name} has no {kind}: its {self.nearest(kind)} is shown"

    def avatar(self, name: AvatarName) -> TrainedAvatar:
        """An avatar, opened once."""
        if name not in self._opened:
            self._opened[name] = self.actor.avatar(name, self.device)
        return self._opened[name]

    @cached_property
    def body(self) -> Body:
        """The body that the mesh is made of."""
        return Body.from_rig(self.actor.rig)

    @cached_property
    def skeleton(self) -> Skeleton:
        """Its joints."""
        return skeleton_of_actor(self.actor)

    @cached_property
    def predictor(self) -> Predictor | None:
        """Its texture predictor."""
        return self.actor.predictor(self.device)

    @cached_property
    def mean(self) -> Map | None:
        """The mean of the training's maps; None where nobody has it."""
        try:
            return self.actor.mean_texture()
        except (UserError, OSError):
            return None

    def maps(self, clip: int) -> tuple[TextureWord, ...]:
        """The texture maps that it can wear in a motion, the default first."""
        found: list[TextureWord] = ["given"] if self.given is not None and clip == 0 else []
        found += ["own"] if self.clips[clip].texture is not None else []
        found += ["predicted"] if "texture" in self.actor.networks else []
        found += ["mean"] if self.mean is not None else []
        if not found:
            message = f"{self.name} has neither a mean texture map nor a predictor, and its capture is not at hand"
            raise UserError(f"{message}: give --capture, or --textures a folder of maps")
        return tuple(found)

    @torch.no_grad()
    def draw(self, kind: Kind, pose: Pose, texture: Map) -> DrawnPose:
        """The figure at a pose, in a texture map."""
        if kind == "mesh":
            return DrawnPose(self.body.pose(pose), texture, None)
        avatar = self.avatar(kind)
        posed = avatar.model.body.pose(pose)
        if self._worn is None or self._worn[0] is not texture or self._worn[1] != kind:
            self._worn = (texture, kind, texture_map(avatar, texture))
        frame = avatar.model.encode(posed, self._worn[2])
        return DrawnPose(posed, texture, frame, avatar.model.gaussians(frame))


class TextureChooser:
    """The texture maps of a figure for one browser, which asks for frames in any order.

    A prediction goes on from the frame before it; at any other it starts anew, as at the first frame of a motion.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self._atlas: Atlas | None = None
        self._recursion: Recursion | None = None
        self._last = (-1, -2)
        """Motion and frame of the last prediction."""
        self._map: Map | None = None

    def texture(self, word: TextureWord, clip: int, frame: int, pose: Pose) -> Map:
        """The map of a frame of a motion; `pose` is what a prediction is made from."""
        words = self.figure.maps(clip)
        word = word if word in words else words[0]
        if word == "given":
            return self.figure.given.texture(frame)
        if word == "own":
            own = self.figure.clips[clip].texture
            assert own is not None
            return own(frame)
        if word == "predicted":
            return self._predicted(clip, frame, pose)
        assert self.figure.mean is not None
        return self.figure.mean

    def _predicted(self, clip: int, frame: int, pose: Pose) -> Map:
        predictor = self.figure.predictor
        assert predictor is not None
        if self._atlas is None:
            self._atlas = Atlas(predictor.body, SIZE)
        if self._recursion is None or (clip, frame - 1) != self._last:
            self._recursion = Recursion(predictor)
        self._last = (clip, frame)
        normal = self._atlas.normal_map(predictor.body.pose(pose)).cpu().numpy()
        return self._recursion.next(normal)
