"""What is known of a container image."""

from vallum.schema.asset import Part
from vallum.schema.record import Record


class Package(Record, frozen=True):
    """An installed package.

    `ecosystem` is OSV's name with its release (`Debian:12`, `PyPI`); empty where there is none.
    `source` and `source_version` are those that advisories of distributions are written about.
    """

    kind: str  # as in a package URL: `deb`, `apk`, `rpm`, `pypi`, `npm`
    name: str
    version: str
    ecosystem: str = ""
    source: str = ""
    source_version: str = ""
    architecture: str = ""
    license: str = ""
    place: str = ""  # the file that says so


class ImageFacts(Record, frozen=True):
    """One image: what it is made of and how it starts."""

    digest: str  # of the manifest
    platform: str
    config: str  # digest of the configuration
    layers: tuple[str, ...]  # digests of the blobs, the lowest first
    diff_ids: tuple[str, ...]  # of what they hold before compression
    user: str = ""
    distribution: str = ""  # identifier and version of /etc/os-release, such as `debian 12`
    base: str = ""  # name of the trusted base that it stands on
    created: str = ""  # as the configuration says
    signers: tuple[str, ...] = ()  # ids of the keys that signed it
    packages: tuple[Package, ...] = ()


class ImageInventory(Record, frozen=True):
    """Where the facts about a registered image lie: JSON, a list of `ImageFacts`, encrypted."""

    id: str  # of the environment version
    part: Part
