"""Lens distortion that lies beside the cameras, in the files of other programs: na_ray's cameras have none."""

import re
from collections.abc import Iterator

from na_ray.capture.about import NAME as ABOUT
from na_ray.capture.layout import BODY_FILES, INTRINSICS
from na_ray.capture.storage import join, listing, read_text, size
from na_ray.config.values import UserError

TEXTS = (".yml", ".yaml", ".json", ".xml", ".txt", ".toml")
LARGEST = 2**20
"""Bytes: a calibration is smaller."""
NONE = 1e-6
"""Coefficients that are no larger bend no ray by a pixel."""

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
# A key, then a list in brackets that may stand some words further on (OpenCV writes rows, cols and dt before it), or a
# number right behind it.
_KEY = re.compile(
    r"(?i)\b(dist[a-z_0-9]*|k[1-6])\b[\"']?\s*[:=>]\s*"
    rf"(?:(?P<number>{_NUMBER})|[^\[\]{{}}]{{0,120}}?\[(?P<list>[^\]]*)\])"
)
# A line of COLMAP's cameras.txt: number, model, size, and how many parameters come before the distortion's.
_COLMAP = re.compile(
    r"(?m)^[0-9]+ (?P<model>SIMPLE_RADIAL|RADIAL|OPENCV|FULL_OPENCV)[A-Z_]* [0-9]+ [0-9]+ (?P<rest>.+)$"
)
_BEFORE = {"SIMPLE_RADIAL": 3, "RADIAL": 3, "OPENCV": 4, "FULL_OPENCV": 4}


def distortion_notes(*folders: str) -> Iterator[str]:
    """A line for each file in the folders that holds coefficients which bend rays."""
    for folder in dict.fromkeys(folders):
        for path in _texts(folder):
            key, value = _strongest(path)
            if abs(value) > NONE:
                todo = (
                    "cameras here have none: undistort the pictures (cv2.undistort) and keep the matrices of the result"
                )
                yield f"{path}: holds lens distortion ({key}: {value:g}); {todo}"


def _texts(folder: str) -> Iterator[str]:
    # What a conversion writes of its source no longer holds.
    names = [name for name in listing(folder) if name not in (*BODY_FILES, ABOUT)]
    for name in names:
        if name.lower().endswith(TEXTS):
            yield join(folder, name)
        elif (name.lower().startswith("dist") and "." not in name) or name in INTRINSICS:
            inner = [n for n in listing(join(folder, name)) if n.lower().endswith(TEXTS)]
            chosen = [n for n in inner if name not in INTRINSICS or "dist" in n.lower()]
            yield from (join(folder, name, n) for n in chosen[:1])


def _strongest(path: str) -> tuple[str, float]:
    """(its name, the largest coefficient) of a file; 0 where there is none."""
    try:
        text = read_text(path, errors="replace") if size(path) <= LARGEST else ""
    except (UserError, FileNotFoundError):
        return "", 0.0  # no text: nothing to tell of
    found = [("", 0.0)]
    for match in _KEY.finditer(text):
        values = [match["number"]] if match["number"] else re.findall(_NUMBER, match["list"])
        found += [(match[1], float(value)) for value in values]
    for match in _COLMAP.finditer(text):
        found += [(match["model"], float(v)) for v in re.findall(_NUMBER, match["rest"])[_BEFORE[match["model"]] :]]
    if "dist" in path.rsplit("/", 2)[-1].lower() or "/dist" in path.rsplit("/", 2)[-2].lower():
        found += [("file", float(value)) for value in re.findall(_NUMBER, text)[:64]]
    return max(found, key=lambda pair: abs(pair[1]))
