"""Files of a capture on this machine or behind a URL that fsspec opens (`s3://`, `gs://`, `https://`, `memory://`)."""

import io
import os
from typing import Any

import fsspec

# Files of fsspec and of Python share no type but this: they can read, seek and close.
BinaryFile = Any


def is_url(path: str) -> bool:
    """Whether `path` is a URL rather than a path of this machine."""
    return "://" in path


def join(folder: str, *names: str) -> str:
    """`folder/name/...`, for paths and URLs alike."""
    return (folder if folder.endswith("/") else folder + "/") + "/".join(names)


def basename(path: str) -> str:
    """The last name of a path or URL."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def parent(path: str) -> str:
    """The folder that holds `path`."""
    head = path.rstrip("/").rpartition("/")[0]
    return head or ("/" if path.startswith("/") else ".")


def listing(folder: str) -> list[str]:
    """Names of the files and folders in `folder`, sorted; empty when there is no such folder.

    Hidden names (a leading dot) are left out: they are other programs' notes and unfinished writes.
    """
    if not is_url(folder):
        names = os.listdir(folder) if os.path.isdir(folder) else []
    else:
        fs, location = fsspec.url_to_fs(folder.rstrip("/") + "/")
        try:
            entries = fs.ls(location, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        # Object stores list a folder's own marker among its contents.
        names = [basename(str(entry)) for entry in entries if str(entry).rstrip("/") != location.rstrip("/")]
    return sorted(name for name in set(names) if name and not name.startswith("."))


def open_binary(path: str) -> BinaryFile:
    """Open for reading. Raises FileNotFoundError, naming the file."""
    if not is_url(path):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
        return open(path, "rb")
    fs, location = fsspec.url_to_fs(path)
    try:
        if "https" in fs.protocol and not fs.info(location).get("partial"):
            # A plain web server sends a file from its beginning only: hold it in memory to move about in it.
            return io.BytesIO(fs.cat_file(location))
        return fs.open(location, "rb")
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None


def read_bytes(path: str) -> bytes:
    """The whole file. Raises FileNotFoundError, naming the file."""
    with open_binary(path) as file:
        return file.read()


def read_text(path: str) -> str:
    """The whole file as text. Raises ValueError when it is no text."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a text file, found binary data: copy the file again") from None


def version(path: str) -> tuple[str, int, str]:
    """(path, bytes, a mark that changes when the file does): the key under which its facts may be cached."""
    if not is_url(path):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
        status = os.stat(path)
        return path, status.st_size, str(status.st_mtime_ns)
    fs, location = fsspec.url_to_fs(path)
    try:
        info: dict[str, Any] = fs.info(location)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    mark = next((str(info[k]) for k in ("ETag", "etag", "mtime", "created", "LastModified") if info.get(k)), "")
    return path, int(info.get("size") or 0), mark


def size(path: str) -> int:
    """Bytes of the file."""
    return version(path)[1]
