"""Knobs in YAML: what is printed is read back, and what is wrong is one line with the file and the knob."""

from pathlib import Path

import pytest
import yaml

from na_ray.config import DataConfig, Experiment, NerfConfig, OptimConfig, TrainConfig, override
from na_ray.config.yaml_file import changed_by, to_yaml
from na_ray.recipes import DEMO, LAN

ODD = Experiment(
    name="no",  # what YAML 1.1 would take for False
    project="1e-3",
    capture="s3://bucket/it's: a #capture",
    data=DataConfig(train_views="all", validation_views="5", frames="3..9", resolution=None, texture_size=128),
    nerf=NerfConfig(parity=True),
    optim=OptimConfig(lr=1e-5, betas=(0.5, 0.9), eps=1e-20),
    train=TrainConfig(num_workers=3, global_batch=6, precision="bfloat16"),
)


def read(text: str, tmp_path: Path, base: Experiment = DEMO) -> Experiment:
    path = tmp_path / "knobs.yaml"
    path.write_text(text, encoding="utf-8")
    return changed_by(path, base)


@pytest.mark.parametrize("experiment", [DEMO, LAN, ODD], ids=["demo", "lan", "odd"])
@pytest.mark.parametrize("base", [Experiment(), ODD], ids=["default", "odd"])
def test_what_is_printed_is_read_back(experiment: Experiment, base: Experiment, tmp_path: Path) -> None:
    text = to_yaml(experiment)
    assert read(text, tmp_path, base) == experiment
    assert to_yaml(read(text, tmp_path, base)) == text


def test_any_reader_of_yaml_reads_what_is_printed() -> None:
    values = yaml.safe_load(to_yaml(ODD))
    assert values["optim"]["lr"] == 1e-5 and values["data"]["validation_views"] == "5" and values["name"] == "no"


@pytest.mark.parametrize(
    "text",
    [
        "optim: {lr: 1e-4}\nnerf:\n  samples_per_ray: 32\n",
        "optim.lr: 1.0e-4\nnerf.samples_per_ray: 32\n",
        "optim.lr: 1E-04\nnerf: {samples_per_ray: 32}\ndata:\n",
        "%YAML 1.1\n---\n{optim: {lr: .0001}, nerf.samples_per_ray: 32}\n",
    ],
)
def test_names_are_nested_or_dotted_and_the_rest_stays(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path) == override(DEMO, {"optim.lr": 1e-4, "nerf.samples_per_ray": 32})


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert read("# nothing yet\n", tmp_path) == DEMO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim.lrr: 1e-4", "there is no knob 'optim.lrr'; did you mean 'optim.lr'?"),
        ("optim: {betta: 1}", "there is no knob 'optim.betta'; did you mean 'optim.betas'?"),
        ("optimm: {lr: 1}", "there is no knob 'optimm'; did you mean 'optim'?"),
        ("zzz: 1", "there is no knob 'zzz'; there are: capture, data, name"),
        ("renderer.samples_per_ray: 8", "did you mean 'nerf.samples_per_ray'?"),
        ("optim: 3", "optim is 3: expected its knobs by name"),
        ("optim.lr: fast", "optim.lr is 'fast': expected a number"),
        ("train: {steps: 2.5}", "train.steps is 2.5: expected a whole number"),
        ("train: {steps: true}", "steps is True: expected"),
        ("optim.lr: -1", "optim.lr is -1"),
        ("data.resolution: [64]", "data.resolution is [64]: expected a list of 2, each a whole number or none"),
        ("train.device: tpu", "train.device is 'tpu': expected one of auto, cpu, cuda"),
        ("optim: {lr: 1}\noptim.lr: 2", "optim.lr stands twice"),
        ("optim: {lr: 1, lr: 2}", "lr stands twice"),
        ("- optim", "holds list; expected knobs by name"),
        ("optim: {lr: 1", "line 1: is no plain YAML"),
        ("name: ok\noptim: !!python/object/apply:os.getcwd []", "line 2: is no plain YAML"),
        ("name: \x07", "is no plain YAML"),
    ],
)
def test_a_mistake_is_one_line_with_the_file(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="knobs.yaml: ") as caught:
        read(text, tmp_path)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.yaml: no such file; --config expects a YAML file"):
        changed_by(tmp_path / "nowhere.yaml", DEMO)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ValueError, match=r"bytes.yaml: is no UTF-8 text"):
        changed_by(tmp_path / "bytes.yaml", DEMO)
