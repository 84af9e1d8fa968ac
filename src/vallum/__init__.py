"""Vallum: a security layer for machine learning that you host yourself.

import vallum
ws = vallum.connect("https://127.0.0.1:8443")
ws.data.create("patients", "patients.csv")
"""

from typing import TYPE_CHECKING

from vallum.base.version import VERSION

if TYPE_CHECKING:
    from vallum.sdk import Client as Client
    from vallum.sdk import connect as connect
    from vallum.sdk import select as select

__version__ = VERSION
__all__ = ["Client", "__version__", "connect", "select"]


def __getattr__(name: str) -> object:
    """Load the client when it is asked for: `import vallum` itself stays light."""
    if name in {"Client", "connect", "select"}:
        import vallum.sdk

        return getattr(vallum.sdk, name)
    raise AttributeError(f"module `vallum` has no attribute `{name}`")
