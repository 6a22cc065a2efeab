"""Import a benchmark: a script beside others that it imports by their bare names."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "benchmarks"


def module(path: str) -> ModuleType:
    """A benchmark by its path without `.py`, whose own imports of others were made by this function before."""
    name = Path(path).name
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{path}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
