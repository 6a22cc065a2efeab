"""Training as a user starts it: real videos, real MLflow, real Ray, real kills."""

import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from na_ray import checkpoint
from na_ray.actor import open_actor
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_avatar
from na_ray.config import Experiment, override, to_dict
from na_ray.evaluation.evaluate import target_image
from na_ray.evaluation.image_metrics import psnr
from na_ray.motion.textures import MeanTexture
from na_ray.render import encode
from na_ray.run.tracking.registry import resolve
from na_ray.run.train.driver import train


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(folder)


def record(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "nerf" / "metrics.jsonl").read_text().splitlines()]


def test_training_leaves_an_actor_scores_pictures_and_a_model(tiny: Experiment, tmp_path: Path) -> None:
    best = train(tiny)
    root = tmp_path / "runs" / "tiny"
    folders = sorted(f.name for f in (root / "nerf" / "checkpoints").iterdir())
    assert folders == ["step_000005", "step_000010"] and best.name in folders
    client = MlflowClient()
    experiment = client.get_experiment_by_name("tiny")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    stage = runs["nerf"]
    assert stage.data.tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    assert stage.data.params["optim.lr"] == "0.002"
    assert [m.step for m in client.get_metric_history(stage.info.run_id, "loss")] == [2, 4, 6, 8, 10]
    assert {"psnr", "rays_per_second", "data_wait_percent", "lr", "validation/psnr"} <= set(stage.data.metrics)
    assert "cameras/nerf/box/psnr" in stage.data.metrics and "poses_own/mesh/whole/psnr" in stage.data.metrics
    pictures = {a.path for a in client.list_artifacts(stage.info.run_id, "images") if a.path.endswith(".png")}
    shown = [re.match(r"images/validation~(frame_\d+_view_\d+)\+step\+(\d+)\+", path) for path in pictures]
    assert {(m[1], int(m[2])) for m in shown if m} == {
        (path.stem, int(path.parent.name[5:])) for path in (root / "nerf" / "validation").glob("step_*/*.png")
    }
    assert len({m[1] for m in shown if m}) == 1 and len(pictures) == 2, "one slider of two steps"
    assert json.loads((root / "nerf" / "report" / "cameras.json").read_text())["background"]

    page = (root / "report.html").read_text()
    assert "report.html" in {a.path for a in client.list_artifacts(runs["tiny"].info.run_id)}
    assert "<h3>Held-out cameras, own texture maps</h3>" in page and page.count("<polyline") >= 4 and "wipe" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page), "it opens offline"

    split = Capture.open(tiny.capture).split("testing")
    actor, pose, camera = load_avatar(best), split.pose(1), split.cameras[0]
    expected = actor.model.picture(encode(actor, pose, split.texture(1)), camera).colors
    model = mlflow.pyfunc.load_model("models:/tiny/1")
    arrays = {k: getattr(pose, k) for k in ("joints_RT", "rotation", "translation", "joints")}
    view = {"K": camera.K, "T_world_camera": camera.T_world_camera, "height": camera.height, "width": camera.width}
    (found,) = model.predict(pd.DataFrame([arrays | view | {"texture": split.texture(1)}]))
    assert np.abs(found["color"] / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-6 and found["textures"] == "given"
    (found,) = model.predict(pd.DataFrame([arrays | view]))
    mean = MeanTexture.find(actor, Capture.open(tiny.capture)).map
    expected = actor.model.picture(encode(actor, pose, mean), camera).colors
    assert np.abs(found["color"] / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-6 and found["textures"] == "mean"
    stored, left = open_actor(resolve("models:/tiny@best")), open_actor(root / "actor")
    assert stored.values == left.values and stored.values["stages"]["nerf"]["scores"]["cameras"]["mean"]["nerf"]["box"]
    first, second = stored.avatar().model.state_dict(), checkpoint.load_avatar(best).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_the_best_of_a_registered_model_is_the_best_on_the_same_pictures(tiny: Experiment, tmp_path: Path) -> None:
    short = override(tiny, {"train.steps": 2, "train.validate_every": 0, "train.checkpoint_every": 2})

    def trained_in(storage: str, **changes: object) -> float:
        knobs = {"storage": str(tmp_path / storage), "report.frames": 0} | changes
        return scores(train(override(short, knobs)))["validation/psnr"]

    found = [trained_in("a"), trained_in("b", **{"optim.lr": 2e-2}), trained_in("c", **{"optim.lr": 1e-12})]
    client = MlflowClient()
    best = client.get_model_version_by_alias("tiny", "best")
    assert int(best.version) - 1 == found.index(max(found)) and len(set(found)) == 3
    trained_in("d", **{"train.validation_size": 16, "optim.lr": 1e-3})  # of other pictures: it is not compared
    assert client.get_model_version_by_alias("tiny", "best").version == best.version
    assert len(client.search_model_versions("name = 'tiny'")) == 4


def test_what_decides_is_not_trained_on_and_every_table_says_so(
    tiny: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = train(override(tiny, {"data.fit_views": "0,1", "train.validate_every": 0}))
    found = json.loads((best / "metrics.json").read_text())
    assert set(found) == {"step", "validation/psnr", "validation/ssim", "fit/psnr", "fit/ssim"}
    root = tmp_path / "runs" / "tiny" / "nerf"
    shown = {f.name.rpartition("_")[2] for f in (root / "validation" / "step_000010").iterdir()}
    assert shown == {"000.png", "001.png", "002.png"}
    split, actor = Capture.open(tiny.capture).split("training"), load_avatar(best)
    camera = split.cameras[2].fitted(tiny.train.validation_size)
    color = actor.model.picture(encode(actor, split.pose(0), split.texture(0)), camera, 2).colors
    assert found["validation/psnr"] == pytest.approx(psnr(color, target_image(split, 0, 2, camera)), abs=1e-3)
    scores = {name: json.loads((root / "report" / f"{name}.json").read_text()) for name in REPORTS}
    assert scores["cameras"]["protocol"]["heading"] == "Held-out cameras, own texture maps"
    assert scores["cameras"]["protocol"]["trained_on"] == "none of these pictures"
    assert scores["cameras"]["protocol"]["chosen_by"] == "all of these pictures"
    assert scores["poses_mean"]["protocol"]["heading"] == "Novel poses, mean texture map"
    assert scores["poses_mean"]["mean"]["nerf"]["box"].keys() == {"psnr", "ssim", "lpips"}
    told = capsys.readouterr().out
    assert "warning" not in told and told.count("unknown which cameras made the texture maps") == 3
    for heading in ("Held-out cameras, own texture maps", "Novel poses, own texture maps"):
        rows = told[told.index(heading) :].splitlines()
        assert rows[3].startswith("nerf ") and rows[4].startswith("textured mesh ")
        assert [cell == "-" for cell in rows[3].split()[1:]] == [False, False, True, False, False, True]


REPORTS = ("cameras", "poses_own", "poses_mean")


def test_who_decides_on_what_is_trained_on_is_warned(tiny: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    flattering = {"data.train_views": "all", "data.validation_views": "2", "train.steps": 1, "report.frames": 1}
    train(override(tiny, flattering))
    told = capsys.readouterr().out
    assert told.count("warning: what decides is trained on (cameras 2)") == 3, "in the preflight and in both tables"


def test_with_few_cameras_the_last_frames_decide(tiny: Experiment, tmp_path: Path) -> None:
    auto = {"data.train_views": "auto", "data.validation_views": "auto", "train.steps": 1, "data.shard_frames": 1}
    train(override(tiny, auto))
    root = tmp_path / "runs" / "tiny" / "nerf"
    assert {f.name[:12] for f in (root / "validation" / "step_000001").iterdir()} == {"frame_000011"}
    scores = json.loads((root / "report" / "frames.json").read_text())
    assert scores["frames"] == [11] and scores["protocol"]["heading"].startswith("Held-out frames")
    assert scores["protocol"]["trained_on"] == "none of these pictures"


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tiny: Experiment, tmp_path: Path) -> None:
    unbroken = train(override(tiny, {"name": "unbroken"}))
    train(override(tiny, {"train.steps": 5}))
    ids = json.loads((tmp_path / "runs" / "tiny" / "tracking.json").read_text())
    resumed = train(tiny, resume=True)
    assert json.loads((tmp_path / "runs" / "tiny" / "tracking.json").read_text()) == ids
    a, b = weights(unbroken.parent / "step_000010"), weights(resumed.parent / "step_000010")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_runs_of_a_project_stand_side_by_side_and_stay_there(tiny: Experiment, tmp_path: Path) -> None:
    short = override(tiny, {"project": "column", "train.steps": 1, "report.frames": 0})
    best = {name: train(override(short, {"name": name})) for name in ("a", "b")}
    client = MlflowClient()

    def parents() -> dict[str, Run]:
        runs = client.search_runs([client.get_experiment_by_name("column").experiment_id])
        return {r.info.run_name: r for r in runs if "mlflow.parentRunId" not in r.data.tags}

    before = parents()
    assert set(before) == {"a", "b"} and client.get_experiment_by_name("a") is None
    assert {name: run.data.metrics for name, run in before.items()} == {k: scores(v) for k, v in best.items()}
    longer = {"name": "a", "project": "elsewhere", "train.steps": 2, "train.validate_every": 1}
    again = train(override(short, longer), resume=True)
    after = parents()
    assert {k: r.info.run_id for k, r in after.items()} == {k: r.info.run_id for k, r in before.items()}
    assert client.get_experiment_by_name("elsewhere") is None
    assert after["a"].data.metrics == scores(again) and after["b"].data.metrics == before["b"].data.metrics


def scores(checkpoint: Path) -> dict[str, float]:
    metrics = json.loads((checkpoint / "metrics.json").read_text())
    return {name: metrics[name] for name in ("validation/psnr", "validation/ssim")}


def test_a_run_that_is_there_is_not_overwritten(tiny: Experiment) -> None:
    train(override(tiny, {"train.steps": 1, "report.frames": 0}))
    with pytest.raises(FileExistsError, match="--resume auto"):
        train(tiny)
    with pytest.raises(ValueError, match=r"optim.lr: 0.002 -> 0.1"):
        train(override(tiny, {"optim.lr": 0.1}), resume=True)


def test_mistakes_are_told_before_training(tiny: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--capture PATH"):
        train(override(tiny, {"capture": "", "name": "a"}))
    with pytest.raises(ValueError, match="number 9, but there are 3"):
        train(override(tiny, {"data.train_views": "9", "name": "b"}))
    with pytest.raises((ValueError, FileNotFoundError), match="nowhere"):
        train(override(tiny, {"capture": str(tmp_path / "nowhere"), "name": "c"}))


def test_a_killed_driver_is_resumed_into_the_same_mlflow_run(tiny: Experiment, tmp_path: Path) -> None:
    long = override(tiny, {"train.steps": 40, "train.log_every": 1, "train.validate_every": 0, "report.frames": 0})
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, os, signal, sys
            from na_ray.config import Experiment, from_dict
            from na_ray.run.train.run_folder import RunFolder
            from na_ray.run.train.driver import train
            append = RunFolder.append
            def append_and_die(self, step, *rest, **named):
                append(self, step, *rest, **named)
                if step == 13:
                    os.kill(os.getpid(), signal.SIGKILL)
            RunFolder.append = append_and_die
            train(from_dict(Experiment, json.loads(sys.argv[1])))
            """
        )
    )
    driver = subprocess.run([sys.executable, str(script), json.dumps(to_dict(long))], cwd=tmp_path, check=False)
    assert driver.returncode == -signal.SIGKILL
    root = tmp_path / "runs" / "tiny"
    ids = json.loads((root / "tracking.json").read_text())
    best = train(override(long, {"train.steps": 15}), resume=True)
    assert best.name == "step_000015"
    steps = [line["step"] for line in record(root) if "loss" in line["metrics"]]
    assert steps == [*range(1, 14), *range(11, 16)], "it went on from the checkpoint of step 10"
    assert json.loads((root / "tracking.json").read_text()) == ids
    history = MlflowClient().get_metric_history(ids["nerf"], "loss")
    assert [m.step for m in history] == list(range(1, 16))
