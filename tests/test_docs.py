"""The pages: their links and commands, and the pictures of docs/mlflow.md, which `make docs` takes."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from na_ray.cli.main import COMMANDS, with_word
from na_ray.cli.train import SweepCommand, TrainCommand, parsed
from na_ray.config import Experiment
from na_ray.recipes import RECIPES
from na_ray.run.sweep.search_space import parse_space

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MLFLOW = (ROOT / "docs" / "mlflow.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`docs/build.py`, as a script would be."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return module("docs/build.py")


def module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def pictures(text: str) -> list[str]:
    return re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()) if "://" not in link]
    assert not [link for link in linked if not (page.parent / link).exists()]


def test_the_front_page_is_short_and_leads_to_every_page() -> None:
    assert README.count("\n") < 120
    linked = {(ROOT / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link}
    assert set((ROOT / "docs").glob("*.md")) <= linked
    records = (ROOT / "docs" / "design" / "README.md").read_text()
    assert {p.name for p in (ROOT / "docs" / "design").glob("*.md")} - {"README.md"} == set(
        re.findall(r"\]\(([^)]+)\)", records)
    )


def commands_of(page: Path) -> list[list[str]]:
    """The na-ray and experiment command lines of a page, split as a shell would."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    found = [line for line in lines if line.startswith(("na-ray ", "python experiments/"))]
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_a_page_are_understood(page: Path) -> None:
    for command in commands_of(page):
        words = [word for word in command if not re.match(r"[>|&]", word)]
        if words[0] == "python":
            name, words = Path(words[1]).stem, words[2:]
            words = words if words[:1] in (["train"], ["sweep"]) else ["train", *words]
            words = [words[0], name, *words[1:]]
        else:
            words = words[1:]
        understood(words)


def understood(words: list[str]) -> None:
    """Parse a command line of na-ray as it would be, and do nothing."""
    word, *arguments = words
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    if word == "--help" or "--help" in arguments:
        return
    command = COMMANDS[word]
    if word in ("train", "sweep"):
        kept = [a for i, a in enumerate(arguments) if "mine.yaml" not in (a, *arguments[i + 1 : i + 2])]
        found = parsed(word, RECIPES[kept[0]], kept[1:], "na-ray")
        if isinstance(found, SweepCommand) and found.space:
            parse_space(found.space, found.experiment)
        return
    kind = vars(importlib.import_module(f"na_ray.cli.{command.module}"))[command.name]
    tyro.cli(kind, prog="na-ray", args=with_word(word, arguments))


FOREIGN = {"CUDA out of memory", "No module named na_ray", "Token authentication is enabled but ..."}
"""Messages of torch, Python and Ray, which the page on troubleshooting explains too."""


def literals() -> Iterator[str]:
    """Texts of the package as patterns: what is filled in matches anything."""
    for path in (ROOT / "na_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [str(p.value) if isinstance(p, ast.Constant) else None for p in parts]
            if sum(len(text or "") for text in texts) >= 12 and isinstance(node, ast.JoinedStr | ast.Constant):
                yield ".+?".join(re.escape(text) if text else "" for text in texts)


def test_messages_that_are_explained_exist() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    heads = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")]
    messages = [m for head in heads for m in re.findall(r"`([^`]{12,})`", head) if " " in m and m not in FOREIGN]
    patterns = [re.compile(p) for p in literals() if len(p) < 400]
    assert len(messages) > 8
    plain = [p.pattern.replace("\\", "") for p in patterns]  # a message may also be the beginning of one
    assert not [m for m in messages if not any(p.search(m) for p in patterns) and not any(m in text for text in plain)]


def test_the_build_takes_the_pictures_that_the_page_shows(build: ModuleType) -> None:
    shown = pictures(build.section(MLFLOW))
    assert sorted(shown) == sorted(f"mlflow-{name}.png" for name in build.SHOTS)
    assert {p.name for p in (ROOT / "docs").glob("mlflow-*.png")} == set(shown)
    assert max((ROOT / "docs" / path).stat().st_size for path in shown) <= 120_000


def test_the_commands_behind_the_pictures_hold(build: ModuleType) -> None:
    demo: Experiment = module("experiments/demo.py").DEMO
    script = build.commands(build.section(MLFLOW)).replace("\\\n", " ")
    coarse, fine, sweep = (shlex.split(line) for line in script.splitlines())
    trained = {}
    for program, path, command, *options in (coarse, fine):
        assert (program, path, command) == ("python", "experiments/demo.py", "train")
        found = tyro.cli(TrainCommand, args=options, default=TrainCommand(demo)).experiment
        trained[found.name] = found
    assert set(trained) == {"coarse", "fine"} <= build.labels(build.section(MLFLOW))
    assert {e.project for e in trained.values()} == {"demo"}
    assert len({(e.nerf.samples_per_ray, e.optim.lr) for e in trained.values()}) == 2
    assert sweep[:3] == ["python", "experiments/demo.py", "sweep"]
    searched = tyro.cli(SweepCommand, args=sweep[3:], default=SweepCommand(demo))
    assert set(parse_space(searched.space, searched.experiment)) == {"nerf.samples_per_ray", "optim.lr"}


def test_labels_are_what_the_prose_names(build: ModuleType) -> None:
    text = "\n    python *not* `nor this`\n\nPress *Compare* beside `a b`, *Show\ndiff*.\n\n![no *this*](x.png)\n"
    assert build.labels(text) == {"Compare", "a b", "Show diff"}


def test_a_missing_browser_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "build.py"), "--keep", str(tmp_path / "scratch")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)}, timeout=500)
    assert done.returncode == 2 and not done.stdout and not list(tmp_path.iterdir())
    assert done.stderr.splitlines()[0].startswith("error: ") and "apt-get install chromium" in done.stderr
    assert "Traceback" not in done.stderr
