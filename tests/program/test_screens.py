"""The report in a real browser: both themes, a phone's width, paper, and nothing fetched or complained of."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.api import ReportPage
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
    project, data_dir = projects.make_project(folder, names, groups=5, n=200)
    projects.ensemble(project, classes=names)
    return html.write(project, data_dir)


def browse(page: Path | str, tmp_path: Path, *arguments: str, size: str = "1280,1800") -> tuple[str, str]:
    """What a headless browser writes to its standard output, and what pages logged to their console."""
    assert BROWSER is not None
    address = page if isinstance(page, str) else page.as_uri()
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}", *arguments, address,
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


def with_steps(page: Path, tmp_path: Path, steps: str) -> Path:
    """The page with a script of a test; its own runs as it stands."""
    text = page.read_text("utf-8")
    policy = re.search(r"'sha256-[^']*'", text)
    assert policy is not None
    script = f"<script>addEventListener('load', () => {{ {steps} }});</script>"
    digest = base64.b64encode(hashlib.sha256(script[8:-9].encode()).digest()).decode()
    text = text.replace(policy[0], f"{policy[0]} 'sha256-{digest}'").replace("</body>", f"{script}</body>")
    clicked = tmp_path / "clicked.html"
    clicked.write_text(text, "utf-8")
    return clicked


def driven(page: Path, tmp_path: Path, steps: str) -> str:
    """What a script that clicks in the page writes, one text."""
    clicked = with_steps(page, tmp_path, steps)
    out, console = browse(clicked, tmp_path, "--dump-dom")
    assert console == ""
    found = re.search(r'<p id="answer">([^<]*)</p>', out)
    assert found is not None, out[-500:]
    return found[1]


ANSWER = "const said = document.createElement('p'); said.id = 'answer'; document.body.append(said);"


def test_what_answers_when_it_is_clicked(page: Path, tmp_path: Path) -> None:
    """One visit for all: starting a browser is what such a test costs."""
    steps = f"""{ANSWER}
    const all = (where) => [...document.querySelectorAll(where)];
    const table = all('table').find((one) => one.caption.textContent.startsWith('By class'));
    const column = () => [...table.tBodies[0].rows].map((row) => row.cells[3].textContent).join(' ');
    const button = table.tHead.rows[0].cells[3].querySelector('button');
    button.click(); const up = column(); button.click(); const down = column();
    const figure = all('figure').find((one) => one.querySelectorAll('.switches button').length > 1);
    const fold = figure.querySelector('.switches button'); fold.click();
    const away = [...figure.querySelectorAll('[data-series]')].filter((one) => getComputedStyle(one).display === 'none');
    const names = new Set(away.map((one) => one.dataset.series));
    const gallery = document.querySelector('.pictures[data-filter]');
    const shown = () => [...gallery.children].filter((one) => !one.hidden);
    const before = shown().length;
    const [range] = all('.filters input'); range.value = 60; range.dispatchEvent(new Event('input'));
    const sure = shown().every((one) => parseFloat(one.dataset.sure) >= 0.6) ? shown().length : -1;
    const cell = document.querySelector('[data-pair="0-1"]');
    cell.dispatchEvent(new MouseEvent('click', {{ bubbles: true }}));
    const pair = shown().every((one) => one.dataset.true === '0' && one.dataset.taken === '1') ? shown().length : -1;
    const note = document.querySelector('.note').textContent;
    const stops = [gallery, ...all('.pictures[data-filter] figure:not([hidden]) img')].filter((one) => one.tabIndex === 0).length;
    const [first, second] = all('.pictures:not([data-filter]) img');
    const key = (where, name) => where.dispatchEvent(new KeyboardEvent('keydown', {{ key: name, bubbles: true }}));
    const is = () => first.closest('figure').classList.contains('enlarged') + ' ' + first.getAttribute('aria-expanded');
    first.focus(); key(first, 'Enter'); const large = is(); key(first, 'Escape'); const small = is();
    key(first, 'ArrowRight'); const moved = document.activeElement === second && first.tabIndex === -1;
    const keys = [stops, large, small, moved].join(', ');
    said.textContent = [up, down, names.size, names.has(fold.textContent), before, sure, pair, note, keys].join('|');"""
    up, down, hidden, is_its_own, before, sure, pair, note, keys = driven(page, tmp_path, steps).split("|")
    ordered = sorted(map(float, up.split()))
    assert list(map(float, up.split())) == ordered and list(map(float, down.split())) == ordered[::-1]
    assert ordered[0] < ordered[-1]
    assert (hidden, is_its_own) == ("1", "true")
    assert 0 <= int(sure) < int(before) and 0 < int(pair) < int(before)
    assert "predicted as b" in note
    # One stop of the tabulator for all pictures that are shown; Enter enlarges, Escape takes that back, arrows move on.
    assert keys == "1, true true, false false, true"


def test_links_of_a_report_in_a_notebook_stay_in_its_frame(page: Path, tmp_path: Path) -> None:
    """Served, as a notebook is; in a frame without an address of its own a link is one of the page around it."""
    steps = """[...document.querySelectorAll('nav.contents ul a')].at(-1).click();
    let reached = 'none'; try { reached = parent.document.title; } catch { reached = 'refused'; }
    setTimeout(() => parent.postMessage(location.href + ' ' + (scrollY > 1000) + ' ' + reached, '*'), 900);"""
    # In one process, whose time is the one that the browser waits for.
    flags = ["--disable-features=IsolateSandboxedIframes", "--force-prefers-reduced-motion"]
    frame = ReportPage(with_steps(page, tmp_path, steps))._repr_html_()
    answer = "<p id=answer>none</p><script>addEventListener('message', e => answer.textContent = e.data)</script>"
    (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{answer}{frame}", "utf-8")
    serving = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serving) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/notebook.html"
            out, _ = browse(address, tmp_path, *flags, "--dump-dom")
        finally:
            server.shutdown()
    assert re.findall("<p id=.answer.>([^<]*)", out) == ["about:srcdoc true refused"]


def test_a_script_that_a_name_brings_does_not_run(tmp_path: Path) -> None:
    bad = "<script>document.title='run'</script><img src=x onerror=document.title='run'>"
    project, data_dir = projects.make_project(tmp_path, [bad, "b"], n=40, recipes=1)
    page = html.write(project, data_dir)
    out, console = browse(page, tmp_path, "--dump-dom")
    assert "<title>run" not in out and console == ""
    loud = tmp_path / "loud.html"
    loud.write_text(page.read_text("utf-8").replace("<main", "<script>document.title='run'</script><main"), "utf-8")
    out, console = browse(loud, tmp_path, "--dump-dom")
    assert "<title>run" not in out and "Content Security Policy" in console
