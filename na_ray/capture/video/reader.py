"""Reading video files: what they hold, and frame-exact decoding of a range.

Frames are uint8 RGB of shape (height, width, 3). Timestamps are not trusted (those of H.264 in AVI are wrong): a
frame's number is found by counting from a key frame.
"""

from collections.abc import Iterator
from functools import lru_cache

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from na_ray.capture.storage import BinaryFile, is_url, open_binary, open_span, version
from na_ray.capture.storage.remote import ahead
from na_ray.capture.video import h264
from na_ray.capture.video.info import PacketPlace, VideoHeader, VideoIndex, VideoInfo
from na_ray.config.values import StorageError, UserError


def _open(path: str, file: BinaryFile | None = None) -> tuple[InputContainer, VideoStream]:
    """Open a video. Raises UserError when it is none, FileNotFoundError when there is no such file."""
    version(path)
    try:
        container = av.open(file or (open_binary(path) if is_url(path) else path), mode="r")
    except StorageError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: no readable video ({_reason(error)}): copy the file again") from None
    if not container.streams.video:
        container.close()
        raise UserError(f"{path}: holds no video stream; expected a video: copy the file again")
    return container, container.streams.video[0]


def _reason(error: av.error.FFmpegError | OSError) -> str:
    """What FFmpeg says, without its error number and the file's name."""
    return error.strerror or type(error).__name__


@lru_cache(maxsize=256)
def _index(key: tuple[str, int, str]) -> VideoIndex:
    """Packets of a video, from its own index where that is complete, else by reading it through once."""
    container, stream = _open(key[0])
    with container:
        entries = stream.index_entries
        complete = bool(stream.frames) and len(entries) == stream.frames
        if complete:
            packets = [PacketPlace(e.timestamp, e.is_keyframe, e.pos, e.size) for e in entries]
        else:
            packets = _demux(container, stream)
        return VideoIndex.of(packets, stream.frames, complete, stream.codec_context.name)


def _demux(container: InputContainer, stream: VideoStream) -> list[PacketPlace]:
    """Every packet that is really in the file."""
    packets = []
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets.append(PacketPlace(packet.dts, packet.is_keyframe, packet.pos, packet.size))
    except av.error.FFmpegError:
        # A cut file ends in the middle of a packet: what came before it is what there is.
        return packets
    return packets


@lru_cache(maxsize=256)
def _header(key: tuple[str, int, str]) -> VideoHeader:
    container, stream = _open(key[0])
    with container:
        context = stream.codec_context
        return VideoHeader(context.height, context.width, context.name, float(stream.average_rate or 0))


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
    head = _header(key)
    container, stream = _open(path)
    with container:
        declared = stream.frames
        num_frames = len(_demux(container, stream))
    return head.info(num_frames, declared, key[1])


def survey(path: str) -> VideoInfo:
    """As `probe`; behind a URL by the file's own index, where that is complete: without fetching the whole file.

    Frames that the index places beyond the file's end do not count.
    """
    key = version(path)
    if not is_url(path) or not (index := _index(key)).complete:
        return probe(path)
    return _header(key).info(index.within(key[1]), index.declared_frames, key[1])


def decode(
    path: str, start: int = 0, stop: int | None = None, threads: int = 1
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames start..stop (the end is exclusive; None: to the last one), exactly, wherever the range starts.

    `threads` is the codec's: one, as many processes decode side by side. Raises UserError when the file is
    truncated or damaged, or has no such frames.
    """
    index = _index(version(path))
    stop = index.num_frames if stop is None else stop
    index.check_range(path, start, stop)
    if start == stop:
        return
    reformatter = VideoReformatter()
    number = start
    for frame in _frames(path, index, start, stop, threads):
        yield reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        number += 1
        if number == stop:
            return
    raise UserError(f"{path}: frame {number} is missing; expected {index.num_frames} frames: copy the file again")


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
        number, packets = _seek(container, stream, index, start)
        try:
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
    last = index.entry(start) if _may_seek(stream) else 0
    for dts in reversed(index.dts[1:last]):
        container.seek(dts, stream=stream)
        packets = container.demux(stream)
        first = next(packets)
        # Containers differ in what a seek means (mp4 counts the delay of B-frames): where it landed is looked up.
        landed = index.keys[index.dts.index(first.dts)] if first.dts in index.dts else start + 1
        if landed <= start and _is_clean(stream, first):
            return landed, _chain(first, packets)
    container.seek(0, stream=stream)
    return 0, container.demux(stream)


def _chain(first: Packet, rest: Iterator[Packet]) -> Iterator[Packet]:
    yield first
    yield from rest


def _may_seek(stream: VideoStream) -> bool:
    """Whether counting from a key frame is exact: no frame shown after it may be decoded before it.

    True for codecs without reordering; for H.264 `_is_clean` looks at each entry. Others are decoded from their start.
    """
    context = stream.codec_context
    return context.name in ("h264", "ffv1") or context.codec.intra_only


def _is_clean(stream: VideoStream, packet: Packet) -> bool:
    """Whether a key packet resets the decoder; in H.264 a recovery point, also marked as key, does not."""
    context = stream.codec_context
    return context.name != "h264" or h264.IDR in h264.unit_types(bytes(packet), context.extradata or b"")
