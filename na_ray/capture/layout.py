"""Where the files of a capture lie: the raw and the extracted layout, in every spelling that copies of the data use.

Nothing but names is read here (and the directory of `transform.zip`).
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from na_ray.capture.naming import ANY, Series, by_number, series_of
from na_ray.capture.storage import basename, is_url, join, listing, parent
from na_ray.capture.storage.archive import open_zip
from na_ray.config.values import UserError

VIDEOS = (".avi", ".mp4", ".mkv", ".mov")
IMAGES = (".png", ".jpg", ".jpeg")
FILES = (*VIDEOS, *IMAGES, ".txt", ".obj", ".mtl", ".json", ".zip", ".npz", ".npy", ".md", ".yml", ".yaml", ".pkl")
BODY_FILES = ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json")
# In the order of precedence: the original prefers world-to-camera where both exist (parity/nerf 2.7).
INTRINSICS = ("intrinsic", "intrinisc", "intrinsics")
WORLD_TO_CAMERA = ("extrinsic", "extrinsics")
CAMERA_TO_WORLD = ("pose", "poses")
OTHER_CALIBRATIONS = {
    "intri.yml": "EasyMocap's (K_*, and in extri.yml Rot_* and T_*, world-to-camera: extrinsic/)",
    "annots.npy": "ZJU-MoCap's (cams: K, R, T in millimetres, world-to-camera: extrinsic/)",
    "transforms.json": "nerfstudio's (transform_matrix, with the axes of OpenGL)",
    "cameras.txt": "COLMAP's (and images.txt, world-to-camera: extrinsic/)",
}
"""Files of other programs that lie where a calibration is missed, and what they hold."""


@dataclass(frozen=True)
class CameraFiles:
    """What belongs to one camera of a split."""

    number: int
    """That of its video, picture or folder of pictures."""
    name: str
    intrinsics: str
    extrinsics: str
    world_to_camera: bool
    source: str
    """Its video (raw layout), its picture's name within each frame's folder (extracted), or its folder of pictures."""


@dataclass(frozen=True)
class SplitFiles:
    """Where everything of one split lies. Small, whatever the number of frames."""

    name: str
    folder: str
    root: str
    kind: Literal["raw", "extracted", "poses"]
    """`poses`: transforms alone, a motion without pictures."""
    frames: Sequence[int]
    """Frame numbers as named on disk, ascending; a range where they are evenly spaced."""
    transforms: Series
    rgb: Series | None
    texture: Series | None
    normal: Series | None
    texture_video: str | None
    normal_video: str | None
    by_camera: bool = False
    """Whether `rgb/` holds a folder of pictures a camera, and `rgb` is their pattern within it; else one a frame."""

    def picture(self, number: int, source: str) -> str:
        """The picture of a frame (its number) by a camera (its `source`), in the extracted layout."""
        assert self.rgb is not None
        if self.by_camera:
            return join(self.rgb.folder, source, self.rgb.name(number))
        return join(self.rgb.path(number), source)


def is_split(names: Sequence[str]) -> bool:
    """Whether a folder with these names is a split of a capture."""
    return "transform.zip" in names or "transform" in names or "rgb_video" in names


def find_splits(path: str) -> tuple[str, dict[str, str]]:
    """(the capture's root, name to folder of its splits); `path` may be a capture or one split of it.

    Raises FileNotFoundError when there is no such folder, UserError when it holds no split.
    """
    names = listing(path)
    if not names:
        hint = "" if is_url(path) or not os.path.exists(path) else " with files in it"
        raise FileNotFoundError(f"{path}: no such folder{hint}; expected a capture: check the path")
    if is_split(names):
        return parent(path), {basename(path): path}
    # Each name costs a request behind a URL: files are told by their endings. A folder may have a dot in its name.
    calibration = (*INTRINSICS, *WORLD_TO_CAMERA, *CAMERA_TO_WORLD)
    folders = {n: join(path, n) for n in names if n not in calibration and not n.lower().endswith(FILES)}
    splits = {name: folder for name, folder in folders.items() if is_split(listing(folder))}
    if not splits:
        expected = "expected folders such as 'training' that hold rgb_video/ and transform.zip, or rgb/ and transform/"
        raise UserError(f"{path}: no capture (it holds {', '.join(names[:8])}); {expected}: check the path")
    return path, splits


def find_file(places: tuple[str, str], name: str) -> str:
    """A body file: in the split's folder, else in the capture's root. Raises FileNotFoundError."""
    folder, root = places
    for place in places:
        if name in listing(place):
            return join(place, name)
    raise FileNotFoundError(f"{join(root, name)}: no such file, nor in {folder}: copy it there")


def find_split(name: str, folder: str, root: str) -> SplitFiles:
    """Look at the names in a split's folder. Raises UserError or FileNotFoundError in one line."""
    names = listing(folder)
    transforms, frames = _find_transforms(folder, names)
    pictures = {what: _find_pictures(folder, what, names, frames) for what in ("tex", "normal")}
    rgb, by_camera = _find_folders(folder, names, frames)
    videos = {what: find_map_videos(folder, names, what) for what in ("tex", "normal")}
    return SplitFiles(
        name,
        folder,
        root,
        "raw" if "rgb_video" in names else "extracted" if "rgb" in names else "poses",
        frames,
        transforms,
        rgb,
        pictures["tex"],
        pictures["normal"],
        videos["tex"][0] if videos["tex"] else None,
        videos["normal"][0] if videos["normal"] else None,
        by_camera,
    )


def find_map_videos(folder: str, names: Sequence[str], what: str) -> list[str]:
    """Videos of the texture (`tex`) or the `normal` maps in a split's folder."""
    return [join(folder, n) for n in names if n.startswith(what) and n.lower().endswith(VIDEOS)]


def _find_transforms(folder: str, names: Sequence[str]) -> tuple[Series, Sequence[int]]:
    """Names and numbers of the frames' JSON files, in a folder or in `transform.zip`."""
    if "transform" in names:
        place, archive = join(folder, "transform"), False
        members = listing(place)
    elif "transform.zip" in names:
        place, archive = join(folder, "transform.zip"), True
        members = [n for n in open_zip(place).namelist() if not n.startswith("__MACOSX")]
    else:
        expected = "expected transform.zip or a folder transform/ with one JSON file a frame: copy it there"
        raise FileNotFoundError(f"{folder}: no transforms; {expected}")
    files = by_number(place, (m for m in members if basename(m) != "transform_tpose.json"), (".json",))
    if not files:
        raise UserError(f"{place}: no frames; expected files such as 000000.json: copy them again")
    return series_of(place, files, archive), _compact(list(files))


def _compact(numbers: list[int]) -> Sequence[int]:
    """A range where the numbers are evenly spaced: it stays small when it is sent to a worker."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    evenly = range(numbers[0], numbers[-1] + 1, step)
    return evenly if len(evenly) == len(numbers) and list(evenly) == numbers else tuple(numbers)


def _find_pictures(folder: str, what: str, names: Sequence[str], frames: Sequence[int]) -> Series | None:
    """The frames' maps (`tex`, `normal`) in the extracted layout."""
    if what not in names:
        return None
    place = join(folder, what)
    return _known(place, what, by_number(place, listing(place), IMAGES), frames)


def _known(place: str, what: str, files: dict[int, str], frames: Sequence[int]) -> Series:
    """The pattern of those that belong to a frame."""
    if not files:
        raise UserError(f"{place}: the folder is empty; expected one {what} picture a frame: extract it again")
    known = {n: files[n] for n in frames if n in files}
    return series_of(place, known or files)


def _find_folders(folder: str, names: Sequence[str], frames: Sequence[int]) -> tuple[Series | None, bool]:
    """(the pattern of the frames' folders, False), or (that of the pictures in each camera's folder, True)."""
    if "rgb" not in names:
        return None, False
    place = join(folder, "rgb")
    folders = by_number(place, listing(place), ANY)
    if folders and not set(frames) <= set(folders) and len(folders) < len(frames):
        first = join(place, next(iter(folders.values())))
        pictures = by_number(first, listing(first), IMAGES)
        if set(frames) <= set(pictures):
            return replace(_known(first, "rgb", pictures, frames), folder=place), True
    return _known(place, "rgb", folders, frames), False


def find_cameras(files: SplitFiles) -> list[CameraFiles]:
    """The cameras that have pictures in this split, in the order of their numbers.

    Pictures and calibration belong together by number, or by position where the numbering starts elsewhere.
    Raises UserError where a camera has no calibration.
    """
    sources = find_sources(files)
    intrinsics = find_calibration(files, INTRINSICS)
    inverse = find_calibration(files, WORLD_TO_CAMERA, required=False)
    extrinsics = inverse or find_calibration(files, CAMERA_TO_WORLD)
    numbers = match_numbers(list(sources), list(extrinsics))
    cameras = []
    for number, source in sources.items():
        known = numbers.get(number)
        if known is None:
            expected = f"expected one of the cameras {_short(extrinsics)}"
            raise UserError(f"{files.folder}: {basename(source)} has no extrinsics; {expected}: copy its calibration")
        shared = intrinsics.get(-1, "")
        if not shared and known not in intrinsics:
            expected = f"expected an intrinsics file numbered {known}; there are {_short(intrinsics)}"
            raise UserError(f"{extrinsics[known]}: this camera has no intrinsics; {expected}: copy its calibration")
        name = basename(extrinsics[known]).rsplit(".", 1)[0]
        cameras.append(CameraFiles(number, name, shared or intrinsics[known], extrinsics[known], bool(inverse), source))
    return cameras


def _short(numbers: Iterable[int]) -> str:
    return ", ".join(str(n) for n in list(numbers)[:12])


def match_numbers(sources: list[int], calibrated: list[int]) -> dict[int, int]:
    """Source number to calibration number."""
    if set(sources) <= set(calibrated):
        return {n: n for n in sources}
    if len(sources) == len(calibrated):
        return dict(zip(sources, calibrated, strict=True))
    return {n: n for n in sources if n in calibrated}


def find_sources(files: SplitFiles) -> dict[int, str]:
    """Camera number to its video, to its picture's name within the first frame's folder, or to its folder's name."""
    if files.kind == "poses":
        return {}
    if files.kind == "raw":
        folder = join(files.folder, "rgb_video")
        found = by_number(folder, listing(folder), VIDEOS)
        if not found:
            raise UserError(f"{folder}: no videos; expected one a camera, such as 000.avi: copy them there")
        return {number: join(folder, name) for number, name in found.items()}
    assert files.rgb is not None
    if files.by_camera:
        return by_number(files.rgb.folder, listing(files.rgb.folder), ANY)
    folder = files.rgb.path(files.frames[0])
    pictures = by_number(folder, listing(folder), IMAGES)
    if not pictures:
        raise FileNotFoundError(f"{folder}: no pictures of this frame; expected one a camera: extract it again")
    return pictures


def find_calibration(files: SplitFiles, spellings: tuple[str, ...], required: bool = True) -> dict[int, str]:
    """Camera number to matrix file, from the split's folder, else the root; {-1: path} is one file for all.

    Raises FileNotFoundError where none is there and one is `required`.
    """
    for place in (files.folder, files.root):
        names = listing(place)
        for spelling in spellings:
            folder = join(place, spelling)
            if spelling in names and (found := by_number(folder, listing(folder), (".txt",))):
                return {number: join(folder, name) for number, name in found.items()}
            if f"{spelling}.txt" in names and spellings is INTRINSICS:
                return {-1: join(place, f"{spelling}.txt")}
    if not required:
        return {}
    expected = f"expected a folder {' or '.join(s + '/' for s in spellings)} with one matrix a camera, such as 0000.txt"
    held = [name for name in listing(files.root) if name in OTHER_CALIBRATIONS]
    todo = f"na-ray convert cameras writes it: {held[0]} is {OTHER_CALIBRATIONS[held[0]]}" if held else "copy it there"
    raise FileNotFoundError(f"{files.root}: no {spellings[0]} calibration; {expected}: {todo}")
