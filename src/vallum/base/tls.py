"""The certificate of a door, taken anew when its files change, and the authorities of its clients.

Connections that stand go on as they are; the next one gets what holds now.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path

import structlog

_LOG = structlog.get_logger("vallum.tls")


class DoorTls:
    """Keeps the TLS context of a server up to date. For one thread."""

    def __init__(self, context: ssl.SSLContext, *, certificate: Path, key: Path) -> None:
        """Take over a context that has loaded its certificate already."""
        self._context = context
        self._files = (certificate, key)
        self._seen = self._state()
        self._trusted: set[str] = set()

    def refresh(self) -> None:
        """Load certificate and key again if a file of theirs changed, unless they do not fit."""
        state = self._state()
        if state == self._seen or None in state:
            return
        self._seen = state
        certificate, key = self._files
        try:
            # First into another context: what does not fit must not end up half in ours.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
            self._context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError):
            _LOG.error("the new certificate is not used", file=str(certificate))
            return
        _LOG.info("another certificate is used", file=str(certificate))

    def trust(self, authorities: Iterable[str]) -> None:
        """Ask clients for certificates of these authorities, too (PEM).

        A client without one is served all the same. An authority that is trusted no longer stays
        in the context until the door opens anew; that its certificates count for nothing is seen
        to where callers are told apart.
        """
        for pem in authorities:
            if pem not in self._trusted:
                self._trusted.add(pem)
                try:
                    self._context.load_verify_locations(cadata=pem)
                except ssl.SSLError:
                    _LOG.error("an authority of clients cannot be loaded")
        if self._trusted:
            self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # also below another one
            self._context.verify_mode = ssl.CERT_OPTIONAL

    def _state(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        held = path.stat()
    except OSError:
        return None
    return held.st_mtime_ns, held.st_ino
