"""Zip archives, local or behind a URL, read in place: nothing is ever unpacked by the names in them."""

import lzma
import os
import re
import struct
import zipfile
import zlib
from functools import lru_cache

from na_ray.capture.storage import is_url, join, open_binary, version
from na_ray.config.values import StorageError, UserError


def leaving_members(path: str) -> list[str]:
    """Names in an archive that would be written outside the folder it is unpacked in."""
    names = [info.orig_filename.replace("\\", "/") for info in open_zip(path).infolist()]
    return [n for n in names if n.startswith("/") or ".." in n.split("/") or re.match("[A-Za-z]:", n)]


def open_zip(path: str) -> zipfile.ZipFile:
    """An archive open for reading, kept open. Raises UserError when it is none."""
    return _open_zip(version(path), os.getpid())


@lru_cache(maxsize=8)
def _open_zip(key: tuple[str, int, str], process: int) -> zipfile.ZipFile:
    # The process is part of the key: a forked child must not move its parent's place in the file.
    try:
        return zipfile.ZipFile(open_binary(key[0]) if is_url(key[0]) else key[0])
    except StorageError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise UserError(f"{key[0]}: no readable zip archive ({error}): copy the file again") from None


# Ways of packing that Python's zipfile cannot undo, by their numbers in the file.
_METHODS = {6: "imploded", 9: "Deflate64", 93: "Zstandard", 95: "xz", 97: "WavPack", 98: "PPMd", 99: "AES encryption"}
_REPACK = "unpack it with the program that wrote it, and pack it again with plain Deflate (zip -r transform.zip .)"

# Of damaged bytes the decompressors raise what they like: bz2 an OSError, zipfile a struct.error.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error)
_LARGEST = 2**28
"""Bytes: a transform has some thousands, and what unpacks to more is there to fill the memory."""


def read_member(path: str, name: str) -> bytes:
    """One file of an archive. Raises UserError where the archive is damaged, or packed in a way that is not read."""
    archive = open_zip(path)
    try:
        if (large := archive.getinfo(name).file_size) > _LARGEST:
            raise UserError(f"{join(path, name)}: unpacks to {large / 1e6:.0f} MB; expected a transform: copy it again")
        return archive.read(name)
    except (StorageError, UserError):
        raise
    except KeyError:
        raise UserError(f"{join(path, name)}: not in the archive: copy it again") from None
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(f"{join(path, name)}: {_packing(archive, name, error)}; expected Deflate: {_REPACK}") from None
    except _DAMAGED as error:
        raise UserError(f"{join(path, name)}: the archive is damaged ({error}): copy it again") from None


def _packing(archive: zipfile.ZipFile, name: str, error: Exception) -> str:
    """Why a whole archive cannot be unpacked."""
    info = archive.getinfo(name)
    if info.compress_type == 99 or info.flag_bits & 1:
        return "encrypted with a password"
    if info.compress_type in _METHODS:
        return f"packed with {_METHODS[info.compress_type]}, which Python cannot unpack"
    return f"packed by method {info.compress_type}, which Python cannot unpack ({error})"
