"""The public keys of other issuers, over the network; and the few that are not.

An issuer is asked only because somebody with the right to had a credential name it: a token alone
sends us nowhere. https only, off loopback; no redirect, no proxy, bounded answers.
"""

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import structlog

from vallum.base import InputError, UnavailableError, VallumError
from vallum.base.hosts import is_loopback
from vallum.formats import load_json

_LOG = structlog.get_logger("vallum.identity")

MAX_ISSUER_CHARS: Final = 512
FRESH_S: Final = 600.0  # then fetched again
HELD_S: Final = 3600.0  # no longer used if the issuer does not answer
RETRY_S: Final = 30.0  # between two attempts, whatever tokens ask for
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 100
_PATH: Final = "/.well-known/openid-configuration"

Keys = tuple[Mapping[str, Any], ...]


def check_issuer(issuer: str) -> str:
    """Return the address of an issuer, unchanged: it is compared as a string, never as a URL.

    Raises:
        InputError: It is none that could be asked safely.
    """
    try:
        parts = urlsplit(issuer)
        _ = parts.port
    except ValueError as error:
        raise InputError("the issuer is not an address", code="identity.issuer") from error
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    if (
        not secure
        or not parts.hostname
        or parts.username is not None
        or parts.query
        or parts.fragment
        or len(issuer) > MAX_ISSUER_CHARS
        or not issuer.isascii()
        or any(char.isspace() for char in issuer)
    ):
        raise InputError(
            "an issuer is an https:// address without user, query and fragment",
            code="identity.issuer",
            hint="copy `issuer` from its /.well-known/openid-configuration",
        )
    return issuer


def read_keys(document: bytes) -> Keys:
    """Return the keys of a JSON Web Key Set (RFC 7517, section 5).

    Raises:
        InputError: It is none, or has more than a hundred.
        LimitExceededError: It is larger or deeper than any such set.
    """
    held = load_json(document)
    keys = held.get("keys") if isinstance(held, dict) else None
    if not isinstance(keys, list) or not all(isinstance(one, dict) for one in keys):
        raise InputError("that is no set of public keys", code="identity.keys")
    if not 0 < len(keys) <= _MAX_KEYS:
        raise InputError(f"a set has 1 to {_MAX_KEYS} keys", code="identity.keys")
    if any("d" in one or "k" in one for one in keys):
        raise InputError(
            "the set holds a private or a shared key",
            code="identity.keys",
            hint="it should hold public keys only; treat that one as leaked",
        )
    return tuple(keys)


@dataclass(slots=True)
class _Held:
    keys: Keys = ()
    fetched_s: float = float("-inf")
    tried_s: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


class Issuers:
    """Fetches and holds the keys of issuers. Safe for threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def keys(self, issuer: str, *, missing: bool = False) -> Keys:
        """Return the keys of an issuer that a credential names.

        Args:
            issuer: Its address, checked by `check_issuer`.
            missing: A token names a key that is not among them: they may have been turned over.

        Raises:
            UnavailableError: It does not answer, and what was held is too old.
        """
        with self._lock:
            held = self._held.setdefault(issuer, _Held())
        with held.lock:  # one asks, the others wait for what it gets
            now_s = self._monotonic()
            old = now_s - held.fetched_s >= FRESH_S
            if (old or missing) and now_s - held.tried_s >= RETRY_S:
                held.tried_s = now_s
                try:
                    held.keys = self._fetch(issuer)
                    held.fetched_s = now_s
                except VallumError as error:
                    _LOG.warning("no keys of an issuer", issuer=issuer, code=error.code)
            if now_s - held.fetched_s >= HELD_S:
                raise UnavailableError(
                    f"the keys of `{issuer}` cannot be fetched", code="identity.issuer-away"
                )
            return held.keys

    def _fetch(self, issuer: str) -> Keys:
        told = load_json(self._get(issuer.rstrip("/") + _PATH))
        if not isinstance(told, dict) or told.get("issuer") != issuer:
            raise InputError("the issuer calls itself something else", code="identity.issuer")
        address = told.get("jwks_uri")
        if not isinstance(address, str):
            raise InputError("the issuer names no keys", code="identity.issuer")
        parts = urlsplit(address)
        if parts.scheme != "https" and not (
            is_loopback(parts.hostname) and is_loopback(urlsplit(issuer).hostname)
        ):
            raise InputError("the issuer's keys are not at an https:// address")
        return read_keys(self._get(address))

    def _get(self, address: str) -> bytes:
        if self._client is None:
            self._client = httpx.Client(
                verify=ssl.create_default_context(), timeout=_TIMEOUT_S,
                follow_redirects=False, trust_env=False, headers={"accept-encoding": "identity"},
            )  # fmt: skip
        body = bytearray()
        end_s = self._monotonic() + _TIMEOUT_S  # of httpx it is each read's
        try:
            with self._client.stream("GET", address) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise UnavailableError(f"the issuer answered {answer.status_code}")
                for chunk in answer.iter_raw():  # as it came: nothing grows when it is unpacked
                    body += chunk
                    if len(body) > _MAX_BYTES or self._monotonic() > end_s:
                        raise UnavailableError("the issuer answers too much, or too slowly")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError("the issuer does not answer") from error
        return bytes(body)
