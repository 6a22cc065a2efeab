"""The MLflow experiment that holds the runs of a training or sweep: found, or made."""

from mlflow.entities import Experiment as MlflowExperiment
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from na_ray.config import Experiment
from na_ray.config.values import UserError


def experiment_of(client: MlflowClient, experiment: Experiment, ids: dict[str, str]) -> MlflowExperiment | None:
    """The MLflow experiment that holds the runs, or is to, if there is one: a resumed run stays where it is.

    Raises UserError for one that was deleted: MLflow keeps its name, and takes no run for it.
    """
    found: MlflowExperiment | None
    if "parent" in ids:
        found = client.get_experiment(client.get_run(ids["parent"]).info.experiment_id)
    else:
        found = client.get_experiment_by_name(experiment.project or experiment.name)
    if found is not None and found.lifecycle_stage == LifecycleStage.DELETED:
        other = "" if "parent" in ids else ", or choose another --project"
        raise UserError(
            f"the MLflow experiment {found.name!r} was deleted: bring it back by "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`{other}"
        )
    return found


def experiment_id(client: MlflowClient, experiment: Experiment, ids: dict[str, str]) -> str:
    """The MLflow experiment that holds the runs, or is to."""
    found = experiment_of(client, experiment, ids)
    if found is not None:
        return found.experiment_id
    name = experiment.project or experiment.name
    try:
        return client.create_experiment(name)
    except MlflowException:  # another driver has made it meanwhile
        made = client.get_experiment_by_name(name)
        if made is None:
            raise
        return made.experiment_id
