"""What tells the person from the background: masks by what their numbers are, backdrops, clean plates."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_footage import HEIGHT, WIDTH, K, grid, person, room, shot, write_pictures

from na_ray.capture.image import read_levels
from na_ray.capture.video import VideoWriter, decode
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip
from na_ray.convert.covering import open_covered
from na_ray.convert.footage import write_footage
from na_ray.convert.lens import Lens
from na_ray.convert.matte import ChromaMatte, MaskMatte, Matte, PlateMatte
from na_ray.convert.painter import Painter

COUNT = 4
GREEN = (10, 170, 60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shots = [shot(grid(), n) for n in range(COUNT)]
    write_pictures(tmp_path / "images/a", [picture for picture, _ in shots])
    write_pictures(tmp_path / "mask/a", [matte for _, matte in shots])
    return tmp_path


def alphas(root: Path, matte: Matte | None = None, masks: str = "mask/a") -> tuple[list[np.ndarray], str]:
    """(the mattes of all pictures, the line about them)."""
    clip = CameraClip("a", str(root / "images/a"), str(root / masks))
    covered = open_covered(clip, MaskMatte() if matte is None else matte, range(clip.frames))
    return [alpha for _, alpha in covered.pairs(range(clip.frames)) if alpha is not None], covered.line


def rewrite(root: Path, change: Callable[[np.ndarray, int], np.ndarray | Image.Image], ending: str = ".png") -> None:
    """Masks made of the soft ones."""
    for n in range(COUNT):
        path = root / f"mask/a/{n:06d}.png"
        new = change(np.asarray(Image.open(path)), n)
        path.unlink()
        (new if isinstance(new, Image.Image) else Image.fromarray(new)).save(path.with_suffix(ending), quality=90)


def labeled(matte: np.ndarray) -> np.ndarray:
    """Parts 1..4, as a human parser writes them."""
    bands = 1 + np.arange(HEIGHT)[:, None] * 4 // HEIGHT
    return np.where(matte > 127, bands, 0).astype(np.uint8)


def palette(matte: np.ndarray) -> Image.Image:
    """The same labels with a palette of loud colors."""
    image = Image.frombytes("P", (WIDTH, HEIGHT), labeled(matte).tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128])
    return image


KINDS: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray | Image.Image], str]] = {
    "soft": (lambda m, n: m, "soft mattes (values up to 255)"),
    "0 and 255": (lambda m, n: np.where(m > 127, np.uint8(255), np.uint8(0)), "outlines (0 and 255)"),
    "0 and 1": (lambda m, n: (m > 127).astype(np.uint8), "outlines (0 and 1)"),
    "one bit": (lambda m, n: Image.fromarray(m > 127), "outlines (0 and 255)"),
    "parts": (lambda m, n: labeled(m), "of parts (4 labels up to 4): all but 0 are the person"),
    "wide labels": (lambda m, n: labeled(m) * 60, "of parts (4 labels up to 240): all but 0 are the person"),
    "palette": (lambda m, n: palette(m), "of parts (4 labels up to 4): all but 0 are the person"),
    "colored parts": (lambda m, n: np.array(palette(m).convert("RGB")), "outlines (0 and 255)"),
    "cut-out": (lambda m, n: np.dstack([shot(grid(), n)[0], m]), "soft mattes (values up to 255)"),
    "deep": (lambda m, n: Image.fromarray(m.astype(np.uint16) * 257), "soft mattes (values up to 255)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_told_by_what_their_numbers_are(root: Path, kind: str) -> None:
    change, line = KINDS[kind]
    soft = [np.asarray(Image.open(root / f"mask/a/{n:06d}.png")) for n in range(COUNT)]
    rewrite(root, change)
    found, told = alphas(root)
    assert told == f"its masks are {line}"
    for n, alpha in enumerate(found):
        hard = np.where(soft[n] > 127, 255, 0)
        np.testing.assert_array_equal(alpha, soft[n] if "soft" in line else hard)


def test_lossy_masks_have_clean_ends(root: Path) -> None:
    rewrite(root, lambda m, n: m, ".jpg")
    found, told = alphas(root)
    assert told == "its masks are soft mattes, lossily coded"
    far = np.abs(person(grid(), 0)[1] - 0.5) == 0.5
    assert np.abs(found[0].astype(int) - 255 * person(grid(), 0)[1]).mean() < 2
    assert (np.isin(found[0], (0, 255)) | ~far).mean() > 0.99


def test_masks_may_be_a_video_or_count_from_another_number(root: Path) -> None:
    soft, _ = alphas(root)
    with VideoWriter(root / "mask.mp4", 25, "h264", quality=4) as video:
        for alpha in soft:
            video.write(np.repeat(alpha[..., None], 3, axis=2))
    for a, b in zip(alphas(root, masks="mask.mp4")[0], soft, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 3
    for n in range(COUNT)[::-1]:
        (root / f"mask/a/{n:06d}.png").rename(root / f"mask/a/m_{n + 1:04d}.png")
    assert all(np.array_equal(a, b) for a, b in zip(alphas(root)[0], soft, strict=True))


def break_masks(root: Path, kind: str) -> None:
    masks = root / "mask/a"
    if kind == "another size":
        rewrite(root, lambda m, n: m[::2, ::2].copy())
    elif kind == "one of another size":
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(masks / "000002.png")
    elif kind == "too few":
        (masks / "000003.png").unlink()
    elif kind == "too few, by place":
        for n in range(3):
            (masks / f"{n:06d}.png").rename(masks / f"m{n}.png")
        (masks / "000003.png").unlink()
    elif kind == "a gap":
        for n in range(COUNT):
            (masks / f"{n:06d}.png").rename(masks / f"m{9 if n == 2 else n}.png")
    elif kind == "inverted":
        rewrite(root, lambda m, n: 255 - m)
    elif kind == "black":
        rewrite(root, lambda m, n: m * 0)
    elif kind == "labels in JPEG":
        rewrite(root, lambda m, n: labeled(m) * 10, ".jpg")
    elif kind == "no folder":
        shutil.rmtree(masks)
    else:
        (masks / "000001.png").write_bytes(b"no mask")


BROKEN = {
    "another size": r"mask/a/000000.png is 48x36; expected 96x72, as camera a's pictures: resize the masks",
    "one of another size": r"mask/a/000002.png is 5x5; expected 96x72, as camera a's pictures: resize the masks",
    "too few": r"mask/a: 1 of 4 pictures have no mask there, the first is 000003.png: make them, or leave",
    "too few, by place": r"mask/a: 3 masks; expected 4, one for each frame: make them",
    "a gap": r"mask/a: m3.png follows m1.png: expected a mask of every frame: make them",
    "inverted": r"mask/a: the person covers [0-9]+ % of the picture in 4 of 4 masks, .*: invert them",
    "black": r"mask/a: the masks are black; expected the person in them: make them again",
    "labels in JPEG": r"mask/a: the masks hold numbers up to [0-9]+, labels it seems, .*; expected PNG files",
    "no folder": r"mask/a: no pictures; expected",
    "unreadable": r"mask/a/000001.png: no readable picture",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_masks_that_do_not_fit_are_one_line(root: Path, kind: str) -> None:
    break_masks(root, kind)
    with pytest.raises((UserError, FileNotFoundError), match=BROKEN[kind]) as caught:
        alphas(root)
    assert "\n" not in str(caught.value)


def test_frames_without_a_person_are_told_and_nobody_at_all_is_refused(root: Path, tmp_path: Path) -> None:
    rewrite(root, lambda m, n: m * 0 if n < 3 else m)
    clip, lens = CameraClip("a", str(root / "images/a"), str(root / "mask/a")), Lens(K, np.zeros(0), WIDTH, HEIGHT)
    options = {"matte": MaskMatte(), "workers": 1}
    report = write_footage([clip], [lens], {"training": range(COUNT)}, tmp_path / "out", **options)  # type: ignore[arg-type]
    line = "camera a: nobody is in its mattes of 3 frames (0, 1, 2): they show the background alone"
    assert report.lines == ("camera a: its masks are soft mattes (values up to 255)", line)
    empty = next(decode(str(tmp_path / "out/training/rgb_video/000.avi")))
    assert empty.min() == 255
    keyed(root, np.array(GREEN) + np.zeros((HEIGHT, WIDTH, 1)))
    for n in range(COUNT):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), GREEN, np.uint8)).save(root / f"images/a/{n:06d}.png")
    with pytest.raises(UserError, match="camera a: nobody is in its mattes of split training: make them again, or use"):
        write_footage([clip], [lens], {"training": range(COUNT)}, tmp_path / "none", matte=ChromaMatte(), workers=1)
    assert not [path for path in (tmp_path / "none").rglob("*") if path.is_file()]


def test_a_person_who_comes_late_is_found(root: Path) -> None:
    for n in range(COUNT, 40):
        for kind in ("images", "mask"):
            shutil.copy(root / f"{kind}/a/000000.png", root / f"{kind}/a/{n:06d}.png")
    for n in set(range(40)) - {1}:
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(root / f"mask/a/{n:06d}.png")
    found, line = alphas(root)
    assert line == "its masks are soft mattes (values up to 255)" and [n for n in range(40) if found[n].any()] == [1]


def test_pictures_with_alpha_bring_their_own_matte(root: Path) -> None:
    for n in range(COUNT):
        picture, matte = shot(grid(), n)
        Image.fromarray(np.dstack([picture, matte])).save(root / f"images/a/{n:06d}.png")
    covered = open_covered(CameraClip("a", str(root / "images/a")), None, range(COUNT))
    for n, (picture, alpha) in enumerate(covered.pairs(range(COUNT))):
        assert np.array_equal(picture, shot(grid(), n)[0]) and np.array_equal(alpha, shot(grid(), n)[1])


def test_a_palette_of_grays_counts_by_its_colors(tmp_path: Path) -> None:
    image = Image.frombytes("P", (4, 1), bytes([0, 1, 1, 0]))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.png")
    assert read_levels(str(tmp_path / "a.png")).tolist() == [[255, 0, 0, 255]]


def keyed(root: Path, behind: np.ndarray, noise: float = 1.5) -> None:
    """The person before something else, with a camera's noise."""
    rng = np.random.default_rng(0)
    shutil.rmtree(root / "images/a")
    pictures = [shot(grid(), n, behind)[0] + rng.normal(0, noise, (HEIGHT, WIDTH, 3)) for n in range(COUNT)]
    write_pictures(root / "images/a", [picture.clip(0, 255).astype(np.uint8) for picture in pictures])


def check_cut_out(root: Path, matte: Matte, error: float) -> None:
    """The matte, and the person on another background, against the truth."""
    clip = CameraClip("a", str(root / "images/a"))
    painter = Painter((20, 20, 220), None)
    for n, pair in enumerate(open_covered(clip, matte, range(COUNT)).pairs(range(COUNT))):
        picture, alpha = painter.paint(pair)
        colors, share = person(grid(), n)
        assert alpha is not None
        assert np.abs(alpha / 255 - share).mean() < error and ((alpha > 127) != (share > 0.5)).mean() < 0.01
        truth = colors * share[..., None] + np.array([20, 20, 220]) * (1 - share[..., None])
        edge = (share > 0.1) & (share < 0.9)
        assert np.abs(picture - truth)[edge].mean() < 20  # the old background is left out of the mixture
        assert np.abs(picture - truth)[~edge].mean() < 3


def test_a_colored_backdrop_is_found_and_lit_unevenly(root: Path) -> None:
    light = 1 - 0.15 * grid()[..., :1] / WIDTH  # darker to the right
    keyed(root, np.array(GREEN) * light)
    check_cut_out(root, ChromaMatte(), 0.02)
    check_cut_out(root, ChromaMatte(GREEN), 0.02)
    assert "its backdrop is #0" in alphas(root, ChromaMatte())[1]


def test_a_gray_backdrop_counts_by_its_brightness(root: Path) -> None:
    keyed(root, np.full((HEIGHT, WIDTH, 3), 128.0))
    check_cut_out(root, ChromaMatte(), 0.02)


def test_a_clean_plate_at_another_exposure(root: Path) -> None:
    keyed(root, room(grid()) * 0.92)
    write_pictures(root / "plate", [(room(grid()) + 0.5).astype(np.uint8)])
    (root / "plate/000000.png").rename(root / "plate/a.png")
    check_cut_out(root, PlateMatte(str(root / "plate")), 0.02)


def test_backdrops_and_plates_that_do_not_fit(root: Path) -> None:
    with pytest.raises(UserError, match=r"camera a: only [0-9]+ % of the borders .* have the backdrop's color #"):
        alphas(root, ChromaMatte())
    with pytest.raises(UserError, match=r"camera a: only 0 % of the borders .* color #0000ff: name its color"):
        alphas(root, ChromaMatte((0, 0, 255)))
    plate = root / "plate"
    with pytest.raises(UserError, match=r"plate: no plate of camera a; expected a.png or .jpg: add it"):
        alphas(root, PlateMatte(str(plate)))
    plate.mkdir()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(plate / "a.png")
    with pytest.raises(UserError, match=r"plate/a.png is 5x5; expected 96x72"):
        alphas(root, PlateMatte(str(plate)))
    Image.fromarray(shot(grid()[::-1], 0)[0][:, ::-1]).save(plate / "a.png")
    with pytest.raises(UserError, match=r"plate/a.png: only [0-9]+ % of the pictures look like it: take it with"):
        alphas(root, PlateMatte(str(plate)))
