"""The house rules that a linter cannot hold: who may import whom, and how long things get."""

import ast
import collections
import functools
import graphlib
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import jaxtyping
import pytest
import torch

from na_ray.config import AvatarName
from na_ray.models.nerf.encoding import PositionalEncoding

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "na_ray"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = MODULES + sorted(itertools.chain(*(ROOT.glob(f"{d}/**/*.py") for d in ("experiments", "benchmarks", "docs"))))

LAYERS = (
    {"config", "version"},
    {"recipes", "capture"},
    {"body"},
    {"models", "synthetic", "formats", "pictures"},
    {
        "checkpoint",
        "checkpoints",
        "actor",
        "original",
        "motion",
        "convert",
        "prepare",
        "evaluation",
        "render",
        "inspect",
        "export",
        "viewer",
        "report",
    },
    {"run"},
    {"cli"},
)
"""Parts of the package, lowest first: each imports from its own layer and from those before it."""


def name_of(path: Path) -> str:
    """`na_ray.body.surface` for its file; a package goes by its folder's name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    return module.split(".")[1]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Every imported name of a file, those inside functions and `if TYPE_CHECKING` too, as dotted paths."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports, itself excepted."""
    known = {name_of(p) for p in MODULES}
    found = set()
    for name in imports(path):
        if name.startswith("na_ray."):
            found.add(name if name in known else name.rpartition(".")[0])
    return found - {name_of(path), "na_ray"}


def imported_packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_every_part_has_its_layer() -> None:
    parts = {part_of(name_of(path)) for path in MODULES if name_of(path) != "na_ray"}
    assert parts <= set().union(*LAYERS), "give the new part its place in LAYERS"


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p) != "na_ray"], ids=name_of)
def test_dependencies_point_one_way(path: Path) -> None:
    layer = {part: i for i, parts in enumerate(LAYERS) for part in parts}
    own = layer[part_of(name_of(path))]
    upward = {module for module in imported_modules(path) if layer[part_of(module)] > own}
    assert not upward, f"{name_of(path)} imports from above: {sorted(upward)}"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {name_of(path): imported_modules(path) for path in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_foreign_packages_stay_where_they_belong() -> None:
    for path in MODULES:
        packages, part = imported_packages(path), name_of(path).split(".")[1:2]
        if part != ["run"]:
            assert not packages & {"ray", "mlflow"}, f"{path} imports Ray or MLflow outside run"
        if part in (["config"], ["recipes"], ["capture"], ["formats"]):
            assert not packages & {"torch", "warp"}, f"{path} imports torch or warp: decode workers pay for it"
        if not name_of(path).startswith("na_ray.capture.video"):
            assert "av" not in packages, f"{path} imports av: only capture/video knows it"


def test_mypy_passes_over_nothing_that_is_imported_here() -> None:
    """What it passes over, it takes for Any: a mistake in its use would not be found."""
    settings = (ROOT / "pyproject.toml").read_text().split("[[tool.mypy.overrides]]")[1:]
    skipped = {
        name for text in settings if 'follow_imports = "skip"' in text for name in re.findall(r'"([\w.]+)\.\*"', text)
    }
    read = {
        name
        for text in settings
        if 'follow_imports = "normal"' in text
        for name in re.findall(r'"([\w.]+?)(?:\.\*)?"', text)
    }
    assert len(skipped) > 50 and "ray" in skipped and "moto.moto_server" in read

    def passed_over(name: str) -> bool:
        above = {name[:end] for end in [*(match.start() for match in re.finditer(r"\.", name)), len(name)]}
        return bool(above & skipped) and not above & read

    for path in SOURCES:
        found = [name for name in imports(path) if passed_over(name) and not name.startswith("ray.") and name != "ray"]
        assert not found, f"{path} imports {found}: strike it from what mypy passes over in pyproject.toml"


def test_what_stands_above_the_models_knows_no_avatar_by_name() -> None:
    """`models/avatars.py` opens any; a stage trains its own; an import from the original makes a NeRF."""
    kinds = {f"na_ray.models.{name}" for name in get_args(AvatarName)}
    allowed = ("na_ray.models", "na_ray.original", "na_ray.cli.original")
    allowed += tuple(f"na_ray.run.train.{name}" for name in get_args(AvatarName))
    for path in MODULES:
        if not name_of(path).startswith(allowed):
            found = {m for m in imported_modules(path) if m.startswith(tuple(kinds))}
            assert not found, f"{name_of(path)} knows {sorted(found)}: ask na_ray.models.avatar.Avatar"


@functools.cache
def loaded() -> dict[str, set[str]]:
    """What a fresh process has loaded after each step of imports, one step after the other: starting one takes seconds.

    So nothing of a later step is missing in an earlier one's; what an earlier one loads counts for the later ones, too.
    """
    names = [name_of(path) for path in MODULES]
    steps = {
        "decode workers": [n for n in names if n.startswith(("na_ray.config", "na_ray.capture"))],
        "outside of run": [n for n in names if n == "na_ray" or part_of(n) not in ("run", "cli")],
        "training workers": ["na_ray.run.train.ray_trainer"],
    }
    assert all(len(steps[step]) > 10 for step in ("decode workers", "outside of run"))
    return after_each(steps)


def after_each(steps: dict[str, list[str]]) -> dict[str, set[str]]:
    """The modules of a fresh process after the imports of each step."""
    lines = ["import importlib, json, sys", "names = {}"]
    for step, modules in steps.items():
        lines.append(f"[importlib.import_module(name) for name in {modules!r}]")
        lines.append(f"names[{step!r}] = sorted(sys.modules)")
    lines.append("print(json.dumps(names))")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {step: set(names) for step, names in json.loads(done.stdout).items()}


def test_the_package_loads_neither_ray_nor_mlflow() -> None:
    assert "na_ray.prepare.track" in loaded()["outside of run"]
    assert not loaded()["outside of run"] & {"ray", "mlflow"}


def test_decode_workers_load_neither_torch_nor_warp() -> None:
    assert not loaded()["decode workers"] & {"torch", "warp", "ray", "mlflow"}


def test_training_workers_load_no_mlflow() -> None:
    """It takes a second, of every worker and of those that replace it: the driver alone tracks and reports."""
    assert not loaded()["training workers"] & {"mlflow", "na_ray.run.train.nerf.report"}


def test_what_ray_train_s_controller_gets_of_us_loads_nothing_heavy() -> None:
    """It takes seconds before the first worker is started: what goes to the controller lies in modules of its own."""
    controllers = ["na_ray.run.train.restart_policy", "na_ray.run.sweep.scores_callback"]
    assert not after_each({"controller": controllers})["controller"] & {"torch", "warp", "mlflow"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    assert path.read_text().count("\n") <= 300, f"{path} has more than 300 lines: split it by topic"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.body[0].lineno + 1  # a kernel's arguments take a line each
            assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_no_class_has_the_name_of_another() -> None:
    places = collections.defaultdict(list)
    for path in MODULES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(path))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not twice, f"two classes share a name: {twice}"


def test_no_alias_has_the_name_of_another_or_of_a_class() -> None:
    places = collections.defaultdict(set)
    for path in MODULES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].add(name_of(path))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                places[node.targets[0].id].add(name_of(path))
    twice = {name: sorted(found) for name, found in places.items() if len(found) > 1}
    # Constants, all in capitals, are each module's own.
    aliases = {name: found for name, found in twice.items() if name[0].isupper() and not name.isupper()}
    assert not aliases, f"two things share a name: {aliases}"


def test_nobody_reads_an_attribute_with_a_default() -> None:
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "hasattr", f"{path}:{node.lineno} asks hasattr"
                assert node.func.id != "getattr" or len(node.args) < 3, f"{path}:{node.lineno} getattr with a default"


def test_a_wrong_shape_raises_while_tests_run() -> None:
    encoding = PositionalEncoding(2)
    assert encoding(torch.zeros(5, 3)).shape == (5, 15)
    with pytest.raises(jaxtyping.TypeCheckError):
        encoding(torch.zeros(3))


def test_pins_name_no_machine() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert not [line for line in pins if "==" not in line or "://" in line or "@" in line or "+" in line]
    assert {"torch==2.13.0", "mlflow==3.17.2", "ray==2.60.0"} <= set(pins)
    assert not [line for line in pins if line.startswith(("torchvision", "torchmetrics", "lpips"))]
