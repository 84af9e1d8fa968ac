"""Who could do what in MLflow, and who can here: what a dry run shows side by side.

Source: MLflow 3, `mlflow/server/auth/permissions.py`, `sqlalchemy_store.py`; before 3.13 grants
were rows of `experiment_permissions` and `registered_model_permissions`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vallum.base import RefusedError
from vallum.schema import Record
from vallum.sdk.client import Client
from vallum.sdk.migrate.rows import Rows
from vallum.sdk.migrate.source import integer, not_mlflow, text

NOTHING = "NO_PERMISSIONS"
LEVELS = (NOTHING, "READ", "USE", "EDIT", "MANAGE")
EVERYBODY = "everybody"
# What a level means here, from the highest: the right that its holder must have.
_HERE = {
    "experiment": (
        ("MANAGE", "experiments/delete"),
        ("EDIT", "experiments/runs/write"),
        ("READ", "experiments/runs/read"),
    ),
    "model": (
        ("MANAGE", "models/delete"),
        ("EDIT", "models/versions/write"),
        ("READ", "models/versions/read"),
    ),
}
_TYPES = {"experiment": "experiment", "registered_model": "model"}
_ALL = "*"


class RightsRow(Record, frozen=True):
    """What somebody could do to a thing in MLflow, and what they can do to it here."""

    principal: str
    kind: str  # `experiment` or `model`
    name: str
    before: str
    after: str  # a level; `not asked`: the caller may not know


class Grants:
    """The permissions of MLflow's basic authentication."""

    def __init__(self, rows: Rows, default: str) -> None:
        """Read them all.

        Raises:
            InputError: The database is not that of MLflow's authentication.
        """
        self._default = default
        self.users: dict[str, bool] = {}  # name, and whether they are administrators
        self._granted: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)
        names = {}
        if not rows.columns("users"):
            raise not_mlflow("the database of permissions has no table `users`")
        for identity, name, admin in rows.select("SELECT id, username, is_admin FROM users"):
            names[integer(identity)] = text(name)
            self.users[text(name)] = bool(admin)
        if rows.columns("role_permissions"):
            found = rows.select(
                "SELECT a.user_id, p.resource_type, p.resource_pattern, p.permission"
                " FROM role_permissions p JOIN user_role_assignments a ON a.role_id = p.role_id"
            )
        else:
            found = iter(
                [
                    (user, kind, thing, permission)
                    for kind, column in (
                        ("experiment", "experiment_id"),
                        ("registered_model", "name"),
                    )
                    if rows.columns(f"{kind}_permissions")
                    for user, thing, permission in rows.select(
                        f"SELECT user_id, {column}, permission FROM {kind}_permissions"  # noqa: S608 - ours
                    )
                ]
            )
        for user, kind, thing, permission in found:
            kinds = (
                ("experiment", "model") if kind == "workspace" else (_TYPES.get(text(kind), ""),)
            )
            for one in kinds:
                held = self._granted[names.get(integer(user), ""), one]
                held.setdefault(text(thing), []).append(text(permission))

    def level(self, user: str, kind: str, thing: str) -> str:
        """Return what a user could do to an experiment, by id, or to a model, by name."""
        if self.users.get(user):
            return LEVELS[-1]
        held = self._granted.get((user, kind), {})
        given = [*held.get(thing, ()), *held.get(_ALL, ())]
        if "DENY" in given:
            return NOTHING
        known = [one for one in given if one in LEVELS]
        return max(known, key=LEVELS.index) if known else self._default


def rights_before(
    grants: Grants | None, experiments: Mapping[str, str], models: Sequence[str]
) -> list[RightsRow]:
    """Return what everybody could do in MLflow.

    Args:
        grants: Of its authentication; without any, everybody could do everything.
        experiments: Id and name of each that is wanted.
        models: Names of registered models.
    """
    things = [("experiment", key, name) for key, name in experiments.items()]
    things += [("model", name, name) for name in models]
    if grants is None:
        return [
            RightsRow(principal=EVERYBODY, kind=kind, name=name, before=LEVELS[-1], after=NOTHING)
            for kind, _, name in things
        ]
    return [
        RightsRow(
            principal=user,
            kind=kind,
            name=name,
            before=grants.level(user, kind, key),
            after=NOTHING,
        )
        for user in sorted(grants.users)
        for kind, key, name in things
    ]


def rights_after(client: Client, before: Sequence[RightsRow]) -> list[RightsRow]:
    """Return the same rows with what each can do here, and rows of who is only known here.

    A thing that is not here yet has the rights of the workspace, as it will have when it is made.
    """
    try:
        here = {one.name: one.id for one in client.identities.list()}
        scopes = {one.scope for one in client.roles.assignments()}
        scopes |= {one.scope for one in client.roles.denies()}
    except RefusedError:
        return [_replaced(one, "not asked") for one in before]
    made = {("experiment", one.name): one.experiment_id for one in client.tracking.experiments()}
    made |= {("model", one.name): one.id for one in client.models.list()}
    known: dict[tuple[str, str, str], str] = {}

    def level(principal: str, kind: str, name: str) -> str:
        if principal not in here:
            return NOTHING
        identity = made.get((kind, name), "")
        own = identity if any(one.startswith(identity) for one in scopes) and identity else ""
        key = (principal, kind, own)
        if key not in known:
            scope = f"{kind}/{name}" if own else ""
            known[key] = next(
                (
                    level
                    for level, action in _HERE[kind]
                    if client.roles.explain(principal, action, scope).allowed
                ),
                NOTHING,
            )
        return known[key]

    rows = [_replaced(one, level(one.principal, one.kind, one.name)) for one in before]
    told = {one.principal for one in before}
    things = dict.fromkeys((one.kind, one.name) for one in before)
    anybody = {(one.kind, one.name): one.before for one in before if one.principal == EVERYBODY}
    for principal in sorted(set(here) - told):
        for kind, name in things:
            was = anybody.get((kind, name), NOTHING)
            rows.append(
                RightsRow(
                    principal=principal,
                    kind=kind,
                    name=name,
                    before=was,
                    after=level(principal, kind, name),
                )
            )
    return [one for one in rows if (one.before, one.after) != (NOTHING, NOTHING)]


def _replaced(one: RightsRow, after: str) -> RightsRow:
    return RightsRow(
        principal=one.principal, kind=one.kind, name=one.name, before=one.before, after=after
    )
