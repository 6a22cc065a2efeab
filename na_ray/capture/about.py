"""`capture.json`, beside the published files: which tool made a capture, and from what. Optional."""

import json
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from na_ray.capture.storage import join, listing, read_bytes
from na_ray.config.values import UserError

NAME = "capture.json"
VERSION = 1


def read_about(root: str) -> dict[str, Any]:
    """What a capture's `capture.json` says; empty where there is none. Raises UserError for a damaged one."""
    if NAME not in listing(root):
        return {}
    path = join(root, NAME)
    try:
        found = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): put a copy in its place, or remove it") from None
    if not isinstance(found, dict):
        raise UserError(
            f"{path} holds {type(found).__name__}; expected an object: put a copy in its place, or remove it"
        )
    return found


def texture_cameras(root: str) -> tuple[int, ...] | None:
    """Positions of the cameras whose photographs made the texture maps; None where nobody says."""
    textures = read_about(root).get("textures", {})
    cameras = textures.get("cameras") if isinstance(textures, dict) else None
    if cameras is None:
        return None
    if not isinstance(cameras, list) or not all(type(c) is int and c >= 0 for c in cameras):
        raise UserError(f"{join(root, NAME)}: textures.cameras is {cameras!r}; expected a list such as [0, 1, 3]")
    return tuple(cameras)


def camera_names(root: str) -> tuple[str, ...]:
    """What the program that the cameras are from calls them, in their order; empty where nobody says."""
    cameras = read_about(root).get("cameras")
    names = [c.get("name") if isinstance(c, dict) else None for c in cameras] if isinstance(cameras, list) else []
    return tuple(map(str, names)) if all(isinstance(name, str) and name.isprintable() for name in names) else ()


def write_about(root: str, tool: str, up: Sequence[float], fps: float, cameras: Sequence[int]) -> None:
    """Write `capture.json`: lengths are metres, `up` points to the sky in world axes, `cameras` made the maps."""
    write_values(root, {"unit": "metre", "up": list(up), "fps": fps, "textures": {"cameras": list(cameras)}}, tool)


def write_values(root: str, values: dict[str, Any], tool: str) -> None:
    """Write `capture.json`, aside and renamed: the version of its form, the tool, and the `values`."""
    head = {"version": VERSION, "tool": {"name": tool, "version": _version()}}
    kept = {name: value for name, value in values.items() if name not in head}
    path = os.path.join(root, NAME)
    aside = f"{path}.{os.getpid()}"
    with open(aside, "w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(head | kept, indent=1) + "\n")
    os.replace(aside, path)


def _version() -> str:
    try:
        return version("na-ray")
    except PackageNotFoundError:  # run from its source, without being installed
        return "not installed"
