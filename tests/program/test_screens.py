"""The report in a real browser: both themes, a phone's width, paper, and nothing fetched or complained of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.reports import html
from tests.reports import projects

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium (apt-get install chromium)"),
]
DARK, LIGHT = "--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"
# A frame of a phone's width (a window cannot be that narrow) says how wide its page would like to be.
FRAME = """<!DOCTYPE html><body style="margin:0"><iframe src="{page}" width="390" height="{height}" style="border:0"></iframe>
<p id="answer">none</p><script>addEventListener("message", e => answer.textContent = "measured " + e.data)</script>"""
MEASURE = """<script>addEventListener("load", () => parent.postMessage(
  innerWidth + " " + document.documentElement.scrollWidth + " " + document.documentElement.scrollHeight, "*"))</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screens")
    names = ["averyveryverylongclassnamewithoutanyspaceinit" * 2, "b"]
    project, data_dir = projects.make_project(folder, names, groups=5)
    projects.ensemble(project, classes=names)
    return html.write(project, data_dir)


def browse(page: Path, tmp_path: Path, *arguments: str, size: str = "1280,1800") -> tuple[str, str]:
    """What a headless browser writes to its standard output, and what pages logged to their console."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}", *arguments, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=180, check=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def pixels(page: Path, tmp_path: Path, *arguments: str) -> np.ndarray:
    picture = tmp_path / "screen.png"
    _, console = browse(page, tmp_path, f"--screenshot={picture}", *arguments)
    assert console == ""
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


def measured(page: Path, tmp_path: Path) -> tuple[int, int]:
    """The width of the frame and of the page inside it."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    (tmp_path / "inner.html").write_text(text.replace("</body>", f"{MEASURE}</body>"), "utf-8")
    (tmp_path / "outer.html").write_text(FRAME.format(page="inner.html", height=3000), "utf-8")
    out, _ = browse(tmp_path / "outer.html", tmp_path, "--dump-dom")
    found = re.search(r"measured (\d+) (\d+) (\d+)", out)
    assert found is not None, out
    return int(found[1]), int(found[2])


def test_themes_differ_and_are_what_they_are_called(page: Path, tmp_path: Path) -> None:
    light, dark = (pixels(page, tmp_path, theme) for theme in (LIGHT, DARK))
    assert np.median(light) > 235 and np.median(dark) < 50
    for shown in (light, dark):
        # Not blank: text and plots leave their marks on many rows, in several colours.
        assert (shown.std(axis=(1, 2)) > 3).mean() > 0.3
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 100
        colourful = shown.max(axis=2) - shown.min(axis=2) > 60
        assert colourful.sum() > 500


def test_no_horizontal_scroll_on_a_phone(page: Path, tmp_path: Path) -> None:
    width, wanted = measured(page, tmp_path)
    assert width == 390 and wanted <= width


def test_the_measure_sees_a_page_that_is_too_wide(page: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.html"
    wide.write_text(page.read_text("utf-8").replace("<main", '<div style="width: 600px">x</div><main'), "utf-8")
    assert measured(wide, tmp_path)[1] >= 600


def test_what_a_page_would_fetch_is_seen(page: Path, tmp_path: Path) -> None:
    loud = tmp_path / "loud.html"
    loud.write_text(
        page.read_text("utf-8").replace("<main", '<img src="http://127.0.0.1:9/x.png" alt="x"><main'), "utf-8"
    )
    _, console = browse(loud, tmp_path, "--dump-dom")
    assert "Content Security Policy" in console


def test_print(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "paper.pdf"
    browse(page, tmp_path, f"--print-to-pdf={paper}")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 20
