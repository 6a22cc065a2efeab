"""What keeps the texture predictor from training on a split: one line per defect, found before the first step.

`na_ray.capture.checks.defects` has examined every file of the capture by then (missing pictures, truncated videos,
counts and sizes that differ). Here is what the capture may lack and this stage needs.
"""

import io

import numpy as np
from jaxtyping import Float32

from na_ray.capture.checks.report import Report
from na_ray.capture.dataset import Split
from na_ray.capture.storage import join, listing, read_bytes
from na_ray.config.texture import TextureConfig
from na_ray.config.values import StorageError, UserError

# So many flow files, evenly spaced, are read: each holds megabytes, and training reads them all anyway.
LOOKS = 16


def examine_training(split: Split, frames: range, texture: TextureConfig) -> Report:
    """Whether the normal and texture maps of the frames (positions in the split) can be trained on.

    Cheap enough for each worker: names are listed, and the first and the last maps read.
    """
    report = Report()
    if not split.has_normal_maps:
        expected = "expected normal*.avi or a folder normal/: make them with na-ray prepare normals"
        report.defects.append(f"{split.files.folder}: no normal maps; {expected}")
    if not split.has_textures:
        where = "expected the texture maps as tex*.avi or in a folder tex/"
        expected = f"{where}: copy them there, or make them (na-ray prepare)"
        report.defects.append(f"{split.files.folder}: no texture maps; {expected}")
    if len(frames) < texture.first_window:
        expected = f"expected {texture.first_window} or more, a window of texture.first_window"
        report.defects.append(
            f"{split.files.folder}: {len(frames)} frames to train on; {expected}: choose more by data.frames"
        )
    if report.defects:
        return report
    for what in ("normal", "texture"):
        _examine_shapes(report, split, what, frames)
    if texture.flow_target == "file":
        _examine_flows(report, split, texture.flow_folder, frames)
    return report.merged()


def _examine_shapes(report: Report, split: Split, what: str, frames: range) -> None:
    """The first and the last map must be there, and square."""
    read = split.normal_map if what == "normal" else split.texture
    for frame in sorted({frames[0], frames[-1]}):
        found = report.attempt(read, frame)
        if found is not None and found.shape[0] != found.shape[1]:
            size = f"{found.shape[0]}x{found.shape[1]}"
            expected = "expected a square one, as the UV atlas is"
            report.defects.append(
                f"{split.files.folder}: the {what} map of frame {split.frames[frame]} is {size}; {expected}: make it "
                "square, in the same way as the mesh's UV"
            )
            return


def _examine_flows(report: Report, split: Split, folder: str, frames: range) -> None:
    """A readable file for every frame but the first, which has none before it."""
    there = set(listing(folder))
    if not there:
        report.defects.append(f"{folder}: no such folder with files in it: correct texture.flow_folder")
        return
    names = [flow_name(split.frames[frame]) for frame in frames[1:]]
    for name in names:
        if name not in there:
            report.defects.append(
                f"{join(folder, name)}: missing; expected a flow file for every frame but the first: write it"
            )
    found = [name for name in names if name in there]
    for name in found[:: max(1, len(found) // LOOKS)]:
        values = report.attempt(read_flow, join(folder, name))
        if values is not None and values.shape[1] != values.shape[2]:
            size = f"{values.shape[1]}x{values.shape[2]}"
            report.defects.append(f"{join(folder, name)}: flow of {size}; expected it square, as the maps: write it")


def flow_name(number: int) -> str:
    """Name of the file with the flow of a frame, which goes by the number of the frame's other files."""
    return f"{number:06d}.npz"


def read_flow(path: str) -> Float32[np.ndarray, "3 h w"]:
    """(x, y, confidence) from a file with `flow` (2, h, w) in pixels to the frame before and `confidence` (h, w).

    Raises UserError when it holds anything else, FileNotFoundError when there is none.
    """
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as held:
            found_in = {name: held[name] for name in ("flow", "confidence") if name in held.files}
        arrays = {name: value for name, value in found_in.items() if isinstance(value, np.ndarray)}
    except (FileNotFoundError, StorageError, UserError):
        raise
    except Exception:  # a damaged archive or array can raise anything
        expected = "expected an .npz of flow and confidence"
        raise UserError(f"{path}: no readable archive of numbers; {expected}: write it again") from None
    if len(arrays) < 2:
        found = " and ".join(arrays) or "neither array"
        raise UserError(f"{path}: holds {found}; expected flow and confidence: write it again")
    flow, confidence = arrays["flow"], arrays["confidence"]
    if flow.ndim != 3 or confidence.ndim != 2 or flow.shape != (2, *confidence.shape):
        found = f"flow {flow.shape} and confidence {confidence.shape}"
        raise UserError(f"{path}: {found}; expected (2, h, w) and (h, w): write it again")
    if flow.dtype.kind not in "fiu" or confidence.dtype.kind not in "fiub":
        raise UserError(
            f"{path}: flow of {flow.dtype} and confidence of {confidence.dtype}; expected numbers: write it again"
        )
    values = np.concatenate([flow, confidence[None]]).astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: numbers that are not finite; expected pixels and confidences: write it again")
    return values
