"""A web server for captures behind a password, or a signature in each address; and a search for both in files."""

import base64
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.range_server import Ranges

PASSWORD, SIGNATURE = "pa55w0rd-of-anna", "5f0c6b1e9d7a43c2"
NEITHER = (PASSWORD, SIGNATURE, base64.b64encode(f"anna:{PASSWORD}".encode()).decode())


class Guarded(Ranges):
    """Sends parts of files to those who know the password, or the signature."""

    def do_GET(self) -> None:
        if self.is_let_in():
            return super().do_GET()
        self.send_error(401)

    def do_HEAD(self) -> None:
        if self.is_let_in():
            return super().do_HEAD()
        self.send_error(401)

    def is_let_in(self) -> bool:
        given = self.headers.get("Authorization", "")
        signed = parse_qs(urlsplit(self.path).query).get("sig", [""])
        return given == f"Basic {NEITHER[2]}" or signed == [SIGNATURE]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Guarded, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def holding(folder: Path) -> list[str]:
    """The files below a folder in which a secret stands."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(word.encode() in path.read_bytes() for word in NEITHER)]
