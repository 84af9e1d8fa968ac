"""Environments: container images that jobs and services are to run in."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vallum.schema import Asset, api, environments
from vallum.schema.environments import BomForm
from vallum.sdk.nouns import Noun, Source, by_name, opened, pack


class Environments(Noun):
    """Environments."""

    def add(
        self,
        name: str,
        source: Source,
        *,
        digest: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Add a container image as a new version; the server judges it first.

        Args:
            name: Of the environment.
            source: An OCI layout: a folder, or a tar of one.
            digest: Of the image that is meant, `sha256:…`.
            description: For people.
            tags: Free ones.
            dry_run: Check everything, change nothing.
        """
        arguments = environments.EnvironmentAdd(
            name=name, digest=digest, description=description, tags=dict(tags or {})
        )
        path = Path(source) if isinstance(source, Path | str) else None
        given = pack(path) if path is not None and path.is_dir() else source
        with opened(given) as content:
            return self._transport.call(
                "environment.add", arguments, api.VersionShown, content=content, dry_run=dry_run
            )

    def list(self) -> list[Asset]:
        """Return every environment that you may read."""
        return by_name(asset for page in self._pages("environment.list") for asset in page.assets)

    def show(self, name: str, version: int | None = None) -> api.VersionShown:
        """Return a version and the verdict about it."""
        return self._transport.call(
            "environment.show", api.Named(name=name, version=version), api.VersionShown
        )

    def stream(self, name: str, version: int | None = None) -> Iterator[bytes]:
        """Yield a version as a tar of an OCI layout, chunk by chunk."""
        return self._transport.download(
            "environment.download", api.Named(name=name, version=version)
        )

    def bom(
        self,
        name: str,
        version: int | None = None,
        *,
        platform: str = "",
        form: BomForm = "json",
    ) -> bytes:
        """Return a version's bill of materials, CycloneDX 1.6: its layers and packages.

        Args:
            name: Of the environment.
            version: The newest if not given.
            platform: Such as `linux/amd64`; needed where the image is for several.
            form: Of the document.
        """
        arguments = environments.EnvironmentBom(
            name=name, version=version, platform=platform, format=form
        )
        return b"".join(self._transport.download("environment.bom", arguments))

    def delete(self, name: str, version: int | None = None, *, dry_run: bool = False) -> api.Done:
        """Delete an environment, or one version."""
        return self._transport.call(
            "environment.delete", api.Named(name=name, version=version), api.Done, dry_run=dry_run
        )
