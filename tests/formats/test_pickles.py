"""Pickles are read by an allow-list: arrays come back, and nothing that a file names is called."""

import io
import pickle
import pickletools
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import scipy.sparse as sp

from na_ray.config.values import UserError
from na_ray.formats.arrays import read_npy, read_npz
from na_ray.formats.pickles import load_pickle

VALUES = {
    "floats": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "bc"]),
    "objects": np.array([{"a": 1}, None], dtype=object),
    "scalar": np.float32(1.5),
    "empty": np.zeros((0, 3)),
    "nested": [{"x": (1, "y", None, True, 2**70)}],
    "ordered": OrderedDict(a=1, b=[2]),
}


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_pickles_comes_back(protocol):
    found = load_pickle(pickle.dumps(VALUES, protocol), "f.pkl")
    assert found.keys() == VALUES.keys()
    for name, value in VALUES.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype or name == "big_endian"
            np.testing.assert_array_equal(found[name], value)
        else:
            assert found[name] == value


@pytest.mark.parametrize("kind", [sp.csc_matrix, sp.csr_matrix, sp.coo_matrix, sp.csc_array])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_sparse_matrices_are_written_out(kind, protocol):
    dense = np.zeros((3, 5))
    dense[0, 2], dense[2, 4] = 1.5, -2
    np.testing.assert_array_equal(load_pickle(pickle.dumps(kind(dense), protocol), "f"), dense)


PYTHON_2 = (
    b"\x80\x02}U\x01aqcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01K\x02\x85cnumpy\n"
    b"dtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
    + np.array([1.5, -2.0]).tobytes()
    + b"tbs."
).replace(b"U\x01aq", b"U\x01a")
"""{'a': an array}, as Python 2 writes it: bytes are texts."""


def test_python_2s_arrays_come_back():
    np.testing.assert_array_equal(load_pickle(PYTHON_2, "f")["a"], [1.5, -2.0])


@pytest.fixture
def chumpy(monkeypatch):
    """Modules of chumpy's names, whose classes pickle as chumpy's do: by their __dict__."""
    ch, reordering = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    for module, name in ((ch, "Ch"), (reordering, "Select")):
        kind = type(
            name, (), {"__module__": module.__name__, "__init__": lambda self, **state: vars(self).update(state)}
        )
        setattr(module, name, kind)
    for module in (types.ModuleType("chumpy"), ch, reordering):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return ch.Ch, reordering.Select


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_chumpys_values_come_back_without_chumpy(chumpy, protocol, monkeypatch):
    Ch, Select = chumpy
    whole = Ch(x=np.arange(12.0).reshape(3, 4), dterms=("x",))
    part = Select(a=whole, idxs=np.array([1, 3]), preferred_shape=(2, 1))
    data = pickle.dumps({"a": whole, "b": part}, protocol)
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    found = load_pickle(data, "f")
    np.testing.assert_array_equal(found["a"], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(found["b"], [[1.0], [3.0]])


class Call:
    def __init__(self, function, *args):
        self.given = function, args

    def __reduce__(self):
        return self.given


def laughs(kind):
    """Eighty lists, each two times the one before."""
    value = kind(["ha"])
    for _ in range(80):
        value = kind([value, value])
    return pickle.dumps(value, 3)


def deep():
    return b"\x80\x04" + b"]" * 5000 + b"a" * 4999 + b"."


def array_of(shape, data=b"12345678", kind="f8"):
    """A pickled array whose shape says other than its bytes."""
    dtype = f"cnumpy\ndtype\n(V{kind}\nI0\nI1\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb"
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR(I1\n"
    return b"\x80\x03" + head + shape + dtype.encode() + b"I00\nC" + bytes([len(data)]) + data + b"tb."


def many_of_the_same():
    """A text of a megabyte, and 200 arrays of it."""
    one = array_of(b"(I131072\nt")
    text = b"X" + (2**20).to_bytes(4, "little") + bytes(2**20)
    first, again = (one[2:-1].replace(b"C\x08" + b"12345678", part) for part in (text + b"q\x07", b"h\x07"))
    return b"\x80\x03](" + first + again * 200 + b"e."


HOSTILE = {
    "os.system": (pickle.dumps(Call(__import__("os").system, "touch /tmp/na_ray_canary")), "asks to run posix.system"),
    "eval": (pickle.dumps(Call(eval, "1")), "asks to run builtins.eval"),
    "getattr": (pickle.dumps(Call(getattr, "a", "upper")), "asks to run builtins.getattr"),
    "np.load": (pickle.dumps(Call(np.load, "x")), "asks to run numpy.load"),
    "np.fromfile": (
        b"cnumpy.core.multiarray\nfromfile\n(V/etc/passwd\ntR.",
        "asks to run numpy.core.multiarray.fromfile",
    ),
    "a method by its path": (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile.\x93.", "asks to run numpy.ndarray.tofile."),
    "an instance": (
        b"(ios\nsystem\nVtouch x\np0\n.".replace(b"(ios\nsystem\n", b"(Vx\nios\nsystem\n"),
        "asks to run os.system",
    ),
    "OBJ": (b"(cos\nsystem\nVx\no.", "asks to run os.system"),
    "a registered class": (b"\x80\x02\x82\x01.", "registered class"),
    "a reference": (b"Pabc\n.", "outside of the file"),
    "a call of a text": (b"\x80\x04\x8c\x01a)R.", "call what is no function"),
    "named arguments": (b"\x80\x04cnumpy\ndtype\n)}\x8c\x01aK\x01s\x92.", "call what is no function"),
    "a state of a function": (b"cnumpy\ndtype\n}Va\nI1\nsb.", "changes what is no object"),
    "a state of a dict": (b"}}Va\nI1\nsb.", "changes what is no object"),
    "2**80 texts in 80 lists": (laughs(list), "repeats its lists"),
    "2**80 texts in 80 tuples": (laughs(tuple), "repeats its lists"),
    "a name that takes 2**80 steps to compare": (b"}" + laughs(tuple)[:-1] + b"K\1s.", "has a tuple for a name"),
    "names that take 2**80 steps": (b"}(" + laughs(tuple)[:-1] + b"K\1u.", "has a tuple for a name"),
    "a dict of them": (b"(" + laughs(tuple)[:-1] + b"K\1d.", "has a tuple for a name"),
    "a frozenset": (pickle.dumps(frozenset([1]), 4), "holds a set"),
    "lists without end": (deep(), "lists in lists"),
    "terabytes": (array_of(b"(I1099511627775\nI1000\nt"), "damaged"),
    "more than is there": (array_of(b"(I2\nt"), "damaged"),
    "less than none": (array_of(b"(I-1\nt"), "damaged"),
    "a type of its own": (array_of(b"(I1\nt", kind="V8"), "damaged"),
    "arrays of terabytes, of the same bytes": (many_of_the_same(), "makes more arrays than it has numbers"),
    "cut off": (pickle.dumps(np.zeros(3))[:-9], "damaged"),
    "nothing": (b"", "damaged"),
    "a memo of gigabytes": (b"\x80\x02K\x01r\xff\xff\xff\xff0.", "damaged"),
    "a set": (pickle.dumps({1, 2}, 4), "holds a set"),
    "an endless sparse matrix": (
        pickle.dumps(sp.csc_matrix((10**6, 10**6))),
        "a sparse matrix of 1000000 x 1000000",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_run_is_refused_in_one_line(name):
    data, expected = HOSTILE[name]
    with pytest.raises(UserError) as error:
        load_pickle(data, "dir/annots.npy")
    text = str(error.value)
    assert text.startswith("dir/annots.npy: ") and expected in text and "\n" not in text


def test_a_thing_that_is_named_twice_is_made_once():
    row = [1.0, 2.0]
    found = load_pickle(pickle.dumps([row, row]), "f")
    assert found == [row, row] and found[0] is found[1]


def test_a_list_within_itself():
    value: list = []
    value.append(value)
    assert load_pickle(pickle.dumps(value), "f") == [None]


def test_all_of_the_reader_is_known():
    """Whoever adds an instruction to pickle adds it here: calls are made by these alone."""
    calling = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "BUILD"}
    naming = {"GLOBAL", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
    plain = {op.name for op in pickletools.opcodes} - calling - naming
    assert len(plain) == 55
    assert "NEXT_BUFFER" in plain and "READONLY_BUFFER" in plain  # refused by Python without buffers


def npy(value, **options):
    held = io.BytesIO()
    np.save(held, value, **options)
    return held.getvalue()


def test_npy_of_objects(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy({"cams": {"K": [np.eye(3)]}}, allow_pickle=True))
    np.testing.assert_array_equal(read_npy(str(tmp_path / "a.npy"))["cams"]["K"][0], np.eye(3))
    (tmp_path / "a.npy").write_bytes(npy(np.asfortranarray(np.eye(3)[:2])))
    np.testing.assert_array_equal(read_npy(str(tmp_path / "a.npy")), np.eye(3)[:2])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "no NumPy file"),
        (b"PK\3\4", "no NumPy file"),
        (npy(np.zeros(3))[:-1], "damaged"),
        (npy(np.zeros(3)).replace(b"(3,), }", b"(-3,),}"), "damaged"),
        (npy(np.zeros(3)).replace(b"'<f8'", b"'V8' "), "damaged"),
        (npy(np.zeros(3)).replace(b"(3,), }  ", b"(10**12,),}"[:9].ljust(9)), "no NumPy file"),
        (npy(Call(eval, "1"), allow_pickle=True), "asks to run builtins.eval"),
    ],
)
def test_broken_npy(tmp_path, data, expected):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(UserError, match=expected) as error:
        read_npy(str(tmp_path / "a.npy"))
    assert "\n" not in str(error.value)


def test_npz_reads_what_is_wanted_alone(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, a=np.eye(2), b=np.array([Call(eval, "1")], dtype=object))
    found = read_npz(path, ("a",))
    np.testing.assert_array_equal(found["a"], np.eye(2))
    assert found["b"] is None
    with pytest.raises(UserError, match=r"b\.npy: asks to run builtins.eval"):
        read_npz(path, ("a", "b"))


def test_an_archive_bomb_is_not_unpacked(tmp_path):
    path = str(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(np.zeros(10**6)))
    with pytest.raises(UserError, match="unpacks to 8 MB; expected at most 1"):
        read_npz(path, ("a",), largest=10**6)
    (tmp_path / "b.npz").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match=r"no readable \.npz"):
        read_npz(str(tmp_path / "b.npz"), ("a",))
