"""NumPy's `.npy` and `.npz` of other programs: arrays, and pickled objects by an allow-list (`pickles.py`)."""

import ast
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np

from na_ray.capture.storage import open_binary, read_bytes, size
from na_ray.config.values import UserError
from na_ray.formats.calibrated import printable
from na_ray.formats.pickles import load_pickle

LARGEST = 2**30
"""Bytes of a file or of an array: SMPL-X's largest array has 2**27."""
LONGEST_HEAD = 10_000
"""Bytes, as NumPy itself has it."""


def read_small(path: str, largest: int = LARGEST) -> bytes:
    """The whole file. Raises UserError where it is larger than any of its kind."""
    if (found := size(path)) > largest:
        raise UserError(f"{path}: {found / 1e6:.0f} MB; expected at most {largest / 1e6:.0f}: is it another file?")
    return read_bytes(path)


def read_npy(path: str, largest: int = LARGEST) -> Any:
    """What a `.npy` holds: an array, or the object that was saved in one's place. Raises UserError."""
    return npy_value(read_small(path, largest), path)


def npy_value(data: bytes, where: str) -> Any:
    """The same of bytes; `where` names them in messages."""
    shape, is_fortran, code, start = _head(data, where)
    rest = data[start:]
    if code.lstrip("<>|=").startswith("O"):
        return _object_of(load_pickle(rest, where))
    dtype = np.dtype(code) if re.fullmatch(r"[<>|=]?[biufUS][0-9]{1,4}", code) else None
    if dtype is None or math.prod(shape) * dtype.itemsize > len(rest) or min(shape, default=0) < 0:
        found = f"{'x'.join(map(str, shape))[:60]} of {code[:20]!r} in {len(rest)} bytes"
        raise UserError(f"{where}: damaged ({found}): copy the file again")
    order: Any = "F" if is_fortran else "C"
    return np.frombuffer(rest, dtype, math.prod(shape)).reshape(shape, order=order)


def _head(data: bytes, where: str) -> tuple[tuple[int, ...], bool, str, int]:
    """(shape, whether columns come first, the type's code, where the values begin).

    NumPy's own reader of this line raises what Python's tokenizer does. It is Python's text of a dict.
    """
    try:
        if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
            raise ValueError("it does not begin as one")
        start = 10 if data[6] == 1 else 12
        (length,) = struct.unpack_from("<H" if data[6] == 1 else "<I", data, 8)
        if length > LONGEST_HEAD:
            raise ValueError(f"a head of {length} bytes")
        text = data[start : start + length].decode("latin1").strip()
        # Python 2 wrote long numbers as `3L`.
        values = ast.literal_eval(re.sub(r"([0-9])L\b", r"\1", text))
        shape, is_fortran, code = (values[key] for key in ("shape", "fortran_order", "descr"))
        if not isinstance(code, str) or not all(type(n) is int and abs(n) < 2**40 for n in shape):
            raise ValueError("an array of records" if not isinstance(code, str) else "a shape that is none")
        return tuple(shape), bool(is_fortran), code, start + length
    # Of a damaged text the parser says what it likes.
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, LookupError, struct.error) as error:
        what = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{where}: no NumPy file ({what}): copy it again") from None


def _object_of(value: Any) -> Any:
    """What `np.save` of an object wraps in an array of no dimensions."""
    return value.item() if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0 else value


def read_npz(path: str, wanted: Collection[str], largest: int = LARGEST) -> dict[str, Any]:
    """The arrays of these names that an `.npz` holds; of others, their names with None. Raises UserError."""
    found: dict[str, Any] = {}
    with open_binary(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    name = info.filename.removesuffix(".npy")
                    found[name] = _member(archive, info, path, largest) if name in wanted else None
        # Of damaged archives the decompressors raise what they like.
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{path}: no readable .npz ({error}): copy the file again") from None
        except (ValueError, struct.error) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: no readable .npz ({error}): copy the file again") from None
    return found


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, largest: int) -> Any:
    """One array. What says that it unpacks to little is not believed: no more than that is unpacked."""
    where = f"{path}, {printable(info.filename)}"
    if info.file_size > largest:
        found = f"unpacks to {info.file_size / 1e6:.0f} MB; expected at most {largest / 1e6:.0f}"
        raise UserError(f"{where}: {found}: is it another file?")
    with archive.open(info) as member:
        return npy_value(member.read(info.file_size), where)
