"""Faults of drivers: signals, and several of them where there should be one."""

import json
import signal
import time

from alone import ENDLESS, EVERY, STEPS, LoneDriver, LoneScene

STRUCK = 27
"""The step after which a fault strikes: some behind a checkpoint, and more before the next one."""
HELD = "is in use by process"
GOES_ON = "goes on with --resume auto"


def struck(scene: LoneScene, steps: int = STEPS, *options: str) -> LoneDriver:
    """A driver that trains, at the moment to strike."""
    driver = scene.train(*options, steps=steps)
    scene.until_step(driver, STRUCK)
    return driver


def resumed(scene: LoneScene, more: int = EVERY, *options: str) -> None:
    """The run goes on, for some steps beyond all that it ever did, and ends well."""
    steps = max(STEPS, scene.last() + more)
    scene.expect(scene.train(*options, steps=steps), 0)


def interrupted(scene: LoneScene) -> None:
    """Ctrl-C, then `--resume auto`"""
    driver = struck(scene, ENDLESS)
    driver.interrupt()
    scene.expect(driver, 130, GOES_ON)
    resumed(scene)


def terminated(scene: LoneScene) -> None:
    """SIGTERM, then `--resume auto`"""
    driver = struck(scene, ENDLESS)
    driver.process.terminate()
    scene.expect(driver, 143, "saving a checkpoint")
    before = len(scene.record())
    resumed(scene)
    if scene.record()[before]["step"] != before + 1:
        scene.wrong.append("steps were done twice, in spite of a checkpoint")


def hung_up(scene: LoneScene) -> None:
    """the terminal is closed (SIGHUP), then `--resume auto`"""
    driver = struck(scene)
    driver.process.send_signal(signal.SIGHUP)
    scene.expect(driver, -signal.SIGHUP)
    resumed(scene)


def killed(scene: LoneScene) -> None:
    """the driver is killed, then `--resume auto`"""
    driver = struck(scene)
    driver.kill()
    scene.expect(driver, -signal.SIGKILL)
    resumed(scene)


def killed_saving(scene: LoneScene) -> None:
    """the driver is killed while it writes a checkpoint, then `--resume auto`"""
    driver, folder = struck(scene, ENDLESS, "--train.checkpoint-every", "1"), scene.run() / "nerf" / "checkpoints"
    scene.until(driver, lambda: any(folder.glob(".step_*")), 0)
    driver.kill()
    scene.expect(driver, -signal.SIGKILL)
    resumed(scene)


def killed_closing(scene: LoneScene) -> None:
    """the driver is killed when its last checkpoint is written, before scores and model, then `--resume auto`"""
    driver, last = scene.train(), scene.run() / "nerf" / "checkpoints" / f"step_{STEPS:06d}"
    scene.until(driver, last.is_dir, 0)
    driver.kill()
    scene.expect(driver, -signal.SIGKILL)
    scene.registered["run"] = 1
    resumed(scene, 0)


def killed_registered(scene: LoneScene) -> None:
    """the driver is killed when its model is registered, before the end is noted, then `--resume auto`"""
    driver = scene.train()
    scene.until(driver, lambda: scene.ask("select count(*) from model_versions")[0][0] > 0, 0)
    driver.kill()
    scene.expect(driver, -signal.SIGKILL)
    scene.registered["run"] = 1
    resumed(scene, 0)


def halted(scene: LoneScene) -> None:
    """the driver stands still for 8 s (SIGSTOP, a laptop that sleeps)"""
    driver = struck(scene)
    driver.process.send_signal(signal.SIGSTOP)
    time.sleep(8)
    driver.process.send_signal(signal.SIGCONT)
    scene.expect(driver, 0)


def second_driver(scene: LoneScene) -> None:
    """a second driver of the run is started"""
    driver = struck(scene, ENDLESS)
    scene.expect(scene.train(steps=ENDLESS), 2, HELD)
    driver.process.terminate()
    scene.expect(driver, 143)
    resumed(scene)


def two_of_a_name(scene: LoneScene) -> None:
    """two drivers of a new name start at the same moment"""
    drivers = [scene.train(), scene.train()]
    codes = sorted(str(driver.wait()) for driver in drivers)
    if codes != ["0", "2"]:
        scene.wrong.append(f"exit codes {codes}")
    for driver in drivers:
        scene.expect(driver, 2 if HELD in driver.text() else 0, HELD if HELD in driver.text() else "")


def three_on_a_fresh_store(scene: LoneScene) -> None:
    """three drivers meet a tracking store that is not there yet"""
    for driver in [scene.train(name=name) for name in ("one", "two", "three")]:
        scene.expect(driver, 0)


def neighbors(scene: LoneScene) -> None:
    """of two trainings with a Ray of their own each, one is killed; then `--resume auto`"""
    alone = {"RAY_ADDRESS": "local", "RAY_worker_niceness": "0"}  # else they hardly run on a busy machine
    first, second = (
        scene.train("--train.num-workers", "1", "--train.cpus-per-worker", "0.5", name=name, environment=alone)
        for name in ("run", "other")
    )
    scene.until_step(first, 1)
    first.kill()
    scene.expect(second, 0)
    resumed(scene)


def deleted_by_command(scene: LoneScene) -> None:
    """`na-ray runs --delete` of a run that trains"""
    driver = struck(scene, ENDLESS)
    scene.expect(scene.na_ray("runs", "runs", "--delete", "run", "--yes"), 2, HELD)
    driver.process.terminate()
    scene.expect(driver, 143)
    resumed(scene)


def lock_taken(scene: LoneScene) -> None:
    """another machine takes the run's lock over"""
    driver, lock = struck(scene, ENDLESS), scene.run() / "driver.lock"
    held = json.loads(lock.read_text())
    lock.write_text(json.dumps(held | {"token": "another", "host": "elsewhere", "machine": "elsewhere"}))
    scene.expect(driver, 130, "has taken the run over")
    lock.unlink()
    resumed(scene)


def lock_removed(scene: LoneScene) -> None:
    """the lock is removed by hand, and a second driver takes the run over"""
    driver = struck(scene, ENDLESS)
    (scene.run() / "driver.lock").unlink()
    second = scene.train(steps=ENDLESS)
    scene.expect(driver, 130, "has taken the run over")
    second.process.terminate()
    scene.expect(second, 143)
    resumed(scene)
