"""Reading video files: what they hold, and frame-exact decoding of a range.

Frames are uint8 RGB of shape (height, width, 3), or RGBA. Timestamps are not trusted (those of H.264 in AVI are
wrong): a frame's number is found by counting from a key frame.
"""

from collections.abc import Iterator
from functools import lru_cache

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from jaxtyping import UInt8

from na_ray.capture.storage import BinaryFile, is_url, open_binary, open_span, version
from na_ray.capture.storage.remote import ahead
from na_ray.capture.video.entry import is_clean, may_seek
from na_ray.capture.video.info import PacketPlace, VideoHeader, VideoIndex, VideoInfo
from na_ray.capture.video.look import HDR, Look, Turn, turn_of
from na_ray.config.values import StorageError, UserError


def _open(path: str, file: BinaryFile | None = None) -> tuple[InputContainer, VideoStream]:
    """Open a video. Raises UserError when it is none, FileNotFoundError when there is no such file."""
    version(path)
    try:
        source = file or (open_binary(path) if is_url(path) else path)
        # Titles and comments may be of any encoding.
        container = av.open(source, mode="r", metadata_errors="replace")
    except StorageError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: no readable video ({_reason(error)}): copy the file again") from None
    # A cover picture is a stream, too.
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        container.close()
        raise UserError(f"{path}: holds no video stream; expected a video: copy the file again")
    context: VideoCodecContext | None = films[0].codec_context  # PyAV's annotations know no unknown codec
    if context is None:
        container.close()
        raise UserError(f"{path}: its codec is not known; expected H.264, MJPEG or FFV1: copy or encode the file again")
    return container, films[0]


def _reason(error: av.error.FFmpegError | OSError) -> str:
    """What FFmpeg says, without its error number and the file's name."""
    return error.strerror or type(error).__name__


@lru_cache(maxsize=256)
def _index(key: tuple[str, int, str]) -> VideoIndex:
    """Packets of a video, from its own index where that is complete, else by reading it through once."""
    container, stream = _open(key[0])
    with container:
        # The tables of an mp4 name every packet, and an edit list leaves some of them out.
        edited = "mp4" in container.format.name and stream.frames > 0 and len(stream.index_entries) > 0
        packets = [PacketPlace(e.timestamp, e.is_keyframe, e.pos, e.size, e.is_discard) for e in stream.index_entries]
        index = _index_of(packets, stream, True, edited)
        return index if index.complete else _index_of(_demux(container, stream), stream, False, edited)


def _index_of(packets: list[PacketPlace], stream: VideoStream, own: bool, edited: bool) -> VideoIndex:
    return VideoIndex.of(packets, stream.frames, own and bool(stream.frames), stream.codec_context.name, edited)


def _demux(container: InputContainer, stream: VideoStream) -> list[PacketPlace]:
    """Every packet that is really in the file."""
    packets = []
    try:
        for packet in container.demux(stream):
            if packet.size:
                place = (packet.dts, packet.is_keyframe, packet.pos, packet.size, packet.is_discard)
                packets.append(PacketPlace(*place))
    except av.error.FFmpegError:
        # A cut file ends in the middle of a packet: what came before it is what there is.
        return packets
    return packets


@lru_cache(maxsize=256)
def _header(key: tuple[str, int, str]) -> VideoHeader:
    container, stream = _open(key[0])
    with container:
        context = stream.codec_context
        size, turn = (context.height, context.width), (1, 0, 0, 1)
        if any(kind in container.format.name for kind in ("mp4", "matroska")):
            turn = _first_turn(container, stream)
        remarks = _remarks(stream, turn)
        size = size if turn[0] else size[::-1]
        return VideoHeader(*size, context.name, float(stream.average_rate or 0), remarks)


def _remarks(stream: VideoStream, turn: Turn) -> tuple[str, ...]:
    """What is unusual about the pictures, a half line each."""
    remarks = []
    if (kind := HDR.get(stream.codec_context.color_trc)) is not None:
        remarks.append(f"high dynamic range ({kind}), which looks washed out here: map its tones, and encode it again")
    if stream.metadata.get("alpha_mode") == "1":
        remarks.append("its alpha is stored beside its colors and is not read: what it hides is taken for background")
    if turn != (1, 0, 0, 1):
        remarks.append("turned upright, as its display matrix says: the calibration must be of upright pictures")
    return tuple(remarks)


def _first_turn(container: InputContainer, stream: VideoStream) -> Turn:
    """How the pictures are to be turned: PyAV tells it of a decoded frame only."""
    try:
        return turn_of(next(container.decode(stream)))
    except (av.error.FFmpegError, StopIteration):
        return 1, 0, 0, 1  # whoever decodes it gets the error


def header(path: str) -> VideoHeader:
    """Read a video's header alone: cheap. Raises UserError when it is no video."""
    return _header(version(path))


def resolution(path: str) -> tuple[int, int]:
    """(height, width), from the file's header alone."""
    return header(path).height, header(path).width


def count(path: str) -> int:
    """Frames in the file, by its index: cheap. `probe` counts what is really there."""
    return _index(version(path)).num_frames


def mark_of(path: str) -> str:
    """The mark of a video that `VideoWriter` made; empty for others. Raises UserError when it is no video."""
    container, _ = _open(path)
    with container:
        return str(container.metadata.get("comment", ""))


def probe(path: str) -> VideoInfo:
    """Read a video through, without decoding, and say what it holds.

    Raises UserError when it is no video, FileNotFoundError when there is no such file. A truncated file does not
    raise: its `num_frames` is less than its `declared_frames`.
    """
    key = version(path)
    head, known = _header(key), _index(key)
    container, stream = _open(path)
    with container:
        num_frames = sum(not packet.hidden for packet in _demux(container, stream))
    return head.info(num_frames, known, key[1])


def survey(path: str) -> VideoInfo:
    """As `probe`, by the file's own index, where that is complete: without reading the whole file.

    Frames that the index places beyond the file's end do not count.
    """
    key = version(path)
    index = _index(key)
    if not index.complete:
        return probe(path)
    return _header(key).info(index.within(key[1]), index, key[1])


def decode(
    path: str, start: int = 0, stop: int | None = None, threads: int = 1
) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """Frames start..stop (the end is exclusive; None: to the last one), exactly, wherever the range starts.

    RGB, or RGBA where the video has alpha.

    `threads` is the codec's: one, as many processes decode side by side. Raises UserError when the file is
    truncated or damaged, or has no such frames.
    """
    index = _index(version(path))
    stop = index.num_frames if stop is None else stop
    index.check_range(path, start, stop)
    if start == stop:
        return
    look = Look()
    number = start
    for frame in _frames(path, index, start, stop, threads):
        try:
            picture = look.picture(frame)
        except av.error.FFmpegError as error:
            kind = f"pixels {frame.format.name}, matrix {int(frame.colorspace)} of ITU-T H.273"
            told = f"{path}: the colors of frame {number} cannot be made RGB ({kind}: {_reason(error)})"
            raise UserError(f"{told}: encode the video again, with BT.709") from None
        yield picture
        number += 1
        if number == stop:
            return
    raise UserError(f"{path}: frame {number} is missing; expected {index.num_frames} frames: copy the file again")


def entry(path: str, frame: int) -> int:
    """The frame from which on `decode` has to decode to come to a frame. Raises UserError when it is no video."""
    index = _index(version(path))
    container, stream = _open(path)
    with container:
        try:
            return _seek(container, stream, index, frame)[0]
        except av.error.FFmpegError as error:
            raise UserError(f"{path}: frame {frame} is not reached ({_reason(error)}): copy the file again") from None


def prefetch(path: str, start: int, stop: int) -> None:
    """Begin, in a thread, to fetch what `decode` of the same range will read, where the video lies behind a URL."""
    if is_url(path):
        ahead.begin((path, start, stop), lambda: open_span(path, *_index(version(path)).span(start, stop)))


def _frames(path: str, index: VideoIndex, start: int, stop: int, threads: int) -> Iterator[av.VideoFrame]:
    """Decoded frames from number `start` on, not yet converted; those before `stop` are fetched in one go."""
    file = ahead.take((path, start, stop), lambda: open_span(path, *index.span(start, stop))) if is_url(path) else None
    container, stream = _open(path, file)
    with container:
        context = stream.codec_context
        # Damage is to be an error, not a grey picture (FFmpeg's FFV1 decoder patches it up all the same).
        context.options = {"err_detect": "explode"}
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        context.thread_count = threads
        number = start
        try:
            number, packets = _seek(container, stream, index, start)
            for packet in packets:
                for frame in packet.decode():
                    if number >= start:
                        yield frame
                    number += 1
        except av.error.FFmpegError as error:
            raise UserError(f"{path}: frame {number} is damaged ({_reason(error)}): copy the file again") from None


def _seek(
    container: InputContainer, stream: VideoStream, index: VideoIndex, start: int
) -> tuple[int, Iterator[Packet]]:
    """Go to the last clean entry at or before frame `start`: (its number, the packets from there on)."""
    last = index.entry(start) if may_seek(stream) else 0
    for dts in reversed(index.dts[1:last]):
        container.seek(dts, stream=stream)
        packets = container.demux(stream)
        first = next(packets)
        # Containers differ in what a seek means (mp4 counts the delay of B-frames): where it landed is looked up.
        landed = index.keys[index.dts.index(first.dts)] if first.dts in index.dts else start + 1
        if landed <= start and is_clean(stream, first):
            return landed, _chain(first, packets)
    container.seek(0, stream=stream)
    return 0, container.demux(stream)


def _chain(first: Packet, rest: Iterator[Packet]) -> Iterator[Packet]:
    yield first
    yield from rest
