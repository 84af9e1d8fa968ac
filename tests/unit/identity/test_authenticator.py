"""Every way to be unauthenticated looks the same; the right token alone passes."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import (
    InputError,
    LimitExceededError,
    ManualClock,
    Secret,
    UnauthenticatedError,
    new_id,
    timestamp,
)
from vallum.identity import (
    Authenticator,
    Directory,
    Issuers,
    Throttle,
    WrongCredentialError,
    check_membership,
    groups_of,
    mint,
    parents_of,
    parse,
    with_secret,
)
from vallum.identity.throttle import MAX_DELAY_S, MAX_LOCK_S
from vallum.schema import Caller, Credential, Principal, PrincipalKind, Session

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = Secret(b"k" * 32)


class World:
    """One user in two nested groups with one key."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.user = Principal(id=new_id("user"), kind=PrincipalKind.USER, name="ana")
        self.team = Principal(
            id=new_id("grp"), kind=PrincipalKind.GROUP, name="team", members=(self.user.id,)
        )
        self.firm = Principal(
            id=new_id("grp"), kind=PrincipalKind.GROUP, name="firm", members=(self.team.id,)
        )
        identity = new_id("key")
        self.token, secret = mint(identity)
        self.credential = with_secret(
            Credential(
                id=identity,
                principal_id=self.user.id,
                name="laptop",
                secret_hash="",
                created_at=timestamp(NOW),
                actions=("data/read",),
            ),
            key=KEY,
            secret=secret,
        )
        self.authenticator = Authenticator(
            KEY, Throttle(self.clock.monotonic), Issuers(self.clock.monotonic)
        )

    def directory(self, credential: Credential | None = None) -> Directory:
        held = self.credential if credential is None else credential
        return Directory(
            credentials={held.id: held},
            principals={self.user.id: self.user},
            parents=parents_of([self.team, self.firm]),
            generation=1,
        )

    def authenticate(
        self,
        token: Secret | None,
        *,
        directory: Directory | None = None,
        source: str = "127.0.0.1",
    ) -> Caller:
        caller, _ = self.authenticator.authenticate(
            token,
            source=source,
            directory=self.directory() if directory is None else directory,
            now=self.clock.now(),
        )
        return caller


def test_the_right_token_yields_the_caller_with_its_nested_groups() -> None:
    world = World()
    caller = world.authenticate(world.token)
    assert caller.id == world.user.id
    assert set(caller.groups) == {world.team.id, world.firm.id}
    assert caller.session is Session.API_KEY
    assert caller.key_actions == ("data/read",)


def test_every_wrong_credential_gets_the_same_text() -> None:
    world = World()
    other, _ = mint(new_id("key"))
    forged, _ = mint(world.credential.id)
    revoked = msgspec.structs.replace(world.credential, revoked_at=timestamp(NOW))
    expired = msgspec.structs.replace(world.credential, expires_at=timestamp(NOW))
    cases: list[tuple[Secret | None, Directory | None]] = [
        (None, None),
        (Secret(""), None),
        (Secret("vlm_" + "0" * 600), None),
        (other, None),
        (forged, None),
        (world.token, world.directory(revoked)),
        (world.token, world.directory(expired)),
    ]
    texts = set()
    for number, (token, directory) in enumerate(cases):
        with pytest.raises(UnauthenticatedError) as caught:
            world.authenticate(token, directory=directory, source=f"10.0.0.{number}")
        texts.add((caught.value.message, caught.value.code, caught.value.hint))
    assert len(texts) == 1


def test_a_disabled_or_missing_principal_is_refused() -> None:
    world = World()
    for principals in ({}, {world.user.id: msgspec.structs.replace(world.user, disabled=True)}):
        directory = Directory(
            credentials={world.credential.id: world.credential},
            principals=principals,
            parents={},
            generation=1,
        )
        with pytest.raises(WrongCredentialError):
            world.authenticate(world.token, directory=directory)


@settings(max_examples=200)
@given(position=st.integers(0, 89), mask=st.integers(1, 255))
def test_any_changed_byte_of_a_token_is_refused(position: int, mask: int) -> None:
    world = World()
    data = bytearray(world.token.reveal())
    data[position] ^= mask
    with pytest.raises(UnauthenticatedError):
        world.authenticate(Secret(bytes(data)))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    parsed = parse(Secret(data))
    assert parsed is None or len(data) == len(b"vlm_") + 26 + 1 + 52 + 7


def test_the_token_is_in_no_repr() -> None:
    world = World()
    shown = repr(world.token) + repr(parse(world.token)) + repr(world.authenticator)
    assert world.token.reveal().decode()[-20:] not in shown


def test_lock_out_grows_per_pair_and_leaves_other_sources_alone() -> None:
    world = World()
    wrong, _ = mint(world.credential.id)
    waits = []
    for _ in range(9):
        try:
            world.authenticate(wrong, source="10.0.0.1")
        except LimitExceededError as locked:
            waits.append(locked.retry_after_s or 0.0)
            world.clock.advance(waits[-1])
            with pytest.raises(WrongCredentialError):
                world.authenticate(wrong, source="10.0.0.1")
        except WrongCredentialError:
            pass
    assert waits == sorted(waits)
    assert len(waits) >= 2
    assert max(waits) <= MAX_LOCK_S
    with pytest.raises(LimitExceededError):
        world.authenticate(world.token, source="10.0.0.1")
    assert world.authenticate(world.token, source="10.0.0.2").id == world.user.id


def test_known_and_unknown_accounts_are_locked_alike() -> None:
    """Else the lock-out itself would tell which accounts exist."""

    def history(credential_id: str, world: World) -> list[str]:
        wrong, _ = mint(credential_id)
        out = []
        for _ in range(8):
            try:
                world.authenticate(wrong)
            except (LimitExceededError, WrongCredentialError) as error:
                out.append(error.code)
        return out

    first, second = World(), World()
    assert history(first.credential.id, first) == history(new_id("key"), second)


def test_a_flood_from_many_sources_slows_every_wrong_answer_within_the_bound() -> None:
    world = World()
    delays = []
    for number in range(200):
        wrong, _ = mint(new_id("key"))
        with pytest.raises(WrongCredentialError) as caught:
            world.authenticate(wrong, source=f"10.0.{number // 250}.{number % 250}")
        delays.append(caught.value.delay_s)
    assert delays[-1] > delays[0]
    assert max(delays) <= MAX_DELAY_S


def test_an_expiry_in_the_future_still_passes_until_it_comes() -> None:
    world = World()
    held = msgspec.structs.replace(
        world.credential, expires_at=timestamp(NOW + timedelta(seconds=10))
    )
    assert world.authenticate(world.token, directory=world.directory(held)).id == world.user.id
    world.clock.advance(10)
    with pytest.raises(WrongCredentialError):
        world.authenticate(world.token, directory=world.directory(held))


def test_groups_that_would_nest_in_a_circle_are_refused() -> None:
    world = World()
    with pytest.raises(InputError, match="already contains"):
        check_membership(world.team, world.firm, [world.team, world.firm])
    with pytest.raises(InputError, match="is not a group"):
        check_membership(world.user, world.team, [])
    assert groups_of("user-unknown", {}) == ()


def test_groups_end_even_where_stored_rows_form_a_circle() -> None:
    assert groups_of("a", {"a": ("b",), "b": ("a",)}) == ("a", "b")
