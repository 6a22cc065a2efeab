"""Let a training process keep the memory that it frees.

Every step allocates and frees the same large tensors. By default glibc gives large blocks back to the system at once,
and the next step faults each page in anew: a large part of a full-size step on a CPU (benchmarks/RESULTS.md).
"""

import ctypes
import platform

# glibc's parameters (malloc.h) and our values: never trim, grow by 64 MB, no separate mappings, and one arena for all
# threads (autograd's thread frees what the main thread allocated).
_SETTINGS = {-1: 2**31 - 1, -2: 2**26, -4: 0, -8: 1}


def keep_freed_memory() -> None:
    """Set the allocator of this process; nothing happens where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in _SETTINGS.items():
        libc.mallopt(ctypes.c_int(parameter), ctypes.c_int(value))
