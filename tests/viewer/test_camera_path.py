"""Key frames become a camera a frame, in a file of our form, of this folder alone, and never over another."""

from pathlib import Path

import numpy as np
import pytest

from na_ray.actor import Actor
from na_ray.capture.trajectory import from_file
from na_ray.config.values import UserError
from na_ray.motion.playable import training_clip
from na_ray.viewer.camera_path import animate_command, path_through, save_path
from na_ray.viewer.stills import camera_of

KEYS = [camera_of(np.array([1.0, 0, 0, 0]), np.array([x, 0.0, -3.0]), 0.8, 700, 1000) for x in (0.0, 0.5, 1.0)]


def test_a_path_begins_and_ends_at_its_key_frames_and_is_read_again(tmp_path: Path) -> None:
    path = path_through(KEYS, 41)
    assert len(path) == 41 and (path[0].width, path[0].height) == (512, 358)
    assert [path[i].center[0] for i in (0, 20, 40)] == pytest.approx([0, 0.5, 1.0])
    assert path[0].K[1, 1] == pytest.approx(KEYS[0].K[1, 1] * 358 / 700)
    read = from_file(save_path(path, tmp_path, "around"))
    assert [c.T_world_camera.tolist() for c in read] == [c.T_world_camera.tolist() for c in path]
    still = path_through(KEYS[:1], 5)
    assert len(still) == 5 and all(np.array_equal(c.T_world_camera, KEYS[0].T_world_camera) for c in still)
    with pytest.raises(UserError, match="no key frame yet"):
        path_through([], 5)


@pytest.mark.parametrize("name", ["../up.json", "/tmp/there.json", "a/b", ".hidden", "", "a b"])
def test_a_page_writes_nowhere_but_here(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="expected a plain name such as path.json"):
        save_path(KEYS, tmp_path / "in", name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    save_path(KEYS, tmp_path, "path.json")
    before = (tmp_path / "path.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"path\.json exists: give another name"):
        save_path(KEYS[:1], tmp_path, "path.json")
    assert (tmp_path / "path.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_the_command_to_copy_names_actor_motion_and_cameras(actor: Actor, tmp_path: Path) -> None:
    clip = training_clip(actor)
    command = animate_command("runs/anna", clip, tmp_path / "path.json")
    assert command == f"na-ray animate runs/anna --motion {clip.argument} --camera path.json -o path.mp4"
