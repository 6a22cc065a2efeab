"""Secrets on the command line: every user of the machine sees them there, and Ray notes the line with the job."""

import os
import sys
from collections.abc import Sequence

from na_ray.config.secrets import VARIABLE, public


def without_secrets(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the arguments without the secrets of the addresses in them, those addresses)."""
    kept, found = [], []
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        kept.append(option + equals + public(value))
        found += [] if public(value) == value else [value]
    return kept, found


def hide_secrets() -> None:
    """Start this program anew where its command line shows a secret: the secret moves into the environment."""
    kept, found = without_secrets(sys.orig_argv[1:])
    if found:
        sys.stdout.flush()
        given = " ".join([*found, os.environ.get(VARIABLE, "")])
        os.execve(sys.executable, [sys.executable, *kept], os.environ | {VARIABLE: given})
