"""Poses a second that `na-ray view` sends from one core, bytes a pose, and the time until the first one.

    python benchmarks/view.py [--actor FOLDER] [--texels 192] [--seconds 10]

A client plays a motion as a browser does, but draws nothing: it takes each pose at once, so that the server sets the
pace. Printed beside poses by the clock: poses by the server's CPU time, which other work on the machine does not touch,
and both over the 15 that are asked for. Without `--actor`: a synthetic one, its splats as they are before training
(which cost the same).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import viser
import zstandard
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from na_ray import checkpoint
from na_ray.actor import write_actor
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.models.avatars import AVATARS
from na_ray.synthetic.write import write_capture

ASKED = 15.0
"""Poses a second and core."""
SPEED = "4x"
"""So that the motion is never what it waits for."""


def make_actor(folder: Path, texels: int) -> Path:
    """An actor of a synthetic capture."""
    write_capture(str(folder / "capture"), frames=24, test_frames=1, cameras=4, resolution=64, texture_size=256)
    capture = Capture.open(folder / "capture")
    config = override(Experiment(capture=capture.path), {"splats.texels": texels})
    weights = AVATARS["splats"].make(config, Body.from_rig(capture.rig)).state_dict()
    checkpoint.save(folder / "splats", "splats", weights, capture.rig, config, 1)
    return write_actor(folder / "actor", {"splats": folder / "splats"}, capture)


def start(actor: Path) -> tuple[subprocess.Popen[str], int]:
    """(the server on one core, its port)."""
    words = [sys.executable, "-c", "from na_ray.cli.main import main; main()", "view", str(actor), "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    psutil.Process(server.pid).cpu_affinity([0])
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("http://"):
            return server, int(line.split()[0].rpartition(":")[2])
    raise RuntimeError("na-ray view did not start")


class Client:
    """What viser's page does, as far as the server sees."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.controls: dict[str, str] = {}
        """Identifier of each control by its label."""
        self.poses = 0
        self.bytes = 0
        self._zstd = zstandard.ZstdDecompressor()

    def send(self, kind: str, **values: Any) -> None:
        """A message to the server."""
        self.connection.send(msgspec.msgpack.encode({"type": kind} | values))

    def set(self, label: str, value: object) -> None:
        """Move a control."""
        self.send("GuiUpdateMessage", uuid=self.controls[label], updates={"value": value})

    def take(self) -> None:
        """The next messages, and what is to be answered of them."""
        raw = self.connection.recv(timeout=60)
        assert isinstance(raw, bytes)
        compressed = int.from_bytes(raw[8:16], "little")
        window = msgspec.msgpack.decode(self._zstd.decompress(raw[16 : 16 + compressed]))
        for message in window["messages"]:
            kind = message["type"]
            if kind == "LocalStorageGetItemRequestMessage":
                uuid = message["request_uuid"]
                self.send("LocalStorageGetItemResponseMessage", value=None, error=None, request_uuid=uuid)
            elif "props" in message and "label" in message["props"]:
                self.controls[message["props"]["label"]] = message["uuid"]
            elif kind == "SceneNodeUpdateMessage" and "buffer" in message["updates"]:
                self.poses += 1
                self.bytes = len(raw)


def measure(port: int, server: psutil.Process, seconds: float) -> str:
    """Play for so long."""
    url, version = f"ws://127.0.0.1:{port}", viser.__version__
    with connect(url, subprotocols=[f"viser-v{version}"], max_size=None, compression=None) as connection:  # type: ignore[list-item]
        began, client = time.perf_counter(), Client(connection)
        camera = {"wxyz": (1, 0, 0, 0), "position": (0, 1, -3), "look_at": (0, 1, 0), "up_direction": (0, 1, 0)}
        size = {"fov": 0.7, "near": 0.01, "far": 1000.0, "image_height": 700, "image_width": 1000}
        client.send("ViewerCameraMessage", **camera, **size)
        while not client.poses:
            client.take()
        first = time.perf_counter() - began
        client.set("speed", SPEED)
        client.set("play", True)
        poses, cpu, wall = client.poses, sum(server.cpu_times()[:2]), time.perf_counter()
        while time.perf_counter() < wall + seconds:
            client.take()
        count = client.poses - poses
        by_clock = count / (time.perf_counter() - wall)
        by_cpu = count / (sum(server.cpu_times()[:2]) - cpu)
    return "\n".join(
        [
            f"first pose {first:.2f} s after the page",
            f"poses a second: {by_clock:.1f} by the clock ({by_clock / ASKED:.2f} of {ASKED:g}),"
            f" {by_cpu:.1f} by the server's CPU ({by_cpu / ASKED:.2f})",
            f"bytes a pose: {client.bytes:,}",
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actor", type=Path)
    parser.add_argument("--texels", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        actor = arguments.actor or make_actor(Path(folder), arguments.texels)
        server, port = start(actor)
        try:
            print(measure(port, psutil.Process(server.pid), arguments.seconds))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
