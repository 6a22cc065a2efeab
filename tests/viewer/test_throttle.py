"""No more is under way than the other side has taken, whatever its pace; one that is gone ends it."""

import queue
import threading

from na_ray.viewer.throttle import Throttle

LONG = 20.0


def test_the_next_message_waits_until_the_last_one_was_taken() -> None:
    taken: queue.Queue[bool] = queue.Queue()
    throttle = Throttle(lambda: taken.get(timeout=LONG))
    assert throttle.free and throttle.wait(0.0)
    for _ in range(3):
        throttle.sent()
        assert not throttle.free and not throttle.wait(0.05)
        taken.put(True)
        assert throttle.wait(LONG) and throttle.free and throttle.alive
    throttle.close()


def test_a_sender_sends_what_is_latest_and_nothing_piles_up() -> None:
    """Poses are made all the time; of them, those are sent that are there when the browser is ready."""
    taken: queue.Queue[bool] = queue.Queue()
    throttle = Throttle(lambda: taken.get(timeout=LONG))
    sent = []
    for pose in range(1000):
        if throttle.free:
            sent.append(pose)
            throttle.sent()
        if pose % 100 == 99:
            taken.put(True)
            assert throttle.wait(LONG)
    assert sent == list(range(0, 1000, 100))
    throttle.close()


def test_a_browser_that_goes_away_frees_the_sender() -> None:
    gone = threading.Event()

    def confirm() -> bool:
        return not gone.wait(LONG)

    throttle = Throttle(confirm)
    throttle.sent()
    gone.set()
    assert throttle.wait(LONG) and not throttle.alive
    throttle.close()
    throttle.sent()
    assert throttle.free, "what is sent after the end is not waited for"
