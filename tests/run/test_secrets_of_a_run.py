"""A capture that asks for a password, or for a signature in each address: it trains, and nothing that is written or
printed holds either."""

import base64
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from range_server import Ranges

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, flatten, override, secrets
from na_ray.config.values import StorageError
from na_ray.run.train.driver import train

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


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {})
    monkeypatch.delenv(secrets.VARIABLE, raising=False)


@pytest.fixture
def host(tiny_capture: Path) -> Iterator[str]:
    with serving(tiny_capture) as host:
        yield host


def holding(folder: Path) -> list[str]:
    """The files below a folder in which a secret stands."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(word.encode() in path.read_bytes() for word in NEITHER)]


@pytest.mark.parametrize("form", ["http://anna:{password}@{host}", "http://{host}?sig={signature}"])
def test_a_capture_behind_a_secret_is_read_whole(host: str, form: str) -> None:
    given = form.format(host=host, password=PASSWORD, signature=SIGNATURE)
    assert examine(given).defects == []
    capture = Capture.open(given)
    assert capture.path == f"http://{host}" and capture.splits == ("testing", "training")
    assert next(capture.split("training").images(0, 3, 4)).shape == (32, 40, 3)


def test_without_it_one_line_says_where_it_is_given(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        StorageError, match=r"access is denied .*https://NAME:PASSWORD@HOST.*NA_RAY_CREDENTIALS"
    ) as told:
        Capture.open(f"http://anna:wrong-{PASSWORD}@{host}")
    assert PASSWORD not in str(told.value)
    monkeypatch.setattr(secrets, "_known", {})
    monkeypatch.setenv(secrets.VARIABLE, f"http://anna:{PASSWORD}@{host}")
    assert Capture.open(f"http://{host}").splits == ("testing", "training")


def test_a_run_leaves_no_secret_anywhere(
    host: str, tiny: Experiment, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = f"http://anna:{PASSWORD}@{host}"
    signed = override(tiny, {"capture": given, "train.steps": 5})
    best = train(signed)
    assert f'"capture": "http://{host}"' in (best / "experiment.json").read_text()
    assert holding(tmp_path) == []
    # What was stored has no secret: it comes again, by another way here.
    monkeypatch.setattr(secrets, "_known", {})
    train(override(signed, {"capture": f"http://{host}?sig={SIGNATURE}", "train.steps": 10}), resume=True)
    assert holding(tmp_path) == [] and f"http://{host}" in repr(flatten(signed))
    told = capfd.readouterr()
    assert not [word for word in NEITHER if word in told.out + told.err]


def test_the_command_line_does_not_show_it_either(host: str, tmp_path: Path) -> None:
    """`na-ray` starts anew without the secrets of its command line: the system shows that to everybody."""
    script = (
        "import sys; from pathlib import Path; from na_ray.cli.main import main\n"
        "Path('line').write_bytes(Path('/proc/self/cmdline').read_bytes())\n"
        "main()"
    )
    (tmp_path / "tool.py").write_text(script)
    given = f"http://anna:{PASSWORD}@{host}"
    done = subprocess.run(
        [sys.executable, "tool.py", "inspect", given], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0 and f"http://{host}" in done.stdout, done.stderr
    assert f"http://{host}".encode() in (tmp_path / "line").read_bytes() and holding(tmp_path) == []
