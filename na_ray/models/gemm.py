"""How fast this machine multiplies matrices: what the cost of any model is compared with."""

import time

import torch


def gemm_rate(device: str = "cpu", seconds: float = 0.3) -> float:
    """Multiply-adds a second of float32 matrix products on this machine, measured."""
    a = torch.randn(1024, 1024, device=device)
    (a @ a).sum().item()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        (a @ a).sum().item()  # .item() waits for the device
        count += 1
    return count * 1024**3 / (time.perf_counter() - start)
