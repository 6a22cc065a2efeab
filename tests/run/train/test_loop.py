"""What a report says of the speed."""

import pytest
import torch

from na_ray.run.train import loop
from na_ray.run.train.loop import Meter


def test_the_first_step_says_nothing_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles kernels: minutes would be said to be left of seconds."""
    now = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    meter, loss = Meter(), {"loss": torch.ones(())}
    now[0] += 20
    meter.add(loss, 8)
    assert meter.rates("pictures", 2)["steps_per_second"] == 1 / 20
    meter.warm()
    assert meter.rates("pictures", 2)["steps_per_second"] == 1 / 20, "where there is no other, it is all that is known"
    for _ in range(4):
        now[0] += 0.5
        meter.add(loss, 8)
    with meter.paused():
        now[0] += 7
    assert meter.rates("pictures", 2) == {
        "pictures_per_second": 2 * 8 * 2.0,
        "steps_per_second": 2.0,
        "data_wait_percent": 0.0,
    }
    assert meter.means() == {"loss": 1.0}
