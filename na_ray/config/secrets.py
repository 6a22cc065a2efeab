"""Addresses and their secrets: what is told, logged and stored has the address alone; what opens it finds both here.

    public("https://anna:pw@host/capture?sig=1f3c")      # https://host/capture, and this process knows the rest
    NA_RAY_CREDENTIALS="https://anna:pw@host/capture"    # the same for a program whose command line must not show it

A secret is known to one process. Sent to another one inside an `Address`, it is known there too; so a run's capture
reaches its workers, and no file.
"""

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

VARIABLE = "NA_RAY_CREDENTIALS"
"""Environment variable that holds addresses with their secrets, between blanks."""

# The secret keys of S3 may have slashes, passwords of others may not; a name before the colon has none in both.
_S3 = re.compile(r"(?P<scheme>s3a?)://(?P<user>[^/:@\s]+:[^@\s]+)@(?P<rest>\S+)", re.IGNORECASE)
_ANY = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<user>[^/?#\s]*)@)?(?P<rest>\S*)", re.IGNORECASE)
# Elsewhere a question mark may be part of a name: s3://bucket/what?.png, sqlite:///runs.db?timeout=9.
_WITH_QUERY = re.compile(r"https?|postgres.*|mysql.*|mssql.*", re.IGNORECASE)
# What is left of an address within a text: userinfo, then the query.
_USER_IN_TEXT = re.compile(r"(?<=://)[^/?#\s@'\"]*@")
_QUERY_IN_TEXT = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>)]+", re.IGNORECASE)
SHORTEST = 4
"""Characters of a password below which it is not looked for in texts, and half those of a query's value: many words
have such parts."""


@dataclass(frozen=True)
class Secret:
    """What an address was given with."""

    user: str = ""
    """`name:password`, as it was written."""
    query: str = ""
    """What stood behind the question mark."""

    @property
    def name(self) -> str:
        """The user's name, or S3's access key."""
        return unquote(self.user.partition(":")[0])

    @property
    def password(self) -> str:
        """The password, or S3's secret key."""
        return unquote(self.user.partition(":")[2])

    def spellings(self) -> set[str]:
        """Every way in which it may stand in a text."""
        written = {self.password, self.user.partition(":")[2]}
        values = {self.query, *(value for _, value in parse_qsl(self.query))}
        plain = {word for word in written if len(word) >= SHORTEST} | {v for v in values if len(v) >= 2 * SHORTEST}
        return plain | {quote(value, safe="") for value in plain} | {quote(value) for value in plain}


_known: dict[str, Secret] = {}
"""By the address that they were given with."""


class Address(str):
    """An address whose secret this process knows: the text lacks it; another process learns it with the text."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (str(self), secret_of(self) or Secret())


def _arrived(address: str, secret: Secret) -> Address:
    _known[address] = secret
    return Address(address)


def public(address: str) -> str:
    """An address as it may be told and stored. This process remembers the secret that stood in it."""
    clean, secret = _split(address)
    if secret == Secret():
        return address if isinstance(address, Address) or secret_of(address) is None else Address(address)
    return _arrived(clean, secret)


def keep_public(config: object, *names: str) -> None:
    """Let fields of a frozen value hold addresses without their secrets."""
    for name in names:
        object.__setattr__(config, name, public(getattr(config, name)))


def _split(address: str) -> tuple[str, Secret]:
    found = _S3.fullmatch(address) or _ANY.fullmatch(address)
    if found is None:
        return address, Secret()
    rest, query = found["rest"], ""
    if _WITH_QUERY.fullmatch(found["scheme"]):
        rest, _, query = rest.partition("?")
    return f"{found['scheme']}://{rest}", Secret(found["user"] or "", query)


def secret_of(address: str) -> Secret | None:
    """The secret for an address: that of the one most like it among those of the same scheme and host."""
    for given in os.environ.get(VARIABLE, "").split():
        clean, secret = _split(given)
        _known.setdefault(clean, secret)
    near = [known for known in _known if _origin(known) == _origin(address)]
    if not near:
        return None
    return _known[max(near, key=lambda known: len(os.path.commonpath([known, address])))]


def _origin(address: str) -> str:
    return "/".join(address.split("/", 3)[:3]).lower()


def opened_by(address: str) -> tuple[str, dict[str, Any]]:
    """(the address with its secret, options of fsspec): what a library needs to open it."""
    clean, secret = _split(address)
    if secret == Secret():
        secret = secret_of(address) or secret
    if secret == Secret():
        return address, {}
    scheme, _, rest = clean.partition("://")
    if scheme.lower() in ("s3", "s3a"):
        return clean, {"key": secret.name, "secret": secret.password}
    before = f"{secret.user}@" if secret.user else ""
    return f"{scheme}://{before}{rest}" + (f"?{secret.query}" if secret.query else ""), {}


def hidden(text: str) -> str:
    """A text, such as another library's error, without the secrets of the addresses in it."""
    for secret in _known.values():
        if secret.user:
            text = text.replace(f"{secret.user}@", "")
        for spelling in sorted(secret.spellings(), key=len, reverse=True):
            text = text.replace(spelling, "***")
    return _QUERY_IN_TEXT.sub(r"\1", _USER_IN_TEXT.sub("", text))
