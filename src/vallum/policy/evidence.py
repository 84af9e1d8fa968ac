"""Whether the evidence on record meets the requirements of a step.

Two properties hold for any input: taking passing evidence away never turns a refusal into leave,
and adding failing evidence never does either.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from vallum.base import parse_timestamp
from vallum.policy.conditions import effective_label
from vallum.policy.facts import Approval, EvidenceView, RequestFacts
from vallum.policy.requirements import STOPS, Requirement, Requirements, age_s, decimal, required
from vallum.schema import Caller, Evidence, Label, PrincipalKind, Reason, Resource, Verdict

MAX_VERSION: Final = 64  # characters

_ORDER = {label.value: rank for rank, label in enumerate(Label)}


def unmet(
    requirements: Requirements,
    resources: Sequence[Resource],
    caller: Caller,
    *,
    evidence: EvidenceView,
    facts: RequestFacts,
) -> tuple[Reason, ...]:
    """Return a reason for each requirement of `facts.step` that does not hold; empty: go ahead."""
    rules = required(requirements, facts.step) if facts.step else ()
    return _judge(rules, resources, caller, evidence, facts)


def unmet_results(
    requirements: Requirements,
    results: Sequence[Resource],
    caller: Caller,
    *,
    evidence: EvidenceView,
    facts: RequestFacts,
) -> tuple[Reason, ...]:
    """Return a reason for each requirement on what `facts.step` made that does not hold."""
    return _judge(requirements.results.get(facts.step, ()), results, caller, evidence, facts)


def _judge(
    rules: Iterable[Requirement],
    resources: Sequence[Resource],
    caller: Caller,
    evidence: EvidenceView,
    facts: RequestFacts,
) -> tuple[Reason, ...]:
    reasons: list[Reason] = []
    for rule in rules:
        if not _stage_applies(rule.when.stage, resources):
            continue
        subjects = [
            resource
            for resource in resources
            if resource.digest and rule.subject in ("", resource.kind_path)
        ]
        if not subjects and not rule.if_named and facts.step not in STOPS:
            # A request without the subject cannot be judged: refused, not waved through.
            what = rule.subject or "version"
            reasons.append(_reason(rule, f"the request names no `{what}` to look at"))
        for subject in subjects:
            if not _subject_applies(rule, subject):
                continue
            if rule.gate:
                missing = _missing_verdict(rule, subject, caller, evidence, facts)
                if missing:
                    reasons.append(_reason(rule, missing))
            given = len(_approvers(subject, resources, caller, evidence, facts))
            if given < rule.approvals:
                reasons.append(
                    _reason(
                        rule,
                        f"`{subject.id}` has {given} of {rule.approvals} approvals by a person "
                        f"who had no part in it",
                    )
                )
    return tuple(reasons)


def _reason(rule: Requirement, text: str) -> Reason:
    return Reason(kind="requirement", id=rule.gate or "approvals", text=text)


def _stage_applies(stage: str, resources: Sequence[Resource]) -> bool:
    if not stage:
        return True
    stages = {resource.stage for resource in resources if resource.stage}
    return stage in stages or (stage == "production" and stages != {"development"})


def _subject_applies(rule: Requirement, subject: Resource) -> bool:
    least = rule.when.label
    if least is not None and _ORDER[effective_label(subject.label)] < _ORDER[least.value]:
        return False
    return all(subject.tags.get(name, value) == value for name, value in rule.when.tags.items())


def _missing_verdict(
    rule: Requirement,
    subject: Resource,
    caller: Caller,
    view: EvidenceView,
    facts: RequestFacts,
) -> str:
    """Say what is missing; empty if the rule is met."""
    makers = view.makers.get(subject.digest, frozenset())
    if _waived(rule, subject, caller, view, now=facts.now, makers=makers):
        return ""
    about = [
        one
        for one in view.evidence
        if one.gate == rule.gate and one.subject_digest == subject.digest
    ]
    failed = [one for one in about if one.verdict is not Verdict.PASS or _breaks(rule, one)]
    passed = [
        one
        for one in about
        if one.verdict is Verdict.PASS
        and not _breaks(rule, one)
        and makers
        and _counts(rule, one, makers, facts.now)
    ]
    standing = [one for one in passed if all(_newer(one, fail) for fail in failed)]
    if standing:
        given = len(_signers(standing) - makers)
        if given >= rule.signers:
            return ""
        return (
            f"`{subject.id}` is signed by {given} of {rule.signers} persons who had no part in it"
        )
    if failed:
        return (
            f"gate `{rule.gate}` failed for `{subject.id}` (`{failed[0].id}`); only a newer "
            "version of the gate or another person's waiver changes that"
        )
    if about and not makers:
        return f"it is unknown who made `{subject.id}`, so no evidence counts"
    if about:
        return f"the evidence of gate `{rule.gate}` for `{subject.id}` is too old or does not count"
    return f"there is no evidence of gate `{rule.gate}` for `{subject.id}`"


def _signers(found: Iterable[Evidence]) -> frozenset[str]:
    """Return the persons who signed, by what the gate says that looked at the signatures."""
    return frozenset(
        one.parameters["signer"]
        for one in found
        if one.parameters.get("signer_kind") == PrincipalKind.USER.value
        and one.parameters.get("signer")
    )


def _breaks(rule: Requirement, one: Evidence) -> bool:
    """Tell whether a measure is beyond its limit: a failure under this rule, and as sticky."""
    for name, limit in rule.limits.items():
        value = decimal(one.measures[name]) if name in one.measures else None
        if value is None:
            continue  # not measured: it does not count, but it is no failure
        for bound, sign in ((limit.at_most, 1), (limit.at_least, -1)):
            edge = None if bound is None else decimal(bound)
            if edge is not None and sign * (value - edge) > 0:
                return True
    return False


def _counts(rule: Requirement, one: Evidence, makers: frozenset[str], now: datetime) -> bool:
    if not one.issuer or one.issuer in makers:
        return False
    if rule.issuers and one.issuer not in rule.issuers:
        return False
    if rule.data and one.data_digest not in rule.data:
        return False
    if rule.min_version and not _at_least(one.gate_version, rule.min_version):
        return False
    if any(decimal(one.measures.get(name, "")) is None for name in rule.limits):
        return False
    for name, least in rule.budget.items():
        spent, bound = decimal(one.parameters.get(name, "")), decimal(least)
        if spent is None or bound is None or spent < bound:
            return False
    if any(one.parameters.get(name) != value for name, value in rule.parameters.items()):
        return False  # of another column than the rule names, say
    made = _moment(one.made_at)
    if made is None or made > now:
        return False
    return rule.max_age is None or now - made <= timedelta(seconds=age_s(rule.max_age))


def _newer(one: Evidence, fail: Evidence) -> bool:
    mine, other = _version(one.gate_version), _version(fail.gate_version)
    return mine is not None and other is not None and mine > other


def _at_least(version: str, least: str) -> bool:
    mine, other = _version(version), _version(least)
    return mine is not None and other is not None and mine >= other


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(text) > MAX_VERSION:
        return None
    numbers = [int(part) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 1.0 is 1
    return tuple(numbers)


def _waived(
    rule: Requirement,
    subject: Resource,
    caller: Caller,
    view: EvidenceView,
    *,
    now: datetime,
    makers: frozenset[str],
) -> bool:
    for waiver in view.waivers:
        if waiver.gate != rule.gate or waiver.subject_digest != subject.digest:
            continue
        expires = _moment(waiver.expires_at)
        second = bool(waiver.by and makers) and waiver.by != caller.id and waiver.by not in makers
        if second and expires is not None and now < expires:
            return True
    return False


def _approvers(
    subject: Resource,
    resources: Sequence[Resource],
    caller: Caller,
    view: EvidenceView,
    facts: RequestFacts,
) -> frozenset[str]:
    makers = view.makers.get(subject.digest, frozenset())
    if not makers:
        return frozenset()
    asked = {resource.id for resource in resources}

    def holds(approval: Approval) -> bool:
        made, expires = _moment(approval.made_at), _moment(approval.expires_at)
        return (
            approval.subject_digest == subject.digest
            and approval.step == facts.step
            and (not approval.resource_id or approval.resource_id in asked)
            and approval.interactive
            and bool(approval.by)
            and approval.by != caller.id
            and approval.by not in makers
            and made is not None
            and expires is not None
            and made <= facts.now < expires
        )

    return frozenset(approval.by for approval in view.approvals if holds(approval))


def _moment(text: str) -> datetime | None:
    try:
        return parse_timestamp(text)
    except ValueError:
        return None
