"""Pickles of other programs, read without running anything: numbers, texts, lists, dicts and arrays.

A pickle is a program that builds objects by calling whatever it names. Here it calls nothing: each name on a short list
becomes a note of what was asked for (`Note`), and the arrays are made from those notes afterwards, their sizes checked
against the bytes that are there. Every other name is refused. Python's reader in Python is used, since the one in C
gives a file of some bytes gigabytes of memo.
"""

import pickle
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any, ClassVar

from na_ray.config.values import UserError
from na_ray.formats.pickle_notes import Maker, Name, Note, RefusedError

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


def load_pickle(data: bytes, where: str) -> Any:
    """What a pickle holds, as dicts, lists, texts, numbers and arrays of numbers or texts. Raises UserError."""
    try:
        held = _Reader(BytesIO(data), encoding="latin1").load()
        return Maker(len(data)).make(held)
    except RefusedError as refused:
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

    def find_class(self, module: str, name: str) -> Name:
        """A name of the list. Raises for all others."""
        kind = KNOWN.get((module, name))
        if kind is None:
            shown = f"{module}.{name}"[:80].encode("ascii", "backslashreplace").decode().replace("\n", " ")
            todo = "expected arrays of numbers: export it again as .npz"
            raise RefusedError(f"asks to run {shown}, which is not done; {todo}")
        return Name(kind)

    def persistent_load(self, pid: Any) -> Any:
        """References out of the file are none of ours."""
        raise RefusedError("refers to something outside of the file; expected arrays of numbers: export it again")

    def get_extension(self, code: int) -> None:
        """Of registered classes."""
        raise RefusedError(f"asks for the registered class {code}; expected arrays of numbers: export it again")

    def _call(self, name: Any, args: Any) -> None:
        if not isinstance(name, Name) or not isinstance(args, tuple):
            raise RefusedError(NO_FUNCTION)
        self.stack.append(Note(name.kind, args))

    def load_reduce(self) -> None:
        """Of (function, arguments)."""
        args = self.stack.pop()
        self._call(self.stack.pop(), args)

    def load_newobj_ex(self) -> None:
        """Of (class, arguments, named arguments): the named ones are none of ours."""
        if self.stack.pop():
            raise RefusedError(NO_FUNCTION)
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
        if not isinstance(self.stack[-1], Note):
            raise RefusedError("changes what is no object; expected arrays of numbers: export it again")
        self.stack[-1].state = state

    def load_setitem(self) -> None:
        """One value under a name."""
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self) -> None:
        """Some."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    def load_dict(self) -> None:
        """Some, of a new dict."""
        items = self.pop_mark()
        self.stack.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def refuse_set(self) -> None:
        """What it holds would be compared, which takes as long as a file likes."""
        raise RefusedError("holds a set where numbers are expected: export it again")

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.EMPTY_SET[0]: refuse_set,
        pickle.FROZENSET[0]: refuse_set,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.INST[0]: load_inst,
        pickle.OBJ[0]: load_obj,
        pickle.BUILD[0]: load_build,
    }


def _key(key: Any) -> Any:
    """A name in a dict: tuples in tuples, too, take as long to compare as a file likes."""
    if not isinstance(key, str | bytes | int | float | None):
        raise RefusedError(f"has a {type(key).__name__} for a name; expected a text: export it again")
    return key
