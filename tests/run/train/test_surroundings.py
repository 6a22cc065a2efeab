"""What is refused before the capture is read, in one line, with nothing left behind."""

import os
from pathlib import Path

import pytest
import torch

from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.sweep.sweep import sweep
from na_ray.run.tracking.registry import model_name
from na_ray.run.train import surroundings
from na_ray.run.train.driver import train
from na_ray.run.train.surroundings import check_surroundings, gpus_of_machine


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "exp:2"}, r"--name 'exp:2' has a ':'"),
        ({"name": ".."}, r"--name \.\.: expected a word"),
        ({"project": ".."}, r"--project \.\.: expected a word"),
        ({"name": "what?"}, r"has a '\?'"),
        ({"name": "x" * 201}, "has 201 bytes"),
        ({"storage": "s3://bucket/runs"}, "--storage s3://bucket/runs: expected a folder, which all nodes see"),
        ({"train.device": "cuda"}, r"--train.device cuda: there is no GPU that can be used \(torch "),
    ],
)
def test_what_would_fail_later_is_refused_at_once(
    tiny: Experiment, tmp_path: Path, changes: dict[str, str], told: str
) -> None:
    if "train.device" in changes and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    before = sorted(tmp_path.rglob("*"))
    wrong = override(tiny, changes | {"capture": "nowhere"})  # which would be the next thing to be told
    for start in (train, sweep):
        with pytest.raises(UserError, match=told) as error:
            start(wrong)
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_storage_that_is_a_file_or_not_the_user_s_is_refused(tiny: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file: name another folder"):
        check_surroundings(override(tiny, {"storage": str(tmp_path / "file" / "runs")}))
    (tmp_path / "theirs").mkdir(mode=0o555)
    if os.access(tmp_path / "theirs", os.W_OK):
        pytest.skip("root may write everywhere")
    with pytest.raises(UserError, match="theirs cannot be written"):
        check_surroundings(override(tiny, {"storage": str(tmp_path / "theirs" / "runs")}))


def test_a_run_that_had_an_odd_name_goes_on_with_it(tiny: Experiment) -> None:
    old = override(tiny, {"name": "exp:2"})
    root = Path(old.storage) / old.name
    root.mkdir(parents=True)
    (root / "experiment.json").touch()
    check_surroundings(old)
    assert model_name("exp:2-texture") == "exp-2-texture"


def test_a_gpu_that_torch_cannot_use_is_told_of(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidiactl").touch()
    assert not gpus_of_machine(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert gpus_of_machine(tmp_path)
    if not torch.cuda.is_available():
        monkeypatch.setattr(surroundings, "gpus_of_machine", lambda: gpus_of_machine(tmp_path))
        with pytest.raises(UserError, match=r"has a GPU, and torch .*: training would be on CPUs; install"):
            check_surroundings(tiny)
        check_surroundings(override(tiny, {"train.device": "cpu"}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpus_of_machine(tmp_path)
