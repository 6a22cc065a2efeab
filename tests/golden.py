"""What version 0.1.0 computed on a tiny capture: the losses of twenty steps of each stage, and a picture of each model.

`tests/data/release_0_1/<stage>.zip` is a run as 0.1.0 wrote it, with its checkpoint of step 10 and a line of metrics a
step; `registered_model.zip` is what MLflow's registry kept of its NeRF.
On one machine the numbers are equal to the bit. Between machines, rounding differs, and training makes more of it at
every step: a learning rate that is 1e-7 larger moves the losses of step 20 by .001 (NeRF) and .02 (texture) of theirs.

    python -m tests.golden    # prints the largest differences to what is stored
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch

from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_avatar, load_predictor
from na_ray.config import Experiment, StageName
from na_ray.config.files import from_json
from na_ray.motion.predict import predict_maps
from na_ray.render import encode
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES
from na_ray.run.train.worker import train_here
from tests.make_capture import write_tiny_capture

RELEASE = Path(__file__).parent / "data" / "release_0_1"
SURE, WITHIN = 4, 1e-4
"""Steps from what is stored (nothing, or a checkpoint) whose losses hardly know about rounding, and how little."""
GROWN = {"renderer": 0.02, "texture": 0.2}
"""By how much of themselves later losses may differ."""
STAGES_0_1: dict[str, StageName] = {"renderer": "nerf", "texture": "texture"}
"""The stages' names today, by those of 0.1.0."""


def write_capture(folder: Path) -> Path:
    """The capture that the runs were trained on."""
    return write_tiny_capture(folder, frames=12, cameras=3, resolution=(32, 40))


def copy_run(stage: str, folder: Path, capture: Path) -> Path:
    """A stored run as if it had been started here; returns its root."""
    root = folder / "tiny"
    with zipfile.ZipFile(RELEASE / f"{stage}.zip") as archive:
        archive.extractall(root)
    for path in [root / "experiment.json", *root.glob("*/checkpoints/*/experiment.json")]:
        values = json.loads(path.read_text())
        path.write_text(json.dumps(values | {"capture": str(capture), "storage": str(folder)}))
    return root


def experiment_of(root: Path) -> Experiment:
    """The knobs that a run's folder names."""
    return from_json(json.loads((root / "experiment.json").read_text()))


def run_of(root: Path, stage: str, experiment: Experiment) -> RunFolder:
    """The stage's part of a run's folder."""
    return RunFolder(root, STAGES_0_1[stage], experiment.train.keep_last)


def stored_losses(stage: str) -> list[float]:
    """The losses of steps 1 to 20 as 0.1.0 reported them."""
    with zipfile.ZipFile(RELEASE / f"{stage}.zip") as archive:
        return _losses(archive.read(f"{stage}/metrics.jsonl").decode())


def _losses(record: str) -> list[float]:
    return [m["loss"] for m in (json.loads(line)["metrics"] for line in record.splitlines()) if "loss" in m]


def trained_losses(stage: str, folder: Path, capture: Path) -> list[float]:
    """The same steps computed now, from nothing, in this process."""
    experiment = experiment_of(copy_run(stage, folder / "old", capture))
    run = run_of(folder / "new", stage, experiment)
    run.folder.mkdir(parents=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_here(experiment, STAGES[run.stage].make_dataset(Capture.open(capture), experiment), run)
    finally:
        torch.set_num_threads(threads)
    return _losses((run.folder / "metrics.jsonl").read_text())


def assert_losses(stage: str, found: list[float], stored: list[float]) -> None:
    """That losses are those of 0.1.0, from nothing or from a checkpoint on."""
    np.testing.assert_allclose(found[:SURE], stored[:SURE], rtol=WITHIN)
    np.testing.assert_allclose(found, stored, rtol=GROWN[stage])


def picture(stage: str, folder: Path, capture: Path) -> np.ndarray:
    """What the checkpoint of step 10 shows of frame 0: camera 0 (RGB in [0, 1]), or its texture map (0..255)."""
    checkpoint = copy_run(stage, folder, capture) / stage / "checkpoints" / "step_000010"
    split = Capture.open(capture).split("testing")
    if stage == "texture":
        return list(predict_maps(load_predictor(checkpoint), split.normal_maps(0, 3)))[-1]
    actor = load_avatar(checkpoint)
    frame = encode(actor, split.pose(0), split.texture(0))
    with torch.no_grad():
        return actor.model.picture(frame, split.cameras[0]).colors.numpy()


def stored_picture(stage: str) -> np.ndarray:
    """The same as 0.1.0 computed it."""
    with np.load(RELEASE / "pictures.npz") as pictures:
        return pictures[stage]


def main() -> int:
    """Print the differences."""
    for stage in STAGES_0_1:
        with tempfile.TemporaryDirectory() as scratch:
            capture = write_capture(Path(scratch) / "capture")
            losses = np.array(trained_losses(stage, Path(scratch) / "train", capture))
            shown = picture(stage, Path(scratch) / "picture", capture).astype(np.float64)
        before = np.array(stored_losses(stage))
        off = np.abs(losses / before - 1).max()
        changed = np.abs(shown - stored_picture(stage)).max()
        print(f"{stage}: losses differ by {off:.2e} of their size, the picture by {changed:.2e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
