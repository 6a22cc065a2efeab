"""A real object store for tests: moto's server in a process on 127.0.0.1, and the environment that finds it."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import fsspec
import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "object_server.py"


def _module() -> ModuleType:
    if "object_server" not in sys.modules:
        spec = importlib.util.spec_from_file_location("object_server", FILE)
        assert spec is not None and spec.loader is not None
        sys.modules["object_server"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["object_server"])
    return sys.modules["object_server"]


object_server = _module()


@contextmanager
def serve() -> Iterator:
    """An `ObjectServer` that `s3://` leads to within the block."""
    with object_server.ObjectServer() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        fsspec.filesystem("s3").clear_instance_cache()
        yield server
        fsspec.filesystem("s3").clear_instance_cache()
