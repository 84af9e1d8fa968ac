"""Who, what they may do, and what was decided. Semantics: Azure RBAC, DESIGN.md section 7."""

from enum import StrEnum

from vallum.schema.record import Record


class PrincipalKind(StrEnum):
    """What a principal is."""

    GROUP = "group"
    MANAGED_IDENTITY = "managed-identity"  # of a job, endpoint or compute
    SERVICE_PRINCIPAL = "service-principal"
    SYSTEM = "system"  # timers, settlement and first start act as these
    USER = "user"


class Session(StrEnum):
    """How the caller proved who it is."""

    API_KEY = "api-key"
    CONSOLE = "console"  # interactive: approvals and break-glass need it
    INTERNAL = "internal"
    TOKEN = "token"  # noqa: S105 - the kind of a session, not a credential


class Principal(Record, frozen=True):
    """A record of the directory."""

    id: str
    kind: PrincipalKind
    name: str
    members: tuple[str, ...] = ()  # of a group: ids, groups may nest
    disabled: bool = False


class Caller(Record, frozen=True):
    """An authenticated principal as policy sees it."""

    id: str
    kind: PrincipalKind
    name: str
    groups: tuple[str, ...] = ()  # ids, nesting resolved
    session: Session = Session.API_KEY
    credential_id: str = ""
    key_actions: tuple[str, ...] = ()  # an API key narrowed to these patterns; empty: not narrowed
    key_scope: str = ""  # an API key narrowed to this scope and below; empty: not narrowed
    source: str = ""  # address of the connection; empty: none of ours is known


class Role(Record, frozen=True):
    """A role definition: patterns in which `*` matches any run of characters."""

    id: str
    name: str
    description: str = ""
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()
    assignable_scopes: tuple[str, ...] = ()
    built_in: bool = False


class RoleAssignment(Record, frozen=True):
    """A role given to a principal or group at a scope and everything below it."""

    id: str
    role_id: str
    principal_id: str
    scope: str  # a resource id, or a resource id with `/paths/…`, `/columns/…`, `/labels/…`
    condition: str = ""
    expires_at: str = ""  # RFC 3339; empty: never


class DenyAssignment(Record, frozen=True):
    """Actions refused to principals at a scope, whatever their roles say."""

    id: str
    name: str
    scope: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()  # ids; `*` is everyone
    exclude_principals: tuple[str, ...] = ()
    do_not_apply_to_children: bool = False
    condition: str = ""


class Resource(Record, frozen=True):
    """What an action is asked on. `chain` comes from the stored record, never from a string."""

    id: str
    kind: str
    chain: tuple[str, ...]  # scopes from the resource itself up to the workspace
    label: str = ""  # empty: unclassified, which counts as the highest
    stage: str = ""
    tags: dict[str, str] = {}
    digest: str = ""  # of the version that evidence is about; empty where there is none
    kind_path: str = ""  # such as `models/versions`


class Ask(Record, frozen=True):
    """One action on one resource; a request lists all that it needs."""

    action: str
    resource: Resource


class Reason(Record, frozen=True):
    """What determined a decision, or part of it."""

    kind: str  # `role`, `deny`, `condition`, `requirement`, `key`, `default`, `error`
    id: str  # of the assignment, deny or requirement; empty for `default`
    text: str


class Decision(Record, frozen=True):
    """The outcome for a whole request: one refused ask refuses all."""

    allowed: bool
    caller: Caller
    asks: tuple[Ask, ...]
    request_digest: str
    reasons: tuple[Reason, ...]  # of a refusal: every missing action, scope and piece of evidence
    generation: int  # authority generation that was decided under
    concealed: bool = False  # the caller may not even know that the resource exists: 404
