"""The proof that a decision was taken and logged; every function with an effect asks for one.

Minted only by `audit` (a test asserts that `Permit(` is written once). It is bound to the digest
of the request, to the resources and actions that were decided, is single-use per (action,
resource), expires, and cannot be copied, pickled or serialised. DESIGN.md section 3.
"""

import threading
from collections.abc import Callable, Iterable
from typing import NoReturn, final

from vallum.base.errors import RefusedError


@final
class Permit:
    """Leave to perform exactly the (action, resource id) pairs of one admitted request.

    Attributes:
        request_digest: Digest of the request that was decided.
        entry_id: Random id of the log entry that admitted it.
        principal_id: On whose behalf the effect runs.
    """

    __slots__ = (
        "_expires_at_s",
        "_left",
        "_lock",
        "_monotonic",
        "entry_id",
        "principal_id",
        "request_digest",
    )

    def __init__(
        self,
        *,
        request_digest: str,
        entry_id: str,
        principal_id: str,
        grants: Iterable[tuple[str, str]],
        lifetime_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.request_digest = request_digest
        self.entry_id = entry_id
        self.principal_id = principal_id
        self._left = set(grants)
        self._monotonic = monotonic
        self._expires_at_s = monotonic() + lifetime_s
        self._lock = threading.Lock()

    def require(self, action: str, resource_id: str) -> None:
        """Use up the leave for `action` on `resource_id`.

        Raises:
            RefusedError: It was never given, was already used, or has expired.
        """
        with self._lock:
            if self._monotonic() >= self._expires_at_s:
                raise RefusedError("the permit has expired", code="permit.expired")
            if (action, resource_id) not in self._left:
                raise RefusedError(
                    f"the permit does not cover `{action}` on `{resource_id}`",
                    code="permit.not-covered",
                )
            self._left.remove((action, resource_id))

    def require_valid(self, resource_id: str) -> None:
        """Check, without using it up, that this permit names `resource_id` and has not expired.

        For the many small effects (parts of an object, rows) inside one action.

        Raises:
            RefusedError: The permit is not for this resource, or has expired.
        """
        with self._lock:
            expired = self._monotonic() >= self._expires_at_s
            covered = any(resource == resource_id for _, resource in self._left)
        if expired:
            raise RefusedError("the permit has expired", code="permit.expired")
        if not covered:
            raise RefusedError(
                f"the permit does not cover `{resource_id}`", code="permit.not-covered"
            )

    def __repr__(self) -> str:
        return f"<permit {self.entry_id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a permit is never serialised")

    def __copy__(self) -> NoReturn:
        raise TypeError("a permit is never copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a permit is never copied")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("a permit is never subclassed")
