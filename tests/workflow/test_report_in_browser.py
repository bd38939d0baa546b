"""The report and the preview in a real browser: every picture decodes, a click enlarges it, nothing is fetched, no script fails."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright
from small_run import SLIDES, Run

BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("run"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]
_DECODED = "async () => { for (const i of document.images) if (i.hasAttribute('src')) { i.loading = 'eager'; await i.decode(); } }"


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    """A browser window in which any error of a page, and any request for more than the page itself, fails the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


@pytest.fixture
def page(window: Page) -> Iterator[Page]:
    errors: list[str] = []
    fetched: list[str] = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.on("request", lambda request: fetched.append(request.url))
    yield window
    assert errors == []
    assert [url[:80] for url in fetched if not url.startswith("data:")] == [window.url]


def test_the_report_stands_in_a_browser(run: Run, page: Page) -> None:
    page.goto((run.folder / "results" / "report.html").as_uri())
    page.evaluate(_DECODED)
    assert page.locator(".slide img").count() == len(SLIDES)
    assert page.locator("figure svg").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(table => table.scrollWidth <= table.clientWidth)"
    ), "no table scrolls"
    page.locator(".slide img").first.click()
    assert page.locator("dialog img").is_visible()
    page.locator("dialog img").click()
    assert not page.locator("dialog img").is_visible()


def test_the_preview_stands_in_a_browser(run: Run, page: Page) -> None:
    page.goto((run.folder / "results" / "preview.html").as_uri())
    page.evaluate(_DECODED)
    assert page.locator("figure img").count() == len(SLIDES)
    assert "measured now" in page.inner_text("body")
