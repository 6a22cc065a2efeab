"""MLflow's everyday states: a new store met by several, what was deleted or moved, what is no store, or unknown."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import mlflow.artifacts
import pytest
from mlflow.tracking import MlflowClient

from na_ray.cli import main as na_ray
from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.tracking import registry, runs, store
from na_ray.run.tracking.store import TrackingError, asking, check_uri, shown
from na_ray.run.train.disk import on_network_disk
from tests.run.conftest import copy_store

MEET = """
import sys
from na_ray.config import Experiment
from na_ray.run.tracking import experiments, store
print(experiments.experiment_id(store.connect(), Experiment(name="people"), {}))
"""


def test_several_drivers_meet_a_new_store(tmp_path: Path) -> None:
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    command = [sys.executable, "-c", MEET]
    drivers = [
        subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, stdout=-1, stderr=-1) for _ in range(2)
    ]
    answers = [driver.communicate() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], answers[0][1][-2000:]
    assert len({answer for answer, _ in answers}) == 1, "they share one MLflow experiment"
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_is_put_into_write_ahead_mode_on_local_disks_only() -> None:
    mounts = [
        ("/", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/local", "xfs"),
        ("/mnt/fuse", "fuse.sshfs"),
        ("/l", "lustre"),
    ]
    for path, shared in (
        ("/data/mlflow.db", False),
        ("/home/me/mlflow.db", True),
        ("/home/me/local/mlflow.db", False),
        ("/homework/mlflow.db", False),
        ("/mnt/fuse/x/mlflow.db", True),
        ("/l/mlflow.db", True),
    ):
        assert on_network_disk(Path(path), mounts) == shared, path


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("./mlruns", "is a folder, in which MLflow keeps runs no longer: set MLFLOW_TRACKING_URI to a database"),
        ("file:///tmp/mlruns", "is a folder, in which MLflow keeps runs no longer"),
        ("sqlite:////tmp/what?/mlflow.db", r"a path with a \? is no place for MLflow's database"),
        ("sqlite:////tmp/a%20b/mlflow.db", "a path with a % is no place"),
        ("sqlite:////tmp/no/such/folder/mlflow.db", "/tmp/no/such/folder: no such folder for MLflow's database"),
        ("nonsense://x", "nonsense://x: MLflow refuses"),
    ],
)
def test_what_is_no_store_is_one_line(uri: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=told) as error:
        store.connect()
    assert "\n" not in str(error.value)


def test_a_path_with_a_question_mark_is_refused_before_the_training(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "what?"
    odd.mkdir()
    monkeypatch.chdir(odd)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match=r"a path with a \? is no place"):
        check_uri(store.tracking_uri())


def test_errors_of_other_libraries_are_mlflow_s(tmp_path: Path) -> None:
    class ClientError(Exception):
        """As boto3's and Google's: no OSError, no MlflowException."""

    with pytest.raises(TrackingError, match=r"^AccessDenied at http://bucket/x$") as told, asking():
        raise ClientError("AccessDenied at http://me:secret@bucket/x\nand more")
    assert not told.value.final
    with pytest.raises(UserError, match="choose another"), asking():
        raise UserError("choose another")
    assert shown("postgresql://me:pw@host/db and x") == "postgresql://host/db and x"


def opened(tiny: Experiment, tmp_path: Path) -> tuple[Path, runs.Tracker]:
    root = tmp_path / "runs" / "tiny"
    root.mkdir(parents=True, exist_ok=True)
    return root, runs.start(tiny, root, "nerf")


def test_a_deleted_run_is_restored_and_one_that_is_gone_is_begun_anew(
    tiny: Experiment,
    tmp_path: Path,
    empty_store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, first = opened(tiny, tmp_path)
    for run_id in (first.stage, first.parent):
        first.client.delete_run(run_id)
        _, again = opened(tiny, tmp_path)
        assert (again.parent, again.stage) == (first.parent, first.stage)
        assert again.client.get_run(run_id).info.lifecycle_stage == "active"
        assert f"run {run_id} was deleted there, and is restored" in capsys.readouterr().out
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:  # `mlflow gc`
        for table in ("params", "tags", "latest_metrics", "metrics"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (first.stage,))
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (first.stage,))
        database.commit()
    _, again = opened(tiny, tmp_path)
    assert again.parent == first.parent and again.stage != first.stage
    copy_store(empty_store, tmp_path / "new.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new.db")
    _, again = opened(tiny, tmp_path)
    assert again.parent != first.parent
    assert json.loads((root / "tracking.json").read_text())["parent"] == again.parent


def test_a_child_run_that_was_deleted_is_found_and_restored(tiny: Experiment, tmp_path: Path) -> None:
    _, parent = opened(tiny, tmp_path)
    trial = runs.child(parent, tiny, "trial 000", {"trial": "000"})
    trial.client.delete_run(trial.stage)
    assert runs.child(parent, tiny, "trial 000", {"trial": "000"}).stage == trial.stage
    trial.tag({"state": "finished"})


def test_a_deleted_experiment_is_one_line_before_anything_is_written(tiny: Experiment, tmp_path: Path) -> None:
    root, first = opened(tiny, tmp_path)
    first.client.delete_experiment(first.experiment_id)
    told = f"'tiny' was deleted: bring it back by `mlflow experiments restore --experiment-id {first.experiment_id}`"
    for place, end in ((root, "$"), (tmp_path / "runs" / "other", ", or choose another --project$")):
        with pytest.raises(UserError, match=told + end):
            runs.check(tiny, place)
    assert not (tmp_path / "runs" / "other").exists()
    runs.check(override(tiny, {"project": "another"}), tmp_path / "runs" / "other")


def test_a_project_that_was_moved_keeps_its_runs(
    tiny: Experiment, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    copy_store(empty_store, old / "mlflow.db")
    for folder in (old, new):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        if folder == new:
            shutil.move(old, new)
            with pytest.raises(UserError, match=f"lay in {old}, which is gone: .* `ln -s NEW_FOLDER {old}`"):
                runs.check(tiny, new / "runs" / "tiny")
            old.symlink_to(new)
        monkeypatch.chdir(folder)
        _, tracker = opened(tiny, folder)
        runs.check(tiny, folder / "runs" / "tiny")
        found = json.loads((folder / "runs" / "tiny" / "tracking.json").read_text())
        assert found["nerf"] == tracker.stage
        if folder == old:
            first = tracker
    assert (tracker.parent, tracker.stage) == (first.parent, first.stage)


def test_artifacts_are_tried_before_training(tiny: Experiment, tmp_path: Path) -> None:
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (tmp_path / "file").touch()
    for place, told in ((tmp_path / "file" / "a", "file"), ("s3://bucket-of-nobody/x", "s3://bucket-of-nobody/x")):
        name = f"people{len(str(place))}"
        client.create_experiment(name, str(place))
        with pytest.raises(
            UserError, match=r"artifacts cannot be stored there .*: mend that, then go on with --resume auto"
        ) as error:
            opened(override(tiny, {"project": name, "name": name}), tmp_path / name)
        assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("actor", ["models:/lan/1", "models:/lan@champion", "models:/lan", f"runs:/{'0' * 32}/actor"])
def test_an_unknown_actor_is_one_line_and_no_new_database(
    actor: str, tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["na-ray", "render", actor, "--capture", tiny.capture, "-o", "film"])
    for database, told in ((True, "does not give it"), (False, "there is no MLflow database")):
        if not database:
            monkeypatch.delenv("MLFLOW_TRACKING_URI")
            (tmp_path / "empty").mkdir()
            monkeypatch.chdir(tmp_path / "empty")
        with pytest.raises(SystemExit) as ended:
            na_ray.main()
        lines = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2 and len(lines) == 1 and lines[0].startswith(f"error: {actor}: ")
        assert told in lines[0]
    assert not list((tmp_path / "empty").iterdir())


def test_a_model_from_afar_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(registry, "get_artifact_repository", lambda uri: None)  # no folder of this machine

    def download(uri: str, dst_path: str) -> str:
        Path(dst_path, "model").touch()
        return dst_path

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    place = registry._local("models:/lan/1")
    assert (place / "model").exists() and list(tmp_path.iterdir()) == [place]
    registry._fetched.pop().cleanup()  # as Python does when the program ends
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_at_hand_is_not_copied(tiny: Experiment, tmp_path: Path) -> None:
    _, tracker = opened(tiny, tmp_path)
    (tmp_path / "actor").mkdir()
    (tmp_path / "actor" / "experiment.json").touch()
    tracker.files(tmp_path / "actor", "actor")
    assert registry.resolve(f"runs:/{tracker.stage}/actor").is_relative_to(tmp_path / "mlruns")
    assert not registry._fetched
