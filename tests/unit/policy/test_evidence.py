"""Requirements and the evidence that meets them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, timestamp
from vallum.policy import (
    STRICT,
    Approval,
    Authority,
    EvidenceView,
    RequestFacts,
    Requirements,
    decide,
    parse_requirements,
    required,
    unmet,
    unmet_results,
)
from vallum.policy.roles import OWNER
from vallum.schema import (
    Ask,
    Caller,
    Evidence,
    PrincipalKind,
    Resource,
    RoleAssignment,
    Verdict,
    Waiver,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEPLOYER = Caller(id="user-2", kind=PrincipalKind.USER, name="r")
MODEL = Resource(
    id="mver-1",
    kind="mver",
    chain=("mver-1", "ws-1"),
    digest="sha256:m",
    kind_path="models/versions",
    label="general",
)
ENDPOINT = Resource(
    id="ep-1", kind="ep", chain=("ep-1", "ws-1"), kind_path="onlineEndpoints", stage="production"
)
FACTS = RequestFacts(now=NOW, step="deploy")
MAKERS = {"sha256:m": frozenset({"user-1", "mi-1"})}


def policy(*rules: dict[str, object]) -> Requirements:
    return parse_requirements({"version": "vallum.policy/1", "steps": {"deploy": list(rules)}})


def evidence(verdict: Verdict = Verdict.PASS, **changed: object) -> Evidence:
    fields: dict[str, object] = {
        "id": "evd-1",
        "gate": "evasion",
        "gate_version": "1.0",
        "code_digest": "sha256:c",
        "subject_id": "mver-1",
        "subject_digest": "sha256:m",
        "verdict": verdict,
        "threat": "evasion",
        "issuer": "sys-gates",
        "made_at": timestamp(NOW - timedelta(hours=1)),
    }
    return Evidence(**(fields | changed))


def missing(
    rules: Requirements,
    *items: Evidence,
    waivers: tuple[Waiver, ...] = (),
    approvals: tuple[Approval, ...] = (),
    makers: dict[str, frozenset[str]] = MAKERS,
    resources: tuple[Resource, ...] = (MODEL, ENDPOINT),
    facts: RequestFacts = FACTS,
) -> list[str]:
    view = EvidenceView(evidence=items, waivers=waivers, approvals=approvals, makers=makers)
    return [r.text for r in unmet(rules, resources, DEPLOYER, evidence=view, facts=facts)]


RULE = policy({"gate": "evasion", "max_age": "30d"})


def test_fresh_passing_evidence_by_another_identity_is_enough() -> None:
    assert missing(RULE, evidence()) == []


def test_missing_evidence_is_named() -> None:
    assert missing(RULE) == ["there is no evidence of gate `evasion` for `mver-1`"]


@pytest.mark.parametrize(
    "changed",
    [
        {"gate": "scan"},
        {"subject_digest": "sha256:other"},
        {"verdict": Verdict.FAIL},
        {"verdict": Verdict.ERROR},
        {"issuer": ""},
        {"issuer": "user-1"},
        {"issuer": "mi-1"},
        {"made_at": timestamp(NOW - timedelta(days=30, seconds=1))},
        {"made_at": timestamp(NOW + timedelta(seconds=1))},
        {"made_at": "yesterday"},
    ],
)
def test_evidence_with_one_thing_wrong_does_not_count(changed: dict[str, object]) -> None:
    assert missing(RULE, evidence(**changed)) != []


def test_evidence_counts_for_nothing_when_it_is_unknown_who_made_the_subject() -> None:
    assert missing(RULE, evidence(), makers={}) == [
        "it is unknown who made `mver-1`, so no evidence counts"
    ]


def test_a_failure_is_not_outvoted_by_another_run_of_the_same_gate() -> None:
    failed = evidence(Verdict.FAIL, id="evd-2", made_at=timestamp(NOW - timedelta(days=300)))
    assert missing(RULE, evidence(), failed) == [
        (
            "gate `evasion` failed for `mver-1` (`evd-2`); only a newer version of the gate or "
            "another person's waiver changes that"
        )
    ]


@pytest.mark.parametrize(
    ("version", "supersedes"),
    [("1.0", False), ("1", False), ("0.9", False), ("1.0.1", True), ("1.10", True), ("2b", False)],
)
def test_only_a_newer_version_of_the_gate_supersedes_a_failure(
    version: str, *, supersedes: bool
) -> None:
    failed = evidence(Verdict.ERROR, id="evd-2", gate_version="1.0")
    assert (missing(RULE, evidence(gate_version=version), failed) == []) is supersedes


def waiver(**changed: str) -> Waiver:
    fields = {
        "id": "w-1",
        "gate": "evasion",
        "subject_digest": "sha256:m",
        "reason": "known and contained",
        "by": "user-3",
        "expires_at": timestamp(NOW + timedelta(days=1)),
    }
    return Waiver(**(fields | changed))


def test_an_unexpired_waiver_by_a_second_person_lifts_a_failure() -> None:
    assert missing(RULE, evidence(Verdict.FAIL), waivers=(waiver(),)) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"gate": "scan"},
        {"subject_digest": "sha256:other"},
        {"by": ""},
        {"by": "user-1"},  # made the subject
        {"by": "user-2"},  # asks for the step
        {"expires_at": timestamp(NOW)},
        {"expires_at": ""},
    ],
)
def test_a_waiver_with_one_thing_wrong_does_not_count(changed: dict[str, str]) -> None:
    assert missing(RULE, evidence(Verdict.FAIL), waivers=(waiver(**changed),)) != []


def test_measures_are_held_to_their_limits_and_a_broken_limit_is_sticky() -> None:
    rule = policy({"gate": "evasion", "limits": {"rate": {"at_most": "0.30"}}})
    assert missing(rule, evidence(measures={"rate": "0.3"})) == []
    assert missing(rule, evidence()) != []  # not measured
    assert missing(rule, evidence(measures={"rate": "NaN"})) != []
    broken = evidence(id="evd-2", measures={"rate": "0.31"})
    assert missing(rule, evidence(measures={"rate": "0.1"}), broken) != []
    least = policy({"gate": "evasion", "limits": {"k": {"at_least": 5}}})
    assert missing(least, evidence(measures={"k": "5"})) == []
    assert missing(least, evidence(measures={"k": "4"})) != []


def test_a_rule_may_name_budget_data_issuer_and_version_of_the_gate() -> None:
    rule = policy(
        {
            "gate": "evasion",
            "budget": {"queries": 1000},
            "parameters": {"column": "y", "features": ""},
            "data": ["sha256:t"],
            "issuers": ["sys-gates"],
            "min_version": "1.0",
        }
    )
    named = {"queries": "1000", "column": "y", "features": ""}
    good = {"parameters": named, "data_digest": "sha256:t"}
    assert missing(rule, evidence(**good)) == []
    for changed in (
        {"parameters": {**named, "queries": "999"}},
        {"parameters": {**named, "column": "z"}},
        {"parameters": {"queries": "1000", "column": "y"}},  # not said is not the same as empty
        {"parameters": {}},
        {"data_digest": "sha256:u"},
        {"issuer": "sys-other"},
        {"gate_version": "0.9"},
    ):
        assert missing(rule, evidence(**(good | changed))) != []


def test_a_request_without_the_subject_is_refused() -> None:
    rule = policy({"gate": "evasion", "subject": "models/versions"})
    assert missing(rule, evidence(), resources=(ENDPOINT,)) == [
        "the request names no `models/versions` to look at"
    ]
    spared = policy({"gate": "evasion", "subject": "models/versions", "if_named": True})
    assert missing(spared, resources=(ENDPOINT,)) == []
    assert missing(spared) != []


@pytest.mark.parametrize(
    ("stages", "applies"),
    [
        (("production",), True),
        (("development",), False),
        (("development", "production"), True),
        (("",), True),  # unknown is taken as production
        (("sandbox",), True),
    ],
)
def test_a_rule_for_production_also_holds_where_no_stage_is_known(
    stages: tuple[str, ...], *, applies: bool
) -> None:
    rule = policy({"when": {"stage": "production"}, "gate": "evasion"})
    places = [Resource(id="e", kind="ep", chain=("e",), stage=stage) for stage in stages]
    assert (missing(rule, resources=(MODEL, *places)) != []) is applies


@pytest.mark.parametrize(
    ("label", "applies"),
    [
        ("public", False),
        ("general", False),
        ("confidential", True),
        ("highly-confidential", True),
        ("", True),
        ("made-up", True),
    ],
)
def test_a_rule_for_a_label_holds_for_higher_and_unknown_ones(label: str, *, applies: bool) -> None:
    rule = policy({"when": {"label": "confidential"}, "gate": "evasion"})
    subject = Resource(id="m", kind="mver", chain=("m",), digest="sha256:m", label=label)
    assert (missing(rule, resources=(subject,)) != []) is applies


def test_a_rule_for_a_tag_spares_only_what_carries_another_value() -> None:
    rule = policy({"when": {"tags": {"exposure": "public"}}, "gate": "evasion"})
    for tags, applies in (({"exposure": "public"}, True), ({}, True), ({"exposure": "no"}, False)):
        subject = Resource(id="m", kind="mver", chain=("m",), digest="sha256:m", tags=tags)
        assert (missing(rule, resources=(subject,)) != []) is applies


def approval(**changed: object) -> Approval:
    fields: dict[str, object] = {
        "id": "ap-1",
        "step": "deploy",
        "subject_digest": "sha256:m",
        "resource_id": "ep-1",
        "by": "user-3",
        "interactive": True,
        "made_at": timestamp(NOW),
        "expires_at": timestamp(NOW + timedelta(days=1)),
    }
    return Approval(**(fields | changed))


APPROVED = policy({"when": {"stage": "production"}, "approvals": 1})


def test_an_approval_by_another_person_is_enough() -> None:
    assert missing(APPROVED, approvals=(approval(),)) == []
    assert missing(APPROVED) == [
        "`mver-1` has 0 of 1 approvals by a person who had no part in it",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"step": "sign"},
        {"subject_digest": "sha256:other"},
        {"resource_id": "ep-2"},
        {"by": ""},
        {"by": "user-1"},
        {"by": "user-2"},
        {"interactive": False},
        {"made_at": timestamp(NOW + timedelta(seconds=1))},
        {"expires_at": timestamp(NOW)},
        {"expires_at": ""},
    ],
)
def test_an_approval_with_one_thing_wrong_does_not_count(changed: dict[str, object]) -> None:
    assert missing(APPROVED, approvals=(approval(**changed),)) != []


def test_one_person_approving_twice_is_one_approval() -> None:
    two = policy({"approvals": 2})
    again = approval(id="ap-2")
    assert missing(two, approvals=(approval(), again)) != []
    assert missing(two, approvals=(approval(), approval(id="ap-2", by="user-4"))) == []


def test_rollback_traffic_and_the_like_ask_what_deploy_asks() -> None:
    for step in ("alias", "mirror", "restart", "rollback", "scale", "traffic"):
        assert required(STRICT, step) == required(STRICT, "deploy")
    assert required(STRICT, "list") == ()


def test_the_strict_default_refuses_an_untested_deployment_in_full() -> None:
    assert [text.split("`")[1] for text in missing(STRICT)] == [
        "scan",
        "signature",
        "evasion",
        "membership",
        "mver-1",
    ]


def test_decide_lists_missing_rights_and_missing_evidence_together() -> None:
    authority = Authority.compile([], [], requirements=RULE)
    asks = [Ask(action="onlineEndpoints/deployments/write", resource=ENDPOINT)]
    asks.append(Ask(action="models/versions/read", resource=MODEL))
    decision = decide(asks, DEPLOYER, authority=authority, facts=FACTS)
    assert [reason.kind for reason in decision.reasons] == ["default", "default", "requirement"]
    owner = RoleAssignment(id="ra", role_id=OWNER.id, principal_id="user-2", scope="ws-1")
    held = Authority.compile([], [owner], requirements=RULE)
    refused = decide(asks, DEPLOYER, authority=held, facts=FACTS)
    assert [reason.id for reason in refused.reasons] == ["evasion"]
    assert not refused.concealed
    view = EvidenceView(evidence=(evidence(),), makers=MAKERS)
    assert decide(asks, DEPLOYER, authority=held, facts=FACTS, evidence=view).allowed


def signed(signer: str, kind: str = "user", **changed: object) -> Evidence:
    parameters = {"signer": signer, "signer_kind": kind}
    return evidence(gate="signature", id=f"evd-{signer}", parameters=parameters, **changed)


SIGNED = policy({"gate": "signature", "signers": 1})


def test_a_signature_by_a_second_person_is_enough() -> None:
    assert missing(SIGNED, signed("user-1"), signed("user-3")) == []
    assert missing(SIGNED, signed("user-1"), waivers=(waiver(gate="signature"),)) == []
    two = policy({"gate": "signature", "signers": 2})
    assert missing(two, signed("user-3"), signed("user-4")) == []
    assert missing(two, signed("user-3"), signed("user-3")) == [
        "`mver-1` is signed by 1 of 2 persons who had no part in it"
    ]


@pytest.mark.parametrize(
    "one",
    [
        signed("user-1"),  # its maker
        signed("user-3", "service-principal"),
        signed("user-3", ""),
        signed(""),
        evidence(gate="signature"),  # from before signers were on record
        signed("user-3", verdict=Verdict.FAIL),
        signed("user-3", made_at=timestamp(NOW + timedelta(days=1))),
    ],
)
def test_a_signature_with_one_thing_wrong_is_not_one_of_a_second_person(one: Evidence) -> None:
    assert missing(SIGNED, one) != []


def test_results_are_held_to_their_own_rules() -> None:
    facts = RequestFacts(now=NOW, step="register")
    unseen = unmet_results(STRICT, (MODEL,), DEPLOYER, evidence=EvidenceView(), facts=facts)
    assert [reason.id for reason in unseen] == ["scan"]
    view = EvidenceView(evidence=(evidence(gate="scan"),), makers=MAKERS)
    assert unmet_results(STRICT, (MODEL,), DEPLOYER, evidence=view, facts=facts) == ()


items = st.lists(
    st.builds(
        evidence,
        gate=st.sampled_from(["evasion", "signature"]),
        parameters=st.sampled_from(
            [{}, *({"signer": who, "signer_kind": "user"} for who in ("user-1", "user-3"))]
        ),
        verdict=st.sampled_from(list(Verdict)),
        id=st.uuids().map(str),
        gate_version=st.sampled_from(["1", "2", "x"]),
        issuer=st.sampled_from(["sys-gates", "user-1"]),
        measures=st.sampled_from([{}, {"rate": "0.1"}, {"rate": "0.9"}]),
    ),
    max_size=5,
)
rules = st.sampled_from(
    [
        SIGNED,
        RULE,
        policy({"gate": "evasion", "limits": {"rate": {"at_most": "0.5"}}, "max_age": "1d"}),
    ]
)
waived = st.sampled_from([(), (waiver(),), (waiver(by="user-1"),)])


@settings(max_examples=200)
@given(rules, items, waived, st.data())
def test_less_passing_or_more_failing_evidence_never_opens(
    rule: Requirements, some: list[Evidence], waivers: tuple[Waiver, ...], data: st.DataObject
) -> None:
    def passing(one: Evidence) -> bool:
        # A measure beyond its limit is a failure under the rule that sets the limit.
        limited = bool(rule.steps["deploy"][0].limits)
        return one.verdict is Verdict.PASS and not (limited and one.measures.get("rate") == "0.9")

    fewer = [one for one in some if not passing(one) or data.draw(st.booleans())]
    failing = [one for one in data.draw(items) if not passing(one)]
    if missing(rule, *some, waivers=waivers):
        assert missing(rule, *fewer, waivers=waivers)
        assert missing(rule, *some, *failing, waivers=waivers)


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ({}, "version"),
        ([], "object"),
        ({"version": "vallum.policy/2"}, "vallum.policy/2"),
        ({"version": "vallum.policy/1", "step": {}}, "step"),
        ({"version": "vallum.policy/1", "break_glass_persons": 0}, ">= 1"),
    ],
)
def test_a_policy_file_of_another_form_is_refused(document: object, part: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_requirements(document)
    assert caught.value.code == "policy.file"
    assert part in caught.value.message


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"gate": "scan", "verdict": "fail"},
        {"gate": "scan", "max_age": "30"},
        {"gate": "scan", "limits": {"x": {}}},
        {"gate": "scan", "limits": {"x": {"at_most": "1e9"}}},
        {"gate": "scan", "limits": {"x": {"at_most": 0.3}}},
        {"gate": "scan", "when": {"stage": "prod"}},
        {"gate": "scan", "when": {"label": "secret"}},
        {"gate": "scan", "unknown": 1},
        {"approvals": 1, "max_age": "1d"},
        {"approvals": -1},
        {"gate": "scan", "signers": 1},
        {"signers": 1},
        {"gate": "signature", "signers": 10},
    ],
)
def test_a_rule_of_another_form_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"policy file|rule|limit"):
        policy(rule)


def test_a_policy_file_with_too_many_rules_is_refused() -> None:
    with pytest.raises(InputError, match="1001 rules, at most 1000"):
        policy(*[{"gate": "scan"}] * 1001)
