"""How fast this machine multiplies matrices: what the cost of any model is compared with."""

import time
from functools import cache

import torch


@cache
def gemm_rate(device: str = "cpu", seconds: float = 0.3) -> float:
    """Multiply-adds a second of float32 matrix products on this machine, measured once a process."""
    side = 1024 if device == "cpu" else 4096  # a GPU is done with small ones before it is asked for the next
    a = torch.randn(side, side, device=device)
    (a @ a).sum().item()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        (a @ a).sum().item()  # .item() waits for the device
        count += 1
    return count * side**3 / (time.perf_counter() - start)
