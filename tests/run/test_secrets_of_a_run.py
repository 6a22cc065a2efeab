"""A capture that asks for a password, or for a signature in each address: it trains, and nothing that is written or
printed holds either."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, flatten, override, secrets
from na_ray.config.values import StorageError
from na_ray.run.train.driver import train
from tests.guarded_server import NEITHER, PASSWORD, SIGNATURE, holding


@pytest.mark.parametrize("form", ["http://anna:{password}@{host}", "http://{host}?sig={signature}"])
def test_a_capture_behind_a_secret_is_read_whole(guarded_host: str, form: str) -> None:
    given = form.format(host=guarded_host, password=PASSWORD, signature=SIGNATURE)
    assert examine(given).defects == []
    capture = Capture.open(given)
    assert capture.path == f"http://{guarded_host}" and capture.splits == ("testing", "training")
    assert next(capture.split("training").images(0, 3, 4)).shape == (32, 40, 3)


def test_without_it_one_line_says_where_it_is_given(guarded_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        StorageError, match=r"access is denied .*https://NAME:PASSWORD@HOST.*NA_RAY_CREDENTIALS"
    ) as told:
        Capture.open(f"http://anna:wrong-{PASSWORD}@{guarded_host}")
    assert PASSWORD not in str(told.value)
    monkeypatch.setattr(secrets, "_known", {})
    monkeypatch.setenv(secrets.VARIABLE, f"http://anna:{PASSWORD}@{guarded_host}")
    assert Capture.open(f"http://{guarded_host}").splits == ("testing", "training")


def test_a_run_leaves_no_secret_anywhere(
    guarded_host: str,
    tiny: Experiment,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = f"http://anna:{PASSWORD}@{guarded_host}"
    signed = override(tiny, {"capture": given, "train.steps": 5})
    best = train(signed)
    assert f'"capture": "http://{guarded_host}"' in (best / "experiment.json").read_text()
    assert holding(tmp_path) == []
    # What was stored has no secret: it comes again, by another way here.
    monkeypatch.setattr(secrets, "_known", {})
    train(override(signed, {"capture": f"http://{guarded_host}?sig={SIGNATURE}", "train.steps": 10}), resume=True)
    assert holding(tmp_path) == [] and f"http://{guarded_host}" in repr(flatten(signed))
    told = capfd.readouterr()
    assert not [word for word in NEITHER if word in told.out + told.err]


def test_the_command_line_does_not_show_it_either(guarded_host: str, tmp_path: Path) -> None:
    """`na-ray` starts anew without the secrets of its command line: the system shows that to everybody."""
    script = (
        "import sys; from pathlib import Path; from na_ray.cli.main import main\n"
        "Path('line').write_bytes(Path('/proc/self/cmdline').read_bytes())\n"
        "main()"
    )
    (tmp_path / "tool.py").write_text(script)
    given = f"http://anna:{PASSWORD}@{guarded_host}"
    done = subprocess.run(
        [sys.executable, "tool.py", "inspect", given], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0 and f"http://{guarded_host}" in done.stdout, done.stderr
    assert f"http://{guarded_host}".encode() in (tmp_path / "line").read_bytes() and holding(tmp_path) == []
