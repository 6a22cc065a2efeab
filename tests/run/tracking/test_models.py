"""Registered models: one opens where na_ray is not installed, and a hostile one runs nothing through `na-ray`."""

import ast
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

import na_ray
from na_ray import checkpoint
from na_ray.actor import open_actor, write_actor
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import AvatarName, Experiment, override
from na_ray.config.values import UserError
from na_ray.models.avatars import AVATARS
from na_ray.run.tracking import registry, runs
from na_ray.run.tracking.registry import log_actor, resolve
from tests import golden
from tests.tiny_predictor import save_predictor


@pytest.fixture(scope="module")
def actor(tiny_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an actor with a network of every kind, none of them trained."""
    capture, tmp_path = Capture.open(tiny_capture), tmp_path_factory.mktemp("actor")
    knobs = {"nerf.hidden": 8, "nerf.samples_per_ray": 4, "nerf.encoder_width": 4, "data.train_views": "0,1"}
    config = override(Experiment(capture=str(tiny_capture)), knobs)
    checkpoints: dict = {"texture": tmp_path / "texture"}
    save_predictor(checkpoints["texture"], capture.rig)
    for name in get_args(AvatarName):
        weights = AVATARS[name].make(config, Body.from_rig(capture.rig)).state_dict()
        checkpoints[name] = tmp_path / name
        checkpoint.save(checkpoints[name], name, weights, capture.rig, config)
    return write_actor(tmp_path / "actor", dict(reversed(checkpoints.items())), capture)


@pytest.fixture
def model(tiny: Experiment, actor: Path, tmp_path: Path) -> tuple[str, Path]:
    """The actor as a registered model: its URI, and the folder in which MLflow keeps it."""
    tracker = runs.start(tiny, tmp_path, "nerf")
    log_actor(tracker, actor, "tiny")
    place = Path(MlflowClient().get_run(tracker.stage).info.artifact_uri) / "actor"
    return f"runs:/{tracker.stage}/actor", place


def test_what_a_killed_driver_had_registered_is_not_registered_again(
    tiny: Experiment, actor: Path, tmp_path: Path
) -> None:
    tracker = runs.start(tiny, tmp_path, "nerf")
    assert [log_actor(tracker, actor, name) for name in ("tiny", "tiny", "other")] == ["1", "1", "1"]
    trained_on = tmp_path / "trained_on"
    shutil.copytree(actor, trained_on)
    told = (trained_on / "actor.json").read_text()
    (trained_on / "actor.json").write_text(told.replace('"step": 0', '"step": 5', 1))
    assert told.count('"step": 0') and log_actor(tracker, trained_on, "tiny") == "2"


OPEN = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import mlflow.pyfunc, pandas
from numpy import array
model = mlflow.pyfunc.load_model({uri!r})
(row,) = model.predict(pandas.DataFrame([{row!r}]))
import na_ray
print(na_ray.__file__, row["color"].shape, row["textures"])
"""


def test_it_carries_the_package_and_names_what_it_needs_by_exact_versions(
    model: tuple[str, Path], tiny: Experiment, tmp_path: Path
) -> None:
    _, place = model
    pins = dict(line.split("==") for line in (place / "requirements.txt").read_text().split())
    assert pins["torch"] == torch.__version__.partition("+")[0] and "na-ray" not in pins
    assert set(pins["numpy"]) <= set("0123456789.") and pins["numpy"] == np.__version__
    assert sorted(p.name for p in place.iterdir() if p.is_dir()) == ["artifacts", "code"]
    # A process that has neither this checkout nor what na_ray needs elsewhere draws a picture by it.
    owners = packages_distributions()  # which looks through every package's files
    names = {name for name, found in owners.items() if not set(found) & pins.keys()}
    needed = {line.split(";")[0].split("[")[0].split(">")[0].split("<")[0].strip() for line in requires("na-ray") or []}
    absent = {name for name in names if set(owners[name]) & needed} - {"yaml", "psutil", "tqdm"}
    assert {"ray", "optuna", "tyro"} <= absent, "MLflow and torch bring the other three"
    split = Capture.open(tiny.capture).split("testing")
    pose, camera = split.pose(0), split.cameras[0]
    row = {k: getattr(pose, k).tolist() for k in ("joints_RT", "rotation", "translation", "joints")}
    row |= {"K": camera.K.tolist(), "T_world_camera": camera.T_world_camera.tolist(), "height": 16, "width": 16}
    script = OPEN.format(absent=absent, uri=str(place), row=row)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{place}/code/na_ray/__init__.py", "(16,", "16,", "3)", "predicted"]


class Runs:
    """What leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A file that is there if anything of a model was run."""
    (tmp_path / "control").mkdir()
    pickle.loads(pickle.dumps(Runs(tmp_path / "control" / "ran")))
    assert (tmp_path / "control" / "ran").exists(), "such a pickle does run"
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()


def poison(place: Path, mark: Path) -> None:
    """Give a model's folder all that MLflow would run when it loads it."""
    (place / "code").mkdir(exist_ok=True)
    for name in ("evil.py", "na_ray.py", "sitecustomize.py", "conftest.py"):
        (place / "code" / name).write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    text = f"flavors:\n  python_function:\n    loader_module: evil\n    code: code\n    python_version: {sys.version}\n"
    (place / "MLmodel").write_text(text)
    (place / "python_model.pkl").write_bytes(pickle.dumps(Runs(mark)))


def test_a_hostile_model_runs_nothing(model: tuple[str, Path], mark: Path) -> None:
    uri, place = model
    poison(place, mark)
    opened = open_actor(resolve(uri))
    assert opened.avatar() and opened.predictor() and opened.poses() and opened.mean_texture().size
    for weights in sorted((place / "artifacts" / "actor").glob("*.safetensors")):
        weights.write_bytes(pickle.dumps(Runs(mark)))
    with pytest.raises(UserError, match="is damaged"):
        open_actor(resolve(uri)).avatar()
    arrays = {"vertices": np.array([Runs(mark)], dtype=object)}
    np.savez(place / "artifacts" / "actor" / "body.npz", **arrays)
    with pytest.raises(UserError, match="body.npz is damaged"):
        assert open_actor(resolve(uri)).rig


def test_a_hostile_model_of_0_1_runs_nothing(tiny: Experiment, mark: Path, tmp_path: Path) -> None:
    tracker = runs.start(tiny, tmp_path, "nerf")
    place = Path(MlflowClient().get_run(tracker.stage).info.artifact_uri) / "actor"
    with zipfile.ZipFile(golden.RELEASE / "registered_model.zip") as archive:
        archive.extractall(place)
    poison(place, mark)
    uri = f"runs:/{tracker.stage}/actor"
    assert checkpoint.load_avatar(resolve(uri)).model
    weights = resolve(uri) / "renderer.pt"
    torch.save({"weights": Runs(mark)}, weights)
    with pytest.raises(UserError, match=r"renderer\.pt is damaged") as told:
        checkpoint.load_avatar(resolve(uri))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("what", ["file", "folder", "above"])
def test_a_model_that_leads_out_of_its_folder_is_refused(model: tuple[str, Path], what: str, tmp_path: Path) -> None:
    uri, place = model
    actor = place / "artifacts" / "actor"
    if what == "file":
        (tmp_path / "private.png").write_bytes((actor / "mean_texture.png").read_bytes())
        (actor / "mean_texture.png").unlink()
        (actor / "mean_texture.png").symlink_to(tmp_path / "private.png")
    elif what == "folder":
        actor.rename(tmp_path / "elsewhere")
        actor.mkdir()
        (actor / "actor.json").symlink_to(tmp_path / "elsewhere" / "actor.json")
    else:
        (actor / "poses.npz").unlink()
        (actor / "poses.npz").symlink_to("../../../../../../../../../../etc/hostname")
    with pytest.raises(UserError, match=r"runs:/.*/actor: artifacts/actor/\S+ leads out of the model's folder"):
        resolve(uri)


def test_a_model_without_an_actor_is_one_line(model: tuple[str, Path]) -> None:
    uri, place = model
    (place / "artifacts" / "actor" / "actor.json").unlink()
    with pytest.raises(UserError, match="no actor is in it"):
        resolve(uri)


def test_nothing_in_the_package_unpickles() -> None:
    """The rule behind all readers: `torch.load` and `np.load` are told so, and nobody loads a model by MLflow."""
    loaders = {"Loader=KnobLoader", "Loader=TextLoader"}  # which make numbers, texts, lists and dicts alone
    allowed = {"np.load": {"allow_pickle=False"}, "torch.load": {"weights_only=True"}, "yaml.load": loaders}
    never = ("pickle.load", "pickle.loads", "mlflow.pyfunc.load_model", "torch.hub.load", "joblib.load")
    found = set()
    for path in sorted(Path(na_ray.__file__).parent.rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            assert name not in never, f"{path}:{call.lineno} runs what a file says"
            if name in allowed:
                told = [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in call.keywords]
                assert allowed[name] & set(told), f"{path}:{call.lineno}: {name} without any of {allowed[name]}"
                found.add(name)
    assert found == set(allowed), "the rule has something to say"


@pytest.mark.parametrize(
    ("best", "score", "judged_by", "better"),
    [
        ({"judged_by": "pictures, a", "validation/psnr": "20"}, 21.0, "pictures, a", True),
        ({"judged_by": "pictures, a", "validation/psnr": "20"}, 19.0, "pictures, a", False),
        ({"judged_by": "pictures, a", "validation/psnr": "20"}, 21.0, "pictures, b", False),
        ({"judged_by": "pictures, a", "validation/psnr": "20"}, None, "nothing", False),
        ({"judged_by": "texture maps, a", "validation/psnr": "30"}, 21.0, "pictures, a", True),
        ({"judged_by": "pictures, a", "validation/psnr": "20"}, 30.0, "texture maps, a", False),
        ({"judged_by": "texture maps, a", "validation/psnr": "30", "run": "this"}, 21.0, "pictures, a", True),
        ({"judged_by": "pictures, a", "validation/psnr": "20", "run": "other"}, 19.0, "pictures, a", False),
    ],
)
def test_the_best_can_be_drawn_and_is_compared_by_the_same_pictures(
    best: dict[str, str], score: float | None, judged_by: str, better: bool
) -> None:
    assert registry._is_better(best, "this", score, judged_by) is better
