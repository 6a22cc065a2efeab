"""The command that shows actors live: na-ray view."""

import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from na_ray.cli.render import chosen_device, fetch
from na_ray.config.values import UserError

if TYPE_CHECKING:  # torch takes seconds to import: --help need not wait
    from na_ray.actor import Actor
    from na_ray.capture.textures import Textures
    from na_ray.motion.playable import PlayableMotion
    from na_ray.viewer.figure import Figure, TextureWord
    from na_ray.viewer.scene import Scene

SLOW = 0.25
"""Seconds a frame from which predicted texture maps are not what a viewer begins with."""


@dataclass(frozen=True)
class ViewCommand:
    """Show actors live in the browser: on this machine alone, and without a GPU."""

    actors: Positional[tuple[str, ...]]
    """Runs' folders (runs/NAME), actors' (runs/NAME/actor), checkpoints', or models of MLflow: models:/lan@best.
    Several stand side by side."""
    capture: str | None = None
    """Capture whose motions, photographs and texture maps are shown. The poses of the training if not given."""
    split: str = "testing"
    """Its motion that is shown first; the others can be chosen."""
    motion: str | None = None
    """A motion's files instead, as na-ray animate takes them."""
    shape: str | None = None
    """Change the body's shape: numbers added to the person's shape coefficients, as --shape=1.5,0,-2, where the actor
    keeps the directions (`na-ray convert` of SMPL's models)."""
    avatar: Literal["splats", "nerf", "mesh"] | None = None
    """What is shown first. Splats, or else the mesh, if not given."""
    textures: str | None = None
    """Texture maps at first: `own`, the capture's; `predicted`; `mean`; or a folder of NNNNNN.png or an .avi for the
    capture's split. If not given: own, else predicted where that takes less than a quarter of a second, else mean."""
    port: int = 8080
    """Where the page is: http://127.0.0.1:PORT; 0 for any that is free."""
    host: str = "127.0.0.1"
    """Nothing else is possible, for there is no login: from another machine, ssh -L."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""

    def run(self) -> int:
        """Serve until interrupted."""
        try:
            from na_ray.viewer.server import Viewer, check_host, check_port, warm_up
        except ModuleNotFoundError as missing:
            raise UserError(f"na-ray view needs {missing.name}, which is not installed: pip install viser") from None

        check_host(self.host, self.port)
        check_port(self.port)
        scene = self._scene()
        warm_up(scene)
        viewer = Viewer(scene, self.port, Path.cwd())
        print("\n".join([*scene.notes, f"{viewer.url} shows it; Ctrl-C ends"]), flush=True)
        try:
            _wait_for_the_end()
        finally:
            viewer.close()
        print("ended", flush=True)
        return 0

    def _scene(self) -> "Scene":
        from na_ray.viewer.scene import make_scene

        if not self.actors:
            raise UserError("no actor is named: give a run's folder, as na-ray view runs/anna")
        if self.motion is not None and self.capture is not None:
            raise UserError("--capture and --motion are both given: choose one of them")
        figures = [self._figure(name) for name in self.actors]
        maps = self._maps(figures)
        notes = [line for figure in figures for line in figure.clips[0].lines]
        notes += [told for figure in figures if (told := figure.told(self.avatar or "splats"))]
        return make_scene(figures, self.avatar, maps, [*notes, _told_maps(figures[0], maps, self.textures is None)])

    def _figure(self, name: str) -> "Figure":
        from na_ray.actor import open_actor
        from na_ray.viewer.figure import Figure

        actor = open_actor(fetch(name)).in_shape(self.shape)
        figure = Figure(actor, name.rstrip("/"), self._clips(actor), chosen_device(self.device))
        if self.avatar is not None and self.avatar not in figure.kinds:
            raise UserError(f"{name} has no {self.avatar}; it has: {', '.join(figure.kinds)}")
        figure.given = self._given(figure)
        return figure

    def _clips(self, actor: "Actor") -> "list[PlayableMotion]":
        """The motions that can be chosen, the first one first."""
        from na_ray.capture.about import read_about
        from na_ray.capture.dataset import Capture
        from na_ray.motion.playable import motion_clip, split_clip, training_clip

        if self.motion is not None:
            return [motion_clip(self.motion, actor), training_clip(actor)]
        if self.capture is None:
            return [training_clip(actor)]
        capture = Capture.open(self.capture)
        capture.split(self.split)  # which says what there is
        fps = float(read_about(capture.path).get("fps", 25.0))
        names = [self.split, *(name for name in capture.splits if name != self.split)]
        return [split_clip(capture.split(name), fps, actor.rig.num_joints, actor.reshaping) for name in names]

    def _given(self, figure: "Figure") -> "Textures | None":
        if self.textures in (None, "own", "predicted", "mean"):
            return None
        if self.capture is None:
            raise UserError(
                f"--textures {self.textures}: its maps belong to a capture's split: give --capture, --split"
            )
        from na_ray.capture.dataset import Capture
        from na_ray.capture.textures import Textures

        split = Capture.open(self.capture).split(self.split)
        return Textures.open(self.textures or "", split, range(split.num_frames))

    def _maps(self, figures: "list[Figure]") -> "TextureWord":
        words = [figure.maps(0) for figure in figures]
        if self.textures is None:
            quick = words[0][0] != "predicted" or _seconds_a_map(figures[0]) < SLOW or "mean" not in words[0]
            return words[0][0] if quick else "mean"
        wanted: TextureWord = _word(self.textures)
        for figure, has in zip(figures, words, strict=True):
            if wanted not in has:
                more = "; own maps need --capture" if wanted == "own" and self.capture is None else ""
                raise UserError(
                    f"--textures {self.textures}: {figure.name} has {', '.join(has)}{more}: choose of these"
                )
        return wanted


def _word(textures: str) -> "TextureWord":
    words: dict[str, TextureWord] = {"own": "own", "predicted": "predicted", "mean": "mean"}
    return words.get(textures, "given")


def _seconds_a_map(figure: "Figure") -> float:
    """What a predicted texture map takes here: of the second, since the first one loads."""
    from na_ray.viewer.figure import TextureChooser

    wardrobe, clip = TextureChooser(figure), figure.clips[0]
    wardrobe.texture("predicted", 0, 0, clip.pose(0))
    start = time.perf_counter()
    wardrobe.texture("predicted", 0, 1, clip.pose(1 % clip.num_frames))
    return time.perf_counter() - start


def _told_maps(figure: "Figure", maps: "TextureWord", chosen_here: bool) -> str:
    """Which texture maps are shown first, and why not the predicted ones."""
    if chosen_here and maps == "mean" and "predicted" in figure.maps(0):
        return "texture maps: mean; predicted ones are slow on this machine, and can be chosen"
    return f"texture maps: {maps}"


def _wait_for_the_end() -> None:
    """Until Ctrl-C, or whoever started this ends it."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        while not ended.wait(0.5):
            pass
    except KeyboardInterrupt:
        print()
