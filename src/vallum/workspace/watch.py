"""Looks at what running deployments were made from: a stored byte that changes stops them.

Each object's time, length and tag are compared every two seconds, which costs a look at its name;
what moved is read and verified at once, everything once a minute.
"""

from collections.abc import Callable

from vallum.base import IntegrityError
from vallum.schema import AssetVersion, Deployment, DeploymentState
from vallum.workspace.context import Context
from vallum.workspace.serving import Serving

LOOK_S = 2.0
VERIFY_S = 60.0


class StoredModels:
    """Holds how each running deployment's objects looked and when they were last verified."""

    def __init__(self, serving: Serving, monotonic: Callable[[], float]) -> None:
        self._serving = serving
        self._monotonic = monotonic
        self._looks: dict[str, tuple[object, float]] = {}

    def check(self) -> None:
        """Verify what changed or is due; a deployment whose model does not hold is stopped.

        Raises:
            VallumError: The database or the back-end is gone; nothing was stopped for it.
        """
        house = self._serving.kernel.house
        with house.database.snapshot() as snapshot:
            context = Context(
                records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
            )
            running = [
                (one.id, context.version_by_id(one.model_version_id))
                for one in context.all("deployment", Deployment)
                if one.state is DeploymentState.RUNNING
            ]
        now_s = self._monotonic()
        self._looks = {
            identity: look
            for identity, look in self._looks.items()
            if identity in {one for one, _ in running}
        }
        for identity, version in running:
            look = self._look(version)
            known = self._looks.get(identity)
            if known is None:  # it was verified when it was loaded
                self._looks[identity] = (look, now_s)
            elif look != known[0] or now_s - known[1] >= VERIFY_S:
                self._verify(identity)
                self._looks[identity] = (look, now_s)

    def _look(self, version: AssetVersion) -> object:
        objects = self._serving.kernel.house.objects
        return tuple(objects.look(part) for part in version.parts)

    def _verify(self, identity: str) -> None:
        try:
            self._serving.model(identity)
        except IntegrityError:
            return  # it is stopped, and the finding is in the log
