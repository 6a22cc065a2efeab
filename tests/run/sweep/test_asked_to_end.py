"""What a sweep's driver does about SIGTERM; with real trials: `test_sweep.py`, by make test-cluster."""

import signal
from pathlib import Path

import pytest

from na_ray.run.sweep.interrupt import ending_by_signals
from na_ray.run.train.interrupt import STOP, Terminated


def test_sigterm_asks_the_trials_under_way_and_lets_them_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, folder, waited = signal.getsignal(signal.SIGTERM), tmp_path / "trials" / "000" / "nerf", []
    with pytest.raises(Terminated), ending_by_signals(lambda: [folder]):
        signal.raise_signal(signal.SIGTERM)
        waited.append((folder / STOP).exists())
    assert waited == [True], "it went on until the trials ended, which know of it"
    assert "the trials save checkpoints" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(Terminated), ending_by_signals(lambda: []):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it went on")


def test_nothing_happens_without_a_signal() -> None:
    with ending_by_signals(lambda: pytest.fail("nobody asked")):
        pass
