"""The little of HEVC's byte stream that frame-exact seeking needs."""

from na_ray.capture.video.h264 import heads

# Slices of pictures before which nothing is needed: IDR, with and without leading pictures (H.265, table 7-1). Those of
# type CRA may be followed by frames that are shown only where what came before was decoded.
IDR = (19, 20)


def resets(packet: bytes, extradata: bytes) -> bool:
    """Whether a packet is an entry before which nothing is needed.

    In mp4 and Matroska `extradata` begins with 1 and says how many bytes a length has (ISO 14496-15, 8.3.3.1).
    """
    prefix = (extradata[21] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 21 else 0
    return any((head >> 1) & 63 in IDR for head in heads(packet, prefix))
