"""Machines are lost while two workers train on two of them (make test-cluster): what benchmarks/faults injects."""

import itertools
from pathlib import Path

import pytest

from tests.benchmark_modules import module

pytestmark = pytest.mark.cluster
machines, scenes, faults = module("faults/machines"), module("faults/scene"), module("faults/cluster")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.prepare(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", ["node", "elastic", "notice"])
def test_a_lost_machine_costs_no_more_than_the_steps_behind_a_checkpoint(
    fault: str, capture: Path, tmp_path: Path
) -> None:
    inject, knobs = faults.CLUSTER_FAULTS[fault]
    with scenes.Scene(tmp_path, capture, knobs) as scene:
        scene.start()
        scene.wait_for_steps(47)
        inject(scene)
        outcome = scene.finish()
    print(
        f"{fault}: {outcome.standstill:.0f} s without a new step, {outcome.redone} steps done twice; {outcome.messages}"
    )
    assert outcome.finished and outcome.missing == outcome.doubled == 0
    steps = [step for step, _, _ in outcome.losses]
    falls = [(before, after) for before, after in itertools.pairwise(steps) if after <= before]
    # Checkpoints are 20 steps apart, and a step is reported before its own is written: it may fall back by 20 steps,
    # from step 60 to 41, however many pass while processes are killed. Where it goes with a checkpoint, it costs none.
    assert "going on from step" in outcome.messages, outcome.messages
    assert all(before - after < 20 for before, after in falls), falls
    assert ("a machine will be taken" in outcome.messages) == (fault == "notice")
    assert ("with 1 worker" in outcome.messages) == (fault == "elastic")
