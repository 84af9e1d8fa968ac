"""Bundles at the control process: what a gateway says must amount to what it kept."""

import base64
import io
import struct
import tarfile
import threading
import time

import msgspec
import pytest
import sqlalchemy as sa
from conftest_workspace import Place

from vallum.base import InputError, IntegrityError, ManualClock
from vallum.guard import count_decisions, pack_decisions
from vallum.schema import EntryKind, api
from vallum.schema.serving import MAX_TRACES, BundleClose, BundleOpen, Lease, LeaseAsk, TraceAt
from vallum.store.tables import records
from vallum.workspace.gateways import LEASE_S
from vallum.workspace.serving import JOB_LOOK_S, JOB_LOOKS, Serving

RECORDS = b"".join(struct.pack("<dH22s", at, status, b"who") for at, status in
                   enumerate((200, 200, 429, 400)))  # fmt: skip


def opened(place: Place) -> tuple[Serving, BundleClose]:
    """Return a serving with an open bundle, and the honest way to close it."""
    place.do("endpoint.create", api.EndpointCreate(name="risk"))
    serving = Serving(place.kernel)
    (endpoint,) = place.do("endpoint.list", api.Page()).value.endpoints  # type: ignore[union-attr]
    bundle = serving.open_bundle(
        BundleOpen(
            gateway="g",
            endpoint_id=endpoint.id,
            deployment_id="d",
            model_digest="m",
            max_answers=10,
            ttl_s=5.0,
        )
    )
    found = count_decisions(RECORDS)
    return serving, BundleClose(
        id=bundle.id, answered=found.answered, refused=found.refused, root=found.root,
        records=pack_decisions(RECORDS),
    )  # fmt: skip


def test_a_bundle_closes_once_and_verifies(place: Place) -> None:
    serving, honest = opened(place)
    serving.close_bundle(honest)
    assert (honest.answered, honest.refused) == (2, 2)
    assert place.verify().findings == ()
    with pytest.raises(InputError, match="not open"):
        serving.close_bundle(honest)


def test_an_entry_whose_decisions_are_not_its_roots_is_a_finding(place: Place) -> None:
    _, honest = opened(place)
    house = place.kernel.house
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="score",
            kind=EntryKind.BUNDLE_CLOSED,
            principal_id="system-gateway",
            resources=(honest.id,),
        )
        records = base64.b64encode(honest.records).decode()
        lie = {"answered": 2, "refused": 2, "root": "0" * 64, "recovered": False}
        house.log.seal(tx, permit, changes=[], details={**lie, "records": records})
    assert [one.code for one in place.verify().findings] == ["bundle.root"]


@pytest.mark.parametrize(
    "lie",
    [
        {"answered": 3, "refused": 1},
        {"answered": 2, "refused": 1},
        {"root": "0" * 64},
        {"records": pack_decisions(RECORDS[:-32] + RECORDS[:32])},
        {"records": b""},
    ],
)
def test_records_that_do_not_amount_to_root_and_counts_are_refused(
    place: Place, lie: dict[str, object]
) -> None:
    serving, honest = opened(place)
    with pytest.raises(InputError, match="records"):
        serving.close_bundle(msgspec.structs.replace(honest, **lie))
    serving.close_bundle(honest)  # what was refused has closed nothing


@pytest.mark.parametrize(
    "traces",
    [
        (TraceAt(record=4, trace_id="a" * 32, span_id="b" * 16),),
        (TraceAt(record=-1, trace_id="a" * 32, span_id="b" * 16),),
        (TraceAt(record=0, trace_id="A" * 32, span_id="b" * 16),),
        (TraceAt(record=0, trace_id="a" * 32, span_id="b" * 15),),
        (TraceAt(record=0, trace_id="a" * 32, span_id="b" * 16),) * (MAX_TRACES + 1),
    ],
    ids=("beyond", "before", "no trace", "no span", "too many"),
)
def test_traces_of_other_records_are_refused(place: Place, traces: tuple[TraceAt, ...]) -> None:
    serving, honest = opened(place)
    with pytest.raises(InputError) as refused:
        serving.close_bundle(msgspec.structs.replace(honest, traces=traces))
    assert refused.value.code == "bundle.traces"
    known = (TraceAt(record=3, trace_id="a" * 32, span_id="b" * 16),)
    serving.close_bundle(msgspec.structs.replace(honest, traces=known))
    assert place.verify().findings == ()


def test_gateways_are_told_how_many_live(place: Place) -> None:
    house = place.kernel.house
    clock = house.clock = ManualClock(house.clock.now())
    serving = Serving(place.kernel)
    told = [serving.lease(LeaseAsk(gateway=name, have=-1)).gateways for name in "aba"]
    assert told == [1, 2, 2]
    clock.advance(0.9)
    assert serving.lease(LeaseAsk(gateway="a", have=-1)).gateways == 2
    clock.advance(0.2)  # the lease of the other one has run out
    assert serving.lease(LeaseAsk(gateway="a", have=-1)).gateways == 1


def test_a_lease_is_read_once_until_something_changes_be_it_no_authority(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    really = Serving._read_lease

    def noting(serving: Serving) -> Lease:
        read.append(1)
        return really(serving)

    monkeypatch.setattr(Serving, "_read_lease", noting)
    serving, _ = opened(place)
    asked = LeaseAsk(gateway="g", have=-1)
    first = [serving.lease(asked) for _ in range(3)]
    assert first[0] == first[2]
    assert len(read) <= 2  # the first opens what it needs, which may touch the files
    read.clear()
    with place.kernel.house.database.transaction() as tx:  # an endpoint is no authority
        tx.connection.execute(
            sa.update(records).where(records.c.kind == "endpoint").values(content=b"{}")
        )
    for _ in range(2):
        with pytest.raises(IntegrityError):
            serving.lease(asked)
    assert len(read) == 2


def test_who_waits_for_a_job_is_told_at_once_and_let_go_at_the_end(place: Place) -> None:
    serving = Serving(place.kernel)
    told: list[bool] = []
    waiting = threading.Thread(target=lambda: told.append(serving.job_waits()))
    waiting.start()
    code = io.BytesIO()
    with tarfile.open(fileobj=code, mode="w") as made:
        made.addfile(tarfile.TarInfo("a.py"))
    assert not told
    place.do(
        "job.submit", api.JobSubmit(name="j", entry="a.py"), content=io.BytesIO(code.getvalue())
    )
    waiting.join(JOB_LOOKS * JOB_LOOK_S / 2)
    assert told == [True]

    place.do("job.cancel", api.Named(name="j"))
    waiting = threading.Thread(target=lambda: told.append(serving.job_waits()))
    waiting.start()
    serving.release()
    waiting.join(JOB_LOOKS * JOB_LOOK_S / 2)
    assert told == [True, False]


def test_what_changed_while_no_gateway_waited_is_told_at_once(place: Place) -> None:
    serving = Serving(place.kernel)
    place.kernel.set_barrier(serving.barrier)
    have = serving.lease(LeaseAsk(gateway="g", have=-1)).generation
    place.do("identity.create", api.IdentityCreate(name="ann"))  # waits until `g` has no lease
    began_s = time.monotonic()
    lease = serving.lease(LeaseAsk(gateway="g", have=have, wait_s=LEASE_S))
    assert lease.generation > have
    assert time.monotonic() - began_s < LEASE_S / 4
