"""What a pickle asks for, noted down and not done, and the arrays that such notes stand for.

Sizes are checked against the bytes that are there before anything is made.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGEST_DENSE = 2**25
"""Numbers of a sparse matrix once it is written out: SMPL-X's joint regressor has 2**19."""
LARGEST_WHOLE = 2**25
"""Values of all lists in lists, each written out as often as it is referred to."""
SPARE = 2**27
"""Bytes that all arrays together may have beyond four times the file's: it may make many of the same bytes."""
DEEPEST = 200
"""Lists in lists."""


class RefusedError(Exception):
    """What a pickle asks for and is not given."""


@dataclass(frozen=True)
class Name:
    """A name of the list, where a pickle holds a class or a function."""

    kind: str


@dataclass(eq=False)
class Note:
    """A call that a pickle asks for: not done."""

    kind: str
    args: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def __setitem__(self, key: Any, value: Any) -> None:
        """What a dict of another kind is filled with."""
        self.items[key] = value


class Maker:
    """Arrays from notes. What a pickle refers to twice is made once."""

    def __init__(self, size: int) -> None:
        """`size`: bytes of the file."""
        self._left = SPARE + 4 * size
        """Bytes that arrays may still have."""
        self._made: dict[int, Any] = {}
        self._weights: dict[int, int] = {}
        """How many values each holds, written out."""
        self._kept: list[Any] = []
        """So that no `id` is given to another object while this one lives."""
        self._depth = 0

    def make(self, held: Any) -> Any:
        """What the notes in a value stand for."""
        if not isinstance(held, Note | Name | dict | list | tuple):
            return held
        if id(held) in self._made:
            return self._made[id(held)]
        self._depth += 1
        if self._depth > DEEPEST:
            raise RecursionError
        self._kept.append(held)
        # A list that holds itself finds nothing here, and its own name is refused.
        self._made[id(held)] = None
        made = self._made[id(held)] = self._of(held)
        self._weights[id(held)] = weight = self._weight(held)
        if weight > LARGEST_WHOLE:
            raise RefusedError("repeats its lists without end; expected arrays of numbers: export it again")
        self._depth -= 1
        return made

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise RefusedError("makes more arrays than it has numbers; expected arrays of numbers: export it again")

    def _weight(self, held: Any) -> int:
        parts = held.values() if isinstance(held, dict) else held if isinstance(held, list | tuple) else ()
        return 1 + sum(self._weights.get(id(part), 1) for part in parts)

    def _of(self, held: Any) -> Any:
        if isinstance(held, dict):
            return {self.make(key): self.make(value) for key, value in held.items()}
        if isinstance(held, list):
            return [self.make(value) for value in held]
        if isinstance(held, tuple):
            return tuple(self.make(value) for value in held)
        if isinstance(held, Note):
            return self._of_note(held)
        raise RefusedError(f"holds a {type(held).__name__} where numbers are expected: export it again")

    def _of_note(self, note: Note) -> Any:
        kind, args, state = note.kind, note.args, note.state
        if kind == "reconstructor":
            return self._of_note(Note(args[0].kind, (), state))
        if kind == "encode":
            return _bytes(args[0]) if args else b""
        if kind == "dict":
            pairs = self.make(args[0]) if args else []
            return dict(pairs) | self.make(note.items)
        if kind == "dtype":
            return _dtype(str(args[0]), state)
        if kind in ("array", "ndarray"):
            return self._array(*state[1:5])
        if kind == "buffer":
            data, dtype, shape, order = args[:4]
            return self._array(shape, dtype, order == "F", data)
        if kind == "scalar":
            is_object = self.make(args[0]).kind == "O"
            return self.make(args[1]) if is_object else self._array((), args[0], False, args[1])[()]
        if kind in ("chumpy", "select"):
            return self._chumpy(kind, self.make(state))
        if kind in ("csc", "csr", "coo"):
            found = _dense(kind, self.make(state))
            self._spend(found.nbytes)
            return found
        raise ValueError(f"an empty {kind}")

    def _array(self, shape: Any, dtype: Any, is_fortran: Any, data: Any) -> np.ndarray:
        """An array of just as many bytes as are there."""
        kind = self.make(dtype)
        if not isinstance(kind, np.dtype) or not isinstance(shape, tuple):
            raise ValueError("an array without a type")
        if not all(isinstance(n, int) and 0 <= n < 2**40 for n in shape):
            raise ValueError(f"an array of shape {shape}")
        count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
        order: Any = "F" if is_fortran else "C"
        if kind.kind == "O":
            values = self.make(data)
            if not isinstance(values, list) or len(values) != count:
                raise ValueError("an array of another length than its shape")
            self._spend(8 * count)
            array = np.empty(count, object)
            array[:] = values
            return array.reshape(shape, order=order)
        raw = _bytes(self.make(data))
        if len(raw) != count * kind.itemsize:
            raise ValueError(f"an array of {len(raw)} bytes for {count} numbers of {kind.itemsize}")
        self._spend(len(raw))
        return np.frombuffer(raw, kind).reshape(shape, order=order)

    def _chumpy(self, kind: str, state: Any) -> np.ndarray:
        """The values of a `chumpy.Ch`, or of a choice from one."""
        if kind == "chumpy":
            return np.asarray(state["x"])
        chosen = np.asarray(state["a"]).reshape(-1)[np.asarray(state["idxs"], np.int64).reshape(-1)]
        self._spend(chosen.nbytes)
        shape = state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(tuple(int(n) for n in shape))


def _bytes(data: Any) -> bytes:
    """Python 2's texts hold bytes."""
    if isinstance(data, str):
        return data.encode("latin1")
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    raise ValueError(f"{type(data).__name__} in place of bytes")


def _dtype(code: str, state: Any) -> np.dtype:
    """`f8`, `i4`, `U12`, `O8`: numbers, texts and objects. The byte order is in the state."""
    code = code.lstrip("<>|=")
    if code[:1] == "O":
        return np.dtype(object)
    if code[:1] not in "biufUS" or not code[1:].isdigit() or int(code[1:]) > 4096:
        raise ValueError(f"an array of {code[:20]!r}")
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
    found = np.dtype(code)
    return found.newbyteorder(">") if order == ">" else found


def _dense(kind: str, state: Any) -> np.ndarray:
    """A sparse matrix, written out."""
    if not isinstance(state, dict):
        raise ValueError("a sparse matrix without values")
    rows, columns = (int(n) for n in state.get("_shape") or state["shape"])
    if not (rows >= 0 and columns >= 0 and rows * columns <= LARGEST_DENSE):
        raise RefusedError(f"a sparse matrix of {rows} x {columns}; expected a joint regressor: export it again")
    data = np.asarray(state["data"], np.float64).reshape(-1)
    found = np.zeros((rows, columns))
    if kind == "coo":
        pair = state.get("coords") or (state["row"], state["col"])
        row, column = (np.asarray(places, np.int64) for places in pair)
    else:
        starts, inner = (np.asarray(state[name], np.int64) for name in ("indptr", "indices"))
        if len(starts) != (columns if kind == "csc" else rows) + 1 or (np.diff(starts) < 0).any():
            raise ValueError("a sparse matrix of another shape than its parts")
        outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        row, column = (inner, outer) if kind == "csc" else (outer, inner)
    if not len(row) == len(column) == len(data) or (len(data) and (row.min() < 0 or column.min() < 0)):
        raise ValueError("a sparse matrix of another shape than its parts")
    np.add.at(found, (row, column), data)
    return found
