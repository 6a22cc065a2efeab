"""Frames drawn on Ray's workers are those of one process, in order, also where a worker dies or frames are kept."""

from pathlib import Path

import numpy as np
import pytest
from make_capture import write_tiny_capture
from tiny_film import tiny_film

from na_ray.motion.animate import Film, animate
from na_ray.pictures import png
from na_ray.run import animation
from na_ray.run.animation import draw_on_ray

COUNT = 22


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("film") / "capture", frames=COUNT, resolution=(24, 32))


def on_ray(film: Film, workers: int):
    return lambda tasks: draw_on_ray(film.drawer, workers, "cpu", tasks)


def shown(folder: Path) -> np.ndarray:
    return np.stack([png.read_png(file) for file in sorted(folder.glob("*.png"))]).astype(int)


def test_workers_draw_what_one_process_does_though_one_dies(
    capture: Path, tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = str(tmp_path / "killed")

    def dying(drawer: object, device: str) -> object:
        """Kills its process when it is given frames for the second time, once: a file tells."""
        import os
        import signal
        from pathlib import Path

        from na_ray.run.animation import drawing

        draw, count = drawing(drawer, device), 0  # type: ignore[arg-type]

        def draw_or_die(tasks: list) -> list:
            nonlocal count
            count += 1
            if count == 2 and not Path(marker).exists():
                Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return draw(tasks)

        return draw_or_die

    animate(tiny_film(capture, predicted=True), tmp_path / "here")
    monkeypatch.setattr(animation, "drawing", dying)
    film, calls = tiny_film(capture, predicted=True), []
    result = animate(film, tmp_path / "there", draw=on_ray(film, 2), progress=lambda *n: calls.append(n))
    assert Path(marker).exists() and result.drawn == COUNT
    assert calls == [(i + 1, COUNT) for i in range(COUNT)]
    assert np.abs(shown(tmp_path / "here") - shown(tmp_path / "there")).max() <= 1
    # Three frames are gone: these are drawn, and no others.
    for i in (0, 7, 8):
        (tmp_path / "there" / f"{i:06d}.png").unlink()
    film = tiny_film(capture, predicted=True)
    result = animate(film, tmp_path / "there", draw=on_ray(film, 1))
    assert (result.drawn, result.kept) == (3, COUNT - 3)
    assert np.abs(shown(tmp_path / "here") - shown(tmp_path / "there")).max() <= 1


def test_a_gpu_that_no_worker_has_is_refused(capture: Path, tmp_path: Path, ray_cluster: None) -> None:
    import ray

    if ray.cluster_resources().get("GPU", 0):
        pytest.skip("this machine has one")
    film = tiny_film(capture)
    with pytest.raises(ValueError, match="the cluster has no GPU to draw on: choose --device cpu, or auto"):
        animate(film, tmp_path / "a", draw=lambda tasks: draw_on_ray(film.drawer, 1, "cuda", tasks))
