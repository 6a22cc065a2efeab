"""What `na-ray prepare CAPTURE` writes into a capture, and what it leaves alone."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.prepare.everything import write_all
from na_ray.prepare.foreign import check_free_of_maps
from na_ray.prepare.textures import TextureOptions, write_textures
from na_ray.synthetic.write import write_capture

SMALL = TextureOptions(side=48)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("everything") / "anna"
    write_capture(out, frames=3, test_frames=1, cameras=4, resolution=64, texture_size=48, seed=5)
    return out


@pytest.fixture
def bare(published: Path, tmp_path: Path) -> Path:
    """A capture without maps, as a conversion leaves it."""
    root = tmp_path / "bare"
    shutil.copytree(published, root)
    for path in [*root.rglob("tex*.avi"), *root.rglob("normal*.avi")]:
        path.unlink()
    about = json.loads((root / "capture.json").read_text())
    del about["textures"]
    (root / "capture.json").write_text(json.dumps(about))
    return root


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_a_bare_capture_gets_its_maps(bare: Path, published: Path) -> None:
    lines = write_all(Capture.open(bare), None, SMALL)
    whole = Capture.open(bare)
    assert whole.texture_cameras == (0, 1, 2) and json.loads((bare / "capture.json").read_text())["up"] == [0, 1, 0]
    inside = Atlas(Body.from_rig(whole.rig), 48).inside.numpy()
    for name in ("training", "testing"):
        split, own = whole.split(name), Capture.open(published).split(name)
        # The published ones were compressed.
        assert np.abs(split.normal_map(0)[inside].astype(int) - own.normal_map(0)[inside]).mean() < 6
        assert np.abs(split.texture(0)[inside].astype(int) - own.texture(0)[inside]).mean() < 20
        assert f"wrote {bare / name / 'tex'}: {split.num_frames} texture maps" in lines
    before = digests(bare)
    (bare / "training" / "tex" / "000001.png").unlink()
    (bare / "training" / "normal" / "000002.png").unlink()
    write_all(Capture.open(bare), None, SMALL)
    assert digests(bare) == before, "an interrupted call goes on to the same bytes"


def test_maps_that_na_ray_did_not_make_are_never_overwritten_unasked(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "anna"
    shutil.copytree(published, root)
    before = digests(root)
    lines = write_all(Capture.open(root), None, SMALL)
    assert digests(root) == before
    assert "training: its texture maps, which na_ray did not make, are kept (--overwrite: new ones)" in lines
    with pytest.raises(FileExistsError, match="training has texture maps that na_ray did not make: --overwrite"):
        write_textures(Capture.open(root), None, SMALL, ["training"])
    with pytest.raises(FileExistsError, match="normal maps that na_ray did not make"):
        check_free_of_maps(Capture.open(root).split("training"), "normal", overwrite=False)
    assert digests(root) == before
    new = TextureOptions(side=48, cameras="0,1", overwrite=True)
    write_textures(Capture.open(root), None, new, ["training"])
    after = digests(root)
    assert all(after[p] == d for p, d in before.items() if not p.endswith("capture.json")), "videos stay"
    mixed = Capture.open(root)
    # Testing's maps are of cameras 0, 1, 2: no list is true of all.
    assert mixed.texture_cameras is None and mixed.split("training").texture(0).shape == (48, 48, 3)
    said = json.loads((root / "capture.json").read_text())["textures"]["splits"]
    assert said["training"]["cameras"] == [0, 1]
    write_textures(mixed, None, new, ["testing"])
    assert Capture.open(root).texture_cameras == (0, 1)


def test_other_maps_of_ours_are_refused_and_registered_ones_differ(bare: Path) -> None:
    capture = Capture.open(bare)
    write_textures(capture, None, SMALL, ["training"])
    blended = Capture.open(bare).split("training").texture(0)
    with pytest.raises(FileExistsError, match=r"000000\.png was made of another pose, body, camera or photograph"):
        write_textures(Capture.open(bare), None, TextureOptions(side=48, mode="best"), ["training"])
    for options in ({"mode": "best"}, {"register": True}):
        write_textures(Capture.open(bare), None, TextureOptions(side=48, overwrite=True, **options), ["training"])
        assert not np.array_equal(Capture.open(bare).split("training").texture(0), blended)


def test_a_capture_of_links_has_both_kinds_of_maps(bare: Path, tmp_path: Path) -> None:
    before = digests(bare)
    write_all(Capture.open(bare), tmp_path / "new", SMALL, ["training"])
    assert digests(bare) == before
    split = Capture.open(tmp_path / "new").split("training")
    assert split.has_normal_maps and split.has_textures


def test_a_motion_without_photographs_gets_normal_maps(bare: Path) -> None:
    shutil.rmtree(bare / "testing" / "rgb_video")
    lines = write_all(Capture.open(bare), None, SMALL)
    assert "testing: no photographs, hence no texture maps" in lines
    assert Capture.open(bare).split("testing").has_normal_maps and not (bare / "testing" / "tex").exists()
