"""Steps on endpoints: create, list, show, deploy, keys, delete."""

from collections.abc import Sequence

import msgspec

from vallum.base import (
    ConflictError,
    InputError,
    UnavailableError,
    check_networks,
    new_id,
    timestamp,
)
from vallum.guard import check_policy
from vallum.schema import (
    Ask,
    AssetVersion,
    Caller,
    Credential,
    Deployment,
    DeploymentState,
    Endpoint,
    EndpointKeyKind,
    Lent,
    OutputPolicy,
    QueryWatch,
    Scale,
    ScoringCode,
    api,
)
from vallum.schema.release import ENGINES, LOCAL
from vallum.workspace.capture_books import all_books
from vallum.workspace.captures import check_capture
from vallum.workspace.context import Context, ask
from vallum.workspace.deployments import index_name, share_out
from vallum.workspace.egress import texts_of, ways_of
from vallum.workspace.information import check_budget
from vallum.workspace.lending import KINDS
from vallum.workspace.limits import check_quotas, check_rates
from vallum.workspace.signing import verify_signatures
from vallum.workspace.step import Act, Effect, Step
from vallum.workspace.steps.captures import erase_captures
from vallum.workspace.steps.directory import issue, revoke
from vallum.workspace.steps.scoring_code import CODE, code_for, erase_codes
from vallum.workspace.versions import served_part

CAPTURE = "onlineEndpoints/deployments/capture/action"
CAPTURE_DELETE = "onlineEndpoints/deployments/capture/delete"
STAGES = ("development", "production")
MAX_LIMIT = 1_000_000  # a second, at once, rows
MAX_DECIMALS = 15  # of a binary64
MAX_INSTANCES = 16  # each has a sandbox, and up to 2 GiB
MAX_CONCURRENCY = 256
MAX_COOL_DOWN_S = 86_400
MAX_WAIT_MS = 600_000
MIN_REQUEST_MS = 100
RESPONSES = ("alert", "throttle", "label-only", "stop")
"""What a watched caller gets who looks like a thief; each also leaves evidence."""

EVASION_RESPONSES = ("alert", "abstain", "stop")
"""What is done about records that look made to be misclassified, or about their caller."""


def _list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def _act_list(act: Act, args: api.Page) -> api.Listing:
    found = [
        endpoint
        for endpoint in act.context.all("endpoint", Endpoint)
        if endpoint.id > args.after
        and act.may("onlineEndpoints/read", act.context.endpoint_resource(endpoint))
    ][: args.limit]
    after = found[-1].id if len(found) == args.limit else ""
    return api.Listing(endpoints=tuple(found), after=after)


def _create_asks(context: Context, args: api.EndpointCreate, caller: Caller) -> Sequence[Ask]:
    return ask("onlineEndpoints/write", context.workspace())


def _act_create(act: Act, args: api.EndpointCreate) -> api.EndpointShown:
    workspace_id = act.context.workspace_id
    if args.stage not in STAGES:
        raise InputError(
            f"`{args.stage[:40]}` is not a stage", code="endpoint.stage",
            hint=f"use {' or '.join(STAGES)}",
        )  # fmt: skip
    check_limits(args.rate_per_s, args.burst, args.max_rows)
    if act.context.find("endpoint", args.name, Endpoint) is not None:
        raise ConflictError(f"endpoint `{args.name}` exists already")
    endpoint = Endpoint(
        id=str(new_id("ep")),
        name=args.name,
        owner_id=act.caller.id,
        created_at=timestamp(act.now),
        stage=args.stage,
        rate_per_s=args.rate_per_s,
        burst=args.burst,
        max_rows=args.max_rows,
        description=args.description,
        networks=check_networks(args.networks),
        information=check_budget(args.information),
        rates=check_rates(args.rates),
        quotas=check_quotas(args.quotas),
    )
    act.put("endpoint", endpoint, on=workspace_id, parent_id=workspace_id, name=args.name)
    return shown(act, endpoint)


def check_limits(*limits: int | None) -> None:
    """Check rate, burst and rows.

    Raises:
        InputError: One is out of bounds.
    """
    if any(one is not None and not 0 < one <= MAX_LIMIT for one in limits):
        raise InputError(f"rate, burst and rows are 1 to {MAX_LIMIT}", code="endpoint.rate")


def shown(act: Act, endpoint: Endpoint) -> api.EndpointShown:
    """Return an endpoint with its deployments."""
    return api.EndpointShown(
        endpoint=endpoint,
        deployments=tuple(  # what waits for a place comes after who has it
            sorted(act.context.deployments(endpoint), key=lambda one: (one.name, one.replaces))
        ),
        scoring_uri=act.house.scoring_uri(endpoint.name),
    )


def _show_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    return ask("onlineEndpoints/read", context.endpoint_resource(context.endpoint(args.name)))


def _act_show(act: Act, args: api.Named) -> api.EndpointShown:
    return shown(act, act.context.endpoint(args.name))


def _deploy_asks(context: Context, args: api.EndpointDeploy, caller: Caller) -> Sequence[Ask]:
    endpoint = context.endpoint(args.endpoint)
    version = context.version("model", args.model, args.version)
    watched = (
        # What the data look like goes to the gateway: only who may read them may send it there.
        ask(
            "data/versions/content/read",
            *(context.version_resource(one) for one in _watched(context, args.watch)),
        )
        if args.watch is not None
        else ()
    )
    return (
        *ask("onlineEndpoints/deployments/write", context.endpoint_resource(endpoint)),
        *ask("models/versions/promote/action", context.version_resource(version)),
        *watched,
        *(  # it sees the model, and what every caller sends
            (
                *ask(CODE, context.endpoint_resource(endpoint)),
                *ask("models/versions/content/read", context.version_resource(version)),
            )
            if args.code
            else ()
        ),
        *(  # it is personal data of others that is kept
            ask(CAPTURE, context.endpoint_resource(endpoint))
            if args.capture is not None or _captured(context, endpoint, args.deployment)
            else ()
        ),
    )


def _captured(context: Context, endpoint: Endpoint, name: str) -> bool:
    """Tell whether a deployment that is to be replaced is captured: to end that is a right, too."""
    return any(one.capture is not None for one in context.deployments(endpoint) if one.name == name)


def _watched(context: Context, watch: QueryWatch) -> list[AssetVersion]:
    names = (watch.data, watch.canaries) if watch.canaries else (watch.data,)
    return [context.version("data", name) for name in names]


def _watch(act: Act, args: api.EndpointDeploy) -> QueryWatch | None:
    """Return how callers are watched; None where they are not.

    Raises:
        InputError: The response is none.
        NotFoundError: There are no such data.
    """
    if args.watch is None:
        return None
    if args.watch.response not in RESPONSES:
        raise InputError(
            f"`{args.watch.response[:40]}` is no response",
            code="deploy.watch",
            hint=f"use {', '.join(RESPONSES)}",
        )
    if args.watch.on_evasion not in {"", *EVASION_RESPONSES}:
        raise InputError(
            f"`{args.watch.on_evasion[:40]}` is no response to evasion",
            code="deploy.watch",
            hint=f"use {', '.join(EVASION_RESPONSES)}",
        )
    data, *canaries = (one.id for one in _watched(act.context, args.watch))
    return msgspec.structs.replace(args.watch, data=data, canaries=canaries[0] if canaries else "")


def _output(args: api.EndpointDeploy) -> OutputPolicy | None:
    """Return what leaves of the answers; None where all does.

    Raises:
        InputError: It cannot be followed.
    """
    if args.output is not None:
        check_policy(args.output)
    if args.decimals is not None and not 0 <= args.decimals <= MAX_DECIMALS:
        raise InputError(f"decimals are 0 to {MAX_DECIMALS}", code="deploy.output")
    return args.output


def _scale(act: Act, args: api.EndpointDeploy) -> Scale | None:
    """Return how many processes answer, and where; None where it is one here.

    Raises:
        InputError: The bounds are none, or there is no such place.
        UnavailableError: The operator lets no model go there.
    """
    one = args.scale
    if one is None:
        return None
    if args.in_process:
        raise InputError(
            "a model inside the gateway has no processes of its own", code="deploy.scale"
        )
    if not 1 <= one.min_instances <= one.max_instances <= MAX_INSTANCES:
        raise InputError(f"instances are 1 to {MAX_INSTANCES}", code="deploy.scale")
    if not 1 <= one.target_percent <= 100:  # noqa: PLR2004 - per cent
        raise InputError("the target is 1 to 100 per cent", code="deploy.scale")
    if not 1 <= one.concurrency <= MAX_CONCURRENCY or not 1 <= one.cool_down_s <= MAX_COOL_DOWN_S:
        raise InputError(
            f"concurrency is 1 to {MAX_CONCURRENCY}, the cool-down 1 to {MAX_COOL_DOWN_S} s",
            code="deploy.scale",
        )
    if not 1 <= one.queue_wait_ms <= MAX_WAIT_MS:
        raise InputError(f"a queue takes 1 to {MAX_WAIT_MS} ms", code="deploy.scale")
    timeout_ms = one.request_timeout_ms
    if timeout_ms is not None and not MIN_REQUEST_MS <= timeout_ms <= MAX_WAIT_MS:
        raise InputError(
            f"a request takes {MIN_REQUEST_MS} to {MAX_WAIT_MS} ms", code="deploy.scale"
        )
    if one.engine not in ENGINES:
        raise InputError(
            f"`{one.engine[:40]}` runs no models", code="deploy.engine", hint="`local` or `ray`"
        )
    if one.engine != LOCAL:
        if not act.house.ray_replicas:
            raise UnavailableError(
                "this server starts no replicas on Ray", code="deploy.engine",
                hint="its operator does: vallum up --ray-replicas",
            )  # fmt: skip
        act.details["engine"] = one.engine
    return one


def _egress(act: Act, endpoint: Endpoint, code: ScoringCode | None) -> tuple[str, ...]:
    """Return where a deployment's code may connect to now, and say so in the log."""
    if code is None:
        return ()
    found = texts_of(ways_of(act.rules.requirements, endpoint.name))
    act.details["egress"] = list(found)
    return found


def _act_deploy(act: Act, args: api.EndpointDeploy) -> api.EndpointShown:
    endpoint = act.context.endpoint(args.endpoint)
    version = act.context.version("model", args.model, args.version)
    code = code_for(act, args, version)
    if code is None and served_part(version) is None:
        raise InputError(
            "only ONNX models are served now", code="deploy.format",
            hint="vallum model register NAME FILE --convert",
        )  # fmt: skip
    verify_signatures(act.house, act.context, version)  # by keys that count now, not as once found
    if not 0 <= args.traffic <= 100:  # noqa: PLR2004 - per cent
        raise InputError("traffic is a percentage", code="deploy.traffic")
    if args.capture is not None:
        check_capture(args.capture, act.rules.requirements)
        act.details["capture"] = msgspec.to_builtins(args.capture)
    deployment = Deployment(
        id=str(new_id("dep")),
        endpoint_id=endpoint.id,
        name=args.deployment,
        model_version_id=version.id,
        model_digest=version.digest,
        state=DeploymentState.STARTING,
        share=args.traffic,
        created_at=timestamp(act.now),
        created_by=act.caller.id,
        in_process=args.in_process,
        decimals=args.decimals,
        watch=_watch(act, args),
        output=_output(args),
        capture=args.capture,
        code_id="" if code is None else code.id,
        code_digest="" if code is None else code.digest,
        code_entry="" if code is None else code.entry,
        scale=_scale(act, args),
        egress=_egress(act, endpoint, code),
    )
    if args.traffic > 0 and args.deployment in endpoint.mirror:
        raise ConflictError(
            f"`{args.deployment}` gets copies of the traffic, not traffic",
            code="deploy.mirror",
            hint=f"end it: vallum endpoint traffic {endpoint.name} … --mirror {args.deployment}=0",
        )
    share_out(endpoint.traffic, args.deployment, args.traffic)  # said now, not once it runs
    old = act.context.find("deployment", args.deployment, Deployment, parent_id=endpoint.id)
    for one in act.context.deployments(endpoint):
        if one.replaces and one.name == args.deployment:  # it waited for the same place
            act.remove("deployment", one.id, on=endpoint.id)
    if old is not None and old.state is DeploymentState.RUNNING:
        deployment = msgspec.structs.replace(deployment, replaces=old.id)
    elif old is not None:
        act.remove("deployment", old.id, on=endpoint.id)
    act.put(
        "deployment", deployment, on=endpoint.id, parent_id=endpoint.id,
        name=index_name(deployment),
    )  # fmt: skip
    return shown(act, endpoint)


def _keys_asks(context: Context, args: api.EndpointKeys, caller: Caller) -> Sequence[Ask]:
    endpoint = context.endpoint_resource(context.endpoint(args.endpoint))
    return (
        *ask("onlineEndpoints/regenerateKeys/action", endpoint),
        *ask("onlineEndpoints/score/action", endpoint),  # nobody hands out what they lack
    )


def _act_keys(act: Act, args: api.EndpointKeys) -> api.Shown:
    endpoint = act.context.endpoint(args.endpoint)
    if args.kind not in {kind.value for kind in EndpointKeyKind}:
        raise InputError(
            f"`{args.kind[:40]}` is not a kind of key",
            code="endpoint.key",
            hint="use primary or secondary",
        )
    for old in act.context.all("credential", Credential):
        if old.endpoint_id == endpoint.id and old.name == args.kind and not old.revoked_at:
            revoke(act, old)
    owner = act.context.principal(act.caller.id)
    return issue(
        act, owner, name=args.kind, expires_at=args.expires_at, endpoint_id=endpoint.id,
        actions=("onlineEndpoints/score/action",), scope=endpoint.id,
    )  # fmt: skip


def _delete_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    endpoint = context.endpoint(args.name)
    resource = context.endpoint_resource(endpoint)
    kept = bool(all_books(context, endpoint.id))
    return (
        *ask("onlineEndpoints/delete", resource),
        *(ask(CAPTURE_DELETE, resource) if kept else ()),
    )


def _act_delete(act: Act, args: api.Named) -> api.Done:
    endpoint = act.context.endpoint(args.name)
    for deployment in act.context.deployments(endpoint):
        act.remove("deployment", deployment.id, on=endpoint.id)
    for credential in act.context.all("credential", Credential):
        if credential.endpoint_id == endpoint.id and not credential.revoked_at:
            revoke(act, credential)
    erase_codes(act, endpoint)
    erase_captures(act, all_books(act.context, endpoint.id), reason="endpoint deleted")
    for kind in KINDS:
        for lent in act.context.all(kind, Lent, parent_id=endpoint.id):
            act.remove(kind, lent.id, on=endpoint.id)
    act.remove("endpoint", endpoint.id, on=endpoint.id)
    return api.Done(id=endpoint.id, text=f"stopped and deleted endpoint {endpoint.name}")


STEPS = (
    Step("endpoint.list", api.Page, _list_asks, _act_list, Effect.READ),
    Step("endpoint.create", api.EndpointCreate, _create_asks, _act_create),
    Step("endpoint.show", api.Named, _show_asks, _act_show, Effect.READ),
    Step("endpoint.deploy", api.EndpointDeploy, _deploy_asks, _act_deploy,
         threat="model-tampering"),
    Step("endpoint.keys", api.EndpointKeys, _keys_asks, _act_keys),
    Step("endpoint.delete", api.Named, _delete_asks, _act_delete),
)  # fmt: skip
