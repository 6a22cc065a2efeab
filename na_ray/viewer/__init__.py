"""An actor live in the browser, drawn there by viser: no ray, no mlflow; given plain values by `cli/view.py`."""
