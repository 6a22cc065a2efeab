"""A capture on disk or behind a URL: its body, splits, cameras, poses and pictures.

    capture = Capture.open("captures/human")
    split = capture.split("training")
    for image in split.images(camera=3, start=100, stop=116): ...

Frames are named by *position* 0..num_frames-1 here; `Split.frames` holds the numbers that their files bear. Frame i
of a video belongs to position i.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import UInt8

from na_ray.capture import video
from na_ray.capture.about import texture_cameras
from na_ray.capture.camera import Camera, read_extrinsics, read_intrinsics
from na_ray.capture.image import image_resolution, read_image
from na_ray.capture.layout import (
    BODY_FILES,
    CameraFiles,
    SplitFiles,
    find_cameras,
    find_file,
    find_split,
    find_splits,
)
from na_ray.capture.naming import Series
from na_ray.capture.rig import Pose, Rig, read_rig
from na_ray.capture.storage import is_url, read_bytes, version
from na_ray.capture.storage.archive import read_member
from na_ray.config.secrets import public
from na_ray.config.values import UserError


@dataclass(frozen=True, eq=False)
class Capture:
    """A subject's data. Opening looks at names only; `na_ray.capture.checks.defects` reads everything."""

    path: str
    """The capture's root folder or URL."""
    folders: dict[str, str]
    """Split name to folder."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Capture":
        """Open a capture, or one split of it, from a folder or URL.

        Raises FileNotFoundError when there is no such folder, UserError when it holds no capture.
        """
        place = public(os.fspath(path))
        return cls(*find_splits(place if is_url(place) else place.rstrip("/") or "/"))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted(self.folders))

    @property
    def texture_cameras(self) -> tuple[int, ...] | None:
        """Positions of the cameras whose photographs made the texture maps, as `capture.json` says; None: unknown."""
        return texture_cameras(self.path)

    def split(self, name: str) -> "Split":
        """One split. Raises UserError, naming those that exist, when there is no such split."""
        if name not in self.folders:
            raise UserError(f"{self.path}: no split {name!r}; it has: {', '.join(self.splits)}")
        return Split(find_split(name, self.folders[name], self.path))

    @property
    def rig(self) -> Rig:
        """The skinned body: its files lie in the root, or in the first split that has them."""
        error: FileNotFoundError | None = None
        for folder in (self.path, *(self.folders[name] for name in self.splits)):
            try:
                return _rig(tuple(version(find_file((folder, self.path), name)) for name in BODY_FILES))
            except FileNotFoundError as missing:
                error = error or missing
        assert error is not None
        raise error


@lru_cache(maxsize=4)
def _rig(versions: tuple[tuple[str, int, str], ...]) -> Rig:
    canonical, uvmapping, weights, tpose = (path for path, _, _ in versions)
    return read_rig(canonical, uvmapping, weights, tpose)


@dataclass(frozen=True, eq=False)
class Split:
    """One motion, filmed by all cameras. Small enough to be sent to every worker: names and cameras alone."""

    files: SplitFiles
    """Where everything lies."""

    @property
    def name(self) -> str:
        """Name of the split's folder."""
        return self.files.name

    @property
    def num_frames(self) -> int:
        """Frames, as many as there are transforms."""
        return len(self.files.frames)

    @property
    def frames(self) -> list[int]:
        """Numbers of the frames as their files are named, by position."""
        return list(self.files.frames)

    @property
    def rig(self) -> Rig:
        """The skinned body, from the split's folder or else from the capture's root."""
        return _rig(tuple(version(find_file((self.files.folder, self.files.root), name)) for name in BODY_FILES))

    @cached_property
    def camera_files(self) -> tuple[CameraFiles, ...]:
        """The files of each camera."""
        return tuple(find_cameras(self.files))

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """The calibrated cameras, with the size of their pictures. Raises UserError in one line."""
        return tuple(self._camera(files) for files in self.camera_files)

    def _camera(self, files: CameraFiles) -> Camera:
        if self.files.rgb is None:
            height, width = video.resolution(files.source)
        else:
            height, width = image_resolution(self.files.picture(self.files.frames[0], files.source))
        T_world_camera = read_extrinsics(files.extrinsics, files.world_to_camera)
        return Camera(files.name, read_intrinsics(files.intrinsics), T_world_camera, height, width)

    def pose(self, position: int) -> Pose:
        """The tracked body at a frame. Raises UserError in one line."""
        return Pose.from_json(self.read_transform(position), self.files.transforms.path(self._number(position)))

    def read_transform(self, position: int) -> bytes:
        """The frame's `transform/*.json` as it is. Raises UserError where its archive is damaged."""
        series, number = self.files.transforms, self._number(position)
        if not series.archive:
            return read_bytes(series.path(number))
        return read_member(series.folder, series.name(number))

    def image(self, position: int, camera: int) -> UInt8[np.ndarray, "h w c"]:
        """The picture (height, width, 3 or 4) of camera 0..len(cameras)-1."""
        return next(self.images(camera, position, position + 1))

    def texture(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The texture map, RGB; its first row is v = 1."""
        return next(self.textures(position, position + 1))

    def normal_map(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The normal map as decoded: R = nz, G = ny, B = nx, n / 2 + 0.5, white outside the charts."""
        return next(self.normal_maps(position, position + 1))

    def images(self, camera: int, start: int = 0, stop: int | None = None) -> Iterator[UInt8[np.ndarray, "h w c"]]:
        """The pictures of a camera at positions start..stop (exclusive), decoded in one go."""
        start, stop = self._range(start, stop)
        files = self._files_of(camera)
        if self.files.rgb is None:
            return video.decode(files.source, start, stop)
        return (read_image(self.files.picture(self.files.frames[i], files.source)) for i in range(start, stop))

    def textures(self, start: int = 0, stop: int | None = None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The texture maps at positions start..stop (exclusive), decoded in one go."""
        return self._maps("tex", self.files.texture_video, self.files.texture, start, stop)

    def normal_maps(self, start: int = 0, stop: int | None = None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The normal maps at positions start..stop (exclusive), decoded in one go."""
        return self._maps("normal", self.files.normal_video, self.files.normal, start, stop)

    def video(self, camera: int) -> str | None:
        """The camera's video, None in the extracted layout."""
        return self._files_of(camera).source if self.files.kind == "raw" else None

    @property
    def texture_video(self) -> str | None:
        """The video of the texture maps, None where they are pictures."""
        return self.files.texture_video if self.files.texture is None else None

    @property
    def normal_video(self) -> str | None:
        """The video of the normal maps, None where they are pictures."""
        return self.files.normal_video if self.files.normal is None else None

    @property
    def has_textures(self) -> bool:
        """Whether there are texture maps, as pictures or as a video."""
        return self.files.texture is not None or self.files.texture_video is not None

    @property
    def has_normal_maps(self) -> bool:
        """Whether there are normal maps, as pictures or as a video."""
        return self.files.normal is not None or self.files.normal_video is not None

    def _maps(
        self, what: str, source: str | None, pictures: Series | None, start: int, stop: int | None
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        start, stop = self._range(start, stop)
        if pictures is not None:
            paths = [pictures.path(self.files.frames[i]) for i in range(start, stop)]
            return (read_image(path)[:, :, :3] for path in paths)
        if source is None:
            raise FileNotFoundError(
                f"{self.files.folder}: no {what}*.avi nor a folder {what}/: copy the {what} maps there"
            )
        return (image[:, :, :3] for image in video.decode(source, start, stop))

    def _files_of(self, camera: int) -> CameraFiles:
        if not 0 <= camera < len(self.camera_files):
            count = len(self.camera_files)
            raise UserError(f"{self.files.folder}: no camera at position {camera}; there are {count}, from 0")
        return self.camera_files[camera]

    def _number(self, position: int) -> int:
        if not 0 <= position < self.num_frames:
            count = self.num_frames
            raise UserError(f"{self.files.folder}: no frame at position {position}; there are {count}, from 0")
        return self.files.frames[position]

    def _range(self, start: int, stop: int | None) -> tuple[int, int]:
        stop = self.num_frames if stop is None else stop
        if not 0 <= start <= stop <= self.num_frames:
            expected = f"expected a range within 0..{self.num_frames}"
            raise UserError(f"{self.files.folder}: frames {start}..{stop} do not exist; {expected}")
        return start, stop
