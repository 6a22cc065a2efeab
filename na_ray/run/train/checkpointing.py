"""When training validates and writes a checkpoint, and how it goes on from one."""

from na_ray import checkpoint
from na_ray.config.files import read_json
from na_ray.run.cluster.notice import PreemptionWatch
from na_ray.run.train import disk
from na_ray.run.train.context import TrainContext, Trainer
from na_ray.run.train.interrupt import STOP, StoppedError


def restore(trainer: Trainer, context: TrainContext) -> int:
    """Load the latest whole checkpoint, if there is one. Returns the number of steps done.

    Damaged ones are renamed, and the run's record says so: their steps are done and saved again.
    """
    run, step = context.run, 0
    latest = run.checkpoints.latest()
    damaged = run.checkpoints.set_aside() if context.worker.rank == 0 else []
    if latest is not None:
        training = checkpoint.load_training(latest)
        trainer.load(checkpoint.load_weights(latest, run.stage), training)
        step = int(training["step"])
    for line in damaged:
        run.note(step, line if step else f"{line}; no whole checkpoint is left: training begins anew")
    return step


def look_and_save(trainer: Trainer, context: TrainContext, step: int, notice: PreemptionWatch) -> None:
    """Validate and write a checkpoint when it is time. Every worker comes here at the same steps."""
    schedule, run, worker = trainer.schedule, context.run, context.worker
    validating = step == schedule.steps or (schedule.validate_every > 0 and step % schedule.validate_every == 0)
    warned, stopping = notice.due(step), notice.looks(step) and _asked_to_stop(context)
    if not (validating or warned or stopping or step % schedule.checkpoint_every == 0):
        return
    if worker.rank == 0:
        if warned:
            run.note(step, f"a machine will be taken in {notice.left:.0f} s: saving a checkpoint")
        if stopping:
            run.note(step, "SIGTERM: saving a checkpoint; --resume auto goes on from it")
        disk.patiently(lambda: None, run.folder, disk.checkpoint_bytes(run.checkpoints.root))
    trainer.sync_buffers()
    scores: dict[str, float] = {}
    if validating:
        scores = trainer.validate(step)
    folder = run.checkpoints.folder(step)
    if worker.rank == 0 and not folder.exists():
        weights, training = trainer.weights(), trainer.training()
        rig, experiment, known = context.rig, context.experiment, run.root / checkpoint.FINGERPRINT
        capture = read_json(known) if known.exists() else None
        disk.patiently(
            lambda: checkpoint.save(folder, run.stage, weights, rig, experiment, step, training, scores, capture),
            run.folder,
        )
        run.checkpoints.prune()
    if validating:  # reported once it is saved: a scheduler may stop the training at this score and open its checkpoint
        worker.report({"step": step} | scores)
    if stopping:
        # Ray ends all workers with the first that ends: the others wait for the one that writes.
        worker.mean({"saved": 1.0})
        raise StoppedError(f"stopped at step {step}, with a checkpoint: --resume auto goes on from it")


def _asked_to_stop(context: TrainContext) -> bool:
    """Whether the driver asks for the end: the workers agree on it, since each sees the file when its disk shows it."""
    asked = (context.run.folder / STOP).exists()
    return context.worker.mean({"asked": float(asked)})["asked"] > 0
