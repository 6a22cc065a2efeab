"""docs/own-data.md, followed word by word in an empty folder: all but the training and what needs its actor."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from test_docs import understood

from na_ray.cli.main import run
from na_ray.pictures.png import read_png
from na_ray.prepare.hypotheses import hypotheses

PAGE = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text()


def shell_lines() -> list[list[str]]:
    """The command lines of the blocks that are marked as shell."""
    blocks = re.findall(r"^```shell\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def test_the_tutorial_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # more processes would take longer to start than to convert
    done, said = [], ""
    for program, word, *arguments in shell_lines():
        done.append(word if program == "na-ray" else program)
        if program == "cp":
            shutil.copy(word, arguments[0])
        elif word in ("train", "animate", "export"):
            understood([word, *arguments])
        else:
            assert program == "na-ray" and run(word, arguments) == 0, capsys.readouterr()
            said = capsys.readouterr().out
    assert done == ["synth", "cp", "convert", "prepare", "inspect", "train", "animate", "export"]
    lines = said.splitlines()
    assert lines[-1] == "no defects"
    aspects = [line.split(": ")[:2] for line in lines if line.startswith("    ")]
    names = ["units", "axes", "intrinsics", "mask", "tracking"]
    assert aspects == [[f"    {name}", "ok"] for name in names * 2], said
    for name in ("overlay", "turntable", "contact_sheet"):
        assert f"looks/{name}.png" in PAGE and read_png(tmp_path / "looks" / f"{name}.png").std() > 10


def test_mistakes_that_the_page_shows_are_those_that_are_tried() -> None:
    known = [hypothesis.found for hypothesis in hypotheses(1.7)]
    known += ["the calibration seems to be in another order than the pictures", "masks/ seem to show the background"]
    shown = [text.split(": ")[0] for text in re.findall(r"`\w+: wrong: ([^`]+)`", PAGE)]
    assert len(shown) >= 7
    assert not [text for text in shown if not any(found.startswith(text) for found in known)]
