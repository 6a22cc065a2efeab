"""Two pictures of a capture.

The contact sheet shows frames of the cameras with their texture and normal maps. The reprojection overlay draws the
posed mesh, colored by its normals, over photographs: a calibration or a pose that is off shows at once.
"""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from na_ray.body.body import Body, PosedBody
from na_ray.body.rasterize import cast
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.masks import Masks
from na_ray.config.values import UserError
from na_ray.pictures import picture
from na_ray.pictures.box import Box, mask_box

# Longer side (px) of a picture on the contact sheet, and height (px) of one of the overlay.
_THUMBNAIL, _OVERLAY = 128, 300


def _spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` positions among `count`, evenly spaced, ends included."""
    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()))


def contact_sheet(capture: Capture, frames: int = 4, cameras: int = 12) -> np.ndarray:
    """Some frames of every split: one row per frame, its cameras, its texture and normal map; (h, w, 3) uint8."""
    rows = []
    for name in capture.splits:
        split = capture.split(name)
        for position in _spread(split.num_frames, frames):
            label = f"{name} {split.frames[position]}"
            cells = [(split.image(position, c), split.cameras[c].name) for c in _spread(len(split.cameras), cameras)]
            if split.texture_video or split.files.texture:
                cells.append((split.texture(position), "texture"))
            if split.normal_video or split.files.normal:
                cells.append((split.normal_map(position), "normal"))
            rows.append([picture.labeled(_shrunk(i, _THUMBNAIL), f"{label} {text}") for i, text in cells])
    return _in_rows(capture, rows)


def overlay(capture: Capture, frames: int = 4, cameras: int = 6) -> np.ndarray:
    """The posed mesh over photographs, the photograph alone beside it; (h, w, 3) uint8.

    Of each split the first frame in all cameras, `cameras` a row, and more frames in as many of them. Where the capture
    has masks, each picture's label tells how far mesh and mask overlap (IoU).
    """
    rows = []
    for name in capture.splits:
        split = capture.split(name)
        body = Body.from_rig(split.rig)
        surface, masks = Surface(body.faces, len(body.vertices)), Masks.of(capture, split)
        for i, position in enumerate(_spread(split.num_frames, frames)):
            posed = body.pose(split.pose(position))
            shown = range(len(split.cameras)) if i == 0 else _spread(len(split.cameras), cameras)
            cells = [_overlaid(split, position, c, posed, surface, masks) for c in shown]
            rows += [cells[k : k + cameras] for k in range(0, len(cells), cameras)]
    return _in_rows(capture, rows)


def _overlaid(
    split: Split, position: int, c: int, posed: PosedBody, surface: Surface, masks: Masks | None
) -> np.ndarray:
    """One picture and the mesh over it, with a label."""
    image, camera = split.image(position, c), split.cameras[c]
    drawn, outline = draw_over(image, posed, camera, surface)
    label, shown = f"{split.name} {split.frames[position]} {camera.name}", outline
    mask = masks.mask(position, c) if masks is not None else None
    if mask is not None and mask.shape == outline.shape:
        label += f"  IoU {(mask & outline).sum() / max(1, (mask | outline).sum()):.2f}"
        shown = mask | outline  # where the mesh is elsewhere, both are to be seen
    box = _with_margin(shown)
    pair = [_scaled(box.crop(part), _OVERLAY) for part in (image, drawn)]
    return picture.labeled(picture.sheet(pair, 2), label)


def _in_rows(capture: Capture, rows: list[list[np.ndarray]]) -> np.ndarray:
    """One picture of rows that may differ in length."""
    width = max((len(row) for row in rows), default=0)
    if not width:
        raise UserError(f"{capture.path}: no split has pictures: nothing to show")
    blank = np.full((1, 1, 3), 255, np.uint8)
    return picture.sheet([cell for row in rows for cell in row + [blank] * (width - len(row))], width)


def draw_over(image: np.ndarray, posed: PosedBody, camera: Camera, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with the posed mesh on it: half transparent, colored by its normals, with its outline in red.

    Returns it, (h, w, 3) uint8, and the mesh's silhouette, (h, w) bool.
    """
    hits = cast(posed, camera, surface)
    corners = posed.vertex_normals()[posed.body.faces[hits.face]]
    rotation = torch.from_numpy(camera.T_world_camera[:3, :3]).to(corners)
    normals = torch.einsum("nk,nkc->nc", hits.barycentrics, corners) @ rotation
    shown = image[..., :3].astype(np.float64)
    mask = np.zeros((camera.height, camera.width), bool)
    mask.reshape(-1)[hits.pixel.numpy()] = True
    # Camera axes to the usual colors: red = right, green = up, blue = towards the viewer.
    shown[mask] = 0.5 * shown[mask] + 127.5 * (normals.numpy() * (1, -1, -1) / 2 + 0.5)
    shown[mask & ~ndimage.binary_erosion(mask)] = (255, 0, 0)
    return shown.round().clip(0, 255).astype(np.uint8), mask


def _with_margin(mask: np.ndarray) -> Box:
    """The mask's box, larger by a fifth on each side; all of it for an empty mask."""
    height, width = mask.shape
    box = mask_box(torch.from_numpy(mask)) or Box(0, 0, height, width)
    down, right = (box.bottom - box.top) // 5, (box.right - box.left) // 5
    top, left = max(0, box.top - down), max(0, box.left - right)
    return Box(top, left, min(height, box.bottom + down), min(width, box.right + right))


def _scaled(image: np.ndarray, height: int) -> np.ndarray:
    """The picture `height` pixels high, over white."""
    shown = _opaque(image)
    width = max(1, round(shown.width * height / shown.height))
    # Nearest when it grows: the overlay is there to see single pixels.
    how = Image.Resampling.NEAREST if height > shown.height else Image.Resampling.BOX
    return np.asarray(shown.resize((width, height), how))


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longer side at most `side`, over white."""
    shown = _opaque(image)
    shown.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(shown)


def _opaque(image: np.ndarray) -> Image.Image:
    shown = Image.fromarray(image)
    if shown.mode == "RGBA":
        shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return shown.convert("RGB")
