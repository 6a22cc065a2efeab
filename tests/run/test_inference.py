"""Several motions on Ray's workers, as one after the other; and the predictor that MLflow serves."""

from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_predictor
from na_ray.motion.predict import STATE_EVERY, Request, predict_maps
from na_ray.pictures.png import read_png
from na_ray.run.inference import MotionTask, motions, predict_motions
from na_ray.run.tracking import pyfunc
from tests.make_capture import write_tiny_capture
from tests.moments import kill_predicting_worker
from tests.tiny_predictor import save_predictor, tiny_predictor


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inference") / "capture"
    return write_tiny_capture(folder, frames=5, cameras=1, resolution=(16, 16))


def shown(folder: Path) -> np.ndarray:
    return np.stack([read_png(file) for file in sorted(folder.glob("*.png"))])


def test_motions_go_to_folders_named_by_what_differs(capture: Path, tmp_path: Path) -> None:
    other = write_tiny_capture(tmp_path / "other", frames=1, cameras=1, resolution=(16, 16), splits=("training",))
    place, out = str(capture), tmp_path / "out"
    assert motions([place], ["testing"], out) == [MotionTask(place, "testing", out)]
    tasks = motions([place], ["training", "testing"], out)
    assert [task.out for task in tasks] == [out / "training", out / "testing"]
    tasks = motions([place, str(other)], ["training"], out)
    assert [task.out for task in tasks] == [out / "capture", out / "other"]
    with pytest.raises(ValueError, match=r"out/capture: two motions would be written there"):
        motions([place, place], ["training"], out)
    with pytest.raises(ValueError, match=r"no split 'walking'; it has: testing, training"):
        motions([place], ["training", "walking"], out)


def test_workers_predict_what_one_process_does(capture: Path, tmp_path: Path, ray_cluster: None) -> None:
    predictor = tiny_predictor(Capture.open(capture).rig)
    results, calls = {}, []
    for workers in (0, 2):
        tasks = motions([str(capture)], ["training", "testing"], tmp_path / str(workers))
        progress = None if workers == 0 else lambda *n: calls.append(n)
        results[workers] = predict_motions(predictor, tasks, Request(), workers, progress=progress)
    assert results[2] == [tmp_path / "2" / "training" / "tex", tmp_path / "2" / "testing" / "tex"]
    assert calls == [(1, 2), (2, 2)]
    for here, there in zip(results[0], results[2], strict=True):
        assert len(shown(here)) == 5
        # Fewer threads add in another order.
        assert np.abs(shown(here).astype(int) - shown(there)).max() <= 1


def broken_motion(folder: Path) -> Path:
    """A capture whose normal maps are no video."""
    broken = write_tiny_capture(folder, frames=5, cameras=1, resolution=(16, 16), splits=("testing",))
    (film,) = (broken / "testing").glob("normal*.avi")
    film.write_bytes(b"no video")
    return broken


NO_VIDEO = r"^[^\n]*normal\S*\.avi: no readable video[^\n]*$"
"""One line."""


def test_a_motion_whose_worker_dies_is_predicted_all_the_same_and_a_bad_one_is_one_line(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_tiny_capture(tmp_path / "long", frames=40, cameras=1, resolution=(16, 16), splits=("testing",))
    predictor = tiny_predictor(Capture.open(long).rig)
    tasks = motions([str(broken_motion(tmp_path / "broken")), str(long)], ["testing"], tmp_path / "out")
    kill_predicting_worker(monkeypatch, str(tmp_path / "killed"), frames=STATE_EVERY + 4)
    with pytest.raises(ValueError, match=NO_VIDEO):
        predict_motions(predictor, tasks, Request(), workers=1)
    folder = tmp_path / "out" / "long" / "tex"
    killed, first = (path.stat().st_mtime_ns for path in (tmp_path / "killed", folder / "000000.png"))
    assert first < killed, "what was predicted before it died was kept"
    expected = np.stack(list(predict_maps(predictor, Capture.open(long).split("testing").normal_maps())))
    assert np.abs(shown(folder).astype(int) - expected).max() <= 1
    assert not (folder.parent / ".tex_state.npz").exists()


def test_a_bad_motion_is_one_line_and_the_others_are_done(capture: Path, tmp_path: Path) -> None:
    predictor = tiny_predictor(Capture.open(capture).rig)
    tasks = motions([str(broken_motion(tmp_path / "broken")), str(capture)], ["testing"], tmp_path / "out")
    with pytest.raises(ValueError, match=NO_VIDEO):
        predict_motions(predictor, tasks, Request())
    assert len(shown(tmp_path / "out" / "capture" / "tex")) == 5


def test_a_gpu_that_no_worker_has_is_refused(capture: Path, tmp_path: Path, ray_cluster: None) -> None:
    import ray

    if ray.cluster_resources().get("GPU", 0):
        pytest.skip("this machine has one")
    tasks = motions([str(capture)], ["testing"], tmp_path)
    with pytest.raises(ValueError, match="the cluster has no GPU to predict on: choose --device cpu"):
        predict_motions(tiny_predictor(Capture.open(capture).rig), tasks, Request(), 1, "cuda")


def test_mlflow_serves_the_predictor(capture: Path, tmp_path: Path) -> None:
    checkpoint = save_predictor(tmp_path / "checkpoint", Capture.open(capture).rig)
    mlflow.pyfunc.save_model(
        path=str(tmp_path / "model"),
        python_model=pyfunc.__file__,
        artifacts={"actor": str(checkpoint)},
        pip_requirements=["na-ray"],
    )
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    normals = list(Capture.open(capture).split("testing").normal_maps())
    served = model.predict(pd.DataFrame({"normals": normals}))
    expected = list(predict_maps(load_predictor(checkpoint), normals))
    assert len(served) == 5 and np.array_equal(served, expected)
    as_lists = model.predict(pd.DataFrame({"normals": [normal.tolist() for normal in normals[:2]]}))
    assert np.array_equal(as_lists, expected[:2])
    with pytest.raises(ValueError, match="column 'joints_RT' is missing; expected joints_RT"):
        model.predict(pd.DataFrame({"normal": normals}))
