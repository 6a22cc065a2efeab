"""The switch that makes a GPU sum in a fixed order, and that nothing of it stays behind."""

import pytest
import torch
import torch.utils.deterministic as filling

from na_ray.run.train.repeatable import repeatable


def state() -> tuple[bool, bool, bool]:
    """Torch's switches."""
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn, filling.fill_uninitialized_memory  # type: ignore[attr-defined]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_it_holds_for_a_gpu_where_it_is_asked_for(kind, asked, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = state()
    with pytest.raises(KeyError), repeatable(asked, torch.device(kind)):
        assert torch.are_deterministic_algorithms_enabled() == (asked and kind == "cuda")
        raise KeyError
    assert state() == before
