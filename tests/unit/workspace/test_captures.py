"""What is kept of requests: only where policy and right allow it, encrypted, and for a time."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from conftest_workspace import Place, sign_in_owner
from running import small_model

from vallum.base import InputError, ManualClock, NotFoundError, RefusedError, SealedError
from vallum.crypto import WrappedKey
from vallum.policy.requirements import STRICT, CaptureRule, Requirements
from vallum.schema import CapturePolicy, WrappedDataKey, api, rules
from vallum.schema.capture import CaptureHanded, CaptureNamed, CapturesShown
from vallum.schema.serving import LeaseAsk
from vallum.workspace.bootstrap import Places, create, opened
from vallum.workspace.capture_books import expire_captures
from vallum.workspace.captures import check_capture
from vallum.workspace.intent import settle_all
from vallum.workspace.serving import Serving

DAY_S = 86_400.0
LINES = b'{"inputs": [1.5]}\n{"inputs": [2.5]}\n'


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2027, 1, 1, 12, tzinfo=UTC))


@pytest.fixture
def timed(places: Places, clock: ManualClock) -> Iterator[Place]:
    """A workspace whose clock the test moves, with a model and an endpoint."""
    create(places, clock=clock)
    with opened(places, clock=clock) as kernel:
        place = sign_in_owner(kernel, places)
        place.do(
            "model.register",
            api.ModelRegister(name="m", file_name="model.onnx"),
            content=io.BytesIO(small_model()),
        )
        place.do("endpoint.create", api.EndpointCreate(name="e"))
        allow(place)
        yield place


def allow(place: Place, capture: str = '{"allow": true, "max_days": 10}') -> None:
    document = f'{{"version": "vallum.policy/1", "capture": {capture}}}'
    place.do("policy.set", rules.PolicySet(document=document, reason="test"))


def deploy(place: Place, capture: CapturePolicy | None = None, **more: object) -> str:
    capture = CapturePolicy() if capture is None else capture
    asked = api.EndpointDeploy(endpoint="e", deployment="blue", model="m", capture=capture)
    shown = place.do("endpoint.deploy", asked, **more).value
    assert isinstance(shown, api.EndpointShown)
    return shown.deployments[0].id


def keep(place: Place, deployment: str, lines: bytes = LINES) -> None:
    Serving(place.kernel).captured(CaptureHanded(deployment_id=deployment, lines=lines, records=2))


def listed(place: Place, **more: object) -> CapturesShown:
    found = place.do("endpoint.capture", CaptureNamed(endpoint="e"), **more).value
    assert isinstance(found, CapturesShown)
    return found


def content(place: Place, **more: object) -> bytes:
    chunks = place.do("endpoint.capture-read", CaptureNamed(endpoint="e"), **more).chunks
    assert chunks is not None
    return b"".join(chunks)


def test_nothing_is_captured_where_the_policy_does_not_say_so() -> None:
    with pytest.raises(RefusedError, match="does not allow"):
        check_capture(CapturePolicy(), STRICT)


@pytest.mark.parametrize(
    "asked",
    [
        CapturePolicy(sampling_rate="0"),
        CapturePolicy(sampling_rate="1.5"),
        CapturePolicy(sampling_rate="NaN"),
        CapturePolicy(sampling_rate="much"),
        CapturePolicy(rolling_rate="minute"),
        CapturePolicy(keep_days=0),
        CapturePolicy(inputs=False, outputs=False),
    ],
)
def test_what_makes_no_sense_is_bad_input(asked: CapturePolicy) -> None:
    with pytest.raises(InputError):
        check_capture(
            asked, Requirements(version="vallum.policy/1", capture=CaptureRule(allow=True))
        )


def test_capturing_and_reading_are_rights_of_their_own(timed: Place) -> None:
    engineer = timed.person("engineer", "Machine Learning Engineer", "Contributor")
    with pytest.raises(RefusedError, match="capture/action"):
        deploy(timed, who=engineer)
    with pytest.raises(RefusedError, match="10 days at most"):
        deploy(timed, CapturePolicy(keep_days=11))
    keep(timed, deploy(timed))
    for step in ("endpoint.capture", "endpoint.capture-read", "endpoint.capture-erase"):
        with pytest.raises(RefusedError, match="capture/"):
            timed.do(step, CaptureNamed(endpoint="e"), who=engineer)
    assert content(timed) == LINES
    assert ("decision", "endpoint.capture-read", True, "") in timed.entries()
    assert ("refusal", "endpoint.capture-read", False, "") in [
        (*one[:3], "") for one in timed.entries()
    ]


def test_ending_a_capture_and_deleting_what_was_captured_are_rights_too(timed: Place) -> None:
    engineer = timed.person("engineer", "Machine Learning Engineer", "Contributor")
    deployment = deploy(timed)
    uncaptured = api.EndpointDeploy(endpoint="e", deployment="blue", model="m")
    with pytest.raises(RefusedError, match="`onlineEndpoints/deployments/capture/action`"):
        timed.do("endpoint.deploy", uncaptured, who=engineer)
    keep(timed, deployment)
    with pytest.raises(RefusedError, match="`onlineEndpoints/deployments/capture/delete`"):
        timed.do("endpoint.delete", api.Named(name="e"), who=engineer)
    assert content(timed) == LINES
    timed.do("endpoint.capture-erase", CaptureNamed(endpoint="e"))
    timed.do("endpoint.deploy", uncaptured)
    timed.do("endpoint.deploy", uncaptured, who=engineer)  # of what nobody captures it is not asked
    timed.do("endpoint.delete", api.Named(name="e"), who=engineer)


def test_a_day_is_one_book_and_readable_only_through_the_store(
    timed: Place, places: Places
) -> None:
    deployment = deploy(timed)
    keep(timed, deployment)
    keep(timed, deployment)
    (book,) = listed(timed).books
    assert (book.records, book.bytes) == (4, 2 * len(LINES))
    assert (book.begins_at[:10], book.expires_at[:10]) == ("2027-01-01", "2027-01-09")
    assert content(timed) == 2 * LINES
    assert timed.verify().findings == ()
    for path in places.data.rglob("*"):
        if path.is_file():
            assert b"2.5]" not in path.read_bytes()


def test_a_stricter_policy_ends_capture_at_once(timed: Place) -> None:
    deployment = deploy(timed)
    lease = Serving(timed.kernel).lease(LeaseAsk(gateway="g", have=-1))
    assert lease.endpoints[0].deployments[0].capture == CapturePolicy()
    for stricter in ("{}", '{"allow": true, "max_days": 3}'):
        allow(timed, stricter)
        lease = Serving(timed.kernel).lease(LeaseAsk(gateway="g2", have=-1))
        assert lease.endpoints[0].deployments[0].capture is None
        with pytest.raises(RefusedError, match="not captured"):
            keep(timed, deployment)


def test_a_book_is_destroyed_when_its_time_is_over(timed: Place, clock: ManualClock) -> None:
    keep(timed, deploy(timed))
    house = timed.kernel.house
    with house.database.snapshot() as snapshot:
        rows = house.records.list(snapshot, "wrapped-key", WrappedDataKey, limit=100)
        (row,) = [one for one in rows if one.id.startswith("cap-")]
    clock.advance(7.4 * DAY_S)
    assert expire_captures(house) == 0
    clock.advance(0.2 * DAY_S)
    assert listed(timed).books == ()  # over is over, also before anybody has cleaned up
    with pytest.raises(NotFoundError, match="nothing was captured"):
        content(timed)
    assert expire_captures(house) == 1
    # Whoever kept the row and the objects, in a backup, has nothing.
    wrapped = WrappedKey(**row.wrapped)  # type: ignore[arg-type]
    with pytest.raises(SealedError):
        house.keyring.rewrap(wrapped, row.id, "content")
    assert timed.verify().findings == ()


def test_a_crash_before_the_key_is_destroyed_is_made_good(
    timed: Place, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(timed, deploy(timed))
    clock.advance(9 * DAY_S)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vallum.workspace.capture_books.shred", die)
        with pytest.raises(KeyboardInterrupt):
            expire_captures(timed.kernel.house)
    settle_all(timed.kernel.house)
    erased = timed.kernel.house.erasures.read()
    assert [one for one in erased if one.startswith("cap-")]
    assert timed.verify().findings == ()


def test_captures_are_erased_by_hand_and_with_their_endpoint(timed: Place) -> None:
    keep(timed, deploy(timed))
    timed.do("endpoint.capture-erase", CaptureNamed(endpoint="e"), dry_run=True)
    assert len(listed(timed).books) == 1
    done = timed.do("endpoint.capture-erase", CaptureNamed(endpoint="e")).value
    assert isinstance(done, api.Done)
    assert "1 book" in done.text
    assert listed(timed).books == ()
    deployment = deploy(timed)
    keep(timed, deployment)
    timed.do("endpoint.delete", api.Named(name="e"))
    assert len([o for o in timed.kernel.house.erasures.read() if o.startswith("cap-")]) == 2
    with pytest.raises(NotFoundError):
        keep(timed, deployment)
    assert timed.verify().findings == ()
