"""Machines are lost while two workers train on two of them (make test-cluster): what benchmarks/faults.py injects."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.cluster


def module(name: str) -> ModuleType:
    """A benchmark; one imports another as scripts do."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


machines, scenes, faults = module("faults_machines"), module("faults_scene"), module("faults")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.prepare(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", ["node", "elastic", "notice"])
def test_a_lost_machine_costs_no_more_than_the_steps_behind_a_checkpoint(
    fault: str, capture: Path, tmp_path: Path
) -> None:
    inject, knobs = faults.FAULTS[fault]
    with scenes.Scene(tmp_path, capture, knobs) as scene:
        scene.start()
        scene.wait_for_steps(47)
        inject(scene)
        outcome = scene.finish()
    print(f"{fault}: {outcome.standstill:.0f} s without a new step, {outcome.redone} steps done twice; {outcome.told}")
    assert outcome.finished and outcome.missing == outcome.doubled == 0
    assert 0 < outcome.redone < 20 + 5  # checkpoints are 20 steps apart; some steps pass while processes are killed
    assert ("a machine will be taken" in outcome.told) == (fault == "notice")
    assert ("with 1 worker" in outcome.told) == (fault == "elastic")
