"""Faults of a run's own files: torn by a crash, removed, moved, on full disks; and output that nobody takes."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from alone import ENDLESS, EVERY, STEPS, LoneScene
from drivers import STRUCK, resumed, struck


def torn(scene: LoneScene, name: str) -> None:
    """Cut a file of the latest checkpoint to half, as a crash of the machine may."""
    latest = max((scene.run() / "nerf" / "checkpoints").glob("step_*"))
    cut(latest / name)


def cut(path: Path) -> None:
    """The first half of a file is left."""
    os.truncate(path, path.stat().st_size // 2)


def torn_file(name: str) -> Callable[[LoneScene], None]:
    """The fault that tears one file of the latest checkpoint."""

    def fault(scene: LoneScene) -> None:
        driver = scene.train(steps=ENDLESS)
        scene.until_step(driver, STRUCK + EVERY)
        driver.kill()
        torn(scene, name)
        scene.expect(scene.train(steps=scene.last() + EVERY), 0, "it was renamed to")

    fault.__doc__ = f"the run is killed, and its latest checkpoint's `{name}` is torn"
    return fault


FILES = ("experiment.json", "metrics.json", "body.npz", "nerf.pt", "training.pt", "fingerprint.json")

TORN = {f"torn_{name.split('.')[0]}": torn_file(name) for name in FILES}
"""A fault for each file of a checkpoint."""


def all_torn(scene: LoneScene) -> None:
    """the run is killed, and all its checkpoints are torn"""
    driver = struck(scene)
    driver.kill()
    torn(scene, "nerf.pt")
    scene.expect(scene.train(), 0, "training begins anew")


def record_torn(scene: LoneScene) -> None:
    """the machine crashes: the last line of the run's record is half written"""
    driver = struck(scene)
    driver.kill()
    path = scene.run() / "nerf" / "metrics.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"step": 28, "metrics": {"lo')
    resumed(scene)


def _torn_and_mended(scene: LoneScene, name: str) -> None:
    driver, path = struck(scene), scene.run() / name
    driver.kill()
    whole = path.read_bytes()
    cut(path)
    scene.expect(scene.train(), 2, "is damaged")
    path.write_bytes(whole)
    resumed(scene)


def knobs_torn(scene: LoneScene) -> None:
    """the run is killed and its `experiment.json` is torn; mended, `--resume auto`"""
    _torn_and_mended(scene, "experiment.json")


def ids_torn(scene: LoneScene) -> None:
    """the run is killed and its `tracking.json` is torn; mended, `--resume auto`"""
    _torn_and_mended(scene, "tracking.json")


def pruned(scene: LoneScene) -> None:
    """checkpoints come and go at every step, under those who look at them"""
    driver = scene.train("--train.checkpoint-every", "1", "--train.keep-last", "1", steps=STEPS)
    scene.expect(driver, 0)
    if "could not" in driver.text():
        scene.wrong.append("a thread of the driver stumbled")


def checkpoints_removed(scene: LoneScene) -> None:
    """somebody removes the checkpoints of a run that trains"""
    driver = struck(scene, ENDLESS)
    shutil.rmtree(scene.run() / "nerf" / "checkpoints")
    scene.until_step(driver, STRUCK + 2 * EVERY)
    driver.process.terminate()
    scene.expect(driver, 143)
    resumed(scene)


def folder_moved(scene: LoneScene) -> None:
    """the run's folder is moved away while it trains; moved back, `--resume auto`"""
    driver, away = struck(scene, ENDLESS), scene.folder / "away"
    os.replace(scene.run(), away)
    scene.expect(driver, 2, "put it back")
    shutil.rmtree(scene.run(), ignore_errors=True)
    os.replace(away, scene.run())
    resumed(scene)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own at a folder (as root)."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave not a byte free. Returns the file to remove."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (2**16, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    continue
    return filler


def log_full(scene: LoneScene) -> None:
    """the disk of the driver's own output is full"""
    disk = scene.folder / "logs"
    with small_disk(disk, "64k"):
        driver = scene.train(steps=2 * STEPS, output=disk / "out.log")
        scene.until_step(driver, 1)
        fill(disk)
        scene.expect(driver, 0)


def pipe_closed(scene: LoneScene) -> None:
    """who reads the driver's output is gone (a pipe into `head`)"""
    pipe = scene.folder / "pipe"
    os.mkfifo(pipe)
    driver = scene.train(output=pipe)
    with open(pipe) as reader:
        reader.readline()
    scene.expect(driver, 0)


def disk_too_small(scene: LoneScene) -> None:
    """the disk has no room for the checkpoints; started again with room"""
    runs = scene.folder / "runs"
    with small_disk(runs, "64k"):
        scene.expect(scene.train(), 2, "free some")
    resumed(scene)


def disk_full_for_mlflow(scene: LoneScene) -> None:
    """the disk of MLflow's database is full for 8 s"""
    disk = scene.folder / "store"
    with small_disk(disk, "6m"):
        shutil.copy(scene.store, disk / "mlflow.db")
        (scene.folder / "mlflow.db").unlink()
        driver = scene.train(steps=ENDLESS, environment={"MLFLOW_TRACKING_URI": f"sqlite:///{disk}/mlflow.db"})
        scene.until_step(driver, STRUCK)
        filler = fill(disk)
        time.sleep(8)
        filler.unlink()
        driver.process.terminate()
        scene.expect(driver, 143, "the metrics wait")
        shutil.copytree(disk, scene.folder, dirs_exist_ok=True)
    resumed(scene)
