import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import torch, warp
warp.config.kernel_cache_dir = {cache!r}
from na_ray.body.surface import Surface, shell_intervals
vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
surface = Surface(torch.tensor([[0, 1, 2]]), 3)
surface.refit(vertices)
points = torch.tensor([[0.2, 0.2, 0.5]])
assert surface.closest(points).tolist() == [0]
near, far, hit = shell_intervals(vertices, points, torch.tensor([[-0.2, -0.2, -0.5]]) / 0.33**0.5, 0.06)
assert hit.tolist() == [True]
print("done")
"""


def test_two_processes_may_compile_into_one_empty_cache_at_once(tmp_path: Path) -> None:
    """As two training workers on a fresh machine do; and neither prints a word of its own."""
    command = [sys.executable, "-c", PROGRAM.format(cache=str(tmp_path / "cache"))]
    both = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out, err) == (0, "done\n", "")
