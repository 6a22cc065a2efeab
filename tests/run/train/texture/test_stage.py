"""The texture predictor trained as a user starts it: real videos, real MLflow, real Ray, real kills."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient

from na_ray import checkpoint
from na_ray.actor import open_actor
from na_ray.body.atlas import Atlas
from na_ray.capture.dataset import Capture
from na_ray.capture.image import resized
from na_ray.checkpoint import load_predictor
from na_ray.config import Experiment, override
from na_ray.models.lighting import PRIOR, REACH
from na_ray.motion.predict import predict_maps
from na_ray.pictures.png import read_png
from na_ray.run.data.sequences import SequenceDataset
from na_ray.run.tracking.registry import resolve
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.driver import train
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.texture.stage import TextureTrainer
from tests.moments import kill_training_worker
from tests.run.train.together import train_alone


def record(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "texture" / "metrics.jsonl").read_text().splitlines()]


def moments(folder: Path, side: str) -> dict[int, torch.Tensor]:
    """Adam's first moments by the parameter's position: with beta1 = 0 they are the gradients of the last update."""
    state = checkpoint.load_training(folder)[f"{side}_optimizer"]["state"]
    return {i: moment["exp_avg"] for i, moment in state.items()}


def check_validation(experiment: Experiment, root: Path) -> None:
    """The last three training frames decide, and no frame of the test split does."""
    folder = root / "texture" / "validation" / "step_000006"
    assert sorted(f.name for f in folder.glob("*.png")) == [f"frame_{i:06d}.png" for i in (9, 10, 11)]
    predictor = load_predictor(root / "texture" / "checkpoints" / "step_000006")
    split = Capture.open(experiment.capture).split("training")
    inside = Atlas(predictor.body, 32).inside.numpy()
    errors = [
        np.abs(prediction[inside] / 255.0 - resized(target, (32, 32))[inside] / 255.0).mean()
        for prediction, target in zip(
            predict_maps(predictor, split.normal_maps(9, 12)), split.textures(9, 12), strict=True
        )
    ]
    (found,) = (line["metrics"] for line in record(root) if "validation/l1" in line["metrics"])
    assert found["validation/l1"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_training_leaves_a_predictor_scores_pictures_and_a_model(
    tiny_texture: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = train(tiny_texture)
    root = tmp_path / "runs" / "tiny"
    client = MlflowClient()
    experiment = client.get_experiment_by_name("tiny")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    stage = runs["texture"]
    assert stage.info.status == "FINISHED" and stage.data.params["texture.max_window"] == "4"
    expected = {"G/total", "D/total", "G/perceptual", "G/flow_warp", "D/gan_t0", "frames_per_second", "lr", "psnr"}
    assert expected | {"validation/psnr", "validation/l1", "validation/flicker"} <= set(stage.data.metrics)
    assert "textures/predicted/psnr" in stage.data.metrics and "textures/mean_texture/ssim" in stage.data.metrics
    windows = [line["metrics"]["window"] for line in record(root) if "window" in line["metrics"]]
    assert windows == [3, 4, 4]
    pictures = {a.path.rpartition(".")[2] for a in client.list_artifacts(stage.info.run_id, "validation/step_000006")}
    assert pictures == {"mp4"}
    shown = [a.path for a in client.list_artifacts(stage.info.run_id, "images")]
    assert any(path.startswith("images/validation~frame_") and "+step+6+" in path for path in shown)
    check_validation(tiny_texture, root)
    assert "chose the checkpoint: none of these frames, but 3 held-out frames of training" in capsys.readouterr().out

    split = Capture.open(tiny_texture.capture).split("testing")
    expected_maps = list(predict_maps(load_predictor(best), split.normal_maps()))
    written = sorted((root / "texture" / "predicted" / "testing" / "tex").iterdir())
    assert [f.name for f in written] == [f"{i:06d}.png" for i in range(12)]
    assert all(np.array_equal(read_png(f), image) for f, image in zip(written, expected_maps, strict=True))
    model = mlflow.pyfunc.load_model("models:/tiny/1")
    served = model.predict(pd.DataFrame({"normals": list(split.normal_maps())}))
    assert all(np.array_equal(a, b) for a, b in zip(served, expected_maps, strict=True))


def test_the_nerf_stage_draws_with_the_predicted_textures(tiny_texture: Experiment, tmp_path: Path) -> None:
    both = override(tiny_texture, {"texture.steps": 2, "train.steps": 2, "report.film_frames": 2})
    train(override(both, {"stages": ("texture",)}))
    assert MlflowClient().get_model_version_by_alias("tiny", "best").tags["judged_by"].startswith("texture maps")
    best = train(override(both, {"stages": ("texture", "nerf")}), resume=True)
    root = tmp_path / "runs" / "tiny"
    assert best.parents[1].name == "nerf"
    assert [line["step"] for line in record(root) if "loss" in line["metrics"]] == [2], "the texture stage ran again"
    scores = json.loads((root / "nerf" / "report" / "poses_predicted.json").read_text())
    assert scores["textures"].endswith("texture/predicted/testing/tex")
    own = json.loads((root / "nerf" / "report" / "poses_own.json").read_text())
    assert scores["mean"]["mesh"] != own["mean"]["mesh"]
    assert (root / "nerf" / "film" / "color.mp4").stat().st_size
    served = MlflowClient().get_model_version_by_alias("tiny", "best")
    assert int(served.version) == 2 and open_actor(resolve("models:/tiny@best")).choose() == "nerf", "it can be drawn"


def test_an_interrupted_training_ends_where_an_unbroken_one_does(tiny_texture: Experiment) -> None:
    """The training alone: what a driver does before and behind it is tested above, and how it goes on with a run in
    test_release_0_1.py."""
    mean = override(tiny_texture, {"vid2vid.mean_residual": True, "texture.max_scale": 1.0, "texture.double_every": 2})
    unbroken = train_alone(override(mean, {"name": "unbroken"}))
    train_alone(override(mean, {"texture.steps": 2}))
    resumed = train_alone(mean)
    assert [line["step"] for line in record(Path(mean.storage) / mean.name) if "loss" in line["metrics"]] == [2, 4, 6]
    a, b = (checkpoint.load_weights(folder, "texture") for folder in (unbroken, resumed))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    for side in ("generator", "discriminator"):
        x, y = moments(unbroken, side), moments(resumed, side)
        assert x.keys() == y.keys() and all(torch.equal(x[i], y[i]) for i in x)


# A minute of Ray. The loop that goes on is every stage's (test_train.py), and what the stage resumes is tested above.
@pytest.mark.cluster
def test_a_killed_worker_goes_on_from_the_last_checkpoint(
    tiny_texture: Experiment, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"texture.steps": 8, "train.log_every": 1, "train.num_workers": 1, "train.cpus_per_worker": 0.5}
    long = override(tiny_texture, changes | {"report.frames": 0})
    root = Path(long.storage) / "tiny"
    kill_training_worker(monkeypatch, step=5)
    assert train(long).name == "step_000008"
    steps = [line["step"] for line in record(root) if "loss" in line["metrics"]]
    assert steps == [*range(1, 6), *range(5, 9)], "that behind the checkpoint of step 4 is done twice"
    history = MlflowClient().get_metric_history(json.loads((root / "tracking.json").read_text())["texture"], "loss")
    assert [m.step for m in history] == list(range(1, 9))


def test_mistakes_are_told_before_training(tiny_texture: Experiment, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="vgg19.pth"):
        train(override(tiny_texture, {"texture.perceptual": "vgg19", "name": "a"}))
    with pytest.raises(ValueError, match="memory_mb is 1: 2 windows of 4 frames"):
        train(override(tiny_texture, {"data.memory_mb": 1, "vid2vid.resolution": (256, 256), "name": "b"}))
    assert not (tmp_path / "runs").exists()


def lit(tiny_texture: Experiment) -> Experiment:
    return override(tiny_texture, {"vid2vid.mean_residual": True, "vid2vid.relit": True, "texture.max_scale": 1.0})


def texture_trainer(experiment: Experiment) -> TextureTrainer:
    dataset = SequenceDataset.make(Capture.open(experiment.capture), experiment)
    worker = Worker(0, 1, torch.device("cpu"), lambda _: None)
    run = RunFolder(Path(experiment.storage), "texture", 1)
    return TextureTrainer(TrainContext(experiment, dataset.rig, run, worker), dataset)


def test_a_relit_predictor_begins_with_the_least_squares_of_the_training_maps(tiny_texture: Experiment) -> None:
    """Per color channel, by numpy's solver in float64; a light never fits worse than the mean map alone."""
    stage = texture_trainer(lit(tiny_texture))
    frames, split = stage.dataset.frames, stage.dataset.split
    maps = [(split.texture(i), next(iter(split.normal_maps(i, i + 1)))) for i in frames]
    textures, labels = (np.stack([resized(pair[k], (32, 32)) for pair in maps]).astype(np.float64) for k in (0, 1))
    z, y, x = np.moveaxis(labels / 127.5 - 1, 3, 0)
    terms = np.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1])
    terms -= terms.mean(1, keepdims=True)
    mean = textures.mean(0) / 255
    expected = textures / 255
    rows, columns = np.divmod(np.arange(32 * 32), 32)
    squares = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    near = np.where(np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= 1, squares, np.inf)
    near = np.exp(-near / 2 / (32 * REACH) ** 2)
    for c in range(3):
        matrix = (terms * mean[..., c]).reshape(8, len(maps), -1)
        change = (textures[..., c] / 255 - mean[..., c]).reshape(len(maps), -1)
        shared = np.linalg.solve(
            np.einsum("kfn,lfn->kl", matrix, matrix) + 1e-3 * np.eye(8), np.einsum("kfn,fn->k", matrix, change)
        )
        left = change - np.einsum("k,kfn->fn", shared, matrix)
        gram = np.einsum("mn,kfn,lfn->mkl", near, matrix, matrix, optimize=True) + PRIOR * np.eye(8)
        own = np.linalg.solve(gram, np.einsum("mn,kfn,fn->mk", near, matrix, left, optimize=True)[..., None])[..., 0]
        lit_up = np.einsum("nk,kfn->fn", shared + own, matrix).reshape(textures.shape[:3])
        expected[..., c] = mean[..., c] + lit_up
    with torch.no_grad():
        inputs = torch.from_numpy(labels / 127.5 - 1).float().permute(0, 3, 1, 2)
        found = torch.tanh(stage.generator.start(inputs)).permute(0, 2, 3, 1).double().numpy() / 2 + 0.5
    np.testing.assert_allclose(found, expected.clip(0.005, 0.995), atol=1e-4)
    assert ((found - textures / 255) ** 2).mean() < 0.98 * ((mean - textures / 255) ** 2).mean()


def test_a_relit_predictor_goes_on_bit_for_bit_and_predicts_from_its_checkpoint(tiny_texture: Experiment) -> None:
    short = override(lit(tiny_texture), {"texture.steps": 4, "report.frames": 0})
    unbroken = train_alone(override(short, {"name": "unbroken"}))
    train_alone(override(short, {"texture.steps": 2}))
    resumed = train_alone(short)
    assert [line["step"] for line in record(Path(short.storage) / short.name) if "loss" in line["metrics"]] == [2, 4]
    a, b = (checkpoint.load_weights(folder, "texture") for folder in (unbroken, resumed))
    assert a["light"].any() and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    fresh = texture_trainer(short).generator
    predictor = load_predictor(resumed)
    assert torch.equal(predictor.generator.light, fresh.light) and torch.equal(predictor.generator.basis, fresh.basis)
