"""Numbers as text."""

import warnings

import numpy as np
from jaxtyping import Float


def numbers_of(text: str) -> Float[np.ndarray, "n"] | None:
    """Every number of a text, None when something else stands among them."""
    with warnings.catch_warnings():
        # numpy stops at the first thing that is no number, with a warning: both spellings of that mean "None".
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
