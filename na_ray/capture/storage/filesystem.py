"""The storage behind a URL, by fsspec: which program reads it, what it says of a file, and its failures in one line."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import sync
from fsspec.registry import known_implementations

from na_ray.config.secrets import VARIABLE, hidden, opened_by, public
from na_ray.config.values import StorageError, UserError

FRESH = 10.0
"""Seconds for which a process believes what a storage said of a file, or of a folder's names: each costs a request."""
# Waits (s) before a request is tried again: two hiccups a second apart may meet one. s3fs and botocore do this
# themselves (AWS_MAX_ATTEMPTS).
PAUSES = (0.2, 0.6, 1.8, 5.4)
GIVEN_BY = f"they are given in the URL, https://NAME:PASSWORD@HOST/..., on the command line or in ${VARIABLE}"
# Files whose facts are remembered.
MOST_FACTS = 4096

Answer = TypeVar("Answer")


class CutShortError(ConnectionError):
    """An answer ended before its end."""


class MissingBucketError(FileNotFoundError):
    """There is no such bucket: unlike a missing file, never a matter of looking elsewhere."""


@dataclass(frozen=True)
class Facts:
    """What a storage says of a file."""

    size: int
    """Bytes."""
    mark: str
    """Changes when the file does; empty where the storage has nothing like it."""
    ranges: bool
    """Whether parts of it can be read: plain web servers send a file from its beginning only."""


_facts: OrderedDict[str, tuple[float, Facts]] = OrderedDict()
_lock = Lock()


def locate(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the place within it). Raises UserError for a protocol that is unknown or not installed.

    Endpoint, region and credentials are found as Amazon's own tools do (AWS_ENDPOINT_URL, AWS_PROFILE, ...).
    """
    protocol = url.split("://")[0]
    where, options = opened_by(url)
    try:
        fs, place = fsspec.url_to_fs(where, listings_expiry_time=FRESH, **options)
    except ImportError:
        package = {"gs": "gcsfs", "gcs": "gcsfs"}.get(protocol)
        hint = f"pip install {package}" if package else str(known_implementations[protocol].get("err", ""))
        raise UserError(f"{url}: {protocol}:// needs a package that is not installed: {hint}") from None
    except ValueError as error:
        expected = "expected a folder, or a URL that begins with s3://, gs:// or https://"
        raise UserError(f"{url}: no storage of that kind ({_line(error)}); {expected}") from None
    return fs, place


def ask(url: str, request: Callable[[], Answer]) -> Answer:
    """The answer to a request, which is repeated after passing failures of the network.

    Raises MissingBucketError and StorageError, one line that names the URL, where the storage is not reached or
    refuses; FileNotFoundError, IsADirectoryError and NotADirectoryError as they come.
    """
    url = public(url)
    for pause in (*PAUSES, None):
        try:
            return request()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if "bucket does not exist" in str(error):
                todo = "check its name, and AWS_ENDPOINT_URL where the storage is not Amazon's"
                raise MissingBucketError(f"{url}: the bucket does not exist: {todo}") from None
            # fsspec's HTTP calls every failure a missing file.
            if not _is_network(error.__cause__):
                raise
            failure: BaseException | None = error.__cause__
        except Exception as error:
            failure = error
        assert isinstance(failure, Exception)
        if pause is None or not _passing(url, failure):
            raise _told(url, failure) from None
        time.sleep(pause)
    raise AssertionError("the last pause is None")


def facts(url: str) -> Facts:
    """Size and mark of a file, at most `FRESH` seconds old. Raises FileNotFoundError, StorageError or UserError."""
    with _lock:
        at, known = _facts.get(url, (0.0, None))
    if known is not None and time.monotonic() - at < FRESH:
        return known
    fs, place = locate(url)
    try:
        info = ask(url, lambda: fs.info(place))
    except MissingBucketError:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(f"{url}: no such file") from None
    if info.get("type") == "directory":
        raise FileNotFoundError(f"{url}: no such file")
    plain = "https" in fs.protocol and not ask(url, lambda: sync(fs.loop, _sends_parts, fs, place))
    known = Facts(int(info.get("size") or 0), mark_of(info), not plain)
    with _lock:
        _facts[url] = time.monotonic(), known
        while len(_facts) > MOST_FACTS:
            _facts.popitem(last=False)
    return known


async def _sends_parts(fs: Any, place: str) -> bool:
    """Whether a web server answers with the byte that was asked for. What it says of itself (`Accept-Ranges`) may be
    missing, and fsspec tells it no longer. Nothing else is fetched: the answer is left unread."""
    session = await fs.set_session()
    options = {**fs.kwargs, "headers": {**fs.kwargs.get("headers", {}), "Range": "bytes=0-0"}}
    async with session.get(fs.encode_url(place), **options) as answer:
        return bool(answer.status == 206)


def forget(url: str) -> None:
    """Ask the storage about the file anew, next time."""
    fs, _ = locate(url)
    fs.invalidate_cache()
    with _lock:
        _facts.pop(url, None)


def mark_of(info: dict[str, Any]) -> str:
    """What changes in fsspec's description of a file when the file does; empty where nothing does."""
    return next((str(info[k]) for k in ("ETag", "etag", "mtime", "created", "LastModified") if info.get(k)), "")


def _is_network(error: BaseException | None) -> bool:
    """Whether something else than a missing file was the matter."""
    if error is None or isinstance(error, FileNotFoundError) or str(error).startswith(("404,", "410,")):
        return False
    return isinstance(error, OSError) or type(error).__module__.startswith("aiohttp")


def _passing(url: str, error: Exception) -> bool:
    """Whether the request may succeed a moment later, and nobody has tried that yet."""
    if isinstance(error, CutShortError):
        return True
    if _is_s3(url):
        return False
    import aiohttp  # only where a request failed: then fsspec has loaded it

    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500 or error.status == 429
    kinds = (ConnectionError, TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    return isinstance(error, kinds)


def _told(url: str, error: Exception) -> Exception:
    """The failure as one line; what is no failure of a storage stays what it is."""
    kind, module = type(error).__name__, type(error).__module__.partition(".")[0]
    if not isinstance(error, OSError) and module not in ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google"):
        return error
    why = f"({_line(error)})"
    if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError"):
        todo = "aws configure, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, on each machine that reads"
        return StorageError(f"{url}: no credentials {why}: set them by {todo}")
    if isinstance(error, PermissionError) or any(f"{status}, message" in str(error) for status in (401, 403)):
        todo = "check the credentials and what they may read" + ("" if _is_s3(url) else f"; {GIVEN_BY}")
        return StorageError(f"{url}: access is denied {why}: {todo}")
    unreached = ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ClientConnectorDNSError")
    if kind in unreached or isinstance(error, ConnectionRefusedError):
        todo = "check the network" + (", and AWS_ENDPOINT_URL where the storage is not Amazon's" if _is_s3(url) else "")
        return StorageError(f"{url}: the storage cannot be reached {why}: {todo}")
    return StorageError(f"{url}: could not be read {why}: try again, and go on with --resume auto")


def _is_s3(url: str) -> bool:
    return url.startswith(("s3://", "s3a://"))


def _line(error: Exception) -> str:
    """What an error says, in one line, without secrets."""
    return hidden(" ".join(str(error).split())) or type(error).__name__
