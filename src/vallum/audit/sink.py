"""Where checkpoints are sent so that others hold them: a folder, or an HTTPS address.

A port with two adapters. Sending is at least once and never holds a door up: a sink that fails
is tried again with growing pauses, and `Courier.late_s` tells for how long it has been behind.
"""

import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import httpx

from vallum.base import InputError, Secret, UnavailableError, VallumError, write_atomic
from vallum.base.hosts import is_loopback

MAX_PAUSE_S = 300.0
_TIMEOUT_S = 10.0


class Sink(Protocol):
    """Takes signed notes."""

    @property
    def name(self) -> str:
        """Return what people call it; holds no secret."""
        ...

    def send(self, size: int, note: str) -> None:
        """Deliver the note of a log of `size` entries; the same one may come again.

        Raises:
            UnavailableError: It was not taken; it will be sent again.
        """
        ...


class FolderSink:
    """Writes each note to a folder, such as a mounted share: `<size>.note` and `newest.note`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """Return the folder."""
        return str(self._folder)

    def send(self, size: int, note: str) -> None:
        """Write the note; see the port."""
        try:
            # Never made here: an unmounted share must not turn into a local folder.
            write_atomic(self._folder / f"{size:020d}.note", note.encode(), mode=0o644)
            write_atomic(self._folder / "newest.note", note.encode(), mode=0o644)
        except OSError as error:
            raise UnavailableError(
                f"`{self._folder}` takes no checkpoint: {error.strerror}", code="audit.sink"
            ) from error


class HttpsSink:
    """Posts each note as `text/plain`; any 2xx answer is a receipt."""

    def __init__(
        self, url: str, *, ca_file: Path | None = None, token: Secret | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname):
            raise InputError("a checkpoint is sent by https:// only", code="audit.sink")
        if parts.username or parts.password:
            raise InputError(
                "an address holds no secret", code="audit.sink", hint="--checkpoint-token-file"
            )
        self._url = url
        self._token = token
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._client = httpx.Client(
            verify=context, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False
        )

    @property
    def name(self) -> str:
        """Return the address without its query."""
        return self._url.partition("?")[0]

    def send(self, size: int, note: str) -> None:
        """Post the note; see the port."""
        headers = {"content-type": "text/plain; charset=utf-8", "idempotency-key": str(size)}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token.reveal().decode()}"
        try:
            answer = self._client.post(self._url, content=note.encode(), headers=headers)
        except httpx.HTTPError as error:
            raise UnavailableError(f"`{self.name}` does not answer", code="audit.sink") from error
        if not answer.is_success:
            raise UnavailableError(
                f"`{self.name}` answered {answer.status_code}", code="audit.sink"
            )


def open_sink(url: str, *, ca_file: Path | None = None, token: Secret | None = None) -> Sink:
    """Return the sink that an address names: `file:///folder` or `https://…`.

    Raises:
        InputError: It is neither.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FolderSink(Path(unquote(parts.path)))
    if parts.scheme in {"http", "https"} and parts.hostname:
        return HttpsSink(url, ca_file=ca_file, token=token)
    raise InputError(
        "that is no place for checkpoints",
        code="audit.sink",
        hint="file:///mnt/share/folder or https://host/path",
    )


class Courier:
    """Takes the newest checkpoint to every sink; holds how far each is. For one thread."""

    def __init__(
        self, sinks: Sequence[Sink], *, every_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._sinks = sinks
        self._every_s = every_s
        self._monotonic = monotonic
        now_s = monotonic()
        self._sent = dict.fromkeys(range(len(sinks)), 0)
        self._due_s = dict.fromkeys(range(len(sinks)), now_s)
        self._pause_s = dict.fromkeys(range(len(sinks)), 0.0)
        self._failing_s: dict[int, float] = {}
        self._lock = threading.Lock()

    def deliver(self, size: int, note: str) -> list[tuple[str, str]]:
        """Send what is due; returns the name and error code of each sink that failed now."""
        failed = []
        now_s = self._monotonic()
        for at, sink in enumerate(self._sinks):
            if now_s < self._due_s[at] or size <= self._sent[at]:
                continue
            try:
                sink.send(size, note)
            except VallumError as error:
                failed.append((sink.name, error.code))
                pause_s = min(MAX_PAUSE_S, max(1.0, 2 * self._pause_s[at]))
                with self._lock:
                    self._failing_s.setdefault(at, now_s)
            else:
                self._sent[at] = size
                pause_s = 0.0
                with self._lock:
                    self._failing_s.pop(at, None)
            self._pause_s[at] = pause_s
            self._due_s[at] = now_s + (pause_s or self._every_s)
        return failed

    def late(self) -> list[tuple[str, float]]:
        """Return each sink that fails, and since how many seconds."""
        now_s = self._monotonic()
        with self._lock:
            return [(self._sinks[at].name, now_s - since) for at, since in self._failing_s.items()]
