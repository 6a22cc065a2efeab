"""One browser: what it shows follows its controls, its clock and its camera, as fast as it takes it."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import viser

from na_ray.capture.camera import Camera
from na_ray.capture.image import shrink_map
from na_ray.config.values import UserError
from na_ray.motion.playable import PlayableMotion
from na_ray.viewer.camera_path import PathEditor, look_through
from na_ray.viewer.clock import PlayClock
from na_ray.viewer.drawing import BrowserFigure
from na_ray.viewer.figure import COMPUTE, DrawnPose, Figure, Kind, TextureChooser
from na_ray.viewer.joints import turned
from na_ray.viewer.panel import Panel, Wishes
from na_ray.viewer.scene import Scene
from na_ray.viewer.stills import camera_of, sharpen
from na_ray.viewer.throttle import Throttle

PHOTO_SIDE = 384
"""Longer side of the photographs, px."""
RATE_OF = 2.0
"""Seconds that the rate in the status line is taken over."""


class Session:
    """Runs in a thread of its own until the browser goes away, or `close`."""

    def __init__(self, client: viser.ClientHandle, server: viser.ViserServer, scene: Scene, folder: Path) -> None:
        """`folder`: where camera paths are saved."""
        self._client, self._scene = client, scene
        clip = scene.figures[0].clips[0]
        frames = max(figure.clips[0].num_frames for figure in scene.figures)
        self._clock = PlayClock(frames, clip.fps)
        self._wake = threading.Event()
        self._closed = False
        self._panel = Panel(client.gui, scene, self._clock, self._wake.set)
        PathEditor(client, scene.figures[0].name, self._clip, folder)
        self._throttle = Throttle(lambda: _has_taken(client, server))
        self._wardrobes = [TextureChooser(figure) for figure in scene.figures]
        self._nodes = [BrowserFigure(client.scene, f"/figure_{i}", f) for i, f in enumerate(scene.figures)]
        self._shown: tuple[int, Wishes] | None = None
        self._drawn: list[tuple[Figure, Kind, DrawnPose]] = []
        self._still: Iterator[np.ndarray | None] | None = None
        self._still_camera: Camera | None = None
        self._sent: deque[float] = deque()
        self._bytes = 0
        self._told = 0.0
        if self._panel.look_through is not None:
            self._panel.look_through.on_click(lambda _: self._look_through())
        client.camera.on_update(lambda _: self._wake.set())

    def run(self) -> None:
        """Until the browser is gone."""
        while not self._closed and self._throttle.alive:
            self._wake.clear()
            try:
                busy = self._step()
            except UserError as error:
                self._panel.show_status([f"**{error}**"])
                self._shown, busy = (self._clock.frame, self._panel.wishes), False
            if not busy:
                self._wake.wait(min(self._clock.wait(), 0.5))
        self._throttle.close()

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._wake.set()
        self._throttle.close()

    def _step(self) -> bool:
        """Do what is most urgent. False: nothing was."""
        wanted = (self._next_frame(), self._panel.wishes)
        if wanted != self._shown:
            self._draw(*wanted)
            self._send(*wanted)
            return True
        camera = self._camera()
        if not self._throttle.free:
            return self._throttle.wait(0.02)
        if self._drawn and not self._browser_draws():
            return self._refine(camera)
        if any(node.stale(camera) for node in self._nodes):
            self._send_figures(camera)
            return True
        return self._tell_rate()

    def _next_frame(self) -> int:
        """The frame that is due; the one after the last where texture maps are predicted one from the other."""
        frame = self._clock.frame
        if self._shown is None or not self._clock.playing or self._panel.wishes.maps != "predicted":
            return frame
        last, following = self._shown[0], (self._shown[0] + 1) % self._clock.num_frames
        if frame in (last, following):
            return frame
        self._clock.scrub(following)
        return following

    def _draw(self, frame: int, wishes: Wishes) -> None:
        drawn = []
        for index, (figure, wardrobe) in enumerate(zip(self._scene.figures, self._wardrobes, strict=True)):
            clip = figure.clips[wishes.clip]
            at, kind = frame % clip.num_frames, figure.nearest(wishes.kind)
            with COMPUTE:
                pose = turned(clip.pose(at), figure.skeleton, wishes.of_figure(index))
                drawn.append(
                    (figure, kind, figure.draw(kind, pose, wardrobe.texture(wishes.maps, wishes.clip, at, pose)))
                )
        self._drawn = drawn

    def _send(self, frame: int, wishes: Wishes) -> None:
        """Show what was drawn, when the browser has taken what came before."""
        while not self._throttle.wait(0.1):
            if self._closed:
                return
        if self._closed or not self._throttle.alive:
            return
        self._still = None
        with self._client.atomic():
            if self._browser_draws():
                self._client.scene.set_background_image(None)
                self._send_figures(self._camera())
            for node in self._nodes:
                node.show(self._browser_draws())
            if self._clock.playing:
                self._panel.show_frame(frame)
        before, self._shown = self._shown, (frame, wishes)
        if not self._browser_draws():
            self._refine(self._camera(), until_first=True)
        self._sent.append(time.monotonic())
        if wishes.photo_camera is not None and (not self._clock.playing or before is None or before[1] is not wishes):
            self._show_photograph(frame, wishes)
        self._tell_rate()

    def _send_figures(self, camera: Camera) -> None:
        with self._client.atomic():
            sizes = [n.send(drawn, kind, camera) for n, (_, kind, drawn) in zip(self._nodes, self._drawn, strict=True)]
        self._bytes = sum(sizes)
        self._throttle.sent()

    def _browser_draws(self) -> bool:
        return self._panel.wishes.view == "color" and all(drawn.in_browser for _, _, drawn in self._drawn)

    def _refine(self, camera: Camera, until_first: bool = False) -> bool:
        """Go on with the picture of this camera; `until_first`: until there is one. False: it is as fine as it gets."""
        if self._still is None or not _same(camera, self._still_camera):
            view = self._shown[1].view if self._shown else "color"
            self._still, self._still_camera = sharpen(self._drawn, camera, view), camera
        for image in self._still:
            if image is not None:
                self._client.scene.set_background_image(image, format="jpeg", jpeg_quality=92)
                self._throttle.sent()
            if not until_first or image is not None or self._closed:
                return True
        return False

    def _camera(self) -> Camera:
        here = self._client.camera
        return camera_of(here.wxyz, here.position, here.fov, here.image_height, here.image_width)

    def _clip(self) -> PlayableMotion:
        return self._scene.figures[0].clips[self._panel.wishes.clip]

    def _show_photograph(self, frame: int, wishes: Wishes) -> None:
        clip, camera = self._clip(), wishes.photo_camera
        if clip.photograph is None or camera is None or camera >= len(clip.cameras) or self._panel.photo is None:
            return
        picture = clip.photograph(frame % clip.num_frames, camera)[..., :3]
        self._panel.photo.image = np.asarray(shrink_map(picture, PHOTO_SIDE)).astype(np.uint8)
        self._panel.photo.visible = True

    def _look_through(self) -> None:
        clip, camera = self._clip(), self._panel.wishes.photo_camera
        if camera is not None and camera < len(clip.cameras):
            look_through(self._client, clip.cameras[camera])

    def _tell_rate(self) -> bool:
        """Say once a second how fast it goes."""
        now = time.monotonic()
        while self._sent and self._sent[0] < now - RATE_OF:
            self._sent.popleft()
        if now - self._told > 1.0:
            self._told = now
            lines = [figure.told(self._panel.wishes.kind) for figure in self._scene.figures]
            if self._clock.playing:
                lines += [f"{len(self._sent) / RATE_OF:.1f} poses/s, {self._bytes / 1e3:.0f} kB a pose"]
            self._panel.show_status([line for line in lines if line])
        return False


def _has_taken(client: viser.ClientHandle, server: viser.ViserServer) -> bool:
    """Wait until the browser has worked through all that was sent; whether it is still there."""
    with suppress(RuntimeError):  # it went away; or it keeps its storage shut, and that, too, is an answer
        client.local_storage.get_item("taken")
    return client.client_id in server.get_clients()


def _same(camera: Camera, other: Camera | None) -> bool:
    if other is None or (camera.height, camera.width) != (other.height, other.width):
        return False
    return np.allclose(camera.T_world_camera, other.T_world_camera, atol=1e-4) and np.allclose(camera.K, other.K)
