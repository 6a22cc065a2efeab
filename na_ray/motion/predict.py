"""Texture maps from normal maps, frame after frame: each from its normal map and the two predictions before it."""

import os
import shutil
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture import video
from na_ray.capture.dataset import Split
from na_ray.capture.image import Map, resized
from na_ray.capture.rig import Pose
from na_ray.capture.storage import listing
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import Predictor
from na_ray.config import parse_indices
from na_ray.config.values import Progress, UserError
from na_ray.motion.normals import SIZE, Format, check_frames, draw_normals, keep_video
from na_ray.pictures import png

AnyMap = UInt8[np.ndarray, "*shape"]
"""Of any size: it is looked at before it is used."""

MEMORY = 2
"""Predictions that the next one is made from."""

STATE_EVERY = 16
"""Frames after which an interrupted prediction has to repeat no more than these."""


class Recursion:
    """A prediction in progress. What it holds does not grow with the frames that it has seen."""

    def __init__(self, predictor: Predictor) -> None:
        """Before the first frame: it and the second are predicted without warping (parity/vid2vid 4.9)."""
        self.predictor = predictor
        self.labels: list[Float[Tensor, "1 3 h w"]] = []
        """Normal maps in [-1, 1] of the last two frames, oldest first."""
        self.images: list[Float[Tensor, "1 3 h w"]] = []
        """Their predictions, RGB in [-1, 1], not rounded."""
        self._embedding: list[Tensor] | None = None

    def resume(self, normals: Iterable[Map], images: Float[np.ndarray, "k 3 i j"]) -> None:
        """Go on behind the frames of these normal maps and predictions: the last two, or the first where there is one.

        What follows is the same, bit for bit, as without the break.
        """
        like = self.predictor.generator.head.weight
        self.labels = [self._label(normal) for normal in normals]
        self.images = [torch.from_numpy(image)[None].to(like) for image in images]
        self._embedding = None
        assert len(self.labels) == len(self.images) <= MEMORY

    @torch.no_grad()
    def next(self, normal: AnyMap) -> Map:
        """The texture map of the next frame, at `vid2vid.resolution`.

        Raises UserError for a normal map of other proportions.
        """
        label = self._label(normal)
        past = [torch.stack(maps, dim=1) for maps in (self.labels, self.images) if maps]
        found = self.predictor.generator(label, *past, previous=self._embedding)
        self.labels = [*self.labels, label][-MEMORY:]
        self.images = [*self.images, found.image][-MEMORY:]
        self._embedding = found.embedding
        return to_map(found.image[0], truncate=self.predictor.config.texture.parity)

    def _label(self, normal: AnyMap) -> Float[Tensor, "1 3 i j"]:
        height, width = self.predictor.config.vid2vid.resolution
        if normal.ndim != 3 or normal.shape[2] != 3 or normal.shape[0] * width != normal.shape[1] * height:
            found = "x".join(map(str, normal.shape))
            expected = f"expected 3 channels and the proportions of {height}x{width} (vid2vid.resolution)"
            raise UserError(f"a normal map of {found}; {expected}: render it again, na-ray prepare normals")
        values = torch.from_numpy(np.array(resized(normal, (height, width))))
        like = self.predictor.generator.head.weight
        return (values.to(like) / 127.5 - 1).permute(2, 0, 1)[None].contiguous()


def to_map(image: Float[Tensor, "3 h w"], truncate: bool = False) -> Map:
    """A prediction in [-1, 1] in 8 bits. The original truncates, which darkens all colors by half a level on average:
    rounding is the default."""
    values = ((image + 1) * 127.5).clamp(0, 255)
    values = values.floor() if truncate else (values + 0.5).floor()
    return values.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def predict_maps(predictor: Predictor, normals: Iterable[AnyMap]) -> Iterator[Map]:
    """The texture maps of a sequence at `vid2vid.resolution`, each as soon as its normal map is there.

    Normal maps have any size of the network's proportions, channels as published. Raises UserError for others.
    """
    recursion = Recursion(predictor)
    for normal in normals:
        yield recursion.next(normal)


def maps_of_poses(predictor: Predictor, poses: Iterable[Pose]) -> Iterator[Map]:
    """The texture maps of a sequence of poses, from the normal maps that are drawn of them."""
    atlas = Atlas(predictor.body, SIZE)
    return predict_maps(predictor, (atlas.normal_map(atlas.body.pose(pose)).cpu().numpy() for pose in poses))


@dataclass(frozen=True)
class Request:
    """How a motion is to be predicted."""

    frames: str = "all"
    """Positions in the split, in a row: a frame is made from those before it."""
    normals: Literal["auto", "capture", "poses"] = "auto"
    """Normal maps from the capture, or drawn from the poses. auto: from the capture where it has some."""
    normal_size: int = SIZE
    """Side at which they are drawn, before they are resized to the network's: that of the maps it was trained on."""
    form: Format = "png"
    """Pictures, or a video."""
    fps: float = 25.0
    """Frames a second of the video."""
    overwrite: bool = False
    """Replace what is there."""

    def chosen(self, split: Split) -> range:
        """The frames, by position. Raises UserError when they are not in a row."""
        chosen = parse_indices(self.frames, split.num_frames, "--frames")
        frames = range(chosen[0], chosen[-1] + 1)
        if chosen != list(frames):
            raise UserError(
                f"frames {self.frames!r}: a prediction goes on from frame to frame: name one range, as 10..200"
            )
        check_frames(frames, self.form)
        return frames


def normal_maps(split: Split, frames: range, body: Body, request: Request) -> Iterator[Map]:
    """The normal maps of a motion: those of its capture, or drawn from its poses with `body`.

    Raises FileNotFoundError or UserError, one line, before the first one, when the capture's lack a frame.
    """
    files = split.files
    has_maps = files.normal is not None or files.normal_video is not None
    if request.normals == "poses" or (request.normals == "auto" and not has_maps):
        return draw_normals(Atlas(body, request.normal_size), split, frames)
    if files.normal is not None:
        names = set(listing(files.normal.folder))
        missing = [n for n in (split.frames[i] for i in frames) if files.normal.name(n) not in names]
        if missing:
            found = f"missing, as are {len(missing) - 1} others of {len(frames)}" if len(missing) > 1 else "missing"
            raise FileNotFoundError(f"{files.normal.path(missing[0])}: {found}: draw them, --normals poses")
    elif files.normal_video is not None and (count := video.count(files.normal_video)) != split.num_frames:
        expected = f"{split.num_frames}, as the motion has poses"
        raise UserError(f"{files.normal_video}: holds {count} frames; expected {expected}: draw them, --normals poses")
    return split.normal_maps(frames.start, frames.stop)


def predict_sequence(
    predictor: Predictor, split: Split, out: Path, request: Request | None = None, progress: Progress | None = None
) -> Path:
    """Predict the texture maps of a motion as `out/tex/NNNNNN.png`, the frame's number, or as `out/tex.avi`.

    A prediction that was interrupted goes on where it stopped, with the same result bit for bit (on the same device
    with as many threads). Existing frames are kept unless `request.overwrite`; those of another prediction raise
    FileExistsError. Returns the folder or the video.
    """
    request = request or Request()
    frames = request.chosen(split)
    normals = normal_maps(split, frames, predictor.body, request)
    store = _Store(out, [split.frames[i] for i in frames], request.form)
    if request.overwrite:
        store.clear()
    recursion, tail, mark = Recursion(predictor), deque[Map](maxlen=MEMORY), predictor_identity(predictor)
    first, images = store.resumable()
    for done, normal in enumerate(normals, 1):
        mark = png.digest(mark, normal)
        kept = store.is_kept(done - 1, mark)
        if done > first:
            texture = _next(recursion, normal, split, frames[done - 1])
            if not kept:
                store.write(done - 1, texture, mark)
            if done % STATE_EVERY == 0:
                store.save(done, recursion.images)
        tail.append(normal)
        if done == first < len(frames):
            recursion.resume(tail, images)
        if progress:
            progress(done, len(frames))
    return store.finish(mark, request.fps)


def predictor_identity(predictor: Predictor) -> str:
    """What decides a prediction beside its normal maps, in short."""
    config = predictor.config
    knobs = f"{config.vid2vid} {config.texture.parity}"
    return png.digest(knobs, *predictor.generator.state_dict().values())


def _next(recursion: Recursion, normal: AnyMap, split: Split, position: int) -> Map:
    try:
        return recursion.next(normal)
    except UserError as error:
        raise UserError(f"{split.files.folder}, frame {split.frames[position]}: {error}") from None


class _Store:
    """The files of a prediction. Each picture is marked by the network and all normal maps up to it.

    A video is encoded from hidden pictures when the last one is there. Beside them lies what going on needs: the last
    predictions before they were rounded, written every `STATE_EVERY` frames.
    """

    def __init__(self, out: Path, numbers: list[int], form: Format) -> None:
        self.film = out / "tex.avi" if form == "avi" else None
        self.folder = out / ("tex" if form == "png" else ".tex_frames")
        self.state = out / ".tex_state.npz"
        self.files = [self.folder / f"{number:06d}.png" for number in numbers]

    def clear(self) -> None:
        """Remove what is to be replaced."""
        for file in (*self.files, self.state, *([self.film] if self.film else [])):
            file.unlink(missing_ok=True)

    def resumable(self) -> tuple[int, Float[np.ndarray, "k 3 h w"]]:
        """(frames that need not be predicted, the last predictions of these)."""
        nothing = np.zeros((0, 3, 1, 1), np.float32)
        if (self.film is not None and self.film.is_file()) or all(file.is_file() for file in self.files):
            return len(self.files), nothing
        try:
            with self.state.open("rb") as file, np.load(file, allow_pickle=False) as held:
                first, images = int(held["done"]), held["images"]
            if all(file.is_file() for file in self.files[:first]):
                return first, images
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # none, or cut short by a crash
        self.state.unlink(missing_ok=True)
        return 0, nothing

    def is_kept(self, index: int, mark: str) -> bool:
        """Whether a frame is there. Raises FileExistsError when it is another prediction's."""
        if self.film is not None and self.film.is_file():
            return True  # its mark is compared at the end
        return png.is_kept(self.files[index], mark, "is of another predictor, motion or first frame")

    def write(self, index: int, texture: Map, mark: str) -> None:
        """Keep a frame."""
        png.write_png(self.files[index], texture, mark, fast=True)

    def save(self, done: int, images: list[Float[Tensor, "1 3 h w"]]) -> None:
        """Keep what frame `done` needs of those before it."""
        aside = self.state.with_name(f"{self.state.stem}.{os.getpid()}.npz")
        held = torch.cat(images).float().cpu().numpy()
        np.savez(aside, done=np.array(done), images=held)
        os.replace(aside, self.state)

    def finish(self, mark: str, fps: float) -> Path:
        """Encode the video if one is asked for, and leave nothing else behind."""
        self.state.unlink(missing_ok=True)
        if self.film is None:
            return self.folder
        mark = png.digest(mark, str(fps))
        if self.film.is_file():
            return keep_video(self.film, mark, "is of another predictor, motion or frame rate")
        with VideoWriter(self.film, fps, mark=mark) as film:
            for file in self.files:
                film.write(png.read_png(file))
        shutil.rmtree(self.folder)
        return self.film
