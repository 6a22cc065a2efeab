"""The server of the viewer: on this machine alone, one session a browser."""

import contextlib
import io
import socket
import threading
import warnings
from pathlib import Path

import viser

from na_ray.config.values import UserError
from na_ray.viewer.figure import COMPUTE
from na_ray.viewer.scene import FOV, Scene
from na_ray.viewer.session import Session

HOST = "127.0.0.1"


class _LocalServer(viser.ViserServer):
    """viser has no login: what it shows stays here, whatever a page asks for."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """A tunnel to the outside: refused."""
        return None


class Viewer:
    """A running viewer. Raises UserError, one line, where the port is taken."""

    def __init__(self, scene: Scene, port: int, folder: Path) -> None:
        """`port` 0: any that is free. `folder`: where browsers save camera paths."""
        check_port(port)
        # A browser may go away between two messages: its session ends, and nobody needs to be told.
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)
        self._scene, self._folder = scene, folder
        self._sessions: dict[int, Session] = {}
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        with contextlib.redirect_stdout(io.StringIO()):  # viser prints a box
            self._server = _LocalServer(host=HOST, port=port, label="na-ray", verbose=False)
        self.port = self._server.get_port()
        if port and self.port != port:  # taken since; viser went on to the next
            self.close()
            raise _taken(port)
        self._prepare()
        self._server.on_client_connect(self._begin)
        self._server.on_client_disconnect(self._end)

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        """End all sessions, and free the port."""
        with self._lock:
            sessions, threads = list(self._sessions.values()), list(self._threads)
        for session in sessions:
            session.close()
        for thread in threads:  # torch must not compute while Python ends
            thread.join()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _prepare(self) -> None:
        server, scene = self._server, self._scene
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.scene.set_up_direction(scene.up)
        server.scene.configure_default_lights(False)
        server.scene.configure_environment_map(None)
        camera = server.initial_camera
        camera.position, camera.look_at, camera.fov = scene.eye, scene.target, float(FOV)

    def _begin(self, client: viser.ClientHandle) -> None:
        # A thread of its own: those of viser answer the controls of all browsers.
        thread = threading.Thread(target=self._serve, args=(client,), name="view", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, client: viser.ClientHandle) -> None:
        session = Session(client, self._server, self._scene, self._folder)
        with self._lock:
            self._sessions[client.client_id] = session
        try:
            session.run()
        finally:
            with self._lock:
                del self._sessions[client.client_id]
                self._threads.discard(threading.current_thread())

    def _end(self, client: viser.ClientHandle) -> None:
        with self._lock:
            session = self._sessions.get(client.client_id)
        if session is not None:
            session.close()


def check_port(port: int) -> None:
    """Raise UserError, one line, where something listens there."""
    if not 0 <= port < 65536:
        raise UserError(f"--port {port}: expected a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise UserError(f"--port {port}: only root may listen there: give one above 1023") from None
        except OSError:
            raise _taken(port) from None


def check_host(host: str, port: int) -> None:
    """Raise UserError, one line, for any address but this machine's own."""
    if host not in (HOST, "localhost"):
        raise UserError(
            f"--host {host}: the viewer has no login, and listens on {HOST} alone; from your machine, run "
            f"`ssh -L {port}:{HOST}:{port} THIS_MACHINE` and open http://{HOST}:{port} there"
        )


def warm_up(scene: Scene) -> None:
    """Open and draw what is shown first, so that the first browser does not wait for it."""
    for figure in scene.figures:
        kind = figure.nearest(scene.kind)
        pose = figure.clips[0].pose(0)
        with COMPUTE:
            mean = figure.mean
            figure.skeleton  # noqa: B018
            if mean is not None:
                figure.draw(kind, pose, mean)


def _taken(port: int) -> UserError:
    return UserError(f"port {port} of {HOST} is in use: end what listens there, or give another, --port {port + 1}")
