"""Sweeps as a user starts them: real Ray Tune, real MLflow, real kills."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from ray import tune

from na_ray.cli.train import guarded, main
from na_ray.config import Experiment, override, to_dict
from na_ray.run.cluster.resources import BOOTSTRAP
from na_ray.run.sweep.state import ENDED, SCORE, SweepState
from na_ray.run.sweep.sweep import SweepConfig, _share, sweep
from tests.guarded_server import PASSWORD, holding
from tests.moments import kill_trial, until

SPACE = {"optim.lr": tune.loguniform(1e-4, 1e-2)}
LEARNING_RATES = {"optim.lr": tune.choice([2e-3, 1e30, 1e-3])}


def board_of(experiment: Experiment) -> SweepState:
    return SweepState(Path(experiment.storage) / f"{experiment.name}-sweep", experiment, "nerf")


def runs_of(experiment: Experiment) -> dict[str, Run]:
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])  # this process may still hold that of another test
    found = client.get_experiment_by_name(experiment.project or experiment.name)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert len({r.info.run_name for r in runs}) == len(runs)
    return {r.info.run_name: r for r in runs}


def test_a_sweep_compares_trials_one_of_which_dies_and_registers_the_best_actor(
    tiny: Experiment,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    guarded_host: str,
) -> None:
    """One trial's process dies and goes on from its checkpoint; the loss of another is not finite.

    The capture asks for a password, which reaches the trials and no file: not those that Ray Tune writes either.
    """
    changes = {"project": "column", "train.steps": 4, "train.log_every": 1, "train.validate_every": 2}
    changes |= {"capture": f"http://anna:{PASSWORD}@{guarded_host}"}
    short = override(tiny, changes | {"train.checkpoint_every": 2})
    kill_trial(monkeypatch, step=3, name="000")
    best = sweep(short, LEARNING_RATES, SweepConfig(search="grid", concurrent=1, scheduler="none"))
    sweep_state = board_of(short)
    assert [t.state for t in sweep_state.trials] == ["finished", "failed", "finished"]
    assert [len(t.attempts) for t in sweep_state.trials] == [2, 1, 1]
    assert sweep_state.trials[1].error.startswith("the loss is nan before step 2: lower optim.lr")
    winner = sweep_state.best()
    assert winner is not None and best == sweep_state.run(winner).checkpoints.best()
    assert sweep_state.score(winner) == max(sweep_state.score(sweep_state.trials[i]) or 0.0 for i in (0, 2))

    runs = runs_of(short)
    parent = runs.pop("tiny-sweep")
    assert set(runs) == {"trial 000", "trial 001", "trial 002"}
    assert {r.data.tags["mlflow.parentRunId"] for r in runs.values()} == {parent.info.run_id}
    assert [runs[name].info.status for name in sorted(runs)] == ["FINISHED", "FAILED", "FINISHED"]
    assert runs["trial 001"].data.tags["error"].startswith("the loss is nan")
    assert runs["trial 002"].data.params["optim.lr"] == "0.001"
    client = MlflowClient()
    curve = client.get_metric_history(runs["trial 002"].info.run_id, SCORE)
    assert [m.step for m in curve] == [2, 4]
    curve = client.get_metric_history(runs["trial 000"].info.run_id, "loss")
    assert [m.step for m in curve] == [1, 2, 3, 4]
    assert parent.data.metrics[SCORE] == sweep_state.score(winner) and "poses_own/nerf/box/psnr" in parent.data.metrics
    stored = {f.path for f in client.list_artifacts(parent.info.run_id, "sweep")}
    assert stored == {f"sweep/{n}" for n in ("table.json", "table.csv", "table.md", "parallel_coordinates.html")}
    assert mlflow.pyfunc.load_model("models:/tiny/1")

    assert list(sweep_state.root.glob("ray/*/tuner.pkl")) and holding(Path(short.storage)) == []

    told = capfd.readouterr()
    assert PASSWORD not in told.out + told.err
    assert "trial 000 died, and is started again" in told.err
    assert "trial 001 failed: the loss is nan" in told.err and "Traceback" not in told.err
    assert f"best      trial {winner.name}" in told.out and "--optim.lr" in told.out

    before = {t.name: t.attempts for t in sweep_state.trials}
    assert sweep(short, LEARNING_RATES, SweepConfig(search="grid", scheduler="none"), resume=True) == best
    assert {t.name: t.attempts for t in board_of(short).trials} == before
    assert len(client.search_model_versions("name = 'tiny'")) == 1
    with pytest.raises(FileExistsError, match="--resume auto"):
        sweep(short, LEARNING_RATES, SweepConfig(search="grid", scheduler="none"))
    with pytest.raises(ValueError, match="seed: 0 -> 1"):
        sweep(short, LEARNING_RATES, SweepConfig(search="grid", scheduler="none", seed=1), resume=True)


def test_a_killed_sweep_goes_on_without_repeating_or_losing_a_trial(
    tiny: Experiment, ray_cluster: None, tmp_path: Path
) -> None:
    changes = {"train.steps": 10, "train.log_every": 1, "train.validate_every": 5, "report.frames": 0}
    long = override(tiny, changes)
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, sys
            from ray import tune
            from na_ray.config import Experiment, from_dict
            from na_ray.run.sweep import trial
            from na_ray.run.sweep.sweep import SweepConfig, sweep
            real = trial.trial
            def trial_that_stops(config):  # the second one, at step 7, until it is killed
                import time
                from na_ray.run.train.run_folder import RunFolder
                append = RunFolder.append
                def append_and_stop(self, step, *rest, **named):
                    append(self, step, *rest, **named)
                    while self.root.name == "001" and step == 7:
                        time.sleep(1)
                RunFolder.append = append_and_stop
                real(config)
            trial.trial = trial_that_stops
            space = {"optim.lr": tune.loguniform(1e-4, 1e-2)}
            experiment = from_dict(Experiment, json.loads(sys.argv[1]))
            sweep(experiment, space, SweepConfig(trials=3, concurrent=1, search="random", scheduler="none"))
            """
        )
    )
    driver = subprocess.Popen([sys.executable, str(script), json.dumps(to_dict(long))], cwd=tmp_path)
    root = tmp_path / "runs" / "tiny-sweep"
    ended, under_way = (root / "trials" / name for name in ("000", "001"))

    def steps(folder: Path) -> list[int]:
        lines = (folder / "nerf" / "metrics.jsonl").read_text().splitlines()
        return [line["step"] for line in map(json.loads, lines) if "loss" in line["metrics"]]

    def stands_still() -> bool:
        """The second trial has come to step 7, which it does not leave, and the time spent is noted."""
        there = (under_way / "nerf" / "metrics.jsonl", root / "spent.json")
        return all(path.exists() for path in there) and steps(under_way)[-1:] == [7]

    until(stands_still, alive=lambda: driver.poll() is None)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    records = {f: (f / "nerf" / "metrics.jsonl").read_bytes() for f in (ended, under_way)}
    runs = {name: run.info.run_id for name, run in runs_of(long).items()}

    config = SweepConfig(trials=3, concurrent=1, search="random", scheduler="none")
    sweep(long, SPACE, dataclasses.replace(config, budget="0.01m"), resume=True)  # spent before the kill
    assert all(len(trial.attempts) <= 1 for trial in board_of(long).trials)  # nothing was started
    sweep(long, SPACE, config, resume=True)
    sweep_state = board_of(long)
    assert [t.state for t in sweep_state.trials] == ["finished"] * 3
    assert (ended / "nerf" / "metrics.jsonl").read_bytes() == records[ended], "it is not repeated"
    assert len(json.loads((ended / "trial.json").read_text())["attempts"]) == 1
    assert (under_way / "nerf" / "metrics.jsonl").read_bytes().startswith(records[under_way])
    assert steps(under_way) == [*range(1, 8), *range(6, 11)], "it goes on from the checkpoint of step 5"
    found = runs_of(long)
    assert {name: run.info.run_id for name, run in found.items() if name in runs} == runs
    assert set(found) == {"tiny-sweep", *(f"trial 00{i}" for i in range(3))}
    for i in range(3):
        curve = MlflowClient().get_metric_history(found[f"trial 00{i}"].info.run_id, "loss")
        assert [m.step for m in curve] == list(range(1, 11))


# Trials have 25 seconds to save, which a machine that runs other tests beside may not give them.
@pytest.mark.cluster
def test_a_sweep_that_is_asked_to_end_saves_its_trials_and_says_how_it_goes_on(
    tiny: Experiment, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM, then, in the resumed sweep, Ctrl-C. The first checkpoint would come after a million steps."""
    rare = {"train.steps": 10**6, "train.log_every": 1, "train.checkpoint_every": 10**6, "train.validate_every": 0}
    endless = override(tiny, rare | {"report.frames": 0})
    config = SweepConfig(trials=2, concurrent=1, search="random", scheduler="none")
    record = board_of(endless).root / "trials" / "000" / "nerf" / "metrics.jsonl"

    def asked(number: signal.Signals, resume: bool) -> tuple[int, str]:
        lines = len(record.read_text().splitlines()) if resume else 0

        def ask() -> None:
            until(lambda: record.exists() and len(record.read_text().splitlines()) > lines + 3)
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        code = guarded(lambda: bool(sweep(endless, SPACE, config, resume=resume)) - 1)
        thread.join()
        return code, capsys.readouterr().err

    def left() -> tuple[list[int], set[str]]:
        saved = sorted(int(f.name[5:]) for f in (record.parent / "checkpoints").glob("step_*"))
        assert [t.state for t in board_of(endless).trials] == ["waiting"], "the second is not started"
        return saved, {run.info.status for run in runs_of(endless).values()}

    code, told = asked(signal.SIGTERM, resume=False)
    assert code == 143 and "the trials save checkpoints" in told and "goes on with --resume auto" in told
    (saved,), statuses = left()
    assert saved >= 3 and statuses == {"KILLED"}
    code, told = asked(signal.SIGINT, resume=True)
    assert code == 130 and "goes on with --resume auto" in told
    steps = [line["step"] for line in map(json.loads, record.read_text().splitlines()) if "loss" in line["metrics"]]
    assert saved + 1 in steps and steps == list(range(1, steps[-1] + 1)), "it went on behind the checkpoint"
    assert left() == ([saved], {"KILLED"})


def test_a_budget_ends_trials_that_could_go_on(tiny: Experiment, ray_cluster: None) -> None:
    endless = override(tiny, {"train.steps": 10**6, "train.validate_every": 10, "report.frames": 0})
    config = SweepConfig(trials=2, concurrent=1, search="random", scheduler="none", budget="0.1m")
    with contextlib.suppress(ValueError):  # on a machine so slow that nothing was validated
        sweep(endless, SPACE, config)
    sweep_state = board_of(endless)
    assert [t.state for t in sweep_state.trials] == ["waiting"] and sweep_state.steps(sweep_state.trials[0]) < 10**6
    assert json.loads((sweep_state.root / "spent.json").read_text())["wall_seconds"] >= 6
    assert all(run.info.status != "RUNNING" for run in runs_of(endless).values())


def test_a_population_trains_to_the_end(tiny: Experiment, ray_cluster: None) -> None:
    short = override(
        tiny, {"train.steps": 6, "train.validate_every": 3, "train.checkpoint_every": 3, "report.frames": 0}
    )
    sweep(short, SPACE, SweepConfig(trials=3, concurrent=1, scheduler="pbt"))
    sweep_state = board_of(short)
    assert [(t.state, t.generation, sweep_state.steps(t)) for t in sweep_state.trials] == [("finished", 1, 6)] * 3
    copied = [t for t in sweep_state.trials if t.lineage]
    assert len(copied) == 1
    run = runs_of(short)[f"trial {copied[0].name}"]
    assert run.data.tags["lineage"] == copied[0].lineage[0]
    rates = {m.step: m.value for m in MlflowClient().get_metric_history(run.info.run_id, "lr")}
    assert sorted(rates) == [2, 4, 6]
    assert rates[4] == pytest.approx(copied[0].knobs["optim.lr"], rel=1e-3) != pytest.approx(rates[2], rel=1e-3)


def test_trials_with_workers_of_their_own_share_the_cluster(tiny: Experiment, ray_cluster: None) -> None:
    nested = override(
        tiny,
        {
            "train.num_workers": 1,
            "train.cpus_per_worker": 0.5,
            "train.steps": 4,
            "train.validate_every": 2,
            "train.checkpoint_every": 2,
            "report.frames": 0,
        },
    )
    grid = {"nerf.samples_per_ray": tune.choice([4, 6])}
    sweep(nested, grid, SweepConfig(concurrent=9, search="grid", scheduler="asha"))  # two fit
    states = {t.state for t in board_of(nested).trials}
    assert states <= set(ENDED) and "failed" not in states


def test_what_cannot_run_is_refused_before_anything_starts(
    tiny: Experiment, ray_cluster: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"a trial needs 9\.1 CPUs .* the cluster has 4"):
        sweep(override(tiny, {"train.num_workers": 8, "train.global_batch": 8}))
    with pytest.raises(ValueError, match="these trials hold no GPU"):
        sweep(tiny, config=SweepConfig(budget="1gpuh"))
    assert not Path(tiny.storage).exists()
    for arguments, told in (
        (["--space", "optim.learning=1"], "there is no knob 'optim.learning'"),
        (["--space", "optim.lr=0.1", "--budget", "9"], "write minutes"),
        (["--search", "grid"], "a grid needs values"),
    ):
        monkeypatch.setattr(sys, "argv", ["tiny.py", "sweep", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main(tiny)
        printed = capsys.readouterr().err
        assert exit_.value.code == 2 and told in " ".join(printed.replace("│", " ").split())
    assert not Path(tiny.storage).exists()


def test_a_sweep_counts_on_what_the_autoscaler_may_start(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"resources": {"CPU": 16, "GPU": 2}, "max_workers": 4}
    head = {"resources": {"CPU": 4}, "max_workers": 0}
    cluster = {"max_workers": 4, "head_node_type": "head", "available_node_types": {"head": head, "gpu": node}}
    (tmp_path / BOOTSTRAP).write_text(json.dumps(cluster))
    monkeypatch.setenv("HOME", str(tmp_path))
    share = _share(override(Experiment(), {"train.num_workers": 2}), SweepConfig(budget="12gpuh"))
    assert (share.gpus_in_all, share.concurrent) == (2, 4)
