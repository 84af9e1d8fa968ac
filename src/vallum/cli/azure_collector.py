"""`data_collector` of a deployment file of the Azure ML CLI v2: what is captured.

Source: Azure Machine Learning, "Collect production data from models deployed for real-time
inferencing" (payload logging: `collections`, `sampling_rate`, `rolling_rate`).
"""

from collections.abc import Mapping
from pathlib import Path

from vallum.base import InputError
from vallum.cli.border import say
from vallum.schema import CapturePolicy

_TAKEN = frozenset({"collections", "rolling_rate", "sampling_rate"})
_COLLECTIONS = frozenset({"model_inputs", "model_outputs"})
_ROLLING = ("hour", "day")


def read_collector(path: Path, value: object) -> CapturePolicy | None:
    """Return what a `data_collector` asks for; None where it asks for nothing.

    Raises:
        InputError: It is none, or asks for what is not done here.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _bad(path, "is a mapping")
    odd = sorted(str(name)[:40] for name in value if name not in _TAKEN)
    if odd:
        hint = "headers of requests are not kept" if odd == ["request_logging"] else ""
        raise _bad(path, f"has `{odd[0]}`, which is not done here", hint)
    collections = value.get("collections")
    if not isinstance(collections, dict) or not set(collections) <= _COLLECTIONS:
        raise _bad(
            path, "names collections other than model_inputs and model_outputs",
            "requests and answers are kept as they are; other collections are none",
        )  # fmt: skip
    on = {name: _enabled(path, name, held) for name, held in collections.items()}
    if not any(on.values()):
        return None
    rate = value.get("sampling_rate", 1)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise _bad(path, "has a `sampling_rate` that is not above 0 and at most 1")
    rolling = str(value.get("rolling_rate", "day")).lower()
    if rolling not in _ROLLING:
        raise _bad(path, f"has another `rolling_rate` than {' or '.join(_ROLLING)}",
                   "what is kept of an hour or a day shares a key and ends together")  # fmt: skip
    return CapturePolicy(
        inputs=on.get("model_inputs", False),
        outputs=on.get("model_outputs", False),
        sampling_rate=f"{rate:.9f}".rstrip("0").rstrip("."),
        rolling_rate=rolling,
    )


def _enabled(path: Path, name: str, held: object) -> bool:
    """Tell whether a collection is on: Azure's examples write `enabled: 'True'`."""
    if not isinstance(held, Mapping):
        raise _bad(path, f"has a `{name}` that is no mapping")
    if set(held) - {"enabled"}:
        say(f"without effect here: where `{name}` is kept; it is in the workspace, encrypted")
    value = str(held.get("enabled", "")).lower()
    if value not in {"true", "false"}:
        raise _bad(path, f"does not say whether `{name}` is enabled")
    return value == "true"


def _bad(path: Path, what: str, hint: str = "") -> InputError:
    return InputError(f"`data_collector` of `{path}` {what}", code="cli.azure", hint=hint)
