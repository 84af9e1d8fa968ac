"""Private queries as an attribute of a client: `ws.dp`."""

import secrets
from collections.abc import Mapping, Sequence

import msgspec

from vallum.schema import api, privacy
from vallum.sdk.nouns import Noun
from vallum.sdk.select import Select


class Dp(Noun):
    """Questions under differential privacy, and the budgets that bound them."""

    def declare(
        self,
        name: str,
        declaration: Mapping[str, object],
        *,
        version: int | None = None,
        dry_run: bool = False,
    ) -> privacy.DpShown:
        """Declare the unit of privacy, the bounds and the public groups of a data version.

        Args:
            name: Of the data asset, or `name:version`.
            declaration: `vallum.dp/1`, see docs/how-to/query-with-a-privacy-budget.md.
            version: The newest if not given.
            dry_run: Check only.
        """
        arguments = privacy.DpDeclare(
            name=name, declaration=msgspec.json.encode(declaration).decode(), version=version
        )
        return self._transport.call("dp.declare", arguments, privacy.DpShown, dry_run=dry_run)

    def show(self, name: str, version: int | None = None) -> privacy.DpShown:
        """Return what may be asked and what is left of the budgets."""
        return self._transport.call(
            "dp.show", api.Named(name=name, version=version), privacy.DpShown
        )

    def budget(
        self,
        name: str,
        *,
        epsilon: str = "0",
        rho: str = "0",
        delta: str = "0",
        holder: str = "",
        renew: bool = False,
        reason: str = "",
        dry_run: bool = False,
    ) -> privacy.DpShown:
        """Set a limit of epsilon or rho, for everybody or one principal or group, or renew it."""
        arguments = privacy.DpBudget(
            name=name, epsilon=epsilon, rho=rho, delta=delta, holder=holder, renew=renew,
            reason=reason,
        )  # fmt: skip
        return self._transport.call("dp.budget", arguments, privacy.DpShown, dry_run=dry_run)

    def query(
        self,
        name: str,
        sql: str | Select,
        *,
        epsilon: str = "0",
        rho: str = "0",
        delta: str = "0",
        version: int | None = None,
        retry_id: str = "",
        dry_run: bool = False,
    ) -> privacy.DpAnswer:
        """Ask a question; it is charged before it is answered.

        Args:
            name: Of the data asset, or `name:version`.
            sql: One SELECT of aggregates, as text or made by `select()`.
            epsilon: What it may spend of pure loss, as decimal text.
            rho: What it may spend of zero-concentrated loss instead.
            delta: What groups that are not public may cost.
            version: The newest if not given.
            retry_id: The same again returns the stored answer; drawn if empty, and in the reply.
            dry_run: Tell the price and what would be left.
        """
        arguments = privacy.DpQuery(
            name=name, sql=str(sql), epsilon=epsilon, rho=rho, delta=delta, version=version,
            retry_id=retry_id or secrets.token_hex(8),
        )  # fmt: skip
        return self._transport.call("dp.query", arguments, privacy.DpAnswer, dry_run=dry_run)

    def release(
        self,
        name: str,
        into: str,
        marginals: Sequence[str],
        *,
        epsilon: str = "0",
        rho: str = "0",
        delta: str = "0",
        version: int | None = None,
        synthetic: bool = False,
        rows: int = 0,
        dry_run: bool = False,
    ) -> privacy.DpReleased:
        """Release noisy marginals, or records made up from them, as a data asset.

        Args:
            name: Of the data asset, or `name:version`.
            into: Name of the asset that holds the release.
            marginals: Columns of each, separated by commas.
            epsilon: For all of them together, as decimal text.
            rho: Zero-concentrated loss instead.
            delta: For groups that are not declared.
            version: The newest if not given.
            synthetic: Draw records from a model that is fitted to the marginals.
            rows: How many; as many as the marginals count if 0.
            dry_run: Say what it would cost, and ask nothing.
        """
        arguments = privacy.DpRelease(
            name=name, into=into, marginals=tuple(marginals), epsilon=epsilon, rho=rho,
            delta=delta, version=version, synthetic=synthetic, rows=rows,
        )  # fmt: skip
        return self._transport.call("dp.release", arguments, privacy.DpReleased, dry_run=dry_run)
