"""A figure as nodes of a browser's scene: splats and a mesh, of which one is seen; sent when they look different."""

from dataclasses import dataclass

import numpy as np
import viser

from na_ray.capture.camera import Camera
from na_ray.viewer.figure import COMPUTE, DrawnPose, Figure, Kind
from na_ray.viewer.mesh import to_glb
from na_ray.viewer.packing import BYTES, SCALE, pack
from na_ray.viewer.stills import moved

TURN = np.radians(1.5)
"""Angle by which the eye moves round the figure before colors and sizes are sent anew,"""
NEARER = 1.05
"""and the ratio of distances."""


@dataclass(eq=False)
class BrowserFigure:
    """The nodes of one figure."""

    scene: viser.SceneApi
    name: str
    figure: Figure
    _splats: viser.GaussianSplatHandle | None = None
    _mesh: viser.GlbHandle | None = None
    _drawn: DrawnPose | None = None
    """What was sent last,"""
    _arm: np.ndarray | None = None
    """and where it was seen from: the eye relative to the figure's middle, m."""

    def send(self, drawn: DrawnPose, kind: Kind, camera: Camera) -> int:
        """Show a pose. Returns the bytes that it takes."""
        eye = moved(camera, self.figure.offset).center
        self._drawn, self._arm = drawn, eye - _middle(drawn)
        if drawn.gaussians is not None:
            with COMPUTE:
                packed = pack(*drawn.gaussians, eye, 1 / camera.K[1, 1])
            self._show_splats(packed)
            return len(packed) * BYTES
        glb = to_glb(drawn.posed, drawn.texture)
        if self._mesh is None:
            self._mesh = self.scene.add_glb(f"{self.name}/mesh", glb, position=self.figure.offset, cast_shadow=False)
        else:
            self._mesh.glb_data = glb
        return len(glb)

    def show(self, seen: bool) -> None:
        """Whether the browser draws it, and then the node of what was sent."""
        splats = self._drawn is not None and self._drawn.frame is not None
        if self._splats is not None:
            self._splats.visible = seen and splats
        if self._mesh is not None:
            self._mesh.visible = seen and not splats

    def stale(self, camera: Camera) -> bool:
        """Whether the eye has moved so far that colors and sizes are others."""
        if self._drawn is None or self._arm is None or self._drawn.frame is None:
            return False
        arm = moved(camera, self.figure.offset).center - _middle(self._drawn)
        far, before = np.linalg.norm(arm), np.linalg.norm(self._arm)
        cosine = arm @ self._arm / (far * before)
        return bool(cosine < np.cos(TURN) or max(far / before, before / far) > NEARER)

    def _show_splats(self, packed: np.ndarray) -> None:
        if self._splats is None:
            # viser packs, too; once, so that the node is there.
            n = len(packed)
            nothing = np.zeros((n, 3)), np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3)), np.zeros((n, 1))
            self._splats = self.scene.add_gaussian_splats(
                f"{self.name}/splats", *nothing, scale=SCALE, position=self.figure.offset
            )
        self._splats.buffer = packed


def _middle(drawn: DrawnPose) -> np.ndarray:
    return drawn.posed.world_vertices.mean(0).double().cpu().numpy()
