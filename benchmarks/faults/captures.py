"""Faults of a capture and of what serves it, and of what is asked for on the command line."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from alone import ENDLESS, LoneScene
from drivers import resumed, struck
from stores import closed_port


class Web(ThreadingHTTPServer):
    """A web server that sends parts of a folder's files, unless it is told to be another one."""

    def __init__(self, folder: Path, port: int, mood: str, answer: "type[Answer] | None" = None) -> None:
        super().__init__(("127.0.0.1", port), partial(answer or Answer, self, directory=str(folder)))
        self.mood = mood
        """`ranges`, `whole` (it knows no ranges), `refuses` (503) or `cuts` (half of each answer)."""


class Answer(SimpleHTTPRequestHandler):
    """One of its answers."""

    def __init__(self, web: Web, *rest: Any, **named: Any) -> None:
        self.web = web
        super().__init__(*rest, **named)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """A file, a part of it, or a folder's names."""
        path, wanted, mood = Path(self.translate_path(self.path)), self.headers.get("Range"), self.web.mood
        if mood == "refuses":
            return self.send_error(503)
        if not path.is_file() or (wanted is None and mood != "cuts") or mood == "whole":
            return super().do_GET()
        data, first, last = path.read_bytes(), 0, ""
        if wanted is not None:
            first, last = int(wanted.removeprefix("bytes=").split("-")[0]), wanted.split("-")[1]
        part = data[first : int(last) + 1 if last else None]
        self.send_response(200 if wanted is None else 206)
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: len(part) // 2] if mood == "cuts" else part)


@contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[int]:
    """Let a server answer in this block. Yields its port."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def served(scene: LoneScene, port: int = 0, mood: str = "ranges") -> Iterator[Web]:
    """The scene's folder behind http://127.0.0.1:PORT."""
    server = Web(scene.folder, port, mood)
    with answering(server):
        yield server


def address(server: Web) -> str:
    """The capture's."""
    return f"http://127.0.0.1:{server.server_address[1]}/capture"


def video(scene: LoneScene) -> Path:
    """The first camera's."""
    return min((scene.folder / "capture" / "training" / "rgb_video").iterdir())


def damaged(scene: LoneScene, path: Path, damage: Callable[[Path], object], said: str) -> None:
    """Damage a file while it trains; mend it, and go on."""
    driver, whole = struck(scene, ENDLESS), path.read_bytes()
    damage(path)
    scene.expect(driver, 2, said)
    path.write_bytes(whole)
    resumed(scene)


def cut(path: Path) -> None:
    """Its first half is left."""
    os.truncate(path, path.stat().st_size // 2)


def video_cut(scene: LoneScene) -> None:
    """a video is cut short; mended, `--resume auto`"""
    damaged(scene, video(scene), cut, video(scene).name)


def video_removed(scene: LoneScene) -> None:
    """a video is removed; put back, `--resume auto`"""
    damaged(scene, video(scene), Path.unlink, video(scene).name)


def textures_cut(scene: LoneScene) -> None:
    """the video of texture maps is cut short; mended, `--resume auto`"""
    path = next((scene.folder / "capture" / "training").glob("tex_*"))
    damaged(scene, path, cut, path.name)


def transforms_cut(scene: LoneScene) -> None:
    """the archive of poses is cut short; mended, `--resume auto`"""
    path = scene.folder / "capture" / "training" / "transform.zip"
    driver, whole = struck(scene), path.read_bytes()
    driver.kill()
    cut(path)
    scene.expect(scene.train(), 2, path.name)
    path.write_bytes(whole)
    resumed(scene)


def other_capture(scene: LoneScene) -> None:
    """another person's capture takes the place of the run's; put back, `--resume auto`"""
    driver = struck(scene)
    driver.kill()
    path = scene.folder / "capture" / "canonical.obj"
    whole = path.read_text()
    path.write_text(whole.replace("v 0", "v 1", 1))
    scene.expect(scene.train(), 2, "capture")
    path.write_text(whole)
    resumed(scene)


def server_without_ranges(scene: LoneScene) -> None:
    """the capture's web server knows no ranges"""
    with served(scene, mood="whole") as server:
        scene.expect(scene.train(capture=address(server)), 2, "sends whole files only")
    resumed(scene)


def server_dies(scene: LoneScene) -> None:
    """the capture's web server dies; started again, `--resume auto`"""
    with served(scene) as server:
        place = address(server)
        driver = scene.train(capture=place, steps=ENDLESS)
        scene.until_step(driver, 27)
    scene.expect(driver, 2, "cannot be reached")
    with served(scene, server.server_address[1]):
        scene.expect(scene.train(capture=place, steps=scene.last() + 20), 0)


def server_hiccups(scene: LoneScene) -> None:
    """the capture's web server refuses (503), then cuts its answers short, for a second each"""
    with served(scene) as server:
        driver = scene.train(capture=address(server), steps=ENDLESS)
        scene.until_step(driver, 27)
        for mood in ("refuses", "cuts"):
            server.mood = mood
            time.sleep(1)
            server.mood = "ranges"
            time.sleep(1)
        driver.process.terminate()
        scene.expect(driver, 143)
        scene.expect(scene.train(capture=address(server), steps=scene.last() + 20), 0)


def refused(
    scene: LoneScene, said: str, *options: str, storage: str = "runs", environment: dict[str, str] | None = None
) -> None:
    """A command line that is refused before anything is written."""
    scene.expect(scene.train(*options, storage=storage, environment=environment), 2, said)
    if (scene.folder / "runs").exists():
        scene.wrong.append("something was written")
    shutil.rmtree(scene.folder / "runs", ignore_errors=True)


def cluster_gone(scene: LoneScene) -> None:
    """`RAY_ADDRESS` names a cluster that is gone"""
    began, gone = time.monotonic(), f"127.0.0.1:{closed_port()}"
    refused(scene, "no Ray cluster answers", "--train.num-workers", "1", environment={"RAY_ADDRESS": gone})
    if time.monotonic() - began > 120:  # most of it is Python that starts on a busy machine
        scene.wrong.append("told late")
    resumed(scene)


def cluster_of_jobs(scene: LoneScene) -> None:
    """`RAY_ADDRESS` is that of the job server"""
    job_server = {"RAY_ADDRESS": "http://127.0.0.1:8265"}
    refused(scene, "which is for `ray job`", "--train.num-workers", "1", environment=job_server)
    resumed(scene)


def odd_name(scene: LoneScene) -> None:
    """a name that MLflow's registry refuses (`exp:2`), and one that leaves the folder (`..`)"""
    for name, said in (("exp:2", "leave it out"), ("..", "expected a word of letters")):
        scene.expect(scene.train(name=name), 2, said)
        del scene.wanted[name]
    resumed(scene)


def bucket_as_storage(scene: LoneScene) -> None:
    """`--storage s3://bucket/runs`"""
    refused(scene, "expected a folder, which all nodes see", storage="s3://bucket/runs")
    resumed(scene)


def no_gpu(scene: LoneScene) -> None:
    """`--train.device cuda` where there is none"""
    refused(scene, "there is no GPU that can be used", "--train.device", "cuda")
    resumed(scene)
