"""Every page and form of the console, in one table. A path that is not here does not exist.

A page names the steps that it may perform and is given nothing else to do them with, so that what
it shows is what the caller may read, and each look is an entry of the log like any other. A form
performs exactly one step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vallum.base import InputError, VallumError
from vallum.console.markdown import markdown
from vallum.schema import EntryKind, Record, api, release

Perform = Callable[[str, Record], Any]
Values = Mapping[str, str]
View = Callable[[Perform, Values], dict[str, object]]

LOG_PAGE = 50
_MAX_INDEX_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        path: With `{name}` for what is in it.
        title: Of the page.
        template: That renders it.
        steps: That it may perform.
        view: Returns what the template is given.
        fields: Of the query; any other is refused.
        menu: Whether it is in the menu.
    """

    path: str
    title: str
    template: str
    steps: tuple[str, ...]
    view: View
    fields: tuple[str, ...] = ()
    menu: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """One form: a step, and where its answer is shown.

    Attributes:
        path: That it is posted to.
        step: That it performs.
        fields: Of the form; all others are refused.
        arguments: Makes the step's record of them.
        back: Where to afterwards; empty: its answer is rendered with `template`.
        template: That renders the answer.
        title: Of that page.
    """

    path: str
    step: str
    fields: tuple[str, ...]
    arguments: Callable[[Values], Record]
    back: Callable[[Values], str] | None = None
    template: str = ""
    title: str = ""


def _attempt(perform: Perform, step: str, arguments: Record) -> Any:  # noqa: ANN401 - any reply
    """Perform what a page can do without: None where the caller may not."""
    try:
        return perform(step, arguments)
    except VallumError:
        return None


def _overview(perform: Perform, _: Values) -> dict[str, object]:
    posture = perform("workspace.posture", api.Page())
    order = {"critical": 0, "high": 1, "medium": 2, "low": 3}
    findings = sorted(posture.findings, key=lambda one: order.get(one.severity, 4))
    return {
        "workspace": perform("workspace.show", api.Page()),
        "findings": findings,
        "checked": posture.checked,
    }


def _assets(kind: str) -> View:
    def view(perform: Perform, values: Values) -> dict[str, object]:
        listing = perform(f"{kind}.list", api.Page(after=values.get("after", "")))
        newest = {version.asset_id: version for version in listing.versions}
        return {"kind": kind, "assets": listing.assets, "newest": newest, "after": listing.after}

    return view


def _version(kind: str) -> View:
    def view(perform: Perform, values: Values) -> dict[str, object]:
        number = _number(values.get("version", ""), "version")
        shown = perform(f"{kind}.show", api.Named(name=values["name"], version=number))
        approvals = ()
        card = ""
        if kind == "model":
            held = _attempt(perform, "model.card", api.Named(name=shown.version.id))
            card = "" if held is None else held.text
            found = _attempt(perform, "approval.list", api.Page())
            if found is not None:
                digest = shown.version.digest
                approvals = tuple(one for one in found.approvals if one.subject_digest == digest)
        paths = [one.part for one in shown.version.parts] if kind == "model" else []
        return {
            "shown": shown, "approvals": approvals, "kind": kind, "card": markdown(card),
            "notebooks": [one for one in paths if one.lower().endswith(".ipynb")],
        }  # fmt: skip

    return view


def _notebook(perform: Perform, values: Values) -> dict[str, object]:
    """Show a notebook: Markdown as cards are shown, everything else as text."""
    number = _number(values.get("version", ""), "version")
    asked = release.ModelNotebook(name=values["name"], path=values.get("path", ""), version=number)
    shown = perform("model.notebook", asked)
    cells = [
        (one, markdown(one.source) if one.kind == "markdown" else "")
        for one in shown.notebook.cells
    ]
    return {"shown": shown, "cells": cells}


def _endpoints(perform: Perform, values: Values) -> dict[str, object]:
    listing = perform("endpoint.list", api.Page(after=values.get("after", "")))
    return {"endpoints": listing.endpoints, "after": listing.after}


def _endpoint(perform: Perform, values: Values) -> dict[str, object]:
    return {"shown": perform("endpoint.show", api.Named(name=values["name"]))}


def _jobs(perform: Perform, values: Values) -> dict[str, object]:
    listing = perform("job.list", api.Page(after=values.get("after", "")))
    return {"jobs": listing.jobs, "after": listing.after}


def _job(perform: Perform, values: Values) -> dict[str, object]:
    return {"job": perform("job.show", api.Named(name=values["name"])).job}


def _log(perform: Perform, values: Values) -> dict[str, object]:
    """Show a window of the log, the newest entries unless another is asked for."""
    after = _number(values.get("after", ""), "after")
    if after is None:
        size = perform("workspace.show", api.Page()).entries
        after = (
            -1
            if any(values.get(one) for one in ("kind", "step", "principal"))
            else max(-1, size - LOG_PAGE - 1)
        )
    listing = perform(
        "audit.list",
        api.AuditList(
            after=after, limit=LOG_PAGE, kind=values.get("kind", ""),
            step=values.get("step", ""), principal=values.get("principal", ""),
        ),
    )  # fmt: skip
    return {
        "entries": tuple(reversed(listing.entries)),
        "kinds": [kind.value for kind in EntryKind],
        "asked": {one: values.get(one, "") for one in ("kind", "step", "principal")},
        "older": max(-1, after - LOG_PAGE) if after >= 0 else None,
        "newer": listing.entries[-1].index if len(listing.entries) == LOG_PAGE else None,
    }


def _entry(perform: Perform, values: Values) -> dict[str, object]:
    return {"shown": perform("audit.show", api.Named(name=values["name"]))}


def _access(perform: Perform, values: Values) -> dict[str, object]:
    listing = perform("role.list", api.Page())
    people = _attempt(perform, "identity.list", api.Page(limit=1000))
    groups = _attempt(perform, "group.list", api.Page(limit=1000))
    names = {
        one.id: one.name
        for found in (people, groups)
        if found is not None
        for one in found.principals
    }
    asked = {one: values.get(one, "") for one in ("principal", "action", "resource")}
    told = error = None
    if asked["principal"] and asked["action"]:
        try:
            told = perform("role.explain", api.RoleExplain(**asked))
        except VallumError as failed:
            error = failed
    return {
        "roles": {role.id: role.name for role in listing.roles},
        "assignments": listing.assignments,
        "denies": listing.denies,
        "names": names,
        "asked": asked,
        "told": told,
        "explain_error": error,
    }


def _number(text: str, what: str) -> int | None:
    if not text:
        return None
    sign = text.removeprefix("-")
    if not (sign.isascii() and sign.isdecimal() and len(sign) <= _MAX_INDEX_DIGITS):
        raise InputError(f"`{what}` is not a number", code="request.query")
    return int(text)


def _approve(values: Values) -> Record:
    return api.ApprovalCreate(
        model=values["name"], version=_number(values.get("version", ""), "version")
    )


def _nothing(_: Values) -> Record:
    return api.Page()


PAGES: tuple[Page, ...] = (
    Page("/", "Overview", "overview.html", ("workspace.show", "workspace.posture"), _overview,
         menu=True),
    Page("/data", "Data", "assets.html", ("data.list",), _assets("data"), ("after",), menu=True),
    Page("/data/{name}", "Data", "version.html", ("data.show",), _version("data"), ("version",)),
    Page("/models", "Models", "assets.html", ("model.list",), _assets("model"), ("after",),
         menu=True),
    Page("/models/{name}", "Model", "version.html",
         ("model.show", "model.card", "approval.list"),
         _version("model"), ("version",)),
    Page("/models/{name}/notebook", "Notebook", "notebook.html", ("model.notebook",), _notebook,
         ("version", "path")),
    Page("/endpoints", "Endpoints", "endpoints.html", ("endpoint.list",), _endpoints, ("after",),
         menu=True),
    Page("/endpoints/{name}", "Endpoint", "endpoint.html", ("endpoint.show",), _endpoint),
    Page("/jobs", "Jobs", "jobs.html", ("job.list",), _jobs, ("after",), menu=True),
    Page("/jobs/{name}", "Job", "job.html", ("job.show",), _job),
    Page("/log", "Log", "log.html", ("audit.list", "workspace.show"), _log,
         ("after", "kind", "step", "principal"), menu=True),
    Page("/log/{name}", "Entry", "entry.html", ("audit.show",), _entry),
    Page("/access", "Access", "access.html",
         ("role.list", "identity.list", "group.list", "role.explain"), _access,
         ("principal", "action", "resource"), menu=True),
)  # fmt: skip

FORMS: tuple[Form, ...] = (
    Form("/verify", "workspace.verify", (), _nothing, template="verification.html",
         title="Verification"),
    Form("/models/{name}/approve", "approval.create", ("version",), _approve,
         back=lambda values: f"/models/{values['name']}?version={values.get('version', '')}"),
)  # fmt: skip
