"""How a model version was made, signed with the release key; and checked again."""

import base64
import binascii
from collections.abc import Sequence

from vallum.base import InputError
from vallum.base.version import VERSION
from vallum.crypto import VerifyKey, sign_envelope, verify_envelope
from vallum.govern.provenance import PAYLOAD_TYPE, provenance_statement, read_provenance
from vallum.scan.code.secrets import is_secret
from vallum.schema import Ask, Caller, api
from vallum.schema.release import ModelProvenance, ModelProvenanceCheck
from vallum.workspace.context import Context, ask
from vallum.workspace.release_keys import own_key, own_signer
from vallum.workspace.step import Act, Download, Effect, Step
from vallum.workspace.steps.bom import inventory_of

MAX_ENVELOPE_BYTES = 16 * 1024 * 1024


def _asks(
    context: Context, args: ModelProvenance | ModelProvenanceCheck, caller: Caller
) -> Sequence[Ask]:
    version = context.version("model", args.name, args.version)
    return ask("models/versions/read", context.version_resource(version))


def _act_provenance(act: Act, args: ModelProvenance) -> Download:
    version = act.context.version("model", args.name, args.version)
    if args.key:
        own = own_key(act.house, act.context)
        return Download(file_name="release.pem", chunks=iter([own.public_key.encode()]))
    statement = provenance_statement(
        inventory_of(act, version), version=VERSION, withholds=is_secret
    )
    envelope = sign_envelope(PAYLOAD_TYPE, statement, [own_signer(act)])
    return Download(
        file_name=f"{version.name}-{version.version}.intoto.jsonl",
        chunks=iter([envelope + b"\n"]),
    )


def _act_check(act: Act, args: ModelProvenanceCheck) -> api.Done:
    version = act.context.version("model", args.name, args.version)
    if len(args.envelope) > MAX_ENVELOPE_BYTES:
        raise InputError("the envelope is too large", code="provenance.form")
    try:
        envelope = base64.b64decode(args.envelope, validate=True)
    except binascii.Error as error:
        raise InputError("the envelope is not base64", code="provenance.form") from error
    own = own_key(act.house, act.context)
    trusted = [VerifyKey.from_pem(own.public_key.encode())]
    payload, _ = verify_envelope(envelope, payload_type=PAYLOAD_TYPE, trusted=trusted)
    files = {part.part: part.digest.removeprefix("sha256:") for part in version.parts}
    said = read_provenance(payload, files)
    made = f"job {said.invocation}" if said.invocation else "an upload"
    return api.Done(
        id=version.id,
        text=(
            f"{version.name}:{version.version} was made by {made} from {said.dependencies} "
            f"dependencies, signed by workspace:{act.context.workspace_id} with the {own.kind} "
            f"key {own.key_id[:16]}"
        ),
    )


STEPS = (
    Step("model.provenance", ModelProvenance, _asks, _act_provenance, Effect.READ),
    Step(
        "model.check-provenance",
        ModelProvenanceCheck,
        _asks,
        _act_check,
        Effect.READ,
        threat="model-tampering",
    ),
)
