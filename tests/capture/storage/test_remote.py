"""Captures on an object store: a real server that speaks S3 over HTTP, which counts what it sends."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from na_ray.capture import video
from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.capture.storage import filesystem, open_binary, read_bytes, version
from na_ray.capture.storage.remote import BLOCK, Ahead, Blocks, RemoteFile
from na_ray.capture.video import VideoWriter
from na_ray.cli.train import guarded
from na_ray.config.values import StorageError
from tests.make_capture import write_tiny_capture
from tests.object_store import serve

FRAMES = 90
FILMS = {"mjpeg.avi": "mjpeg", "ffv1.avi": "ffv1", "h264.mp4": "h264", "h264.avi": "h264", "mjpeg.mkv": "mjpeg"}


def noise(seed: int) -> list[np.ndarray]:
    """Frames that no codec makes small: shifted noise."""
    still = np.random.default_rng(seed).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    return [np.roll(still, 5 * i, axis=1) for i in range(FRAMES)]


def film(path: Path, codec: str, seed: int = 0) -> Path:
    with VideoWriter(path, 25, codec) as writer:
        for image in noise(seed):
            writer.write(image)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, codec in FILMS.items():
        film(folder / name, codec)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("remote") / "tiny", frames=12, cameras=3)


@pytest.fixture(scope="module")
def server(films: Path, tiny: Path) -> Iterator:
    """What a storage said is believed for ever, so that a slow machine sends no more requests than a fast one."""
    with serve() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystem, "FRESH", 1e9)
        server.upload(films, "lab/films")
        server.upload(tiny, "lab/tiny")
        yield server


def put(path: Path, url: str) -> None:
    fsspec.filesystem("s3").put_file(str(path), url)


def packets(path: Path) -> tuple[list[int], list[int]]:
    """(bytes of each packet, numbers of the key packets), by reading the file through."""
    with av.open(str(path)) as container:
        found = [(p.size, p.is_keyframe) for p in container.demux(video=0) if p.size]
    return [size for size, _ in found], [n for n, (_, key) in enumerate(found) if key]


def frames_of(path: str, start: int, stop: int) -> np.ndarray:
    return np.array(list(video.decode(path, start, stop)))


def sent(server, url: str) -> tuple[int, int]:
    """(requests, bytes) of an object's contents since the last reset."""
    return server.counts().get("GET /" + url.removeprefix("s3://"), (0, 0))


def test_everything_is_the_same_as_from_the_local_folder(server, tiny: Path) -> None:
    here, there = Capture.open(tiny), Capture.open("s3://lab/tiny")
    assert there.splits == here.splits
    np.testing.assert_array_equal(there.rig.weights, here.rig.weights)
    for name in here.splits:
        ours, theirs = here.split(name), there.split(name)
        assert theirs.frames == ours.frames and len(theirs.cameras) == 3
        for read in ("textures", "normal_maps"):
            np.testing.assert_array_equal(list(getattr(theirs, read)(3, 9)), list(getattr(ours, read)(3, 9)))
        for c in range(3):
            np.testing.assert_array_equal(theirs.cameras[c].T_world_camera, ours.cameras[c].T_world_camera)
            np.testing.assert_array_equal(list(theirs.images(c)), list(ours.images(c)))
        for f in range(12):
            assert theirs.read_transform(f) == ours.read_transform(f)
    assert examine("s3://lab/tiny").defects == []


@pytest.mark.parametrize("name", FILMS)
def test_a_range_of_frames_is_one_request_for_its_packets(server, films: Path, name: str) -> None:
    url, path = f"s3://lab/films/{name}", films / name
    sizes, keys = packets(path)
    frames_of(url, 0, 1)  # header and index are known
    for start, stop in ((37, 45), (80, FRAMES), (5, 6)):
        server.reset()
        got = frames_of(url, start, stop)
        np.testing.assert_array_equal(got, frames_of(str(path), start, stop))
        entry = max(k for k in keys if k <= start)
        needed = sum(sizes[entry:stop])
        spare = sum(sizes[stop : stop + 4]) if "h264" in name else 0
        requests, size = sent(server, url)
        # Chunk heads come with the packets: 8 bytes and one of padding each in AVI, some more in Matroska.
        assert requests == 1 and needed <= size <= needed + spare + 24 * (stop + 4 - entry)
        assert len(server.counts()) == 1  # nothing was asked for but the object


@pytest.mark.parametrize("name", ["mjpeg.avi", "ffv1.avi"])
def test_header_and_index_cost_a_few_blocks_once(server, films: Path, name: str) -> None:
    url = f"s3://lab/films/first-{name}"
    put(films / name, url)
    server.reset()
    frames_of(url, 60, 61)
    sizes, keys = packets(films / name)
    entry = max(k for k in keys if k <= 60)
    requests, size = sent(server, url)
    assert requests <= 5 and size <= 4 * BLOCK + sum(sizes[entry:65]) + 1000 < os.path.getsize(films / name)


def test_what_is_fetched_ahead_is_not_fetched_again(server, films: Path) -> None:
    url = "s3://lab/films/mjpeg.avi"
    frames_of(url, 0, 1)
    server.reset()
    video.prefetch(url, 20, 30)
    video.prefetch(url, 20, 30)
    np.testing.assert_array_equal(frames_of(url, 20, 30), frames_of(str(films / "mjpeg.avi"), 20, 30))
    assert sent(server, url)[0] == 1
    frames_of(url, 20, 30)
    assert sent(server, url)[0] == 2  # taken once, it is not kept


def test_a_failure_ahead_is_told_when_the_frames_are_read(server) -> None:
    video.prefetch("s3://lab/films/none.avi", 0, 3)
    with pytest.raises(FileNotFoundError, match=r"s3://lab/films/none\.avi: no such file"):
        frames_of("s3://lab/films/none.avi", 0, 3)


def test_transforms_lie_near_each_other(server, tiny: Path) -> None:
    url = "s3://lab/near/training/transform.zip"
    server.upload(tiny, "lab/near")
    split = Capture.open("s3://lab/near").split("training")
    server.reset()
    for f in range(12):
        split.pose(f)
    requests, size = sent(server, url)
    assert requests <= 1 and size <= (tiny / "training" / "transform.zip").stat().st_size


def test_a_preflight_does_not_fetch_whole_videos(server, tiny: Path, tmp_path: Path) -> None:
    folder = write_tiny_capture(tmp_path / "long", frames=FRAMES, cameras=1, resolution=(96, 128), splits=("training",))
    film(folder / "training" / "rgb_video" / "000.avi", "mjpeg")
    server.upload(folder, "lab/long")
    url, size = "s3://lab/long/training/rgb_video/000.avi", (folder / "training/rgb_video/000.avi").stat().st_size
    server.reset()
    assert examine("s3://lab/long").defects == []
    assert 0 < sent(server, url)[1] < size / 3
    server.reset()
    assert examine("s3://lab/long", thorough=True).defects == []
    assert sent(server, url)[1] > 0.9 * size


def test_a_cut_video_is_noticed_by_its_index_or_without(server, films: Path, tmp_path: Path) -> None:
    whole = (films / "mjpeg.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: int(0.6 * len(whole))])
    write = av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"})
    with av.open(str(films / "h264.mp4")) as source, write as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    whole = (tmp_path / "fast.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(0.6 * len(whole))])
    for name in ("cut.avi", "cut.mp4"):
        put(tmp_path / name, f"s3://lab/{name}")
        info = video.survey(f"s3://lab/{name}")
        assert 0 < info.num_frames < info.declared_frames == FRAMES
        # A packet of which a part is there counts for the one, not for the other.
        assert 0 <= video.survey(str(tmp_path / name)).num_frames - info.num_frames <= 1


@pytest.mark.parametrize("protocol", ["s3", "http"])
@pytest.mark.parametrize("fault", ["503", "reset", "cut"])
def test_a_passing_failure_is_survived(server, films: Path, protocol: str, fault: str) -> None:
    place = "lab/films/mjpeg.avi"
    url = f"s3://{place}" if protocol == "s3" else f"{server.endpoint}/{place}"
    frames_of(url, 0, 1)
    server.fail(fault, fault)
    np.testing.assert_array_equal(frames_of(url, 50, 54), frames_of(str(films / "mjpeg.avi"), 50, 54))
    assert server.faults_left() == 0


@pytest.mark.parametrize("protocol", ["s3", "http"])
def test_a_failure_that_stays_is_one_line(server, protocol: str) -> None:
    place = "lab/films/mjpeg.avi"
    url = f"s3://{place}" if protocol == "s3" else f"{server.endpoint}/{place}"
    frames_of(url, 0, 1)
    server.fail(*["503"] * 50)
    with pytest.raises(StorageError) as told:
        frames_of(url, 50, 54)
    server.fail()
    one_line(str(told.value), url, "could not be read", "--resume auto")
    frames_of(url, 50, 54)  # and it works again


def one_line(text: str, *parts: str) -> None:
    assert "\n" not in text
    for part in parts:
        assert part in text


def told_by_a_command(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `na-ray` prints of a mistake."""
    assert guarded(lambda: int(not Capture.open(url))) == 2
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ")
    return text


def test_mistakes_are_one_line(server, capsys: pytest.CaptureFixture[str]) -> None:
    one_line(told_by_a_command("s3://nowhere/tiny", capsys), "s3://nowhere/tiny", "the bucket does not exist")
    one_line(told_by_a_command("s3://lab/nowhere", capsys), "s3://lab/nowhere: no such folder")
    one_line(told_by_a_command("xyz://lab/tiny", capsys), "xyz://lab/tiny", "no storage of that kind", "s3://")
    with pytest.raises(FileNotFoundError, match=r"^s3://lab/tiny/none\.txt: no such file$"):
        read_bytes("s3://lab/tiny/none.txt")
    with pytest.raises(FileNotFoundError, match=r"^s3://nowhere/none\.txt: the bucket does not exist"):
        open_binary("s3://nowhere/none.txt")


def test_a_missing_package_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # None: as if it were not installed, whether it is or not.
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    one_line(told_by_a_command("gs://lab/tiny", capsys), "gs://lab/tiny", "pip install gcsfs")


def test_unknown_credentials_are_one_line(server, capsys: pytest.CaptureFixture[str]) -> None:
    server.check_credentials(True)
    fsspec.filesystem("s3").clear_instance_cache()
    try:
        line = told_by_a_command("s3://lab/tiny", capsys)
        one_line(line, "s3://lab/tiny: access is denied", "Access Key Id", "check the credentials")
        with pytest.raises(StorageError, match=r"^s3://lab/tiny/pose/0000\.txt: access is denied"):
            read_bytes("s3://lab/tiny/pose/0000.txt")
    finally:
        server.check_credentials(False)


def test_no_credentials_are_one_line(server, capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    fsspec.filesystem("s3").clear_instance_cache()
    line = told_by_a_command("s3://lab/tiny", capsys)
    fsspec.filesystem("s3").clear_instance_cache()
    one_line(line, "s3://lab/tiny: no credentials", "aws configure")


def test_an_endpoint_that_is_not_there(server, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    fsspec.filesystem("s3").clear_instance_cache()
    line = told_by_a_command("s3://lab/tiny", capsys)
    fsspec.filesystem("s3").clear_instance_cache()
    one_line(line, "s3://lab/tiny: the storage cannot be reached", "127.0.0.1:1", "AWS_ENDPOINT_URL")


def test_a_video_replaced_while_it_is_read(server, films: Path, tmp_path: Path) -> None:
    url = "s3://lab/films/changing.avi"
    put(films / "mjpeg.avi", url)
    frames_of(url, 0, 1)
    put(film(tmp_path / "other.avi", "mjpeg", seed=1), url)
    with pytest.raises(ValueError, match=r"changing\.avi: was replaced while it was read") as told:
        frames_of(url, 50, 52)
    assert "\n" not in str(told.value)
    np.testing.assert_array_equal(frames_of(url, 50, 52), frames_of(str(tmp_path / "other.avi"), 50, 52))


def test_facts_are_believed_for_some_seconds(server, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://lab/films/facts.avi"
    put(films / "mjpeg.avi", url)
    before = version(url)
    server.reset()
    assert version(url) == before and server.counts() == {}
    put(films / "ffv1.avi", url)
    monkeypatch.setattr(filesystem, "FRESH", 0.0)
    assert version(url)[1] == (films / "ffv1.avi").stat().st_size != before[1]


def test_a_remote_file_reads_as_a_local_one(server, films: Path) -> None:
    data = (films / "ffv1.avi").read_bytes()
    rng = np.random.default_rng(0)
    with RemoteFile(version("s3://lab/films/ffv1.avi")) as raw, open_binary("s3://lab/films/ffv1.avi") as buffered:
        raw.want(70_000, 300_000)
        for _ in range(200):
            at, size = int(rng.integers(len(data))), int(rng.integers(1, 100_000))
            raw.seek(at)
            part = raw.read(size)
            assert part and data[at:].startswith(part) and raw.tell() == at + len(part)
            buffered.seek(at - len(data), os.SEEK_END)
            assert buffered.read(size) == data[at : at + size]
        assert raw.seek(0, os.SEEK_END) == len(data) and raw.read(10) == b""


def test_a_long_range_is_held_in_parts(server, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("na_ray.capture.storage.remote.MOST_HELD", 100_000)
    url = "s3://lab/films/mjpeg.avi"
    frames_of(url, 0, 1)
    server.reset()
    np.testing.assert_array_equal(frames_of(url, 10, 60), frames_of(str(films / "mjpeg.avi"), 10, 60))
    requests, size = sent(server, url)
    needed = sum(packets(films / "mjpeg.avi")[0][10:60])
    assert requests == -(-size // 100_000) > 3 and needed <= size < needed + 24 * 50


def test_blocks_are_bounded_and_the_oldest_goes() -> None:
    blocks, one = Blocks(1000), ("s3://a/b", 1, "x")
    for n in range(5):
        blocks.put(one, n, bytes(250))
        blocks.get(one, 0)
    assert blocks.held == 1000
    assert [n for n in range(5) if blocks.get(one, n)] == [0, 2, 3, 4]
    blocks.put(one, 4, bytes(100))
    assert blocks.held == 850
    assert blocks.get(("s3://a/b", 1, "y"), 0) is None


def test_what_nobody_takes_goes() -> None:
    ahead, made = Ahead(most=2), []
    for n in range(4):
        ahead.begin(n, lambda n=n: made.append(n) or n)
    assert ahead.take(3, lambda: -1) == 3
    assert [ahead.take(n, lambda: -1) for n in range(4)] == [-1, -1, 2, -1]


def test_no_request_is_left_open(server) -> None:
    """Reading some frames of a range and stopping is fine, again and again."""
    for _ in range(5):
        assert len(list(islice(video.decode("s3://lab/films/h264.mp4", 30, 60), 2))) == 2
