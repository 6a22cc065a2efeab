"""A training's output where nobody takes it."""

import contextlib
import os
from pathlib import Path

import pytest

from na_ray.cli.output import unheard


def test_a_full_disk_and_a_closed_pipe_end_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    told = []
    with contextlib.suppress(OSError), open(writer, "w") as pipe, open("/dev/full", "w") as full:
        for stream in (pipe, full):
            with pytest.raises(OSError):
                print("a line", file=stream, flush=True)
            patient = unheard(stream)
            for _ in range(3):
                print("a line", file=patient, flush=True)
            told.append(stream)
    assert len(told) == 2


def test_what_is_taken_arrives_at_once(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        patient = unheard(stream)
        print("Ein Satz für Ärzte", file=patient)
        assert (tmp_path / "log").read_text() == "Ein Satz für Ärzte\n"
        assert patient.encoding == "utf-8" and not patient.isatty() and patient.fileno() == stream.fileno()
