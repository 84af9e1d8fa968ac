"""Steps on what reaches an endpoint: traffic, copies of it, limits, networks, short tokens."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from vallum.base import ConflictError, InputError, NotFoundError, check_networks, timestamp
from vallum.schema import Ask, Caller, Deployment, DeploymentState, Endpoint, api, release
from vallum.workspace.context import Context, ask
from vallum.workspace.deployments import by_name, index_name
from vallum.workspace.information import check_budget
from vallum.workspace.limits import check_quotas, check_rates
from vallum.workspace.step import Act, Step
from vallum.workspace.steps.directory import issue, refuse_lesser
from vallum.workspace.steps.endpoints import check_limits, shown

MAX_TOKEN_MINUTES = 24 * 60
MAX_MIRROR = 50  # per cent, as in Azure ML
_WHOLE = 100  # per cent


def _traffic_asks(context: Context, args: release.EndpointTraffic, caller: Caller) -> Sequence[Ask]:
    endpoint = context.endpoint(args.endpoint)
    served = by_name(context, endpoint)
    versions = {
        served[name].model_version_id
        for name, share in (*args.traffic.items(), *(args.mirror or {}).items())
        if name in served and share > 0
    }
    return (
        *ask("onlineEndpoints/deployments/write", context.endpoint_resource(endpoint)),
        *ask(
            "models/versions/promote/action",
            *(context.version_resource(context.version_by_id(one)) for one in sorted(versions)),
        ),
    )


def _act_traffic(act: Act, args: release.EndpointTraffic) -> api.EndpointShown:
    endpoint = act.context.endpoint(args.endpoint)
    served = by_name(act.context, endpoint)
    _check_named(endpoint, served, args.traffic)
    if any(not 0 <= one <= _WHOLE for one in args.traffic.values()) or sum(
        args.traffic.values()
    ) not in {0, _WHOLE}:
        raise InputError("the shares must sum to 0 or 100 per cent", code="deploy.traffic")
    traffic = {name: args.traffic.get(name, 0) for name in served}
    mirror = _mirror(endpoint, served, args.mirror, traffic)
    act.details["traffic"] = {"from": endpoint.traffic, "to": traffic}
    act.details["mirror"] = {"from": endpoint.mirror, "to": mirror}
    return _put(act, msgspec.structs.replace(endpoint, traffic=traffic, mirror=mirror), traffic)


def _check_named(endpoint: Endpoint, served: dict[str, Deployment], shares: dict[str, int]) -> None:
    for name, share in shares.items():
        if name not in served:
            raise NotFoundError(
                f"endpoint `{endpoint.name}` has no deployment `{name[:80]}`",
                code="deploy.traffic",
                hint=f"it has {', '.join(sorted(served)) or 'none'}",
            )
        if share > 0 and served[name].state is not DeploymentState.RUNNING:
            raise ConflictError(
                f"deployment `{name}` is {served[name].state.value}",
                code="deploy.traffic",
                hint=f"vallum endpoint show {endpoint.name} tells when it runs, or why it does not",
            )


def _mirror(
    endpoint: Endpoint,
    served: dict[str, Deployment],
    asked: dict[str, int] | None,
    traffic: dict[str, int],
) -> dict[str, int]:
    """Return which deployment gets copies, under Azure ML's rules for `mirror_traffic`."""
    if asked is None:
        mirror = {name: share for name, share in endpoint.mirror.items() if name in served}
    else:
        _check_named(endpoint, served, asked)
        if len(asked) > 1 or any(not 0 <= one <= MAX_MIRROR for one in asked.values()):
            raise InputError(
                f"one deployment gets copies, of 0 to {MAX_MIRROR} per cent", code="deploy.mirror"
            )
        mirror = {name: share for name, share in asked.items() if share}
    for name in mirror:
        if served[name].in_process:
            raise ConflictError(
                f"`{name}` runs inside the gateway: its copies would hold up every caller",
                code="deploy.mirror",
                hint="deploy it without --in-process",
            )
        if served[name].code_id:
            raise ConflictError(
                f"`{name}` runs scoring code, and copies are rows of numbers", code="deploy.mirror"
            )
        if traffic.get(name, 0):
            raise ConflictError(
                f"`{name}` cannot have both traffic and copies of it",
                code="deploy.mirror",
                hint=f"end the copies: --mirror {name}=0",
            )
    return mirror


def _put(act: Act, endpoint: Endpoint, traffic: dict[str, int] | None = None) -> api.EndpointShown:
    """Write an endpoint so that no gateway goes on under the old one."""
    # Deployments are authority: writing one raises the generation that gateways follow.
    for held in act.context.deployments(endpoint):
        one = held
        if traffic is not None and held.state is DeploymentState.STARTING:
            # Whoever shares the traffic later decides what it gets.
            one = msgspec.structs.replace(held, share=traffic.get(held.name, 0))
        act.put("deployment", one, on=endpoint.id, parent_id=endpoint.id, name=index_name(one))
    act.put(
        "endpoint",
        endpoint,
        on=endpoint.id,
        parent_id=act.context.workspace_id,
        name=endpoint.name,
    )
    return shown(act, endpoint)


def _update_asks(context: Context, args: release.EndpointUpdate, caller: Caller) -> Sequence[Ask]:
    endpoint = context.endpoint(args.name)
    return ask("onlineEndpoints/write", context.endpoint_resource(endpoint))


def _act_update(act: Act, args: release.EndpointUpdate) -> api.EndpointShown:
    endpoint = act.context.endpoint(args.name)
    check_limits(args.rate_per_s, args.burst, args.max_rows)
    given: dict[str, object] = {
        name: value
        for name in ("rate_per_s", "burst", "max_rows", "description", "networks")
        if (value := getattr(args, name)) is not None
    }
    if args.networks is not None:
        given["networks"] = check_networks(args.networks)
    if args.rates is not None:
        given["rates"] = check_rates(args.rates)
    if args.quotas is not None:
        given["quotas"] = check_quotas(args.quotas)
    if args.information is not None:
        given["information"] = check_budget(args.information)
        if given["information"] is not None and any(
            one.code_id for one in act.context.deployments(endpoint)
        ):
            raise ConflictError(
                "it runs scoring code, and nobody knows what that tells",
                code="endpoint.information",
                hint="delete the deployment with code first",
            )
    if not given:
        raise InputError("nothing is to be changed", code="endpoint.update")
    act.details["changed"] = {name: str(value)[:200] for name, value in given.items()}
    return _put(act, msgspec.structs.replace(endpoint, **given))


def _token_asks(context: Context, args: release.EndpointToken, caller: Caller) -> Sequence[Ask]:
    endpoint = context.endpoint_resource(context.endpoint(args.endpoint))
    return (
        *ask("onlineEndpoints/token/action", endpoint),
        *ask("onlineEndpoints/score/action", endpoint),  # nobody hands out what they lack
    )


def _act_token(act: Act, args: release.EndpointToken) -> api.Shown:
    endpoint = act.context.endpoint(args.endpoint)
    refuse_lesser(act)
    if not 0 < args.minutes <= MAX_TOKEN_MINUTES:
        raise InputError(f"minutes are 1 to {MAX_TOKEN_MINUTES}", code="endpoint.token")
    return issue(
        act,
        act.context.principal(act.caller.id),
        name="token",
        expires_at=timestamp(act.now + timedelta(minutes=args.minutes)),
        endpoint_id=endpoint.id,
        actions=("onlineEndpoints/score/action",),
        scope=endpoint.id,
        made_with=_origin(act),
    )


def _origin(act: Act) -> str:
    """Return the key that a token ends with: the caller's, or the one their session is of."""
    held = act.context.credential(act.caller.credential_id)
    return held.made_with or held.id


STEPS = (
    Step("endpoint.traffic", release.EndpointTraffic, _traffic_asks, _act_traffic,
         threat="model-tampering"),
    Step("endpoint.update", release.EndpointUpdate, _update_asks, _act_update,
         threat="denial-of-service"),
    Step("endpoint.token", release.EndpointToken, _token_asks, _act_token),
)  # fmt: skip
