"""Processes of `na-ray` without the seconds that each takes to import torch, Ray and MLflow: forks of one that has.

Each is a process of its own, with its number, signals, environment, working directory and output. It must not use Ray:
what Ray needs is started anew (`subprocess`).
"""

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

MODULES = ("na_ray.cli.main", "na_ray.cli.train", "na_ray.cli.render", "na_ray.cli.runs", "na_ray.run.train.driver")
PERIOD = 0.02


class Forked:
    """A process, as `subprocess.Popen` shows one."""

    def __init__(self, forge: "Forge", pid: int) -> None:
        self.forge, self.pid, self.code = forge, pid, None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.code is None:
            self.code = self.forge.ask(do="poll", pid=self.pid)
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(["na-ray"], timeout or 0.0)
            time.sleep(PERIOD)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forge:
    """The process that is forked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        own = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve())]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=own, text=True, start_new_session=True)

    def ask(self, **question: Any) -> Any:
        """One question, one answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with self.lock:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())

    def start(self, words: list[str], environment: dict[str, str], folder: Path, output: Path) -> Forked:
        """`na-ray WORDS` in a folder; its output is written to a file, or a pipe that has a name."""
        given = {"words": words, "environment": environment, "folder": str(folder), "output": str(output)}
        return Forked(self, int(self.ask(do="start", **given)))

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def become(words: list[str], environment: dict[str, str], folder: str, output: str) -> NoReturn:
    """Be `na-ray WORDS`, to the end of the process."""
    code: Any = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        nothing, said = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for target, source in ((0, nothing), (1, said), (2, said)):
            os.dup2(source, target)
        sys.argv = ["na-ray", *words]
        importlib.import_module("na_ray.cli.main").main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # as Python itself would print it
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    os._exit(code if isinstance(code, int) else 1)


def serve() -> None:
    """Answer questions, a line each."""
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        question = json.loads(line)
        if question.pop("do") == "start":
            sys.stdout.flush()
            answer: int | None = os.fork()
            if answer == 0:
                signal.signal(signal.SIGINT, signal.default_int_handler)  # as a terminal starts it
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
                become(**question)
        else:
            pid, status = os.waitpid(question["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
