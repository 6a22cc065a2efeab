"""No fault, and searched like one: a capture and an MLflow server that ask for passwords, and what is left of these."""

import base64
import shutil
import tempfile
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from alone import STEPS, LoneScene
from captures import Answer, Web, answering
from machines import Server

USER, OF_CAPTURE, OF_MLFLOW = "anna", "c4pture-pa55w0rd", "ml7low-pa55w0rd"
DROPPED = {"host", "authorization", "connection", "transfer-encoding"}


def basic(password: str) -> str:
    """What a client sends as its login."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


class Guarded(Answer):
    """A web server's answer to those who know the capture's password."""

    def let_in(self) -> bool:
        """Whether this is one of them; the others are told."""
        known = self.headers.get("Authorization") == f"Basic {basic(OF_CAPTURE)}"
        if not known:
            self.send_error(401)
        return known

    def do_GET(self) -> None:
        """A file, a part of it, or a folder's names."""
        if self.let_in():
            super().do_GET()

    def do_HEAD(self) -> None:
        """A file's size."""
        if self.let_in():
            super().do_HEAD()


class Login(BaseHTTPRequestHandler):
    """Passes on to MLflow's server what comes with MLflow's password."""

    protocol_version = "HTTP/1.1"
    port = 0

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def pass_on(self) -> None:
        """Ask the server, and answer what it answers."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Basic {basic(OF_MLFLOW)}":
            return self.send_error(401)
        server = HTTPConnection("127.0.0.1", self.port)
        server.request(self.command, self.path, body, self.kept(self.headers.items()))
        answer = server.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in (self.kept(answer.getheaders()) | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        server.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    @staticmethod
    def kept(headers: Any) -> dict[str, str]:
        """Those that are of the message, not of the connection."""
        return {name: value for name, value in headers if name.lower() not in DROPPED}


def holding(*folders: Path) -> list[str]:
    """Files in which a password stands, in either of its spellings."""
    words = [spelt.encode() for word in (OF_CAPTURE, OF_MLFLOW) for spelt in (word, basic(word))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path.name) for path in files if any(word in path.read_bytes() for word in words)]


def kept_secret(scene: LoneScene) -> None:
    """the capture and MLflow ask for passwords: two workers, killed, `--resume auto`, a sweep; files are searched"""
    ray, mlflow = Path(tempfile.mkdtemp(prefix="ray")), Server(scene.folder)
    web = Web(scene.folder, 0, "ranges", Guarded)
    login = ThreadingHTTPServer(("127.0.0.1", 0), type("LoginHere", (Login,), {"port": mlflow.port}))
    try:
        with answering(web) as here, answering(login) as there:
            train_and_sweep(
                scene,
                f"http://{USER}:{OF_CAPTURE}@127.0.0.1:{here}/capture",
                {
                    "MLFLOW_TRACKING_URI": f"http://{USER}:{OF_MLFLOW}@127.0.0.1:{there}",
                    "RAY_ADDRESS": "local",
                    "RAY_TMPDIR": str(ray),
                    "RAY_worker_niceness": "0",
                },
            )
        logs = sum(path.stat().st_size for path in ray.rglob("*") if path.is_file() and not path.is_symlink())
        if logs < 10_000:
            scene.wrong.append("Ray wrote nothing where it was searched")
        scene.wrong += [f"a password stands in {name}" for name in holding(scene.folder, ray)]
        told = sum(OF_CAPTURE in driver.text() or OF_MLFLOW in driver.text() for driver in scene.drivers)
        scene.wrong += ["a driver tells a password"] if told else []
    finally:
        mlflow.stop()
        shutil.rmtree(ray, ignore_errors=True)


def train_and_sweep(scene: LoneScene, capture: str, environment: dict[str, str]) -> None:
    """A training on two workers, killed and gone on with; a sweep of two trials."""
    workers = ("--train.num-workers", "2", "--train.cpus-per-worker", "0.5", "--train.global-batch", "2")
    killed = scene.train(*workers, capture=capture, environment=environment)
    scene.until_step(killed, 27)
    killed.kill()
    scene.expect(scene.train(*workers, capture=capture, environment=environment), 0)
    named = ("--name", "rates", "--capture", capture, "--storage", "runs", "--train.steps", str(STEPS))
    trials = ("--space", "optim.lr=1e-4,1e-3", "--search", "grid", "--scheduler", "none", "--train.num-workers", "0")
    scene.expect(scene.na_ray("sweep", "splats", "--config", "knobs.yaml", *named, *trials, environment=environment), 0)
    if len(list((scene.folder / "runs").rglob("step_*"))) < 3:
        scene.wrong.append("the sweep left no trials")
