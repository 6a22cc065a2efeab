"""Meshes as Wavefront OBJ text, in every spelling that programs write.

Symbols: V vertices, F faces, T texture coordinates, n corners of an index.
"""

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, Int64

from na_ray.capture.storage import read_text
from na_ray.capture.text import numbers_of
from na_ray.config.values import UserError

ObjArrays = tuple[
    Float32[np.ndarray, "v 3"], Int64[np.ndarray, "f 3"], Float32[np.ndarray, "t 2"], Int64[np.ndarray, "g 3"]
]

ObjLine = tuple[int, str]
"""(number in the file, from 1; what stands behind the line's tag)."""

_CORNER = re.compile(r"-?\d+(/(-?\d+)?){0,2}")
# A slash with nothing behind it: `2/2/` and `2//` leave out the normal, `2//3` the texture coordinate.
_NOTHING_BEHIND = re.compile(r"/(?=[/\s]|$)")
# Beyond it a float64 no longer tells one whole number from the next.
_LARGEST_INDEX = 2**53


def read_obj(path: str) -> ObjArrays:
    """(vertices, faces, uv, uv_faces) of a triangle mesh; face k is the k-th `f` line, nothing is merged.

    A file without texture coordinates gives empty `uv` (0, 2) and `uv_faces` (0, 3). Raises UserError with the line.
    """
    picked = _picked(_lines(path))
    vertices = _rows(path, "v", picked["v"], (3, 4, 6, 7), 3)
    uv = _rows(path, "vt", picked["vt"], (2, 3), 2)
    corners = _corners(path, picked["f"])
    faces = _indices(path, picked["f"], corners[:, :, 0], picked["v"], "vertices")
    if not (corners[:, :, 1] != 0).any():
        return vertices, faces, uv, np.zeros((0, 3), np.int64)
    bare = np.flatnonzero((corners[:, :, 1] == 0).any(axis=1))
    if len(bare):
        raise _odd_face(path, picked["f"][bare[0]], "a texture coordinate at each corner, as other faces have")
    return vertices, faces, uv, _indices(path, picked["f"], corners[:, :, 1], picked["vt"], "texture coordinates")


def _lines(path: str) -> Iterable[ObjLine]:
    """Numbered lines; one that ends in a backslash goes on with the next."""
    # Only names and comments hold other letters than ASCII: in which encoding does not matter.
    text = read_text(path, errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = enumerate(text.split("\n"), 1)
    if "\\\n" not in text:
        return lines
    return _joined(lines)


def _joined(lines: Iterable[ObjLine]) -> Iterable[ObjLine]:
    first, parts = 0, list[str]()
    for n, line in lines:
        first = first if parts else n
        parts.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield first, " ".join(parts)
            parts = []
    if parts:
        yield first, " ".join(parts)


def _picked(lines: Iterable[ObjLine]) -> dict[str, list[ObjLine]]:
    """The lines that are read, by tag."""
    picked: dict[str, list[ObjLine]] = {"v": [], "vt": [], "f": []}
    for n, line in lines:
        tag, *rest = line.split(None, 1)[:2] or [""]
        if tag in picked:
            text = rest[0] if rest else ""
            picked[tag].append((n, text if "#" not in text else text.partition("#")[0]))
    return picked


def _shown(path: str, tag: str, line: ObjLine) -> str:
    return f"{path}, line {line[0]}: {f'{tag} {line[1].strip()}'[:60]!r}"


def _rows(path: str, tag: str, lines: list[ObjLine], counts: tuple[int, ...], keep: int) -> Float32[np.ndarray, "n k"]:
    """The first `keep` numbers of each line, all lines being equally long."""
    values = numbers_of(" ".join(line for _, line in lines))
    columns = len(lines[0][1].split()) if lines else keep
    if values is None or columns not in counts or any(len(line.split()) != columns for _, line in lines):
        for n, line in lines:
            row = numbers_of(line)
            if row is None or len(row) not in counts or len(row) != columns:
                expected = f"{columns if columns in counts else keep} numbers"
                raise UserError(f"{_shown(path, tag, (n, line))}: expected {expected}: export the mesh again")
        raise UserError(f"{path}: the '{tag}' lines hold something else than numbers: export the mesh again")
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and `vertices_faults` tells
        return values.reshape(-1, columns)[:, :keep].astype(np.float32)


def _odd_face(path: str, line: ObjLine, expected: str) -> UserError:
    return UserError(f"{_shown(path, 'f', line)}: expected {expected}: triangulate the mesh and export it again")


def _corners(path: str, lines: list[ObjLine]) -> Int64[np.ndarray, "f 3 2"]:
    """(vertex, texture coordinate) of each corner as written: from 1, or backwards from -1; 0 for one left out."""
    if not lines:
        raise UserError(f"{path}: the mesh has no faces; expected triangles ('f 1 2 3'): export the mesh again")
    text = _NOTHING_BEHIND.sub("/0", "\n".join(line for _, line in lines))
    rows = [line.split() for line in text.split("\n")]
    width = rows[0][0].count("/") + 1 if rows[0] else 1
    values = numbers_of(text.replace("/", " "))
    alike = all([c.count("/") for c in row] == [width - 1] * 3 for row in rows)
    if values is None or not alike or len(values) != 3 * width * len(rows):  # as `//2` has fewer
        width, values = 3, _padded(path, lines, rows)
    whole = (values == np.floor(values)) & (np.abs(values) < _LARGEST_INDEX)
    if not whole.all():
        odd = lines[int(np.flatnonzero(~whole)[0]) // (3 * width)]
        raise _odd_face(path, odd, "whole numbers")
    corners = values.astype(np.int64).reshape(-1, 3, width)
    return corners[:, :, :2] if width > 1 else np.pad(corners, ((0, 0), (0, 0), (0, 1)))


def _padded(path: str, lines: list[ObjLine], rows: list[list[str]]) -> np.ndarray:
    """Faces that are written in several ways: three numbers a corner, 0 for those left out."""
    values: list[float] = []
    for line, row in zip(lines, rows, strict=True):
        if len(row) != 3:
            raise _odd_face(path, line, "three corners")
        if not all(map(_CORNER.fullmatch, row)) or len({c.count("/") for c in row}) != 1:
            raise _odd_face(path, line, "a triangle like the first face's")
        for corner in row:
            values += map(float, [*corner.split("/"), "0", "0"][:3])
    return np.array(values)


def _indices(
    path: str, faces: list[ObjLine], indices: Int64[np.ndarray, "f 3"], held: list[ObjLine], what: str
) -> Int64[np.ndarray, "f 3"]:
    """Zero-based indices, each checked to exist; negative ones count back from what stands above their face."""
    found = indices - 1
    if (indices < 0).any():
        above = np.searchsorted([n for n, _ in held], [n for n, _ in faces])[:, None]
        found = np.where(indices < 0, above + indices, found)
    bad = np.flatnonzero(((found < 0) | (found >= len(held))).any(axis=1))
    if len(bad):
        line = _shown(path, "f", faces[bad[0]])
        raise UserError(f"{line} names {what} that do not exist; expected 1..{len(held)}: export the mesh again")
    return found
