"""The console in a real browser: claim, look, approve, sign out; on a real server."""

import shutil
from collections.abc import Iterator

import pytest
from running import Up, prepare, running, small_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("console")) as made:
        prepare(made)
        yield made


@pytest.fixture
def page(up: Up) -> Iterator["playwright.Page"]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(ignore_https_errors=True, base_url=up.url)
        made = context.new_page()
        # Whatever the policy forbids, or a page lacks, is an error of the page.
        problems: list[str] = []
        made.on("console", lambda said: problems.append(said.text))
        made.on("pageerror", lambda error: problems.append(str(error)))
        yield made
        browser.close()
        assert [one for one in problems if "status of 4" not in one] == []


def type_key(page: "playwright.Page", label: str, key: str) -> None:
    page.get_by_label(label).fill(key)
    press(page, page.get_by_role("button"))


def press(page: "playwright.Page", what: "playwright.Locator") -> None:
    """Click, and wait until the page that it leads to is there as a whole."""
    with page.expect_navigation():
        what.click()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_an_owner_claims_looks_around_approves_and_leaves(up: Up, page: "playwright.Page") -> None:
    page.goto("/")
    assert page.url.endswith("/sign-in")
    page.goto("/claim")
    type_key(page, "Code", "vlm_wrong")
    assert "wrong, expired or revoked" in page.get_by_role("alert").inner_text()
    type_key(page, "Code", up.token)
    assert page.get_by_role("heading", level=1).inner_text() == "main"
    page.goto("/claim")
    assert page.url == f"{up.url}/"  # signed in already, and claimed for good

    for name in ("Data", "Models", "Endpoints", "Jobs", "Log", "Access", "Overview"):
        press(page, page.get_by_role("navigation").get_by_role("link", name=name))
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.locator("[aria-current=page]").inner_text() == name
        for row in page.locator("table").all():
            assert row.locator("caption").count() == 1
    press(page, page.get_by_role("button", name="Verify log, rows and objects"))
    assert "everything held" in page.get_by_role("status").inner_text()

    page.goto("/models/small")
    assert "evasion" in page.locator("table").inner_text()
    press(page, page.get_by_role("button", name="Approve small:1 for deployment"))
    assert "for deploy until" in page.locator("dl").inner_text()
    (approval,) = up.owner.approvals.list()
    assert approval.step == "deploy"

    page.goto("/access?principal=author&action=approvals/write")
    assert "author may not approvals/write" in page.get_by_role("status").inner_text()
    page.goto("/log?kind=authentication-refused")
    press(page, page.locator("tbody a").first)
    assert "lead from this entry to the signed checkpoint" in page.locator("main").inner_text()

    press(page, page.get_by_role("button", name="Sign out owner"))
    assert page.url.endswith("/sign-in")
    page.go_back()
    page.reload()
    assert page.url.endswith("/sign-in")  # nothing of the session is left to see


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_every_page_fits_a_telephone(up: Up, page: "playwright.Page") -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/sign-in")
    type_key(page, "Your API key", up.token)
    for path in ("/", "/data/members", "/models/small", "/endpoints", "/log", "/access"):
        page.goto(path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, path
        assert page.evaluate("document.documentElement.lang") == "en"
        unlabelled = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]),select')]"
            ".filter(one => !one.labels.length).length"
        )
        assert unlabelled == 0, path


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_model_card_is_shown_and_does_nothing(up: Up, page: "playwright.Page") -> None:
    card = (
        b"# Scores\n\nRead [the paper](https://example.org/paper).\n\n"
        b"<script>document.title = 'taken'</script>\n\n"
        b"![x](/style.css) [approve](/models/small/approve)\n\n"
        b"|a|" + b"wide" * 60 + b"|\n|-|-|\n|1|2|\n"
    )
    up.owner.models.register("carded", small_model(), card=card)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/sign-in")
    type_key(page, "Your API key", up.token)
    page.goto("/models/carded")
    shown = page.locator(".card")
    assert shown.get_by_role("heading", name="Scores").count() == 1
    assert shown.locator("a").count() == 1
    assert shown.locator("img, script").count() == 0
    assert "document.title" in shown.inner_text()
    assert page.title() != "taken"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
