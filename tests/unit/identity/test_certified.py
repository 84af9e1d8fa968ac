"""Clients' certificates: the right one passes, and nothing that looks like it does."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from certificates import PEOPLE, Pair, authority, client
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError, ManualClock, Secret, UnauthenticatedError, new_id, timestamp
from vallum.crypto.clients import client_names, verify_client
from vallum.identity import Authenticator, Directory, Issuers, Throttle, read_authority
from vallum.schema import Credential, Principal, PrincipalKind, Session

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ROOT = authority(now=NOW)
OTHER = authority(now=NOW)  # of the same name
GOOD = client(ROOT, PEOPLE, now=NOW)
ISSUER, PEM = read_authority(ROOT.pem)
ROBOT = Principal(id=str(new_id("sp")), kind=PrincipalKind.SERVICE_PRINCIPAL, name="robot")
CREDENTIAL = Credential(
    id=str(new_id("key")), principal_id=ROBOT.id, name="x509", secret_hash="",
    created_at=timestamp(NOW), kind="token", issuer=ISSUER, subject=PEOPLE, public_keys=PEM,
)  # fmt: skip


def enter(
    certificate: bytes,
    credential: Credential = CREDENTIAL,
    principal: Principal = ROBOT,
    *,
    token: Secret | None = None,
    now: datetime = NOW,
) -> tuple[str, str, Session]:
    """Return who a certificate lets in, until when, and as what kind of caller."""
    clock = ManualClock(now)
    authenticator = Authenticator(
        Secret(bytes(32)), Throttle(clock.monotonic), Issuers(clock.monotonic)
    )
    directory = Directory(
        credentials={credential.id: credential},
        principals={principal.id: principal},
        parents={},
        generation=1,
        federated={(credential.issuer, credential.subject): (credential,)},
    )
    caller, used = authenticator.authenticate(
        token, source="s", directory=directory, now=now, certificate=certificate
    )
    return caller.id, used.expires_at, caller.session


def test_a_certificate_acts_as_the_principal_until_it_ends() -> None:
    found = enter(GOOD.der)
    assert found == (ROBOT.id, timestamp(GOOD.certificate.not_valid_after_utc), Session.TOKEN)
    soon = timestamp(NOW + timedelta(minutes=1))
    assert enter(GOOD.der, msgspec.structs.replace(CREDENTIAL, expires_at=soon))[1] == soon


WRONG: dict[str, Pair] = {
    "another authority of that name": client(OTHER, PEOPLE, now=NOW),
    "another name": client(ROOT, "spiffe://vallum.test/other", now=NOW),
    "the name as a beginning": client(ROOT, PEOPLE + "/more", now=NOW),
    "no name": client(ROOT, now=NOW),
    "of a server": client(ROOT, PEOPLE, now=NOW, usage=ExtendedKeyUsageOID.SERVER_AUTH),
    "expired": client(ROOT, PEOPLE, now=NOW - timedelta(days=8), days=7),
    "not yet": client(ROOT, PEOPLE, now=NOW + timedelta(days=1)),
    "an authority": client(ROOT, PEOPLE, now=NOW, is_authority=True),
    "the authority": ROOT,
    "under a client": client(GOOD, PEOPLE, now=NOW),
}


@pytest.mark.parametrize("what", WRONG)
def test_any_other_certificate_is_refused(what: str) -> None:
    with pytest.raises(UnauthenticatedError):
        enter(WRONG[what].der)


def test_it_ends_with_credential_principal_and_authority() -> None:
    for credential in (
        msgspec.structs.replace(CREDENTIAL, revoked_at=timestamp(NOW)),
        msgspec.structs.replace(CREDENTIAL, expires_at=timestamp(NOW)),
        msgspec.structs.replace(CREDENTIAL, public_keys=OTHER.pem),
    ):
        with pytest.raises(UnauthenticatedError):
            enter(GOOD.der, credential)
    with pytest.raises(UnauthenticatedError):
        enter(GOOD.der, principal=msgspec.structs.replace(ROBOT, disabled=True))
    long = client(ROOT, PEOPLE, now=NOW, days=60)  # longer than its authority
    with pytest.raises(UnauthenticatedError):
        enter(long.der, now=NOW + timedelta(days=40))


def test_a_token_that_is_wrong_is_not_made_good_by_a_certificate() -> None:
    with pytest.raises(UnauthenticatedError):
        enter(GOOD.der, token=Secret(b"vlm_wrong"))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_certificate_are_none(data: bytes) -> None:
    assert client_names(data) == ()
    assert verify_client(data, PEM, name=PEOPLE, now=NOW) is None


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, len(GOOD.der) - 1), st.integers(1, 255))
def test_a_certificate_with_a_changed_byte_is_refused(at: int, by: int) -> None:
    changed = bytearray(GOOD.der)
    changed[at] ^= by
    if verify_client(bytes(changed), PEM, name=PEOPLE, now=NOW) is not None:
        # The unused bits of the signature's bit string are nobody's: what it says is the same.
        held = x509.load_der_x509_certificate(bytes(changed))
        assert held.tbs_certificate_bytes == GOOD.certificate.tbs_certificate_bytes


@pytest.mark.parametrize(
    "pem", ["", "x", GOOD.pem, ROOT.pem * 2, "-----BEGIN CERTIFICATE-----\nAA==\n" * 2, "é" * 9999]
)
def test_what_is_no_authority_is_refused(pem: str) -> None:
    with pytest.raises(InputError):
        read_authority(pem)
