"""A motion of another program, as its file has it: a skeleton at rest, and what turns it, frame by frame.

Axes and unit are the file's own. Rotations are relative to the parent, in axes parallel to those of the rest pose
(which BVH and SMPL agree on): G_j = G_parent R_j, p_j = p_parent + G_parent o_j, o_j the joint's offset at rest.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation, Slerp

from na_ray.capture.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class MotionClip:
    """A motion before it is brought to an actor."""

    source: str
    """Where it comes from, for messages."""
    fps: float
    """Frames a second."""
    skeleton: Skeleton
    """Joints and their rest, in the file's unit."""
    rotvecs: Float64[np.ndarray, "n j 3"]
    """Axis-angle of each joint relative to its parent, radians."""
    offsets: dict[int, Float64[np.ndarray, "n 3"]]
    """Of the joints that move against their parents: where they are, in the parent's axes. A root's are its places."""
    notes: tuple[str, ...] = ()
    """What the user should know of the file."""

    @property
    def num_frames(self) -> int:
        """Frames."""
        return len(self.rotvecs)

    def world(
        self, start: int = 0, stop: int | None = None
    ) -> tuple[Float64[np.ndarray, "n j 3 3"], Float64[np.ndarray, "n j 3"]]:
        """(rotations G, places p) of the joints at frames start..stop, in the file's axes and unit."""
        chosen = slice(start, self.num_frames if stop is None else stop)
        rotvecs = self.rotvecs[chosen]
        local = Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_matrix().reshape(*rotvecs.shape, 3)
        G, p = np.empty_like(local), np.empty_like(rotvecs)
        rest, parents = self.skeleton.rest, self.skeleton.parents
        for j in self.skeleton.order:
            parent = parents[j]
            if parent < 0:
                G[:, j] = local[:, j]
                p[:, j] = self.offsets[j][chosen] if j in self.offsets else rest[j]
                continue
            offset = self.offsets[j][chosen] if j in self.offsets else rest[None, j] - rest[parent]
            G[:, j] = G[:, parent] @ local[:, j]
            p[:, j] = p[:, parent] + np.einsum("nab,nb->na", G[:, parent], np.broadcast_to(offset, (len(rotvecs), 3)))
        return G, p

    def some(self, most: int) -> "MotionClip":
        """No more than so many of its frames, evenly spaced."""
        chosen = np.unique(np.linspace(0, self.num_frames - 1, most).round().astype(int))
        rate = self.fps * len(chosen) / self.num_frames
        offsets = {j: places[chosen] for j, places in self.offsets.items()}
        return replace(self, fps=rate, rotvecs=self.rotvecs[chosen], offsets=offsets)

    def resampled(self, fps: float) -> "MotionClip":
        """The same at another frame rate: rotations by the shortest way (slerp), places along lines."""
        if self.fps == fps or self.num_frames == 1:
            return replace(self, fps=fps)
        # A little more than the last frame's time, where the two rates meet there but for rounding.
        count = int((self.num_frames - 1) / self.fps * fps + 1e-6) + 1
        at = np.minimum(np.arange(count) * self.fps / fps, self.num_frames - 1)
        times = np.arange(self.num_frames)
        rotvecs = np.empty((count, *self.rotvecs.shape[1:]))
        for j in range(rotvecs.shape[1]):
            rotvecs[:, j] = Slerp(times, Rotation.from_rotvec(self.rotvecs[:, j]))(at).as_rotvec()
        offsets = {
            j: np.stack([np.interp(at, times, places[:, axis]) for axis in range(3)], axis=1)
            for j, places in self.offsets.items()
        }
        return replace(self, fps=fps, rotvecs=rotvecs, offsets=offsets)
