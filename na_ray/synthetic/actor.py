"""The actor of a seed: its tracked template, its motions, and what it looks like at a moment, all at its own size."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from na_ray.capture.rig import Pose, Rig
from na_ray.synthetic.drape import LAG_SECONDS, drape
from na_ray.synthetic.motion import ROUTINE_SECONDS, WALK_SECONDS, Moment, MotionCurve, frame_times, routine, walk
from na_ray.synthetic.skeleton import NAMES, REST, forward_kinematics, skin, tpose_rotvecs
from na_ray.synthetic.style import Style
from na_ray.synthetic.template import build_template
from na_ray.synthetic.wardrobe import build_wardrobe


@dataclass(frozen=True)
class ActorFrame:
    """The actor at one frame of a clip, at natural size (stature 1); its soles touch y = 0."""

    moment: Moment
    before: Moment
    """A moment earlier: loose parts trail behind."""


class SyntheticActor:
    """A person made from a seed."""

    def __init__(self, seed: int) -> None:
        self.style = Style.from_seed(seed)
        self.template = build_template()
        self.wardrobe = build_wardrobe()

    def clip(self, split: str, count: int) -> list[ActorFrame]:
        """`count` frames of the walk (`training`) or of the routine (`testing`)."""
        style = self.style
        motion: MotionCurve
        if split == "training":
            motion, seconds = walk(style.walk_phase, style.heading, style.turn), WALK_SECONDS
        else:
            motion, seconds = routine(style.heading, style.turn), ROUTINE_SECONDS
        frames = []
        for t in frame_times(count, seconds):
            moment, before = motion(float(t)), motion(float(t) - LAG_SECONDS)
            lift = np.array((0.0, -self._posed(moment)[:, 1].min(), 0.0))
            moment, before = (Moment(m.rotvecs, m.rotation, m.translation + lift) for m in (moment, before))
            frames.append(ActorFrame(moment, before))
        return frames

    def _posed(self, moment: Moment) -> Float[ndarray, "v 3"]:
        return moment.to_world(skin(self.template.mesh.vertices, self.template.weights, moment.transforms))

    def outline(self, frame: ActorFrame) -> Float[ndarray, "n 3"]:
        """World points that enclose the actor nearly: some of the template's, and some round the hair."""
        moment = frame.moment
        hair = moment.joints[NAMES.index("head")] + 0.22 * np.concatenate([np.eye(3), -np.eye(3)])
        return self.style.stature * np.concatenate([self._posed(moment)[::7], hair])

    def dressed(self, frame: ActorFrame) -> Float[ndarray, "v 3"]:
        """World positions of the wardrobe's vertices."""
        return self.style.stature * drape(self.wardrobe, frame.moment, frame.before, self.style.fold_phase)

    def rig(self) -> Rig:
        """The template as the capture's files describe it."""
        template = self.template
        return Rig(
            vertices=(self.style.stature * template.mesh.vertices).astype(np.float32),
            faces=template.mesh.faces.astype(np.int64),
            uv=template.uv.astype(np.float32),
            uv_faces=template.uv_faces.astype(np.int64),
            weights=template.weights.astype(np.float32),
            tpose=self._scaled(forward_kinematics(tpose_rotvecs())),
        )

    def pose(self, frame: ActorFrame) -> Pose:
        """The tracked pose as the capture's files describe it."""
        moment, stature = frame.moment, self.style.stature
        return Pose(
            joints_RT=self._scaled(moment.transforms),
            rotation=moment.rotation.T.astype(np.float32),
            translation=(stature * moment.translation).astype(np.float32),
            joints=(stature * moment.joints).astype(np.float32),
            pose=moment.rotvecs.reshape(-1).astype(np.float32),
        )

    def tpose_joints(self) -> Float[ndarray, "24 3"]:
        """Joints of the T pose."""
        transforms = forward_kinematics(tpose_rotvecs())
        return self.style.stature * (np.einsum("jab,jb->ja", transforms[:, :3, :3], REST) + transforms[:, :3, 3])

    def _scaled(self, transforms: Float[ndarray, "24 4 4"]) -> Float[ndarray, "24 4 4"]:
        """The same motion of a body scaled by the stature: rotations stay, offsets grow."""
        scaled = transforms.copy()
        scaled[:, :3, 3] *= self.style.stature
        return scaled.astype(np.float32)
