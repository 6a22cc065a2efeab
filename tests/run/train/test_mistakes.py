"""Whose mistake it is: the user's, in one line; the program's, with its traceback; and memory that ends."""

import sys

import numpy as np
import pytest
import torch

from na_ray.cli import main as na_ray
from na_ray.cli.train import guarded, take_traceback
from na_ray.config.values import UserError
from na_ray.run.cluster import connection
from na_ray.run.train.stages import STAGES
from na_ray.run.train.worker import memory_told


def test_memory_that_ends_is_the_user_s_to_mend_and_names_the_knobs() -> None:
    for stage, parts in STAGES.items():
        knobs = {"texture": "texture.global_batch", "nerf": "data.rays_per_view", "splats": "splats.size"}[stage]
        too_small = f"memory is too small .*: lower {knobs}"
        with pytest.raises(UserError, match=too_small), memory_told(parts.lighter):
            torch.empty(2**60)  # more than any machine has: torch's own allocator refuses
        with pytest.raises(UserError, match="CUDA out of memory") as told, memory_told(parts.lighter):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nand more lines")
        assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), memory_told("x"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_a_bug_keeps_its_traceback_and_names_ray_s_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_sessions", ["/tmp/ray/session_x"])
    assert guarded(lambda: int(np.zeros(3).reshape(2, 2).sum())) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told and "cannot reshape" in told and "/tmp/ray/session_x/logs" in told.splitlines()[-1]
    monkeypatch.setattr(connection, "_sessions", [])
    assert guarded(lambda: int(torch.zeros(3).reshape(2, 2).sum())) == 1
    assert "Ray's logs" not in capsys.readouterr().err


@pytest.mark.parametrize("place", [1, 3])
def test_traceback_shows_where_a_mistake_was_found(
    place: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["na-ray", "render", "nowhere", "--capture", "nowhere", "-o", "x"]
    for shown in (False, True):
        monkeypatch.setattr(sys, "argv", words[:place] + ["--traceback"] * shown + words[place:])
        with pytest.raises(SystemExit) as ended:
            na_ray.main()
        told = capsys.readouterr().err
        assert ended.value.code == 2 and ("Traceback" in told) == shown
        assert told.splitlines()[-1].startswith("error: nowhere")
    assert take_traceback(["a", "--traceback"]) == (["a"], True)
