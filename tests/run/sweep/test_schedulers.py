"""What a sweep draws, refuses and decides, without running one."""

import json
import math
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import tune

from na_ray.config import Experiment, override
from na_ray.config.files import to_json
from na_ray.run.sweep.config import Budget, SweepConfig
from na_ray.run.sweep.forwarder import SweepFollower
from na_ray.run.sweep.report import parallel_coordinates, rows, write_report
from na_ray.run.sweep.runner import Bookkeeper, SweepRunner
from na_ray.run.sweep.schedulers import Asha, Population, TrainAll, make_scheduler
from na_ray.run.sweep.search_space import DEFAULT, check_space, describe, grid, parse_space, propose, stage_of
from na_ray.run.sweep.state import ENDED, SCORE, SweepState, Trial, TrialState
from na_ray.run.tracking import runs
from na_ray.run.train.context import Schedule

SPECS = (
    "nerf.samples-per-ray=32,64,96",
    "optim.lr=1e-5..1e-3:log",
    "train.seed=1..4",
    "data.resolution=64x64,none",
)


def test_a_space_is_read_from_the_command_line() -> None:
    space = parse_space(SPECS, Experiment())
    check_space(space, Experiment(), "random")
    assert describe(space) == {
        "nerf.samples_per_ray": "32,64,96",
        "optim.lr": "1e-05..0.001:log",
        "train.seed": "1..4",
        "data.resolution": "(64, 64),None",
    }
    drawn = [propose(space, "random", 0, 200, i, []) for i in range(200)]
    assert {d["train.seed"] for d in drawn} == {1, 2, 3, 4}
    assert {d["nerf.samples_per_ray"] for d in drawn} == {32, 64, 96}
    exponents = [math.log10(d["optim.lr"]) for d in drawn]
    assert -5 <= min(exponents) < -4.8 and -3.2 < max(exponents) <= -3
    assert all(json.loads(json.dumps(d)) for d in drawn)
    assert stage_of(space, Experiment()) == "nerf"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("optim.lr", "write NAME=VALUE"),
        ("optim.lr=", "write NAME=VALUE"),
        ("optim.learning=1", "there is no knob 'optim.learning'"),
        ("optim=1", "is a section"),
        ("optim.lr=1e-3..1e-5", "two growing numbers"),
        ("optim.lr=0..1:log", "two growing numbers"),
        ("optim.lr=1..2:linear", "two growing numbers"),
        ("optim.lr=0..1", "optim.lr is 0.0: it must be positive"),
        ("nerf.samples_per_ray=32,1", "samples_per_ray is 1: it must be at least 2"),
        ("nerf.samples_per_ray=32.5", "samples_per_ray is 32.5: expected"),
        ("train.num_workers=1,2", "cannot vary train.num_workers"),
        ("storage=a,b", "cannot vary storage"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_in_one_line(spec: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        check_space(parse_space((spec,), Experiment()), Experiment(), "random")
    assert "\n" not in str(error.value)


def test_a_sweep_trains_the_stage_that_its_knobs_concern() -> None:
    both = Experiment(stages=("texture", "nerf"))
    assert stage_of(parse_space(("texture.lr_generator=1e-4,2e-4",), both), both) == "texture"
    assert stage_of(parse_space(("train.seed=1,2",), both), both) == "nerf"
    with pytest.raises(ValueError, match="two stages"):
        stage_of(parse_space(("texture.lr_generator=1e-4,2e-4", "optim.lr=1e-4,2e-4"), both), both)
    with pytest.raises(ValueError, match="which is not trained"):
        stage_of(parse_space(("texture.lr_generator=1e-4,2e-4",), both), Experiment())


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_a_proposal_depends_on_its_number_and_what_is_known(search) -> None:  # type: ignore[no-untyped-def]
    told = [({"nerf.samples_per_ray": 64, "optim.lr": 10 ** -(3 + i / 10)}, float(-i)) for i in range(8)]
    drawn = [propose(DEFAULT, search, 3, 12, i, told) for i in range(12)]
    assert propose(DEFAULT, search, 3, 12, 7, told) == drawn[7]
    assert len({d["optim.lr"] for d in drawn}) == 12
    assert propose(DEFAULT, search, 4, 12, 7, told) != drawn[7]


def test_optuna_goes_where_the_scores_are() -> None:
    space = {"optim.lr": tune.loguniform(1e-5, 1e-1)}
    told = [({"optim.lr": 10 ** -(1 + 4 * i / 30)}, -abs(1 + 4 * i / 30 - 3)) for i in range(30)]  # best at 1e-3
    drawn = [math.log10(propose(space, "optuna", 0, 100, i, told)["optim.lr"]) for i in range(20)]
    assert sum(abs(d + 3) < 0.7 for d in drawn) >= 15


def test_a_grid_has_every_combination_once() -> None:
    space = {"nerf.samples_per_ray": tune.choice([8, 16]), "optim.lr": tune.choice([1e-3, 1e-4, 1e-5])}
    drawn = [propose(space, "grid", 0, 6, i, []) for i in range(6)]
    assert drawn == grid(space) and len({tuple(d.values()) for d in drawn}) == 6
    with pytest.raises(ValueError, match="a grid needs values, and optim.lr is a range"):
        check_space(DEFAULT, Experiment(), "grid")


def test_budgets_are_read_and_kept() -> None:
    assert Budget.parse("1.5h") == Budget(minutes=90.0) and Budget.parse("12gpuh") == Budget(gpu_hours=12.0)
    assert not Budget.parse("").is_spent(1e9, 1e9, 8)
    assert Budget.parse("2m").is_spent(120.0, 0.0, 0) and not Budget.parse("2m").is_spent(119.0, 1e9, 0)
    assert Budget.parse("1gpuh").is_spent(0.0, 1800.0, 2) and not Budget.parse("1gpuh").is_spent(1e9, 1799.0, 2)
    for wrong in ("90", "m", "-1m", "0m", "1gpu"):
        with pytest.raises(ValueError, match="write minutes"):
            SweepConfig(budget=wrong)


def board_of(folder: Path, scores: list[list[float]], every: int = 10) -> SweepState:
    """A sweep_state whose trials were validated `every` so many steps, in turn, each with a checkpoint."""
    experiment = override(Experiment(), {"train.keep_last": 9})
    sweep_state = SweepState(folder, experiment, "nerf")
    for i in range(len(scores)):
        sweep_state.begin(sweep_state.add({"optim.lr": 1e-4 * (i + 1)}))
    for k in range(max(map(len, scores))):
        for trial, own in zip(sweep_state.trials, scores, strict=True):
            if k < len(own):
                validate(sweep_state, trial, (k + 1) * every, own[k])
    return sweep_state


def validate(sweep_state: SweepState, trial: Trial, step: int, score: float) -> None:
    run = sweep_state.run(trial)
    run.append(step, {SCORE: score})
    folder = run.checkpoints.folder(step)
    folder.mkdir(parents=True)
    for name in ("nerf.pt", "body.npz"):  # whole archives, as those of a checkpoint are
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("origin", f"{trial.name} at {step}")
    (folder / "experiment.json").write_text(json.dumps(to_json(sweep_state.experiment)))
    (folder / "metrics.json").write_text(json.dumps({"step": step, SCORE: score}))


def origin(folder: Path) -> str:
    """The trial and step that a checkpoint of `validate` was written by."""
    with zipfile.ZipFile(folder / "nerf.pt") as archive:
        return archive.read("origin").decode()


def test_asha_stops_the_worse_two_thirds_and_decides_the_same_after_a_restart(tmp_path: Path) -> None:
    schedule = Schedule(steps=90, checkpoint_every=10, validate_every=10)
    sweep_state = SweepState(tmp_path, Experiment(), "nerf")
    scheduler = Asha(sweep_state, schedule)
    found = []
    for i, score in enumerate([20.0, 18.0, 22.0, 19.0, 21.9]):
        trial = sweep_state.add({"optim.lr": 1e-4})
        validate(sweep_state, trial, 10, score)
        found.append(scheduler.decide(trial, 10, score))
        again = Asha(SweepState(tmp_path, Experiment(), "nerf"), schedule)
        assert again.halving._brackets[0]._rungs == scheduler.halving._brackets[0]._rungs and i in again.known
    assert found == [None, "stopped", None, "stopped", None]
    assert again.decide(sweep_state.trials[0], 20, 0.0) is None  # 20 is no rung
    assert again.decide(sweep_state.trials[2], 30, 25.0) is None
    assert again.decide(sweep_state.trials[0], 30, 24.0) == "stopped"
    ends_here = Asha(sweep_state, Schedule(steps=30, checkpoint_every=10, validate_every=10))
    assert ends_here.decide(sweep_state.trials[2], 30, 25.0) is None
    assert ends_here.decide(sweep_state.trials[4], 30, 1.0) is None  # worse, and trained to its end


def test_a_rule_that_cannot_work_is_refused(tmp_path: Path) -> None:
    sweep_state, space = SweepState(tmp_path, Experiment(), "nerf"), {"nerf.hidden": tune.choice([64, 128])}
    with pytest.raises(ValueError, match="train.validate_every is 0 of 90 steps"):
        make_scheduler("asha", sweep_state, Schedule(90, 10, 0), space, 0)
    with pytest.raises(ValueError, match="nerf.hidden cannot"):
        make_scheduler("pbt", sweep_state, Schedule(90, 10, 10), space, 0)
    with pytest.raises(ValueError, match="compares trials at equal steps"):
        make_scheduler("asha", sweep_state, Schedule(90, 10, 10), {"train.steps": tune.choice([1, 2])}, 0)


def test_a_population_copies_the_better_and_changes_its_knobs(tmp_path: Path) -> None:
    schedule, space = Schedule(40, 10, 10), {"optim.lr": tune.loguniform(1e-5, 1e-2)}
    sweep_state = board_of(tmp_path / "a", [[20.0], [23.0], [21.0], [19.0]])
    scheduler = Population(sweep_state, schedule, space, seed=0)
    for trial in sweep_state.trials:
        assert scheduler.decide(trial, 10, 20.0) == "resting" and scheduler.decide(trial, 40, 20.0) is None
        sweep_state.end(trial, "resting")
    before = sweep_state.trials[1].knobs["optim.lr"]
    scheduler.next_generation()
    assert [t.state for t in sweep_state.trials] == ["waiting"] * 4 and {t.generation for t in sweep_state.trials} == {
        1
    }
    copied = sweep_state.run(sweep_state.trials[3]).checkpoints.latest()
    assert copied is not None and origin(copied) == "001 at 10"
    assert sweep_state.trials[3].knobs["optim.lr"] != before and sweep_state.score(sweep_state.trials[3]) == 23.0
    kept = json.loads((sweep_state.folder(sweep_state.trials[3]) / "experiment.json").read_text())
    assert kept["optim"]["lr"] == sweep_state.trials[3].knobs["optim.lr"]
    assert "from trial 001" in sweep_state.trials[3].lineage[0]
    assert origin(sweep_state.run(sweep_state.trials[1]).checkpoints.folder(10)) == "001 at 10"
    assert all(not sweep_state.trials[i].lineage for i in (0, 1, 2))
    assert (
        scheduler.decide(sweep_state.trials[3], 10, 20.0) is None
        and scheduler.decide(sweep_state.trials[3], 20, 20.0) == "resting"
    )


def test_a_turn_that_was_killed_half_way_ends_as_it_would_have(tmp_path: Path) -> None:
    schedule, space = Schedule(40, 10, 10), {"optim.lr": tune.loguniform(1e-5, 1e-2)}
    knobs = []
    for name in ("whole", "killed"):
        sweep_state = board_of(tmp_path / name, [[20.0], [23.0], [21.0], [19.0], [18.0]])
        for trial in sweep_state.trials:
            sweep_state.end(trial, "resting")
        Population(sweep_state, schedule, space, seed=5).next_generation()
        if name == "killed":  # the decision was written, and one of two had copied
            sweep_state.change(
                sweep_state.trials[3], state="resting", generation=0, knobs={"optim.lr": 4e-4}, lineage=[]
            )
            sweep_state.change(sweep_state.trials[0], state="resting", generation=0)
            again = SweepState(sweep_state.root, sweep_state.experiment, "nerf")
            validate(again, again.trials[1], 20, 1.0)  # a donor has gone on
            Population(again, schedule, space, seed=5).next_generation()
            sweep_state = again
        assert {t.generation for t in sweep_state.trials} == {1} and {t.state for t in sweep_state.trials} == {
            "waiting"
        }
        knobs.append([t.knobs for t in sweep_state.trials])
    assert knobs[0] == knobs[1]


def test_a_killed_driver_leaves_trials_that_wait(tmp_path: Path) -> None:
    sweep_state = board_of(tmp_path, [[20.0], [21.0]])
    (sweep_state.folder(sweep_state.trials[1]) / "done.json").write_text("{}")
    again = SweepState(tmp_path, sweep_state.experiment, "nerf")
    assert [t.state for t in again.trials] == ["waiting", "finished"]
    assert all(0 <= t.seconds < 60 for t in again.trials)


def test_the_report_ranks_trials_and_draws_them(tmp_path: Path) -> None:
    sweep_state = board_of(tmp_path, [[20.0], [21.0], [30.0]])
    space = {"optim.lr": tune.loguniform(1e-5, 1e-3)}
    sweep_state.end(sweep_state.trials[2], "failed", "the <loss> is nan | sorry")
    table = rows(sweep_state)
    assert [row["trial"] for row in table] == ["001", "000", "002"]
    write_report(tmp_path / "report", table, space)
    assert json.loads((tmp_path / "report" / "table.json").read_text())[0][SCORE] == 21.0
    assert len((tmp_path / "report" / "table.md").read_text().splitlines()) == 5
    assert "the <loss> is nan" in (tmp_path / "report" / "table.csv").read_text()
    page = parallel_coordinates(table, space)
    assert page.count("<polyline") == 3 and "optim.lr=0.0002" in page


def write_checkpoints(sweep_state: SweepState, trial: Trial, scores: dict[int, float]) -> Path:
    """Whole checkpoints without tensors, of these steps and validation PSNRs. Returns their folder."""
    root = sweep_state.run(trial).checkpoints.root
    for step, psnr in scores.items():
        folder = root / f"step_{step:06d}"
        folder.mkdir(parents=True)
        (folder / "experiment.json").write_text(json.dumps(to_json(Experiment())))
        for name in ("nerf.pt", "body.npz"):
            zipfile.ZipFile(folder / name, "w").close()
        (folder / "metrics.json").write_text(json.dumps({"step": step, SCORE: psnr}))
    return root


def runner_of(sweep_state: SweepState, total: int = 1) -> SweepRunner:
    propose_one = lambda number, ended: {"optim.lr": 1e-4}  # noqa: E731
    return SweepRunner(sweep_state, TrainAll(), Budget(), 0, total, propose_one)


def test_generations_and_budgets_are_no_failures(tmp_path: Path) -> None:
    sweep_state = SweepState(tmp_path, override(Experiment(), {"train.max_failures": 2}), "nerf")
    trial = sweep_state.add({"optim.lr": 1e-4})
    runner = runner_of(sweep_state)
    events, ended = Bookkeeper(runner), SimpleNamespace(trial_id="t")
    for generation in range(5):
        sweep_state.begin(trial)
        write_checkpoints(sweep_state, trial, {generation + 1: 20.0})
        sweep_state.end(trial, "resting")
        sweep_state.change(trial, state="waiting", generation=generation + 1)
    for death, checkpoint in enumerate((None, None, 10, None)):  # progress in between
        if checkpoint is not None:
            write_checkpoints(sweep_state, trial, {checkpoint: 21.0})
        runner.active["t"] = trial.number
        sweep_state.begin(trial)
        events.on_trial_error(0, [], ended)
        assert trial.state == "waiting", f"death {death}"
    runner.active["t"] = trial.number
    sweep_state.begin(trial)
    events.on_trial_error(0, [], ended)
    assert trial.state == "failed" and trial.error.startswith("its process died 3 times without a new checkpoint")
    assert SweepState(tmp_path, sweep_state.experiment, "nerf").trials == [trial]


@pytest.mark.parametrize("state", ENDED)
def test_a_trial_that_has_ended_keeps_its_best_checkpoint_alone(tmp_path: Path, state: TrialState) -> None:
    sweep_state = SweepState(tmp_path, Experiment(), "nerf")
    trial = sweep_state.add({"optim.lr": 1e-4})
    root = write_checkpoints(sweep_state, trial, {1: 20.0, 2: 22.0, 3: 21.0})
    sweep_state.begin(trial)
    sweep_state.end(trial, "resting")
    assert len(list(root.iterdir())) == 3
    sweep_state.end(trial, state)
    assert [path.name for path in root.iterdir()] == ["step_000002"] and sweep_state.score(trial) == 22.0


def test_what_has_ended_and_arrived_is_not_looked_at_again(tiny: Experiment, tmp_path: Path) -> None:
    sweep_state = SweepState(tmp_path / "sweep", tiny, "nerf")
    ended, running = (sweep_state.add({"optim.lr": lr}) for lr in (1e-4, 1e-3))
    for trial in (ended, running):
        sweep_state.begin(trial)
        sweep_state.run(trial).append(1, {"loss": 1.0})
    sweep_state.end(ended, "stopped")
    watch = SweepFollower(sweep_state, runs.start_parent(tiny, sweep_state.root, "sweep"))
    assert watch.look()
    for trial in (ended, running):
        sweep_state.run(trial).append(2, {"loss": 1.0})
    assert watch.look()
    found = [watch.followers[trial.number].tracker.last_step("loss") for trial in (ended, running)]
    assert found == [1, 2]
