"""The little of H.264's byte stream that frame-exact seeking needs."""

# A slice of a picture before which nothing is needed, and after which nothing before it is shown (H.264, table 7-1).
IDR = 5


def unit_types(packet: bytes, extradata: bytes) -> list[int]:
    """Types of the NAL units in a packet, as mp4 (each after its length) or AVI (each after a start code) stores them.

    `extradata` is the stream's: in the first case it begins with 1 and says how many bytes a length has.
    """
    if extradata[:1] != b"\x01":
        return [part[0] & 31 for part in packet.split(b"\0\0\1")[1:] if part]
    prefix = (extradata[4] & 3) + 1
    types, at = [], 0
    while at + prefix < len(packet):
        types.append(packet[at + prefix] & 31)
        at += prefix + int.from_bytes(packet[at : at + prefix], "big")
    return types
