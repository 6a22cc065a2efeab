"""Web servers for captures behind addresses: one that sends files whole, one that sends parts of them."""

from http.server import SimpleHTTPRequestHandler
from pathlib import Path


class Quiet(SimpleHTTPRequestHandler):
    """A web server that sends files from their beginning only."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Ranges(Quiet):
    """A web server that sends parts of files."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range")
        if wanted is None or not path.is_file():
            return super().do_GET()
        first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
        data = path.read_bytes()
        part = data[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()
