"""Looks at what running deployments are made from: a byte that changes stops them.

The model as it is stored: each object's times, length and tag are compared every two seconds,
which costs a look at its name; what moved is hashed at once. Once a minute every byte is
authenticated, which finds what changed without a trace. The deployment's own record: its MAC is
checked where anything was committed since, and once a minute. The code that serves: `environment`,
a part of its 2,000 files at a time, and once a minute while the kernel says that nothing happens.
"""

from collections.abc import Callable, Iterator
from math import inf

from vallum.base import IntegrityError, NotFoundError, VallumError
from vallum.schema import Deployment, Part
from vallum.schema.serving import DeploymentFailed
from vallum.store import Unchanged
from vallum.workspace.context import Context
from vallum.workspace.deployments import LIVE
from vallum.workspace.environment import RunningCode
from vallum.workspace.opening import parts_of, verify_of
from vallum.workspace.serving import Serving

LOOK_S = 2.0
PARTS = 16  # of one check, one after the other within `LOOK_S`
VERIFY_S = 55.0  # with the look before and the reading after it, within a minute


class StoredModels:
    """Holds how each running deployment's objects looked and when they were last verified."""

    def __init__(
        self, serving: Serving, monotonic: Callable[[], float], code: RunningCode | None = None
    ) -> None:
        self._serving = serving
        self._monotonic = monotonic
        stamp = serving.kernel.house.database.stamp
        self._running = Unchanged(stamp, self._read_running, monotonic)
        self._looks: dict[str, tuple[object, float]] = {}
        self._code = code
        self._ids: list[str] = []  # of what runs on the code
        self._code_looks: Iterator[float] = iter(())
        self._hashes: Iterator[float] | None = None
        self._hashed = self._hashed_s = 0.0  # what share of them is done, and when they began
        self._looked_s = self._stirred_s = -inf  # when the code was looked at, and was touched
        self._part = 0
        self._told = ""

    def check(self) -> None:
        """Verify what changed or is due; a deployment that does not hold is stopped.

        Raises:
            VallumError: The database or the back-end is gone; nothing was stopped for it. Records
                that do not hold stop every deployment by themselves, since no lease is given out.
        """
        self._part = 0
        late: VallumError | None = None
        for _ in range(PARTS):
            try:
                self.check_part()
            except VallumError as error:
                late = error
        if late is not None:
            raise late

    def check_part(self) -> None:
        """Do the next of `PARTS` parts of a check: requests wait for what takes long at once.

        Raises:
            VallumError: As `check`.
        """
        part, self._part = self._part, (self._part + 1) % PARTS
        try:
            if part == 0:
                self._ids = []
                self._check_models()
        finally:
            if self._code is not None:
                self._check_code(self._code, part)

    def _check_models(self) -> None:
        try:
            running, gone = self._running()
        except IntegrityError as error:
            if error.code != self._told:  # once, not every two seconds
                self._told = error.code
                self._serving.tampered(error)
            raise
        self._told = ""
        for identity in gone:
            reason = "what it serves was deleted"
            self._serving.fail(
                DeploymentFailed(deployment_id=identity, code="model.gone", reason=reason)
            )
        now_s = self._monotonic()
        self._looks = {
            identity: look
            for identity, look in self._looks.items()
            if identity in {one for one, _ in running}
        }
        late: VallumError | None = None
        for identity, parts in running:
            try:
                self._check_stored(identity, parts, now_s)
            except VallumError as error:  # of this one: the others are looked at all the same
                late = error
        self._ids = [identity for identity, _ in running]
        if late is not None:
            raise late

    def _check_stored(self, identity: str, parts: tuple[Part, ...], now_s: float) -> None:
        look = self._look(parts)
        known = self._looks.get(identity)
        changed = known is None or look != known[0]  # since loading, where nobody looked yet
        if known is None or changed or now_s - known[1] >= VERIFY_S:
            self._verify(identity, whole=changed)
            self._looks[identity] = (look, self._monotonic())

    def _read_running(self) -> tuple[list[tuple[str, tuple[Part, ...]]], list[str]]:
        """Return what runs with its parts, and what runs without what it was made from."""
        house = self._serving.kernel.house
        with house.database.snapshot() as snapshot:
            context = Context(
                records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
            )
            running, gone = [], []
            for one in context.all("deployment", Deployment):
                if one.state in LIVE:
                    try:
                        running.append((one.id, parts_of(context, one)))
                    except NotFoundError:
                        gone.append(one.id)
            return running, gone

    def _look(self, parts: tuple[Part, ...]) -> object:
        objects = self._serving.kernel.house.objects
        return tuple(objects.look(part) for part in parts)

    def _verify(self, identity: str, *, whole: bool) -> None:
        try:
            verify_of(self._serving, identity, whole=whole)
        except IntegrityError:
            return  # it is stopped, and the finding is in the log

    def _check_code(self, code: RunningCode, part: int) -> None:
        """Compare the code that serves; one changed file stops all that runs on it."""
        if not self._ids:
            self._hashes = None
            return
        now_s = self._monotonic()
        try:
            if part == 0:
                self._code_looks = self._due(code, now_s)
            _go_on(self._code_looks, part / (PARTS - 1))  # the first looks at folders and models
            share = (now_s - self._hashed_s) / VERIFY_S
            if self._hashes is not None and share > self._hashed:
                self._hashed = _go_on(self._hashes, share)
            if self._hashes is None or share >= 1.0:
                self._hashes, self._hashed, self._hashed_s = code.hashes(), 0.0, now_s
        except IntegrityError as error:
            self._looked_s = -inf  # what starts on it later is stopped as soon
            stopped, self._ids = self._ids, []
            for identity in stopped:
                self._serving.fail(
                    DeploymentFailed(deployment_id=identity, code=error.code, reason=error.message)
                )

    def _due(self, code: RunningCode, now_s: float) -> Iterator[float]:
        """Return looks at the code, none where the kernel says that nothing happened to it.

        What was opened to be written may be changed through its mapping later: it is watched on.
        """
        if code.stirred():
            self._stirred_s = now_s
        if now_s - self._stirred_s >= VERIFY_S > now_s - self._looked_s:
            return iter(())
        self._looked_s = now_s
        return code.looks()


def _go_on(work: Iterator[float], share: float) -> float:
    """Go on with `work` until that share of it is done; return what share is."""
    for done in work:
        if done >= share and share < 1.0:
            return done
    return 1.0
