"""The report and the preview in a browser.

Every picture can be decoded, a click enlarges it, nothing is downloaded, and no script fails.
"""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright
from small_run import SLIDES, Run

BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("run"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]
_DECODE_PICTURES = """async () => {
    for (const image of document.images)
        if (image.hasAttribute('src')) { image.loading = 'eager'; await image.decode(); }
}"""


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    """A window of a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


@pytest.fixture
def page(window: Page) -> Iterator[Page]:
    """A page; the test fails if a script fails, or if the page requests another file."""
    errors: list[str] = []
    requested: list[str] = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.on("request", lambda request: requested.append(request.url))
    yield window
    assert errors == []
    assert [url[:80] for url in requested if not url.startswith("data:")] == [window.url]


def test_the_report_can_be_shown_in_a_browser(run: Run, page: Page) -> None:
    page.goto((run.folder / "results" / "report.html").as_uri())
    page.evaluate(_DECODE_PICTURES)
    assert page.locator(".slide img").count() == len(SLIDES)
    assert page.locator("figure svg").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    no_table_scrolls = (
        "[...document.querySelectorAll('.scroll')]"
        ".every(table => table.scrollWidth <= table.clientWidth)"
    )
    assert page.evaluate(no_table_scrolls)
    page.locator(".slide img").first.click()
    assert page.locator("dialog img").is_visible()
    page.locator("dialog img").click()
    assert page.locator("dialog img.full").is_visible(), "the second click shows full pixels"
    page.locator("dialog img").click()
    assert not page.locator("dialog img").is_visible()


def test_the_preview_can_be_shown_in_a_browser(run: Run, page: Page) -> None:
    page.goto((run.folder / "results" / "preview.html").as_uri())
    page.evaluate(_DECODE_PICTURES)
    assert page.locator("figure img").count() == len(SLIDES)
    assert "measured now" in page.inner_text("body")
