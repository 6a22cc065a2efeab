"""The allocator keeps what was freed: pages are faulted in once, not at every allocation."""

import platform
import subprocess
import sys
import textwrap

import pytest


def faults(prepare: str) -> int:
    """Minor page faults of ten times the same 32 MB, in a process of its own."""
    program = f"""
        import ctypes, resource
        from na_ray.run.train.allocator import keep_freed_memory
        {prepare}
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        def once():
            block = libc.malloc(32 << 20)
            ctypes.memset(block, 1, 32 << 20)
            libc.free(block)
        once()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            once()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_kept_for_the_next_allocation() -> None:
    assert faults("keep_freed_memory()") < 100 < faults("")
