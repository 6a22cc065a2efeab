"""The command line of an experiment, `python experiments/NAME.py [train] [--KNOB VALUE ...]`; what commands share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from na_ray.config import Experiment
from na_ray.values import MISTAKES


@dataclass(frozen=True)
class TrainCommand:
    """Train the experiment's stages."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    resume: Literal["never", "auto"] = "never"
    """auto: go on with the run of this name, if there is one, from its latest checkpoint."""


def guarded(action: Callable[[], int]) -> int:
    """Run a command and return its exit code: 2, and one line a defect, for a user's mistake."""
    try:
        return action()
    except MISTAKES as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what is complete is kept, and a training goes on with --resume auto", file=sys.stderr)
        return 130


class ProgressBar:
    """A progress bar on a terminal, as the `progress(done, total)` that the library calls; silent elsewhere.

    with ProgressBar("frames") as progress:
        progress(1, 20)
    """

    def __init__(self, unit: str) -> None:
        self.bar = tqdm(unit=unit, disable=not sys.stderr.isatty())

    def __enter__(self) -> Callable[[int, int], None]:
        return self._show

    def _show(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def main(experiment: Experiment, resume: Literal["never", "auto"] = "never") -> None:
    """Run an experiment from the command line; without a command, it trains. `resume` is the default of `--resume`."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["train"]:
        arguments = arguments[1:]
    default = TrainCommand(experiment, resume)
    sys.exit(guarded(lambda: _train(tyro.cli(TrainCommand, args=arguments, default=default))))


def _train(command: TrainCommand) -> int:
    from na_ray.run.train import train  # Ray takes seconds to import: --help need not wait

    experiment = command.experiment
    best = train(experiment, resume=command.resume == "auto")
    print(f"\nbest checkpoint: {best}")
    if experiment.stages[-1] == "renderer":
        print(f"render it:       na-ray render {best} --capture {experiment.capture} --output film")
    else:
        print(f"use it:          na-ray predict-textures {best} --capture {experiment.capture} --output textures")
    print("compare runs:    mlflow ui")
    return 0
