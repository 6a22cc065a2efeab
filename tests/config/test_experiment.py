"""Knobs: what is refused, in which words, and that an experiment survives JSON."""

import dataclasses
import json
import typing
from typing import Any

import pytest

from na_ray.config import (
    DataConfig,
    Experiment,
    NerfConfig,
    OptimConfig,
    TrainConfig,
    flatten,
    from_dict,
    override,
    parse_indices,
    to_dict,
)
from na_ray.config.files import from_json
from na_ray.config.selection import select
from na_ray.config.values import UserError

ODD = Experiment(
    name="odd",
    data=DataConfig(train_views="all", frames="3..9", resolution=None, texture_size=128, on_bad_shard="skip"),
    nerf=NerfConfig(parity=True),
    optim=OptimConfig(lr=1e-3, betas=(0.5, 0.9)),
    train=TrainConfig(num_workers=3, global_batch=6, precision="bfloat16"),
)
SECTIONS: list[type] = [kind for kind in typing.get_type_hints(Experiment).values() if dataclasses.is_dataclass(kind)]


@pytest.mark.parametrize(
    ("spec", "count", "expected"),
    [
        ("0,3,7,10", None, [0, 3, 7, 10]),
        ("0..4", None, [0, 1, 2, 3]),
        ("..3", 9, [0, 1, 2]),
        ("6..", 9, [6, 7, 8]),
        ("all", 3, [0, 1, 2]),
        ("5,0..2,1", 6, [5, 0, 1]),
        ("8", 9, [8]),
    ],
)
def test_parse_indices_reads(spec: str, count: int | None, expected: list[int]) -> None:
    assert parse_indices(spec, count) == expected


@pytest.mark.parametrize(
    ("spec", "count", "message"),
    [
        ("one", 3, "'one' is no selection: write '0,3,7'"),
        ("1,,2", 3, "is no selection"),
        ("-1", 3, "is no selection"),
        ("", 3, "is no selection"),
        ("0...3", 5, "is no selection"),
        ("4..4", 9, "'4..4' selects nothing of 9"),
        ("0..12", 12 - 1, "asks for number 11, but there are 11, numbered from 0"),
        ("all", None, "open end, and how many there are is not known"),
        ("3..", None, "open end"),
    ],
)
def test_parse_indices_refuses(spec: str, count: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_indices(spec, count)


def test_the_papers_recipe_trains_eleven_views_and_validates_four() -> None:
    data = DataConfig()
    assert parse_indices(data.train_views, 12) == list(range(11))
    assert select(data, 12, 5).validation_views == (11,)


@pytest.mark.parametrize("experiment", [Experiment(), ODD], ids=["default", "odd"])
def test_an_experiment_survives_json(experiment: Experiment) -> None:
    text = json.dumps(to_dict(experiment))
    assert from_dict(Experiment, json.loads(text)) == experiment


def test_experiments_are_values() -> None:
    assert Experiment() == Experiment() != ODD
    assert hash(Experiment()) == hash(Experiment())
    with pytest.raises(dataclasses.FrozenInstanceError):
        ODD.optim.lr = 1.0  # type: ignore[misc]


def test_flatten_names_every_knob_once() -> None:
    flat = flatten(ODD)
    assert flat["optim.lr"] == 1e-3 and flat["name"] == "odd" and flat["data.resolution"] is None
    own = len(dataclasses.fields(Experiment)) - len(SECTIONS)
    assert len(flat) == own + sum(len(dataclasses.fields(section)) for section in SECTIONS)
    assert override(Experiment(), flat) == ODD


def test_override_changes_what_it_names_and_nothing_else() -> None:
    base = Experiment()
    changed = override(base, {"optim.lr": 1e-4, "nerf.samples_per_ray": 32, "name": "x"})
    differing = {name for name, value in flatten(changed).items() if flatten(base)[name] != value}
    assert differing == {"optim.lr", "nerf.samples_per_ray", "name"}
    assert base == Experiment()


def test_override_takes_what_json_and_sweeps_give() -> None:
    changed = override(Experiment(), {"optim.lr": 1, "data.resolution": [64, 48], "optim.betas": [0.5, 0.6]})
    assert changed.optim.lr == 1.0 and isinstance(changed.optim.lr, float)
    assert changed.data.resolution == (64, 48) and changed.optim.betas == (0.5, 0.6)
    assert override(changed, {"data.background": (0, 0, 1)}).data.background == (0.0, 0.0, 1.0)


def test_an_open_end_is_settled_when_the_frames_are_counted() -> None:
    assert parse_indices(DataConfig(frames="5..").frames, count=8) == [5, 6, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"nerf.sample_per_ray": 3},
            "there is no knob 'nerf.sample_per_ray'; did you mean 'nerf.samples_per_ray'",
        ),
        ({"optim.zzz": 3}, "there is no knob 'optim.zzz'. There are: optim.lr, optim.betas, optim.eps"),
        ({"optims.lr": 3}, "there is no knob 'optims'; did you mean 'optim'"),
        ({"name.lr": 3}, "there is no knob 'name'"),
        ({"optim.lr.x": 3}, "there is no knob 'optim.lr'"),
        ({"optim.lr": "fast"}, "optim.lr is 'fast': expected"),
        ({"train.steps": True}, "train.steps is True: expected"),
        ({"train.steps": 2.5}, "train.steps is 2.5: expected"),
        ({"data.resolution": [64]}, "data.resolution is"),
        ({"optim": 3}, "optim is 3: expected its fields by name"),
        ({"optim.betas": [0.9, "b"]}, "optim.betas is"),
        ({"train.device": "tpu"}, "train.device is 'tpu': expected"),
        ({"stages": ["painter"]}, "stages is"),
    ],
)
def test_override_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        override(Experiment(), changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("data.train_views", "none", "is no selection"),
        ("data.rays_per_view", 0, "at least 1"),
        ("data.resolution", (4, 64), "at least"),
        ("data.texture_size", 8, "at least 16"),
        ("nerf.samples_per_ray", 1, "at least 2"),
        ("nerf.shell_radius", 0.0, "between 0 and 10"),
        ("nerf.density_noise", -1.0, "at least 0"),
        ("optim.lr", 0.0, "positive"),
        ("optim.lr", float("nan"), "positive"),
        ("optim.decay_rate", 1.5, r"in \(0, 1\]"),
        ("optim.betas", (0.9, 1.0), "two numbers in"),
        ("train.steps", 0, "at least 1"),
        ("train.num_workers", -1, "at least 0"),
        ("train.cpus_per_worker", 0.0, "positive"),
        ("name", "a b", "a word without slashes"),
        ("name", "", "a word without slashes"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        override(Experiment(), {name: value})


@pytest.mark.parametrize(
    ("stage", "knob", "batch", "workers", "told"),
    [
        ("nerf", "train.global_batch", 8, 3, "which is 8; the next number that does is 4"),
        ("nerf", "train.global_batch", 8, 16, "which is 8; the largest number that does is 8"),
        ("texture", "texture.global_batch", 6, 4, "which is 6; the next number that does is 6"),
    ],
)
def test_the_workers_share_a_step_evenly(stage: str, knob: str, batch: int, workers: int, told: str) -> None:
    fits = override(Experiment(), {"stages": (stage,), knob: batch, "train.num_workers": 2})
    with pytest.raises(UserError, match=f"^train.num_workers is {workers}: it must divide {knob}, {told}$"):
        override(fits, {"train.num_workers": workers})


def test_a_batch_that_0_1_left_open_is_what_the_workers_made_of_it() -> None:
    old = to_dict(Experiment()) | {"stages": ["renderer"]}
    old["renderer"] = old.pop("nerf") | {"background": old["data"].pop("background")}
    old["train"]["num_workers"] = 3
    for section, name in (("train", "frames_per_step"), ("texture", "windows_per_step")):
        del old[section]["global_batch"]
        old[section][name] = None
    read = from_json(old)
    assert (read.train.global_batch, read.texture.global_batch) == (3, 12)
    old["train"]["frames_per_step"] = 9
    assert from_json(old).train.global_batch == 9


@pytest.mark.parametrize("version", [1, 2])
def test_a_knob_that_a_file_lacks_stands_for_what_was_done_before_there_was_it(version: int) -> None:
    values = to_dict(Experiment()) | {"version": 2}
    if version == 1:
        del values["version"]
        values["renderer"] = values.pop("nerf") | {"background": values["data"].pop("background")}
        values["train"]["frames_per_step"] = values["train"].pop("global_batch")
        values["texture"]["windows_per_step"] = values["texture"].pop("global_batch")
    assert from_json(values).texture.held_out == 0.1
    del values["texture"]["held_out"]
    assert from_json(values).texture.held_out is None


def test_every_default_has_its_declared_type() -> None:
    for section in SECTIONS:
        values = to_dict(section())
        assert from_dict(section, values) == section()
        assert set(values) == set(typing.get_type_hints(section))
