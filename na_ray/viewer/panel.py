"""The controls of one browser: what its user wants to see, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from viser import GuiApi, GuiButtonHandle, GuiEvent, GuiImageHandle

from na_ray.viewer.clock import SPEEDS, PlayClock
from na_ray.viewer.figure import Kind, TextureWord
from na_ray.viewer.joints import LIMIT
from na_ray.viewer.scene import Scene

VIEWS = ("color", "depth", "normals")
"""What is shown of a figure."""
MAP_WORDS: tuple[TextureWord, ...] = ("given", "own", "predicted", "mean")
AXES = "xyz"


@dataclass(frozen=True, eq=False)
class Wishes:
    """What the user wants to see. A new value for each change."""

    kind: Kind
    maps: TextureWord
    clip: int = 0
    view: str = "color"
    turns: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    """Axis-angle (degrees) of joints turned by hand, by (figure, joint)."""
    photo_camera: int | None = None
    """Whose photographs are shown beside it."""

    def of_figure(self, index: int) -> dict[int, np.ndarray]:
        """The turns of a figure's joints."""
        return {joint: turn for (figure, joint), turn in self.turns.items() if figure == index}


class Panel:
    """Builds the controls, and keeps `wishes`; `changed` is called when they or the clock's state change."""

    def __init__(self, gui: GuiApi, scene: Scene, clock: PlayClock, changed: Callable[[], None]) -> None:
        self._scene, self._clock, self._changed = scene, clock, changed
        words = scene.figures[0].maps(0)
        maps = scene.maps if scene.maps in words else words[0]
        self.wishes = Wishes(scene.kind, maps)
        self.look_through: GuiButtonHandle | None = None
        """Moves the view to the camera of the photograph; None where there are none, as the next:"""
        self.photo: GuiImageHandle | None = None
        with gui.add_folder("Motion"):
            self._motion(gui)
        with gui.add_folder("Look"):
            self._look(gui)
        with gui.add_folder("Joints", expand_by_default=False):
            self._joints(gui)
        if any(clip.photograph for clip in scene.figures[0].clips):
            with gui.add_folder("Photograph", expand_by_default=False):
                self._photograph(gui)
        self.status = gui.add_markdown("\n\n".join(scene.notes))

    def show_frame(self, frame: int) -> None:
        """Move the slider to the frame that is shown."""
        self._slider.value = frame  # type: ignore[misc]  # viser's types know no setter

    def show_status(self, lines: list[str]) -> None:
        """Write below the controls."""
        text = "\n\n".join([*self._scene.notes, *lines])
        if text != self.status.content:
            self.status.content = text

    def _wish(self, **values: object) -> None:
        self.wishes = replace(self.wishes, **values)  # type: ignore[arg-type]
        self._changed()

    def _motion(self, gui: GuiApi) -> None:
        clips = self._scene.figures[0].clips
        names = [clip.name for clip in clips]
        chosen = gui.add_dropdown("motion", names, initial_value=names[0])
        self._play = gui.add_checkbox("play", self._clock.playing)
        last = max(1, self._clock.num_frames - 1)
        self._slider = gui.add_slider("frame", min=0, max=last, step=1, initial_value=0)
        words = [f"{speed:g}x" for speed in SPEEDS]
        speed = gui.add_dropdown("speed", words, initial_value="1x")

        @chosen.on_update
        def _(_: object) -> None:
            clip = names.index(chosen.value)
            self._clock.change(max(f.clips[clip].num_frames for f in self._scene.figures), clips[clip].fps)
            self._slider.max = max(1, self._clock.num_frames - 1)
            self._maps.options = self._scene.figures[0].maps(clip)
            self._wish(clip=clip, maps=self._maps.value)

        @self._play.on_update
        def _(_: object) -> None:
            self._clock.play(self._play.value)
            self._changed()

        @self._slider.on_update
        def _(event: GuiEvent) -> None:
            if _by_hand(event):
                self._clock.scrub(self._slider.value)
                self._changed()

        @speed.on_update
        def _(_: object) -> None:
            self._clock.set_speed(SPEEDS[words.index(speed.value)])
            self._changed()

    def _look(self, gui: GuiApi) -> None:
        avatar = gui.add_dropdown("avatar", self._scene.kinds, initial_value=self.wishes.kind)
        view = gui.add_dropdown("show", VIEWS, initial_value="color")
        self._maps = gui.add_dropdown("texture maps", self._scene.figures[0].maps(0), initial_value=self.wishes.maps)
        avatar.on_update(lambda _: self._wish(kind=avatar.value))
        view.on_update(lambda _: self._wish(view=view.value))
        self._maps.on_update(lambda _: self._wish(maps=self._maps.value))

    def _joints(self, gui: GuiApi) -> None:
        figures = self._scene.figures
        names = [f"{f.name}: {joint}" if len(figures) > 1 else joint for f in figures for joint in f.skeleton.names]
        keys = [(i, j) for i, f in enumerate(figures) for j in range(len(f.skeleton.names))]
        chosen = gui.add_dropdown("joint", names)
        sliders = [gui.add_slider(f"{a} (degrees)", min=-LIMIT, max=LIMIT, step=1, initial_value=0) for a in AXES]
        reset = gui.add_button("reset all joints")

        def key() -> tuple[int, int]:
            return keys[names.index(chosen.value)]

        def turn(event: GuiEvent) -> None:
            if _by_hand(event):
                value = np.array([slider.value for slider in sliders], np.float64)
                self._wish(turns=self.wishes.turns | {key(): value})

        def show(_: object) -> None:
            for slider, value in zip(sliders, self.wishes.turns.get(key(), np.zeros(3)), strict=True):
                slider.value = int(value)  # type: ignore[misc]

        @reset.on_click
        def _(_: object) -> None:
            self._wish(turns={})
            show(None)

        for slider in sliders:
            slider.on_update(turn)
        chosen.on_update(show)

    def _photograph(self, gui: GuiApi) -> None:
        clips = self._scene.figures[0].clips
        most = max(len(clip.cameras) for clip in clips)
        names = [f"camera {i}" for i in range(most)]
        chosen = gui.add_dropdown("photograph", ["none", *names], initial_value="none")
        self.look_through = gui.add_button("look through it")
        self.photo = gui.add_image(np.full((8, 8, 3), 255, np.uint8), visible=False)

        @chosen.on_update
        def _(_: object) -> None:
            self._wish(photo_camera=None if chosen.value == "none" else names.index(chosen.value))


def _by_hand(event: GuiEvent) -> bool:
    """Whether a control was moved in the browser, and not from here."""
    return event.client_id is not None
