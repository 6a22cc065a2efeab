"""The little of H.264's byte stream that frame-exact seeking needs."""

from collections.abc import Iterator

# A slice of a picture before which nothing is needed, and after which nothing before it is shown (H.264, table 7-1).
IDR = 5


def unit_types(packet: bytes, extradata: bytes) -> list[int]:
    """Types of the NAL units in a packet; see `heads`."""
    return [head & 31 for head in heads(packet, (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" else 0)]


def resets(packet: bytes, extradata: bytes) -> bool:
    """Whether a packet is an entry before which nothing is needed."""
    return IDR in unit_types(packet, extradata)


def heads(packet: bytes, prefix: int) -> Iterator[int]:
    """The first byte of each NAL unit in a packet, as mp4 (each after a length of `prefix` bytes) or AVI (0: each after
    a start code) stores them."""
    if not prefix:
        yield from (part[0] for part in packet.split(b"\0\0\1")[1:] if part)
        return
    at = 0
    while at + prefix < len(packet):
        yield packet[at + prefix]
        at += prefix + int.from_bytes(packet[at : at + prefix], "big")
