"""What a resumed run may change, and what it must share with its start."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from na_ray.capture.dataset import Capture
from na_ray.cli.train import main
from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.train.driver import train
from na_ray.run.train.fingerprint import check_capture, fingerprint, keep_fingerprint
from tests.make_capture import rewrite_zip, transform, write_tiny_capture


@pytest.fixture
def short(tiny: Experiment) -> Experiment:
    """A step, unscored."""
    return override(tiny, {"train.steps": 1, "report.frames": 0, "train.validate_every": 0})


def other_body(folder: Path) -> None:
    text = (folder / "canonical.obj").read_text().splitlines()
    text[0] = " ".join(["v", "0.3", *text[0].split()[2:]])
    (folder / "canonical.obj").write_text("\n".join(text) + "\n")


def other_camera(folder: Path) -> None:
    path = folder / "intrinisc" / "0001.txt"
    K = np.loadtxt(path)
    K[0, 2] += 1
    np.savetxt(path, K, fmt="%.8f")


def other_motion(folder: Path) -> None:
    rewrite_zip(folder / "training" / "transform.zip", {"000011.json": json.dumps(transform(30))})


@pytest.mark.parametrize(
    ("change", "part"), [(other_body, "body"), (other_camera, "cameras"), (other_motion, "frames")]
)
def test_another_capture_is_refused(short: Experiment, tmp_path: Path, change, part: str) -> None:  # type: ignore[no-untyped-def]
    train(short)
    other = shutil.copytree(short.capture, tmp_path / "other")
    train(override(short, {"capture": str(other), "train.steps": 2}), resume=True)  # the same one, moved
    change(other)
    again = override(short, {"capture": str(other), "train.steps": 3})
    with pytest.raises(UserError, match=rf"was trained on another capture, which differs in {part} \(") as told:
        train(again, resume=True)
    assert "\n" not in str(told.value) and "--name" in str(told.value)


def test_a_run_of_0_1_is_known_by_the_body_in_its_checkpoint(short: Experiment, tmp_path: Path) -> None:
    best = train(short)
    root = Path(short.storage) / "tiny"
    assert json.loads((best / "fingerprint.json").read_text()) == json.loads((root / "fingerprint.json").read_text())
    (root / "fingerprint.json").unlink()
    (best / "fingerprint.json").unlink()
    other = shutil.copytree(short.capture, tmp_path / "other")
    check_capture(root, fingerprint(Capture.open(other), "training"))
    other_body(other)
    with pytest.raises(UserError, match=r"differs in body \(its mesh"):
        train(override(short, {"capture": str(other), "train.steps": 2}), resume=True)


def test_pictures_or_videos_of_the_same_person_have_one_fingerprint(tmp_path: Path) -> None:
    raw = write_tiny_capture(tmp_path / "raw", layout="raw")
    extracted = write_tiny_capture(tmp_path / "extracted", layout="extracted")
    marks = [fingerprint(Capture.open(folder), "training") for folder in (raw, extracted)]
    assert marks[0] == marks[1]
    keep_fingerprint(tmp_path, marks[0])
    check_capture(tmp_path, marks[1])


def test_changed_knobs_are_tags_and_a_fresh_artifact(short: Experiment) -> None:
    train(short)
    train(override(short, {"train.steps": 2, "train.log_every": 3}), resume=True)
    train(override(short, {"train.steps": 3, "train.log_every": 3}), resume=True)
    ids = json.loads((Path(short.storage) / "tiny" / "tracking.json").read_text())
    client = MlflowClient()
    for run_id in (ids["parent"], ids["nerf"]):
        tags = {k: v for k, v in client.get_run(run_id).data.tags.items() if k.startswith("changed.")}
        assert tags == {"changed.train.steps": "1 -> 2 -> 3", "changed.train.log_every": "2 -> 3"}
        kept = sorted(f.path for f in client.list_artifacts(run_id) if f.path.startswith("experiment"))
        assert kept == ["experiment.json", "experiment_2.json", "experiment_3.json"]
        latest = json.loads(Path(client.download_artifacts(run_id, kept[-1])).read_text())
        assert latest["train"]["steps"] == 3


def test_a_resumed_run_keeps_its_batch(short: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    train(short)
    train(override(short, {"train.steps": 2, "train.global_batch": 8}), resume=True)
    assert "train.global_batch stays 1, with which" in capsys.readouterr().out
    kept = json.loads((Path(short.storage) / "tiny" / "experiment.json").read_text())
    assert kept["train"]["global_batch"] == 1


def test_a_batch_that_is_given_by_hand_and_is_not_the_run_s_is_refused(
    short: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(short)
    monkeypatch.setattr(sys, "argv", ["tiny.py", "--resume", "auto", "--train.steps", "2", "--train.global-batch=8"])
    with pytest.raises(SystemExit) as ended:
        main(short)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "train.global_batch is 8, and " in told and "was started with 1, which" in told
