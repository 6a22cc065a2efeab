"""Knobs in a YAML file: what `--config` reads and `--print-config` writes.

Names may be nested (`optim: {lr: 1e-4}`) or dotted (`optim.lr: 1e-4`); what a file does not name stays as it was.
"""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

from na_ray.config.experiment import Experiment
from na_ray.config.secrets import Address
from na_ray.config.values import UserError, flatten, override, to_dict


class KnobLoader(yaml.SafeLoader):
    """Plain values only; `1e-4` is a number, which YAML 1.1 takes for text; no name stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises UserError for a name that stands twice, of which YAML would silently keep the last."""
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{name} stands twice")
        return super().construct_mapping(node, deep)


class KnobDumper(yaml.SafeDumper):
    """Tuples stand on one line, in brackets."""


for each in (KnobLoader, KnobDumper):  # the writer has to know, or it would leave a text that looks so unquoted
    each.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
KnobDumper.add_representer(
    tuple, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)
KnobDumper.add_representer(Address, lambda dumper, value: dumper.represent_str(str(value)))


def to_yaml(experiment: Experiment) -> str:
    """Every knob, a line each, as `changed_by` reads them."""
    return yaml.dump(to_dict(experiment), Dumper=KnobDumper, sort_keys=False, width=120)


def changed_by(path: Path, experiment: Experiment) -> Experiment:
    """The experiment with the knobs that the file names changed.

    Raises UserError, one line with the file and the knob, for what is no YAML, names that do not exist, values of a
    wrong type and values out of range.
    """
    try:
        changes = _knobs(_read(path), sorted(flatten(experiment)))
        return override(experiment, changes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _read(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        raise UserError("no such file; --config expects a YAML file of knobs, as --print-config prints it")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=KnobLoader)
    except UnicodeDecodeError as error:
        raise UserError("is no UTF-8 text; expected YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{line}is no plain YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UserError(f"is no plain YAML: {' '.join(str(error).split())}") from error
    if values is not None and not isinstance(values, dict):
        raise UserError(f"holds {type(values).__name__}; expected knobs by name, as 'optim.lr: 1e-4'")
    return values or {}


def _knobs(values: dict[Any, Any], known: list[str], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values. Raises UserError for a name that is none of the known, or stands twice."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name in known:
            inner = {name: value}
        elif not any(knob.startswith(f"{name}.") for knob in known):
            raise UserError(f"there is no knob {name!r}{_nearest(name, known)}")
        elif isinstance(value, dict | None):
            inner = _knobs(value or {}, known, f"{name}.")
        else:
            raise UserError(f"{name} is {value!r}: expected its knobs by name")
        if twice := found.keys() & inner.keys():
            raise UserError(f"{min(twice)} stands twice")
        found |= inner
    return found


def _nearest(name: str, known: list[str]) -> str:
    """What may have been meant: a knob with nearly this name, else those of its section."""
    sections = list(dict.fromkeys(knob.partition(".")[0] for knob in known))
    if near := difflib.get_close_matches(name, [*known, *sections], n=1):
        return f"; did you mean {near[0]!r}?"
    section = name.rpartition(".")[0]
    own = [knob for knob in known if knob.startswith(f"{section}.")]
    return f"; there are: {', '.join(own if section and own else sections)}"
