"""OpenCV's FileStorage as YAML text: numbers, texts, lists, and matrices (`!!opencv-matrix`).

Its first line is `%YAML:1.0`, which no YAML reader takes; numbers are written as C prints them (`9.`, `1e-05`, `.Inf`).
"""

import re
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64

from na_ray.config.values import UserError
from na_ray.formats.arrays import read_small

LARGEST = 2**24
"""Bytes: a calibration of a hundred cameras has 2**17."""
DEEPEST = 12
"""Lists in lists; Python's reader of YAML calls itself for each."""

_TAG = "tag:yaml.org,2002:"


class TextLoader(yaml.BaseLoader):
    """Everything as the text that stands there: numbers are read by whoever wants some."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses what is nested too deep before Python's stack does, and lists of lists that are written out once."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, which OpenCV does not write")
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"more than {DEEPEST} lists in lists")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _matrix(loader: TextLoader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.YAMLError("a matrix without rows, cols and data")
    return {"opencv-matrix": True} | loader.construct_mapping(node, deep=True)


for _name in ("opencv-matrix", "opencv-nd-matrix"):
    TextLoader.add_constructor(f"{_TAG}{_name}", _matrix)


def read_yml(path: str) -> dict[str, Any]:
    """Name to value of a file: texts, lists, dicts; `matrix_of` makes numbers of them. Raises UserError."""
    try:
        text = read_small(path, LARGEST).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a text file, found binary data: copy the file again") from None
    # Blanked and not removed, so that lines keep their numbers.
    text = re.sub(r"\A\s*%YAML[: ][0-9.]+[^\n]*", "", text)
    try:
        values = yaml.load(text, Loader=TextLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: {_told(error)}; expected OpenCV's YAML: calibrate or copy it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: no names with values; expected OpenCV's YAML: calibrate or copy it again")
    odd = next((key for key in values if not (isinstance(key, str) and key.isprintable())), None)
    if odd is not None:
        raise UserError(f"{path}: a name of several lines or of none; expected OpenCV's YAML: calibrate it again")
    return values


def _told(error: Exception) -> str:
    """One line of a YAML reader's complaint."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    what = (error.problem if isinstance(error, yaml.MarkedYAMLError) else None) or str(error) or type(error).__name__
    what = str(what).splitlines()[0][:100]
    return f"line {mark.line + 1}: {what}" if mark is not None else what


def number_of(text: Any) -> float:
    """A number as OpenCV, Python or NumPy write it. Raises ValueError."""
    if isinstance(text, int | float):
        return float(text)
    if not isinstance(text, str) or "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text.replace(".Nan", "nan").replace(".Inf", "inf"))


def matrix_of(values: dict[str, Any], key: str, where: str) -> Float64[np.ndarray, "r c"]:
    """The matrix (or list of numbers, as one row) under a name. Raises UserError where there is none."""
    value = values[key]
    expected = f"{where}: {key}: expected a matrix of rows, cols and data"
    try:
        if isinstance(value, dict):
            rows, columns = int(value["rows"]), int(value["cols"])
            data = np.array([number_of(v) for v in value["data"]])
            if len(data) != rows * columns or min(rows, columns) < 0:
                found = f"{rows} x {columns}, but {len(data)} numbers"
                raise UserError(f"{where}: {key} is {found}: calibrate or copy it again")
            return data.reshape(rows, columns)
        rows_of = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
        return np.array([[number_of(v) for v in (row if isinstance(row, list) else [row])] for row in rows_of])
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        found = f"there is no {error}" if isinstance(error, KeyError) else str(error)[:80]
        raise UserError(f"{expected}; {found}: calibrate or copy it again") from None


OTHER_LENSES = re.compile(r"fish|equi|kannala|omni|unified|mei|scaramuzza|sphere|eucm|division", re.IGNORECASE)
"""In the names of formulas that bend otherwise than OpenCV's usual one; their coefficients look the same."""
LENS_KEYS = ("distortion_model", "camera_model", "lens_model", "model_type")
"""Where ROS and others write which formula a lens has."""


def check_lens(values: dict[str, Any], where: str) -> None:
    """Raise UserError where a file says that its coefficients belong to another formula (a fish eye's)."""
    said = {key: str(values.get(key, "")) for key in LENS_KEYS}
    found = next((f"{key} is {text[:40]!r}" for key, text in said.items() if OTHER_LENSES.search(text)), None)
    # OpenCV's calibration sample writes whether it fitted one.
    if found is None and str(values.get("fisheye_model", "0")).lower() not in ("0", "false", "no"):
        found = "fisheye_model is set"
    if found:
        raise UserError(f"{where}: {found}; expected OpenCV's usual or rational lens: undistort the pictures first")
