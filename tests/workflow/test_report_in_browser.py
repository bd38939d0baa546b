"""The report and the preview in a real browser: every picture decodes, a click enlarges it, nothing is fetched, no script fails."""

import shutil
import subprocess
from pathlib import Path

import pytest
from small_run import Run

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("run"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]
# Runs in the page itself and leaves what it saw where --dump-dom shows it.
_PROBE = """<script>
const failed = [];
addEventListener("error", e => failed.push(e.message));
addEventListener("load", async () => {
  const pictures = [...document.querySelectorAll("img[src]")];
  await Promise.all(pictures.map(i => { i.loading = "eager"; return i.decode().catch(() => failed.push(i.alt)); }));
  const first = document.querySelector(".slide img");
  if (first) first.click();
  const large = document.querySelector("dialog");
  const seen = {pictures: pictures.length, figures: document.querySelectorAll("figure svg").length,
    wide: document.documentElement.scrollWidth <= innerWidth, open: large ? large.open : null,
    fetched: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length, failed: failed.length};
  document.body.insertAdjacentHTML("beforeend", `<p id="seen">${Object.entries(seen).map(([k, v]) => `${k}=${v}`).join(" ")}</p>`);
});
</script>"""


def seen(page: Path, folder: Path) -> dict[str, str]:
    """What a browser makes of a page."""
    assert BROWSER is not None
    probed = folder / page.name
    probed.write_text(page.read_text().replace("<head>", "<head>" + _PROBE, 1))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=20000", "--dump-dom", probed.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    text = done.stdout.rpartition('<p id="seen">')[2].partition("</p>")[0]
    return dict(item.split("=") for item in text.split())


def test_the_report_stands_in_a_browser(run: Run, tmp_path: Path) -> None:
    found = seen(run.folder / "results" / "report.html", tmp_path)
    assert found == {"pictures": "4", "figures": "2", "wide": "true", "open": "true", "fetched": "0", "failed": "0"}


def test_the_preview_stands_in_a_browser(run: Run, tmp_path: Path) -> None:
    found = seen(run.folder / "results" / "preview.html", tmp_path)
    assert found == {"pictures": "4", "figures": "0", "wide": "true", "open": "null", "fetched": "0", "failed": "0"}
