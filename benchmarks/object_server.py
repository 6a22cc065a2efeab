"""A real S3 object store on this machine, by moto, that counts what it sends, can be slow, and fails on demand.

    with ObjectServer() as server:
        server.upload("captures/human", "lab/human")    # s3://lab/human, at server.endpoint
        sent = server.counts()

The server is a process of its own, listens on 127.0.0.1 alone and ends with the block.
"""

import argparse
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

Fault = Literal["503", "reset", "cut"]
"""`503`: SlowDown, as S3 answers where it is asked too fast; `reset`: no answer; `cut`: half of one."""
Count = dict[str, tuple[int, int]]
"""`METHOD /bucket/key` to requests and bytes of the bodies that were sent."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Counted:
    """A WSGI application around moto's: counts, waits, and fails where it was told to."""

    def __init__(self, app: Any) -> None:
        """`app` is moto's."""
        self.app = app
        self.delay = 0.0
        """Seconds before each answer."""
        self.sent: dict[str, list[int]] = {}
        self.faults: deque[Fault] = deque()
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path.startswith("/_"):
            return self._control(path, environ, start_response)
        time.sleep(self.delay)
        name = f"{method} {path}"
        with self.lock:
            contents = method == "GET" and not environ["QUERY_STRING"]
            fault = self.faults.popleft() if self.faults and contents else None
            self.sent.setdefault(name, [0, 0])[0] += 1
        if fault == "503":
            start_response("503 Slow Down", [("Content-Type", "text/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]
        if fault == "reset":
            hang_up(environ["werkzeug.socket"])
            start_response("200 OK", [("Content-Length", "0")])
            return []
        return self._body(name, self.app(environ, start_response), environ, cut=fault == "cut")

    def _body(self, name: str, parts: Iterable[bytes], environ: dict[str, Any], cut: bool) -> Iterator[bytes]:
        for part in parts:
            data = part[: len(part) // 2] if cut else part
            with self.lock:
                self.sent[name][1] += len(data) if environ["REQUEST_METHOD"] != "HEAD" else 0
            yield data
            if cut:
                hang_up(environ["werkzeug.socket"])
                return

    def _control(self, path: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with self.lock:
            if path == "/_reset":
                self.sent.clear()
            if path == "/_delay":
                self.delay = json.loads(_body_of(environ))
            if path == "/_faults":
                self.faults = deque(json.loads(_body_of(environ)))
            answer = json.dumps([self.sent, len(self.faults)]).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]


def _body_of(environ: dict[str, Any]) -> bytes:
    return bytes(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))


def hang_up(connection: socket.socket) -> None:
    """End a connection at once: the other side still waits for the rest of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)


class ObjectServer:
    """The server's process, and what can be asked of it. Its endpoint is for AWS_ENDPOINT_URL."""

    def __init__(self) -> None:
        """Raises RuntimeError where it does not start."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [sys.executable, __file__, "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(6000):
            try:
                self._post("/_reset")
                return
            except urllib.error.URLError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        self.close()
        raise RuntimeError(f"the object store did not start on {self.endpoint}")

    def _post(self, path: str, body: bytes = b"") -> bytes:
        request = urllib.request.Request(self.endpoint + path, body, {"Content-Type": "text/plain"}, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def reset(self) -> None:
        """Count from zero."""
        self._post("/_reset")

    def counts(self) -> Count:
        """What was sent since the last `reset`."""
        sent, _ = json.loads(self._post("/_counts"))
        return {name: (requests, size) for name, (requests, size) in sent.items()}

    def fail(self, *faults: Fault) -> None:
        """Answer the next requests for contents with these faults, one each; none ends it."""
        self._post("/_faults", json.dumps(faults).encode())

    def slow_down(self, delay_ms: float) -> None:
        """Wait so long before each answer from now on."""
        self._post("/_delay", json.dumps(delay_ms / 1000).encode())

    def faults_left(self) -> int:
        """How many have not happened yet."""
        return int(json.loads(self._post("/_counts"))[1])

    def check_credentials(self, checked: bool) -> None:
        """Refuse keys that the store does not know (all but its own users'), or let anybody in."""
        self._post("/moto-api/reset-auth", b"0" if checked else b"inf")

    def upload(self, folder: str | os.PathLike[str], place: str) -> None:
        """Copy a folder to `bucket/prefix`, making the bucket; with credentials and endpoint of the environment."""
        import fsspec

        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        if not fs.exists(place.split("/")[0]):
            fs.mkdir(place.split("/")[0])
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                fs.put_file(str(path), f"{place}/{path.relative_to(folder)}", ACL="public-read")

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()

    def __enter__(self) -> "ObjectServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    # moto finds out by this variable that it is a server.
    os.environ["MOTO_PORT"] = str(options.port)
    app = Counted(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", options.port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
