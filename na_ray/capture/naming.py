"""Numbers in the names of files: which frame or camera a file belongs to.

A file's *number* is the last group of digits of its name: `frame_000012.png`, `000012.png` and `0_train_0012.png` are
number 12. Where that group does not tell the files of a folder apart (`cam03_1080p.avi`), it is the last one that does.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from na_ray.capture.storage import join
from na_ray.config.values import UserError

ANY = ("",)
"""Endings of folders: none."""

_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Series:
    """Files of one folder (or archive) whose names differ in a zero-padded number alone."""

    folder: str
    prefix: str
    digits: int
    suffix: str
    archive: bool = False
    """Whether `folder` is a zip file that holds them."""

    def name(self, number: int) -> str:
        """The file's name within the folder."""
        return f"{self.prefix}{number:0{self.digits}d}{self.suffix}"

    def path(self, number: int) -> str:
        """The file's path or URL; for messages only when it lies in an archive."""
        return join(self.folder, self.name(number))


def number_of(name: str) -> int | None:
    """The number in a file's name, None where it has none."""
    groups = _DIGITS.findall(name.rsplit(".", 1)[0])
    return int(groups[-1]) if groups else None


def by_number(folder: str, names: Iterable[str], endings: tuple[str, ...]) -> dict[int, str]:
    """Number to name of the files with one of the endings. Raises UserError where two share a number."""
    chosen = [name for name in names if name.lower().endswith(endings)]
    groups = {name: found for name in chosen if (found := _groups(name, endings == ANY))}
    count = min(map(len, groups.values()), default=0)
    for back in range(1, count + 1):
        numbers = {int(found[-back].group()): name for name, found in groups.items()}
        if len(numbers) == len(groups):
            return dict(sorted(numbers.items()))
    seen: dict[int, str] = {}
    for name, found in groups.items():
        number = int(found[-1].group())
        if number in seen:
            todo = "give each a number of its own, or move one of them elsewhere"
            raise UserError(f"{folder}: {seen[number]} and {name} are both number {number}: {todo}")
        seen[number] = name
    return {}


def _groups(name: str, folder: bool) -> list[re.Match[str]]:
    """The groups of digits of a name; those of a file's ending (`.mp4`) do not count."""
    return list(_DIGITS.finditer(name if folder else name.rsplit(".", 1)[0]))


def series_of(folder: str, files: dict[int, str], archive: bool = False) -> Series:
    """The pattern of the names. Raises UserError, naming the first file that does not follow it."""
    number, name = next(iter(files.items()))
    patterns = []
    for group in reversed([m for m in _DIGITS.finditer(name) if int(m.group()) == number]):
        digits = len(group.group())
        patterns.append(Series(folder, name[: group.start()], digits, name[group.end() :], archive))
        if all(patterns[-1].name(n) == other for n, other in files.items()):
            return patterns[-1]
    usual = patterns[0]
    odd = next((n, other) for n, other in files.items() if usual.name(n) != other)
    raise UserError(f"{folder}: file {odd[1]} stands out; expected {usual.name(odd[0])}, like the others: rename it")
