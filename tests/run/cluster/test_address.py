"""Which Ray a program joins: what is named and no other, or one line that says why not."""

import os
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import ray
from ray._private.utils import validate_socket_filepath, write_ray_address
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from na_ray.cli import main as na_ray
from na_ray.config import Experiment
from na_ray.config.values import UserError
from na_ray.run.cluster import address, connection
from na_ray.run.cluster.address import ClusterAddress, check_cluster, named_cluster


@pytest.fixture
def nothing_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no `ray start` has run: its folder for Ray's files."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(address, "PATIENCE", 0.5)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


class Head(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    """What a cluster's head answers to those who ask whether it lives."""

    def __init__(self, version: str) -> None:
        self.version = version

    def CheckAlive(self, request: object, context: object) -> gcs_service_pb2.CheckAliveReply:
        return gcs_service_pb2.CheckAliveReply(ray_version=self.version)


def serve(head: Head | None) -> tuple[grpc.Server, str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    if head is not None:
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(head, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing."""

    class Mute(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            over.wait(60)

    over, server = threading.Event(), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mute)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    over.set()
    server.shutdown()
    server.server_close()


def test_these_tests_join_nothing_that_was_started_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `ray start` that crashed leaves an address of nobody, and CI may run on that very machine."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    write_ray_address("127.0.0.1:9")
    assert named_cluster() is None, "tests/conftest.py names none"
    monkeypatch.delenv("RAY_ADDRESS")
    found = named_cluster()
    assert found is not None and found.address == "127.0.0.1:9" and str(tmp_path) in found.source


def test_only_what_is_named_is_joined(nothing_named: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.environ.get("RAY_ADDRESS", "")
    assert not own and ray.is_initialized(), "a Ray that this program started for itself runs on the machine"
    assert named_cluster() is None
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(UserError, match="no `ray start` runs on this machine"):
        named_cluster()
    write_ray_address("127.0.0.1:6379", str(nothing_named))
    found = named_cluster()
    assert found is not None and found.address == "127.0.0.1:6379" and str(nothing_named) in found.source
    monkeypatch.setenv("RAY_ADDRESS", "head:6380")
    assert named_cluster() == ClusterAddress("head:6380", "RAY_ADDRESS")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert named_cluster() is None
    check_cluster(ClusterAddress(ray.get_runtime_context().gcs_address, "RAY_ADDRESS"))


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("http://me:secret@127.0.0.1:8265", r"http://127\.0\.0\.1:8265, which is for `ray job`"),
        ("ray://127.0.0.1:10001", "is no client from afar"),
        ("127.0.0.1", "expected HOST:PORT, or local"),
    ],
)
def test_what_is_no_head_s_address_is_refused(
    nothing_named: Path, monkeypatch: pytest.MonkeyPatch, named: str, told: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(UserError, match=told) as error:
        named_cluster()
    assert "\n" not in str(error.value) and "secret" not in str(error.value) and "RAY_ADDRESS=local" in str(error.value)


def test_a_cluster_that_is_gone_is_told_in_one_line(nothing_named: Path, silent: str) -> None:
    something, other = serve(None)
    older, old = serve(Head("2.0.0"))
    for at, told in (
        ("127.0.0.1:9", "Connection refused"),
        ("nowhere.invalid:6379", "nowhere.invalid"),
        (silent, "no answer in time"),
        (other, "something else is there"),
        (old, f"it runs Ray 2.0.0, and this program {ray.__version__}"),
    ):
        with pytest.raises(UserError, match="^no Ray cluster answers at .*: start it, or unset RAY_ADDRESS") as error:
            check_cluster(ClusterAddress(at, "RAY_ADDRESS"))
        assert told in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="start it again, or remove that file"):
        check_cluster(ClusterAddress("127.0.0.1:9", "`ray start`, in /tmp/ray/ray_current_cluster"))
    for server in (something, older):
        server.stop(0)


def test_a_head_that_is_being_started_again_is_waited_for(nothing_named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, at = serve(Head(ray.__version__))
    server.stop(0).wait()
    monkeypatch.setattr(address, "PATIENCE", 30.0)
    back = grpc.server(futures.ThreadPoolExecutor(1))
    gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Head(ray.__version__), back)

    def start_again() -> None:
        time.sleep(0.2)
        back.add_insecure_port(at)
        back.start()

    threading.Thread(target=start_again).start()
    check_cluster(ClusterAddress(at, "RAY_ADDRESS"))
    back.stop(0)


def test_a_training_asks_before_anything_else(
    nothing_named: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "")  # which --ray-address sets, and the test ends with it
    words = ["na-ray", "train", "lan", "--ray-address", "127.0.0.1:9", "--capture", "nowhere"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        na_ray.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: no Ray cluster answers at 127.0.0.1:9") and "\n" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["ray"]


def test_a_long_folder_for_temporary_files_leaves_room_for_ray_s_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    base, socket = "/scratch/jobs/tmp", "session_2026-11-26_08-00-00_000000_4194304/sockets/plasma_store"
    for length in range(len(base) + 4, 120):
        root = base + "x" * (length - len(base) - len("/ray"))
        monkeypatch.setenv("RAY_TMPDIR", root)
        with connection.short_folder() as options:
            assert len(os.environ.get("TMPDIR", "/tmp")) < 40 or not options
        validate_socket_filepath(os.path.join(options.get("_temp_dir", f"{root}/ray"), socket))
        assert options.get("object_spilling_directory", f"{root}/ray") == f"{root}/ray"
    assert options
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", "/scratch/" + "x" * 80)
    with connection.short_folder() as options:
        assert options["_temp_dir"] == "/tmp/ray" and os.environ["TMPDIR"] == "/tmp", "Python's own sockets lie there"
    assert os.environ["TMPDIR"] == "/scratch/" + "x" * 80
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with connection.short_folder() as options:
        assert options == {}


def test_the_option_is_the_environment_s_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from na_ray.cli.train import parsed

    found = parsed("train", Experiment(), ["--ray-address", "head:6379"], "x")
    assert found.ray_address == "head:6379"
