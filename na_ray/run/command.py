"""The command line of an experiment: `python experiments/NAME.py [train] [--KNOB VALUE ...]`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from na_ray.config import Experiment

# What a user can mend: told in one line a defect, without a traceback.
MISTAKES = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


@dataclass(frozen=True)
class TrainCommand:
    """Train the experiment's stages."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    resume: Literal["never", "auto"] = "never"
    """auto: go on with the run of this name, if there is one, from its latest checkpoint."""


def guarded(action: Callable[[], None]) -> None:
    """Run a command; tell a user's mistake in one line a defect and exit with code 2."""
    try:
        action()
    except MISTAKES as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        sys.exit(2)


def main(experiment: Experiment) -> None:
    """Run an experiment from the command line. Without a command, it trains."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["train"]:
        arguments = arguments[1:]
    command = tyro.cli(TrainCommand, args=arguments, default=TrainCommand(experiment))
    guarded(lambda: _train(command))


def _train(command: TrainCommand) -> None:
    from na_ray.run.train import train

    best = train(command.experiment, resume=command.resume == "auto")
    print(f"best checkpoint: {best}")
