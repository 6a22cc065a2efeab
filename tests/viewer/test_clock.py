"""Playing, scrubbing and speed, by a clock that the test moves."""

import math

import pytest

from na_ray.viewer.clock import PlayClock


class Time:
    """Seconds, as the test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_it_stands_until_it_is_played_and_goes_round(time: Time) -> None:
    clock = PlayClock(10, 25.0, time)
    time.now += 3
    assert clock.frame == 0 and clock.wait() == math.inf
    clock.play()
    shown = []
    for _ in range(25):
        shown.append(clock.frame)
        time.now += clock.wait() + 1e-9
    assert shown == [i % 10 for i in range(25)]
    clock.play(False)
    held = clock.frame
    time.now += 60
    assert clock.frame == held and not clock.playing


def test_speed_changes_nothing_of_where_it_is(time: Time) -> None:
    clock = PlayClock(100, 10.0, time)
    clock.play()
    time.now += 2.05
    assert clock.frame == 20
    clock.set_speed(0.5)
    assert clock.frame == 20
    time.now += 2
    assert clock.frame == 30
    assert clock.wait() == pytest.approx(0.1, abs=1e-6), "half a frame at five frames a second"


def test_a_scrub_is_exact_and_play_goes_on_from_it(time: Time) -> None:
    clock = PlayClock(8, 4.0, time)
    for frame in range(8):
        clock.scrub(frame)
        assert clock.frame == frame
    clock.play()
    clock.scrub(7)
    time.now += 0.26
    assert clock.frame == 0
    clock.change(3, 1.0)
    assert clock.frame == 0 and clock.playing and clock.num_frames == 3


def test_a_motion_of_one_frame_is_never_due(time: Time) -> None:
    clock = PlayClock(1, 25.0, time)
    clock.play()
    assert clock.wait() == math.inf and clock.frame == 0
