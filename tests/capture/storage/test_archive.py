"""Archives of other packers: each has its own line."""

import struct
import zipfile
from pathlib import Path

import pytest

from na_ray.capture.storage.archive import read_member


def packed(path: Path, method: int | None = None, flag: int = 0, size: int | None = None) -> Path:
    """An archive of one member whose headers name another method, a flag, or another unpacked size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000000.json", '{"joints": [[1, 2, 3]]}' * 9)
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = data.index(mark)
        flags, old = struct.unpack_from("<HH", data, start + at)
        struct.pack_into("<HH", data, start + at, flags | flag, old if method is None else method)
        if size is not None:
            struct.pack_into("<I", data, start + at + 16, size)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("method", "flag", "cause"),
    [
        (9, 0, "packed with Deflate64, which Python cannot unpack"),
        (93, 0, "packed with Zstandard"),
        (98, 0, "packed with PPMd"),
        (77, 0, "packed by method 77"),
        (99, 1, "encrypted with a password"),
        (None, 1, "encrypted with a password"),
    ],
)
def test_a_way_of_packing_that_is_not_read_is_named(tmp_path: Path, method: int, flag: int, cause: str) -> None:
    path = packed(tmp_path / "transform.zip", method, flag)
    with pytest.raises(ValueError, match=rf"transform.zip/000000.json: {cause}.*; expected Deflate: unpack it"):
        read_member(str(path), "000000.json")


def test_what_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path / "transform.zip", size=2**31)
    with pytest.raises(ValueError, match="unpacks to 2147 MB; expected a transform"):
        read_member(str(path), "000000.json")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_one_line(tmp_path: Path, method: int) -> None:
    path = tmp_path / "transform.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("000000.json", '{"joints": [[1, 2, 3]]}' * 99)
    data = bytearray(path.read_bytes())
    data[45:60] = bytes(15)
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"the archive is damaged .*: copy it again"):
        read_member(str(path), "000000.json")
