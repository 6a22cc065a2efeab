"""What a sweep varies: dotted knobs and their domains, read from the command line, checked, and drawn from.

A proposal is a function of the seed, its number and (Optuna) the trials before it: a resumed sweep draws what an
unbroken one would.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform

from na_ray.config import Experiment, StageName, flatten, override
from na_ray.config.values import UserError
from na_ray.run.sweep.config import Search

Space = Mapping[str, Domain]
Knobs = dict[str, Any]

DEFAULT: Space = {
    "nerf.samples_per_ray": tune.choice([32, 64, 96]),
    "optim.lr": tune.loguniform(1e-5, 1e-3),
}
"""What a sweep varies by default."""

FIXED = {
    "project",
    "name",
    "capture",
    "storage",
    "stages",
    "train.num_workers",
    "train.cpus_per_worker",
    "train.device",
    "train.max_failures",
    "train.min_workers",
}
"""Where and how trials run: the same for all of them."""

STAGE_OF: dict[str, StageName] = {
    "vid2vid": "texture",
    "texture": "texture",
    "nerf": "nerf",
    "optim": "nerf",
    "splats": "splats",
}
"""The stage that a section's knobs concern; those of the other sections concern all of them."""


def parse_space(specs: tuple[str, ...], experiment: Experiment) -> Space:
    """The space of `--space NAME=32,64,96`, `NAME=1e-5..1e-3` and `NAME=1e-5..1e-3:log` (both ends are included).

    Raises UserError, one line, for what cannot be read.
    """
    knobs, space = flatten(experiment), {}
    for spec in specs:
        name, equals, values = spec.partition("=")
        name = name.replace("-", "_")
        if not (name and equals and values):
            raise UserError(f"--space {spec}: write NAME=VALUE,VALUE,... or NAME=LOW..HIGH or NAME=LOW..HIGH:log")
        if name in space:
            raise UserError(f"--space {spec}: {name} is given twice")
        if any(knob.startswith(f"{name}.") for knob in knobs):
            raise UserError(f"--space {spec}: {name} is a section: name one of its knobs")
        if name not in knobs:
            override(experiment, {name: None})  # says which names there are
        text = isinstance(knobs[name], str)
        space[name] = _range(spec, values) if ".." in values and not text else _choice(values, text)
    return space


def _choice(values: str, text: bool) -> Domain:
    return tune.choice([value if text else _value(value) for value in values.split(",")])


def _value(text: str) -> Any:
    """A number, true, false, none, or a word; `512x512` is a pair."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    parts = text.split("x")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return (int(parts[0]), int(parts[1]))
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _range(spec: str, values: str) -> Domain:
    bounds, colon, scale = values.partition(":")
    low, high = (_value(part) for part in bounds.split("..", 1))
    numbers = all(type(v) in (int, float) and math.isfinite(v) for v in (low, high))
    log = scale == "log"
    if not numbers or low >= high or (colon and not log) or (log and low <= 0):
        raise UserError(f"--space {spec}: a range is LOW..HIGH of two growing numbers, with :log positive ones")
    if isinstance(low, int) and isinstance(high, int):
        return tune.lograndint(low, high + 1) if log else tune.randint(low, high + 1)
    return tune.loguniform(low, high) if log else tune.uniform(low, high)


def check_space(space: Space, experiment: Experiment, search: Search) -> None:
    """Refuse names that do not exist, values out of range, and what the search cannot draw from.

    Raises UserError, one line.
    """
    if not space:
        raise UserError("the sweep varies nothing: give a --space NAME=VALUES")
    for name, domain in space.items():
        if name in FIXED:
            raise UserError(f"a sweep cannot vary {name}: it is the same for all trials")
        if search == "grid" and not isinstance(domain, Categorical):
            raise UserError(f"a grid needs values, and {name} is a range: list them, or use --search random or optuna")
        for value in _ends(domain):
            override(experiment, {name: value})


def _ends(domain: Domain) -> list[Any]:
    """The values that stand for all others: every one of a choice, both ends of a range."""
    if isinstance(domain, Categorical):
        return list(domain.categories)
    if isinstance(domain, Integer):
        return [domain.lower, domain.upper - 1]
    if isinstance(domain, Float):
        return [domain.lower, domain.upper]
    raise UserError(f"{domain} is no domain of a sweep: use ray.tune's choice, uniform, loguniform or randint")


def stage_of(space: Space, experiment: Experiment) -> StageName:
    """The stage that a sweep trains: the one its knobs concern, else the last of the experiment.

    Raises UserError where the knobs concern both, or a stage that the experiment does not train.
    """
    concerned = {STAGE_OF[name.split(".")[0]]: name for name in space if name.split(".")[0] in STAGE_OF}
    if len(concerned) > 1:
        names = " and ".join(sorted(concerned.values()))
        raise UserError(f"{names} concern two stages, and neither's score depends on the other's: sweep one by one")
    stage = next(iter(concerned), experiment.stages[-1])
    if stage not in experiment.stages:
        raise UserError(
            f"{concerned[stage]} concerns the {stage} stage, which is not trained: --stages has {experiment.stages}"
        )
    return stage


def is_log(domain: Domain) -> bool:
    """Whether a range is drawn from on a logarithmic scale."""
    return isinstance(domain, Float | Integer) and isinstance(domain.get_sampler(), LogUniform)


def describe(space: Space) -> dict[str, str]:
    """The space as it is written on the command line."""
    return {name: _describe(domain) for name, domain in space.items()}


def _describe(domain: Domain) -> str:
    if isinstance(domain, Categorical):
        return ",".join(str(value) for value in domain.categories)
    low, high = _ends(domain)
    return f"{low}..{high}" + (":log" if is_log(domain) else "")


def grid(space: Space) -> list[Knobs]:
    """Every combination of the values, the last knob fastest."""
    values = [_ends(domain) for domain in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]


def propose(
    space: Space, search: Search, seed: int, total: int, number: int, ended: list[tuple[Knobs, float]]
) -> Knobs:
    """The knobs of trial `number` (from 0) of `total`. `ended`: the trials that have ended, and their scores."""
    if search == "grid":
        return grid(space)[number]
    if search == "random":
        random = np.random.RandomState(np.random.SeedSequence((seed, number)).generate_state(4))
        return {name: _plain(domain.sample(random_state=random)) for name, domain in space.items()}
    return _propose_by_optuna(space, seed, total, number, ended)


def _propose_by_optuna(space: Space, seed: int, total: int, number: int, ended: list[tuple[Knobs, float]]) -> Knobs:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = OptunaSearch.convert_search_space(dict(space))
    sampler = optuna.samplers.TPESampler(seed=seed * 10_007 + number, n_startup_trials=min(10, max(3, total // 4)))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for knobs, score in ended:
        study.add_trial(optuna.trial.create_trial(params=knobs, distributions=distributions, value=score))
    return dict(study.ask(fixed_distributions=distributions).params)


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's, for JSON."""
    return value.item() if isinstance(value, np.generic) else value
