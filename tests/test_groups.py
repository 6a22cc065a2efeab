"""That several test processes divide the suite as `conftest.py` says."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_each_file_is_one_process_s(request: pytest.FixtureRequest) -> None:
    """pytest-xdist reads its groups off the tests' ids: a pytest that names these otherwise divides fixtures, and Ray's
    cluster, among all processes without a word."""
    assert "@" in request.node.nodeid, "this pytest-xdist sees no groups: constraints.txt names a pytest that it knows"
