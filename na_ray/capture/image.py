"""Pictures of a capture: reading, exact area resampling, and the colors that training compares with."""

import io
import struct
import zlib

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from na_ray.capture.pixels import map_size
from na_ray.capture.storage import BinaryFile, open_binary, read_bytes
from na_ray.config.values import StorageError, UserError

Map = UInt8[np.ndarray, "h w 3"]
"""A texture map or a normal map; its first row is v = 1."""

Size = tuple[int, int]
"""(height, width), pixels."""


FORMATS = ("PNG", "JPEG", "MPO", "WEBP")
"""What is read, whatever the file's ending says: Pillow knows dozens more, some of which start other programs."""

# Of a damaged file Pillow's decoders raise whatever they stumble over.
_DAMAGED = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)
_ORIENTATION = 0x0112
"""EXIF's tag: how a picture is to be turned to be upright; 5 to 8 exchange rows and columns."""


def read_image(path: str) -> UInt8[np.ndarray, "h w c"]:
    """A PNG or JPEG as (h, w, 3) RGB, or (h, w, 4) with alpha, upright as its EXIF says.

    Sixteen bits a channel become the upper eight. Raises UserError when it is damaged or none, or of ink (CMYK).
    """
    return _colors(path, _decode(path, io.BytesIO(read_bytes(path))))


def read_mask(path: str) -> Bool[np.ndarray, "h w"]:
    """Where a silhouette is not zero in its first channel, whatever its depth. Raises UserError when it is damaged."""
    picture = _decode(path, io.BytesIO(read_bytes(path)))
    if picture.mode.startswith("I"):  # one of 65535 is not zero
        return np.asarray(picture) > 0
    return _colors(path, picture)[..., 0] > 0


def read_levels(path: str) -> UInt8[np.ndarray, "h w"]:
    """The numbers of a mask as its writer meant them: a palette's indices, the alpha of a cut-out, one gray channel.

    255 where a map of colors is not black. Raises UserError when it is damaged.
    """
    picture = _decode(path, io.BytesIO(read_bytes(path)))
    if picture.mode == "P" and not _is_gray(picture):
        return np.array(picture)
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return (deep if deep.max() < 256 else deep >> 8).astype(np.uint8)  # labels, else a soft matte
    if picture.mode in ("1", "L"):
        return np.array(picture.convert("L"))
    colors = _colors(path, picture)
    if colors.shape[2] == 4 and colors[..., 3].min() < 255:
        return np.ascontiguousarray(colors[..., 3])
    most, least = colors[..., :3].max(axis=2), colors[..., :3].min(axis=2)
    # JPEG's own rounding colors a gray picture by a few levels.
    return most if (most - least).max() <= 16 else np.where(most > 32, np.uint8(255), np.uint8(0))


def _is_gray(picture: Image.Image) -> bool:
    """Whether the palette of a picture is shades of gray: then its colors count, not its indices."""
    palette = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _decode(path: str, file: BinaryFile) -> Image.Image:
    """The whole picture, upright."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except StorageError:
        raise
    except _DAMAGED as error:
        reason = str(error).split("<")[0].strip() or type(error).__name__
        raise UserError(f"{path}: no readable picture ({reason}): extract or copy it again") from None


def _colors(path: str, picture: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    if picture.mode in ("CMYK", "YCCK"):
        found = f"colors of ink ({picture.mode}), whose look depends on the printer; expected RGB"
        raise UserError(f"{path}: {found}: convert it by its color profile (ImageMagick: -colorspace sRGB)")
    if picture.mode.startswith("I"):  # Pillow's own conversion cuts sixteen bits off at 255
        gray = (np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    return np.array(picture.convert("RGBA" if has_alpha else "RGB"))


def image_resolution(path: str) -> tuple[int, int]:
    """(height, width) of the upright picture, from its header alone. Raises UserError when it is none."""
    with open_binary(path) as file:
        height, width, orientation = _header(path, file)
    return (width, height) if orientation >= 5 else (height, width)


def orientation_of(path: str) -> int:
    """How the file says that its picture is turned, by EXIF's numbers: 1 is upright."""
    with open_binary(path) as file:
        return _header(path, file)[2]


def _header(path: str, file: BinaryFile) -> tuple[int, int, int]:
    """(height, width) as stored, and the orientation."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            # Pillow decodes a whole PNG to look for EXIF data behind its pixels.
            exif = picture.getexif() if picture.format != "PNG" or "exif" in picture.info else {}
            return picture.height, picture.width, int(exif.get(_ORIENTATION, 1))
    except StorageError:
        raise
    except _DAMAGED:
        raise UserError(f"{path}: no readable picture; expected a PNG or JPEG: extract or copy it again") from None


def check_image(path: str) -> tuple[int, int]:
    """(height, width), having looked at both ends of the file. Raises UserError when it is cut short.

    Where the end is none of a PNG or a JPEG, the picture is decoded: cameras write notes of their own behind it.
    """
    data = read_bytes(path)
    height, width, orientation = _header(path, io.BytesIO(data))
    if b"IEND" not in data[-16:] and data.rstrip(b"\0")[-2:] != b"\xff\xd9":
        try:
            _decode(path, io.BytesIO(data))
        except UserError:
            expected = "expected a whole PNG or JPEG: extract or copy it again"
            raise UserError(f"{path}: the picture is cut short; {expected}") from None
    return (width, height) if orientation >= 5 else (height, width)


def resized(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "i j 3"]:
    """A map as validation and inference see it: the whole of it, at `size` (height, width) (parity/vid2vid 4.7)."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def shrink_map(texture: Map, side: int | None) -> np.ndarray:
    """A texture map as training and rendering see it: area-averaged until its longer side has `side` texels.

    The proportions stay. float32 in 0..255 where that changes it; None, or a map that is no larger: as it is.
    """
    longer = max(texture.shape[:2])
    if side is None or side >= longer:
        return texture
    return resample_area(texture, *map_size(texture.shape[0], texture.shape[1], side))


def resample_area(image: np.ndarray, height: int, width: int) -> Float32[np.ndarray, "h w c"]:
    """Average exactly the area that each of `height` x `width` pixels covers, also for ratios that are no integers.

    Values keep their range: (h, w, c) of uint8 gives 0..255.
    """
    rows, columns = image.shape[0] // height, image.shape[1] // width
    if (rows * height, columns * width) == image.shape[:2]:  # whole pixels: a few sums of every nth, forty times faster
        blocks = (image[y::rows, x::columns] for y in range(rows) for x in range(columns))
        return sum(blocks, start=np.zeros((height, width, image.shape[2]), np.float32)) / np.float32(rows * columns)
    values = image.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        values = _average(values, axis, size)
    return values.astype(np.float32)


def _average(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Means over `size` equal intervals of an axis, as differences of the interpolated running sum."""
    length = values.shape[axis]
    if length == size:
        return values
    values = np.moveaxis(values, axis, 0)
    sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    edges = np.arange(size + 1) * (length / size)
    whole = np.minimum(edges.astype(np.int64), length - 1)
    part = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    at_edges = sums[whole] + part * values[whole]
    return np.moveaxis(np.diff(at_edges, axis=0) * (size / length), 0, axis)


def to_colors(
    image: np.ndarray, background: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n"]]:
    """(colors (n, 3) in [-1, 1] over the background, alpha (n,)) of an image (h, w, 3 or 4) in 0..255, row by row.

    The alpha is composited after the range is mapped, and is 0 where the color equals the background exactly
    (parity/nerf 2.9). Resample before, with `resample_area`.
    """
    colors, alpha = over_background(image.reshape(-1, image.shape[-1]), background)
    same = colors == np.asarray(background, np.float32)
    return colors, np.where(same[:, 0] & same[:, 1] & same[:, 2], np.float32(0), alpha)


def over_background(
    pixels: np.ndarray, background: tuple[float, float, float]
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n"]]:
    """(colors (n, 3) in [-1, 1], their own alpha (n,)) of pixels (n, 3 or 4) in 0..255: the range first."""
    flat = pixels.astype(np.float32) / np.float32(255)
    colors = flat[:, :3] * 2 - 1
    if flat.shape[1] == 3:
        return colors, np.ones(len(flat), np.float32)
    alpha = flat[:, 3]
    return colors * alpha[:, None] + np.asarray(background, np.float32) * (1 - alpha[:, None]), alpha
