"""AWS's notice reaches Ray: a metadata service on loopback that speaks as AWS documents it, and a real Ray node."""

import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from na_ray.run.cluster import spot_watcher

# A node at work (one with nothing to do ends as soon as it drains), which is told of AWS's notice by the watcher.
NODE = """
import json, os, subprocess, sys, time
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
@ray.remote(num_cpus=1)
class Busy:
    def is_there(self): return True
busy = Busy.remote()
ray.get(busy.is_there.remote())
began = time.monotonic()
watcher = [sys.executable, "-m", "na_ray.run.cluster.spot_watcher"]
subprocess.run(watcher, env=os.environ | {"RAY_ADDRESS": cluster.address}, check=True, stdout=sys.stderr)
took = time.monotonic() - began
print(json.dumps([cluster.head_node.node_id, cluster.global_state.get_draining_nodes(), took]), flush=True)
ray.shutdown()
cluster.shutdown()
"""


def soon(seconds: float) -> datetime.datetime:
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(seconds=seconds)


def action(taken: datetime.datetime) -> str:
    """As AWS writes it."""
    return json.dumps({"action": "terminate", "time": f"{taken:%Y-%m-%dT%H:%M:%SZ}"})


class Metadata(BaseHTTPRequestHandler):
    """Version 2 of the service: a token first, then answers to those who show it."""

    action: str | None = None

    def do_PUT(self) -> None:
        self._answer(200 if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else 400, "secret")

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "secret":
            self._answer(401, "")
        elif self.path != "/latest/meta-data/spot/instance-action" or self.action is None:
            self._answer(404, "")
        else:
            self._answer(200, self.action)

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Metadata]]:
    handler = type("Handler", (Metadata,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    yield handler
    server.shutdown()
    server.server_close()


def test_a_notice_is_read_when_there_is_one(service: type[Metadata]) -> None:
    assert spot_watcher.notice() is None
    taken = soon(120)
    service.action = action(taken)
    assert spot_watcher.notice() == taken


def test_a_machine_outside_aws_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["preemption", "--once"])
    assert spot_watcher.main() == 1
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().out


def test_ray_hears_of_the_notice_and_its_deadline(service: type[Metadata], tmp_path: Path) -> None:
    taken = soon(1000)  # AWS gives 120 seconds: a slow machine takes that long to start Ray
    service.action = action(taken)
    with tempfile.TemporaryDirectory(prefix="ray") as own:  # paths of sockets must be short
        environment = os.environ | {"RAY_TMPDIR": own}
        environment.pop("RAY_ADDRESS", None)  # of the cluster that other tests share
        node = [sys.executable, "-c", NODE]
        done = subprocess.run(node, env=environment, check=True, timeout=500, stdout=subprocess.PIPE, cwd=tmp_path)
    head, draining, took = json.loads(done.stdout.splitlines()[-1])
    assert list(draining) == [head]
    # Ray is told the seconds that are left, by a command that takes its time to start.
    assert -2 < draining[head] / 1000 - taken.timestamp() < took + 1
