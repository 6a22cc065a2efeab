"""What lies in a folder of another program: cameras, footage, masks, who was tracked. Names and numbers, no pixels."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from na_ray.capture.layout import IMAGES, VIDEOS
from na_ray.capture.naming import by_number
from na_ray.capture.storage import basename, join, listing, parent
from na_ray.config.values import UserError
from na_ray.convert.cameras import ordered
from na_ray.convert.clips import natural
from na_ray.convert.joints import find_keypoints, in_step
from na_ray.formats import easymocap, zju_mocap
from na_ray.formats.body25 import Detected
from na_ray.formats.calibrated import CalibratedCamera, printable
from na_ray.formats.easymocap import Person

TRACKS = (
    "smpl",
    "output/smpl",
    "output/smpl/smpl",
    "output-smpl-3d/smpl",
    "output-smpl-3d",
    "output/smpl-3d/smpl",
    "smplh",
    "smplx",
)
"""Folders in which EasyMocap's versions leave what they tracked."""
MASKS = ("mask", "masks")
ZJU_MASKS = ("mask_cihp", "mask")
ZJU_TRACKS = ("new_params", "params")


@dataclass(frozen=True)
class Footage:
    """The pictures of one camera."""

    camera: str
    """Name of the camera."""
    path: str
    """A video, or a folder of pictures."""
    masks: str | None
    """A folder of masks, or a video of them."""


@dataclass(frozen=True, eq=False)
class SourceSequence:
    """A sequence of another program."""

    program: str
    root: str
    cameras: tuple[CalibratedCamera, ...]
    """In natural order of their names; the program's unit of length."""
    footage: tuple[Footage, ...]
    """Of each camera."""
    people: Mapping[int, Mapping[str, Person]]
    """Frame number to who was tracked."""
    positions: Mapping[int, int]
    """Frame number to position in the footage; empty: numbers are positions."""
    calibration: tuple[str, ...]
    """Files that the cameras are from."""
    track: str
    """Folder that the people are from."""
    lines: tuple[str, ...]
    """What the user should know."""
    keypoints: Mapping[int, Mapping[str, Detected]] = field(default_factory=dict)
    """Frame number to the joints that were found of each person; the calibration's unit of length."""

    def position(self, number: int) -> int | None:
        """Where a frame is in the footage; None where no picture bears its number."""
        return self.positions.get(number) if self.positions else number


def easymocap_source(root: str, chosen: Sequence[str] = (), cameras: str = "", track: str = "") -> SourceSequence:
    """A folder of EasyMocap. `cameras`, `track`: where calibration and people lie, if not where they usually do."""
    if not listing(root):
        raise FileNotFoundError(f"{root}: no such folder with files in it; expected EasyMocap's: check the path")
    if basename(cameras) in (easymocap.INTRINSICS, easymocap.EXTRINSICS):
        cameras = parent(cameras)
    calibration = easymocap.read_cameras(cameras or root)
    known = ordered(calibration.cameras, [n for n in chosen if n not in calibration.lone], cameras or root)
    lone = [name for name in chosen if name in calibration.lone]
    pictures = _media(root, "images", [c.name for c in known])
    videos = _media(root, "videos", [c.name for c in known])
    filmed = {**videos, **pictures} if len(pictures) >= len(videos) else {**pictures, **videos}
    lone += [name for name in calibration.lone if not chosen and name in _names(root)]
    if lone:
        todo = "calibrate it too, or name the cameras to take, --views"
        raise UserError(f"camera {lone[0]}: {calibration.lone[lone[0]]}: {todo}")
    footage = _footage(root, known, filmed, not chosen)
    folder = _track(root, track, TRACKS, "JSON files such as smpl/000000.json")
    people = easymocap.read_people(folder)
    lines = [*calibration.notes]
    lines += [f"{half}: left out" for name, half in calibration.lone.items() if name not in chosen]
    if pictures and videos and len(pictures) >= len(videos):
        lines.append("the pictures in images/ are taken, not videos/")
    positions, told = _positions(footage, people)
    files = tuple(join(cameras or root, name) for name in (easymocap.INTRINSICS, easymocap.EXTRINSICS))
    masked = _masked(root, footage, MASKS)
    keypoints, renumbered = in_step(find_keypoints(root), people)
    known_of = (tuple(known), masked, people, positions, files, folder, (*lines, *told, *renumbered), keypoints)
    return SourceSequence("EasyMocap", root, *known_of)


def _names(root: str) -> list[str]:
    """Names of all that was filmed."""
    found = [name.rsplit(".", 1)[0] for name in listing(join(root, "videos")) if name.lower().endswith(VIDEOS)]
    return [*found, *listing(join(root, "images"))]


def _media(root: str, folder: str, names: Sequence[str]) -> dict[str, str]:
    """Camera to its video or its folder of pictures."""
    found: dict[str, str] = {}
    known = {_composed(name): name for name in names}
    for entry in listing(join(root, folder)):
        stem, dot, _ = entry.rpartition(".")
        is_video = entry.lower().endswith(VIDEOS)
        name = known.get(_composed(stem if dot and is_video else entry))
        if name is None or not (is_video if folder == "videos" else listing(join(root, folder, entry))):
            continue
        if name in found:
            raise UserError(f"{join(root, folder)}: {basename(found[name])} and {entry} are both of camera {name}")
        found[name] = join(root, folder, entry)
    return found


def _composed(name: str) -> str:
    """A name in one spelling: Macs write the marks of letters apart, which looks the same."""
    return unicodedata.normalize("NFC", name)


def _in_place_of(root: str, name: str) -> str:
    """What lies where a camera's footage is expected, in words."""
    for folder in ("videos", "images"):
        for entry in listing(join(root, folder)):
            stem = entry.rsplit(".", 1)[0] if folder == "videos" else entry
            if stem != name and stem.casefold() == name.casefold():
                return f"{folder}/{entry} is there, whose name is written otherwise"
            if folder == "videos" and stem == name:
                return f"{folder}/{entry} is there, which is none of {', '.join(VIDEOS)}: encode it so"
    return f"it has {printable(', '.join(sorted(_names(root), key=natural))) or 'none'}"


def _footage(
    root: str, cameras: Sequence[CalibratedCamera], filmed: Mapping[str, str], all_of_them: bool
) -> tuple[Footage, ...]:
    """Of each camera. Raises UserError where one has none, or where footage has no camera."""
    for camera in cameras:
        if camera.name not in filmed:
            expected = f"expected videos/{camera.name}.mp4 or images/{camera.name}/"
            found = f"camera {camera.name} has no footage ({_in_place_of(root, camera.name)})"
            raise UserError(f"{root}: {found}; {expected}, or name the cameras to take, --views")
    known = {camera.name for camera in cameras}
    same = {_composed(name) for name in known}
    strange = sorted((name for name in set(_names(root)) if _composed(name) not in same), key=natural)
    if strange and all_of_them:
        names = ", ".join(sorted(known, key=natural)[:8])
        todo = "calibrate it, or name the cameras to take, --views"
        raise UserError(f"{root}: footage of {strange[0]!r}, which is no camera of the calibration ({names}): {todo}")
    return tuple(Footage(camera.name, filmed[camera.name], None) for camera in cameras)


def _track(root: str, given: str, usual: Sequence[str], expected: str) -> str:
    """The folder of the tracked people. Raises FileNotFoundError."""
    folders = [given, join(given, "smpl")] if given else [join(root, *name.split("/")) for name in usual]
    for folder in folders:
        if any(name.endswith((".json", ".npy")) for name in listing(folder)):
            return folder
    looked = given or f"{root} ({', '.join(usual[:3])}, ...)"
    raise FileNotFoundError(f"{looked}: no tracked body; expected {expected}: track it, or name the folder, --track")


def _masked(root: str, footage: Sequence[Footage], names: Sequence[str]) -> tuple[Footage, ...]:
    """With the masks of the first folder of these names that is there. Raises UserError where a camera lacks some."""
    place = next((join(root, name) for name in names if name in listing(root)), None)
    if place is None:
        return tuple(footage)
    stems = {name.rsplit(".", 1)[0] if name.lower().endswith(VIDEOS) else name: name for name in listing(place)}
    entries = {_composed(stem): name for stem, name in stems.items()}
    bare = [item.camera for item in footage if _composed(item.camera) not in entries]
    if bare:
        held = ", ".join(sorted(entries, key=natural)[:8])
        todo = "copy them there, move the folder away, or name the cameras to take, --views"
        raise UserError(f"{place}: camera {bare[0]} has no masks (it has {held}): {todo}")
    return tuple(Footage(item.camera, item.path, join(place, entries[_composed(item.camera)])) for item in footage)


def _positions(footage: Sequence[Footage], people: Mapping[int, object]) -> tuple[dict[int, int], list[str]]:
    """(frame number to position, lines): by the numbers of the pictures' names, where they are other than positions."""
    first = footage[0].path
    if first.lower().endswith(VIDEOS):
        return {}, []
    pictures = list(by_number(first, listing(first), IMAGES))
    if not pictures or pictures == list(range(len(pictures))):
        return {}, []
    shared = [number for number in people if number in set(pictures)]
    # Counted from 0 while the pictures are from 1, say: those that are numbers of both would be a frame off.
    if max(people, default=0) < len(pictures) and len(shared) < len(people):
        found = f"{len(pictures)} pictures are numbered {pictures[0]} to {pictures[-1]}"
        return {}, [f"{found}, poses {min(people)} to {max(people)}: pose n is taken for the n-th picture from 0"]
    return {number: i for i, number in enumerate(pictures)}, []


def zju_source(root: str, chosen: Sequence[str] = (), cameras: str = "", track: str = "") -> SourceSequence:
    """A folder of ZJU-MoCap. `cameras`: another annots.npy; `track`: where the people lie."""
    if not listing(root):
        raise FileNotFoundError(f"{root}: no such folder with files in it; expected ZJU-MoCap's: check the path")
    path = cameras or join(root, zju_mocap.CALIBRATION)
    annotations = zju_mocap.read_annotations(path)
    folder = _track(root, track, ZJU_TRACKS, "files such as new_params/0.npy")
    people = zju_mocap.read_params(folder)
    known = ordered(annotations.cameras, chosen, path)
    names = [camera.name for camera in annotations.cameras]
    footage, lines = [], []
    for camera in known:
        listed = [frame[names.index(camera.name)] for frame in annotations.pictures]
        place, told = _pictures_of(root, camera.name, listed, path)
        lines += told
        footage.append(Footage(camera.name, place, None))
    count = len(annotations.pictures) or len(listing(footage[0].path))
    positions: dict[int, int] = {}
    if (first := min(people)) > 0 and max(people) >= count:
        positions = {number: number - first for number in people}
        lines.append(f"{folder}: its files begin at {first}: that one is taken for the first picture")
    tracked = {number: {"0": person} for number, person in people.items()}
    masked = _masked(root, footage, ZJU_MASKS)
    return SourceSequence("ZJU-MoCap", root, tuple(known), masked, tracked, positions, (path,), folder, tuple(lines))


def _pictures_of(root: str, name: str, listed: Sequence[str], path: str) -> tuple[str, list[str]]:
    """(the folder of a camera's pictures, lines). Raises UserError where those that are listed are not there."""
    place = join(root, *listed[0].split("/")[:-1]) if listed and "/" in listed[0] else join(root, name)
    held = [entry for entry in listing(place) if entry.lower().endswith(IMAGES)]
    if not held:
        raise FileNotFoundError(f"{place}: no pictures of camera {name}; {path} lists some there: copy them there")
    if not listed:
        return place, []
    wanted = [basename(entry) for entry in listed]
    missing = next((entry for entry in wanted if entry not in set(held)), None)
    if missing is not None:
        raise UserError(f"{join(place, missing)}: no such picture, though {path} lists it: copy the pictures again")
    in_order = sorted(held, key=natural)[: len(wanted)] == wanted
    if not in_order:
        raise UserError(
            f"{place}: the pictures in their order are not those that {path} lists: copy the pictures again"
        )
    more = len(held) - len(wanted)
    return place, [f"camera {name}: {more} pictures more than {path} lists are left out"] if more else []
