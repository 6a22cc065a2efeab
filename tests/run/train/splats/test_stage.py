"""The splats' stage as a user starts it: real videos, real MLflow, real Ray."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune

from na_ray import checkpoint
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_avatar
from na_ray.cli.train import main
from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.render import encode
from na_ray.run.data.loader import StepLoader
from na_ray.run.data.pictures import PictureDataset, PictureSampler
from na_ray.run.sweep.state import SweepState
from na_ray.run.sweep.sweep import SweepConfig, sweep
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.driver import train
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.splats.stage import SplatsTrainer
from na_ray.run.train.splats.step import chance, own_share, rotation


def root_of(experiment: Experiment) -> Path:
    return Path(experiment.storage) / experiment.name


def record(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "splats" / "metrics.jsonl").read_text().splitlines()]


def equal(a: Any, b: Any) -> bool:
    """The same to the bit, however it is nested."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tree: Experiment, tmp_path: Path) -> None:
    """Weights, averages, Adam's moments and the running norms: to the bit."""
    splats, root = tree, root_of(tree)
    folder = train(splats)
    assert folder == root / "splats" / "checkpoints" / "step_000006"
    unbroken = Path(shutil.move(folder, tmp_path / "unbroken"))  # as if the run was killed before it was there
    for path in root.glob("**/closed.json"):
        path.unlink()
    resumed = train(splats, resume=True)
    assert any("going on from step 3" in str(line) for line in record(root))
    for load in (lambda f: checkpoint.load_weights(f, "splats"), checkpoint.load_training):
        a, b = load(unbroken), load(resumed)
        assert equal(a, b) and a is not b
    training = checkpoint.load_training(unbroken)
    assert {"parameters", "adam", "norms", "poses", "step"} <= training.keys() and torch.isfinite(
        training["norms"]
    ).all()
    before = checkpoint.load_weights(resumed.parent / "step_000003", "splats")
    weights = checkpoint.load_weights(unbroken, "splats")
    assert not equal(before, weights)
    assert weights["poses.corrections"].any() and weights["poses.frames"].tolist() == [0, 1, 2]
    assert any("poses_moved_mm" in line["metrics"] for line in record(root))


def test_poses_that_are_of_no_tree_are_not_learned(splats: Experiment) -> None:
    with pytest.raises(UserError, match=r"frame \d+: splats.refine_poses wants joints that turn, .*: leave the poses"):
        trainer_of(override(splats, {"splats.refine_poses": True}))


def test_a_training_improves_over_its_start(splats: Experiment) -> None:
    long = override(splats, {"train.steps": 60, "train.checkpoint_every": 60, "splats.warmup_steps": 5})
    start = override(long, {"name": "start", "splats.lr_texels": 1e-12, "splats.lr_decoder": 1e-12, "train.steps": 1})
    before, after = (checkpoint.validation(train(e))["validation/psnr"] for e in (start, long))
    assert after > before + 1
    lines = [line["metrics"] for line in record(root_of(long)) if "loss" in line["metrics"]]
    assert sum(m["loss"] for m in lines[-10:]) < 0.7 * sum(m["loss"] for m in lines[:10])
    assert lines[-1]["psnr"] > lines[0]["psnr"] and lines[-1]["lr"] < 0.1 * lines[10]["lr"]


def test_a_loss_that_is_not_finite_is_told_by_a_line(splats: Experiment) -> None:
    with pytest.raises(UserError, match=r"the loss is (nan|inf) before step \d: lower splats.lr_texels and") as told:
        train(override(splats, {"splats.lr_decoder": 1e30}))
    assert "\n" not in str(told.value)


def test_the_command_line_trains_scores_and_leaves_an_avatar(
    splats: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["splats.py", "--report.frames", "1", "--report.size", "40"])
    with pytest.raises(SystemExit) as ended:
        main(splats)
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    root = root_of(splats)
    for name in ("cameras", "poses_own", "poses_mean"):
        scores = json.loads((root / "splats" / "report" / f"{name}.json").read_text())
        assert set(scores["mean"]) == {"splats", "mesh"}, name
        assert 5 < scores["mean"]["splats"]["box"]["psnr"] < 60
    assert "Novel poses, mean texture map" in told.out and "splats " in told.out

    moved = shutil.move(root / "splats" / "checkpoints" / "step_000006", tmp_path / "elsewhere")
    shutil.rmtree(root)
    actor = load_avatar(moved)
    assert actor.name == "splats" and not actor.model.training
    split = Capture.open(splats.capture).split("testing")

    def draw(frame: int) -> torch.Tensor:
        encoded = encode(actor, split.pose(frame), split.texture(frame))
        return actor.model.picture(encoded, split.cameras[frame % 3], 2).colors

    alone = [draw(frame) for frame in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, range(8)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len({float(a.sum()) for a in alone}) == 8


def test_a_sweep_over_a_learning_rate(splats: Experiment, ray_cluster: None) -> None:
    short = override(splats, {"train.steps": 3, "train.validate_every": 3})
    space = {"splats.lr_texels": tune.choice([0.03, 1e-9])}
    best = sweep(short, space, SweepConfig(search="grid", concurrent=1, scheduler="none"))
    state = SweepState(Path(short.storage) / "tiny-sweep", short, "splats")
    assert [t.state for t in state.trials] == ["finished", "finished"]
    winner = state.best()
    assert winner is not None and best == state.run(winner).checkpoints.best()
    found = [state.score(trial) for trial in state.trials]
    assert None not in found and found[0] != found[1]


def trainer_of(experiment: Experiment, world: int = 1, rank: int = 0) -> SplatsTrainer:
    dataset = PictureDataset.make(Capture.open(experiment.capture), experiment)
    worker = Worker(rank, world, torch.device("cpu"), lambda _: None)
    context = TrainContext(experiment, dataset.rig, RunFolder(root_of(experiment), "splats", 1), worker)
    return SplatsTrainer(context, dataset)  # type: ignore[arg-type]


def test_what_a_step_draws_by_chance_is_the_step_s_and_the_frame_s(splats: Experiment) -> None:
    """Steps see own, mean and mixed maps, as often as the knobs say; the same ones whoever asks."""
    config = splats.splats
    drawn = [own_share(config, chance(0, step, 0)) for step in range(2000)]
    assert drawn == [own_share(config, chance(0, step, 0)) for step in range(2000)]
    assert abs(sum(s == 1 for s in drawn) / 2000 - config.own_maps) < 0.04
    assert abs(sum(s == 0 for s in drawn) / 2000 - config.mean_maps) < 0.04
    assert own_share(config, chance(0, 3, 1)) != own_share(config, chance(1, 3, 1)) or drawn[3] != drawn[4]
    angles = []
    for step in range(500):
        turn = torch.from_numpy(rotation(chance(0, step, 0), 0.2))
        torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
        assert float(torch.linalg.det(turn)) > 0
        angles.append(float(((turn.trace() - 1) / 2).clamp(-1, 1).acos()))
    assert abs(sum(a * a for a in angles) / 500 / 3 - 0.2**2) < 0.006, "normally distributed about each axis"


def test_pictures_in_which_the_body_is_not_do_no_harm(splats: Experiment) -> None:
    """All cameras look away in the first steps: then training goes on as it would have."""
    trainer = trainer_of(splats)
    rows = list(islice(StepLoader(PictureSampler(trainer.dataset, (0, 1), 2, 0), distributed=False), 3))
    empty = [{**row, "translation": row["translation"] + 100} for row in rows[0]]
    before = trainer.splats.fixed.detach().clone()
    losses, _ = trainer.step(empty, 0)
    assert torch.isfinite(losses["loss"])
    trainer.step(rows[1], 1)
    losses, work = trainer.step(rows[2], 2)
    assert work == 2 and torch.isfinite(losses["loss"])
    moved = (trainer.splats.fixed.detach() - before).abs().amax(1)
    assert torch.isfinite(trainer.splats.fixed).all() and (moved[:13] > 1e-3).all()
