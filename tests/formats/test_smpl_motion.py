"""SMPL's numbers in other programs' files: what they mean, and what is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from na_ray.formats.smpl_motion import mean_skeleton, read_npz, read_people


def record(**changes: object) -> dict:
    return {"id": 0, "Rh": [[0.1, 0.2, 0.3]], "Th": [[1, 2, 3]], "poses": [[0.0] * 72], "shapes": [[0] * 10]} | changes


def folder(path: Path, *frames: object) -> str:
    path.mkdir()
    for i, frame in enumerate(frames):
        (path / f"{i:06d}.json").write_text(json.dumps(frame))
    return str(path)


def test_the_two_roots_of_easymocap_are_turned_one_after_the_other(tmp_path: Path) -> None:
    poses = np.zeros(72)
    poses[:3], poses[3:6] = (0.4, 0, -0.2), (0.0, 0.5, 0.0)
    motion = read_people(folder(tmp_path / "smpl", [record(poses=[poses.tolist()])]))
    skeleton = mean_skeleton()
    G, p = motion.clip(skeleton, 25.0).world()
    Rh = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()
    own = Rotation.from_rotvec(poses[:3]).as_matrix()
    np.testing.assert_allclose(G[0, 0], Rh @ own, atol=1e-12)
    np.testing.assert_allclose(p[0, 0], Rh @ skeleton.rest[0] + [1, 2, 3], atol=1e-12)
    # V = R(Rh) X + Th, X's root joint stays where it is: a joint next to it, by the formula.
    np.testing.assert_allclose(
        p[0, 1], Rh @ (skeleton.rest[0] + own @ (skeleton.rest[1] - skeleton.rest[0])) + [1, 2, 3], atol=1e-12
    )


def test_the_person_of_most_frames_is_taken_and_gaps_are_said(tmp_path: Path) -> None:
    first, second = record(id=3), record(id=5, Th=[[7, 7, 7]])
    motion = read_people(folder(tmp_path / "m", [first], [first, second], [second], [second, first], [first]))
    assert len(motion.rotvecs) == 5 and motion.fps is None
    np.testing.assert_array_equal(motion.translations, np.tile([1, 2, 3], (5, 1)))
    assert "2 people; person 3 is taken" in motion.notes[0] and "missing in 1 frames" in motion.notes[1]


def test_a_pose_may_lack_the_root(tmp_path: Path) -> None:
    short = np.arange(69) / 100
    motion = read_people(folder(tmp_path / "m", [record(poses=[short.tolist()])]))
    np.testing.assert_allclose(motion.rotvecs[0, 1:].reshape(-1), short)


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ([record(poses=[[0.0] * 71])], r"000000\.json: poses holds 71 numbers; expected one of"),
        ([record(Rh=[[0, 0]])], r"000000\.json: Rh holds 2 numbers; expected 3"),
        ([record(Th="near")], r"000000\.json: Th is no list of numbers"),
        ([record(Th=[[0, 0, float("nan")]])], r"000000\.json: Th holds numbers that are not finite"),
        ([{"id": 0, "Rh": [[0, 0, 0]]}], r"000000\.json: Th is missing; it has id, Rh"),
        ({"joints": []}, r"000000\.json: no list of people"),
        ([], r"nobody is in any of its 1 frames"),
    ],
)
def test_a_wrong_folder_is_one_line(tmp_path: Path, frame: object, line: str) -> None:
    with pytest.raises(ValueError, match=line) as error:
        read_people(folder(tmp_path / "m", frame))
    assert len(str(error.value).splitlines()) == 1


def test_a_json_file_without_frames_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"cameras": []}')
    with pytest.raises(ValueError, match=r"m\.json: no motion \(its keys are cameras\); expected 'frames'"):
        read_people(str(path))


class Harm:
    """What a crafted file would run."""

    def __reduce__(self):
        return (open, ("harmed", "w"))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = {"poses": np.zeros((2, 156)), "trans": np.zeros((2, 3)), "mocap_framerate": np.array(60.0)}
    np.savez("gender.npz", **good, gender=np.array(Harm(), object))
    assert read_npz("gender.npz").fps == 60, "an array that nobody asks for may be anything"
    np.savez("poses.npz", **good | {"poses": np.array([Harm()], object)})
    Path("raw.npz").write_bytes(pickle.dumps(Harm()))
    for name in ("poses.npz", "raw.npz"):
        with pytest.raises(
            ValueError, match=rf"{name}: holds a pickle, which could run anything and is not opened"
        ) as e:
            read_npz(name)
        assert len(str(e.value).splitlines()) == 1
    assert not Path("harmed").exists()


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"pose": np.zeros((2, 156))}, r"m\.npz: no array 'poses'.*it has pose; expected AMASS's names"),
        ({"poses": np.zeros((2, 156))}, r"m\.npz: no array 'trans'"),
        ({"poses": np.zeros((2, 156)), "trans": np.zeros((3, 3))}, r"poses 2x156 and trans 3x3"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, r"poses 0x156 and trans 0x3"),
        ({"poses": np.zeros((2, 100)), "trans": np.zeros((2, 3))}, r"a pose holds 100 numbers; expected one of"),
        ({"poses": np.full((2, 156), np.nan), "trans": np.zeros((2, 3))}, r"frame 0 holds numbers that are not"),
        ({"poses": np.zeros((2, 72)), "trans": np.zeros((2, 3)), "fps": np.array(0)}, r"the frame rate is 0"),
    ],
)
def test_an_npz_of_something_else_is_one_line(tmp_path: Path, arrays: dict, line: str) -> None:
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(ValueError, match=line) as error:
        read_npz(str(tmp_path / "m.npz"))
    assert len(str(error.value).splitlines()) == 1


def test_an_npz_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, poses=np.zeros((50, 156)), trans=np.zeros((50, 3)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"m\.npz: is damaged") as error:
        read_npz(str(path))
    assert len(str(error.value).splitlines()) == 1


def test_smplx_s_split_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", root_orient=np.ones((2, 3)), pose_body=np.full((2, 63), 0.1), trans=np.zeros((2, 3)))
    motion = read_npz(str(tmp_path / "m.npz"))
    assert motion.fps is None and (motion.rotvecs[:, 0] == 1).all() and (motion.rotvecs[:, 1:22] == 0.1).all()
    assert (motion.rotvecs[:, 22:] == 0).all()
