"""Who is calling: API keys, sessions, principals, nested groups, lock-out."""

from vallum.identity.authenticator import (
    Authenticator,
    Directory,
    WrongCredentialError,
    with_secret,
)
from vallum.identity.directory import check_membership, groups_of, make_caller, parents_of
from vallum.identity.throttle import Throttle
from vallum.identity.token import mint, parse

__all__ = [
    "Authenticator",
    "Directory",
    "Throttle",
    "WrongCredentialError",
    "check_membership",
    "groups_of",
    "make_caller",
    "mint",
    "parents_of",
    "parse",
    "with_secret",
]
