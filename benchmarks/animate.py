"""Frames a second of `na-ray animate` beside the sum of its parts, in one run; what is in memory as a film goes on.

python benchmarks/animate.py speed ACTOR MOTION [--capture PATH] [--frames 24]   ACTOR as na-ray animate takes it
python benchmarks/animate.py memory --frames 10000     a tiny actor: the motion's length counts
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the tiny actor


def speed(arguments: argparse.Namespace) -> None:
    """Each part by itself, then the film."""
    from na_ray.capture.video import VideoWriter
    from na_ray.cli.animate import Animate
    from na_ray.motion.animate import animate
    from na_ray.motion.frame_store import FrameStore

    command = Animate(
        arguments.actor, arguments.motion, Path("unused.mp4"), frames=f"0..{arguments.frames}",
        capture=arguments.capture, textures=arguments.textures, device="cpu",
    )  # fmt: skip
    film = command._film()
    count = len(film.frames)
    with tempfile.TemporaryDirectory() as folder:
        animate(replace(film, frames=film.frames[:2]), Path(folder) / "warm.mp4")  # kernels are compiled and loaded
        times: dict[str, float] = {}

        def timed(name: str, work: object) -> list:
            start = time.process_time()
            done = list(work)  # type: ignore[call-overload]
            times[name] = time.process_time() - start
            return done

        poses = timed(
            "poses and distances", ((film.pose(i), film.trained.distance(film.pose(i))) for i in range(count))
        )
        with FrameStore(Path(folder) / "parts", {}) as store:
            maps = timed("texture maps", film.textures.maps(lambda i: poses[i][0], [False] * count, store))
            drawn = timed("drawing", (film.drawer.draw(poses[i][0], maps[i], film.camera(i)) for i in range(count)))
            timed("frames on disk", map(store.write, range(count), drawn, [""] * count))
            start = time.process_time()
            with VideoWriter(Path(folder) / "parts.mp4", film.fps, "h264") as writer:
                for picture in drawn:
                    writer.write(picture)
            times["encoding"] = time.process_time() - start
        start, began = time.process_time(), time.perf_counter()
        animate(film, Path(folder) / "film.mp4")
        whole, lasted = time.process_time() - start, time.perf_counter() - began
    for name, seconds in times.items():
        print(f"{name:20s} {1000 * seconds / count:8.1f} ms a frame")
    total = sum(times.values())
    print(f"{'sum':20s} {1000 * total / count:8.1f} ms a frame, {count / total:.2f} frames/s")
    print(
        f"{'end to end':20s} {1000 * whole / count:8.1f} ms a frame, {count / whole:.2f} frames/s: {total / whole:.2f}"
    )
    print(
        f"seconds are the process's CPU time: other programs do not count; by the clock {count / lasted:.2f} frames/s"
    )


def memory(arguments: argparse.Namespace) -> None:
    """The peak of the process at frame 100 and at the last one."""
    from make_capture import write_tiny_capture
    from tiny_film import tiny_film

    from na_ray.motion.animate import animate
    from na_ray.motion.posed import JointMotion

    peaks = {}

    def progress(done: int, total: int) -> None:
        if done in (100, total):
            peaks[done] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    with tempfile.TemporaryDirectory() as folder:
        capture = write_tiny_capture(Path(folder) / "capture", frames=4, resolution=(24, 32))
        film = tiny_film(capture, predicted=True)
        angles = 0.1 * np.sin(np.arange(arguments.frames)[:, None, None] / 9 + np.arange(5)[:, None] * np.ones(3))
        motion = JointMotion(film.trained.skeleton, angles, np.tile([0.0, 0, 0], (arguments.frames, 1)), 25.0)
        film = replace(film, poses=motion, frames=range(arguments.frames))
        start = time.perf_counter()
        animate(film, Path(folder) / "film.mp4", progress=progress)
        print(f"{arguments.frames} frames, predicted maps, {time.perf_counter() - start:.0f} s")
    for frame, peak in peaks.items():
        print(f"peak memory at frame {frame}: {peak:.1f} MB")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    quick = commands.add_parser("speed")
    quick.add_argument("actor")
    quick.add_argument("motion")
    quick.add_argument("--capture")
    quick.add_argument("--textures")
    quick.add_argument("--frames", type=int, default=24)
    quick.set_defaults(run=speed)
    long = commands.add_parser("memory")
    long.add_argument("--frames", type=int, default=10_000)
    long.set_defaults(run=memory)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
