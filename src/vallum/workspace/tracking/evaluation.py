"""Evaluation sets: what clients tell of them, how records are merged and kept encrypted.

Records quote what people asked a program, as traces do: they are sealed and bound to their set.

Source: mlflow/store/tracking/sqlalchemy_store.py, `upsert_dataset_records`.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence

import msgspec

from vallum.base import IntegrityError, NotFoundError, canonical_json, new_id
from vallum.crypto import Purpose, seal, unseal
from vallum.schema import EvaluationRecord, EvaluationSet, mlflow, mlflow_datasets
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.tracking import checks
from vallum.workspace.tracking.filters import Value, Vocabulary

MAX_RECORDS = 5000
MAX_HELD = 4 * 1024 * 1024  # bytes of all records
MAX_TAGS = 200
MAX_EXPERIMENTS = 20  # of one set
_SHOWN_DIGEST = 8
_PREFIX = "evs-"

Records = tuple[EvaluationRecord, ...]
Opened = tuple[EvaluationSet, Records]


def set_of(context: Context, identity: str) -> EvaluationSet:
    """Return an evaluation set by id.

    Raises:
        NotFoundError: There is none.
    """
    if not identity.startswith(_PREFIX):
        raise NotFoundError(f"there is no evaluation set {identity[:60]!a}")
    return context.records.get(context.snapshot, "evaluation-set", identity, EvaluationSet)


def tags_told(text: str) -> dict[str, str]:
    """Return tags that travel as JSON in a text; what is no text is kept as its JSON.

    Raises:
        InputError: They are none.
        LimitExceededError: Too many.
    """
    given = _decoded(text or "{}", what="tags")
    if not isinstance(given, dict):
        raise checks.bad("`tags` is a JSON object")
    return checks.pairs(
        [mlflow.Pair(key=key, value=_text(one)) for key, one in given.items()],
        what="tag", limit=checks.MAX_TAG,
    )  # fmt: skip


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _decoded(text: str, *, what: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise checks.bad(f"`{what}` is not JSON, or nested too deep") from error


# -- records ------------------------------------------------------------------------------------


def merged(before: Records, text: str, *, by: str, now: int) -> tuple[Records, int, int]:
    """Return records with those that a client tells merged into them, and how many are new or not.

    There is one record of the same inputs: outputs are replaced, expectations and tags are added.

    Args:
        before: What there is.
        text: A JSON list of objects with `inputs`, and perhaps `outputs`, `expectations`, `tags`
            and `source`.
        by: Who tells.
        now: In ms.

    Raises:
        InputError: They are no records.
        LimitExceededError: Too many.
    """
    given = _decoded(text, what="records")
    if not isinstance(given, list):
        raise checks.bad("`records` is a JSON list")
    held = {_identity(one.inputs): one for one in before}
    new = changed = 0
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("inputs"), dict):
            raise checks.bad("each record is an object with `inputs`, an object")
        place = _identity(one["inputs"])
        old = held.get(place)
        new, changed = (new + 1, changed) if old is None else (new, changed + 1)
        held[place] = _merge(old, one, by=by, now=now)
        checks.room(len(held), MAX_RECORDS, what="records of an evaluation set")
    return tuple(held.values()), new, changed


def _merge(
    old: EvaluationRecord | None, told: dict[str, object], *, by: str, now: int
) -> EvaluationRecord:
    inputs = _object(told, "inputs")
    if old is None:
        old = EvaluationRecord(
            id=str(new_id("evr")), inputs=inputs, created_ms=now, updated_ms=now, created_by=by,
            updated_by=by, source=_object(told, "source"),
        )  # fmt: skip
    tags = {checks.key(key, what="tag"): _text(one) for key, one in _object(told, "tags").items()}
    return msgspec.structs.replace(
        old,
        outputs=told.get("outputs", old.outputs),
        expectations={**old.expectations, **_object(told, "expectations")},
        tags={**old.tags, **tags},
        updated_ms=now,
        updated_by=by,
    )


def _object(told: dict[str, object], name: str) -> dict[str, object]:
    given = told.get(name) or {}
    if not isinstance(given, dict):
        raise checks.bad(f"`{name}` of a record is an object")
    return given


def _identity(inputs: dict[str, object]) -> bytes:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).digest()


# -- kept encrypted -----------------------------------------------------------------------------


def sealed(house: House, made: EvaluationSet, records: Records) -> EvaluationSet:
    """Return an evaluation set that holds these records, encrypted.

    Raises:
        LimitExceededError: They are too much.
    """
    plain = msgspec.json.encode(records)
    checks.room(len(plain), MAX_HELD, what="bytes of records of an evaluation set")
    key = house.keyring.derive(Purpose.EVALUATION)
    held = base64.b64encode(seal(key, plain, made.id.encode())).decode()
    told = hashlib.sha256(canonical_json([made.id, made.updated_ms]) + plain).hexdigest()
    return msgspec.structs.replace(made, sealed=held, digest=told[:_SHOWN_DIGEST])


def opened(house: House, held: EvaluationSet) -> Records:
    """Return the records of an evaluation set.

    Raises:
        IntegrityError: They are not what we wrote.
    """
    key = house.keyring.derive(Purpose.EVALUATION)
    plain = unseal(key, base64.b64decode(held.sealed), held.id.encode())
    try:
        return msgspec.json.decode(plain, type=Records)
    except msgspec.DecodeError as error:
        raise IntegrityError("an evaluation set cannot be read", code="store.row") from error


# -- shown --------------------------------------------------------------------------------------


def set_shown(held: EvaluationSet, records: Records) -> mlflow_datasets.SetShown:
    """Return an evaluation set as MLflow shows it."""
    schema = {
        "inputs": _kinds(one.inputs for one in records),
        "expectations": _kinds(one.expectations for one in records),
    }
    return mlflow_datasets.SetShown(
        dataset_id=held.id,
        name=held.name,
        digest=held.digest,
        created_time=held.created_ms,
        last_update_time=held.updated_ms,
        created_by=held.user,
        last_updated_by=held.updated_by,
        tags=json.dumps(dict(held.tags)),
        schema=json.dumps(schema),
        profile=json.dumps({"num_records": len(records)}),
        experiment_ids=held.experiment_ids,
    )


def _kinds(rows: Iterable[dict[str, object]]) -> dict[str, str]:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer",
             float: "float", type(None): "null"}  # fmt: skip
    return {key: names[type(one)] for row in rows for key, one in row.items()}


def record_shown(held: EvaluationSet, one: EvaluationRecord) -> dict[str, object]:
    """Return a record as MLflow shows it; who told it is the credential's name."""
    told: dict[str, object] = {
        "dataset_id": held.id,
        "dataset_record_id": one.id,
        "inputs": one.inputs,
        "outputs": one.outputs,
        "expectations": one.expectations,
        "tags": one.tags,
        "created_time": one.created_ms,
        "last_update_time": one.updated_ms,
        "created_by": one.created_by,
        "last_updated_by": one.updated_by,
    }
    if one.source:
        told["source"] = one.source
    return told


# -- what searches may ask ----------------------------------------------------------------------


def _attribute(one: Opened, key: str) -> Value:
    return getattr(one[0], _FIELDS[key])  # type: ignore[no-any-return]  # text or number


_FIELDS = {
    "name": "name",
    "dataset_id": "id",
    "digest": "digest",
    "created_by": "user",
    "last_updated_by": "updated_by",
    "created_time": "created_ms",
    "last_update_time": "updated_ms",
}
SETS: Vocabulary[Opened] = Vocabulary(
    entities={"tag": lambda one, key: dict(one[0].tags).get(key), "attribute": _attribute},
    numeric=frozenset({"created_time", "last_update_time"}),
    textual=frozenset({"name", "dataset_id", "digest", "created_by", "last_updated_by"}),
    aliases={"last_updated_time": "last_update_time"},
)


def without(records: Records, identities: Sequence[str]) -> Records:
    """Return the records but for some."""
    doomed = frozenset(identities)
    return tuple(one for one in records if one.id not in doomed)
