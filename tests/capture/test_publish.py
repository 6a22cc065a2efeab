"""Two programs that write one folder are kept apart."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from na_ray.capture.publish import only_writer
from na_ray.cli.main import main
from na_ray.config.values import UserError

HOLDER = """
import sys, time
from na_ray.capture.publish import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_process_at_a_time_writes_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "anna"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        told = "anna: another na-ray is writing it: wait, or name another folder"
        with pytest.raises(UserError, match=told), only_writer(str(out)):
            pytest.fail("two write it")
        monkeypatch.setattr(sys, "argv", ["na-ray", "prepare", "normals", str(out)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2 and told in capsys.readouterr().err
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with only_writer(str(out)), only_writer(str(tmp_path / "berta")):
        assert {path.name for path in tmp_path.iterdir()} == {".anna.lock", ".berta.lock"}
    assert not list(tmp_path.iterdir())
