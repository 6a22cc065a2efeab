"""PNG files that say what they were made of."""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor


def digest(*parts: Tensor | np.ndarray | str) -> str:
    """A short name for what the parts hold: the mark of what is made of them."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().numpy()
        found.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return found.hexdigest()[:16]


def write_png(path: Path, picture: np.ndarray, mark: str = "", fast: bool = False) -> None:
    """Write an (h, w, 3) uint8 picture, or (h, w, 4) with alpha, aside and rename it: a file that exists is complete.

    `mark` is stored in the file (`png_mark` reads it) to say what the picture was made of. `fast`: a tenth of the time;
    smooth maps on flat ground, as those of an atlas, get hardly larger by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    notes = PngInfo()
    notes.add_text("na_ray", mark)
    try:
        if fast:
            aside.write_bytes(_fast_png(picture, mark))
        else:
            Image.fromarray(picture).save(aside, format="PNG", pnginfo=notes)
        os.replace(aside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # what is written to a full disk does not say where
        raise
    finally:
        aside.unlink(missing_ok=True)


def _fast_png(picture: UInt8[np.ndarray, "h w c"], mark: str) -> bytes:
    """A PNG of one filter, the difference to the row above, coded in runs: what takes time is the choice among more."""
    height, width, channels = picture.shape
    flat = np.ascontiguousarray(picture).reshape(height, channels * width)
    rows = np.empty((height, 1 + channels * width), np.uint8)
    rows[:, 0], rows[0, 1:] = 2, flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    coder = zlib.compressobj(1, strategy=zlib.Z_RLE)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)),
        (b"tEXt", b"na_ray\0" + mark.encode("latin-1")),
        (b"IDAT", coder.compress(rows.tobytes()) + coder.flush()),
        (b"IEND", b""),
    )
    parts = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_mark(path: Path) -> str:
    """The mark of a file that `write_png` made; empty for others."""
    with Image.open(path) as picture:
        return str(picture.info.get("na_ray", ""))


def is_marked(path: Path) -> bool:
    """Whether `write_png` made a file, with a mark."""
    try:
        return bool(png_mark(path))
    except (OSError, SyntaxError):
        return False


def is_kept(path: Path, mark: str, what: str) -> bool:
    """Whether a file that `write_png` made with this mark is there.

    Raises FileExistsError when the file is `what` it should not be: made of something else.
    """
    if not path.is_file():
        return False
    if png_mark(path) != mark:
        raise FileExistsError(f"{path} {what}: name another folder, or --overwrite")
    return True


def read_png(path: Path, alpha: bool = False) -> np.ndarray:
    """The pixels of a PNG as (h, w, 3) uint8; with `alpha`, as (h, w, 4)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGBA" if alpha else "RGB"))
