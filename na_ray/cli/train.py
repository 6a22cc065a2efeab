"""The commands that train, `na-ray train|sweep RECIPE` and `python experiments/NAME.py [train|sweep]`, and what all
commands share.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro
from tqdm import tqdm
from tyro.conf import FlagCreatePairsOff

from na_ray.cli.arguments import hide_secrets
from na_ray.cli.output import speak_on
from na_ray.config import AvatarName, Experiment
from na_ray.config.secrets import hidden
from na_ray.config.values import MISTAKES, UserError
from na_ray.run.sweep.config import SweepConfig
from na_ray.run.train.disk import FULL
from na_ray.run.train.interrupt import Terminated, termination_raised


@dataclass(frozen=True)
class TrainCommand:
    """Train the experiment's stages. (`sweep` instead of `train` searches over knobs: `sweep --help`.)

    --traceback shows where in the program a mistake was found.
    """

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    config: Path | None = None
    """YAML file of knobs, nested or with dotted names. It overrides the recipe, and other options override it."""
    print_config: FlagCreatePairsOff[bool] = False
    """Print every knob as YAML, ready for --config, and end."""
    resume: Literal["never", "auto"] = "never"
    """auto: continue the run of this name, if there is one, from its latest checkpoint."""
    ray_address: str = ""
    """Ray cluster to join: HOST:PORT, or `local` for one of its own on this machine. Empty: $RAY_ADDRESS, else what
    `ray start` started here, else one of its own."""


@dataclass(frozen=True)
class SweepCommand:
    """Train the experiment with many settings of some knobs, and compare them by their validation PSNR.

    Trials are child runs in MLflow; the sweep's own run holds the table, the parallel coordinates and the best actor.
    Without --space: nerf.samples_per_ray=32,64,96 and optim.lr=1e-5..1e-3:log.
    --traceback shows where in the program a mistake was found.
    """

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    settings: Annotated[SweepConfig, tyro.conf.arg(name="")] = field(default_factory=SweepConfig)
    space: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A knob to vary, as often as wanted: NAME=32,64,96 (values), NAME=1e-5..1e-3 or NAME=1e-5..1e-3:log (ranges)."""
    config: Path | None = None
    """YAML file of knobs, nested or with dotted names. It overrides the recipe, and other options override it."""
    print_config: FlagCreatePairsOff[bool] = False
    """Print every knob as YAML, ready for --config, and end."""
    resume: Literal["never", "auto"] = "never"
    """auto: continue the sweep of this name, if there is one: what has ended is not repeated."""
    ray_address: str = ""
    """Ray cluster to join: HOST:PORT, or `local` for one of its own on this machine. Empty: $RAY_ADDRESS, else what
    `ray start` started here, else one of its own."""


TRACEBACK = "--traceback"
"""With any command: show where in the program a mistake was found."""


def take_traceback(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--traceback`, which every command has, and whether it was there."""
    return [argument for argument in arguments if argument != TRACEBACK], TRACEBACK in arguments


def guarded(action: Callable[[], int], show_traceback: bool = False) -> int:
    """Run a command and return its exit code: 2, and one line per defect, for a user's mistake; 1, with the traceback
    and the place of Ray's logs, for what is none.

    `show_traceback`: of a user's mistake, too.
    """
    try:
        with termination_raised():
            return action()
    except MISTAKES as error:
        if show_traceback:
            print(hidden(traceback.format_exc()), file=sys.stderr, end="")
        print("\n".join(f"error: {line}" for line in hidden(str(error)).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("stopped; what is complete is kept, and a training goes on with --resume auto", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            full = f"error: {error.filename or 'a disk'}: the disk is full: free some space and start again"
            print(full, file=sys.stderr)
            return 2
        print(hidden(traceback.format_exc()), file=sys.stderr, end="")
        _tell_of_logs()
        return 1


def _tell_of_logs() -> None:
    """Say where Ray's logs lie, if this process has joined a cluster."""
    if "na_ray.run.cluster.connection" not in sys.modules:  # Ray takes seconds to import
        return
    from na_ray.run.cluster.connection import log_folder

    folder = log_folder()
    if folder is not None:
        print(f"Ray's logs are in {folder} on each machine: its workers' errors are there", file=sys.stderr)


class ProgressBar:
    """A progress bar on a terminal, as the `progress(done, total)` that the library calls; elsewhere a line every
    `quiet` seconds.

    with ProgressBar("frames") as progress:
        progress(1, 20)
    """

    def __init__(self, unit: str, quiet: float = 15.0) -> None:
        self.unit, self.quiet, self.began = unit, quiet, time.monotonic()
        self.said = self.began
        self.bar = tqdm(unit=unit, disable=not sys.stderr.isatty())

    def __enter__(self) -> Callable[[int, int], None]:
        return self._show

    def _show(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)
        now = time.monotonic()
        if self.bar.disable and now - self.said >= self.quiet and done < total:
            self.said = now
            left = (total - done) * (now - self.began) / done
            print(f"{done} of {total} {self.unit}, about {left:.0f} s left", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        self.bar.close()


Resume = Literal["never", "auto"]
Before = Callable[[Experiment], object]


def main(experiment: Experiment, resume: Resume = "never", before: Before | None = None) -> None:
    """Run an experiment's script; without a command, it trains.

    `resume` is the default of `--resume`. `before` is called with the experiment once the command line is understood.
    """
    hide_secrets()
    command, (arguments, shown) = "train", take_traceback(sys.argv[1:])
    if arguments[:1] in (["train"], ["sweep"]):
        command, arguments = arguments[0], arguments[1:]
    prog = f"{Path(sys.argv[0]).name} {command}"
    sys.exit(guarded(lambda: _run(command, experiment, arguments, prog, resume, before), shown))


def run_recipe(command: str, arguments: list[str]) -> int:
    """`na-ray train|sweep RECIPE ...`, given what stands behind the command. Returns the exit code."""
    from na_ray.recipes import RECIPES

    word, names = (arguments[:1] or [""])[0], ", ".join(RECIPES)
    if word in ("-h", "--help"):
        print(f"usage: na-ray {command} RECIPE [--config FILE.yaml] [--KNOB VALUE ...]\n\nrecipes: {names}")
        print(f"na-ray {command} {next(iter(RECIPES))} --help lists every knob; --print-config, what a recipe holds.")
        return 0
    if word.startswith("-") or not word:
        raise UserError(f"na-ray {command} expects a recipe first: one of {names}")
    if word not in RECIPES:
        raise UserError(f"there is no recipe {word!r}; there are: {names}")
    return _run(command, RECIPES[word], arguments[1:], f"na-ray {command} {word}")


def _run(
    command: str,
    experiment: Experiment,
    arguments: list[str],
    prog: str,
    resume: Resume = "never",
    before: Before | None = None,
) -> int:
    """Train or sweep: what a file of knobs changes, then what the other arguments change."""
    file = _config_file(arguments)
    if file is not None:
        from na_ray.config.yaml_file import changed_by

        experiment = changed_by(file, experiment)
    found = parsed(command, experiment, arguments, prog, resume)
    if found.print_config:
        from na_ray.config.yaml_file import to_yaml

        print(to_yaml(found.experiment), end="")
        return 0
    speak_on()
    join(found.ray_address)
    if before is not None:
        before(found.experiment)
    return _sweep(found) if isinstance(found, SweepCommand) else _train(found, _given(arguments))


def join(ray_address: str) -> None:
    """Let this process and those that it starts join that Ray cluster; empty: what the environment says."""
    if ray_address:
        os.environ["RAY_ADDRESS"] = ray_address


def parsed(
    command: str, experiment: Experiment, arguments: list[str], prog: str, resume: Resume = "never"
) -> TrainCommand | SweepCommand:
    """The arguments of `train` or `sweep`, over the experiment's knobs."""
    if command == "sweep":
        default = SweepCommand(experiment, resume=resume)
        return tyro.cli(SweepCommand, prog=prog, args=arguments, default=default)
    return tyro.cli(TrainCommand, prog=prog, args=arguments, default=TrainCommand(experiment, resume=resume))


def _config_file(arguments: list[str]) -> Path | None:
    """What `--config` names: it is read before the other options, whose defaults it changes."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, nargs="?")  # without a value: tyro says so, in the words of all options
    return parser.parse_known_args(arguments)[0].config


def _given(arguments: list[str]) -> set[str]:
    """The names of the options that stand on the command line: knobs by their dotted names."""
    return {word[2:].split("=")[0].replace("-", "_") for word in arguments if word.startswith("--")}


def _sweep(command: SweepCommand) -> int:
    from na_ray.run.sweep.search_space import DEFAULT, parse_space
    from na_ray.run.sweep.sweep import sweep  # Ray takes seconds to import: --help need not wait
    from na_ray.run.tracking.store import where_to_look

    space = parse_space(command.space, command.experiment) if command.space else DEFAULT
    sweep(command.experiment, space, command.settings, resume=command.resume == "auto")
    print(f"compare trials:  {where_to_look()}")
    return 0


def _train(command: TrainCommand, given: set[str]) -> int:
    from na_ray.run.tracking.store import where_to_look
    from na_ray.run.train.driver import train  # Ray takes seconds to import: --help need not wait

    experiment = command.experiment
    best = train(experiment, resume=command.resume == "auto", given=given)
    print(f"\nbest checkpoint: {best}")
    if experiment.stages[-1] in get_args(AvatarName):
        print(f"render it:       na-ray render {best} --capture {experiment.capture} --output film")
    else:
        print(f"use it:          na-ray predict-textures {best} --capture {experiment.capture} --output textures")
    print(f"compare runs:    {where_to_look()}")
    return 0
