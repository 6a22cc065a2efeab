"""Texture maps unwrapped from some cameras of a capture, in a capture of their own.

    new/capture.json            as the old one, and `textures.cameras`
        training/tex/000000.png ...  the maps
        (all else)              links to the files of the old capture, in folders of its own

So the old capture is never written to, and whatever reads captures reads the new one. Splits that were not unwrapped
have no maps there: the old ones were made from other cameras.
"""

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.body.unwrap import unwrap
from na_ray.capture.about import read_about, write_values
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import find_map_videos
from na_ray.capture.masks import Masks
from na_ray.capture.rig import Pose
from na_ray.capture.storage import is_url, size
from na_ray.config.selection import auto_train_views
from na_ray.config.values import AUTO, Progress, UserError, parse_indices
from na_ray.pictures import png
from na_ray.prepare.links import link_capture

TOOL = "na-ray prepare textures"


@dataclass(frozen=True, eq=False)
class _Job:
    """One split's frames (positions), and the cameras (positions) whose photographs make the maps."""

    split: Split
    frames: Sequence[int]
    cameras: Sequence[int]
    masks: Masks | None
    folder: Path
    """For the maps."""


def write_textures(
    capture: Capture,
    out: Path,
    cameras: str = AUTO,
    splits: Sequence[str] = (),
    frames: str = "all",
    side: int = 512,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Write the capture `out`, which links to `capture` and has texture maps of `side` x `side` from `cameras` alone.

    `cameras` and `frames` select positions; `auto`: the cameras that training sees by its own `auto`. `splits`: none
    named are all. Maps that are there are kept, unless `overwrite`. Returns lines for the user. Raises UserError or
    FileExistsError, one line, where `out` is no such capture, or one of other cameras or another size.
    """
    _check_place(capture, out)
    names = list(splits) or list(capture.splits)
    chosen = _cameras(cameras, [capture.split(name) for name in names])
    jobs = [_job(capture, capture.split(name), frames, chosen, out) for name in names]
    values = {"cameras": chosen, "size": side, "tool": TOOL}
    _settle(out, values, overwrite)
    link_capture(capture, out, _is_texture)
    write_values(str(out), read_about(capture.path) | {"textures": values}, TOOL)
    _unwrap_all(jobs, side, device, overwrite, progress)
    lines = [f"wrote {job.folder}: {len(job.frames)} texture maps" for job in jobs]
    lines += [f"from the photographs of cameras {', '.join(map(str, chosen))} alone"]
    return lines + [f"{job.split.name}: {_outline(job)}" for job in jobs]


def _cameras(cameras: str, splits: Sequence[Split]) -> list[int]:
    """Positions of the cameras, which every split has."""
    spec = cameras
    if cameras == AUTO:
        spec = ",".join(map(str, auto_train_views(len(splits[0].cameras))))
    found = [parse_indices(spec, len(split.cameras), "--cameras") for split in splits]
    return found[0]


def _job(capture: Capture, split: Split, frames: str, cameras: Sequence[int], out: Path) -> _Job:
    chosen = parse_indices(frames, split.num_frames, "--frames")
    return _Job(split, sorted(chosen), cameras, Masks.of(capture, split), out / split.name / "tex")


def _check_place(capture: Capture, out: Path) -> None:
    if is_url(capture.path):
        raise UserError(f"{capture.path} is a URL, which a capture of links cannot lead to: copy it to this machine")
    old, new = Path(capture.path).resolve(), out.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise UserError(f"{out} is the capture, or lies in it, or holds it: name a folder beside it")


def _settle(out: Path, values: dict[str, object], overwrite: bool) -> None:
    """Make sure that `out` is free, or what an earlier call with the same `values` made; else clear its maps."""
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        return
    found = read_about(str(out)).get("textures")
    if not isinstance(found, dict) or found.get("tool") != TOOL:
        raise FileExistsError(f"{out} holds something that {TOOL} did not make: name another folder")
    if found == values:
        return
    if not overwrite:
        what = f"{found.get('size')} texels from cameras {', '.join(map(str, found.get('cameras', [])))}"
        raise FileExistsError(f"{out} holds maps of {what}: name another folder, or --overwrite")
    for folder in out.glob("*/tex"):
        shutil.rmtree(folder)


def _is_texture(folder: str, name: str) -> bool:
    """Whether a file or folder of a split holds its texture maps."""
    return name == "tex" or any(os.path.basename(path) == name for path in find_map_videos(folder, [name], "tex"))


def _unwrap_all(jobs: Sequence[_Job], side: int, device: str, overwrite: bool, progress: Progress | None) -> None:
    done, total = 0, sum(len(job.frames) for job in jobs)
    for job in jobs:
        atlas = Atlas(Body.from_rig(job.split.rig).to(device=device), side)
        for _ in _unwrap(job, atlas, overwrite):
            done += 1
            if progress:
                progress(done, total)


def _unwrap(job: _Job, atlas: Atlas, overwrite: bool) -> Iterator[int]:
    """Write the maps of a split that are missing; yields each frame's position."""
    fixed, marks, missing = _fixed(job, atlas.size), {}, []
    for position in job.frames:
        marks[position] = _mark(fixed, job.split.pose(position))
        what = "was made of another pose, body, camera or photograph"
        if overwrite or not png.is_kept(_file(job, position), marks[position], what):
            missing.append(position)
        else:
            yield position
    cameras = [job.split.cameras[c] for c in job.cameras]
    for position, images in _photographs(job, missing):
        masks = None
        if job.masks is not None:
            pairs = zip(job.cameras, images, strict=True)
            masks = [_mask(job.masks, position, camera, image) for camera, image in pairs]
        try:
            posed = atlas.body.pose(job.split.pose(position))
            texture = unwrap(atlas, images, cameras, posed, masks)
        except UserError as error:
            raise UserError(f"{job.split.files.folder}: frame {job.split.frames[position]}: {error}") from None
        png.write_png(_file(job, position), texture.cpu().numpy(), marks[position])
        yield position


def _photographs(job: _Job, positions: Sequence[int]) -> Iterator[tuple[int, list[UInt8[np.ndarray, "h w c"]]]]:
    """The pictures of the cameras at each frame; frames in a row are decoded in one go."""
    for _, group in itertools.groupby(enumerate(positions), lambda pair: pair[1] - pair[0]):
        row = [position for _, position in group]
        streams = [job.split.images(camera, row[0], row[-1] + 1) for camera in job.cameras]
        for position, *images in zip(row, *streams, strict=True):
            yield position, list(images)


def _mask(masks: Masks, position: int, camera: int, image: UInt8[np.ndarray, "h w c"]) -> Bool[np.ndarray, "h w"]:
    mask = masks.mask(position, camera)
    if mask.shape != image.shape[:2]:
        path, size = masks.path(position, camera), f"{image.shape[1]}x{image.shape[0]}"
        raise UserError(f"{path} is {mask.shape[1]}x{mask.shape[0]}; expected {size}, as the photograph: resize it")
    return mask


def _file(job: _Job, position: int) -> Path:
    return job.folder / f"{job.split.frames[position]:06d}.png"


def _fixed(job: _Job, side: int) -> str:
    """What decides all maps of a split beside the poses, in short. Photographs go by the bytes of their videos."""
    parts = [*(array for array in vars(job.split.rig).values() if array is not None)]
    for camera in (job.split.cameras[c] for c in job.cameras):
        parts += [camera.K, camera.T_world_camera, np.array([camera.height, camera.width])]
    videos = [job.split.video(c) for c in job.cameras]
    return png.digest(*parts, str((side, list(job.cameras), [size(v) if v else None for v in videos])))


def _mark(fixed: str, pose: Pose) -> str:
    return png.digest(fixed, pose.joints_RT, pose.rotation, pose.translation)


def _outline(job: _Job) -> str:
    """What kept the background out of the maps."""
    if job.masks is not None:
        return "the background was kept out by masks/"
    if job.split.image(job.frames[0], job.cameras[0]).shape[2] == 4:
        return "the background was kept out by the alpha of the pictures"
    return "there are no masks/ and no alpha: the background may color texels at the outline"
