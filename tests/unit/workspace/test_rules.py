"""Policy file, waivers and break-glass: who may bend the rules, and for how long."""

import io
import json

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, InputError, NotFoundError, RefusedError, VallumError
from vallum.schema import Caller, Session, api, rules

OPEN_POLICY = {
    "version": "vallum.policy/1",
    "steps": {"sign": [{"gate": "scan", "subject": "models/versions"}]},
}


def policy(place: Place, document: object, who: Caller | None = None, **more: object) -> object:
    arguments = rules.PolicySet(document=json.dumps(document), reason="a test")
    return place.do("policy.set", arguments, who=who, **more).value


def shown(place: Place) -> rules.PolicyShown:
    made = place.do("policy.show", api.Page()).value
    assert isinstance(made, rules.PolicyShown)
    return made


def interactive(place: Place, who: Caller) -> Caller:
    made = place.do("session.create", rules.SessionCreate(), who=who).value
    assert isinstance(made, api.Shown)
    return place.token(made.secret)


def register(place: Place, who: Caller) -> None:
    place.do(
        "model.register",
        api.ModelRegister(name="small", file_name="model.onnx"),
        who=who,
        content=io.BytesIO(small_model()),
    )


# -- the policy file ----------------------------------------------------------------------------


def test_a_policy_file_holds_from_the_next_request_on(place: Place) -> None:
    assert shown(place).revision == 0
    author = place.person("author", "Machine Learning Engineer", "Vallum Data Reader")
    register(place, author)
    strict = {"version": "vallum.policy/1", "steps": {"sign": [{"gate": "evasion"}]}}
    policy(place, strict)
    with pytest.raises(RefusedError, match="no evidence of gate `evasion`"):
        place.do("model.sign", api.ModelSign(name="small"), who=author)
    policy(place, OPEN_POLICY)
    place.do("model.sign", api.ModelSign(name="small"), who=author)
    assert shown(place).revision == 2
    assert shown(place).reason == "a test"


def test_a_dry_run_names_what_becomes_easier_and_harder(place: Place) -> None:
    told = policy(place, OPEN_POLICY, dry_run=True)
    assert isinstance(told, rules.PolicyShown)
    easier = [one.text for one in told.changes if one.effect == "easier"]
    assert "before deploy no longer asks gate signature, subject models/versions" in easier
    assert not [one for one in told.changes if one.effect == "harder"]
    assert shown(place).revision == 0


def test_a_policy_edit_needs_every_control_right(place: Place) -> None:
    place.do("role.create", api.RoleCreate(name="Policy Writer", actions=("policy/*", "*/read")))
    ana = place.person("ana", "Policy Writer")
    with pytest.raises(RefusedError) as caught:
        policy(place, OPEN_POLICY, who=ana)
    assert caught.value.code == "policy.escalation"
    ben = place.person("ben", "Contributor")
    with pytest.raises(RefusedError):
        policy(place, OPEN_POLICY, who=ben)
    assert shown(place).revision == 0


@pytest.mark.parametrize(
    "document",
    [{}, {"version": "vallum.policy/2"}, {**OPEN_POLICY, "more": 1}, [1], {"version": 1}],
)
def test_a_policy_file_that_does_not_fit_changes_nothing(place: Place, document: object) -> None:
    with pytest.raises(InputError):
        policy(place, document)
    assert shown(place).revision == 0


@pytest.mark.parametrize(
    "change",
    [
        {"actions": ("models/[",)},
        {"actions": ("data/versions/content/read",)},  # a data action
        {"data_actions": ("models/read",)},  # a control action
    ],
)
def test_a_role_with_a_pattern_that_grants_nothing_is_refused(
    place: Place, change: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(InputError) as caught:
        place.do("role.create", api.RoleCreate(name="Typo", **change))
    assert caught.value.code == "role.pattern"


def test_a_change_of_the_rules_needs_a_reason(place: Place) -> None:
    with pytest.raises(InputError, match="say why"):
        place.do("policy.set", rules.PolicySet(document=json.dumps(OPEN_POLICY), reason=" "))


# -- waivers ------------------------------------------------------------------------------------


def test_a_second_persons_waiver_lets_a_missing_gate_pass_until_it_is_revoked(
    place: Place,
) -> None:
    author = place.person("author", "Machine Learning Engineer", "Vallum Data Reader")
    releaser = place.person("releaser", "Vallum Releaser")
    register(place, author)
    policy(place, {"version": "vallum.policy/1", "steps": {"sign": [{"gate": "evasion"}]}})
    with pytest.raises(RefusedError, match="evasion"):
        place.do("model.sign", api.ModelSign(name="small"), who=author)
    waive = rules.WaiverCreate(name="small", gate="evasion", reason="tested by hand")
    with pytest.raises(RefusedError):
        place.do("waiver.create", waive, who=author)  # no right, and a maker
    done = place.do("waiver.create", waive, who=releaser).value
    assert isinstance(done, api.Done)
    place.do("model.sign", api.ModelSign(name="small"), who=author)
    place.do("waiver.revoke", api.Named(name=done.id), who=releaser)
    with pytest.raises(RefusedError, match="evasion"):
        place.do("model.sign", api.ModelSign(name="small"), who=author)


def test_a_maker_waives_nothing_whatever_their_rights(place: Place) -> None:
    register(place, place.owner)
    with pytest.raises(RefusedError) as caught:
        place.do("waiver.create", rules.WaiverCreate(name="small", gate="evasion", reason="mine"))
    assert caught.value.code == "waiver.maker"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"gate": "boredom"}, "waiver.gate"),
        ({"days": 0}, "waiver.days"),
        ({"days": 31}, "waiver.days"),
        ({"reason": ""}, "reason.missing"),
        ({"kind": "endpoint"}, "waiver.kind"),
    ],
)
def test_a_waiver_that_makes_no_sense_is_refused(
    place: Place, change: dict[str, object], code: str
) -> None:
    author = place.person("author", "Machine Learning Engineer")
    register(place, author)
    given = {"name": "small", "gate": "evasion", "reason": "why", **change}
    with pytest.raises(VallumError) as caught:
        place.do("waiver.create", rules.WaiverCreate(**given))  # type: ignore[arg-type]
    assert caught.value.code == code


# -- break-glass --------------------------------------------------------------------------------


def open_seal(
    place: Place, who: Caller, reason: str = "the owner is on a plane"
) -> rules.BreakGlassShown:
    made = place.do("break-glass.open", rules.BreakGlassOpen(reason=reason), who=who).value
    assert isinstance(made, rules.BreakGlassShown)
    return made


@pytest.fixture
def sealed(place: Place) -> Place:
    place.do("break-glass.create", api.Page())
    place.do(
        "role.create",
        api.RoleCreate(
            name="Guard", actions=("workspaces/read", "breakGlass/*"),
            data_actions=("breakGlass/action",),
        ),
    )  # fmt: skip
    return place


def test_the_seal_takes_a_right_a_session_and_a_reason(sealed: Place) -> None:
    ana = sealed.person("ana", "Guard")
    ben = interactive(sealed, sealed.person("ben", "Owner"))
    with pytest.raises(RefusedError, match="interactive session"):
        open_seal(sealed, ana)
    with pytest.raises(RefusedError):  # every control right is not this right (G3)
        open_seal(sealed, ben)
    with pytest.raises(InputError, match="say why"):
        open_seal(sealed, interactive(sealed, ana), reason="")


def test_whoever_breaks_it_holds_every_right_for_an_hour_and_shows_in_the_posture(
    sealed: Place,
) -> None:
    ana = interactive(sealed, sealed.person("ana", "Guard"))
    told = open_seal(sealed, ana)
    assert told.state == "open"
    glass = sealed.token(told.secret)
    assert glass.session is Session.CONSOLE
    sealed.do("identity.create", api.IdentityCreate(name="helper"), who=glass)
    posture = sealed.do("workspace.posture", api.Page()).value
    assert isinstance(posture, api.Posture)
    (found,) = [one for one in posture.findings if one.id == "break-glass.open"]
    assert found.severity == "critical"
    assert "the owner is on a plane" in found.message
    with pytest.raises(ConflictError, match="broken already"):
        open_seal(sealed, ana)
    sealed.do("break-glass.close", api.Page())
    with pytest.raises(VallumError):
        sealed.token(told.secret)
    posture = sealed.do("workspace.posture", api.Page()).value
    assert isinstance(posture, api.Posture)
    assert [one.id for one in posture.findings if one.id.startswith("break-glass")] == [
        "break-glass.used"
    ]


def test_nobody_mints_a_key_of_the_sealed_principal_beside_the_seal(sealed: Place) -> None:
    with pytest.raises(RefusedError) as caught:
        sealed.sign_in("break-glass")
    assert caught.value.code == "policy.escalation"


def test_its_key_is_good_for_nothing_once_the_hour_is_over(sealed: Place) -> None:
    ana = interactive(sealed, sealed.person("ana", "Guard"))
    glass = sealed.token(open_seal(sealed, ana).secret)
    sealed.do("break-glass.close", api.Page())
    with pytest.raises((RefusedError, NotFoundError)):  # also for who signed in before
        sealed.do("identity.create", api.IdentityCreate(name="x"), who=glass)
    listed = sealed.do("data.list", api.Page(), who=glass).value
    assert isinstance(listed, api.Listing)
    assert listed.assets == ()


def test_where_two_persons_are_asked_one_does_not_break_it(sealed: Place) -> None:
    policy(sealed, {"version": "vallum.policy/1", "break_glass_persons": 2})
    ana = interactive(sealed, sealed.person("ana", "Guard"))
    ben = interactive(sealed, sealed.person("ben", "Guard"))
    first = open_seal(sealed, ana)
    assert (first.state, first.secret) == ("waiting", "")
    again = open_seal(sealed, ana)
    assert (again.state, again.secret) == ("waiting", "")
    second = open_seal(sealed, ben)
    assert second.state == "open"
    assert len(second.opened_by) == 2
    sealed.do("group.create", api.IdentityCreate(name="team"), who=sealed.token(second.secret))


def test_making_it_needs_every_right_that_it_holds(place: Place) -> None:
    ben = place.person("ben", "Owner")
    with pytest.raises(RefusedError) as caught:
        place.do("break-glass.create", api.Page(), who=ben)
    assert caught.value.code == "policy.escalation"
    with pytest.raises(NotFoundError, match="has no break-glass principal"):
        place.do("break-glass.show", api.Page())
