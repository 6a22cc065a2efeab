"""All that training needs and a capture lacks: normal maps and texture maps of every split."""

from collections.abc import Sequence
from pathlib import Path

from na_ray.capture.dataset import Capture, Split
from na_ray.config.values import Progress, parse_indices
from na_ray.motion.normals import write_normals
from na_ray.prepare.foreign import is_foreign
from na_ray.prepare.textures import TextureOptions, check_own_place, write_textures


def write_all(
    capture: Capture,
    out: Path | None,
    options: TextureOptions,
    splits: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[str]:
    """Write normal and texture maps into `capture`, or into `out`, a capture of links to it.

    Maps that na_ray did not make are kept, and said to be, unless `options.overwrite`. Returns lines for the user.
    """
    names, lines = list(splits) or list(capture.splits), list[str]()
    if out is None:
        check_own_place(capture)
    wanted = [name for name in names if _wants_textures(capture.split(name), out, options, lines)]
    if wanted:
        lines += write_textures(capture, out, options, wanted, progress)
    place = capture if out is None or not out.exists() else Capture.open(out)
    for name in names:
        # A split without photographs has no place in a capture of links of its own: its poses lie where they are.
        split = place.split(name) if name in place.splits else capture.split(name)
        lines += _normals(split, (out / name) if out is not None else Path(split.files.folder), options, progress)
    return lines


def _wants_textures(split: Split, out: Path | None, options: TextureOptions, lines: list[str]) -> bool:
    if split.files.kind == "poses":
        lines.append(f"{split.name}: no photographs, hence no texture maps")
        return False
    if out is None and is_foreign(split, "tex") and not options.overwrite:
        lines.append(f"{split.name}: its texture maps, which na_ray did not make, are kept (--overwrite: new ones)")
        return False
    return True


def _normals(split: Split, folder: Path, options: TextureOptions, progress: Progress | None) -> list[str]:
    if is_foreign(split, "normal") and not options.overwrite:
        return [f"{split.name}: its normal maps are kept (--overwrite: new ones)"]
    frames = sorted(parse_indices(options.frames, split.num_frames, "--frames"))
    where = write_normals(split, folder, frames, options.side, overwrite=options.overwrite, progress=progress)
    return [f"wrote {where}: {len(frames)} normal maps"]
