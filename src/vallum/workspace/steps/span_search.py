"""The part of a search for traces that reads their spans: only where all else holds, within bounds.

Spans are files, encrypted under keys of their own. A key is unwrapped under a permit, so whose
spans a search may read is logged before it reads the first.
"""

from collections.abc import Sequence

from vallum.base import ConflictError, LimitExceededError, NotFoundError
from vallum.base.bounds import JSON
from vallum.schema import Artifact, EntryKind
from vallum.workspace.step import Act, Look, Work
from vallum.workspace.steps.artifacts import CLEAN, read_file
from vallum.workspace.tracking import filters, spans
from vallum.workspace.tracking.tracing import SPANS_FILE, Opened

STEP = "trace.search-spans"
MAX_LOOKED = 1000  # traces of a page
MAX_READ = 64 * 1024 * 1024  # bytes of a page
ENOUGH_S = 5.0  # of a page; then the next one goes on
MAX_ONE_S = 10.0  # of one trace
PERMIT_S = 60.0


class SpanSearch:
    """Tells of one trace after another whether a span of it meets a filter."""

    def __init__(self, look: Look, comparisons: Sequence[filters.Comparison]) -> None:
        self._look = look
        self._meets = spans.one_meets(comparisons, self._check_time)
        self._clock = look.house.clock.monotonic
        self._end = self._clock() + ENOUGH_S
        self._one_end = 0.0
        self._looked = self._read = 0
        self._work: Work | None = None
        self._allowed: frozenset[str] = frozenset()

    def allow(self, action: str, experiments: Sequence[str]) -> None:
        """Log that the spans of these experiments are read, for a caller who may do `action`.

        Raises:
            ConflictError: Rights moved meanwhile; or it is a dry run.
        """
        if not experiments:
            return
        look, log = self._look, self._look.house.log
        # Inside the transaction of the search's own entry, nothing can be logged before it: rights
        # moved while it ran, and it runs again; or it is a dry run, which logs nothing.
        if isinstance(look, Act):
            raise ConflictError(
                "a search for spans is not repeated where rights moved meanwhile, nor run dry",
                code="mlflow.search-again",
                hint="search again",
            )
        with log.transaction() as tx:
            permit = log.system_permit(
                tx,
                step=STEP,
                kind=EntryKind.DECISION,
                principal_id=look.caller.id,
                actions=(action,),
                resources=tuple(experiments),
                request_id=look.request_id,
                lifetime_s=PERMIT_S,
            )
            log.seal(tx, permit)
        self._allowed = frozenset(experiments)
        self._work = Work(
            house=look.house, permit=permit, caller=look.caller, now=look.now,
            on=experiments[0], intent_id="", content=None,
        )  # fmt: skip

    def keep(self, one: Opened) -> bool | None:
        """Tell whether a span of the trace meets all; None: this page has looked enough."""
        trace = one[0]
        if self._work is None or trace.experiment_id not in self._allowed:
            return False
        if self._looked and (
            self._looked >= MAX_LOOKED or self._read >= MAX_READ or self._clock() > self._end
        ):
            return None
        self._looked += 1
        self._one_end = self._clock() + MAX_ONE_S
        return any(map(self._meets, spans.spans_of(self._file(self._work, trace.id))))

    def _check_time(self) -> None:
        if self._clock() > self._one_end:
            raise LimitExceededError(
                f"the spans of one trace took more than {MAX_ONE_S:.0f} s",
                code="mlflow.search-time",
                hint="name fewer experiments, or a simpler filter",
            )

    def _file(self, work: Work, trace_id: str) -> bytes:
        """Return the file of spans; empty: none, or one that is in quarantine."""
        for one in self._look.context.all("artifact", Artifact, parent_id=trace_id):
            if one.path == SPANS_FILE and one.verdict == CLEAN:
                self._read += one.content.length
                if one.content.length > JSON.max_bytes:
                    return b""
                try:
                    return read_file(work, one)
                except NotFoundError:  # replaced or deleted meanwhile
                    return b""
        return b""
