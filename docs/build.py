"""Take the screenshots of docs/mlflow.md by doing what that page says: make docs.

The command lines of its section "Compare in MLflow" are run as they stand there, in an empty folder. A browser
without a window then presses what the section names, and what it shows becomes `docs/mlflow-*.png`. A command that
fails, a label that MLflow does not have, a page without the expected values: each fails the build and changes nothing.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pages import BROWSERS, SHOTS, photograph

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGE = DOCS / "mlflow.md"
TITLE = "Compare in MLflow"
# Seconds that the server may take to start, and to stop.
PATIENCE = 60.0


def section(page: str) -> str:
    """The section of the page that is walked through."""
    return page.split(f"\n## {TITLE}\n")[1].split("\n## ")[0]


def commands(text: str) -> str:
    """The command lines of the section, a script for sh; the server (`mlflow ui`) is not among them."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(line for line in lines if not line.startswith("mlflow ui")) + "\n"


def labels(text: str) -> set[str]:
    """What the section names in italics (buttons, tabs) or as code (runs, columns, files) outside its command lines."""
    prose = "\n".join(line for line in text.splitlines() if not line.startswith(("    ", "![")))
    return {" ".join((italic or code).split()) for italic, code in re.findall(r"\*([^*]+)\*|`([^`]+)`", prose)}


def missing() -> list[str]:
    """What has to be installed first, a line each."""
    found = []
    if not any(map(shutil.which, BROWSERS)):
        found.append("no Chromium or Chrome on the PATH takes the screenshots: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        found.append("playwright, which drives the browser, is not installed: pip install playwright, or make docs")
    return found


def environment() -> dict[str, str]:
    """The commands' environment: this Python first on the PATH, and a store of their own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {"OMP_NUM_THREADS": "1"} | kept | own  # one thread: the same scores on any number of cores


def train(folder: Path, script: str) -> None:
    """Run the section's commands in the folder. Raises RuntimeError with the end of their output when one fails."""
    (folder / "experiments").symlink_to(ROOT / "experiments")
    done = subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError("the commands of docs/mlflow.md failed:\n" + "\n".join(done.stdout.splitlines()[-20:]))


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """`mlflow ui` on the folder's store, at a free port of the loopback, for as long as the body of the `with` runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + PATIENCE
        while not _answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("mlflow ui does not start:\n" + (folder / "server.log").read_text()[-2000:])
            time.sleep(0.5)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)  # its workers with it: the group is ours alone
        process.wait(timeout=PATIENCE)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def build(folder: Path) -> None:
    """Make the pictures of `docs/` anew, by way of a scratch folder. Raises RuntimeError where the page is wrong."""
    text = section(PAGE.read_text())
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {what}", flush=True)

    if not (folder / "mlflow.db").exists():
        say("running the commands of docs/mlflow.md: two trainings and a sweep")
        train(folder, commands(text))
    say("starting mlflow ui")
    shots = folder / "shots"
    shots.mkdir(exist_ok=True)
    with server(folder) as url:
        say("taking the pictures")
        met = photograph(url, shots)
    if stale := labels(text) - met:
        raise RuntimeError(
            f"docs/mlflow.md, section {TITLE!r}, names what was not met in MLflow: {', '.join(sorted(stale))}"
        )
    for name in SHOTS:
        shutil.copyfile(shots / f"mlflow-{name}.png", DOCS / f"mlflow-{name}.png")
    say(f"wrote {', '.join(f'docs/mlflow-{name}.png' for name in SHOTS)}")


def main() -> int:
    """Build; the exit code is 2 where something has to be installed first, 1 where the page or MLflow does not hold."""
    parser = argparse.ArgumentParser(description="take the screenshots of docs/mlflow.md")
    parser.add_argument("--keep", type=Path, help="scratch folder that stays; what it holds is not trained again")
    keep = parser.parse_args().keep
    if lacking := missing():
        print("\n".join(f"error: {line}" for line in lacking), file=sys.stderr)
        return 2
    folder = (keep or Path(tempfile.mkdtemp(prefix="na-ray-docs-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        build(folder)
    except (RuntimeError, ValueError) as error:
        print(f"error: {error}\nkept for a look: {folder}", file=sys.stderr)
        return 1
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
