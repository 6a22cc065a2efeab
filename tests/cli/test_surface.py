"""What a user types first: recipes, files of knobs, help, the version; and that help is cheap and options do not creep.

An option that is added, renamed or dropped on purpose: python tests/cli/test_surface.py > tests/data/cli_options.txt
"""

import ast
import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

import na_ray
from na_ray.cli.main import COMMANDS, PREPARE_WORDS, overview
from na_ray.cli.train import SweepCommand, TrainCommand
from na_ray.config import override
from na_ray.recipes import DEMO, LAN, RECIPES
from tests.cli.conftest import Shell

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "tests" / "data" / "cli_options.txt"
HEAVY = ("torch", "ray", "mlflow", "av", "scipy", "pandas", "trimesh", "warp", "optuna", "fsspec", "PIL")


def command_class(name: str) -> type:
    command = COMMANDS[name]
    found = vars(importlib.import_module(f"na_ray.cli.{command.module}"))[command.name]
    assert isinstance(found, type)
    return found


def test_the_version_stands_in_one_place(shell: Shell) -> None:
    assert shell.run("--version") == (0, f"na-ray {na_ray.__version__}\n", "")
    assert re.fullmatch(r"\d+\.\d+\.\d+", na_ray.__version__)
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project and 'version = { attr = "na_ray.version.__version__" }' in project
    assert "\nversion = " not in project.partition("[tool.setuptools.dynamic]")[0]


def test_types_travel_with_the_package() -> None:
    assert (Path(na_ray.__file__).parent / "py.typed").is_file()
    assert 'na_ray = ["py.typed"' in (ROOT / "pyproject.toml").read_text()


def test_the_overview_lists_every_command_in_a_line(shell: Shell) -> None:
    code, out, _ = shell.run("--help")
    assert code == 0 and out == overview() + "\n" and max(map(len, out.splitlines())) <= 120
    for name, command in COMMANDS.items():
        assert len(re.findall(rf"^  {name} +{re.escape(command.summary)}$", out, re.MULTILINE)) == 1
        assert command_class(name).__doc__
    assert shell.run()[0] == 2


def test_the_overview_loads_no_parser_of_options_either() -> None:
    script = "import sys\nsys.argv = ['na-ray', '--help']\nfrom na_ray.cli.main import main\n"
    script += "try:\n    main()\nfinally:\n    print(len(sys.modules), 'tyro' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    count, tyro_loaded, numpy_loaded = done.stdout.splitlines()[-1].split()
    assert (tyro_loaded, numpy_loaded) == ("False", "False") and int(count) < 300


def test_help_waits_for_nothing_heavy() -> None:
    lines = [[name, "--help"] for name in COMMANDS]
    lines += [
        ["prepare", "normals", "--help"],
        ["prepare", "textures", "--help"],
        ["prepare", "all", "--help"],
        ["prepare", "track", "--help"],
        ["train", "lan", "--help"],
        ["sweep", "demo", "--help"],
    ]
    lines += [["train", "lan", "--print-config"]]
    script = (
        "import sys\nfrom na_ray.cli.main import main\n"
        f"for line in {lines!r}:\n    sys.argv = ['na-ray', *line]\n    try:\n        main()\n"
        "    except SystemExit as ended:\n"
        f"        print(line, ended.code, [s for s in {HEAVY!r} if s in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stderr.splitlines() == [f"{line} 0 []" for line in lines]


def test_a_word_that_is_no_command_or_recipe_is_one_line_with_those_that_exist(shell: Shell) -> None:
    for arguments, expected in (
        (["trian"], "error: na-ray has no command 'trian'; it has: synth, "),
        (["train"], "error: na-ray train expects a recipe first: one of demo, lan, splats\n"),
        (["sweep", "--trials", "3"], "error: na-ray sweep expects a recipe first: one of demo, lan, splats\n"),
        (["train", "lann"], "error: there is no recipe 'lann'; there are: demo, lan, splats\n"),
    ):
        code, out, err = shell.run(*arguments)
        assert code == 2 and err.startswith(expected) and err.count("\n") == 1 and not out


def test_traceback_goes_with_any_command_and_stands_anywhere(shell: Shell) -> None:
    for arguments in (
        ["--traceback", "extract", "-i", "nowhere", "-o", "out", "-f", "3"],
        ["train", "lann", "--traceback"],
    ):
        code, _, err = shell.run(*arguments)
        assert code == 2 and err.startswith("Traceback") and err.splitlines()[-1].startswith("error: ")
    assert shell.run("--traceback", "--help")[0] == 0


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_help_of_a_recipe_lists_knobs_with_its_values(shell: Shell, command: str) -> None:
    code, out, _ = shell.run(command, "--help")
    assert code == 0 and "recipes: demo, lan" in out
    code, out, _ = shell.run(command, "lan", "--help")
    assert code == 0 and "--optim.lr FLOAT" in out and f"na-ray {command} lan" in out
    assert "300000" in out and "--config" in out and "--resume" in out


def test_a_recipe_trains_under_its_own_name(shell: Shell, tmp_path: Path) -> None:
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {name: name for name in RECIPES}
    code, out, _ = shell.run("train", "lan", "--print-config")
    assert code == 0 and out.startswith("name: lan\n")
    (tmp_path / "printed.yaml").write_text(out)
    assert shell.run("train", "demo", "--config", tmp_path / "printed.yaml", "--print-config")[1] == out


def test_options_go_before_the_file_and_the_file_before_the_recipe(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim: {lr: 1e-4}\nnerf.samples_per_ray: 32\nname: mine\n")
    wanted = override(LAN, {"optim.lr": 5e-3, "nerf.samples_per_ray": 32, "name": "mine", "train.seed": 9})
    options = ["--optim.lr", "5e-3", f"--config={file}", "--train.seed", 9, "--print-config"]
    for command in ("train", "sweep"):
        code, out, err = shell.run(command, "lan", *options)
        assert code == 0, err
        (tmp_path / "out.yaml").write_text(out)
        assert shell.run(command, "demo", "--config", tmp_path / "out.yaml", "--print-config")[1] == out
        code, script_out, _ = shell.run(command, *options, experiment=LAN)
        assert (code, script_out) == (0, out)
        code, printed, _ = shell.run("--print-config", experiment=wanted)
        assert printed == out


def test_a_mistake_in_a_file_is_one_line(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim: {lrr: 1e-4}\n")
    for arguments in (["train", "lan"], ["sweep", "lan"]):
        code, out, err = shell.run(*arguments, "--config", file)
        assert (code, out, err) == (2, "", f"error: {file}: there is no knob 'optim.lrr'; did you mean 'optim.lr'?\n")


def test_a_recipe_of_a_script_s_own_is_three_lines(shell: Shell) -> None:
    mine = override(DEMO, {"name": "mine", "nerf.samples_per_ray": 12})
    code, out, _ = shell.run("--print-config", experiment=mine)
    assert code == 0 and out.startswith("name: mine\n") and "  samples_per_ray: 12\n" in out


def test_recipes_are_values_that_import_config_alone() -> None:
    for path in sorted((ROOT / "na_ray" / "recipes").glob("*.py")):
        tree = ast.parse(path.read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert all(m and m.startswith(("na_ray.config", "na_ray.recipes")) for m in modules), path
        assert not [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import)], path


def options(*words: str) -> Iterator[str]:
    """A line an option of a command: its names and what it takes, as its `--help` has them."""
    command, *rest = words
    kind = command_class(command)
    default = {"default": kind(DEMO)} if kind in (TrainCommand, SweepCommand) else {}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        tyro.cli(kind, prog="na-ray", args=[*rest, "--help"], **default)
    for line in shown.getvalue().splitlines():
        if (found := re.match(r"[│ ] ((--?[a-z]|[A-Z]{2,} ).*?)(  .*)?[│ ]?$", line)) and "--help" not in line:
            yield f"{' '.join(words)} {found[1].strip()}"


def snapshot() -> str:
    """Every option of every command."""
    commands: list[tuple[str, ...]] = []
    for name in COMMANDS:
        commands += [(name, word) for word in PREPARE_WORDS] if name == "prepare" else [(name,)]
    return "\n".join(line for words in commands for line in options(*words)) + "\n"


def test_options_do_not_creep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert snapshot() == SNAPSHOT.read_text(), "a command's options changed: see the head of this file"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "80"
    print(snapshot(), end="")
