"""What `vallum doctor` looks at: the sandbox, file modes, certificates."""

import stat
from datetime import timedelta
from pathlib import Path

from vallum.base import SystemClock
from vallum.crypto import expires_at
from vallum.sandbox import doctor

_SOON = timedelta(days=30)
_OPEN = ("ca.pem", "tls.hosts")


def examine(data: Path) -> list[tuple[str, str]]:
    """Return (problem, the one command or setting that mends it)."""
    problems = [(one.what, one.fix) for one in doctor()]
    data = data.resolve()
    keys = data.with_name(data.name + ".keys")
    for folder in (data, keys):
        if folder.exists() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            problems.append((f"others may enter `{folder}`", f"chmod 700 {folder}"))
    if not keys.exists():
        return problems
    for path in sorted(keys.iterdir()):
        if path.is_file() and path.name not in _OPEN and path.stat().st_mode & 0o077:
            problems.append((f"others may read `{path}`", f"chmod 600 {path}"))
    if data in keys.parents:
        problems.append(("the keys lie inside the data folder", f"move `{keys}` out of `{data}`"))
    certificate = keys / "server.pem"
    if certificate.exists() and expires_at(certificate.read_bytes()) < SystemClock().now() + _SOON:
        problems.append(
            ("the server's certificate expires soon", f"rm {keys}/tls.hosts and start again")
        )
    return problems
