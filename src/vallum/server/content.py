"""Content on its way in and out: never on a disk in the clear, in bounded memory."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from litestar import Request

from vallum.workspace.upload import Upload


async def receive(request: Request[Any, Any, Any], max_bytes: int, folder: Path) -> Upload:
    """Take the body into sealed memory, or encrypted into `folder`: no plaintext on a disk.

    Raises:
        LimitExceededError: It exceeds `max_bytes`.
    """
    upload = Upload(max_bytes=max_bytes, folder=folder)
    try:
        async for chunk in request.stream():
            upload.write(chunk)
        upload.finish()
    except BaseException:
        upload.close()
        raise
    return upload


async def stream(chunks: Iterator[bytes], limiter: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    """Yield what is decrypted in a thread, chunk by chunk."""

    def following() -> bytes | None:
        return next(chunks, None)

    while (chunk := await anyio.to_thread.run_sync(following, limiter=limiter)) is not None:
        yield chunk
