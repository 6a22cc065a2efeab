"""Pickles of other programs, read without running anything: numbers, texts, lists, dicts and arrays.

A pickle is a program that builds objects by calling whatever it names. Here it calls nothing: each name on a short list
becomes a note of what was asked for (`_Note`), and the arrays are made from those notes afterwards, their sizes checked
against the bytes that are there. Every other name is refused. Python's reader in Python is used, since the one in C
gives a file of some bytes gigabytes of memo.
"""

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar

import numpy as np

from na_ray.config.values import UserError

LARGEST_DENSE = 2**25
"""Numbers of a sparse matrix once it is written out: SMPL-X's joint regressor has 2**19."""
DEEPEST = 200
"""Lists in lists."""

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_COPYREG, _BUILTINS = ("copy_reg", "copyreg"), ("__builtin__", "builtins")
NO_FUNCTION = "asks to call what is no function; expected arrays of numbers: export it again"
_SPARSE = ("scipy.sparse", "scipy.sparse._{0}", "scipy.sparse.{0}")
KNOWN: dict[tuple[str, str], str] = {
    **{(module, "_reconstruct"): "array" for module in _MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in _MULTIARRAY},
    **{(module, "_frombuffer"): "buffer" for module in _NUMERIC},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    **{(module, "_reconstructor"): "reconstructor" for module in _COPYREG},
    **{(module, "object"): "object" for module in _BUILTINS},
    ("_codecs", "encode"): "encode",
    **{(module, "bytes"): "encode" for module in _BUILTINS},
    ("collections", "OrderedDict"): "dict",
    ("chumpy.ch", "Ch"): "chumpy",
    ("chumpy", "Ch"): "chumpy",
    ("chumpy.reordering", "Select"): "select",
    **{
        (module.format(kind), f"{kind}_{shape}"): kind
        for kind in ("csc", "csr", "coo")
        for shape in ("matrix", "array")
        for module in _SPARSE
    },
}
"""(module, name) in a pickle -> the kind of the note that it becomes. Nothing else is let in."""


class _RefusedError(Exception):
    """What a pickle asks for and is not given."""


@dataclass(frozen=True)
class _Name:
    """A name of the list, where a pickle holds a class or a function."""

    kind: str


@dataclass(eq=False)
class _Note:
    """A call that a pickle asks for: not done."""

    kind: str
    args: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def __setitem__(self, key: Any, value: Any) -> None:
        """What a dict of another kind is filled with."""
        self.items[key] = value


def load_pickle(data: bytes, where: str) -> Any:
    """What a pickle holds, as dicts, lists, texts, numbers and arrays of numbers or texts. Raises UserError."""
    try:
        held = _Reader(BytesIO(data), encoding="latin1").load()
        return _Maker().make(held)
    except _RefusedError as refused:
        raise UserError(f"{where}: {refused}") from None
    except RecursionError:
        raise UserError(f"{where}: lists in lists without end; expected a file of numbers: export it again") from None
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(MemoryError, OverflowError, AssertionError, struct.error, UnicodeError, NotImplementedError),
    ) as error:
        what = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{where}: damaged, or no pickle ({what}): copy the file again") from None


class _Reader(pickle._Unpickler):  # private, and as old as Python 3
    """Python's own reader, with every instruction that calls something replaced by a note."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    readline: Any
    pop_mark: Any

    def find_class(self, module: str, name: str) -> _Name:
        """A name of the list. Raises for all others."""
        kind = KNOWN.get((module, name))
        if kind is None:
            shown = f"{module}.{name}"[:80].encode("ascii", "backslashreplace").decode().replace("\n", " ")
            todo = "expected arrays of numbers: export it again as .npz"
            raise _RefusedError(f"asks to run {shown}, which is not done; {todo}")
        return _Name(kind)

    def persistent_load(self, pid: Any) -> Any:
        """References out of the file are none of ours."""
        raise _RefusedError("refers to something outside of the file; expected arrays of numbers: export it again")

    def get_extension(self, code: int) -> None:
        """Of registered classes."""
        raise _RefusedError(f"asks for the registered class {code}; expected arrays of numbers: export it again")

    def _call(self, name: Any, args: Any) -> None:
        if not isinstance(name, _Name) or not isinstance(args, tuple):
            raise _RefusedError(NO_FUNCTION)
        self.stack.append(_Note(name.kind, args))

    def load_reduce(self) -> None:
        """Of (function, arguments)."""
        args = self.stack.pop()
        self._call(self.stack.pop(), args)

    def load_newobj_ex(self) -> None:
        """Of (class, arguments, named arguments): the named ones are none of ours."""
        if self.stack.pop():
            raise _RefusedError(NO_FUNCTION)
        self.load_reduce()

    def load_inst(self) -> None:
        """Of a class by its name in the text, and the arguments on the stack."""
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        args = tuple(self.pop_mark())
        self._call(self.find_class(module, name), args)

    def load_obj(self) -> None:
        """Of the class and the arguments on the stack."""
        cls, *args = self.pop_mark()
        self._call(cls, tuple(args))

    def load_build(self) -> None:
        """A state for what was made."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Note):
            raise _RefusedError("changes what is no object; expected arrays of numbers: export it again")
        self.stack[-1].state = state

    dispatch |= {
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.INST[0]: load_inst,
        pickle.OBJ[0]: load_obj,
        pickle.BUILD[0]: load_build,
    }


class _Maker:
    """Arrays from notes. What a pickle refers to twice is made once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []
        """So that no `id` is given to another object while this one lives."""
        self._depth = 0

    def make(self, held: Any) -> Any:
        """What the notes in a value stand for."""
        if not isinstance(held, _Note | _Name | dict | list | tuple | set | frozenset):
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
        self._depth -= 1
        return made

    def _of(self, held: Any) -> Any:
        if isinstance(held, dict):
            return {self.make(key): self.make(value) for key, value in held.items()}
        if isinstance(held, list):
            return [self.make(value) for value in held]
        if isinstance(held, tuple):
            return tuple(self.make(value) for value in held)
        if isinstance(held, _Note):
            return self._of_note(held)
        raise _RefusedError(f"holds a {type(held).__name__} where numbers are expected: export it again")

    def _of_note(self, note: _Note) -> Any:
        kind, args, state = note.kind, note.args, note.state
        if kind == "reconstructor":
            return self._of_note(_Note(args[0].kind, (), state))
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
            return _dense(kind, self.make(state))
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
            array = np.empty(count, object)
            array[:] = values
            return array.reshape(shape, order=order)
        raw = _bytes(self.make(data))
        if len(raw) != count * kind.itemsize:
            raise ValueError(f"an array of {len(raw)} bytes for {count} numbers of {kind.itemsize}")
        return np.frombuffer(raw, kind).reshape(shape, order=order)

    def _chumpy(self, kind: str, state: Any) -> np.ndarray:
        """The values of a `chumpy.Ch`, or of a choice from one."""
        if kind == "chumpy":
            return np.asarray(state["x"])
        chosen = np.asarray(state["a"]).reshape(-1)[np.asarray(state["idxs"], np.int64).reshape(-1)]
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
        raise _RefusedError(f"a sparse matrix of {rows} x {columns}; expected a joint regressor: export it again")
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
