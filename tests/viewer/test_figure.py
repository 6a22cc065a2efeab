"""What a figure can be drawn as, and which texture maps it wears at which frame."""

from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.actor import Actor, open_actor
from na_ray.capture.dataset import Capture
from na_ray.config.values import UserError
from na_ray.motion.playable import PlayableMotion, motion_clip, split_clip, training_clip
from na_ray.motion.predict import predict_maps
from na_ray.render import encode
from na_ray.viewer.figure import Figure, TextureChooser


@pytest.fixture
def figure(actor: Actor, capture: Capture) -> Figure:
    """In the training's poses, and in a filmed motion."""
    filmed = split_clip(capture.split("testing"), 25.0, actor.rig.num_joints)
    return Figure(actor, "anna", [training_clip(actor), filmed])


def test_a_figure_is_drawn_as_what_it_has(figure: Figure, actor: Actor, actor_folder: Path) -> None:
    assert figure.kinds == ("splats", "nerf", "mesh") and figure.nearest("nerf") == "nerf"
    pose, mean = figure.clips[0].pose(2), actor.mean_texture()
    drawn = [figure.draw(kind, pose, mean) for kind in figure.kinds]
    assert [d.in_browser for d in drawn] == [True, False, True]
    expected = encode(actor.avatar("splats"), pose, mean)
    wanted, found = actor.avatar("splats").model.gaussians(expected), drawn[0].gaussians
    assert wanted is not None and found is not None and torch.equal(found[0].colors, wanted[0].colors)
    alone = Figure(Actor(actor_folder, {"nerf": actor_folder}), "bea", figure.clips)
    assert alone.nearest("splats") == "mesh" and alone.told("splats") == "bea has no splats: its mesh is shown"
    assert alone.told("nerf") == "" == figure.told("splats")


def test_each_motion_says_which_maps_there_are(figure: Figure, capture: Capture) -> None:
    assert figure.maps(0) == ("predicted", "mean") and figure.maps(1) == ("own", "predicted", "mean")
    split = capture.split("testing")
    assert np.array_equal(TextureChooser(figure).texture("own", 1, 3, split.pose(3)), split.texture(3))
    mean = (
        TextureChooser(figure).texture("own", 0, 3, split.pose(3)),
        TextureChooser(figure).texture("mean", 0, 3, split.pose(3)),
    )
    assert np.array_equal(mean[1], figure.mean) and mean[0].shape == (32, 32, 3), "what is not there is not asked for"


def test_without_any_map_it_says_what_to_give(actor: Actor, tmp_path: Path) -> None:
    alone = Actor(tmp_path, {"splats": actor.folder})
    alone.__dict__["values"] = actor.values
    figure = Figure(alone, "anna", [training_clip(actor)])
    with pytest.raises(
        UserError, match="anna has neither a mean texture map nor a predictor, .*: give --capture, or --t"
    ):
        figure.maps(0)


def test_predictions_go_on_from_frame_to_frame_and_start_anew_elsewhere(figure: Figure, actor: Actor) -> None:
    predictor = actor.predictor()
    assert predictor is not None
    wardrobe, poses = TextureChooser(figure), actor.poses()

    def normals(frames: range) -> list[np.ndarray]:
        from na_ray.body.atlas import Atlas

        atlas = Atlas(predictor.body, 512)
        return [atlas.normal_map(predictor.body.pose(poses[i])).numpy() for i in frames]

    for frames in (range(4), range(2, 5)):  # the second is a scrub back
        found = [wardrobe.texture("predicted", 0, i, poses[i]) for i in frames]
        expected = list(predict_maps(predictor, normals(frames)))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_motion_of_another_body_is_refused(actor: Actor, capture: Capture) -> None:
    count = actor.rig.num_joints
    with pytest.raises(UserError, match=f"testing: its poses have {count} joints, but the actor's body has 99: give a"):
        split_clip(capture.split("testing"), 25.0, 99)
    found: PlayableMotion = motion_clip(f"{capture.path}/testing", actor)
    assert found.num_frames == 6 and len(found.cameras) == 2 and found.argument.endswith("capture/testing")
    with pytest.raises(UserError, match="capture"):
        motion_clip(capture.path, actor)


def test_training_poses_are_the_actors_own(actor_folder: Path, capture: Capture) -> None:
    clip = training_clip(open_actor(actor_folder))
    assert clip.num_frames == 6 and clip.texture is None and clip.argument == f"{capture.path}/training"
    assert np.array_equal(clip.pose(5).joints, capture.split("training").pose(5).joints)
