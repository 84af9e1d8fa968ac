"""Who is calling: keys, tokens of other issuers, sessions, principals, groups, lock-out."""

from vallum.identity.authenticator import (
    Authenticator,
    Directory,
    WrongCredentialError,
    with_secret,
)
from vallum.identity.certified import is_certified, read_authority
from vallum.identity.directory import check_membership, groups_of, make_caller, parents_of
from vallum.identity.issuers import Issuers, check_issuer, read_keys
from vallum.identity.throttle import Throttle
from vallum.identity.token import mint, parse

__all__ = [
    "Authenticator",
    "Directory",
    "Issuers",
    "Throttle",
    "WrongCredentialError",
    "check_issuer",
    "check_membership",
    "groups_of",
    "is_certified",
    "make_caller",
    "mint",
    "parents_of",
    "parse",
    "read_authority",
    "read_keys",
    "with_secret",
]
