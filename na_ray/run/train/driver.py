"""The driver of a training: preflight, MLflow, the workers, and the trained actor at the end."""

from collections.abc import Container
from pathlib import Path

from na_ray.actor import open_actor, write_actor
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import validation
from na_ray.config import Experiment
from na_ray.run.tracking import runs
from na_ray.run.tracking.forwarder import following
from na_ray.run.tracking.records import write_page
from na_ray.run.tracking.registry import log_actor, model_name
from na_ray.run.tracking.store import needed
from na_ray.run.tracking.system_metrics import system_metrics
from na_ray.run.train.closing import Closing, closing_hands, forget
from na_ray.run.train.fingerprint import check_capture, fingerprint, keep_fingerprint
from na_ray.run.train.interrupt import stop_on_termination
from na_ray.run.train.lock import only_driver
from na_ray.run.train.preflight import preflight
from na_ray.run.train.ray_trainer import train_on_ray
from na_ray.run.train.run_folder import RunFolder, begin, open_run
from na_ray.run.train.stages import STAGES, AnyDataset
from na_ray.run.train.surroundings import check_surroundings, run_root
from na_ray.run.train.worker import train_here


def train(experiment: Experiment, resume: bool = False, given: Container[str] = ()) -> Path:
    """Train the stages of an experiment. Returns the folder of the best checkpoint of the last stage.

    `resume` goes on with the run of that name in `experiment.storage`, if there is one: from its latest checkpoint,
    into the same MLflow run. `given` names the knobs that the user gave by hand: what a resumed run would keep instead
    is refused, where a recipe's is passed over. Raises UserError, FileExistsError or FileNotFoundError, one line per
    defect, for what the user can fix.
    """
    check_surroundings(experiment)
    with only_driver(run_root(experiment)):
        return _train(*open_run(experiment, resume, given))


def _train(root: Path, experiment: Experiment) -> Path:
    runs.check(experiment, root)
    datasets = preflight(experiment, root)
    capture = fingerprint(Capture.open(experiment.capture), experiment.data.train_split)
    check_capture(root, capture)
    begin(root, experiment)
    keep_fingerprint(root, capture)
    best = root
    for stage in experiment.stages:
        run = RunFolder(root, stage, experiment.train.keep_last)
        run.folder.mkdir(parents=True, exist_ok=True)
        steps = STAGES[stage].schedule(datasets[stage]).steps
        summary = run.closed(steps)
        if summary is None:
            summary = _train_stage(experiment, datasets[stage], run, steps)
            run.close(steps, summary)
            forget(run.folder)
        print(summary, flush=True)
        found = run.checkpoints.best()
        assert found is not None, "training ends with a checkpoint"
        best = found
    return best


def _train_stage(experiment: Experiment, dataset: AnyDataset, run: RunFolder, steps: int) -> str:
    """Train a stage to its end, log its model, score and film it. Returns a summary for the user."""
    parts = STAGES[run.stage]
    tracker = runs.start(experiment, run.root, run.stage)
    status = "FAILED"
    try:
        with system_metrics(tracker), following(run, tracker, steps):
            if run.is_trained(steps):
                print(f"{run.stage} is trained: what its end lacks is done", flush=True)
            elif experiment.train.num_workers == 0:
                with stop_on_termination(run.folder):
                    train_here(experiment, dataset, run)
            else:
                train_on_ray(experiment, run)
        best = run.checkpoints.best()
        assert best is not None, "training ends with a checkpoint"
        with needed("training is done, and --resume auto scores, films and registers what it left"):
            tracker.restore()
            capture = Capture.open(experiment.capture)
            with closing_hands(experiment) as hands:
                closing = Closing(best, run.folder, tracker, hands)
                summary = parts.close(closing, capture)
            actor = write_actor(run.root / "actor", open_actor(run.root).networks, capture, closing.mean)
            version = closing.once("version", lambda: log_actor(tracker, actor, experiment.name))
            report = run.root / "report.html"
            write_page(report, [run.root])
            tracker.page(report)
            model = f"models:/{model_name(experiment.name)}/{version}"
            summary += f"\nreport: {report}\nactor: {actor}, and {model} in MLflow"
            tracker.log_summary(validation(best))
        status = "FINISHED"
        return summary
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.finish(status)
