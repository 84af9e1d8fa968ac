"""What both kinds of archive have in common: a member, and the rules for its name."""

import re
import unicodedata
from dataclasses import dataclass

from vallum.base.bounds import ArchiveBounds
from vallum.formats.refusal import refuse, within

_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive.

    Attributes:
        name: A relative path with `/`, checked.
        offset: Where the packed bytes begin.
        packed: Their count.
        size: The count of bytes expanded.
        method: `stored` or `deflate`.
        crc32: The declared check sum; -1 where the format has none.
    """

    name: str
    offset: int
    packed: int
    size: int
    method: str = "stored"
    crc32: int = -1


class Names:
    """The names seen so far in one archive; refuses what a file system could read otherwise."""

    def __init__(self, bounds: ArchiveBounds) -> None:
        self._bounds = bounds
        self._seen: set[str] = set()

    def admit(self, raw: bytes) -> str:
        """Check and decode one name.

        Raises:
            InputError: Code `archive.name`, `archive.traversal` or `archive.duplicate-member`.
            LimitExceededError: Code `archive.too-many-members` or `archive.name-too-long`.
        """
        limit = self._bounds.max_name_bytes
        within(len(raw), limit, "archive.name-too-long", "bytes of a member's name")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            refuse("archive.name", "a member's name is not UTF-8", cause=error)
        if not name or _CONTROL.search(name):
            refuse("archive.name", "a member's name is empty or holds a control character")
        parts = name.removesuffix("/").split("/")
        if name.startswith("/") or "\\" in name or _DRIVE.match(name) or ".." in parts:
            refuse("archive.traversal", f"the member `{name[:80]}` would leave its folder")
        if "" in parts:
            refuse("archive.name", f"the member `{name[:80]}` has an empty part in its path")
        plain = "/".join(part for part in parts if part != ".")
        key = unicodedata.normalize("NFC", plain).casefold()
        if key in self._seen:
            refuse("archive.duplicate-member", f"the member `{name[:80]}` appears twice")
        self._seen.add(key)
        entries = self._bounds.max_entries
        within(len(self._seen), entries, "archive.too-many-members", "members of the archive")
        return name


def check_sizes(members: list[Member], bounds: ArchiveBounds) -> None:
    """Bound what an archive claims to expand to.

    Raises:
        LimitExceededError: Code `archive.member-too-large`, `archive.too-large` or
            `archive.bomb`.
    """
    total = 0
    for member in members:
        limit = bounds.max_member_bytes
        within(member.size, limit, "archive.member-too-large", "bytes of a member")
        ratio = member.size // max(member.packed, 1)
        if member.size > 1 << 20:  # a small member's ratio harms nobody
            within(ratio, bounds.max_ratio, "archive.bomb", "expanded to packed bytes of a member")
        total += member.size
    within(total, bounds.max_total_bytes, "archive.too-large", "bytes of all members together")
