"""Maps in a capture that na_ray did not make, which nothing overwrites unasked. Its own bear marks."""

from pathlib import Path
from typing import Literal

from na_ray.capture.dataset import Split
from na_ray.pictures import png

MapKind = Literal["normal", "tex"]
"""The folder of a split that holds the maps."""


def is_foreign(split: Split, kind: MapKind) -> bool:
    """Whether a split has such maps that are not pictures of ours: a video, or pictures without a mark."""
    files = split.files
    pictures, video = (files.normal, files.normal_video) if kind == "normal" else (files.texture, files.texture_video)
    if pictures is None:
        return video is not None
    return not all(png.is_marked(path) for path in sorted(Path(files.folder, kind).iterdir())[:1])


def check_free_of_maps(split: Split, kind: MapKind, overwrite: bool) -> None:
    """Raises FileExistsError where a split has such maps, unless they may be overwritten."""
    if is_foreign(split, kind) and not overwrite:
        what, elsewhere = "texture", "-o NEW into a capture of links"
        if kind == "normal":
            what, elsewhere = "normal", "-o FOLDER elsewhere"
        raise FileExistsError(
            f"{split.files.folder} has {what} maps that na_ray did not make: --overwrite puts others in their place, "
            f"{elsewhere}; --split takes the others alone, and na-ray prepare all keeps these"
        )
