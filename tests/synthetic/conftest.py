import pytest

from na_ray.synthetic.write import write_capture

SMALL = {"frames": 3, "test_frames": 2, "cameras": 4, "resolution": 96, "texture_size": 96, "seed": 5}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A small capture, and the calls of its progress."""
    out = tmp_path_factory.mktemp("synthetic") / "actor"
    calls = []
    write_capture(out, **SMALL, progress=lambda done, total: calls.append((done, total)))
    return out, calls
