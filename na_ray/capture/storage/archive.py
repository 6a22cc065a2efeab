"""Zip archives, local or behind a URL, read in place: nothing is ever unpacked by the names in them."""

import os
import re
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
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{key[0]}: no readable zip archive ({error}): copy the file again") from None


def read_member(path: str, name: str) -> bytes:
    """One file of an archive. Raises UserError where the archive is damaged."""
    try:
        return open_zip(path).read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{join(path, name)}: the archive is damaged ({error}): copy it again") from None
