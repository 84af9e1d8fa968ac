"""`ws.data`: data assets, their masked views and labels, and the erasure of a person."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vallum.base import InputError
from vallum.schema import Asset, api, poisoning, views
from vallum.sdk.nouns import Noun, Source, by_name, opened

_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Data(Noun):
    """Data assets."""

    def create(
        self,
        name: str,
        source: Source,
        *,
        format: str = "",  # noqa: A002 - Azure ML's and everybody's word for it
        label: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Ingest a table as a new version; the server classifies its columns.

        Args:
            name: Of the data asset.
            source: Path of a CSV, Parquet or JSON lines file, its bytes, or an open binary file.
            format: `csv`, `parquet` or `jsonl`; taken from the path if empty.
            label: May only raise what the server suggests.
            description: For people.
            tags: For conditions and people.
            dry_run: Check only.
        """
        arguments = api.DataCreate(
            name=name,
            format=_format(source, format),
            label=label,
            description=description,
            tags=dict(tags or {}),
        )
        with opened(source) as content:
            return self._transport.call(
                "data.create", arguments, api.VersionShown, content=content, dry_run=dry_run
            )

    def list(self) -> list[Asset]:
        """Return every data asset that you may read."""
        return by_name(asset for page in self._pages("data.list") for asset in page.assets)

    def show(self, name: str, version: int | None = None) -> api.VersionShown:
        """Return a version and the verdicts about it."""
        return self._transport.call(
            "data.show", api.Named(name=name, version=version), api.VersionShown
        )

    def download(self, name: str, version: int | None = None) -> bytes:
        """Return the content of a version."""
        return b"".join(self.stream(name, version))

    def stream(self, name: str, version: int | None = None) -> Iterator[bytes]:
        """Yield the content of a version chunk by chunk."""
        return self._transport.download("data.download", api.Named(name=name, version=version))

    def protect(
        self,
        name: str,
        *,
        version: int | None = None,
        k: int = 5,
        max_suppression: str = "0.04",
        drop: Sequence[str] = (),
        pseudonymise: Sequence[str] = (),
        quasi_identifiers: Sequence[str] = (),
        sensitive: Sequence[str] = (),
        diversity: Sequence[str] = (),
        closeness: Sequence[str] = (),
        method: str = "auto",
        hierarchies: Mapping[str, str] | None = None,
        into: str = "",
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Make a protected version: identifiers dropped or pseudonymised, the rest k-anonymous.

        Args:
            name: The data asset.
            version: Its version; the newest if None.
            k: Least records of a class.
            max_suppression: Share of records that may be left out, as a text.
            drop: Columns to drop.
            pseudonymise: Columns to replace by keyed pseudonyms.
            quasi_identifiers: Columns to generalise; what was found if none is named.
            sensitive: Columns that `diversity` and `closeness` are about.
            diversity: `distinct:3`, `entropy:3`, `recursive:C:3`, or `COLUMN=…` for one column.
            closeness: `0.2`, `0.2:ordered`, `0.2:hierarchical`, or `COLUMN=…`.
            method: `auto`, `global` (one level a column), `local` or `mondrian`.
            hierarchies: Column to CSV text, a line a value, from the value to the top.
            into: Name of the protected asset; `<name>-protected` if empty.
            dry_run: Check everything, change nothing.
        """
        arguments = api.DataProtect(
            name=name,
            version=version,
            k=k,
            max_suppression=max_suppression,
            drop=tuple(drop),
            pseudonymise=tuple(pseudonymise),
            quasi_identifiers=tuple(quasi_identifiers),
            sensitive=tuple(sensitive),
            diversity=tuple(diversity),
            closeness=tuple(closeness),
            method=method,
            hierarchies=dict(hierarchies or {}),
            into=into,
        )
        return self._transport.call("data.protect", arguments, api.VersionShown, dry_run=dry_run)

    def delete(self, name: str, version: int | None = None, *, dry_run: bool = False) -> api.Done:
        """Delete a data asset, or one version, by destroying its keys."""
        return self._transport.call(
            "data.delete", api.Named(name=name, version=version), api.Done, dry_run=dry_run
        )

    def drift(
        self, name: str, *, reference: str, version: int | None = None, dry_run: bool = False
    ) -> api.VersionShown:
        """Compare a version with `reference` (`name:version`); the verdict is evidence."""
        arguments = api.DataDrift(name=name, reference=reference, version=version)
        return self._transport.call("data.drift", arguments, api.VersionShown, dry_run=dry_run)

    def check(
        self,
        name: str,
        *,
        label_column: str,
        version: int | None = None,
        features: Sequence[str] = (),
        contributor: str = "",
        by_version: bool = False,
        dry_run: bool = False,
    ) -> poisoning.DataChecked:
        """Look for poisoned rows; the verdict is evidence of the gate `poisoning`.

        Args:
            name: The data asset.
            label_column: The column of classes.
            version: Its version; the newest if None.
            features: Columns that are looked at, those of the model; every one if empty.
            contributor: Column that names who contributed a row.
            by_version: Who added the version that first held a row contributed it.
            dry_run: Check only.
        """
        arguments = poisoning.DataCheck(
            name=name, label_column=label_column, version=version, features=tuple(features),
            contributor=contributor, by_version=by_version,
        )  # fmt: skip
        return self._transport.call("data.check", arguments, poisoning.DataChecked, dry_run=dry_run)

    def quarantine(
        self,
        name: str,
        *,
        label_column: str,
        version: int | None = None,
        features: Sequence[str] = (),
        contributor: str = "",
        by_version: bool = False,
        dry_run: bool = False,
    ) -> poisoning.DataQuarantined:
        """Make a version without the suspicious rows; arguments as of `check`."""
        arguments = poisoning.DataQuarantine(
            name=name, label_column=label_column, version=version, features=tuple(features),
            contributor=contributor, by_version=by_version,
        )  # fmt: skip
        return self._transport.call(
            "data.quarantine", arguments, poisoning.DataQuarantined, dry_run=dry_run
        )

    def quarantined(self, name: str, version: int | None = None) -> poisoning.DataQuarantineShown:
        """Return which rows a version lacks, and why; a right of its own."""
        return self._transport.call(
            "data.quarantined", api.Named(name=name, version=version),
            poisoning.DataQuarantineShown,
        )  # fmt: skip

    def affected(self, name: str, version: int | None = None) -> poisoning.DataAffected:
        """Return the models, data, deployments and jobs that a version reached, by lineage."""
        return self._transport.call(
            "data.affected", api.Named(name=name, version=version), poisoning.DataAffected
        )

    def revert(
        self, name: str, *, version: int | None = None, alias: str = "trusted",
        dry_run: bool = False,
    ) -> poisoning.DataReverted:  # fmt: skip
        """Point an alias at a version that passed `poisoning`; the newest such one if None."""
        arguments = poisoning.DataRevert(name=name, version=version, alias=alias)
        return self._transport.call(
            "data.revert", arguments, poisoning.DataReverted, dry_run=dry_run
        )

    def view(self, name: str) -> views.DataViewShown:
        """Return the masked view of a data asset."""
        return self._transport.call("data.view", api.Named(name=name), views.DataViewShown)

    def set_view(self, name: str, recipe: str, *, dry_run: bool = False) -> views.DataViewShown:
        """Say what the masked view of a data asset shows.

        Args:
            name: The data asset.
            recipe: `vallum.mask/1` as JSON text. A column that it does not name is not shown.
                Empty: there is no view any more.
            dry_run: Check only.
        """
        arguments = views.DataSetView(name=name, recipe=recipe)
        return self._transport.call(
            "data.set-view", arguments, views.DataViewShown, dry_run=dry_run
        )

    def read(
        self,
        name: str,
        version: int | None = None,
        *,
        columns: Sequence[str] = (),
        masked: bool = False,
    ) -> Iterator[bytes]:
        """Yield some columns of a version, or its masked view, as CSV chunk by chunk.

        Args:
            name: The data asset.
            version: Its version; the newest if None.
            columns: Which; a right to read these columns is enough. All if empty.
            masked: Through the asset's masked view, which needs a lesser right.
        """
        arguments = views.DataRead(
            name=name, version=version, columns=tuple(columns), masked=masked
        )
        return self._transport.download("data.read", arguments)

    def unmask(self, name: str, rows: Source, *, format: str = "") -> Iterator[bytes]:  # noqa: A002 - as in `create`
        """Yield rows of a masked view with its reversible operations undone, as CSV.

        Args:
            name: The data asset whose view they came from.
            rows: Path of a table, its bytes, or an open binary file.
            format: `csv`, `parquet` or `jsonl`; taken from the path if empty.
        """
        arguments = views.DataUnmask(name=name, format=_format(rows, format))
        with opened(rows) as content:
            yield from self._transport.download("data.unmask", arguments, content=content)

    def relabel(
        self,
        name: str,
        label: str,
        *,
        version: int | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Set the label of a version; lowering it needs a reason, and a right of its own."""
        arguments = views.DataRelabel(name=name, label=label, version=version, reason=reason)
        return self._transport.call("data.relabel", arguments, api.VersionShown, dry_run=dry_run)

    def forget(
        self, identifiers: Sequence[str], *, reason: str, dry_run: bool = False
    ) -> views.ErasureCertificate:
        """Erase a person from all data; `dry_run` tells where they are.

        Args:
            identifiers: `NAME=VALUE` each: a column or a type, and the person's value in it.
            reason: Why, for the log.
            dry_run: Search only.
        """
        arguments = views.DataForget(identifiers=tuple(identifiers), reason=reason)
        return self._transport.call(
            "data.forget", arguments, views.ErasureCertificate, dry_run=dry_run
        )


def _format(source: Source, given: str) -> str:
    kind = given
    if not kind and isinstance(source, Path | str):
        kind = _SUFFIXES.get(Path(source).suffix.lower(), "")
    if not kind:
        raise InputError(
            "the name of the source does not tell its format",
            code="sdk.format",
            hint="say --format csv, parquet or jsonl (in Python: format=…)",
        )
    return kind
