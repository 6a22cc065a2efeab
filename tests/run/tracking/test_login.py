"""MLflow that asks for a password: the one in `MLFLOW_TRACKING_URI` is used, and neither recorded nor told."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest

from na_ray.checkpoint import write_json
from na_ray.config import Experiment, secrets
from na_ray.config.values import UserError
from na_ray.run.tracking import runs, store

PASSWORD = "pa55 w0rd"
LET_IN = "Basic " + base64.b64encode(f"anna:{PASSWORD}".encode()).decode()


class Mlflow(BaseHTTPRequestHandler):
    """As much of MLflow's server as `connect` asks, with a login as of `mlflow server --app-name basic-auth`."""

    def do_GET(self) -> None:
        let_in = self.headers["Authorization"] == LET_IN
        self.send_response(200 if let_in else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"experiments": []}).encode() if let_in else b"You are not authenticated.")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(secrets, "_known", {})
    before = mlflow.get_tracking_uri()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that the test's end restores them
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mlflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    mlflow.set_tracking_uri(before)


def test_a_server_s_password_lets_in_and_is_told_nowhere(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:{PASSWORD.replace(' ', '%20')}@{host}")
    client = store.connect()
    assert client.search_experiments() == []
    assert store.tracking_uri() == client.tracking_uri == store.where_to_look() == f"http://{host}"
    assert "pa55" not in mlflow.get_tracking_uri()


def test_a_wrong_password_is_one_line_without_it(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:wr0ng-w0rd@{host}")
    with pytest.raises(UserError, match=rf"^http://{host}: MLflow lets nobody in .*MLFLOW_TRACKING_PASSWORD") as told:
        store.connect()
    assert "wr0ng" not in str(told.value) and "\n" not in str(told.value)


def test_a_database_s_password_opens_it_and_is_told_nowhere(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = "postgresql://anna:pa55w0rd@db.example/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert store.tracking_uri() == "postgresql://db.example/mlflow"
    assert secrets.opened_by(store.tracking_uri()) == (given, {})


def test_a_record_of_0_2_that_holds_a_password_is_found_again_and_loses_it(tiny: Experiment, tmp_path: Path) -> None:
    first = runs.start(tiny, tmp_path, "nerf")
    record = tmp_path / "tracking.json"
    ids = json.loads(record.read_text())
    write_json(record, ids | {"uri": ids["uri"].replace("sqlite:///", "sqlite://anna:pa55w0rd@/")})
    again = runs.start(tiny, tmp_path, "nerf")
    assert (again.parent, again.stage) == (first.parent, first.stage) and "pa55" not in record.read_text()
