"""What several requests want at once is fetched for all of them by the first."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from vallum.base import UnavailableError, VallumError

Key = TypeVar("Key", bound=Hashable)
Got = TypeVar("Got")


class Together(Generic[Key]):
    """Knows who fetches what. For one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Future[VallumError | None]] = {}

    async def once(self, key: Key, fetch: Callable[[], Awaitable[Got]]) -> Got | None:
        """Fetch; who calls while another does waits for what becomes of it.

        Returns:
            What was fetched; None for who waited: look again.

        Raises:
            VallumError: It is not to be had, for whoever asked.
            UnavailableError: Who asked was cancelled.
        """
        await asyncio.sleep(0)  # into a task: the client of the control process needs one
        if (other := self._under_way.get(key)) is not None:
            await asyncio.wait((other,))
            if (why := other.result()) is not None:
                raise why
            return None
        done = self._under_way[key] = asyncio.get_running_loop().create_future()
        failed: VallumError | None = UnavailableError("whoever asked gave up", code="score.wait")
        try:
            got = await fetch()
            failed = None
        except VallumError as error:
            failed = error
            raise
        finally:
            del self._under_way[key]
            done.set_result(failed)
        return got
