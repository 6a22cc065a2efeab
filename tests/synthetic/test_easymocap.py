"""The actor as EasyMocap's folders, converted back: the capture that synth writes itself."""

import numpy as np
import pytest

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.capture.pixels import posed_vertices
from na_ray.config.values import UserError
from na_ray.convert.plan import ConvertOptions, plan
from na_ray.convert.source import easymocap_source
from na_ray.convert.write import write
from na_ray.synthetic.easymocap import MODEL, UV, write_sequence
from na_ray.synthetic.write import write_capture

COUNTS = {"frames": 2, "test_frames": 1, "cameras": 3, "resolution": 64, "seed": 4}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(the capture by way of EasyMocap's folders, the one that is written at once, what convert told)."""
    root = tmp_path_factory.mktemp("actor")
    write_sequence(root / "seq", **COUNTS)
    write_capture(root / "own", texture_size=16, **COUNTS)
    options = ConvertOptions(body=str(root / "seq" / MODEL), uv=str(root / "seq" / UV), test_frames="2..3")
    made = plan(easymocap_source(str(root / "seq")), options)
    write(made, str(root / "back"), workers=1)
    return Capture.open(root / "back"), Capture.open(root / "own"), made.lines


def test_cameras_and_body_come_back(both):
    back, own, _ = both
    points = np.random.default_rng(0).uniform([-0.5, 0, -0.5], [0.5, 1.7, 0.5], (100, 3))
    for split in ("training", "testing"):
        for a, b in zip(back.split(split).cameras, own.split(split).cameras, strict=True):
            assert np.abs(a.project(points)[0] - b.project(points)[0]).max() < 0.01
    for name in ("vertices", "uv", "weights", "tpose"):
        # Its T pose raises the arms of an A pose; SMPL's rest needs none of that.
        if name != "tpose":
            assert np.abs(vars(back.rig)[name] - vars(own.rig)[name]).max() < 2e-6, name
    np.testing.assert_array_equal(back.rig.uv_faces, own.rig.uv_faces)


def test_poses_come_back(both):
    back, own, _ = both
    for name in ("training", "testing"):
        for i in range(own.split(name).num_frames):
            a, b = back.split(name).pose(i), own.split(name).pose(i)
            assert np.abs(posed_vertices(back.rig, a) - posed_vertices(own.rig, b)).max() < 1e-4
            assert np.abs(a.joints - b.joints).max() < 1e-4
            assert np.abs(a.pose - b.pose).max() < 1e-4
            assert np.abs(a.joints_RT - b.joints_RT).max() < 1e-4


def test_pictures_come_back_within_the_codecs_error(both):
    back, own, _ = both
    for name in ("training", "testing"):
        for c in range(3):
            pairs = zip(back.split(name).images(c), own.split(name).images(c), strict=True)
            for a, b in pairs:
                assert 10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean()) > 32


def test_it_is_sound(both):
    back, _, lines = both
    assert not [line for line in examine(back.path, thorough=True).defects if "no texture maps" not in line]
    assert not [line for line in lines if "warning" in line]


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(FileExistsError, match="allow overwriting"):
        write_sequence(tmp_path / "mine", **COUNTS)
    with pytest.raises(UserError, match="no sequence"):
        write_sequence(tmp_path / "mine", overwrite=True, **COUNTS)
    with pytest.raises(UserError, match="cameras is 0"):
        write_sequence(tmp_path / "other", **(COUNTS | {"cameras": 0}))
