"""What is trained on, and what decides."""

import pytest

from na_ray.config import DataConfig, TextureConfig
from na_ray.config.selection import auto_train_views, select, select_sequences
from na_ray.config.values import UserError


@pytest.mark.parametrize(
    ("cameras", "left_out"), [(4, [3]), (8, [3]), (9, [3]), (10, [3, 9]), (12, [3, 9]), (16, [3, 9, 15])]
)
def test_auto_leaves_out_every_sixth_camera_beginning_with_the_fourth(cameras: int, left_out: list[int]) -> None:
    chosen = select(DataConfig(train_views="auto", validation_views="auto"), cameras, 30)
    assert list(chosen.validation_views) == left_out
    assert sorted([*chosen.train_views, *left_out]) == list(range(cameras))
    assert list(chosen.train_frames) == list(chosen.validation_frames) == list(range(30))
    assert chosen.trained_validation_views == () and chosen.warning is None
    assert auto_train_views(cameras) == list(chosen.train_views)


@pytest.mark.parametrize(("cameras", "views"), [(1, "auto"), (3, "auto"), (6, "all")])
def test_frames_are_left_out_where_no_camera_is(cameras: int, views: str) -> None:
    chosen = select(DataConfig(train_views=views, validation_views="auto", frames="10..50"), cameras, 60)
    assert list(chosen.train_frames) == list(range(10, 46)) and list(chosen.validation_frames) == list(range(46, 50))
    assert chosen.train_views == chosen.validation_views == tuple(range(cameras))
    assert chosen.trained_validation_views == () and chosen.warning is None


def test_deciding_on_what_is_trained_on_is_warned_of() -> None:
    chosen = select(DataConfig(train_views="0..11", validation_views="0,3,7,10"), 12, 5)
    assert chosen.trained_validation_views == (0, 3, 7, 10)
    assert chosen.warning is not None and "cameras 0, 3, 7, 10" in chosen.warning
    partly = select(DataConfig(train_views="0..11", validation_views="0,11"), 12, 5)
    assert partly.trained_validation_views == (0,) and partly.warning is None


def test_a_single_frame_cannot_both_train_and_decide() -> None:
    with pytest.raises(UserError, match="the one frame of data.frames '7' cannot both train and decide"):
        select(DataConfig(train_views="auto", validation_views="auto", frames="7"), 2, 12)
    with pytest.raises(UserError, match="training frames must be one range"):
        select(DataConfig(frames="1,5"), 12, 12)


def test_the_last_tenth_of_a_sequence_decides() -> None:
    data = DataConfig(frames="10..60")
    chosen = select_sequences(data, TextureConfig(), 12, 60)
    assert chosen.train_frames == range(10, 55) and chosen.validation_frames == range(55, 60)
    assert chosen.warning is None
    fifth = select_sequences(data, TextureConfig(held_out=0.2), 12, 60)
    assert fifth.train_frames == range(10, 50) and fifth.validation_frames == range(50, 60)


@pytest.mark.parametrize("held_out", [0.02, 0.1, 0.2])
def test_a_stage_without_cameras_leaves_out_what_the_nerf_does(held_out: float) -> None:
    frames = DataConfig(train_views="auto", validation_views="auto", frames="10..50")
    texture = TextureConfig(held_out=held_out)
    for cameras in (3, 8):
        nerf, chosen = select(frames, cameras, 60), select_sequences(frames, texture, cameras, 60)
        assert chosen.validation_frames is not None and chosen.warning is None
        assert set(chosen.train_frames) <= set(nerf.train_frames)
        assert [*chosen.train_frames, *chosen.validation_frames] == list(range(10, 50)), "each frame does one thing"
    # It needs none of the cameras that the recipe names.
    assert select_sequences(DataConfig(frames="10..50"), texture, 0, 60).train_frames.start == 10
    with pytest.raises(UserError, match="training frames must be one range"):
        select_sequences(DataConfig(frames="1,5"), texture, 0, 12)


def test_too_few_frames_of_a_sequence_to_spare_any_is_warned_of() -> None:
    enough = select_sequences(DataConfig(), TextureConfig(first_window=4), 12, 7)
    assert enough.train_frames == range(4) and enough.validation_frames == range(4, 7) and enough.warning is None
    few = select_sequences(DataConfig(), TextureConfig(first_window=4), 12, 6)
    assert few.train_frames == few.validation_frames == range(6)
    assert few.warning is not None and "what decides is trained on (6 frames)" in few.warning
    # With two cameras the NeRF leaves its last frame out: that one decides here as well.
    spared = select_sequences(DataConfig(train_views="auto", validation_views="auto"), TextureConfig(), 2, 6)
    assert spared.train_frames == range(5) and spared.validation_frames == range(5, 6) and spared.warning is None
    asked = select_sequences(DataConfig(), TextureConfig(held_out=0.0), 12, 60)
    assert asked.train_frames == asked.validation_frames == range(60) and asked.warning is not None


def test_a_run_of_0_1_decides_on_the_test_split_and_is_warned() -> None:
    old = select_sequences(DataConfig(), TextureConfig(held_out=None), 12, 60)
    assert old.train_frames == range(60) and old.validation_frames is None
    assert old.warning is not None and "frames of the test split decide" in old.warning


@pytest.mark.parametrize(
    ("knob", "value", "line"),
    [
        ("train_views", "0..11", "data.train_views: '0..11' asks for number 10, but there are 4, numbered from 0"),
        ("validation_views", "7", "data.validation_views: '7' asks for number 7, but there are 4, numbered from 0"),
        ("fit_views", "5", "data.fit_views: '5' asks for number 5, but there are 4, numbered from 0"),
        ("frames", "40..50", "data.frames: '40..50' asks for number 49, but there are 30, numbered from 0"),
        ("frames", "9..9", "data.frames: '9..9' selects nothing of 30"),
    ],
)
def test_a_selection_of_what_does_not_exist_names_its_knob(knob: str, value: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        select(DataConfig(**{"train_views": "all", "validation_views": "auto", knob: value}), 4, 30)
    assert str(error.value) == line
