"""`vallum endpoint capture`: what was kept of requests and answers."""

from typing import Annotated

import msgspec
import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, check_content, content_out, show, table
from vallum.cli.options import DryRun, Output
from vallum.schema import CapturePolicy


def register(noun: typer.Typer) -> None:
    """Add the command to `vallum endpoint`."""
    noun.command("capture")(endpoint_capture)


def captured_text(one: CapturePolicy) -> str:
    """Return what is captured of a deployment, for people."""
    what = [name for name, on in (("requests", one.inputs), ("answers", one.outputs)) if on]
    share = float(one.sampling_rate) * 100
    return f"captured: {share:g} % of {' and '.join(what)}, redacted, for {one.keep_days} days"


def kept_for(capture: CapturePolicy | None, days: int) -> CapturePolicy:
    """Return what is captured, kept for so many days.

    Raises:
        InputError: Nothing is.
    """
    if capture is None:
        raise InputError(
            "nothing is captured", code="cli.usage",
            hint="a --file with `data_collector` turns it on",
        )  # fmt: skip
    return msgspec.structs.replace(capture, keep_days=days)


def endpoint_capture(
    name: Annotated[str, typer.Argument(help="Endpoint.")],
    deployment: Annotated[str, typer.Option(help="Its name; all of them if not given.")] = "",
    since: Annotated[
        str, typer.Option(help="Of --output: only what was kept from this RFC 3339 time on.")
    ] = "",
    erase: Annotated[bool, typer.Option("--erase", help="Destroy it, and its keys.")] = False,
    output: Output = None,
    dry_run: DryRun = False,
) -> None:
    """List, download or destroy what was captured.

    Example: vallum endpoint capture risk -o kept.jsonl.
    """
    if erase and (output is not None or since):
        raise InputError("--erase destroys all of it, and writes nothing", code="cli.usage")
    if not erase and dry_run:
        raise InputError("reading changes nothing: --dry-run is of --erase", code="cli.usage")
    if since and output is None:
        raise InputError("--since is of what is downloaded: name a file, -o kept.jsonl",
                         code="cli.usage")  # fmt: skip
    with SESSION.client() as client:
        if erase:
            done = client.endpoints.erase_captures(name, deployment=deployment, dry_run=dry_run)
            show("endpoint.capture", done, done.text)
        elif output is not None:
            check_content(output)
            chunks = client.endpoints.captured(name, deployment=deployment, since=since)
            content_out("endpoint.capture", chunks, output, secret=True)
        else:
            found = client.endpoints.captures(name, deployment=deployment)
            rows = [
                (one.deployment, one.begins_at[:16], one.expires_at[:16], str(one.records),
                 str(one.bytes))
                for one in found.books
            ]  # fmt: skip
            show("endpoint.capture", found,
                 table(("deployment", "from", "destroyed", "records", "bytes"), rows))  # fmt: skip
