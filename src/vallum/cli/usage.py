"""How the command tree presents itself: panels of help, examples, and errors of usage.

A command's docstring is one sentence and `Example: vallum …`; help shows the example on a line of
its own, and lists show the sentence alone.
"""

import inspect
import sys
from contextlib import redirect_stdout

import typer
import typer.core
from typer.models import CommandInfo

from vallum.base import InputError

PANELS = {
    "Start": ("up", "demo", "doctor", "version"),
    "Without a workspace": (
        "scan", "signature", "pii", "mask", "anonymize", "poison", "attack",
    ),
    "Assets": ("data", "dp", "model", "environment", "endpoint", "job", "import"),
    "People and rights": (
        "role", "group", "identity", "key", "approval", "connection", "policy", "waiver",
        "release-key", "break-glass",
    ),
    "The record": ("audit", "workspace", "verify"),
}  # fmt: skip
_OTHER = "More"


class Nouns(typer.core.TyperGroup):
    """A group of verbs that says on stderr what it knows when no verb is given."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer hides the base's
        """Refuse an empty line with the help that a person would ask for next."""
        if not args and not ctx.resilient_parsing:
            with redirect_stdout(sys.stderr):
                sys.stderr.write(ctx.get_help().rstrip() + "\n")
            raise InputError(f"`{ctx.command_path}` needs a command", code="cli.usage",
                             hint=f"{ctx.command_path} --help")  # fmt: skip
        return super().parse_args(ctx, args)


def arrange(app: typer.Typer) -> None:
    """Put every command of the tree into its panel, and every example on its own line."""
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    for command in app.registered_commands:
        command.rich_help_panel = panels.get(str(command.name), _OTHER)
        _set_example_apart(command)
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is None:
            continue
        group.rich_help_panel = panels.get(str(inner.info.name), _OTHER)
        for command in inner.registered_commands:
            _set_example_apart(command)
    # In the order of the panels: it is the order of their headings.
    order = {name: place for place, name in enumerate(panels)}
    app.registered_commands.sort(key=lambda one: order.get(str(one.name), len(order)))


def _set_example_apart(command: CommandInfo) -> None:
    text = inspect.getdoc(command.callback) or ""
    sentence, found, example = text.partition(" Example: ")
    if found:
        command.help = f"{sentence}\n\nExample: {example.removesuffix('.')}"


def usage_error(error: typer.TyperException) -> InputError:
    """Return an error of usage as one of ours: same form on stderr and with `--json`."""
    text, _, guess = error.format_message().partition(" Did you mean ")
    context = getattr(error, "ctx", None)
    path = "vallum" if context is None else context.command_path
    if guess:
        nearest = guess.rstrip("?").split(",")[0].strip("'\" ")
        hint = f"did you mean `{path} {nearest}`?"
    else:
        hint = f"{path} --help"
    text = text.rstrip(".").replace("'", "`").replace("..", ".")
    return InputError(text[:1].lower() + text[1:], code="cli.usage", hint=hint)
