"""Release keys: in a token, of principals, retired and compromised; and who signed with which."""

import base64
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_workspace import Place
from running import small_model
from tokens import needs_token

from vallum.base import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    Secret,
    UnavailableError,
)
from vallum.crypto import SigningKey, sign_manifest
from vallum.schema import Caller, DeploymentState, EntryKind, api, rules
from vallum.schema.release import (
    ModelAlias,
    ModelProvenance,
    ModelProvenanceCheck,
    ReleaseKey,
    ReleaseKeyAdd,
    ReleaseKeyRetire,
    ReleaseKeys,
)
from vallum.workspace.kernel import Kernel
from vallum.workspace.opening import model_of
from vallum.workspace.release_keys import TokenChoice, open_release_key
from vallum.workspace.serving import Serving
from vallum.workspace.signing import SignatureRow, recorded_files
from vallum.workspace.step import Work
from vallum.workspace.steps.table import STEPS

PIN = Secret(b"1234")
RELEASER = "Vallum Releaser"


def register(place: Place, name: str = "m", who: Caller | None = None) -> None:
    place.do("model.register", api.ModelRegister(name=name, file_name="m.onnx"),
             content=io.BytesIO(small_model()), who=who)  # fmt: skip


def sign(place: Place, bundle: bytes = b"", who: Caller | None = None) -> api.VersionShown:
    given = base64.b64encode(bundle).decode()
    shown = place.do("model.sign", api.ModelSign(name="m", bundle=given), who=who).value
    assert isinstance(shown, api.VersionShown)
    return shown


def verify(place: Place) -> str:
    done = place.do("model.verify", api.Named(name="m")).value
    assert isinstance(done, api.Done)
    return done.text


def listed(place: Place) -> list[ReleaseKey]:
    found = place.do("release-key.list", api.Page()).value
    assert isinstance(found, ReleaseKeys)
    return list(found.keys)


def bundle_of(place: Place, key: SigningKey) -> bytes:
    shown = place.do("model.show", api.Named(name="m")).value
    assert isinstance(shown, api.VersionShown)
    files = {one.part: one.digest.removeprefix("sha256:") for one in shown.version.parts}
    return sign_manifest("m", files, key)


def use(
    place: Place,
    module: Path | None = None,
    label: str = "p256",
    *,
    derived: bool = False,
    pin: Secret | None = PIN,
) -> None:
    """Start as `vallum up` does, with or without `--release-key`."""
    house = place.kernel.house
    house.release_token = None
    token = None if module is None else TokenChoice(f"pkcs11:token=T;object={label}", module)
    open_release_key(house, place.places.keys, token=token, derived=derived, pin=pin)


# -- in a token ---------------------------------------------------------------------------------


@needs_token
def test_a_token_signs_from_now_on_and_what_was_signed_before_verifies(
    place: Place, token: Path
) -> None:
    register(place)
    (first,) = sign(place).signatures
    use(place, token)
    use(place)  # the next start, without the option
    second = sign(place).signatures[-1]
    assert (first.key_kind, second.key_kind) == ("derived", "token")
    assert (first.signer, first.name) == (second.signer, second.name) == (place.owner.id, "owner")
    text = verify(place)
    assert f"the derived key {first.key_id[:16]}" in text
    assert f"the token key {second.key_id[:16]}" in text
    old, new = listed(place)
    assert (old.key_id, old.until, new.key_id, new.until) == (
        first.key_id, new.since, second.key_id, "",
    )  # fmt: skip
    assert ("decision", "release-key.use", True, "") in place.entries()
    assert place.verify().findings == ()
    # The derived key is still there for the taking, and nobody takes it.
    with pytest.raises(IntegrityError, match="release identity"):
        sign(place, bundle_of(place, place.kernel.house.derived_release_key()))


@needs_token
def test_statements_of_provenance_are_signed_in_the_token(place: Place, token: Path) -> None:
    register(place)

    def envelope(*, key: bool = False) -> bytes:
        reply = place.do("model.provenance", ModelProvenance(name="m", key=key))
        assert reply.chunks is not None
        return b"".join(reply.chunks)

    def check(given: bytes) -> str:
        arguments = ModelProvenanceCheck(name="m", envelope=base64.b64encode(given).decode())
        done = place.do("model.check-provenance", arguments).value
        assert isinstance(done, api.Done)
        return done.text

    before = envelope()
    use(place, token)
    after, public = envelope(), envelope(key=True)
    assert public.decode() == listed(place)[-1].public_key
    assert "with the token key" in check(after)
    # A statement says not when it was signed: the retired key vouches for none any more.
    with pytest.raises(IntegrityError, match="no trusted key"):
        check(before)


@needs_token
def test_without_its_token_a_workspace_neither_starts_nor_signs(place: Place, token: Path) -> None:
    register(place)
    use(place, token)
    remembered = place.places.keys / "release-key.json"
    assert "1234" not in remembered.read_text()
    with pytest.raises(UnavailableError, match="is missing") as caught:
        use(place, pin=None)
    assert caught.value.hint == "--pin-file, or set VALLUM_TOKEN_PIN"
    with pytest.raises(UnavailableError, match="does not open with this PIN"):
        use(place, pin=Secret(b"9999"))
    with pytest.raises(UnavailableError, match="of a token that is not open") as caught:
        sign(place)
    assert caught.value.code == "release.key"
    assert ("outcome", "model.sign", True, "release.key") in place.entries()
    shown = place.do("model.show", api.Named(name="m")).value
    assert isinstance(shown, api.VersionShown)
    assert shown.signatures == ()
    whole = remembered.read_text()
    remembered.write_text(whole.replace("p256", "spare"))
    with pytest.raises(IntegrityError, match="the token holds the key"):
        use(place)
    remembered.write_text(whole.replace("p256", "gone"))
    with pytest.raises(InputError, match="holds no key"):
        use(place)
    remembered.write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        use(place)
    remembered.unlink()
    with pytest.raises(UnavailableError, match="nothing says which") as caught:
        use(place)
    assert "vallum up --release-key" in caught.value.hint
    assert place.kernel.house.release_token is None
    use(place, token)  # the same key, found again: nothing changes
    assert [one.kind for one in listed(place)] == ["derived", "token"]
    sign(place)


@needs_token
def test_the_key_may_change_again_and_each_counts_in_its_time(place: Place, token: Path) -> None:
    register(place)
    for label in ("p256", "ed"):
        use(place, token, label)
        sign(place)
    use(place, derived=True)
    assert not (place.places.keys / "release-key.json").exists()
    assert sign(place).signatures[-1].key_kind == "derived"
    assert [bool(one.until) for one in listed(place)] == [True, True, True, False]
    assert verify(place).count("the token key") == 2
    use(place, derived=True)
    assert len(listed(place)) == 4


@needs_token
def test_records_that_go_back_behind_the_token_do_not_bring_the_derived_key_back(
    place: Place, token: Path
) -> None:
    """As after a restore from before the token, or after a crash between file and record."""
    use(place, token)
    remembered = place.places.keys / "release-key.json"
    kept = remembered.read_bytes()
    use(place, derived=True)
    remembered.write_bytes(kept)
    with pytest.raises(IntegrityError, match="its records name the derived key") as caught:
        use(place)
    assert "or --release-key derived" in caught.value.hint
    use(place, derived=True)
    use(place)


@needs_token
def test_a_start_does_not_bring_a_retired_key_back(place: Place, token: Path) -> None:
    register(place)
    use(place, token)
    place.do("release-key.retire", ReleaseKeyRetire(name="workspace"))
    with pytest.raises(RefusedError, match="does not bring it back") as refused:
        use(place, token)  # as the unit file always says
    assert refused.value.code == "release.retired"
    use(place)  # without the option it serves, and signs nothing
    with pytest.raises(UnavailableError, match="is retired"):
        sign(place)
    use(place, token, "ed")
    use(place, token)  # another signed meanwhile: this is a change that somebody wants
    assert sign(place).signatures[-1].key_kind == "token"


def test_nor_the_derived_key(place: Place) -> None:
    register(place)
    place.do("release-key.retire", ReleaseKeyRetire(name="workspace"))
    with pytest.raises(RefusedError, match="does not bring it back"):
        use(place, derived=True)
    use(place)
    with pytest.raises(UnavailableError, match="is retired"):
        sign(place)


# -- of principals ------------------------------------------------------------------------------


def add(place: Place, key: SigningKey, principal: str = "", name: str = "card") -> str:
    pem = key.verify_key.to_pem().decode()
    arguments = ReleaseKeyAdd(name=name, public_key=pem, principal=principal)
    done = place.do("release-key.add", arguments).value
    assert isinstance(done, api.Done)
    return done.text


def test_a_principal_signs_with_a_key_of_their_own_and_nobody_for_them(place: Place) -> None:
    register(place)
    ana, ben = place.person("ana", RELEASER), place.person("ben", RELEASER)
    key = SigningKey.generate()
    with pytest.raises(IntegrityError, match="release identity"):
        sign(place, bundle_of(place, key), who=ana)
    assert ana.id in add(place, key, "ana")
    with pytest.raises(RefusedError, match="another principal's") as caught:
        sign(place, bundle_of(place, key), who=ben)
    assert caught.value.code == "signature.signer"
    with pytest.raises(InputError, match="UTF-8"):
        sign(place, bundle_of(place, key)[:-1] + b',"x":"\xff"}', who=ana)
    (shown,) = sign(place, bundle_of(place, key), who=ana).signatures
    assert (shown.signer, shown.name, shown.key, shown.key_kind, shown.key_id) == (
        ana.id, "ana", "card", "public", key.verify_key.id,
    )  # fmt: skip
    assert f"{ana.id} with the public key" in verify(place)
    place.do("release-key.retire", ReleaseKeyRetire(name="card"))
    with pytest.raises(IntegrityError, match="release identity"):
        sign(place, bundle_of(place, key), who=ana)
    assert f"{ana.id} with the public key" in verify(place)


def test_a_key_that_is_retired_while_it_signs_leaves_no_signature(place: Place) -> None:
    register(place)
    key = SigningKey.generate()
    add(place, key)
    bundle = bundle_of(place, key)
    (step,) = [one for one in STEPS if one.name == "model.sign"]
    prepared = step.prepare
    assert prepared is not None

    def slowly(work: Work, args: api.ModelSign) -> object:
        made = prepared(work, args)
        place.do("release-key.retire", ReleaseKeyRetire(name="card"))
        return made

    kernel = Kernel(place.kernel.house, [replace(step, prepare=slowly)])
    given = api.ModelSign(name="m", bundle=base64.b64encode(bundle).decode())
    with pytest.raises(ConflictError, match="retired meanwhile"):
        kernel.perform(place.owner, "model.sign", given)
    assert "not signed" in verify(place)


def test_a_key_is_added_once_and_by_whoever_may(place: Place) -> None:
    ana = place.person("ana", RELEASER)
    key = SigningKey.generate_p256()
    add(place, key)
    for name, other in (("card", SigningKey.generate()), ("twice", key)):
        with pytest.raises(ConflictError, match="already"):
            add(place, other, name=name)
    with pytest.raises(InputError, match="PEM"):
        place.do("release-key.add", ReleaseKeyAdd(name="x", public_key="x"))
    with pytest.raises(NotFoundError):
        add(place, SigningKey.generate(), "nobody", name="other")
    with pytest.raises(NotFoundError, match="no release key that signs"):
        place.do("release-key.retire", ReleaseKeyRetire(name="other"))
    for step, arguments in (
        ("release-key.add", ReleaseKeyAdd(name="mine", public_key="")),
        ("release-key.retire", ReleaseKeyRetire(name="card")),
    ):
        with pytest.raises(RefusedError):
            place.do(step, arguments, who=ana)
        assert ("refusal", step, False, "") in place.entries()
    assert len(listed(place)) == 2


def test_nothing_of_a_compromised_key_counts_and_it_never_signs_again(place: Place) -> None:
    register(place)
    ana = place.person("ana", RELEASER)
    key = SigningKey.generate()
    add(place, key, "ana")
    sign(place, bundle_of(place, key), who=ana)
    need(place, {"gate": "signature", "subject": "models/versions"})
    alias(place)
    place.do("release-key.retire", ReleaseKeyRetire(name="card"))
    alias(place)  # what it signed before still counts
    place.do("release-key.retire", ReleaseKeyRetire(name="card", compromised=True))
    with pytest.raises(RefusedError, match="no evidence of gate `signature`"):
        alias(place)
    with pytest.raises(IntegrityError, match="given up as compromised"):
        verify(place)
    with pytest.raises(RefusedError, match="compromised"):
        add(place, key, "ana")
    sign(place)  # another signature may stand beside it
    alias(place)
    assert "with the derived key" in verify(place)


def test_the_derived_key_can_be_given_up_and_signs_never_again(place: Place) -> None:
    register(place)
    sign(place)
    place.do("release-key.retire", ReleaseKeyRetire(name="workspace", compromised=True))
    with pytest.raises(UnavailableError, match="is retired") as caught:
        sign(place)
    assert "--release-key" in caught.value.hint
    with pytest.raises(RefusedError, match="compromised"):
        use(place, derived=True)
    with pytest.raises(IntegrityError, match="given up as compromised"):
        verify(place)


# -- with a registration, at deployment and at load ---------------------------------------------


def test_a_signature_that_comes_with_a_registration_is_verified_before_anything_is_visible(
    place: Place,
) -> None:
    author = place.person("ana", "Machine Learning Engineer")
    key = SigningKey.generate()
    add(place, key, "ana")
    data = small_model()
    digest = hashlib.sha256(data).hexdigest()

    def given(files: dict[str, str], by: SigningKey = key, **more: object) -> api.VersionShown:
        bundle = sign_manifest("m", files, by)
        arguments = api.ModelRegister(
            name="m", file_name="m.onnx", card_bytes=3, bundle_bytes=len(bundle), **more
        )
        body = io.BytesIO(b"# m" + bundle + data)
        made = place.do("model.register", arguments, content=body, who=author).value
        assert isinstance(made, api.VersionShown)
        return made

    for files, by in (
        ({"m.onnx": "00" * 32}, key),
        ({"m.onnx": digest, "n.onnx": digest}, key),
        ({"m.onnx": digest}, SigningKey.generate()),
    ):
        with pytest.raises(IntegrityError, match="model signature"):
            given(files, by)
    with pytest.raises(InputError, match="not of what it is converted to"):
        given({"m.onnx": digest}, convert=True)
    listing = place.do("model.list", api.Page()).value
    assert isinstance(listing, api.Listing)
    assert listing.assets == ()
    for files in ({"m.onnx": digest}, {".": digest}):  # `.` is what the format calls a single file
        shown = given(files).signatures[-1]
        assert (shown.name, shown.key) == ("ana", "card")
    assert "with the public key" in verify(place)
    # Who may register but not sign brings no signature.
    place.do("role.create", api.RoleCreate(
        name="registrar", actions=("models/write", "models/versions/write")))  # fmt: skip
    author = place.person("ben", "registrar")
    with pytest.raises((NotFoundError, RefusedError)):
        given({"m.onnx": digest})


def test_signatures_are_verified_again_when_a_version_is_deployed_and_loaded(place: Place) -> None:
    register(place)
    sign(place)
    need(place)
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    deploy = api.EndpointDeploy(endpoint="e", deployment="blue", model="m", traffic=100)
    place.do("endpoint.deploy", deploy)
    serving = Serving(place.kernel)
    endpoint = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(endpoint, api.EndpointShown)
    running = endpoint.deployments[0].id
    loaded = model_of(serving, running)  # what was hashed is what is handed out
    assert f"sha256:{hashlib.sha256(loaded.data).hexdigest()}" == loaded.sha256
    assert loaded.data == small_model()
    shown = place.do("model.show", api.Named(name="m")).value
    assert isinstance(shown, api.VersionShown)
    house, version = place.kernel.house, shown.version
    with house.log.transaction() as tx:  # a key of nobody's, with every row's seal in order
        permit = house.log.system_permit(
            tx, step="x", kind=EntryKind.DECISION, principal_id="x", resources=(version.id,)
        )
        bundle = sign_manifest("m", recorded_files(version), SigningKey.generate())
        row = SignatureRow(id="sig-x", bundle=bundle.decode(), made_at=version.created_at)
        change = house.records.put(
            tx, permit, "signature", row, on=version.id, parent_id=version.id
        )
        house.log.seal(tx, permit, changes=[change])
    for again in (
        lambda: place.do("endpoint.deploy", deploy),
        lambda: verify(place),
        lambda: model_of(serving, running),
    ):
        with pytest.raises(IntegrityError, match="not by a release identity"):
            again()
    endpoint = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(endpoint, api.EndpointShown)
    assert endpoint.deployments[0].state is DeploymentState.FAILED


def test_what_only_a_compromised_key_signed_is_stopped_when_it_is_loaded(place: Place) -> None:
    register(place)
    key = SigningKey.generate()
    add(place, key)
    sign(place, bundle_of(place, key))
    need(place)
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    deploy = api.EndpointDeploy(endpoint="e", deployment="blue", model="m", traffic=100)
    place.do("endpoint.deploy", deploy)

    def running() -> tuple[str, DeploymentState]:
        endpoint = place.do("endpoint.show", api.Named(name="e")).value
        assert isinstance(endpoint, api.EndpointShown)
        (deployment,) = endpoint.deployments
        return deployment.id, deployment.state

    serving, (identity, _) = Serving(place.kernel), running()
    place.do("release-key.retire", ReleaseKeyRetire(name="card"))
    assert model_of(serving, identity).data == small_model()  # what it signed before still counts
    place.do("release-key.retire", ReleaseKeyRetire(name="card", compromised=True))
    with pytest.raises(IntegrityError, match="given up as compromised"):
        model_of(serving, identity)
    assert running() == (identity, DeploymentState.FAILED)
    assert ("finding", "endpoint.stop", True, "signature.compromised") in place.entries()


# -- two persons --------------------------------------------------------------------------------


def need(place: Place, *asked: dict[str, object], step: str = "deploy") -> None:
    import msgspec

    document = {"version": "vallum.policy/1", "steps": {step: list(asked)}}
    text = msgspec.json.encode(document).decode()
    place.do("policy.set", rules.PolicySet(document=text, reason="a test"))


def alias(place: Place) -> None:
    place.do("model.alias", ModelAlias(name="m", alias="champion"))


def test_a_signature_by_its_author_is_not_one_of_a_second_person(place: Place) -> None:
    register(place)  # by the owner
    need(place, {"gate": "signature", "subject": "models/versions", "signers": 2})
    sign(place)
    with pytest.raises(RefusedError, match="signed by 0 of 2 persons"):
        alias(place)
    ana, ben = place.person("ana", RELEASER), place.person("ben", RELEASER)
    sign(place, who=ana)
    sign(place, who=ana)  # twice is not two
    with pytest.raises(RefusedError, match="signed by 1 of 2 persons"):
        alias(place)
    sign(place, who=ben)
    alias(place)


def test_signing_itself_may_need_the_approval_of_a_second_person(place: Place) -> None:
    register(place)
    need(place, {"subject": "models/versions", "approvals": 1}, step="sign")
    with pytest.raises(RefusedError, match="0 of 1 approvals"):
        sign(place)
    place.person("ana", RELEASER)
    session = place.do("session.create", rules.SessionCreate(), who=place.sign_in("ana")).value
    assert isinstance(session, api.Shown)
    ana = place.token(session.secret)
    place.do("approval.create", api.ApprovalCreate(model="m", step="sign"), who=ana)
    assert sign(place).signatures
