"""What `benchmarks/fuzz.py` found: damaged files that once ended in a traceback, a line each now."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from make_capture import write_body, write_tiny_capture, write_video

from na_ray import checkpoint
from na_ray.capture.about import read_about
from na_ray.capture.checks.textures import read_flow
from na_ray.capture.rig import parse_json, read_rig, read_weights
from na_ray.capture.video import decode, entry, header, mark_of
from na_ray.config import Experiment
from na_ray.config.files import from_json, read_json, to_json
from na_ray.config.values import UserError

BODY = ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json")
DEEP = ("[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}")


@pytest.mark.parametrize("text", DEEP, ids=["lists", "objects", "digits"])
@pytest.mark.parametrize("reader", ["transform", "about", "experiment"])
def test_json_that_is_too_deep_or_too_long_is_refused(tmp_path: Path, text: str, reader: str) -> None:
    path = tmp_path / "capture.json"
    path.write_text(text)
    read: dict[str, Callable[[], object]] = {
        "transform": lambda: parse_json(text, str(path)),
        "about": lambda: read_about(str(tmp_path)),
        "experiment": lambda: read_json(path),
    }
    with pytest.raises(UserError, match=r"capture.json"):
        read[reader]()


def test_a_line_separator_of_unicode_among_numbers(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("0.5 0.5\u20281 0\u2028 ", encoding="utf-8")
    np.testing.assert_array_equal(read_weights(str(tmp_path / "w.txt")), [[0.5, 0.5], [1, 0]])


def test_a_video_of_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 3, "mjpeg")
    data = path.read_bytes()
    assert data.count(b"MJPG") == 2
    path.write_bytes(data.replace(b"MJPG", b"QXQX"))
    for read in (lambda: header(str(path)), lambda: list(decode(str(path)))):
        with pytest.raises(UserError, match=r"a\.avi: its codec is not known; expected H\.264"):
            read()


def test_a_title_of_another_encoding_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 3, "mjpeg")
    data = path.read_bytes()
    title = "\u4eba\u4f53".encode("gbk")
    # The tag of the program that wrote it, in its list of tags.
    at = data.index(b"ISFT") + 8
    path.write_bytes(data[:at] + title + data[at + len(title) :])
    assert len(list(decode(str(path)))) == 3 and mark_of(str(path)) == ""


def other_method(path: Path) -> None:
    """Say of each member of an archive that it is packed in a way that nobody knows."""
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = data.find(mark)
        while at >= 0:
            struct.pack_into("<H", data, at + place, 77)
            at = data.find(mark, at + 4)
    path.write_bytes(bytes(data))


def other_names(path: Path) -> None:
    """Names that are no UTF-8, though the archive says that they are."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    flags = struct.unpack_from("<H", data, at + 8)[0]
    struct.pack_into("<H", data, at + 8, flags | 0x800)
    data[at + 46] = 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [other_method, other_names])
def test_a_flow_file_of_a_damaged_archive(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "f.npz"
    np.savez(path, flow=np.zeros((2, 4, 4), np.float32), confidence=np.ones((4, 4), np.float32))
    damage(path)
    with pytest.raises(UserError, match=r"f\.npz: no readable archive of numbers"):
        read_flow(str(path))


def test_a_flow_file_of_something_else_than_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("flow.npy", b"no array")
        archive.writestr("confidence.npy", b"no array")
    with pytest.raises(UserError, match=r"f\.npz: holds neither array; expected flow and confidence"):
        read_flow(str(tmp_path / "f.npz"))


def test_a_video_that_cannot_go_back_to_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [np.full((16, 16, 3), 40 * n, np.uint8) for n in range(3)], "h264")
    data = bytearray(path.read_bytes())
    # No sample is an entry: the table of key frames names one beyond the last.
    at = data.index(b"stss") + 12
    struct.pack_into(">I", data, at, 99)
    path.write_bytes(bytes(data))
    for read in (lambda: entry(str(path), 2), lambda: list(decode(str(path), 0, 3))):
        with pytest.raises(UserError, match=r"a\.mp4: frame"):
            read()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write_body(tmp_path)
    rig = read_rig(*(str(tmp_path / name) for name in BODY))
    checkpoint.save(tmp_path / "step", "nerf", {}, rig, Experiment(), training={})
    assert checkpoint.damage(tmp_path / "step") is None
    return tmp_path / "step"


@pytest.mark.parametrize("damage", [other_method, other_names])
@pytest.mark.parametrize("name", ["body.npz", "nerf.pt", "training.pt"])
def test_a_checkpoint_of_a_damaged_archive(saved: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(saved / name)
    told = checkpoint.damage(saved)
    assert told is None or (name in told and "is damaged" in told)
    read = {
        "body.npz": checkpoint.load_rig,
        "nerf.pt": checkpoint.load_weights,
        "training.pt": checkpoint.load_training,
    }
    with pytest.raises(UserError, match=rf"{name} is damaged .*: take another checkpoint"):
        read[name](saved)


def test_a_pickle_that_takes_from_an_empty_stack(saved: Path) -> None:
    with zipfile.ZipFile(saved / "nerf.pt", "w") as archive:
        archive.writestr("nerf/data.pkl", b"\x80\x02.")
        archive.writestr("nerf/version", b"3\n")
        archive.writestr("nerf/byteorder", b"little")
    with pytest.raises(UserError, match=r"nerf\.pt is damaged"):
        checkpoint.load_weights(saved)


def test_weights_whose_names_are_damaged(saved: Path) -> None:
    with pytest.raises(UserError, match=r"the weights do not fit the knobs beside them \(.*Missing key"):
        checkpoint.load_avatar(saved)  # it was saved without a tensor


@pytest.mark.parametrize("key", ["train", "renderer", "texture", "stages", "data"])
def test_the_knobs_of_0_1_in_parts(key: str) -> None:
    values = json.loads(json.dumps(to_json(Experiment())))
    values |= {"version": 1, "renderer": {"background": [1, 1, 1]}}
    values["train"] |= {"frames_per_step": 1}
    values["texture"] |= {"windows_per_step": 1}
    del values[key]
    with pytest.raises(UserError, match=r"experiment.json is damaged: the knobs of version 1 lack a part"):
        from_json(values)


def test_nothing_of_this_is_told_of_a_whole_capture(tmp_path: Path) -> None:
    assert read_about(str(write_tiny_capture(tmp_path / "c", frames=2))) == {}


def test_a_video_whose_colors_no_program_here_converts(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt, context = "yuv420p", stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        frame = av.VideoFrame.from_ndarray(np.full((24, 16), 90, np.uint8), format="yuv420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    data, bt709 = path.read_bytes(), b"colrnclx\0\1\0\1\0\1"
    assert data.count(bt709) == 1 and len(list(decode(str(path)))) == 1
    path.write_bytes(data.replace(bt709, bt709[:-1] + b"\x11"))  # YCgCo-Ro of ITU-T H.273
    assert header(str(path)).width == 16
    with pytest.raises(UserError, match=r"a\.mp4: the colors of frame 0 cannot be made RGB .*matrix 17 of .*BT\.709"):
        list(decode(str(path)))
