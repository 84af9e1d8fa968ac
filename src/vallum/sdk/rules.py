"""The rules as attributes of a client: `ws.policy`, `ws.waivers`, `ws.release_keys`, …."""

from collections.abc import Mapping

import msgspec

from vallum.schema import Waiver, api, release, rules
from vallum.sdk.nouns import Noun


class Policy(Noun):
    """What evidence each step needs."""

    def show(self) -> rules.PolicyShown:
        """Return the policy file in force; the strict default has revision 0."""
        return self._transport.call("policy.show", api.Page(), rules.PolicyShown)

    def set(
        self, document: Mapping[str, object], *, reason: str, dry_run: bool = False
    ) -> rules.PolicyShown:
        """Replace the policy file; the reply lists what becomes easier and harder."""
        arguments = rules.PolicySet(document=msgspec.json.encode(document).decode(), reason=reason)
        return self._transport.call("policy.set", arguments, rules.PolicyShown, dry_run=dry_run)


class Waivers(Noun):
    """A second person's expiring leave."""

    def list(self) -> tuple[Waiver, ...]:
        """Return every waiver on record."""
        return self._transport.call("waiver.list", api.Page(), rules.Waivers).waivers

    def create(
        self,
        name: str,
        *,
        gate: str,
        reason: str,
        kind: str = "model",
        version: int | None = None,
        days: int = 7,
        dry_run: bool = False,
    ) -> api.Done:
        """Waive a gate for a version that you had no part in."""
        arguments = rules.WaiverCreate(
            name=name, gate=gate, reason=reason, kind=kind, version=version, days=days
        )
        return self._transport.call("waiver.create", arguments, api.Done, dry_run=dry_run)

    def revoke(self, waiver: str, *, dry_run: bool = False) -> api.Done:
        """Take a waiver back."""
        return self._transport.call(
            "waiver.revoke", api.Named(name=waiver), api.Done, dry_run=dry_run
        )


class ReleaseKeys(Noun):
    """The keys whose signatures on models count."""

    def list(self) -> tuple[release.ReleaseKey, ...]:
        """Return every key that signs or signed, the workspace's own first."""
        return self._transport.call("release-key.list", api.Page(), release.ReleaseKeys).keys

    def add(
        self, name: str, *, public_key: bytes, principal: str = "", dry_run: bool = False
    ) -> api.Done:
        """Let a principal (you, if none is named) sign models with a key of their own, in PEM."""
        arguments = release.ReleaseKeyAdd(
            name=name, public_key=public_key.decode("ascii", "replace"), principal=principal
        )
        return self._transport.call("release-key.add", arguments, api.Done, dry_run=dry_run)

    def retire(self, name: str, *, compromised: bool = False, dry_run: bool = False) -> api.Done:
        """Let a key sign no more; if it is compromised, nothing that it signed counts."""
        arguments = release.ReleaseKeyRetire(name=name, compromised=compromised)
        return self._transport.call("release-key.retire", arguments, api.Done, dry_run=dry_run)


class BreakGlass(Noun):
    """The sealed principal."""

    def create(self, *, dry_run: bool = False) -> rules.BreakGlassShown:
        """Make it, sealed."""
        return self._transport.call(
            "break-glass.create", api.Page(), rules.BreakGlassShown, dry_run=dry_run
        )

    def show(self) -> rules.BreakGlassShown:
        """Return whether it is open, since when, why and by whom."""
        return self._transport.call("break-glass.show", api.Page(), rules.BreakGlassShown)

    def open(self, *, reason: str, dry_run: bool = False) -> rules.BreakGlassShown:
        """Break the seal for one hour, from an interactive session; gives the key once."""
        return self._transport.call(
            "break-glass.open", rules.BreakGlassOpen(reason=reason), rules.BreakGlassShown,
            dry_run=dry_run,
        )  # fmt: skip

    def close(self, *, dry_run: bool = False) -> rules.BreakGlassShown:
        """Seal it again and revoke its keys."""
        return self._transport.call(
            "break-glass.close", api.Page(), rules.BreakGlassShown, dry_run=dry_run
        )
