"""Arrays to tensors on a device, without a wait for it."""

import numpy as np
import torch
from torch import Tensor


def upload(array: object, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A copy of an array on a device, in a type (None: its own).

    A GPU reads it from page-locked memory while the host goes on; from other memory the host waits until all that was
    queued before is done.
    """
    tensor = torch.tensor(np.asarray(array), dtype=dtype)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
