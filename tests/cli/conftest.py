"""Commands as a user types them, in the test's own process: to import all that they need takes seconds."""

import sys

import pytest

from na_ray.cli.main import main
from na_ray.cli.train import main as experiment_main
from na_ray.config import Experiment


class Shell:
    """Runs `na-ray` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def run(self, *arguments: object, experiment: Experiment | None = None) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of na-ray, or of an experiment's script."""
        self.monkeypatch.setattr(sys, "argv", ["na-ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main() if experiment is None else experiment_main(experiment)
        said = self.capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)
