"""Files of a capture on this machine or behind a URL that fsspec opens (`s3://`, `gs://`, `https://`, `memory://`).

Whatever reads a URL raises UserError where its protocol is unknown or its package missing, and StorageError where the
storage is not reached or refuses: one line each.
"""

import codecs
import io
import os
from typing import Any, Literal

from na_ray.capture.storage.filesystem import MissingBucketError, ask, facts, locate
from na_ray.capture.storage.remote import RemoteFile
from na_ray.config.secrets import Address, secret_of
from na_ray.config.values import UserError

# Files of fsspec and of Python share no type but this: they can read, seek and close.
BinaryFile = Any


def is_url(path: str) -> bool:
    """Whether `path` is a URL rather than a path of this machine."""
    return "://" in path


def join(folder: str, *names: str) -> str:
    """`folder/name/...`, for paths and URLs alike."""
    return _like(folder, (folder if folder.endswith("/") else folder + "/") + "/".join(names))


def basename(path: str) -> str:
    """The last name of a path or URL."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def parent(path: str) -> str:
    """The folder that holds `path`."""
    head = path.rstrip("/").rpartition("/")[0]
    return _like(path, head or ("/" if path.startswith("/") else "."))


def _like(given: str, path: str) -> str:
    """Other processes open what belongs to an address with a secret as they open the address."""
    return Address(path) if isinstance(given, Address) else path


def listing(folder: str) -> list[str]:
    """Names of the files and folders in `folder`, sorted; empty when there is no such folder.

    Hidden names (a leading dot) are left out: they are other programs' notes and unfinished writes.
    """
    if not is_url(folder):
        names = os.listdir(folder) if os.path.isdir(folder) else []
    else:
        fs, location = locate(folder.rstrip("/") + "/")
        try:
            entries = ask(folder, lambda: fs.ls(location, detail=False))
        except MissingBucketError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        secret = secret_of(folder)
        if secret is not None and secret.query:
            # A web server's links stand behind the folder's whole address, and may repeat its query.
            entries = [str(entry).removeprefix(location).partition("?")[0] for entry in entries]
        # Object stores list a folder's own marker among its contents.
        names = [basename(str(entry)) for entry in entries if str(entry).rstrip("/") != location.rstrip("/")]
    return sorted(name for name in set(names) if name and not name.startswith("."))


def open_binary(path: str) -> BinaryFile:
    """Open for reading; of a URL, little more is fetched than is read. Raises FileNotFoundError, naming the file."""
    if not is_url(path):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
        return open(path, "rb")
    if not facts(path).ranges:
        # A plain web server sends a file from its beginning only: hold it in memory to move about in it.
        return io.BytesIO(read_bytes(path))
    return io.BufferedReader(RemoteFile(version(path)))


def sends_parts(path: str) -> bool:
    """Whether parts of a file can be read without fetching it whole: not from a plain web server."""
    return not is_url(path) or facts(path).ranges


def open_span(url: str, start: int, stop: int) -> BinaryFile:
    """Open a file behind a URL whose bytes start..stop will be read: they are fetched now, by one request.

    A read may give less than asked for.
    """
    if not facts(url).ranges:
        return open_binary(url)
    file = RemoteFile(version(url))
    file.want(start, stop)
    return file


def read_bytes(path: str) -> bytes:
    """The whole file. Raises FileNotFoundError, naming the file."""
    if not is_url(path):
        with open_binary(path) as file:
            return bytes(file.read())
    fs, location = locate(path)
    try:
        return bytes(ask(path, lambda: fs.cat_file(location)))
    except MissingBucketError:
        raise
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None


def read_text(path: str, errors: Literal["strict", "replace"] = "strict") -> str:
    """The whole file as text: UTF-8, or UTF-16 with its mark. Raises UserError when it is no text.

    `errors`: "replace" accepts any other encoding too, with its foreign letters lost.
    """
    data = read_bytes(path)
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        if b"\0" not in data:
            return data.decode("utf-8-sig", errors)
    except UnicodeDecodeError:
        pass  # said below
    raise UserError(f"{path}: expected a text file, found binary data: copy the file again")


def version(path: str) -> tuple[str, int, str]:
    """(path, bytes, a mark that changes when the file does): the key under which its facts may be cached.

    For URLs it is at most `filesystem.FRESH` seconds old.
    """
    if is_url(path):
        known = facts(path)
        return path, known.size, known.mark
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    status = os.stat(path)
    return path, status.st_size, str(status.st_mtime_ns)


def size(path: str) -> int:
    """Bytes of the file."""
    return version(path)[1]
