"""Tokens of other issuers: the right one passes, and nothing that looks like it does."""

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from vallum.base import (
    InputError,
    ManualClock,
    Secret,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
    new_id,
    timestamp,
)
from vallum.identity import Authenticator, Directory, Issuers, Throttle, check_issuer, read_keys
from vallum.identity.issuers import FRESH_S, HELD_S, RETRY_S
from vallum.schema import Credential, Principal, PrincipalKind, Session

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ISSUER = "https://id.example.org"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EDWARDS = OKPKey.generate_key("Ed25519", {"kid": "ed"})
KEYS: dict[str, tuple[Key, str]] = {
    "RSA": (RSA, "RS256"), "PSS": (RSA, "PS384"), "EC": (EC, "ES256"),
    "Edwards": (EDWARDS, "Ed25519"),
}  # fmt: skip
OTHER = RSAKey.generate_key(2048, {"kid": "rsa"})
SET = json.dumps({"keys": [one.as_dict(private=False) for one in (RSA, EC, EDWARDS)]})
ROBOT = Principal(id=str(new_id("sp")), kind=PrincipalKind.SERVICE_PRINCIPAL, name="robot")
CREDENTIAL = Credential(
    id=str(new_id("key")), principal_id=ROBOT.id, name="id.example.org", secret_hash="",
    created_at=timestamp(NOW), kind="token", issuer=ISSUER, subject="ci/robot", audience="vallum",
    public_keys=SET,
)  # fmt: skip


def claims(**more: object) -> dict[str, object]:
    now = int(NOW.timestamp())
    held = {"iss": ISSUER, "sub": "ci/robot", "aud": "vallum", "iat": now, "exp": now + 300, **more}
    return {name: value for name, value in held.items() if value is not None}


def signed(
    said: dict[str, object] | None = None,
    *,
    key: Key = RSA,
    alg: str = "RS256",
    header: dict[str, Any] | None = None,
) -> Secret:
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    protected = {"alg": alg, "kid": key.kid or "rsa", "typ": "JWT", **(header or {})}
    text = jws.serialize_compact(
        protected, json.dumps(claims() if said is None else said), key, registry=registry
    )
    return Secret(text.encode())


def ask(
    token: Secret, credential: Credential = CREDENTIAL, *, principal: Principal = ROBOT
) -> tuple[str, Session, str]:
    clock = ManualClock(NOW)
    authenticator = Authenticator(
        Secret(b"k" * 32), Throttle(clock.monotonic), Issuers(clock.monotonic)
    )
    directory = Directory(
        credentials={credential.id: credential},
        principals={principal.id: principal},
        parents={},
        generation=1,
        federated={(credential.issuer, credential.subject): (credential,)},
    )
    caller, used = authenticator.authenticate(
        token, source="127.0.0.1", directory=directory, now=NOW
    )
    return caller.id, caller.session, used.expires_at


@pytest.mark.parametrize("name", KEYS)
def test_a_token_that_a_credential_names_acts_until_it_ends(name: str) -> None:
    key, alg = KEYS[name]
    ends = timestamp(NOW + timedelta(seconds=300))
    assert ask(signed(key=key, alg=alg)) == (ROBOT.id, Session.TOKEN, ends)
    assert ask(signed(claims(aud=["other", "vallum"]), key=key, alg=alg))[0] == ROBOT.id
    soon = msgspec.structs.replace(CREDENTIAL, expires_at=timestamp(NOW + timedelta(seconds=5)))
    assert ask(signed(key=key, alg=alg), soon)[2] == soon.expires_at


def test_ed25519_is_taken_under_its_old_name() -> None:
    with pytest.warns(SecurityWarning):
        token = signed(key=EDWARDS, alg="EdDSA")
    assert ask(token)[0] == ROBOT.id


def forged(header: dict[str, object], body: dict[str, object], signature: bytes = b"") -> Secret:
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return Secret(b".".join(base64.urlsafe_b64encode(one).rstrip(b"=") for one in parts))


def confused() -> Secret:
    """Sign with the public key's text as a shared secret."""
    head = forged({"alg": "HS256", "kid": "rsa"}, claims()).reveal().rpartition(b".")[0]
    code = hmac.digest(RSA.as_pem(private=False), head, "sha256")
    return Secret(head + b"." + base64.urlsafe_b64encode(code).rstrip(b"="))


SECOND = int(NOW.timestamp())
WRONG = {
    "of no key": lambda: signed(key=OTHER),
    "brings its key along": lambda: signed(key=OTHER, header={"jwk": OTHER.as_dict(private=False)}),
    "points to its keys": lambda: signed(key=OTHER, header={"jku": "https://evil.example/keys"}),
    "says none": lambda: forged({"alg": "none", "kid": "rsa"}, claims(), b"x"),
    "says none, without a signature": lambda: forged({"alg": "none", "kid": "rsa"}, claims()),
    "confuses kinds of keys": confused,
    "asks for another key": lambda: signed(header={"kid": "ec"}),
    "asks for a key by path": lambda: signed(key=OTHER, header={"kid": "../../dev/null"}),
    "names no key of three": lambda: signed(header={"kid": ""}),
    "has a critical header": lambda: signed(header={"crit": ["kid"]}),
    "is of another type": lambda: signed(header={"typ": "logout+jwt"}),
    "other audience": lambda: signed(claims(aud="vallum2")),
    "no audience": lambda: signed(claims(aud=None)),
    "audience in part": lambda: signed(claims(aud="vallum extra")),
    "expired": lambda: signed(claims(exp=SECOND - 61)),
    "never expires": lambda: signed(claims(exp=None)),
    "expires in years": lambda: signed(claims(exp=SECOND + 90_000)),
    "expires at infinity": lambda: signed(claims(exp=1e308)),
    "expires at a text": lambda: signed(claims(exp=str(SECOND + 300))),
    "from the future": lambda: signed(claims(nbf=SECOND + 61)),
    "issued in the future": lambda: signed(claims(iat=SECOND + 61)),
    "other issuer": lambda: signed(claims(iss=ISSUER + "/")),
    "other subject": lambda: signed(claims(sub="CI/robot")),
    "bound to its sender": lambda: signed(claims(cnf={"jkt": "x"})),
    "too long": lambda: signed(claims(more="x" * 9000)),
}


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("how", WRONG)
def test_a_token_that_is_wrong_is_refused_as_any_other(how: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        ask(WRONG[how]())
    assert caught.value.message == "the credential is missing, wrong, expired or revoked"


def test_who_is_vouched_for_must_be_in_force() -> None:
    for credential in (
        msgspec.structs.replace(CREDENTIAL, revoked_at=timestamp(NOW)),
        msgspec.structs.replace(CREDENTIAL, expires_at=timestamp(NOW)),
    ):
        with pytest.raises(UnauthenticatedError):
            ask(signed(), credential)
    with pytest.raises(UnauthenticatedError):
        ask(signed(), principal=msgspec.structs.replace(ROBOT, disabled=True))
    # A federated credential has no secret, so none is the right one.
    with pytest.raises(UnauthenticatedError):
        ask(Secret(f"vlm_{CREDENTIAL.id.removeprefix('key-')}_{'0' * 59}".encode()))


@given(at=st.integers(min_value=0), flip=st.integers(1, 127))
def test_any_changed_character_is_refused(at: int, flip: int) -> None:
    whole = bytearray(signed(key=EDWARDS, alg="Ed25519").reveal())
    at %= len(whole)
    before = bytes(whole)
    whole[at] ^= flip
    # The last character of a part may hold bits that no byte takes; the decoder refuses those too.
    if _same(before, bytes(whole)):
        return
    with pytest.raises(UnauthenticatedError):
        ask(Secret(bytes(whole)))


def _same(one: bytes, other: bytes) -> bool:
    def parts(data: bytes) -> list[bytes] | None:
        try:
            return [
                base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
                for part in data.split(b".")
            ]
        except ValueError:
            return None

    return parts(one) == parts(other)


@given(data=st.binary(max_size=300))
def test_anything_else_is_refused_and_breaks_nothing(data: bytes) -> None:
    with pytest.raises(VallumError):
        ask(Secret(data))
    with pytest.raises(VallumError):
        ask(Secret(data + b".e30.x"))


# -- where keys come from -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        "http://id.example.org", "ftp://id.example.org", "id.example.org", "https://", "https://[",
        "https://u:p@id.example.org", "https://id.example.org?x=1", "https://id.example.org#x",
        "https://id.example.org:port", "https://id .example.org", "https://i\u0434.example.org",
        "https://id.example.org/" + "x" * 512,
    ],
)  # fmt: skip
def test_an_issuer_that_cannot_be_asked_safely_is_refused(wrong: str) -> None:
    with pytest.raises(InputError):
        check_issuer(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": ["x"]}', b'{"keys": {}}',
        json.dumps({"keys": [RSA.as_dict(private=True)]}).encode(),
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        json.dumps({"keys": [{}] * 101}).encode(),
    ],
)  # fmt: skip
def test_a_set_of_keys_that_is_none_is_refused(wrong: bytes) -> None:
    with pytest.raises(InputError):
        read_keys(wrong)


def test_keys_that_are_too_weak_or_of_another_use_sign_nothing() -> None:
    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
    sealing = {**RSA.as_dict(private=False), "use": "enc"}
    other = {**RSA.as_dict(private=False), "alg": "RS512"}
    for key, document in ((weak, weak.as_dict(private=False)), (RSA, sealing), (RSA, other)):
        held = msgspec.structs.replace(
            CREDENTIAL, public_keys=json.dumps({"keys": [document, {"kty": "RSA", "n": 1}]})
        )
        with pytest.raises(UnauthenticatedError):
            ask(signed(key=key), held)


class Provider(ThreadingHTTPServer):
    """An issuer on loopback that can be told to misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[str] = []
        self.told: dict[str, object] = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.keys = SET.encode()
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.keys if self.path == "/keys" else json.dumps(self.server.told).encode()
        self.send_response(self.server.status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def test_keys_are_held_for_a_while_and_fetched_again_when_one_is_missing(
    provider: Provider,
) -> None:
    clock = ManualClock(NOW)
    issuers = Issuers(clock.monotonic)
    assert len(issuers.keys(provider.url)) == 3
    issuers.keys(provider.url)
    issuers.keys(provider.url, missing=True)  # just asked: a flood of tokens sends no flood there
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
    clock.advance(RETRY_S)
    provider.keys = json.dumps({"keys": [OTHER.as_dict(private=False)]}).encode()
    assert len(issuers.keys(provider.url)) == 3
    assert len(issuers.keys(provider.url, missing=True)) == 1
    clock.advance(FRESH_S)
    provider.status = 503
    assert len(issuers.keys(provider.url)) == 1  # it is away: what is held lasts for an hour
    clock.advance(HELD_S)
    with pytest.raises(UnavailableError):
        issuers.keys(provider.url)


def test_an_issuer_that_answers_a_drop_at_a_time_is_left(provider: Provider) -> None:
    clock = ManualClock(NOW)

    def monotonic() -> float:  # each look at the clock finds it six seconds later
        clock.advance(6.0)
        return clock.monotonic()

    with pytest.raises(UnavailableError):
        Issuers(monotonic).keys(provider.url)
    assert provider.asked


@pytest.mark.parametrize("how", ["redirect", "name", "no keys", "elsewhere", "large", "nothing"])
def test_an_issuer_that_misbehaves_gives_no_keys(provider: Provider, how: str) -> None:
    if how == "redirect":
        provider.status = 302
    elif how == "name":
        provider.told["issuer"] = f"{provider.url}/"
    elif how == "no keys":
        del provider.told["jwks_uri"]
    elif how == "elsewhere":
        provider.told["jwks_uri"] = "http://169.254.169.254/keys"
    elif how == "large":
        provider.keys = b" " * (300 * 1024) + SET.encode()
    else:
        provider.keys = b""
    with pytest.raises(UnavailableError):
        Issuers(ManualClock(NOW).monotonic).keys(provider.url)
    assert "/elsewhere" not in provider.asked
