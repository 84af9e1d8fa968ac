"""`vallum attack NAME:VERSION`: the tests of a registered model, made by the workspace."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer

from vallum.base import InputError
from vallum.cli.attack_report import page, page_of, read_report, sarif_of, text
from vallum.cli.border import SESSION, show, write_out
from vallum.cli.options import version_text
from vallum.cli.progress import progress


def is_registered(model: str) -> bool:
    """Tell whether a model is named as the workspace names models, and is no file here."""
    if "://" in model or Path(model).exists():
        return False
    return ":" in model or "@" in model or not ("/" in model or Path(model).suffix)


@dataclass(frozen=True, slots=True)
class Registered:
    """What is tested, by name.

    Attributes:
        model: `NAME`, `NAME:VERSION` or `NAME@ALIAS`.
        data: Records that it was not trained on, by name.
        train: Training data, by name, or nothing.
        label: The column of classes.
        features: The model's columns in order.
        suite: `quick`, `standard` or `full`.
        access: What an attacker sees at most.
        budget_s: Seconds.
        unused: Options that were given and are for files.
    """

    model: str
    data: str
    train: str
    label: str
    features: tuple[str, ...]
    suite: str
    access: str
    budget_s: int
    unused: tuple[str, ...]

    def attack(self, *, report: Path | None, sarif: Path | None, dry_run: bool) -> NoReturn:
        """Have the workspace test the model, and show its report.

        Raises:
            InputError: An option is for files only, or there is no label.
            typer.Exit: At the end: 0 if all passed.
        """
        if self.unused:
            raise InputError(
                f"{self.unused[0]} is not for registered models", code="cli.usage",
                hint="the workspace draws the seed, and limits stand in the policy file",
            )  # fmt: skip
        if not self.label:
            raise InputError("a table needs --label COLUMN", code="cli.usage")
        with progress("attacking"), SESSION.client() as client:
            shown = client.models.test(
                self.model, holdout=self.data, data=self.train, label_column=self.label,
                features=self.features, suite=self.suite, access=self.access,
                budget_s=self.budget_s, dry_run=dry_run,
            )  # fmt: skip
            if dry_run:
                show("attack", shown, version_text(shown))
                raise typer.Exit(0)
            written = client.models.report(shown.version.name, shown.version.version)
        record, found, _, _ = read_report(written)
        if report is not None:
            plain = report.suffix.lower() == ".json"
            write_out(page(record, found, report) if plain else page_of(written), report)
        if sarif is not None:
            write_out(sarif_of(record["model"]["file"], found), sarif)
        show("attack", record, text(record["model"]["file"], found))
        raise typer.Exit(0 if found.verdict.value == "passed" else 1)
