"""Trainings on a GPU that end in the same weights, bit for bit."""

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.utils.deterministic as filling


@contextlib.contextmanager
def repeatable(asked: bool, device: torch.device) -> Iterator[None]:
    """Sum in a fixed order on a GPU, where that is asked for: torch's own switch, which the splats' kernels follow.

    What torch has no such way for warns once and goes on. CPUs always sum in a fixed order.
    """
    if not asked or device.type != "cuda":
        yield
        return
    # Read when cuBLAS starts: its workspaces must not be shared between streams.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled, filling.fill_uninitialized_memory = filling.fill_uninitialized_memory, False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        filling.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
