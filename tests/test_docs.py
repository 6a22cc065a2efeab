"""README's pictures and the commands that lead to them. The pictures themselves are taken by `make docs`."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from na_ray.cli.train import SweepCommand, TrainCommand
from na_ray.config import Experiment
from na_ray.run.sweep.search_space import parse_space

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


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


def test_every_link_of_the_readme_leads_somewhere() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    assert linked and not [path for path in linked if "://" not in path and not (ROOT / path).exists()]


def test_the_build_takes_the_pictures_that_readme_shows(build: ModuleType) -> None:
    shown = pictures(build.section(README))
    assert sorted(shown) == sorted(f"docs/mlflow-{name}.png" for name in build.SHOTS)
    assert {p.name for p in (ROOT / "docs").glob("mlflow-*.png")} == {Path(p).name for p in shown}
    assert max((ROOT / path).stat().st_size for path in shown) <= 120_000


def test_readme_s_commands_hold(build: ModuleType) -> None:
    demo: Experiment = module("experiments/demo.py").DEMO
    script = build.commands(build.section(README)).replace("\\\n", " ")
    coarse, fine, sweep = (shlex.split(line) for line in script.splitlines())
    trained = {}
    for program, path, command, *options in (coarse, fine):
        assert (program, path, command) == ("python", "experiments/demo.py", "train")
        found = tyro.cli(TrainCommand, args=options, default=TrainCommand(demo)).experiment
        trained[found.name] = found
    assert set(trained) == {"coarse", "fine"} <= build.labels(build.section(README))
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
