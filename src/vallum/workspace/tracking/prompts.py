"""MLflow's prompts: registered models with reserved tags, whose versions are a template.

MLflow keeps the template in a tag, which anybody who may tag a version can change. Here a version
holds it as its one file, scanned and frozen like every other, and the tags that say what it
is never change.

Source: mlflow/prompt/constants.py; mlflow/store/model_registry/abstract_store.py.
"""

import json

from vallum.base import ConflictError, InputError, NotFoundError
from vallum.schema import Asset, mlflow, mlflow_models
from vallum.workspace.context import Context
from vallum.workspace.tracking import checks

IS_PROMPT = "mlflow.prompt.is_prompt"
TEXT = "mlflow.prompt.text"
FILE = "prompt.json"
MAX_TEXT = 64 * 1024
_SOURCES = frozenset({"prompt-template", "dummy-source"})  # what clients send for want of a source
_FROZEN = frozenset({IS_PROMPT, TEXT, "_mlflow_prompt_type", "_mlflow_prompt_response_format"})


def is_prompt(args: mlflow_models.VersionCreate) -> bool:
    """Tell whether a version to be is one of a prompt."""
    return args.source in _SOURCES and any(
        one.key == IS_PROMPT and one.value == "true" for one in args.tags
    )


def require_kind(context: Context, args: mlflow_models.VersionCreate) -> None:
    """Refuse a model among the versions of a prompt, and the other way round.

    Raises:
        ConflictError: The name is of the other kind.
        NotFoundError: There is no prompt of that name.
    """
    asset = context.find("model", args.name, Asset)
    if asset is None and is_prompt(args):
        raise NotFoundError(f"there is no prompt `{args.name}`")
    if asset is not None and (asset.tags.get(IS_PROMPT) == "true") is not is_prompt(args):
        other = "model" if is_prompt(args) else "prompt"
        raise ConflictError(
            f"`{asset.name}` is a {other}", code="mlflow.prompt", hint="choose another name"
        )


def file_of(args: mlflow_models.VersionCreate) -> tuple[str, bytes]:
    """Return the file that a version of a prompt holds.

    Raises:
        InputError: It has no template, or one that is too long.
    """
    told = {one.key: one.value for one in args.tags if one.key in _FROZEN}
    if TEXT not in told:
        raise InputError(f"a prompt has its template in the tag `{TEXT}`", code="mlflow.prompt")
    checks.value(told[TEXT], what="prompt", limit=MAX_TEXT)
    return FILE, json.dumps(told, sort_keys=True, ensure_ascii=False).encode()


def require_changeable(key: str) -> None:
    """Refuse to change a tag that says what a prompt is.

    Raises:
        InputError: It is one.
    """
    if key in _FROZEN:
        raise InputError(
            f"tag `{key}` of a registered version never changes",
            code="mlflow.prompt",
            hint="register another version",
        )


def split(tags: tuple[mlflow.Pair, ...]) -> tuple[list[mlflow.Pair], dict[str, str]]:
    """Return tags as people set them, and the template, which may be longer than a tag."""
    others = [one for one in tags if one.key != TEXT]
    return others, {one.key: one.value for one in tags if one.key == TEXT}
