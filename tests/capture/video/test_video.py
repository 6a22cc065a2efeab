"""Frame-exact decoding and writing of videos."""

import gc
import os
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import psutil
import pytest

from na_ray.capture.video import VideoWriter, count, decode, header, probe, resolution, survey

FRAMES = 40


def drawing(frame: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that differs from every other frame's, also after lossy coding."""
    image = np.full((height, width, 3), 6 * frame % 256, np.uint8)
    image[10:20, 5 * frame % (width - 10) : 5 * frame % (width - 10) + 10] = 255 - 6 * frame % 256
    return image


def write_raw(path: Path, codec: str, pix_fmt: str, options: dict[str, str]) -> None:
    """A video as another program would write it: open groups of pictures, B-frames, no index of ours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for frame in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawing(frame), format="rgb24")))
        container.mux(stream.encode(None))


KINDS = {
    "mjpeg.avi": ("mjpeg", "yuvj444p", {"qmin": "2", "qmax": "2"}),
    "ffv1.avi": ("ffv1", "bgr0", {"g": "8"}),
    "ffv1.mkv": ("ffv1", "bgr0", {"g": "8"}),
    "h264.avi": ("libx264", "yuv420p", {"g": "9", "bf": "3", "crf": "12"}),
    "h264.mp4": ("libx264", "yuv420p", {"g": "9", "bf": "3", "crf": "12"}),
    "h264.mkv": ("libx264", "yuv420p", {"g": "9", "bf": "3", "crf": "12"}),
    # Key frames that are no clean entries: the frames shown after them need what came before.
    "open.avi": ("libx264", "yuv420p", {"g": "9", "bf": "3", "crf": "12", "x264-params": "open-gop=1"}),
    "open.mp4": ("libx264", "yuv420p", {"g": "9", "bf": "3", "crf": "12", "x264-params": "open-gop=1"}),
    "refresh.avi": ("libx264", "yuv420p", {"g": "9", "crf": "12", "x264-params": "intra-refresh=1"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"g": "9", "bf": "2"}),
    "plain.avi": ("mpeg4", "yuv420p", {"g": "9", "bf": "0", "qmin": "2", "qmax": "2"}),
    "plain.mp4": ("mpeg4", "yuv420p", {"g": "9", "bf": "0", "qmin": "2", "qmax": "2"}),
    "hevc.mp4": ("libx265", "yuv420p", {"g": "9", "preset": "ultrafast", "x265-params": "log-level=none:bframes=3"}),
    "closed.mp4": ("libx265", "yuv420p", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=9:open-gop=0"}),
    "closed.mkv": ("libx265", "yuv420p", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=9:open-gop=0"}),
    "vp9.mkv": ("libvpx-vp9", "yuv420p", {"g": "9", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}),
}


CODECS = {"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9"}


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / request.param
    write_raw(path, *KINDS[request.param])
    return path


def naive(path: Path) -> list[np.ndarray]:
    """All frames from the beginning, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_frame_is_reached_exactly(path: Path) -> None:
    frames = naive(path)
    assert len(frames) == FRAMES == count(str(path))
    for n in range(FRAMES):
        (image,) = decode(str(path), n, n + 1)
        np.testing.assert_array_equal(image, frames[n])
        # Neighbours differ, or the test would not notice a shift.
        assert n == 0 or not np.array_equal(frames[n], frames[n - 1])


def test_ranges_from_the_middle(path: Path) -> None:
    frames = naive(path)
    for start, stop in ((0, FRAMES), (13, 29), (31, FRAMES), (7, 7)):
        np.testing.assert_array_equal(np.array(list(decode(str(path), start, stop))), np.array(frames[start:stop]))
    np.testing.assert_array_equal(np.array(list(decode(str(path), 35, threads=2))), np.array(frames[35:]))


def test_probe_counts_packets(path: Path) -> None:
    info = probe(str(path))
    assert (info.num_frames, info.width, info.height, info.fps) == (FRAMES, 64, 48, 25.0)
    assert info.declared_frames in (FRAMES, 0)
    assert (info.counting, info.remarks) == ((), ())
    assert survey(str(path)) == info
    assert info.duration == pytest.approx(FRAMES / 25)
    assert info.size == os.path.getsize(path)
    assert resolution(str(path)) == (48, 64)
    assert header(str(path)).codec == CODECS.get(KINDS[path.name][0], KINDS[path.name][0])


def test_a_video_behind_a_url(path: Path) -> None:
    url = f"memory://videos/{path.name}"
    fsspec.filesystem("memory").pipe(url, path.read_bytes())
    assert probe(url).num_frames == FRAMES
    np.testing.assert_array_equal(np.array(list(decode(url, 20, 23))), np.array(naive(path)[20:23]))


def test_ranges_that_do_not_exist(path: Path) -> None:
    for start, stop in ((-1, 3), (5, 4), (0, FRAMES + 1)):
        with pytest.raises(ValueError, match=f"do not exist; expected a range within 0..{FRAMES}"):
            list(decode(str(path), start, stop))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_video_is_an_error(tmp_path: Path, share: float) -> None:
    whole, part = tmp_path / "whole.avi", tmp_path / "part.avi"
    write_raw(whole, *KINDS["mjpeg.avi"])
    part.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    info = probe(str(part))
    assert 0 < info.num_frames < info.declared_frames == FRAMES
    with pytest.raises(ValueError, match=f"truncated: {info.num_frames} of {FRAMES} frames"):
        list(decode(str(part), 0, 2))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\1\2\3\4" * 500])
def test_what_is_no_video(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "garbage.avi"
    path.write_bytes(data)
    for read in (probe, resolution, lambda p: list(decode(p))):
        with pytest.raises(ValueError, match=r"garbage\.avi: no readable video"):
            read(str(path))
    with pytest.raises(FileNotFoundError, match="no such file"):
        probe(str(tmp_path / "missing.avi"))


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    for frames in (3, 5):
        with VideoWriter(path, 25, "ffv1") as video:
            for n in range(frames):
                video.write(drawing(n))
        os.utime(path, ns=(frames, frames))
        assert count(str(path)) == len(list(decode(str(path)))) == frames


def test_ffv1_is_exact_and_the_others_are_close(tmp_path: Path) -> None:
    bounds = {("ffv1", "x.avi"): 0.0, ("mjpeg", "x.avi"): 4.0, ("h264", "x.mp4"): 8.0}
    for (codec, name), bound in bounds.items():
        with VideoWriter(tmp_path / name, 30, codec) as video:
            for n in range(6):
                video.write(drawing(n))
        error = [np.abs(i.astype(float) - drawing(n)).mean() for n, i in enumerate(decode(str(tmp_path / name)))]
        assert len(error) == 6 and max(error) <= bound
        assert header(str(tmp_path / name)).fps == 30


def test_quality_matters_and_odd_sizes_are_kept(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (47, 63, 3), np.uint8)
    for codec, qualities in (("mjpeg", (2, 20)), ("h264", (10, 40))):
        sizes = []
        for quality in qualities:
            path = tmp_path / f"{codec}{quality}.avi"
            with VideoWriter(path, 25, codec, quality) as video:
                video.write(noise)
            sizes.append(path.stat().st_size)
            assert next(decode(str(path))).shape == (47, 63, 3)
        assert sizes[0] > 1.2 * sizes[1]


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.avi"
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(path, 25) as video:
        video.write(drawing(0))
        assert not path.exists()
        raise RuntimeError("stop")
    assert list(path.parent.iterdir()) == []
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(path, 25):
        pass
    assert list(path.parent.iterdir()) == []


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 48x64, as the first"), VideoWriter(tmp_path / "a.avi", 25) as video:
        video.write(drawing(0))
        video.write(drawing(0, 50, 64))


def test_frames_that_were_given_out_leave_memory_at_once(tmp_path: Path) -> None:
    """Not when Python's garbage collector comes by: a process that makes few objects would hold hundreds of them."""
    path = tmp_path / "a.avi"
    with VideoWriter(path, 25) as video:
        for n in range(120):
            video.write(np.full((480, 640, 3), n, np.uint8))
    gc.disable()
    try:
        process, held = psutil.Process(), []
        for n, _ in enumerate(decode(str(path))):
            if n in (20, 119):
                held.append(process.memory_info().rss)
    finally:
        gc.enable()
    assert held[1] - held[0] < 30 * 480 * 640 * 3
