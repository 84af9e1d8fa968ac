"""What an image must be: the rules that a person writes, and their defaults, which are strict."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec

from vallum.base.errors import InputError
from vallum.formats import load_yaml
from vallum.scan.advisories import Snapshot
from vallum.scan.code.secrets import SecretFinder
from vallum.scan.image.documents import Digest

Severity = Literal["low", "medium", "high", "critical"]
Verifier = Callable[[bytes, bytes], str]
"""Takes a payload and a signature; returns who signed, or raises IntegrityError."""

# Programs that Debian, Ubuntu, Alpine and Red Hat install so, by their path without `usr/`.
SETUID = (
    "bin/chage", "bin/chfn", "bin/chsh", "bin/expiry", "bin/gpasswd", "bin/mount", "bin/newgrp",
    "bin/passwd", "bin/su", "bin/umount", "bin/wall", "bin/write", "bin/bbsuid",
    "sbin/pam_extrausers_chkpwd", "sbin/pam_timestamp_check", "sbin/unix_chkpwd",
    "libexec/utempter/utempter", "lib/x86_64-linux-gnu/utempter/utempter",
)  # fmt: skip
CAPABILITIES = ("bin/ping", "bin/newuidmap", "bin/newgidmap", "bin/arping", "bin/clockdiff")
# What a person may let pass; bytes that are not what they should be are never among it.
_WAIVABLE = re.compile(
    r"^(package|secret)\.|^image\.(setuid|capability|root|world-writable|device|reported)$"
)


class TrustedBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A base image that others may stand on.

    Attributes:
        name: For people.
        chain: Digest that names its layers: the ChainID of the OCI specification.
        digests: Of its manifests, that an image may claim to be made from.
    """

    name: str
    chain: Digest
    digests: tuple[Digest, ...] = ()


class Waiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Leave to pass in spite of a finding, until a day.

    Attributes:
        finding: Its id, or the id of an advisory.
        until: The last day.
        reason: For people.
        place: Shell pattern of where it was found, or of the package.
    """

    finding: Annotated[str, msgspec.Meta(min_length=3, max_length=120)]
    until: date
    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500)]
    place: str = "*"

    def covers(self, names: tuple[str, ...], place: str) -> bool:
        """Tell whether it is about one of these names at that place."""
        return self.finding in names and fnmatchcase(place, self.place)


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of rules; `keys` are public ones, PEM, one of which must have signed."""

    trusted_bases: tuple[TrustedBase, ...] = ()
    severity: Severity = "high"
    ignore_unfixed: bool = False
    allow_setuid: tuple[str, ...] = ()
    allow_root: bool = False
    waivers: tuple[Waiver, ...] = ()
    keys: tuple[str, ...] = ()
    require: tuple[Literal["digest", "base", "signature", "advisories"], ...] = (
        "digest", "base", "signature", "advisories",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageRules:
    """How an image is judged.

    Attributes:
        today: Waivers end by it.
        written: What a person wrote.
        given: Whether it was: what was not asked for is then missing, and not only unchecked.
        advisories: Returns the snapshot of a family of ecosystems; None where none was imported.
        verifiers: Of signatures, one for each trusted key.
        finder: Of secrets that have a form.
    """

    today: date
    written: Written = field(default_factory=lambda: Written(require=()))
    given: bool = False
    advisories: Callable[[str], Snapshot | None] = lambda _family: None
    verifiers: tuple[Verifier, ...] = ()
    finder: SecretFinder | None = None

    def missing(self, what: str) -> str:
        """Return how bad it is that something could not be checked."""
        return "high" if what in self.written.require else "low"

    def waiver(self, id_: str, names: tuple[str, ...], place: str) -> Waiver | None:
        """Return the waiver with the latest end that covers a finding; it may have ended."""
        if not _WAIVABLE.match(id_):
            return None
        known = [one for one in self.written.waivers if one.covers((id_, *names), place)]
        return max(known, key=lambda one: one.until, default=None)


def read_rules(data: bytes) -> Written:
    """Read a file of rules, YAML or JSON.

    Raises:
        InputError: It is malformed, or a field is not known.
    """
    return rules_of(load_yaml(data))


def rules_of(document: object) -> Written:
    """Return rules that a reader of YAML or JSON has turned into plain values.

    Raises:
        InputError: They are malformed, or a field is not known.
    """
    try:
        return msgspec.convert(document, Written)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the rules are malformed: {str(error)[:200].lower()}", code="image.rules",
            hint="docs/how-to/check-an-image.md shows every field",
        ) from error  # fmt: skip


def chain_id(diff_ids: tuple[str, ...]) -> str:
    """Return the digest that names a stack of layers.

    Source: OCI Image Format Specification 1.1, "Layer ChainID".
    """
    chain = diff_ids[0]
    for one in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {one}".encode()).hexdigest()
    return chain
