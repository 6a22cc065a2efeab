"""The frames of a film while it is made: a PNG each, marked by what it shows, in a folder that one program writes.

A program that is killed leaves whole frames; the next one draws the others. Its lock ends with it, however it ends.
"""

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from jaxtyping import Float

from na_ray.config.values import UserError
from na_ray.pictures import png

FACTS = "film.json"
"""What the frames in the folder were made of."""


class FrameStore:
    """The folder of a film's frames.

    with FrameStore(Path("dance.frames"), identity) as store:
        if not store.is_kept(0, mark):
            store.write(0, picture, mark)
    """

    def __init__(self, folder: Path, identity: dict[str, str], overwrite: bool = False, alpha: bool = False) -> None:
        """`identity`: what decides every frame, by name. `overwrite`: replace the frames of another film."""
        self.folder, self.identity, self.overwrite, self.alpha = folder, identity, overwrite, alpha
        self._lock: IO[str] | None = None
        self._states: list[tuple[int, np.ndarray]] = []

    def __enter__(self) -> "FrameStore":
        """Lock the folder. Raises UserError where another program makes a film in it, FileExistsError where its
        frames are another film's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(
                f"{self.folder}: another na-ray is making a film there: wait, or name another one"
            ) from None
        try:
            self._claim()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _claim(self) -> None:
        facts, known = self.folder / FACTS, dict[str, str]()
        if facts.is_file():
            try:
                known = json.loads(facts.read_text())
            except ValueError:
                known = {"film": "unreadable"}
        elif any(self.folder.glob("*.png")):
            known = {"film": "unknown"}
        if known and known != self.identity:
            if not self.overwrite:
                names = [n for n in {**known, **self.identity} if known.get(n) != self.identity.get(n)]
                raise FileExistsError(
                    f"{self.folder} holds frames of another film ({', '.join(names)} differ): name another one, or "
                    "--overwrite"
                )
            for file in (*self.folder.glob("*.png"), self.folder / "state.npz"):
                file.unlink(missing_ok=True)
        aside = facts.with_name(f".{FACTS}.{os.getpid()}")
        aside.write_text(json.dumps(self.identity, indent=1))
        os.replace(aside, facts)

    def file(self, index: int) -> Path:
        """Where a frame's picture is."""
        return self.folder / f"{index:06d}.png"

    def is_kept(self, index: int, mark: str) -> bool:
        """Whether a frame is there. Raises FileExistsError where it shows something else, unless that may go."""
        try:
            return png.is_kept(self.file(index), mark, "is a frame of another film")
        except FileExistsError:
            if not self.overwrite:
                raise
            return False

    def read(self, index: int) -> np.ndarray:
        """A frame that is kept."""
        return png.read_png(self.file(index), self.alpha)

    def write(self, index: int, picture: np.ndarray, mark: str) -> None:
        """Keep a frame."""
        png.write_png(self.file(index), picture, mark, fast=True)

    def save_state(self, done: int, images: Float[np.ndarray, "k 3 h w"]) -> None:
        """Keep what the frames behind the first `done` need of these: the last predictions, not rounded. It is written
        when these frames are (`passed`): others may be drawn ahead of them."""
        self._states.append((done, images))

    def passed(self, index: int) -> None:
        """A frame and all before it are kept."""
        ready = [state for state in self._states if state[0] <= index + 1]
        if ready:
            self._states = [state for state in self._states if state[0] > index + 1]
            aside = self.folder / f".state.{os.getpid()}.npz"
            np.savez(aside, done=np.array(ready[-1][0]), images=ready[-1][1])
            os.replace(aside, self.folder / "state.npz")

    def load_state(self) -> tuple[int, Float[np.ndarray, "k 3 h w"]] | None:
        """What was kept, None where there is nothing."""
        path = self.folder / "state.npz"
        if not path.is_file():
            return None
        # It was renamed into its place: it is whole.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return int(held["done"]), held["images"]

    def remove(self) -> None:
        """Leave no frames behind: their film is whole."""
        shutil.rmtree(self.folder)

    def remove_empty(self) -> None:
        """Leave nothing behind where no frame is."""
        if not any(self.folder.glob("*.png")):
            shutil.rmtree(self.folder)

    def tidy(self) -> None:
        """Leave the frames alone behind, which are the film."""
        (self.folder / "state.npz").unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()
