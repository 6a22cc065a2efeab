"""A crew's workers do every piece, whichever of them dies; and the time of a training is of their device."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.crew import Crew, ThisProcess
from na_ray.run.train.speed import PATIENCE, speed_of_cluster


def make_square(shared: int, device: str) -> Callable[[int], int]:
    return lambda piece: shared * piece**2


def test_this_process_does_pieces_in_order() -> None:
    here = ThisProcess("cpu")
    assert list(here.each(make_square, 3, range(4))) == [(0, 0), (1, 3), (2, 12), (3, 27)]
    assert list(here.in_order(make_square, 3, range(4))) == [0, 3, 12, 27]


@pytest.fixture(scope="module")
def crew(ray_cluster: None) -> Iterator[Crew]:
    """Two workers that the tests share: to start one takes seconds."""
    with Crew(2, "cpu", 0.5) as crew:
        yield crew


def sent() -> Callable[..., Callable[[int], int]]:
    """What travels as code: a worker can import na_ray, but not the tests."""

    def prepare(shared: tuple[str, int], device: str) -> Callable[[int], int]:
        marker, deadly = shared

        def work(piece: int) -> int:
            import os
            import signal
            import time
            from pathlib import Path

            from na_ray.config.values import UserError

            if piece == deadly and not Path(marker).exists():
                Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if piece < 0:
                raise UserError("a video is broken: mend it")
            time.sleep(0.01 * (piece % 3))
            return piece**2

        return work

    return prepare


def test_pieces_of_a_worker_that_dies_are_done_by_another(crew: Crew, tmp_path: Path) -> None:
    done = dict(crew.each(sent(), (str(tmp_path / "killed"), 5), range(30)))
    assert (tmp_path / "killed").exists() and done == {i: i**2 for i in range(30)}
    assert list(crew.in_order(sent(), (str(tmp_path / "again"), 11), iter(range(30)))) == [i**2 for i in range(30)]
    assert (tmp_path / "again").exists()


def test_no_more_pieces_are_taken_than_are_needed(crew: Crew, tmp_path: Path) -> None:
    taken = []

    def pieces() -> Iterator[int]:
        for i in range(10**9):
            taken.append(i)
            yield i

    results = crew.in_order(sent(), ("", -1), pieces())
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16] and len(taken) < 40
    results.close()


def test_a_mistake_that_a_piece_finds_is_told_as_it_is(crew: Crew) -> None:
    with pytest.raises(UserError, match=r"^a video is broken: mend it$"):
        list(crew.each(sent(), ("", 99), [1, -1, 2]))


def test_the_time_of_a_training_is_that_of_its_workers_device(ray_cluster: None) -> None:
    import ray

    if ray.cluster_resources().get("GPU", 0):
        pytest.skip("this machine has one")
    asked = override(Experiment(), {"train.num_workers": 2, "train.cpus_per_worker": 0.5})
    speed = speed_of_cluster(asked)
    assert speed.rate is not None and 1e6 < speed.rate < 1e16
    assert speed.where.startswith("1 x CPU of") and speed.line(3600 * speed.rate).startswith(
        "time      1h00m of matrix"
    )
    told = speed_of_cluster(override(asked, {"train.device": "cuda"})).line(1e9)
    assert told == "time      not estimated: no machine of the cluster that has a GPU is up yet" and PATIENCE > 1
