"""The checks of `make test-cuda`: on a GPU where there is one, and on the CPU so that they keep running."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.cuda.checks import checks

GPU = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("name", checks())
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_a_device_computes_what_the_cpu_does(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    checks()[name](device)


def test_a_wrong_number_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cuda import checks as module

    drawn = iter((1.0, 1.01))
    monkeypatch.setattr(module, "depth_buffer", lambda *_: (torch.full((8, 8), next(drawn)),))
    with pytest.raises(AssertionError, match="depth buffer: 0.0% within"):
        module.check_depth_buffer("cpu")


def test_they_need_torch_numpy_warp_and_pure_python_alone() -> None:
    """On the machine with a GPU there is no Ray, no MLflow and no reader of videos or pictures."""
    absent = ("ray", "mlflow", "av", "PIL", "tyro", "trimesh", "scipy", "tqdm", "pandas", "pytest", "beartype")
    program = f"import sys\nfor name in {absent}: sys.modules[name] = None\nimport run; print(len(run.checks()))"
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=here, timeout=500)
    assert (done.returncode, done.stdout) == (0, f"{len(checks())}\n"), done.stderr
