"""Damaged and hostile inputs for every reader: each is read, or refused by one line; nothing else may happen.

    python benchmarks/fuzz.py [--count 10000] [--seed 0] [--first 0] [--readers obj video ...]
    python benchmarks/fuzz.py --replay 4711 [--seed 0] [--keep FOLDER]      that input again, with its traceback

Input i is a function of (seed, i): a sound file of one kind (`fuzz_files.py`, `fuzz_networks.py`), changed in one to
four places. A finding is an exception that is no user's mistake, a message of several lines, a process that died, an
input that took longer than `SECONDS`, or a file that a pickle wrote. Findings of one kind and place are told once, with
the number of the first. Exit code 1 where there is one.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from fuzz_files import Reader
from fuzz_networks import CANARY, READERS, make_readers

from na_ray.config.values import MISTAKES

SECONDS = 30.0
"""Longer, and an input hangs."""
MOST_CHANGES = 4
TOLD = 1000
"""After so many inputs a line says how far it is."""

TOKENS = (
    *(b"nan", b"inf", b"-1", b"0", b"1e999", b"-1e-320", b"99999999999999999999", b"0x1F", b"1_0", b"1.5", b"1,5"),
    *(b"null", b"true", b"[]", b"{}", b'""', b"[[[]]]", b"f", b"v", b"/", b"//", b"\\\n", b"#", b"\t", b"\r", b"\0"),
    *(b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x85", b"9" * 5000, b"[" * 3000, b'{"a":' * 1500),
)


def change(rng: np.random.Generator, data: bytes) -> bytes:
    """The data with one to four damages."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, MOST_CHANGES]))):
        data = _CHANGES[int(rng.integers(len(_CHANGES)))](rng, data)
    return data


def _place(rng: np.random.Generator, data: bytes) -> int:
    """Anywhere; as often near either end, where headers and directories lie."""
    size, kind = len(data), int(rng.integers(4))
    near = min(size, 256)
    return int(
        (rng.integers(size + 1), rng.integers(near + 1), size - rng.integers(near + 1), rng.integers(size + 1))[kind]
    )


def _cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    held = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if held else 0):
        held[min(_place(rng, data), len(held) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(held)


def _overwrite(rng: np.random.Generator, data: bytes) -> bytes:
    at, size = _place(rng, data), int(2 ** rng.integers(0, 5))
    fill = (bytes(size), b"\xff" * size, rng.bytes(size))[int(rng.integers(3))]
    return data[:at] + fill + data[at + size :]


def _remove(rng: np.random.Generator, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + int(2 ** rng.integers(0, 12)) :]


def _repeat(rng: np.random.Generator, data: bytes) -> bytes:
    at, size = _place(rng, data), int(2 ** rng.integers(0, 12))
    return data[: at + size] + data[at:]


def _token(rng: np.random.Generator, data: bytes) -> bytes:
    """One of `TOKENS` in the place of a word."""
    at = _place(rng, data)
    stop = at
    while stop < len(data) and data[stop] not in b" \n,]}/" and stop < at + 24:
        stop += 1
    return data[:at] + TOKENS[int(rng.integers(len(TOKENS)))] + data[stop:]


def _line(rng: np.random.Generator, data: bytes) -> bytes:
    """A line moved, doubled or left out."""
    lines = data.split(b"\n")
    line = lines.pop(int(rng.integers(len(lines))))
    for _ in range(int(rng.integers(3))):
        lines.insert(int(rng.integers(len(lines) + 1)), line)
    return b"\n".join(lines)


_CHANGES = (_cut, _flip, _flip, _overwrite, _overwrite, _remove, _repeat, _token, _token, _line)


def attempt(reader: Reader, data: bytes, folder: Path) -> str:
    """`read`, `refused`, or what happened instead and where. Raises nothing."""
    path = reader.write(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow and torch warn of what they then refuse
            reader.read(path)
        outcome = "read"
    except MISTAKES as mistake:
        text = str(mistake)
        lines = reader.many_lines or "\n" not in text
        outcome = "refused" if lines and text else f"a message of several lines: {text[:200]!r}"
    except BaseException as error:  # whatever it is, it is what is looked for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "na_ray/" in f.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        outcome = f"{type(error).__name__} in {Path(frame.filename).name}, from {at}"
    if (folder / CANARY).exists():
        (folder / CANARY).unlink()
        outcome = "code of the file was run"
    return outcome


def made(seed: int, number: int, readers: dict[str, Reader]) -> tuple[Reader, bytes]:
    """Input `number`: which reader gets it, and its bytes."""
    rng = np.random.default_rng([seed, number])
    reader = readers[sorted(readers)[number % len(readers)]]
    data = reader.seeds[int(rng.integers(len(reader.seeds)))]
    return reader, data if reader.hostile and rng.random() < 0.1 else change(rng, data)


def work(pipe: Connection, names: list[str], seed: int, numbers: range) -> None:
    """Read some inputs in this process: (number, reader, outcome) through the pipe, each before the next begins."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:
        sys.stdout = sys.stderr = nothing
        readers = make_readers(Path(folder), names)
        pipe.send((-1, "", "ready"))
        for number in numbers:
            reader, data = made(seed, number, readers)
            pipe.send((number, reader.name, attempt(reader, data, Path(folder))))


def run(names: list[str], seed: int, numbers: range, found: Counter[str], first: dict[str, int]) -> None:
    """All inputs, by a process that is replaced where it dies or hangs."""
    context, done = multiprocessing.get_context("spawn"), 0
    while done < len(numbers):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(there, names, seed, numbers[done:]), daemon=True)
        process.start()
        there.close()
        limit = 300.0  # of the first message: torch is imported
        while done < len(numbers):
            try:
                number, name, outcome = here.recv() if here.poll(limit) else (numbers[done], "?", "hangs")
            except EOFError:
                number, name, outcome = numbers[done], "?", "the process died"
            limit = SECONDS
            if number < 0:
                continue
            name = sorted(names)[number % len(names)] if name == "?" else name
            done += 1
            found[f"{name}: {outcome}"] += 1
            first.setdefault(f"{name}: {outcome}", number)
            if done % TOLD == 0:
                print(f"{done} inputs, {len(findings(found))} kinds of findings", file=sys.stderr, flush=True)
            if outcome in ("hangs", "the process died"):
                break
        process.kill()
        process.join()


def findings(found: Counter[str]) -> dict[str, int]:
    """What should not happen, and how often it did."""
    return {key: n for key, n in found.items() if key.split(": ", 1)[1] not in ("read", "refused")}


def replay(names: list[str], seed: int, number: int, keep: Path | None) -> None:
    """One input again, with its traceback."""
    with tempfile.TemporaryDirectory() as folder:
        readers = make_readers(Path(folder), names)
        reader, data = made(seed, number, readers)
        path = reader.write(data)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / path.name).write_bytes(data)
        print(f"{reader.name}: {path.name}, {len(data)} bytes", flush=True)
        print(reader.read(path))


def main() -> int:
    """See the head of this file."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--count", type=int, default=10_000)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--first", type=int, default=0)
    words.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    words.add_argument("--replay", type=int)
    words.add_argument("--keep", type=Path)
    args = words.parse_args()
    if args.replay is not None:
        replay(args.readers, args.seed, args.replay, args.keep)
        return 0
    found: Counter[str] = Counter()
    first: dict[str, int] = {}
    began = time.perf_counter()
    run(args.readers, args.seed, range(args.first, args.first + args.count), found, first)
    seconds = time.perf_counter() - began
    odd = findings(found)
    for name in sorted(args.readers):
        print(f"{name:12} {found[f'{name}: read']:7} read {found[f'{name}: refused']:7} refused")
    print(f"{found.total()} inputs in {seconds:.0f} s, {len(odd)} kinds of findings")
    for key in sorted(odd):
        print(json.dumps({"finding": key, "times": odd[key], "first": first[key]}))
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
