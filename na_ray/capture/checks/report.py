"""What an examination of a capture collects: defects and notes, a line each."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from na_ray.config.values import UserError

# More lines than this that differ in numbers alone become one.
ALIKE = 3

Value = TypeVar("Value")


@dataclass
class Report:
    """What was found, in the order of the files."""

    defects: list[str] = field(default_factory=list)
    """What must be fixed before training, a line each."""
    notes: list[str] = field(default_factory=list)
    """What was understood in spite of an irregularity, a line each."""

    def attempt(self, read: Callable[..., Value], *arguments: Any) -> Value | None:
        """The result of `read`, or None and its complaint among the defects."""
        try:
            return read(*arguments)
        except (UserError, FileNotFoundError) as error:
            self.defects.append(str(error))
            return None

    def faults(self, where: str, faults: Iterable[str]) -> None:
        """Add half lines to the defects, naming the file."""
        self.defects += [f"{where}: {fault}" for fault in faults]

    def merged(self) -> "Report":
        """The same report, many like lines (one a frame) made one that says how many they were."""
        return Report(_merge(self.defects), _merge(self.notes))


def _merge(lines: list[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for line in dict.fromkeys(lines):
        groups.setdefault(re.sub(r"-?[\d.]+(e[+-]?\d+)?", "#", line), []).append(line)
    merged: list[str] = []
    for group in groups.values():
        merged += group if len(group) <= ALIKE else [f"{group[0]} (and {len(group) - 1} more like it)"]
    return merged
