"""Normal maps from poses alone: as a naive float64 rasterization draws them, found by the reader, kept, never mixed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture import video
from na_ray.capture.dataset import Capture, Split
from na_ray.motion.normals import Format, draw_normals, write_normals
from na_ray.pictures.png import read_png
from tests.make_capture import JOINTS, column, transform, write_body, write_tiny_capture

SIZE = 96


def write_motion(folder: Path, frames: int = 3, name: str = "dance") -> Path:
    """A capture of poses and a body, without a single image."""
    (folder / name / "transform").mkdir(parents=True)
    write_body(folder)
    for f in range(frames):
        (folder / name / "transform" / f"{10 + f:06d}.json").write_text(json.dumps(transform(4 * f)))
    return folder


@pytest.fixture
def motion(tmp_path: Path) -> Split:
    return Capture.open(write_motion(tmp_path / "capture")).split("dance")


def naive_normals(frame: int) -> np.ndarray:
    """Unit vertex normals of the posed column in the world, float64, face by face."""
    vertices, faces = column()
    values = {key: np.array(value) for key, value in transform(frame).items()}
    place = vertices[:, 1] / 1.6 * (JOINTS - 1)
    posed = []
    for vertex, at in zip(vertices, place, strict=True):
        weights = [round(max(0.0, 1 - abs(at - j)), 6) for j in range(JOINTS)]
        blended = sum(w * values["joints_RT"][:, :, j] for j, w in enumerate(weights))
        posed.append((blended @ [*vertex, 1])[:3] @ values["rotation"] + values["translation"][0])
    normals = np.zeros_like(vertices)
    for a, b, c in faces:
        normals[[a, b, c]] += np.cross(posed[b] - posed[a], posed[c] - posed[a])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def naive_map(split: Split, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """(levels (s, s, 3) in float64, which are sure: a texel and more away from every edge)."""
    rig, normals = split.rig, naive_normals(frame)
    levels, sure = np.full((SIZE, SIZE, 3), 255.0), np.ones((SIZE, SIZE), bool)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    p = np.stack([(columns + 0.5) / SIZE, 1 - (rows + 0.5) / SIZE], axis=-1)
    for face, mapped in zip(rig.faces, rig.uv_faces, strict=True):
        a, b, c = rig.uv[mapped].astype(float)
        barycentrics = np.linalg.solve(
            np.stack([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]]),
            np.stack([p[..., 0], p[..., 1], np.ones_like(p[..., 0])], 0).reshape(3, -1),
        ).T.reshape(SIZE, SIZE, 3)
        inside = (barycentrics >= 0).all(axis=2)
        color = (barycentrics @ normals[face])[..., ::-1] / 2 + 0.5
        levels[inside] = 255 * color[inside]
        for one, two in ((a, b), (b, c), (c, a)):
            t = np.clip(((p - one) @ (two - one)) / ((two - one) @ (two - one)), 0, 1)[..., None]
            sure &= np.linalg.norm(p - (one + t * (two - one)), axis=2) > 1.5 / SIZE
    return levels, sure


def test_every_map_is_a_naive_rasterization(motion: Split, tmp_path: Path) -> None:
    folder = write_normals(motion, tmp_path / "out", size=SIZE)
    assert [p.name for p in sorted(folder.iterdir())] == ["000010.png", "000011.png", "000012.png"]
    for i in range(3):
        levels, sure = naive_map(motion, 4 * i)
        drawn = sure & (levels < 255).any(axis=2)
        assert sure.mean() > 0.3 and drawn.sum() > 300
        error = np.abs(read_png(folder / f"{10 + i:06d}.png") - levels)[sure]
        assert error.max() < 0.51
    assert not np.array_equal(*(read_png(folder / f"{n:06d}.png") for n in (10, 12)))


def test_the_maps_are_found_where_the_capture_lies(tmp_path: Path) -> None:
    place = write_motion(tmp_path / "capture")
    split = Capture.open(place).split("dance")
    assert split.files.kind == "poses" and split.files.normal is None
    expected = list(draw_normals(Atlas(Body.from_rig(split.rig), 32), split, range(3)))
    write_normals(split, place / "dance", size=32)
    again = Capture.open(place).split("dance")
    assert np.array_equal(list(again.normal_maps()), expected)
    shutil.rmtree(place / "dance" / "normal")
    write_normals(split, place / "dance", size=32, form="avi")
    again = Capture.open(place).split("dance")
    assert again.normal_video == str(place / "dance" / "normal.avi")
    assert video.probe(again.normal_video).codec == "mjpeg"
    assert np.abs(np.stack(list(again.normal_maps())).astype(int) - expected).mean() < 4


def test_what_is_there_is_kept_and_never_mixed(motion: Split, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folder = write_normals(motion, tmp_path, [2, 0], size=16, progress=lambda *n: calls.append(n))
    assert calls == [(1, 2), (2, 2)]
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
    assert set(before) == {"000010.png", "000012.png"}
    write_normals(motion, tmp_path, size=16)
    assert len(list(folder.iterdir())) == 3
    assert all((folder / name).stat().st_mtime_ns == time for name, (_, time) in before.items())
    with pytest.raises(FileExistsError, match=r"000010\.png shows another pose, body or size: name another folder"):
        write_normals(motion, tmp_path, size=17)
    file = Path(motion.files.transforms.path(10))
    file.write_text(json.dumps(transform(1)))
    with pytest.raises(FileExistsError, match=r"000010\.png shows another pose"):
        write_normals(motion, tmp_path, size=16)
    write_normals(motion, tmp_path, size=16, overwrite=True)
    assert (folder / "000010.png").read_bytes() != before["000010.png"][0]
    assert (folder / "000012.png").read_bytes() == before["000012.png"][0]


@pytest.mark.parametrize("key", ["joints_RT", "rotation", "translation"])
@pytest.mark.parametrize("form", ["png", "avi"])
def test_whatever_moves_the_body_makes_another_map(motion: Split, tmp_path: Path, key: str, form: Format) -> None:
    write_normals(motion, tmp_path, size=16, form=form)
    file = Path(motion.files.transforms.path(11))
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {key: transform(9)[key]}))
    with pytest.raises(FileExistsError, match=r"(000011\.png|normal\.avi) shows (another pose|other poses)"):
        write_normals(motion, tmp_path, size=16, form=form)


def test_a_video_that_is_there_is_kept_and_never_mixed(motion: Split, tmp_path: Path) -> None:
    film = write_normals(motion, tmp_path, size=16, form="avi", fps=30.0)
    assert video.probe(str(film)).fps == 30 and video.count(str(film)) == 3
    before = film.stat().st_mtime_ns
    kept = write_normals(motion, tmp_path, size=16, form="avi", fps=30.0)
    assert kept == film and film.stat().st_mtime_ns == before
    for frames, size in ((range(2), 16), (range(3), 32)):
        with pytest.raises(
            FileExistsError,
            match=r"normal\.avi shows other poses, another body or size, or has another frame rate: name",
        ):
            write_normals(motion, tmp_path, frames, size=size, form="avi")
    write_normals(motion, tmp_path, range(2), size=16, form="avi", overwrite=True)
    assert video.count(str(film)) == 2


def test_what_cannot_be_drawn_is_one_line(motion: Split, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a video's first frame is the motion's first: choose frames 0\.\.N"):
        write_normals(motion, tmp_path / "out", [1, 2], form="avi")
    with pytest.raises(ValueError, match="an atlas needs a size of at least one texel, got 0"):
        write_normals(motion, tmp_path / "out", size=0)
    values = transform(0)
    values["joints_RT"] = np.repeat(np.eye(4)[:, :, None], 4, axis=2).tolist()
    values["joints"] = values["joints"][:4]
    del values["pose"]
    Path(motion.files.transforms.path(11)).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"000011\.json: pose has 4 joints .* 5 columns") as error:
        write_normals(motion, tmp_path / "out", size=16)
    assert "\n" not in str(error.value)
    Path(motion.files.root, "uvmapping.obj").unlink()
    with pytest.raises(FileNotFoundError, match=r"uvmapping\.obj: no such file"):
        write_normals(motion, tmp_path / "out", size=16)


def test_a_raw_capture_gives_maps_of_each_of_its_poses(tmp_path: Path) -> None:
    split = Capture.open(write_tiny_capture(tmp_path / "capture", frames=3, cameras=1)).split("testing")
    atlas = Atlas(Body.from_rig(split.rig), 24)
    folder = write_normals(split, tmp_path / "out", size=24)
    for i in range(3):
        expected = atlas.normal_map(atlas.body.pose(split.pose(i))).numpy()
        assert np.array_equal(read_png(folder / f"{i:06d}.png"), expected)
