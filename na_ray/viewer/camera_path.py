"""A camera path from key frames: the views that a user kept, played and saved for na-ray animate."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import viser

from na_ray.capture.camera import Camera
from na_ray.capture.trajectory import interpolate, to_file
from na_ray.config.values import UserError
from na_ray.motion.playable import PlayableMotion
from na_ray.viewer.stills import camera_of

SIDE = 512
"""Longer side of the pictures that the saved cameras take, px."""
PREVIEW_RATE = 25
"""Views a second of the preview."""


def path_through(keys: Sequence[Camera], num_views: int) -> list[Camera]:
    """One camera a frame: standing still at one key frame, smoothly through several. Raises UserError for none."""
    if not keys:
        raise UserError("no key frame yet: move the view to where the camera is to be, and add it")
    same = [camera.fitted(SIDE) for camera in keys]
    if len(same) == 1:
        return [replace(same[0], name=f"path_{i:04d}") for i in range(num_views)]
    return interpolate(same, num_views)


def save_path(cameras: Sequence[Camera], folder: Path, name: str) -> Path:
    """Write the cameras to a file of this folder. Raises UserError for a name that leads elsewhere, and
    FileExistsError: any page that a browser shows can press the button."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"{name!r}: expected a plain name such as path.json: it is written to {folder}")
    path = folder / (name if name.endswith(".json") else f"{name}.json")
    if path.exists():
        raise FileExistsError(f"{path} exists: give another name")
    to_file(cameras, path)
    return path


def animate_command(actor: str, clip: PlayableMotion, cameras: Path) -> str:
    """What films the path."""
    motion, film = clip.argument, f"{cameras.stem}.mp4"
    return f"na-ray animate {actor} --motion {motion} --camera {cameras.name} -o {film}"


class PathEditor:
    """The controls of a camera path in one browser."""

    def __init__(
        self, client: viser.ClientHandle, actor: str, clip: Callable[[], PlayableMotion], folder: Path
    ) -> None:
        """`clip`: the motion that is shown. Files are written to `folder`."""
        self._client, self._actor, self._clip, self._folder = client, actor, clip, folder
        self.keys: list[Camera] = []
        self._playing = threading.Lock()
        gui = client.gui
        with gui.add_folder("Camera path", expand_by_default=False):
            gui.add_button("add key frame").on_click(lambda _: self._add())
            gui.add_button("remove last").on_click(lambda _: self._remove())
            gui.add_button("preview").on_click(lambda _: self._say(self._preview))
            self._name = gui.add_text("file", "path.json")
            gui.add_button("save").on_click(lambda _: self._say(self._save))
            self._told = gui.add_markdown("")

    def _add(self) -> None:
        camera = self._client.camera
        self.keys.append(camera_of(camera.wxyz, camera.position, camera.fov, camera.image_height, camera.image_width))
        number = len(self.keys)
        self._client.scene.add_camera_frustum(
            f"/keys/{number}",
            camera.fov,
            camera.image_width / camera.image_height,
            scale=0.1,
            thickness=0.005,
            wxyz=camera.wxyz,
            position=camera.position,
        )
        self._told.content = f"{number} key frame{'s' if number > 1 else ''}"

    def _remove(self) -> None:
        if self.keys:
            self._client.scene.remove_by_name(f"/keys/{len(self.keys)}")
            self.keys.pop()
            self._told.content = f"{len(self.keys)} key frames"

    def _preview(self) -> None:
        """Move the browser's view along the path, in the time that the motion takes."""
        clip = self._clip()
        seconds = max(1.0, clip.num_frames / clip.fps)
        views = path_through(self.keys, max(2, round(seconds * PREVIEW_RATE)))
        if not self._playing.acquire(blocking=False):
            return
        try:
            for view in views:
                self._show(view)
                time.sleep(1 / PREVIEW_RATE)
        finally:
            self._playing.release()

    def _show(self, view: Camera) -> None:
        look_through(self._client, view)

    def _save(self) -> None:
        clip = self._clip()
        path = save_path(path_through(self.keys, clip.num_frames), self._folder, self._name.value)
        self._told.content = f"wrote {path}\n\n```\n{animate_command(self._actor, clip, path)}\n```"

    def _say(self, work: Callable[[], None]) -> None:
        """Do it; a user's mistake is shown below the buttons."""
        try:
            work()
        except (UserError, OSError) as error:
            self._told.content = str(error)


def look_through(client: viser.ClientHandle, camera: Camera) -> None:
    """Move a browser's view to a camera."""
    axes = camera.T_world_camera[:3, :3]
    here = client.camera
    reach = float(np.linalg.norm(here.look_at - here.position))
    with client.atomic():
        here.position = camera.center
        here.look_at = camera.center + reach * axes[:, 2]
        here.up_direction = -axes[:, 1]
        here.fov = 2 * float(np.arctan(camera.height / 2 / camera.K[1, 1]))
