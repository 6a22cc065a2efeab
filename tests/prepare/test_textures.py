"""Maps from some cameras lie in a capture of links, name their cameras, and never reach the capture they came from."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_capture import write_picture, write_tiny_capture

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.config.values import Progress
from na_ray.pictures.png import read_png
from na_ray.prepare.textures import TextureOptions
from na_ray.prepare.textures import write_textures as write_with
from na_ray.synthetic.write import write_capture

SIDE = 96


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A synthetic actor whose own maps were made from cameras 0, 1 and 2 of four."""
    out = tmp_path_factory.mktemp("prepare") / "anna"
    write_capture(out, frames=3, test_frames=2, cameras=4, resolution=96, texture_size=SIDE, seed=5)
    return Capture.open(out)


def write_textures(
    capture: Capture,
    out: Path | None,
    cameras: str = "auto",
    splits: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> list[str]:
    return write_with(capture, out, TextureOptions(cameras=cameras, **options), splits, progress)


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of every file below a folder."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def psnr(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    error = (a.astype(np.float64) - b.astype(np.float64))[inside] / 255
    return float(-10 * np.log10(np.mean(error**2)))


def test_maps_of_some_cameras_lie_in_a_capture_of_their_own(capture: Capture, tmp_path: Path) -> None:
    before = digests(Path(capture.path))
    calls: list[tuple[int, int]] = []
    lines = write_textures(capture, tmp_path / "two", "0,2", side=SIDE, progress=lambda *n: calls.append(n))
    write_textures(capture, tmp_path / "auto", side=SIDE)
    assert calls == [(i, 5) for i in range(1, 6)]
    assert lines[2] == "from the photographs of cameras 0, 2 alone"
    assert lines[-1].endswith(": there are no masks/ and no alpha: the background may color texels at the outline")
    two, auto = (Capture.open(tmp_path / name) for name in ("two", "auto"))
    assert two.texture_cameras == (0, 2) and auto.texture_cameras == capture.texture_cameras == (0, 1, 2)
    inside = Atlas(Body.from_rig(capture.rig), SIDE).inside.numpy()
    for name in ("training", "testing"):
        old, few, same = (c.split(name) for c in (capture, two, auto))
        assert np.array_equal(old.image(1, 3), few.image(1, 3)) and few.num_frames == old.num_frames
        # The actor's own maps were unwrapped from the same three cameras, before their films were compressed.
        ours, theirs = (psnr(maps.texture(1), old.texture(1), inside) for maps in (same, few))
        assert ours > 15 and 8 < theirs < ours - 0.5, (ours, theirs)
    assert examine(two.path).defects == []
    assert digests(Path(capture.path)) == before


def test_an_interrupted_call_goes_on_and_writes_the_same(capture: Capture, tmp_path: Path) -> None:
    out = tmp_path / "new"
    write_textures(capture, out, "1", ["training"], side=32)
    maps = sorted((out / "training" / "tex").iterdir())
    assert [p.name for p in maps] == ["000000.png", "000001.png", "000002.png"]
    whole, times = [read_png(p) for p in maps], [p.stat().st_mtime_ns for p in maps]
    maps[1].unlink()
    (out / "pose" / "0000.txt").unlink()
    write_textures(capture, out, "1", ["training"], side=32)
    assert [p.stat().st_mtime_ns == time for p, time in zip(maps, times, strict=True)] == [True, False, True]
    assert all(np.array_equal(read_png(p), image) for p, image in zip(maps, whole, strict=True))
    assert (out / "pose" / "0000.txt").is_symlink()
    assert not Capture.open(out).split("testing").has_textures, "its old maps are of other cameras"


def test_frames_are_those_asked_for(capture: Capture, tmp_path: Path) -> None:
    write_textures(capture, tmp_path / "some", "0,1", ["training"], frames="0,2", side=32)
    write_textures(capture, tmp_path / "all", "0,1", ["training"], side=32)
    some, whole = (tmp_path / name / "training" / "tex" for name in ("some", "all"))
    assert [p.name for p in sorted(some.iterdir())] == ["000000.png", "000002.png"]
    assert np.array_equal(read_png(some / "000002.png"), read_png(whole / "000002.png"))


def test_what_is_written_to_the_new_capture_reaches_no_old_file(capture: Capture, tmp_path: Path) -> None:
    before = digests(Path(capture.path))
    out = tmp_path / "new"
    write_textures(capture, out, "0", ["testing"], side=32)
    write_textures(capture, out, "0,1", ["testing"], side=32, overwrite=True)
    assert Capture.open(out).texture_cameras == (0, 1)
    (out / "testing" / "rgb_video" / "more.txt").write_text("mine")
    assert json.loads((out / "capture.json").read_text())["up"] == [0, 1, 0], "what was known of the capture stays"
    shutil.rmtree(out)
    assert digests(Path(capture.path)) == before


def test_masks_keep_the_background_out(tmp_path: Path) -> None:
    folder = write_tiny_capture(tmp_path / "tiny", frames=1, cameras=2, resolution=(32, 40), splits=("training",))
    capture = Capture.open(folder)
    bare = write_textures(capture, tmp_path / "bare", "0", side=32)
    assert "no masks/ and no alpha" in bare[-1]
    corner = np.zeros((32, 40), np.uint8)
    corner[0, 0] = 255
    write_picture(folder / "masks" / "training" / "000" / "000000.png", corner)
    masked = write_textures(capture, tmp_path / "masked", "0", side=32)
    assert masked[-1] == "training: the background was kept out by masks/"
    # Nothing of the body is the person's: every texel is the gray of what no camera sees.
    inside = Atlas(Body.from_rig(capture.rig), 32).inside.numpy()
    gray, colored = (Capture.open(tmp_path / n).split("training").texture(0)[inside] for n in ("masked", "bare"))
    assert np.isin(gray, (127, 128)).all() and not np.isin(colored, (127, 128)).all()
    write_picture(folder / "masks" / "training" / "000" / "000000.png", np.zeros((32, 40), np.uint8))
    with pytest.raises(ValueError, match=r"000000\.png: the silhouettes are black in all of 1 frames and 1 cameras"):
        write_textures(capture, tmp_path / "black", "0", side=32)
    write_picture(folder / "masks" / "training" / "000" / "000000.png", np.full((16, 20), 255, np.uint8))
    with pytest.raises(ValueError, match=r"000000\.png is 20x16; expected 40x32, as the photograph: resize it"):
        write_textures(capture, tmp_path / "odd", "0", side=32)


def test_what_cannot_be_made_says_why_and_writes_nothing(capture: Capture, tmp_path: Path) -> None:
    new, root = tmp_path / "new", Path(capture.path)
    write_textures(capture, new, "0", ["testing"], side=32)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    cases: tuple[tuple[Path, str, type[Exception], str], ...] = (
        (tmp_path / "x", "0,7", ValueError, "asks for number 7, but there are 4"),
        (root, "0", ValueError, "is the capture, or lies in it, or holds it: name a folder beside it"),
        (root / "training" / "new", "0", ValueError, "is the capture, or lies in it"),
        (root.parent, "0", ValueError, "or holds it"),
        (tmp_path / "mine", "0", FileExistsError, "holds something that na-ray prepare textures did not make"),
        (
            new,
            "0,1",
            FileExistsError,
            "new holds maps of 32 texels from cameras 0, blended: name another",
        ),
    )
    for out, cameras, error, words in cases:
        for overwrite in {False, out == tmp_path / "mine"}:
            with pytest.raises(error, match=words):
                write_textures(capture, out, cameras, ["testing"], side=32, overwrite=overwrite)
    assert not (tmp_path / "x").exists() and [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(ValueError, match="is a URL, which a capture of links cannot lead to"):
        write_textures(Capture("memory://anna", capture.folders), tmp_path / "x", "0", ["testing"], side=32)


def test_links_of_another_capture_are_not_mixed_in(capture: Capture, tmp_path: Path) -> None:
    shutil.copytree(capture.path, tmp_path / "other")
    write_textures(Capture.open(tmp_path / "other"), tmp_path / "new", "0", ["testing"], side=32)
    with pytest.raises(FileExistsError, match=r"links to .*other/.*, not to .*: name another folder"):
        write_textures(capture, tmp_path / "new", "0", ["testing"], side=32)
