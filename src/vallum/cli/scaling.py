"""How many processes answer for a deployment, as options and as fields of Azure's files say it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError
from vallum.schema import Scale
from vallum.schema.release import LOCAL, RAY

Instances = Annotated[
    str, typer.Option(help="Processes that answer: N, or MIN:MAX to follow the traffic.")
]
TargetUtilization = Annotated[
    int, typer.Option(help="Per cent of --concurrency that a process shall have.")
]
Concurrency = Annotated[int, typer.Option(help="Requests that a process may have at once.")]
CoolDown = Annotated[int, typer.Option(help="Seconds that fewer must do before one ends.")]

Engine = Annotated[
    str, typer.Option(help="Where they run: local, or ray as replicas of Ray Serve.")
]

QueueWait = Annotated[float, typer.Option(help="Seconds that a request waits for its turn.")]
RequestTimeout = Annotated[
    float | None,
    typer.Option(help="Seconds that a process may take for one; 30, and 10 for scoring code."),
]

_BOUNDS = re.compile(r"([0-9]{1,4})(?::([0-9]{1,4}))?\Z")
_SETTINGS = {
    "type", "min_instances", "max_instances", "polling_interval", "target_utilization_percentage",
}  # fmt: skip
_PER_INSTANCE = "max_concurrent_requests_per_instance"
_QUEUE_WAIT, _TIMEOUT = "max_queue_wait_ms", "request_timeout_ms"


def scale_of(
    instances: str,
    *,
    target_utilization: int,
    concurrency: int,
    cool_down: int,
    engine: str = LOCAL,
    queue_wait: float = 5.0,
    request_timeout: float | None = None,
) -> Scale | None:
    """Return what options ask for; None where they ask for one process here.

    Raises:
        InputError: `instances` is not N or MIN:MAX, or a time is no number.
    """
    found = _BOUNDS.match(instances)
    if found is None:
        raise InputError(
            f"`{instances[:40]}` is not N or MIN:MAX", code="cli.usage", hint="--instances 1:4"
        )
    made = Scale(
        min_instances=int(found[1]), max_instances=int(found[2] or found[1]),
        target_percent=target_utilization, concurrency=concurrency, cool_down_s=cool_down,
        engine=engine, queue_wait_ms=_ms(queue_wait, "--queue-wait"),
        request_timeout_ms=(
            None if request_timeout is None else _ms(request_timeout, "--request-timeout")
        ),
    )  # fmt: skip
    return None if made == Scale() else made


def _ms(seconds: float, option: str) -> int:
    if not math.isfinite(seconds):
        raise InputError(f"{option} takes a number of seconds", code="cli.usage")
    return round(seconds * 1000)


def azure_scale(path: Path, document: Mapping[str, object]) -> Scale | None:
    """Return what a file asks for: how many instances, following what, of which type.

    An `instance_type` of `ray` is ours; those of machines are without effect.

    Raises:
        InputError: One is malformed, or asks for what is not done here.
    """
    settings = _mapping(path, document, "scale_settings")
    requests = _mapping(path, document, "request_settings")
    count = _number(path, document, "instance_count", 1)
    kind = settings.get("type", "default")
    if unknown := set(settings) - _SETTINGS | set(requests) - {
        _PER_INSTANCE,
        _QUEUE_WAIT,
        _TIMEOUT,
    }:
        raise InputError(
            f"`{min(unknown)[:60]}` of `{path}` asks for what is not done here",
            code="cli.azure",
            hint="rates are of the endpoint: --rate-per-s, --burst",
        )
    if kind not in {"default", "target_utilization"}:
        raise InputError(
            f"scale_settings of `{path}` are default or target_utilization", code="cli.azure"
        )
    follows = kind == "target_utilization"
    made = Scale(
        min_instances=_number(path, settings, "min_instances", 1) if follows else count,
        max_instances=_number(path, settings, "max_instances", 1) if follows else count,
        target_percent=_number(path, settings, "target_utilization_percentage", 70),
        concurrency=_number(path, requests, _PER_INSTANCE, 1),
        engine=RAY if document.get("instance_type") == RAY else LOCAL,
        queue_wait_ms=_number(path, requests, _QUEUE_WAIT, Scale().queue_wait_ms),
        request_timeout_ms=(_number(path, requests, _TIMEOUT, 0) if _TIMEOUT in requests else None),
    )
    return None if made == Scale() else made


def scale_text(scale: Scale | None) -> str:
    """Return it for people; nothing where one process answers."""
    if scale is None or (scale.max_instances == 1 and scale.engine == LOCAL):
        return ""
    what = "processes" if scale.engine == LOCAL else "replicas on Ray"
    if scale.min_instances == scale.max_instances:
        return f"  {scale.max_instances} {what}"
    return (
        f"  {scale.min_instances} to {scale.max_instances} {what},"
        f" {scale.target_percent} % of {scale.concurrency} at once"
    )


def _mapping(path: Path, document: Mapping[str, object], name: str) -> dict[str, object]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise InputError(f"`{name}` of `{path}` is no mapping", code="cli.azure")
    return value


def _number(path: Path, document: Mapping[str, object], name: str, default: int) -> int:
    value = document.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"`{name}` of `{path}` is no whole number", code="cli.azure")
    return value
