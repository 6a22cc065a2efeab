"""Faults of MLflow's store and of a run in it, struck through MLflow as its pages do."""

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable

from alone import ENDLESS, LoneScene
from drivers import resumed, struck
from mlflow.tracking import MlflowClient

AWAY = "the metrics wait"


def client(scene: LoneScene) -> MlflowClient:
    """As MLflow's pages see the store."""
    return MlflowClient(f"sqlite:///{scene.folder}/mlflow.db")


def deleted(scene: LoneScene, delete: Callable[[MlflowClient, dict[str, str]], object], said: str = "restored") -> None:
    """Delete something in MLflow's pages while a run trains to its end."""
    driver = struck(scene, 200)
    delete(client(scene), scene.tracked())
    scene.expect(driver, 0, said)


def run_deleted(scene: LoneScene) -> None:
    """the stage's MLflow run is deleted in the pages"""
    deleted(scene, lambda mlflow, ids: mlflow.delete_run(ids["nerf"]))


def parent_deleted(scene: LoneScene) -> None:
    """the training's MLflow run is deleted in the pages"""
    deleted(scene, lambda mlflow, ids: mlflow.delete_run(ids["parent"]), "")


def experiment_deleted(scene: LoneScene) -> None:
    """the MLflow experiment is deleted in the pages; restored, `--resume auto`"""
    driver = struck(scene, 200)
    place = client(scene).get_experiment_by_name("run")
    assert place is not None
    client(scene).delete_experiment(place.experiment_id)
    scene.expect(driver, 0, "restored")
    scene.expect(scene.train(steps=220), 2, "mlflow experiments restore")
    client(scene).restore_experiment(place.experiment_id)
    resumed(scene)


def runs_removed(scene: LoneScene) -> None:
    """the MLflow runs are deleted and removed for good (`mlflow gc`); `--resume auto`"""
    driver = struck(scene, 200)
    store = client(scene)._tracking_client.store
    for run in set(scene.tracked().values()) - {scene.tracked()["uri"]}:
        store.delete_run(run)
        store._hard_delete_run(run)
    scene.expect(driver, 2, "refuses")
    resumed(scene)


def store_removed(scene: LoneScene) -> None:
    """the database is removed; Ctrl-C, then `--resume auto`"""
    driver = struck(scene, ENDLESS)
    for path in scene.folder.glob("mlflow.db*"):
        path.unlink()
    scene.until_said(driver, AWAY)
    began = time.monotonic()
    driver.interrupt()
    scene.expect(driver, 130, AWAY)
    if time.monotonic() - began > 30:
        scene.wrong.append("ended late")
    resumed(scene)


def store_locked(scene: LoneScene) -> None:
    """another program locks the database for 15 s"""
    driver = struck(scene, ENDLESS)
    with scene.database() as opened:
        opened.execute("begin exclusive")
        time.sleep(15)
    driver.process.terminate()
    scene.expect(driver, 143)
    resumed(scene)


def store_damaged(scene: LoneScene) -> None:
    """the database is overwritten; Ctrl-C, a backup put back, `--resume auto`"""
    driver = struck(scene, ENDLESS)
    backup = scene.folder / "backup.db"
    with scene.database() as opened, sqlite3.connect(backup) as target:
        opened.backup(target)
    for path in scene.folder.glob("mlflow.db*"):
        path.write_bytes(b"\1" * 8192)
    scene.until_said(driver, AWAY)
    driver.interrupt()
    scene.expect(driver, 130, AWAY)
    scene.expect(scene.train(), 2, "MLflow")
    for path in scene.folder.glob("mlflow.db*"):
        path.unlink()
    shutil.copy(backup, scene.folder / "mlflow.db")
    resumed(scene)


def artifacts_lost(scene: LoneScene) -> None:
    """the folder of MLflow's artifacts is away for some seconds"""
    driver, place = struck(scene, 200, "--train.validate-every", "20"), scene.folder / "mlruns"
    shutil.move(place, scene.folder / "kept")
    place.write_bytes(b"")
    scene.until_said(driver, AWAY)
    place.unlink()
    shutil.move(scene.folder / "kept", place)
    scene.expect(driver, 0, AWAY)


def project_moved(scene: LoneScene) -> None:
    """the run is killed, and the project's folder moved; linked as the line says, `--resume auto`"""
    driver = struck(scene)
    driver.kill()
    old = scene.folder
    scene.folder = old.with_name(f"{old.name}_moved")
    os.replace(old, scene.folder)
    scene.expect(scene.train(), 2, "lets MLflow find them")
    old.symlink_to(scene.folder)
    resumed(scene)


def server_gone(scene: LoneScene) -> None:
    """`MLFLOW_TRACKING_URI` names a server that is not there"""
    scene.expect(scene.train(environment={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{closed_port()}"}), 2, "no MLflow")
    resumed(scene)


def file_store(scene: LoneScene) -> None:
    """`MLFLOW_TRACKING_URI` names a folder"""
    scene.expect(scene.train(environment={"MLFLOW_TRACKING_URI": "./mlruns"}), 2, "keeps runs no longer")
    resumed(scene)


def unknown_model(scene: LoneScene) -> None:
    """a registered model that is not there is to be filmed, in a folder without a database"""
    (scene.folder / "mlflow.db").unlink()
    command = scene.na_ray("render", "models:/nobody/1", "--capture", "capture", "--output", "film")
    scene.expect(command, 2, "there is no MLflow database")
    if (scene.folder / "mlflow.db").exists():
        scene.wrong.append("a database was made")
    shutil.copy(scene.store, scene.folder / "mlflow.db")


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
