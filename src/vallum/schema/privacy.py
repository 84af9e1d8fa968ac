"""Private queries: what is declared, what may be spent, what was charged; decimals are text.

The records that are stored come first, then what crosses the HTTP border.
"""

from vallum.schema.record import Record


class PrivateData(Record, frozen=True):
    """What is declared about a data version, so that it may be queried (an authority row).

    Attributes:
        id: Of the data version.
        populations: Lineage roots whose budgets its queries charge, sorted.
        declaration: `vallum.dp/1` as JSON text.
        unit: What tells persons apart: a column's name, or `record`.
        sketch: Keyed digests of some of the persons in it, in hexadecimal, sorted: two tables
            that share one share a person.
    """

    id: str
    populations: tuple[str, ...]
    declaration: str
    unit: str
    sketch: tuple[str, ...]
    declared_by: str
    declared_at: str


class PrivacyBudget(Record, frozen=True):
    """What may be learnt about a population, and what was spent of it (an authority row).

    Attributes:
        population: Lineage root: id of the data asset that everything was made from.
        holder: Principal or group that it bounds; empty: everybody together.
        epsilon: Limit of pure loss; `0` in a budget of concentrated loss.
        rho: Limit of zero-concentrated loss; `0` in a budget of pure loss.
        delta: Limit of what groups that are not public cost.
        period: Raised by each renewal.
    """

    id: str
    population: str
    holder: str = ""
    epsilon: str = "0"
    rho: str = "0"
    delta: str = "0"
    spent_epsilon: str = "0"
    spent_rho: str = "0"
    spent_delta: str = "0"
    period: int = 1


class PrivacyCharge(Record, frozen=True):
    """One charge, made before its answer exists, and the answer once it does.

    Attributes:
        retry_id: The caller's name for the question: asking again returns the stored answer.
        question: Digest of data version, query and cost: a retry must ask the same.
        intent_id: Of the step that computes the answer.
        answer: JSON text; empty: not there yet, or lost, which stays charged.
    """

    id: str
    version_id: str
    caller_id: str
    retry_id: str
    question: str
    intent_id: str
    budgets: tuple[str, ...]
    epsilon: str
    rho: str
    delta: str
    charged_at: str
    answer: str = ""


class JobPrivacy(Record, frozen=True):
    """What a private job may spend of its data's budget; decimals are text."""

    epsilon: str
    delta: str


class JobReserve(Record, frozen=True):
    """What was charged when a private job was queued, so that it can be given back unused."""

    charge_id: str
    periods: dict[str, int]  # budget id to its period then


class DpDeclare(Record, frozen=True):
    """Declare the unit, bounds and public groups of a data version, so that it may be queried."""

    name: str
    declaration: str  # `vallum.dp/1` as JSON text
    version: int | None = None


class DpBudget(Record, frozen=True):
    """Set what may be learnt about the people in a data asset; `renew` begins a new period."""

    name: str
    epsilon: str = "0"
    rho: str = "0"
    delta: str = "0"
    holder: str = ""  # principal or group that it bounds; empty: everybody together
    renew: bool = False
    reason: str = ""


class DpQuery(Record, frozen=True):
    """Ask a data version under differential privacy; charged before the answer exists."""

    name: str
    sql: str
    epsilon: str = "0"
    rho: str = "0"
    delta: str = "0"
    version: int | None = None
    retry_id: str = ""  # the same again returns the stored answer and charges nothing


class DpShown(Record, frozen=True):
    """What may be asked about a data version and what is left to spend."""

    name: str
    version: int
    unit: str
    declaration: str  # JSON text
    budgets: tuple[PrivacyBudget, ...]


class DpFigure(Record, frozen=True):
    """One noisy figure with the interval of its noise."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    rank_error: float | None = None
    mechanism: str = ""
    scale: float = 0.0


class DpGroup(Record, frozen=True):
    """The figures of one group."""

    key: tuple[str, ...]
    figures: tuple[DpFigure, ...]


class DpAnswer(Record, frozen=True):
    """An answer, what it cost, and what is left; without groups where nothing was asked yet."""

    charge_id: str
    retry_id: str
    epsilon: str
    rho: str
    delta: str
    group_by: tuple[str, ...] = ()
    groups: tuple[DpGroup, ...] = ()
    unit: str = ""
    replayed: bool = False  # the stored answer to the same question; nothing was charged
    budgets: tuple[PrivacyBudget, ...] = ()


class DpRelease(Record, frozen=True):
    """Release noisy marginals of a data version, or records made up from them, as a data asset."""

    name: str
    into: str
    marginals: tuple[str, ...]  # columns of each, separated by commas
    epsilon: str = "0"  # for all together
    rho: str = "0"
    delta: str = "0"
    version: int | None = None
    synthetic: bool = False
    rows: int = 0  # of a synthetic table; 0: as many as the marginals count


class DpReleased(Record, frozen=True):
    """What was released, what it cost, and what is left; without a version where it would be."""

    name: str
    epsilon: str
    rho: str
    delta: str
    version: int | None = None
    rows: int = 0
    columns: tuple[str, ...] = ()
    budgets: tuple[PrivacyBudget, ...] = ()
