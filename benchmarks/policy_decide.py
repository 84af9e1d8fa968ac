"""A decision under 10,000 assignments: ours, casbin and cedarpy in one interleaved run.

The same world for all three: 1,000 users, 200 groups (each user in 5), 5 roles, 1,000 models of 3
versions each in one workspace; 10,000 assignments of a role to a user or group at the workspace,
a model or a version. The same 300 requests, and a check that all three answer alike. The limit is
one dictionary look-up per (principal, scope) that can matter, in plain Python.

Run: .venv/bin/python benchmarks/policy_decide.py > benchmarks/results/policy_decide.md
"""

import gc
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import casbin
import cedarpy
import numpy as np

from vallum.policy import Authority, RequestFacts, decide
from vallum.policy.patterns import granted
from vallum.policy.roles import BUILT_IN_BY_ID
from vallum.schema import Ask, Caller, DenyAssignment, PrincipalKind, Resource, RoleAssignment

ASSIGNMENTS, USERS, GROUPS, MODELS, VERSIONS = 10_000, 1_000, 200, 1_000, 3
ROLES = ["role-reader", "role-contributor", "role-azureml-data-scientist",
         "role-vallum-data-reader", "role-vallum-endpoint-invoker"]  # fmt: skip
ACTIONS = ["models/versions/read", "models/versions/write", "models/versions/content/read",
           "onlineEndpoints/score/action", "data/versions/content/read"]  # fmt: skip
REQUESTS = 300
ROUNDS = 30
CEDAR_REQUESTS = 20  # its parsed policy set is reused, as its docs advise

rng = np.random.default_rng(2)


def pick(count: int) -> int:
    return int(rng.integers(count))


groups_of = {f"user-{u}": tuple({f"grp-{pick(GROUPS)}" for _ in range(5)}) for u in range(USERS)}
assignments = []
for number in range(ASSIGNMENTS):
    model = pick(MODELS)
    scope = ["ws-1", f"model-{model}", f"mver-{model}-{pick(VERSIONS)}"][
        0 if pick(100) == 0 else 1 + pick(2)
    ]
    who = f"grp-{pick(GROUPS)}" if pick(5) == 0 else f"user-{pick(USERS)}"
    assignments.append(
        RoleAssignment(
            id=f"ra-{number}", role_id=ROLES[pick(len(ROLES))], principal_id=who, scope=scope
        )
    )

requests = []
for number in range(REQUESTS):
    model, user = pick(MODELS), f"user-{pick(USERS)}"
    if number % 2:  # every other request follows an assignment, so that half are likely to pass
        one = assignments[pick(ASSIGNMENTS)]
        if one.scope.startswith(("model-", "mver-")):
            model = int(one.scope.split("-")[1])
        user = one.principal_id if one.principal_id in groups_of else user
    chain = (f"mver-{model}-{pick(VERSIONS)}", f"model-{model}", "ws-1")
    resource = Resource(id=chain[0], kind="mver", chain=chain, kind_path="models/versions")
    caller = Caller(id=user, kind=PrincipalKind.USER, name=user, groups=groups_of[user])
    requests.append((caller, Ask(action=ACTIONS[pick(len(ACTIONS))], resource=resource)))

# --- ours -----------------------------------------------------------------------------------
started = time.perf_counter()
authority = Authority.compile([], assignments)
compile_ms = (time.perf_counter() - started) * 1e3
facts = RequestFacts(now=datetime(2026, 11, 20, tzinfo=UTC))


def ours(caller: Caller, ask: Ask) -> bool:
    return decide([ask], caller, authority=authority, facts=facts).allowed


conditional = [
    RoleAssignment(
        id=one.id,
        role_id=one.role_id,
        principal_id=one.principal_id,
        scope=one.scope,
        condition="@Resource[label] StringNotEquals 'public' AND NOT ActionMatches{'jobs/*'}",
    )
    if number % 10 == 0
    else one
    for number, one in enumerate(assignments)
]
denies = [
    DenyAssignment(
        id=f"deny-{number}",
        name="d",
        scope=f"model-{pick(MODELS)}",
        actions=("*/write",),
        principals=(f"grp-{pick(GROUPS)}",),
    )
    for number in range(500)
]
ruled = Authority.compile([], conditional, denies)
piled = Authority.compile(
    [],
    [
        RoleAssignment(id=one.id, role_id=one.role_id, principal_id="user-1", scope="ws-1")
        for one in assignments
    ],
)


def with_rules(caller: Caller, ask: Ask) -> bool:
    return decide([ask], caller, authority=ruled, facts=facts).allowed


def with_a_pile(caller: Caller, ask: Ask) -> bool:
    one = Caller(id="user-1", kind=caller.kind, name=caller.name, groups=caller.groups)
    return decide([ask], one, authority=piled, facts=facts).allowed


# --- the limit: the look-ups alone -----------------------------------------------------------
actions_of = {
    role: frozenset(
        a.value
        for a in granted(
            BUILT_IN_BY_ID[role].actions,
            BUILT_IN_BY_ID[role].not_actions,
            BUILT_IN_BY_ID[role].data_actions,
            BUILT_IN_BY_ID[role].not_data_actions,
        )
    )
    for role in ROLES
}
table: dict[tuple[str, str], set[str]] = {}
for one in assignments:
    table.setdefault((one.principal_id, one.scope), set()).update(actions_of[one.role_id])


def lookups(caller: Caller, ask: Ask) -> bool:
    return any(
        ask.action in table.get((who, scope), ())
        for who in (caller.id, *caller.groups)
        for scope in ask.resource.chain
    )


# --- casbin: RBAC with domains; the caller side walks scopes and groups as casbin's docs advise --
MODEL = """
[request_definition]
r = sub, scope, act
[policy_definition]
p = role, act
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.role, r.scope) && r.act == p.act
"""
with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
    file.write(MODEL)
    file.flush()
    enforcer = casbin.Enforcer(file.name)
enforcer.add_policies([[role, action] for role in ROLES for action in sorted(actions_of[role])
                       if action in ACTIONS])  # fmt: skip
enforcer.add_grouping_policies(
    [list(row) for row in {(a.principal_id, a.role_id, a.scope) for a in assignments}]
)


def with_casbin(caller: Caller, ask: Ask) -> bool:
    return any(
        enforcer.enforce(who, scope, ask.action)
        for who in (caller.id, *caller.groups)
        for scope in ask.resource.chain
    )


# --- cedar: an assignment is `permit(principal in X, action in role, resource in scope)` --
policies = cedarpy.PolicySet.from_str(
    "\n".join(
        f'permit(principal in P::"{a.principal_id}", action in Action::"{a.role_id}", '
        f'resource in R::"{a.scope}");'
        for a in assignments
    )
)
action_entities = [
    {
        "uid": {"type": "Action", "id": action},
        "attrs": {},
        "parents": [{"type": "Action", "id": role} for role in ROLES if action in actions_of[role]],
    }
    for action in ACTIONS
] + [{"uid": {"type": "Action", "id": role}, "attrs": {}, "parents": []} for role in ROLES]


def with_cedar(caller: Caller, ask: Ask) -> bool:
    chain = ask.resource.chain
    entities = [
        *action_entities,
        {
            "uid": {"type": "P", "id": caller.id},
            "attrs": {},
            "parents": [{"type": "P", "id": group} for group in caller.groups],
        },
        *(
            {
                "uid": {"type": "R", "id": scope},
                "attrs": {},
                "parents": [{"type": "R", "id": up} for up in chain[at + 1 : at + 2]],
            }
            for at, scope in enumerate(chain)
        ),
    ]
    request = {
        "principal": f'P::"{caller.id}"',
        "action": f'Action::"{ask.action}"',
        "resource": f'R::"{chain[0]}"',
        "context": {},
    }
    return cedarpy.is_authorized(request, policies, entities).allowed


SYSTEMS: dict[str, tuple[Callable[[Caller, Ask], bool], int]] = {
    "vallum `decide`": (ours, REQUESTS),
    "vallum, 1,000 of them conditional, 500 denies": (with_rules, REQUESTS),
    "vallum, all 10,000 on one user at one scope": (with_a_pile, REQUESTS),
    "casbin": (with_casbin, 20),
    "cedarpy": (with_cedar, CEDAR_REQUESTS),
    "limit: look-ups in a dict": (lookups, REQUESTS),
}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    answers = {name: [f(*one) for one in requests[:CEDAR_REQUESTS]]
               for name, (f, _) in SYSTEMS.items()
               if f not in (with_rules, with_a_pile)}  # fmt: skip
    if len({tuple(one) for one in answers.values()}) != 1:
        sys.exit(f"the systems disagree: {answers}")
    full = [ours(*one) for one in requests]
    if full != [lookups(*one) for one in requests]:
        sys.exit("ours and the look-ups disagree")
    times: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    gc.collect()
    for turn in range(ROUNDS):
        for name, (function, count) in SYSTEMS.items():
            if count < REQUESTS and turn >= 3:
                continue  # slow ones: three rounds are plenty
            for caller, ask in requests[:count]:
                begin = time.perf_counter_ns()
                function(caller, ask)
                times[name].append((time.perf_counter_ns() - begin) / 1e3)
    print(f"# A decision under {ASSIGNMENTS:,} assignments\n")
    print(
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"casbin {version('casbin')}, cedarpy {version('cedarpy')}; `{Path(__file__).name}`; "
        f"{sum(full)} of {REQUESTS} requests allowed; compiled in {compile_ms:.0f} ms\n"
    )
    print("| system | decisions timed | median (µs) | p99 (µs) | median, ours = 1 |")
    print("|---|---:|---:|---:|---:|")
    base = statistics.median(times["vallum `decide`"])
    for name, taken in times.items():
        middle, high = statistics.median(taken), float(np.quantile(taken, 0.99))
        row = f"| {name} | {len(taken):,} | {middle:,.1f} | {high:,.1f} | {middle / base:,.2f} |"
        print(row)


if __name__ == "__main__":
    main()
