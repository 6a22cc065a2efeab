"""MLflow behind a login: a password in `MLFLOW_TRACKING_URI` opens the store, and is told and recorded nowhere."""

import os

from na_ray.config.secrets import opened_by, public, secret_of


def told(uri: str) -> str:
    """The address of a store as it may be told and recorded.

    A server's name and password go where MLflow looks for them, as if the user had set them there.
    """
    clean = public(uri)
    secret = secret_of(clean) if clean != uri else None
    if secret is not None and secret.user and clean.startswith("http"):
        os.environ["MLFLOW_TRACKING_URI"] = clean
        os.environ["MLFLOW_TRACKING_USERNAME"] = secret.name
        os.environ["MLFLOW_TRACKING_PASSWORD"] = secret.password
    return clean


def whole(uri: str) -> str:
    """What opens the store of such an address: a database's has its password in it again."""
    return uri if uri.startswith("http") else opened_by(uri)[0]
