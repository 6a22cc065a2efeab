"""Texture maps unwrapped from some cameras of a capture: into the capture itself, or into one of its own.

    anna/training/tex/000000.png ...    the maps, beside the published files; tex*.avi stay, and tex/ is read first
    anna/capture.json                   `textures.cameras`, and what made the maps of each split

    new/capture.json                    as the old one, and `textures.cameras`
        training/tex/000000.png ...     the maps
        (all else)                      links to the files of the old capture, in folders of its own

A capture of links never writes to the old one, and whatever reads captures reads it. Splits that were not unwrapped
have no maps there: the old ones were made from other cameras.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from na_ray.capture.about import read_about, write_values
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import find_map_videos
from na_ray.capture.rig import Pose
from na_ray.capture.storage import is_url, size
from na_ray.config.selection import auto_train_views
from na_ray.config.values import AUTO, Progress, UserError, parse_indices
from na_ray.pictures import png
from na_ray.prepare.foreign import check_free_of_maps
from na_ray.prepare.gains import agree, gain_lines
from na_ray.prepare.links import link_capture
from na_ray.prepare.maps import Mode
from na_ray.prepare.photographs import Photographs
from na_ray.prepare.workshop import REFERENCE_FRAMES, Workshop, gains_of, told_lines

TOOL = "na-ray prepare textures"
METHOD = "2"
"""Of making the maps; another number is another map of the same photographs."""


@dataclass(frozen=True, kw_only=True)
class TextureOptions:
    """How maps are made."""

    cameras: str = AUTO
    """Positions, such as `0,1,2`, `0..11` or `all`; `auto`: those that training sees by its own `auto`."""
    frames: str = "all"
    """Positions, of each split."""
    side: int = 512
    """Texels."""
    mode: Mode = "blended"
    register: bool = False
    """Fit each photograph to the colors over time by a small flow, against drift of the track."""
    device: str = "cpu"
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Job:
    """One split's frames (positions), and the folder for their maps."""

    photographs: Photographs
    frames: Sequence[int]
    folder: Path

    @property
    def split(self) -> Split:
        return self.photographs.split

    def file(self, position: int) -> Path:
        return self.folder / f"{self.split.frames[position]:06d}.png"


def write_textures(
    capture: Capture,
    out: Path | None,
    options: TextureOptions,
    splits: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[str]:
    """Write texture maps into `capture`, or into the capture `out`, which links to it and has these maps alone.

    `splits`: none named are all. Maps that are there are kept, and those that na_ray did not make are refused, unless
    `overwrite`. Returns lines for the user. Raises UserError or FileExistsError, one line, where the place is not free.
    """
    check_own_place(capture) if out is None else check_other_place(capture, out)
    names = list(splits) or list(capture.splits)
    chosen = chosen_cameras(options.cameras, [capture.split(name) for name in names])
    values = {"cameras": chosen, "size": options.side, "mode": options.mode, "register": options.register, "tool": TOOL}
    if out is None:
        jobs = [_job(capture, name, options, chosen, Path(capture.folders[name])) for name in names]
        for job in jobs:
            check_free_of_maps(job.split, "tex", options.overwrite)
    else:
        jobs = [_job(capture, name, options, chosen, out / name) for name in names]
        _settle(out, values, options.overwrite)
        link_capture(capture, out, _is_texture)
    gains = gains_of(_all_photographs(capture, chosen), options.side, options.device)
    about = read_about(capture.path)
    values["gains"] = [[round(g, 4) for g in row] for row in gains.tolist()]
    made = values if out is not None else _merged(capture, about.get("textures"), values, names)
    write_values(str(out or capture.path), about | {"textures": made}, TOOL)
    told = _make_all(jobs, options, None if agree(gains) else gains, progress)
    lines = [f"wrote {job.folder}: {len(job.frames)} texture maps" for job in jobs]
    lines += [f"from the photographs of cameras {', '.join(map(str, chosen))} alone", *gain_lines(gains, chosen)]
    return lines + told + [f"{job.split.name}: {job.photographs.outline()}" for job in jobs]


def chosen_cameras(cameras: str, splits: Sequence[Split]) -> list[int]:
    """Positions of the cameras, which every split has."""
    spec = cameras
    if cameras == AUTO:
        spec = ",".join(map(str, auto_train_views(len(splits[0].cameras))))
    found = [parse_indices(spec, len(split.cameras), "--cameras") for split in splits]
    return found[0]


def _job(capture: Capture, name: str, options: TextureOptions, cameras: Sequence[int], folder: Path) -> _Job:
    split = capture.split(name)
    frames = sorted(parse_indices(options.frames, split.num_frames, "--frames"))
    return _Job(Photographs.of(capture, split, cameras), frames, folder / "tex")


def _all_photographs(capture: Capture, chosen: Sequence[int]) -> Photographs:
    """Those that the gains are solved from, whichever splits are asked for."""
    filmed = [name for name in capture.splits if capture.split(name).files.kind != "poses"]
    return Photographs.of(capture, capture.split("training" if "training" in filmed else filmed[0]), chosen)


def check_own_place(capture: Capture) -> None:
    """Raises UserError for a capture that cannot be written to."""
    if is_url(capture.path):
        raise UserError(f"{capture.path} is a URL, which cannot be written to: copy it to this machine")
    if not os.access(capture.path, os.W_OK):
        raise UserError(f"{capture.path} may not be written to: name another folder with -o")


def check_other_place(capture: Capture, out: Path) -> None:
    """Raises UserError for a folder that a capture of links cannot be."""
    if is_url(capture.path):
        raise UserError(f"{capture.path} is a URL, which a capture of links cannot lead to: copy it to this machine")
    old, new = Path(capture.path).resolve(), out.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise UserError(f"{out} is the capture, or lies in it, or holds it: name a folder beside it")


def _merged(capture: Capture, old: object, values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """`textures` of a capture whose splits may have been unwrapped from different cameras: `cameras` is said only
    where it is true of all maps."""
    known: dict[str, Any] = old if isinstance(old, dict) else {}
    found = known.get("splits")
    before: dict[str, dict[str, Any]] = found if isinstance(found, dict) else {}
    others = [n for n in capture.splits if n not in names and capture.split(n).has_textures]
    cameras = [before.get(n, {}).get("cameras", known.get("cameras")) for n in others]
    made = {n: values if n in names else before[n] for n in sorted({*names, *before} & set(capture.splits))}
    if all(c == values["cameras"] for c in cameras):
        return {**values, "splits": made}
    return {"tool": TOOL, "splits": made}


def _settle(out: Path, values: dict[str, object], overwrite: bool) -> None:
    """Make sure that `out` is free, or what an earlier call with the same `values` made; else clear its maps."""
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        return
    found = read_about(str(out)).get("textures")
    if not isinstance(found, dict) or found.get("tool") != TOOL:
        raise FileExistsError(f"{out} holds something that {TOOL} did not make: name another folder")
    if {name: found.get(name) for name in values} == values:
        return
    if not overwrite:
        what = f"{found.get('size')} texels from cameras {', '.join(map(str, found.get('cameras', [])))}"
        way = f", {found.get('mode')}{', registered' if found.get('register') else ''}" if "mode" in found else ""
        raise FileExistsError(f"{out} holds maps of {what}{way}: name another folder, or --overwrite")
    for folder in out.glob("*/tex"):
        shutil.rmtree(folder)


def _is_texture(folder: str, name: str) -> bool:
    """Whether a file or folder of a split holds its texture maps."""
    return name == "tex" or any(os.path.basename(path) == name for path in find_map_videos(folder, [name], "tex"))


def _make_all(
    jobs: Sequence[_Job], options: TextureOptions, gains: Float[Tensor, "k 3"] | None, progress: Progress | None
) -> list[str]:
    """Write the maps; returns what there is to tell of each split."""
    done, total, lines = 0, sum(len(job.frames) for job in jobs), []
    for job in jobs:
        job.photographs.check_masks()
        shop = Workshop(job.photographs, options.side, options.device, options.mode, gains, options.register)
        for _ in _make(job, shop, options):
            done += 1
            if progress:
                progress(done, total)
        lines += told_lines(job.split.name, shop.told, job.photographs.chosen)
    return lines


def _make(job: _Job, shop: Workshop, options: TextureOptions) -> Iterator[int]:
    """Write the maps of a split that are missing; yields each frame's position."""
    fixed, marks, missing = _fixed(job, shop, options), {}, []
    what = "was made of another pose, body, camera or photograph, or in another way"
    for position in job.frames:
        marks[position] = _mark(fixed, job.split.pose(position))
        if options.overwrite or not png.is_kept(job.file(position), marks[position], what):
            missing.append(position)
    yield from (position for position in job.frames if position not in set(missing))
    for frame in job.photographs.frames(missing):
        png.write_png(job.file(frame.position), shop.make(frame), marks[frame.position], fast=True)
        yield frame.position


def _fixed(job: _Job, shop: Workshop, options: TextureOptions) -> str:
    """What decides all maps of a split beside their own poses, in short. Photographs go by the bytes of their videos,
    and silhouettes by there being some."""
    photographs, split = job.photographs, job.split
    parts = [*(array for array in vars(split.rig).values() if array is not None)]
    for camera in photographs.cameras:
        parts += [camera.K, camera.T_world_camera, np.array([camera.height, camera.width])]
    parts += [split.pose(position).joints_RT for position in photographs.some(REFERENCE_FRAMES)]
    videos = [split.video(c) for c in photographs.chosen]
    gains = None if shop.gains is None else [[round(g, 4) for g in row] for row in shop.gains.tolist()]
    way = (METHOD, options.mode, options.register, gains, photographs.files is not None)
    said = (options.side, list(photographs.chosen), [size(v) if v else None for v in videos], way)
    return png.digest(*parts, str(said))


def _mark(fixed: str, pose: Pose) -> str:
    return png.digest(fixed, pose.joints_RT, pose.rotation, pose.translation)
