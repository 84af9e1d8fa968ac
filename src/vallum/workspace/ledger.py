"""The privacy ledger: who is in which data, what was spent, what may still be asked (G8).

A budget belongs to a population: the lineage root of the data, and every root whose table was
seen to hold one of the same persons. Versions, copies and overlapping uploads therefore charge
the same budgets. A charge is a row and an amount in the budget's own row, both in one transaction
with the log entry, before any answer exists. Amounts are exact decimals.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from vallum.base import InputError, LimitExceededError, NotFoundError
from vallum.privacy.dp import Cost, add, as_rho
from vallum.schema import AssetVersion, Caller, PrivacyBudget, PrivateData
from vallum.workspace.context import Context

_MAX_LINEAGE = 10_000


def roots(context: Context, version: AssetVersion) -> tuple[str, ...]:
    """Return the data assets that a version was made from in the end.

    Raises:
        InputError: A part of the lineage was deleted: whose budget it is cannot be told.
    """
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [version]
    while waiting:
        one = waiting.pop()
        if one.id in seen:
            continue
        seen.add(one.id)
        if len(seen) > _MAX_LINEAGE:
            raise InputError("the lineage is too long to follow", code="dp.lineage")
        sources = [identity for identity in one.lineage if identity.startswith("dver-")]
        if not sources:
            found.add(one.asset_id)
            continue
        for identity in sources:
            try:
                waiting.append(context.version_by_id(identity))
            except NotFoundError as error:
                raise InputError(
                    f"`{one.name}:{one.version}` was made from data that is deleted, so that"
                    " nobody can tell whose budget its queries would charge",
                    code="dp.lineage",
                ) from error
    return tuple(sorted(found))


def populations(declared: Iterable[PrivateData], own: PrivateData) -> frozenset[str]:
    """Return every population that shares persons with a declared version, itself included."""
    groups = [frozenset(one.populations) for one in declared]
    found = frozenset(own.populations)
    while True:
        wider = found.union(*(one for one in groups if one & found))
        if wider == found:
            return found
        found = wider


def overlapping(declared: Iterable[PrivateData], sketch: Sequence[str]) -> set[str]:
    """Return the populations of every declared version that holds a person of `sketch`."""
    persons = set(sketch)
    return {
        population
        for one in declared
        if not persons.isdisjoint(one.sketch)
        for population in one.populations
    }


def budgets_for(context: Context, caller: Caller, private: PrivateData) -> list[PrivacyBudget]:
    """Return every budget that a query of `caller` charges.

    Raises:
        LimitExceededError: The data has no budget: nothing may be asked.
    """
    found = populations(context.all("private-data", PrivateData), private)
    holders = {"", caller.id, *caller.groups}
    budgets = [
        one
        for one in context.all("budget", PrivacyBudget)
        if one.population in found and one.holder in holders
    ]
    covered = {one.population for one in budgets if not one.holder}
    if not set(private.populations) & covered:
        raise LimitExceededError(
            "this data has no privacy budget, so that nothing may be asked",
            code="dp.budget",
            hint="its owner sets one: vallum dp budget NAME --epsilon 10",
        )
    return budgets


def _plain(left: Decimal) -> str:
    return f"{max(left, Decimal(0)).normalize():f}"


def refunded(budget: PrivacyBudget, cost: Cost) -> PrivacyBudget:
    """Return a budget with `cost` given back, of something that never ran; never below zero."""
    concentrated = Decimal(budget.rho) > 0
    price = Cost(rho=f"{as_rho(cost).normalize():f}", delta=cost.delta) if concentrated else cost
    return msgspec.structs.replace(
        budget,
        spent_epsilon=_plain(Decimal(budget.spent_epsilon) - Decimal(price.epsilon)),
        spent_rho=_plain(Decimal(budget.spent_rho) - Decimal(price.rho)),
        spent_delta=_plain(Decimal(budget.spent_delta) - Decimal(price.delta)),
    )


def charged(budget: PrivacyBudget, cost: Cost) -> PrivacyBudget:
    """Return a budget with `cost` spent.

    Raises:
        InputError: A budget of pure loss cannot pay for Gaussian noise.
        LimitExceededError: It would be overspent.
    """
    spent = Cost(epsilon=budget.spent_epsilon, rho=budget.spent_rho, delta=budget.spent_delta)
    concentrated = Decimal(budget.rho) > 0
    if not concentrated and Decimal(cost.rho) > 0:
        raise InputError(
            "the budget is one of epsilon, and this query spends rho",
            code="dp.measure",
            hint="spend --epsilon instead",
        )
    price = Cost(rho=f"{as_rho(cost).normalize():f}", delta=cost.delta) if concentrated else cost
    total = add([spent, price])
    for name in ("epsilon", "rho", "delta"):
        limit, wanted = Decimal(getattr(budget, name)), Decimal(getattr(total, name))
        if wanted > limit:
            left = limit - Decimal(getattr(spent, name))
            whose = "this data" if not budget.holder else "you or your group"
            raise LimitExceededError(
                f"the privacy budget of {whose} has {name} {_plain(left)} left, and"
                f" this costs {getattr(price, name)}",
                code="dp.budget",
                hint="ask less, or ask the data's owner to renew it",
            )
    return msgspec.structs.replace(
        budget, spent_epsilon=total.epsilon, spent_rho=total.rho, spent_delta=total.delta
    )
