"""Files of a capture, on this machine or behind a URL."""

from na_ray.capture.storage.files import (
    BinaryFile,
    basename,
    is_url,
    join,
    listing,
    open_binary,
    open_span,
    parent,
    read_bytes,
    read_text,
    sends_parts,
    size,
    version,
)

__all__ = [
    "BinaryFile",
    "basename",
    "is_url",
    "join",
    "listing",
    "open_binary",
    "open_span",
    "parent",
    "read_bytes",
    "read_text",
    "sends_parts",
    "size",
    "version",
]
