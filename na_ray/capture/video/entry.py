"""Where decoding may start so that frames can be counted from there."""

from av.packet import Packet
from av.video.stream import VideoStream

from na_ray.capture.video import h264, hevc


def may_seek(stream: VideoStream) -> bool:
    """Whether counting from a key frame may be exact: no frame shown after it is decoded before it.

    True for codecs without reordering; for H.264 and HEVC `is_clean` looks at each entry. Others are decoded from
    their start.
    """
    context = stream.codec_context
    if context.name == "mpeg4":
        return not context.has_b_frames
    return context.name in ("h264", "hevc", "ffv1", "vp9") or context.codec.intra_only


def is_clean(stream: VideoStream, packet: Packet) -> bool:
    """Whether a key packet resets the decoder; a recovery point, also marked as key, does not."""
    context = stream.codec_context
    kind = {"h264": h264, "hevc": hevc}.get(context.name)
    return kind is None or kind.resets(bytes(packet), context.extradata or b"")
