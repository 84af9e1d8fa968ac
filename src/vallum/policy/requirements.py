"""What evidence each step needs: the policy file, typed, and the strict default.

version: vallum.policy/1
steps:                       # asked before a step runs
  deploy:
    - {when: {stage: production}, gate: evasion, verdict: pass, max_age: 30d,
       limits: {success_rate: {at_most: "0.30"}}}
    - {when: {stage: production}, approvals: 1}
    - {when: {stage: production}, gate: signature, signers: 1}   # its author's does not count
results:                     # asked of what a step made, before anybody sees it
  register:
    - {gate: scan}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

import msgspec

from vallum.base import InputError, check_name, check_networks
from vallum.base.egress import check_host, host_and_port, is_address, kept_back
from vallum.schema import Label, Record

MAX_RULES: Final = 1_000
MAX_EGRESS: Final = 64

_Decimal = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,20}(\.[0-9]{1,20})?$")]
_Age = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,4}[smhd]$")]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Limit(Record, frozen=True):
    """A bound on a measure, as decimal text (quote it in YAML) or a whole number."""

    at_most: _Decimal | int | None = None
    at_least: _Decimal | int | None = None


class When(Record, frozen=True):
    """Where a requirement applies; everything that is given must hold, nothing given: always.

    What is not known counts as the strictest: an unclassified subject has the highest label, and
    a request in which nothing states a stage is one for production.
    """

    stage: Literal["development", "production", ""] = ""
    label: Label | None = None  # this label or a higher one
    tags: dict[str, str] = {}


class Requirement(Record, frozen=True):
    """One thing that must be on record about each subject: a verdict, or approvals, or both."""

    gate: Annotated[str, msgspec.Meta(max_length=128)] = ""
    verdict: Literal["pass"] = "pass"
    when: When = When()
    subject: Annotated[str, msgspec.Meta(max_length=128)] = ""  # kind path; empty: every version
    if_named: bool = False  # a request that names no such subject passes; otherwise it is refused
    max_age: _Age | None = None
    limits: dict[_Name, Limit] = {}  # on measures
    budget: dict[_Name, _Decimal | int] = {}  # least values of parameters
    parameters: dict[_Name, _Text] = {}  # what parameters of the gate must be, to the letter
    min_version: str = ""  # of the gate
    data: tuple[_Name, ...] = ()  # digests of the test data that count; empty: any
    issuers: tuple[_Name, ...] = ()  # principals whose evidence counts; empty: any but the makers
    signers: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0  # persons, none a maker, who signed it
    approvals: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0  # by other persons than the makers


class CaptureRule(Record, frozen=True):
    """Whether requests and answers of endpoints may be kept, and for how long at most."""

    allow: bool = False
    max_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30


class ScoringCodeRule(Record, frozen=True):
    """Whether deployments may run scoring code of their own, in the sandbox."""

    allow: bool = False


class EgressRule(Record, frozen=True):
    """Where scoring code of one endpoint may connect to; without a rule, nowhere."""

    endpoint: _Name  # the whole name
    host: str  # a whole name, or an address
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    networks: tuple[str, ...] = ()  # of its addresses, where they are not public


class Requirements(Record, frozen=True):
    """A policy file."""

    version: Literal["vallum.policy/1"]
    steps: dict[_Name, tuple[Requirement, ...]] = {}
    results: dict[_Name, tuple[Requirement, ...]] = {}
    break_glass_persons: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    images: dict[str, Any] = {}  # what `environment add` asks of an image, as `vallum scan --rules`
    capture: CaptureRule = CaptureRule()
    scoring_code: ScoringCodeRule = ScoringCodeRule()
    egress: tuple[EgressRule, ...] = ()


AS_DEPLOY: Final = frozenset({"alias", "mirror", "restart", "rollback", "scale", "traffic"})
"""Steps that ask what deploy asks, beside what is written for them."""

STOPS: Final = frozenset({"traffic"})
"""Steps that name the versions that get something, and none where they only take it away."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PROMOTION = (
    Requirement(gate="scan", subject="models/versions"),
    Requirement(gate="signature", subject="models/versions"),
    Requirement(gate="evasion", subject="models/versions", max_age="30d"),
    Requirement(gate="membership", subject="models/versions", max_age="30d"),
    Requirement(when=When(stage="production"), subject="models/versions", approvals=1),
)

STRICT: Final = Requirements(
    version="vallum.policy/1",
    steps={
        "deploy": _PROMOTION,
        "sign": (Requirement(gate="scan", subject="models/versions"),),
        "train": (
            Requirement(
                gate="anonymity",
                subject="data/versions",
                if_named=True,  # a job without data has nothing to protect
                when=When(label=Label.HIGHLY_CONFIDENTIAL),
            ),
        ),
    },
    results={
        "protect": (Requirement(gate="anonymity", subject="data/versions"),),
        "register": (Requirement(gate="scan", subject="models/versions"),),
    },
)
"""What holds in a workspace without a policy file."""


def parse_requirements(document: object) -> Requirements:
    """Check a policy file that a bounded YAML or JSON reader has turned into plain values.

    Raises:
        InputError: A field is missing, unknown or of another form; the message names it.
    """
    try:
        requirements = msgspec.convert(document, Requirements)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the policy file does not fit: {str(error)[:300]}",
            code="policy.file",
            hint="see docs/reference/policy-file.md",
        ) from error
    rules = [
        rule
        for table in (requirements.steps, requirements.results)
        for listed in table.values()
        for rule in listed
    ]
    if len(rules) > MAX_RULES:
        raise InputError(
            f"the policy file has {len(rules)} rules, at most {MAX_RULES}", code="policy.file"
        )
    for rule in rules:
        if not rule.gate and not rule.approvals:
            raise InputError("a rule names neither `gate` nor `approvals`", code="policy.file")
        if not rule.gate and (rule.limits or rule.budget or rule.max_age or rule.issuers):
            raise InputError("a rule has conditions on evidence but no `gate`", code="policy.file")
        if rule.signers and rule.gate != "signature":
            raise InputError(
                "a rule has `signers`, which belong to `gate: signature`", code="policy.file"
            )
        for name, limit in rule.limits.items():
            if limit.at_most is None and limit.at_least is None:
                raise InputError(
                    f"the limit on `{name}` has neither `at_most` nor `at_least`",
                    code="policy.file",
                )
    return msgspec.structs.replace(requirements, egress=_egress(requirements.egress))


def _egress(rules: tuple[EgressRule, ...]) -> tuple[EgressRule, ...]:
    """Return rules in one form: nobody has to guess which host is meant.

    Raises:
        InputError: One is none, or there twice.
    """
    found: dict[tuple[str, str, int], EgressRule] = {}
    if len(rules) > MAX_EGRESS:
        raise InputError(
            f"the policy file has {len(rules)} rules of `egress`, at most {MAX_EGRESS}",
            code="policy.file",
        )
    for rule in rules:
        check_name(rule.endpoint, what="endpoint")
        host, networks = check_host(rule.host), check_networks(rule.networks)
        if is_address(host):
            if networks:
                raise InputError(
                    f"a rule for the address {host} has `networks`, which belong to a name",
                    code="policy.file",
                )
            networks = check_networks((host,))
            if why := kept_back(host, networks):
                raise InputError(
                    f"nothing can be connected to at {host}: {why}", code="policy.file"
                )
        key = rule.endpoint, host, rule.port
        if key in found:
            raise InputError(
                f"`egress` names {host_and_port(host, rule.port)} for `{rule.endpoint}` twice",
                code="policy.file",
            )
        found[key] = EgressRule(
            endpoint=rule.endpoint, host=host, port=rule.port,
            networks=() if is_address(host) else networks,
        )  # fmt: skip
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class RequirementChange:
    """One rule that came (`harder`) or went (`easier`)."""

    step: str
    effect: Literal["easier", "harder"]
    text: str


def compare_requirements(old: Requirements, new: Requirements) -> tuple[RequirementChange, ...]:
    """Return every rule that only one of two policy files has.

    A rule that was edited is one that went and one that came: whether the new one asks for less
    is for people to judge.
    """
    found: list[RequirementChange] = []
    for what, before, after in (
        ("before", old.steps, new.steps),
        ("of the result of", old.results, new.results),
    ):
        for step in sorted({*before, *after}):
            had, has = before.get(step, ()), after.get(step, ())
            found.extend(
                RequirementChange(step, "easier", f"{what} {step} no longer asks {_text(rule)}")
                for rule in had
                if rule not in has
            )
            found.extend(
                RequirementChange(step, "harder", f"{what} {step} now asks {_text(rule)}")
                for rule in has
                if rule not in had
            )
    if old.break_glass_persons != new.break_glass_persons:
        fewer = new.break_glass_persons < old.break_glass_persons
        found.append(
            RequirementChange(
                "break-glass.open",
                "easier" if fewer else "harder",
                f"breaking the seal takes {new.break_glass_persons} person(s)",
            )
        )
    if old.images != new.images:  # whether they ask for less is for people to judge
        gone, came = (", ".join(sorted(one)) or "nothing" for one in (old.images, new.images))
        found += [
            RequirementChange("environment.add", "easier", f"images are no longer held to {gone}"),
            RequirementChange("environment.add", "harder", f"images are now held to {came}"),
        ]
    found += _switched(old, new)
    return tuple(found)


def _switched(old: Requirements, new: Requirements) -> list[RequirementChange]:
    """Return what became allowed or forbidden of what is off by default."""
    found: list[RequirementChange] = []
    before = old.capture.max_days if old.capture.allow else 0
    after = new.capture.max_days if new.capture.allow else 0
    if before != after:
        found.append(
            RequirementChange(
                "endpoint.deploy",
                "easier" if after > before else "harder",
                f"requests may be captured and kept for {after} days"
                if after
                else "requests may not be captured",
            )
        )
    if old.scoring_code.allow != new.scoring_code.allow:
        may = new.scoring_code.allow
        found.append(
            RequirementChange(
                "endpoint.deploy",
                "easier" if may else "harder",
                f"deployments may {'' if may else 'not '}run scoring code of their own",
            )
        )
    for verb, ones, others in (("may not", old, new), ("may", new, old)):
        found.extend(
            RequirementChange(
                "endpoint.deploy",
                "easier" if verb == "may" else "harder",
                f"code at `{one.endpoint}` {verb} connect to {host_and_port(one.host, one.port)}"
                f"{' in ' if one.networks else ''}{', '.join(one.networks)}",
            )
            for one in ones.egress
            if one not in others.egress
        )
    return found


def _text(rule: Requirement) -> str:
    given = {
        name: value
        for name, value in msgspec.to_builtins(rule).items()
        if value != msgspec.to_builtins(Requirement())[name] and name != "verdict"
    }
    return ", ".join(f"{name} {value}" for name, value in sorted(given.items()))


def required(requirements: Requirements, step: str) -> tuple[Requirement, ...]:
    """Return what must hold before `step` runs, for all stages and labels."""
    own = requirements.steps.get(step, ())
    return own + requirements.steps.get("deploy", ()) if step in AS_DEPLOY else own


def requirements_schema() -> Mapping[str, object]:
    """Return the JSON Schema of the policy file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(Requirements),
    }


def age_s(text: str) -> int:
    """Return the seconds of an age such as `30d`."""
    return int(text[:-1]) * _UNITS_S[text[-1]]


def decimal(text: str | int) -> Decimal | None:
    """Return the number that `text` is; None if it is none, or not finite."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
