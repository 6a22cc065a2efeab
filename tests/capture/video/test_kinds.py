"""Videos as cameras, phones and other programs write them: read as they are meant, or noted."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from make_capture import write_tiny_capture

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.capture.video import VideoWriter, count, decode, entry, header, probe, resolution, survey

SIDE = 64


def shade(n: int) -> np.ndarray:
    """A picture that tells its number."""
    return np.full((SIDE, SIDE, 3), 10 + 12 * n, np.uint8)


def number(image: np.ndarray) -> int:
    return round((float(image[..., :3].mean()) - 10) / 12)


def write_h264(path: Path, frames: list[np.ndarray], times: list[int] | None = None, **options: str) -> Path:
    codec, pix_fmt = ("mjpeg", "yuvj444p") if path.suffix == ".avi" else ("libx264", "yuv444p")
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=25, options={"crf": "4", "bf": "0", **options})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 25)
        for image, time in zip(frames, times or range(len(frames)), strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    return path


def cut(source: Path, path: Path, skip: int) -> Path:
    """As `ffmpeg -ss` with `-c copy` does: the first packets stay in the file, marked as not to be shown."""
    with av.open(str(source)) as old, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as box:
        before = old.streams.video[0]
        stream = box.add_stream_from_template(before)
        for packet in old.demux(before):
            if packet.size:
                packet.pts -= skip * packet.duration
                packet.dts -= skip * packet.duration
                packet.stream = stream
                box.mux(packet)
    return path


def players(path: Path) -> list[int]:
    """The numbers of the frames that a player shows."""
    with av.open(str(path)) as box:
        return [number(frame.to_ndarray(format="rgb24")) for frame in box.decode(video=0)]


@pytest.mark.parametrize(("skip", "gop", "bframes"), [(3, 60, 0), (6, 4, 0), (3, 4, 0), (5, 12, 2), (9, 6, 2)])
def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path: Path, skip: int, gop: int, bframes: int) -> None:
    whole = write_h264(tmp_path / "whole.mp4", [shade(n) for n in range(19)], g=str(gop), bf=str(bframes))
    path = cut(whole, tmp_path / "cut.mp4", skip)
    shown = players(path)
    assert shown[0] > 0 and shown == list(range(shown[0], 19))
    assert count(str(path)) == probe(str(path)).num_frames == survey(str(path)).num_frames == len(shown)
    for start in range(len(shown)):
        for stop in (start + 1, min(start + 4, len(shown)), len(shown)):
            assert [number(f) for f in decode(str(path), start, stop)] == shown[start:stop]
    assert f"{19 - len(shown)} more are stored and hidden by an edit list" in survey(str(path)).counting[0]
    with pytest.raises(ValueError, match=rf"expected a range within 0..{len(shown)} \(.*hidden by an edit list"):
        list(decode(str(path), 0, 19))


def test_a_count_that_an_edit_list_changes_is_told_with_its_cause(tmp_path: Path) -> None:
    root = write_tiny_capture(tmp_path / "c", frames=8, resolution=(SIDE, SIDE), splits=("training",))
    (root / "training/rgb_video/001.avi").unlink()
    whole = write_h264(tmp_path / "whole.mp4", [shade(n) for n in range(8)])
    cut(whole, root / "training/rgb_video/001.mp4", 3)
    (line,) = examine(root).defects
    assert "001.mp4: 5 frames; expected 8, as transform.zip has (3 more are stored and hidden by an edit list" in line


def upright_picture(height: int = 48, width: int = 64) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[height // 2 :, width // 2 :] = (240, 40, 40), (40, 40, 240)
    return image


# (a, b, c, d) of the display matrix, and how the upright picture lies in the file.
TURNS = {
    "90": ((0, 1, -1, 0), lambda a: np.rot90(a)),
    "180": ((-1, 0, 0, -1), lambda a: np.rot90(a, 2)),
    "270": ((0, -1, 1, 0), lambda a: np.rot90(a, -1)),
    "mirrored": ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda a: a[::-1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_upright_as_the_display_matrix_says(tmp_path: Path, turn: str) -> None:
    (a, b, c, d), stored = TURNS[turn]
    path = write_h264(tmp_path / "a.mp4", [stored(upright_picture())] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, at, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    (image,) = decode(str(path), 1, 2)
    assert image.shape == (48, 64, 3) and resolution(str(path)) == (48, 64)
    assert np.abs(image.astype(int) - upright_picture()).mean() < 3
    assert "turned upright" in survey(str(path)).remarks[0]


def test_frames_that_a_recorder_dropped(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 5, 6, 7, 9]
    for name in ("a.avi", "a.mp4", "a.mkv"):
        path = write_h264(tmp_path / name, [shade(n) for n in range(8)], times)
        info = survey(str(path))
        assert (info.num_frames, info.declared_frames) in ((8, 8), (8, 0))
        assert [number(f) for f in decode(str(path))] == list(range(8))
        assert "its clock skips 2 frames, the first behind frame 3: ffmpeg" in info.counting[0]
    root = write_tiny_capture(tmp_path / "c", frames=10, resolution=(SIDE, SIDE), splits=("training",))
    (tmp_path / "a.avi").rename(root / "training/rgb_video/001.avi")
    (line,) = examine(root).defects
    assert "001.avi: 8 frames; expected 10, as transform.zip has (its clock skips 2 frames" in line


def test_a_variable_rate_is_noted(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).integers(4, 12, 20)).tolist()
    path = write_h264(tmp_path / "a.mp4", [shade(n) for n in range(20)], times)
    assert "a variable rate" in survey(str(path)).counting[0]
    assert [number(f) for f in decode(str(path), 7, 12)] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize(("codec", "kind", "name"), [("ffv1", "bgra", "a.avi"), ("qtrle", "argb", "a.mov")])
def test_alpha_is_kept(tmp_path: Path, codec: str, kind: str, name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 4), np.uint8)
    image[:16, :, 3] = 0
    root = write_tiny_capture(tmp_path / "c", frames=3, splits=("training",))
    path = root / "training/rgb_video" / f"001{Path(name).suffix}"
    (root / "training/rgb_video/001.avi").unlink()
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, kind
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format=kind)
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    np.testing.assert_array_equal(Capture.open(root).split("training").image(1, 1), image)
    assert examine(root).defects == []


def tags_first(path: Path) -> None:
    """Put an mp4's tags before its tracks, as some programs do; the packets stay where they are."""
    data = path.read_bytes()
    start = data.index(b"moov") - 4
    boxes, at = list[bytes](), start + 8
    while at < start + struct.unpack_from(">I", data, start)[0]:
        size = struct.unpack_from(">I", data, at)[0]
        boxes.append(data[at : at + size])
        at += size
    boxes.sort(key=lambda box: box[4:8] != b"udta")
    path.write_bytes(data[: start + 8] + b"".join(boxes) + data[at:])


def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    film = write_h264(tmp_path / "film.mp4", [shade(n) for n in range(9)])
    path = tmp_path / "covered.mp4"
    with av.open(str(film)) as source, av.open(str(path), "w") as box:
        cover = box.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        old = source.streams.video[0]
        stream = box.add_stream_from_template(old)
        box.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        for packet in source.demux(old):
            if packet.size:
                packet.stream = stream
                box.mux(packet)
    tags_first(path)
    with av.open(str(path)) as box:
        assert [stream.codec_context.name for stream in box.streams.video] == ["png", "h264"]
    assert resolution(str(path)) == (SIDE, SIDE) and header(str(path)).codec == "h264"
    assert [number(f) for f in decode(str(path), 2, 9)] == list(range(2, 9))


def test_high_dynamic_range_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as box:
        params = "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
        stream = box.add_stream("libx265", rate=25, options={"preset": "ultrafast", "x265-params": params})
        stream.height = stream.width = SIDE
        stream.pix_fmt = "yuv420p10le"
        for n in range(3):
            box.mux(stream.encode(av.VideoFrame.from_ndarray(shade(n), format="rgb24")))
        box.mux(stream.encode(None))
    assert "high dynamic range (HLG)" in survey(str(path)).remarks[0]


def test_a_video_without_entries_is_noted(tmp_path: Path) -> None:
    root = write_tiny_capture(tmp_path / "c", frames=320, cameras=1, resolution=(SIDE, SIDE), splits=("training",))
    path = root / "training/rgb_video/000.avi"
    path.unlink()
    write_h264(path.with_suffix(".mp4"), [shade(n % 20) for n in range(320)], g="1000", preset="ultrafast")
    assert entry(str(path.with_suffix(".mp4")), 319) == 0
    report = examine(root)
    assert report.defects == []
    slow = "000.mp4: 319 frames are decoded to come to the last one, so each shard takes long (h264)"
    assert any(slow in note for note in report.notes)


def test_own_films_say_their_colors_and_keep_them(tmp_path: Path) -> None:
    colors = [(200, 40, 40), (40, 180, 40), (40, 40, 200), (224, 172, 138)]
    bars = np.concatenate([np.full((64, 32, 3), color, np.uint8) for color in colors], axis=1)
    path = tmp_path / "own.mp4"
    with VideoWriter(path, 25, "h264", quality=4) as film:
        for _ in range(3):
            film.write(bars)
    with av.open(str(path)) as box:
        context = box.streams.video[0].codec_context
        # ITU-T H.273: 1 is BT.709, and for the range 16 to 235.
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        shown = next(box.decode(video=0)).reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray()
    for image in (shown, next(decode(str(path)))):
        for i, color in enumerate(colors):
            np.testing.assert_allclose(image[32, 16 + 32 * i], color, atol=4)
