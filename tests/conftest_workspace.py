"""One open workspace a test, with a few people in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vallum.base import Secret
from vallum.schema import Caller, Record, api
from vallum.workspace.bootstrap import Places, create, opened
from vallum.workspace.kernel import Kernel, Reply


@dataclass
class Place:
    """An open workspace and its owner."""

    kernel: Kernel
    places: Places
    owner: Caller

    def do(
        self, step: str, arguments: Record, *, who: Caller | None = None, **more: object
    ) -> Reply:
        caller = self.owner if who is None else who
        return self.kernel.perform(caller, step, arguments, **more)  # type: ignore[arg-type]

    def person(self, name: str, *roles: str, scope: str = "") -> Caller:
        """Make a user with roles and sign in as them."""
        self.do("identity.create", api.IdentityCreate(name=name))
        for role in roles:
            self.do("role.assign", api.RoleAssign(role=role, principal=name, scope=scope))
        return self.sign_in(name)

    def sign_in(self, name: str, **more: object) -> Caller:
        shown = self.do("key.create", api.KeyCreate(name="key", principal=name, **more)).value
        assert isinstance(shown, api.Shown)
        return self.token(shown.secret)

    def token(self, secret: str) -> Caller:
        return self.kernel.authenticate(Secret(secret), source="127.0.0.1", request_id="req")

    def entries(self) -> list[tuple[str, str, bool, str]]:
        house = self.kernel.house
        with house.database.snapshot() as snapshot:
            logged = house.log.entries(snapshot, limit=100_000)
        return [
            (one.entry.kind.value, one.entry.step, one.entry.allowed, one.entry.error)
            for one in logged
        ]

    def verify(self) -> api.Verification:
        made = self.do("workspace.verify", api.Page()).value
        assert isinstance(made, api.Verification)
        return made


def sign_in_owner(kernel: Kernel, places: Places) -> Place:
    token = Secret(places.owner_key.read_bytes().strip())
    return Place(kernel, places, kernel.authenticate(token, source="127.0.0.1", request_id="req"))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.below(tmp_path / "data")


@pytest.fixture
def reopen(places: Places) -> Callable[[], object]:
    """Open the workspace of this test once more."""
    return lambda: opened(places)


@pytest.fixture
def place(places: Places) -> Iterator[Place]:
    create(places)
    with opened(places) as kernel:
        yield sign_in_owner(kernel, places)
