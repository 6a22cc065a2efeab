"""Configurations as values: out of plain dicts and back, changed by dotted names, and refused in one line."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

Progress = Callable[[int, int], object]
"""What long work calls with (pieces done, pieces in all)."""


class UserError(ValueError):
    """What the user can fix: the message is one line per defect, and says what is wrong, where, and what to do.

    A class of its own, so that a ValueError of torch, numpy or na_ray itself is never shown as the user's mistake.
    """


class StorageError(OSError):
    """A storage behind a URL is not reached, or refuses: the message is one line that names the URL."""


MISTAKES = (
    UserError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
    StorageError,
)
"""What a user can fix: commands print these, one line per defect, without a traceback."""


AUTO = "auto"
"""A selection that follows from the capture."""


def parse_indices(spec: str, count: int | None = None, name: str = "") -> list[int]:
    """Read a selection of views or frames: `"0,3,7,10"`, `"0..11"` (the end is exclusive) or `"all"`.

    `count` is how many there are: it closes `"all"` and open ends (`"5.."`, `"..11"`), and bounds the rest. `name` is
    the knob or option that the selection is the value of.
    Raises UserError for a malformed selection, an empty one, or an index that does not exist.
    """
    where = f"{name}: " if name else ""
    check_selection(spec, name)
    chosen: list[int] = []
    for part in (".." if spec == "all" else spec).split(","):
        start, dots, stop = part.partition("..")
        if dots and not stop and count is None:
            raise UserError(f"{where}{spec!r} has an open end, and how many there are is not known here")
        chosen += range(int(start or 0), int(stop) if stop else int(count or 0)) if dots else [int(start)]
    if not chosen:
        raise UserError(f"{where}{spec!r} selects nothing" + ("" if count is None else f" of {count}"))
    if count is not None and max(chosen) >= count:
        raise UserError(f"{where}{spec!r} asks for number {max(chosen)}, but there are {count}, numbered from 0")
    return list(dict.fromkeys(chosen))


def check_selection(spec: str, name: str = "") -> None:
    """Raise UserError unless `parse_indices` could read the selection, however many there are to select from."""
    if not re.fullmatch(r"all|([0-9]+|[0-9]*\.\.[0-9]*)(,([0-9]+|[0-9]*\.\.[0-9]*))*", spec):
        where = f"{name}: " if name else ""
        raise UserError(f"{where}{spec!r} is no selection: write '0,3,7', '0..11' (the end is exclusive) or 'all'")


def check(config: object, name: str, rule: bool, expected: str) -> None:
    """Refuse a value out of range, naming the knob as the user types it, the value and the rule."""
    if not rule:
        raise UserError(f"{knob(type(config), name)} is {getattr(config, name)!r}: it must be {expected}")


def knob(cls: type, name: str) -> str:
    """The dotted name of a field: `data.frames` of `DataConfig`, `name` of `Experiment`."""
    section = cls.__name__.removesuffix("Config")
    return name if section == cls.__name__ else f"{section.lower()}.{name}"


def to_dict(config: Any) -> dict[str, Any]:
    """A section or an experiment as plain nested dicts, ready for JSON."""
    return dataclasses.asdict(config)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of all knobs: `{"optim.lr": 2e-4, ...}`."""
    flat: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        nested = dataclasses.is_dataclass(value)
        flat |= flatten(value, f"{prefix}{f.name}.") if nested else {prefix + f.name: value}
    return flat


def _unknown(cls: type, name: str, names: list[str]) -> UserError:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {knob(cls, near[0])!r}?" if near else "."
    return UserError(f"there is no knob {knob(cls, name)!r}{hint} There are: {', '.join(knob(cls, n) for n in names)}")


def _coerce(kind: Any, value: Any) -> Any:
    """Turn what JSON or a sweep gives (lists for tuples, ints for floats) into the declared type; leave the rest."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(option)[0]
            return tuple(_coerce(inner, v) for v in value)
        if option is float and type(value) is int:
            return float(value)
    return value


def _fits(kind: Any, value: Any) -> bool:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return value in args
    if origin is tuple:
        parts = args if args[-1] is not Ellipsis else (args[0],) * len(value) if isinstance(value, tuple) else args
        return isinstance(value, tuple) and len(parts) == len(value) and all(map(_fits, parts, value))
    if args:
        return any(_fits(a, value) for a in args)
    if kind is type(None):
        return value is None
    return isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool))


_SPELLED = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", type(None): "none"}


def _spelled(kind: Any) -> str:
    """A declared type, as a user says it: `a whole number or none`, `two numbers`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        inner = _spelled(args[0])
        return f"a list, each {inner}" if args[-1] is Ellipsis else f"a list of {len(args)}, each {inner}"
    return " or ".join(map(_spelled, args)) if args else _SPELLED[kind]


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Build `cls` from what `to_dict` gave. Raises UserError for unknown names and values of a wrong type."""
    kinds = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    arguments = {}
    for name, value in values.items():
        if name not in names:
            raise _unknown(cls, name, names)
        if dataclasses.is_dataclass(kinds[name]):
            if not isinstance(value, dict):
                raise UserError(f"{knob(cls, name)} is {value!r}: expected its fields by name")
            arguments[name] = from_dict(typing.cast(type, kinds[name]), value)
            continue
        arguments[name] = _coerce(kinds[name], value)
        if not _fits(kinds[name], arguments[name]):
            raise UserError(f"{knob(cls, name)} is {value!r}: expected {_spelled(kinds[name])}")
    return cls(**arguments)


def override(config: Any, changes: dict[str, Any]) -> Any:
    """A copy with the knobs of the dotted names changed: `override(LAN, {"optim.lr": 1e-4})`."""
    values = to_dict(config)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        section, cls = values, type(config)
        for name in path:
            if not isinstance(section.get(name), dict):
                raise _unknown(cls, name, list(section))
            section, cls = section[name], typing.get_type_hints(cls)[name]
        if last not in section:
            raise _unknown(cls, last, list(section))
        section[last] = value
    return from_dict(type(config), values)
