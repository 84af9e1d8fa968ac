"""Room `sdk`: the typed client. It needs only the ground floor and httpx."""

from vallum.sdk.client import DEFAULT_URL, Client, connect, read_key_file
from vallum.sdk.select import Select, select

__all__ = ["DEFAULT_URL", "Client", "Select", "connect", "read_key_file", "select"]
