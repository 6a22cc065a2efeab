"""No function or class of the package serves the tests alone: what nothing else names goes."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("na_ray", "experiments", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
CALLED_BY_LIBRARIES = {
    "request_share_url",  # viser
    *("persistent_load", "get_extension"),  # pickle
    *("readinto", "seekable"),  # io
    *("suggest", "on_trial_start", "on_trial_error", "stop_all"),  # Ray Tune
    "after_exception",  # Ray Train
    "on_execution_step",  # Ray Data
}
"""Methods that they find by these names."""


def test_what_is_defined_is_used() -> None:
    named = Counter(word for path in SOURCES for word in re.findall(r"\w+", path.read_text()))
    defined = {
        node.name: f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "na_ray")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("__")
    }
    unused = {name: place for name, place in defined.items() if named[name] == 1}
    assert {name: place for name, place in unused.items() if name not in CALLED_BY_LIBRARIES} == {}
    assert set(unused) >= CALLED_BY_LIBRARIES, "a name of this list is not needed any more"
