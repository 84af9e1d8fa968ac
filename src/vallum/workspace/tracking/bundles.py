"""Bundles of metrics: a flood of points is two entries of the log, not one entry a point.

The first point opens a bundle: a step, decided and logged like any other, whose permit is good for
`LEASE_S`. Further points of the same caller and run join it: each is in the database before its
reply leaves, under the row MAC, but without an entry. Closing writes all of them as one row that
never changes, named by one entry. Whoever reads a run reads its open bundles too. A bundle that a
killed process left open is closed by the next.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec

from vallum.base import NotFoundError, RefusedError, new_id
from vallum.schema import Caller, EntryKind, Experiment, MetricBundle, MetricPoints, Run
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.kernel import RESERVE_BYTES
from vallum.workspace.leases import Lease
from vallum.workspace.step import Act
from vallum.workspace.tracking import checks, points
from vallum.workspace.tracking.points import Point

LEASE_S = 5.0
MAX_BUNDLE = 1000  # points
MAX_JOINING = 200  # points of one request; more are a row of their own at once
STEP = "run.log-metric"
SYSTEM_TRACKING = "system-tracking"


def milliseconds(act: Act) -> int:
    """Return the time of a step in ms."""
    return int(act.now.timestamp() * 1000)


def open_bundle(act: Act, run: Run, taken: Sequence[Point]) -> None:
    """Open a bundle with its first points; its lease is kept once the entry is committed."""
    bundle = MetricBundle(
        id=str(new_id("mbun")),
        run_id=run.id,
        experiment_id=run.experiment_id,
        opened_by=act.caller.id,
        opened_ms=milliseconds(act),
        points=points.pack(run.id, taken),
    )
    act.put("metric-bundle", bundle, on=run.experiment_id, parent_id=run.id)
    act.details["bundle"] = {"run": run.id, "max": MAX_BUNDLE, "ttl_ms": int(LEASE_S * 1000)}
    lease = Lease(bundle.id, run.experiment_id, act.rules.generation, act.permit)
    key = (act.caller.id, act.caller.credential_id, run.id)
    act.after_commit.append(lambda: act.house.metric_leases.keep(key, lease))


def join(house: House, caller: Caller, run_id: str, taken: Sequence[Point]) -> bool:
    """Add points to the caller's open bundle of a run.

    Returns:
        Whether they were added, durably. If not, the step must be performed: nothing is open, or
        it is full, too old, closed meanwhile, or what anybody may do was changed.
    """
    key = (caller.id, caller.credential_id, run_id)
    lease = house.metric_leases.get(key)
    if lease is None or not 0 < len(taken) <= MAX_JOINING:
        return False
    if house.free_bytes() < RESERVE_BYTES:  # the step is refused: what is left is not for floods
        return False
    try:
        with house.log.transaction() as tx:
            lease.permit.require_valid(lease.experiment_id)
            bundle = house.records.get(tx, "metric-bundle", lease.bundle_id, MetricBundle)
            if (
                house.records.authority_generation(tx) == lease.generation
                and bundle.points.count + len(taken) <= MAX_BUNDLE
            ):
                grown = (*points.unpack(bundle.points), *taken)
                held = points.pack(run_id, grown, identity=bundle.points.id)
                house.records.put(
                    tx,
                    lease.permit,
                    "metric-bundle",
                    msgspec.structs.replace(bundle, points=held),
                    on=lease.experiment_id,
                    parent_id=run_id,
                )
                return True
    except (NotFoundError, RefusedError):
        pass  # closed meanwhile, or the permit has expired
    house.metric_leases.drop(key, lease)
    return False


def opened(context: Context, run_id: str | None = None) -> dict[str, list[MetricBundle]]:
    """Return the open bundles of a run, or of all, by run."""
    found: dict[str, list[MetricBundle]] = {}
    for one in context.all("metric-bundle", MetricBundle, parent_id=run_id):
        found.setdefault(one.run_id, []).append(one)
    for bundles in found.values():
        bundles.sort(key=lambda one: one.opened_ms)
    return found


def with_open(run: Run, bundles: Iterable[MetricBundle]) -> Run:
    """Return a run with the latest points of its open bundles."""
    latest = run.latest
    for bundle in bundles:
        latest = points.merged(latest, points.unpack(bundle.points))
    return run if latest is run.latest else msgspec.structs.replace(run, latest=latest)


def absorb(act: Act, run: Run) -> Run:
    """Close all bundles of a run under the entry of another step; returns the run as it is then."""
    for bundle in opened(act.context, run.id).get(run.id, []):
        act.put("metric-points", bundle.points, on=run.experiment_id, parent_id=run.id)
        act.remove("metric-bundle", bundle.id, on=run.experiment_id)
        run = with_open(run, [bundle])
    return run


def all_open(house: House) -> list[tuple[str, int]]:
    """Return the open bundles of all runs, each with when it was opened."""
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        return [(one.id, one.opened_ms) for some in opened(context).values() for one in some]


def close_due(
    house: House,
    *,
    everything: bool = False,
    among: Iterable[tuple[str, int]] | None = None,
) -> int:
    """Close the bundles whose lease is over; returns how many.

    Args:
        house: The workspace.
        everything: Those too whose lease is not over.
        among: What is open, where that is known.
    """
    limit = house.clock.now() - timedelta(seconds=0.0 if everything else LEASE_S)
    limit_ms = int(limit.timestamp() * 1000)
    open_now = all_open(house) if among is None else among
    due = [identity for identity, opened_ms in open_now if opened_ms <= limit_ms]
    return sum(_close(house, identity) for identity in due)


def _close(house: House, identity: str) -> bool:
    with house.log.transaction() as tx:
        records = house.records
        try:
            bundle = records.get(tx, "metric-bundle", identity, MetricBundle)
            run = records.get(tx, "run", bundle.run_id, Run)
            records.get(tx, "experiment", run.experiment_id, Experiment)
        except NotFoundError:  # another process was faster
            return False
        on = run.experiment_id
        permit = house.log.system_permit(
            tx,
            step=STEP,
            kind=EntryKind.BUNDLE_CLOSED,
            principal_id=SYSTEM_TRACKING,
            resources=(on,),
        )
        run = with_open(run, [bundle])
        changes = [
            records.put(tx, permit, "metric-points", bundle.points, on=on, parent_id=run.id),
            records.put(tx, permit, "run", run, on=on, parent_id=on),
            records.remove(tx, permit, "metric-bundle", bundle.id, on=on),
        ]
        details: dict[str, object] = {
            "bundle": bundle.id,
            "run": run.id,
            "opened_by": bundle.opened_by,
            "points": bundle.points.count,
            "root": root_of(bundle.points),
        }
        house.log.seal(tx, permit, changes=changes, details=details)
    return True


def root_of(held: MetricPoints) -> str:
    """Return a digest over the points of a bundle, as stored."""
    return hashlib.sha256("\n".join((*held.keys, held.packed)).encode()).hexdigest()


def write_points(act: Act, run: Run, taken: Sequence[Point]) -> Run:
    """Write points as a row of their own; returns the run with the latest of them."""
    if not taken:
        return run
    act.put("metric-points", points.pack(run.id, taken), on=run.experiment_id, parent_id=run.id)
    latest = points.merged(run.latest, taken)
    checks.room(len(latest), checks.MAX_RUN_METRICS, what="metrics")
    return msgspec.structs.replace(run, latest=latest)
