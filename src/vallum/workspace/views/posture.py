"""Posture: insecure settings and missing evidence, each with how to mend it. A view."""

from datetime import timedelta

from vallum.base import parse_timestamp
from vallum.schema import Credential, Deployment, DeploymentState, PrincipalKind, Verdict, api
from vallum.workspace.egress import texts_of, ways_of
from vallum.workspace.step import Act

LATE_S = 60.0
BREAK_GLASS_DAYS = 30
WANTED = ("scan", "signature", "evasion", "membership")


def posture(act: Act) -> api.Posture:
    """Look at every deployment, credential and grant of the workspace."""
    findings: list[api.PostureFinding] = []
    checked = 0
    context = act.context
    for deployment in context.all("deployment", Deployment):
        checked += 1
        if deployment.state is DeploymentState.FAILED:
            findings.append(
                api.PostureFinding(
                    id="deployment.stopped",
                    severity="critical",
                    message=f"deployment `{deployment.name}` does not answer: {deployment.reason}",
                    fix="vallum audit list --kind finding, then deploy what is whole",
                    resource=deployment.id,
                )
            )
            continue
        evidence = context.evidence(deployment.model_digest)
        newest = {one.gate: one.verdict for one in sorted(evidence, key=lambda one: one.made_at)}
        passed = {gate for gate, verdict in newest.items() if verdict is Verdict.PASS}
        for gate in WANTED:
            if gate not in passed:
                findings.append(
                    api.PostureFinding(
                        id="deployment.evidence",
                        severity="high",
                        message=f"deployment `{deployment.name}` serves a model without `{gate}`",
                        fix="run the gate on the model version and deploy again",
                        resource=deployment.id,
                    )
                )
        if deployment.in_process:
            findings.append(
                api.PostureFinding(
                    id="deployment.in-process",
                    severity="medium",
                    message=f"deployment `{deployment.name}` runs inside the gateway",
                    fix="deploy it without --in-process",
                    resource=deployment.id,
                )
            )
        endpoint = context.endpoint(deployment.endpoint_id)
        ways = texts_of(ways_of(act.rules.requirements, endpoint.name))
        if deployment.code_id and ways:
            findings.append(
                api.PostureFinding(
                    id="deployment.egress",
                    severity="low",
                    message=f"code of `{deployment.name}` at `{endpoint.name}` may send what it is"
                    f" asked to {', '.join(ways)}",
                    fix="take out of `egress` what it does not need: vallum policy set FILE",
                    resource=deployment.id,
                )
            )
    for credential in context.all("credential", Credential):
        if credential.revoked_at:
            continue
        checked += 1
        if not credential.expires_at:
            findings.append(
                api.PostureFinding(
                    id="credential.no-expiry",
                    severity="low",
                    message=f"key `{credential.name}` never expires",
                    fix=f"vallum key create … --expires-at …; vallum key revoke {credential.id}",
                    resource=credential.id,
                )
            )
    courier = act.house.courier
    if courier is None:
        findings.append(
            api.PostureFinding(
                id="checkpoints.nowhere",
                severity="low",
                message="checkpoints are kept on this machine only",
                fix="vallum up --checkpoint-sink https://…, or file:///mnt/share",
            )
        )
    else:
        findings.extend(
            api.PostureFinding(
                id="checkpoints.late",
                severity="high",
                message=f"`{name}` has taken no checkpoint for {late_s:.0f} s",
                fix="mend the sink: what it lacks is sent as soon as it answers",
            )
            for name, late_s in courier.late()
            if late_s >= LATE_S
        )
    for seal in act.rules.seals.values():
        opened, expires = parse_timestamp(seal.opened_at), parse_timestamp(seal.expires_at)
        now_open = act.now < expires
        if now_open or act.now - opened < timedelta(days=BREAK_GLASS_DAYS):
            findings.append(
                api.PostureFinding(
                    id="break-glass.open" if now_open else "break-glass.used",
                    severity="critical" if now_open else "medium",
                    message=f"break-glass {'is open' if now_open else 'was used'}"
                    f" ({seal.opened_at[:16]}): {seal.reason}",
                    fix="vallum break-glass close" if now_open
                    else f"review what it did: vallum audit list --principal {seal.principal_id}",
                    resource=seal.principal_id,
                )
            )  # fmt: skip
    people = [
        one
        for one in act.rules.authority.principals.values()
        if one.kind is PrincipalKind.USER
        and not one.disabled
        and one.id not in act.rules.authority.sealed
    ]
    if len(people) == 1:
        findings.append(
            api.PostureFinding(
                id="workspace.one-person",
                severity="medium",
                message="one person holds every right, so nobody can approve what they make",
                fix="vallum identity create NAME, then vallum role assign",
            )
        )
    return api.Posture(findings=tuple(findings), checked=checked + 1)
