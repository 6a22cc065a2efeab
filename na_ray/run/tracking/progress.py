"""What a user sees of a training on the terminal."""

import contextlib
import sys
import time
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from na_ray.run.cluster.resources import free_resources

# Seconds between two plain lines where there is no terminal.
QUIET = 15.0


# Seconds without a report after which a line says what the cluster has free.
SILENCE = 60.0


@runtime_checkable
class Shows(Protocol):
    """Shows a run's progress to the user."""

    def show(self, line: dict[str, Any]) -> None:
        """Show one line of the record."""

    def tell(self, text: str | None) -> None:
        """Print a message, if there is one."""


class ProgressDisplay:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, stage: str) -> None:
        self.total, self.stage, self.said, self.skipped = total, stage, 0.0, 0.0
        terminal = sys.stderr.isatty()
        self.bar = tqdm(total=self.total, desc=stage, unit="step", dynamic_ncols=True) if terminal else None

    def show(self, line: dict[str, Any]) -> None:
        """Show one line of the record."""
        step, metrics = line["step"], line["metrics"]
        self.tell(line.get("note"))
        if metrics.get("skipped_shards", 0) > 2 * self.skipped:  # not at each of them
            self.skipped = metrics["skipped_shards"]
            self.tell(f"{self.skipped:g} shards could not be read and were skipped: na-ray inspect names them")
        if "validation/psnr" in metrics:
            text = "validation PSNR {validation/psnr:.2f} dB, SSIM {validation/ssim:.3f}".format(**metrics)
            self._write(f"{self.stage} step {step}: {text}")
        elif "loss" in metrics:
            text = f"loss {metrics['loss']:.4f}, PSNR {metrics['psnr']:.2f} dB"
            if self.bar is not None:
                self.bar.set_postfix_str(text, refresh=False)
                with contextlib.suppress(OSError):  # the terminal is gone
                    self.bar.update(step - self.bar.n)
            elif time.monotonic() - self.said > QUIET or step == self.total:
                rate = metrics["steps_per_second"]
                left = (self.total - step) / rate
                self._write(f"{self.stage} step {step}/{self.total}: {text}, {rate:.2f} steps/s, {clock(left)} left")

    def tell(self, text: str | None) -> None:
        """Print a message, if there is one."""
        if text:
            self._write(f"{self.stage}: {text}")

    def _write(self, text: str) -> None:
        self.said = time.monotonic()
        say(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()


def say(text: str) -> None:
    """Write a line to stderr, beside a bar. That nobody takes it, or its disk is full, is no reason to stop."""
    with contextlib.suppress(OSError):
        tqdm.write(text, file=sys.stderr)


class Silence:
    """Says, ever more rarely, that nothing has been reported for long, and what the cluster has free."""

    def __init__(self) -> None:
        self.since, self.patience = time.monotonic(), SILENCE

    def look(self, heard: bool) -> str | None:
        """A line to show, when it is time for one."""
        if heard:
            self.since, self.patience = time.monotonic(), SILENCE
        quiet = time.monotonic() - self.since
        if quiet < self.patience:
            return None
        self.patience *= 2
        return f"nothing new for {clock(quiet)}: workers start, wait for machines, or take long; {free_resources()}"


def clock(seconds: float) -> str:
    """A time in words: 1h02m, or 3m04s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"
