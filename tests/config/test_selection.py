"""What is trained on, and what decides."""

import pytest

from na_ray.config import DataConfig
from na_ray.config.selection import auto_train_views, select, select_train_frames
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


def test_a_stage_without_cameras_trains_on_the_frames_of_the_nerf() -> None:
    auto = DataConfig(train_views="auto", validation_views="auto", frames="10..50")
    for cameras in (3, 8):
        assert select_train_frames(auto, cameras, 60) == select(auto, cameras, 60).train_frames
    # It needs none of the cameras that the recipe names.
    assert select_train_frames(DataConfig(frames="10..50"), 0, 60) == range(10, 50)
    with pytest.raises(UserError, match="training frames must be one range"):
        select_train_frames(DataConfig(frames="1,5"), 0, 12)
