"""`mml serve`: the numbers of `mml predict` over HTTP, hostile uploads, the page in a browser, an end at a signal."""

from __future__ import annotations

import base64
import csv
import fcntl
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from mlpipe.cli import main
from mlpipe.data import sources
from mlpipe.modes.serve.gate import Gate
from mlpipe.reports.progress import Display
from mlpipe.running import launch
from mlpipe.running.steps import RunContext
from mlpipe.runs.project import Project
from tests.modes.serve.clients import ask
from tests.safety.corpus import pictures

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOWN = 12
TOKEN = "0123456789abcdef0123"
# The browser's pipe is where it looks for it.
_AT_3_AND_4 = """import os, sys
for place, number in ((sys.argv[1], 3), (sys.argv[2], 4)):
    os.dup2(int(place), number)
os.execv(sys.argv[3], sys.argv[3:])"""


@pytest.fixture(scope="module")
def folder(digits_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an ensemble, and images as files with what `mml predict` says of them in `predicted.csv`."""
    folder = Path(shutil.copytree(digits_once, tmp_path_factory.mktemp("serve"), dirs_exist_ok=True))
    places = [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]
    assert main(["post", "task=digits", "mode.subroutines=[calibrate,ensemble]", *places]) == 0
    digits = sources.digits()
    read = sources.reader(digits, 1)
    for row in range(SHOWN):
        path = folder / "images" / f"{row:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(read(row)[:, :, 0]).save(path)
    words = ["mode.ensemble=latest", f"mode.source='{folder / 'images'}'"]
    assert main(["predict", "task=digits", *words, *places]) == 0
    (table,) = (folder / "results/default/reports/predictions").glob("new-images-*.csv")
    shutil.copy(table, folder / "predicted.csv")
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "predicted.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def gate(folder: Path) -> Iterator[Gate]:
    """What a server answers with, without its socket."""
    places = [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]
    words = ["mode.ensemble=latest", "mode.longest_wait=0", "mode.rate=null", *places]
    config = launch.prepare(launch.Command("serve", words)).run_config
    scheduler = config.scheduler.build(config, RunContext(Project(config.project_dir), Display()))
    assert [step.name for step in scheduler.plan()] == ["serve"]
    with scheduler._gate(explains=scheduler._warm_up()) as gate:
        yield gate


def files(folder: Path, count: int = SHOWN) -> dict[str, Any]:
    return {
        "files": [
            ("images", (path.name, path.read_bytes())) for path in sorted((folder / "images").glob("*.png"))[:count]
        ]
    }


def test_the_numbers_of_predict(folder: Path, gate: Gate) -> None:
    rows = ask(gate, "POST", "/predict", **files(folder)).json()["predictions"]
    wanted = table(folder)
    assert len(rows) == len(wanted) == SHOWN
    for row, said in zip(rows, wanted, strict=True):
        assert row.pop("image") == said["image"] and row.pop("problem") == ""
        for name, value in row.pop("probabilities").items():
            assert value == pytest.approx(float(said[f"p({name})"]), abs=2e-6)
        assert row.pop("probability") == pytest.approx(float(said["probability"]), abs=2e-6)
        assert row == {name: said[name] for name in row} and {"prediction", "set"} <= set(row)
    card = ask(gate, "GET", "/card").json()
    assert card["task"] == "digits" and card["ensemble"]["id"].startswith("ens-")


def test_prevalence_and_costs_of_a_request(folder: Path, gate: Gate) -> None:
    plain = ask(gate, "POST", "/predict", **files(folder)).json()["predictions"]
    prior = ask(gate, "GET", "/card").json()["ensemble"]["prior"]["values"]
    there, costs = np.array([0.55, *[0.05] * 9]), 1 - np.eye(10)
    costs[:, 3] += 1
    fields = {"deploy_prior": json.dumps(there.tolist()), "costs": json.dumps(costs.tolist())}
    moved = ask(gate, "POST", "/predict", **files(folder), data=fields).json()["predictions"]
    before, after = (np.array([list(row["probabilities"].values()) for row in rows]) for rows in (plain, moved))
    # Bayes' rule by hand; the decision that costs least.
    wanted = before * there / prior
    wanted /= wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(after, wanted, atol=1e-5)
    assert [row["decision"] for row in moved] == [str(one) for one in (wanted @ costs).argmin(1)]
    for wrong in (
        "[1, 2]",
        "[-1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
        '{"0": 1}',
        '{"x": 1}',
        "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
    ):
        answer = ask(gate, "POST", "/predict", **files(folder, 1), data={"deploy_prior": wrong})
        assert answer.status_code == 422 and "deploy_prior" in answer.json()["problems"][0], (wrong, answer.text)
    for wrong in ("[[1]]", "[[1, 2], [3]]", "[]"):
        answer = ask(gate, "POST", "/predict", **files(folder, 1), data={"costs": wrong})
        assert answer.status_code == 422 and "costs" in answer.json()["problems"][0], (wrong, answer.text)


def test_hostile_pictures_get_a_sentence_and_harm_nobody_else(folder: Path, gate: Gate, tmp_path: Path) -> None:
    seen = 0
    for number, case in enumerate(pictures.CASES):
        work = tmp_path / str(number)
        work.mkdir()
        case.make(work)
        (path,) = (one for one in (work / "images").rglob("*x.*") if one.is_file())
        content = path.read_bytes()
        started = time.monotonic()
        answer = ask(gate, "POST", "/predict", files=[("images", (os.fsencode(path.name).decode("latin-1"), content))])
        assert time.monotonic() - started < 20, case.name
        # Names of files and folders do not come along.
        is_good = case.code == 0 or "not UTF-8" in case.name or "class folder" in case.name
        assert answer.status_code == 200 if is_good else 400 <= answer.status_code < 500, (case.name, answer.text)
        if not is_good:
            assert all(one.isprintable() and "Traceback" not in one for one in answer.json()["problems"])
            seen += 1
        good = files(folder, 1)["files"]
        several = ask(gate, "POST", "/predict", files=[("images", ("x", content)), *good]).json()
        # Too many bytes for one request end it as a whole.
        if "predictions" in several:
            assert several["predictions"][1]["problem"] == ""
    assert seen >= 15


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, and its address."""

    process: subprocess.Popen[str]
    address: str


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server that others reach, so that it has a token."""
    places = [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]
    words = ["mode.ensemble=latest", "mode.host=0.0.0.0", "mode.port=0", *places]
    command = [sys.executable, "-m", "mlpipe.cli", "serve", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MML_SERVE_TOKEN": TOKEN})
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    address = next((found[1] for line in lines if (found := re.match(r"(http://\S+): a page", line))), None)
    assert address is not None, process.wait()
    yield Server(process, address.replace("0.0.0.0", "127.0.0.1"))
    process.kill()
    process.communicate()


def answered(server: Server, path: str, body: bytes | None = None, token: str = TOKEN) -> Any:
    headers = {"Content-Type": "image/png", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(server.address + path, body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.services
def test_many_at_once_get_their_own_answers(folder: Path, server: Server) -> None:
    wanted, got = table(folder), dict[int, Any]()
    images = [path.read_bytes() for path in sorted((folder / "images").glob("*.png"))]

    def asking(place: int) -> None:
        got[place] = answered(server, "/predict", images[place % SHOWN])["predictions"][0]

    threads = [threading.Thread(target=asking, args=(place,)) for place in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(30):
        said = wanted[place % SHOWN]
        assert got[place]["probability"] == pytest.approx(float(said["probability"]), abs=2e-6)
        assert got[place]["prediction"] == said["prediction"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        answered(server, "/predict", images[0], token="another")


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    assert main(["serve", "mode.port=0", *words, f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]) == 2
    return capsys.readouterr().err.splitlines()


def test_what_cannot_be_served_is_said_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sentence,) = refused(folder, capsys, "mode.host=0.0.0.0")
    assert sentence.startswith(
        "mode.token: is needed where others reach the server, got '0.0.0.0'; set MML_SERVE_TOKEN"
    )
    several = refused(
        folder, capsys, "mode.record=1", "mode.ensemble=latest", "mode.token=nowhere", "mode.host='no host'"
    )
    assert [one.partition(":")[0] for one in several] == ["mode.record", "mode.token", "mode.host"]
    assert "did you mean 'predicted.csv'?" in refused(folder, capsys, f"mode.file={folder / 'predicted.cs'}")[0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (sentence,) = refused(folder, capsys, f"mode.port={taken.getsockname()[1]}")
        assert sentence.startswith("mode.port: cannot be had (Address already in use)")
    assert "largest_batch: must be a whole number >= 1" in refused(folder, capsys, "mode.largest_batch=0")[0]
    assert "77" in refused(folder, capsys, "mode.record=77")[0]


class Browser:
    """A headless browser that is told what to do through a pipe, in the DevTools protocol."""

    def __init__(self, home: Path, width: int, is_dark: bool) -> None:
        assert BROWSER is not None
        (its_in, ours_out), (ours_in, its_out) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 30) for one in (its_in, its_out)]
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--remote-debugging-pipe", f"--user-data-dir={home / 'profile'}"]  # fmt: skip
        places = [str(one) for one in high]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _AT_3_AND_4, *places, BROWSER, *flags, "about:blank"],
            pass_fds=high, env={**os.environ, "HOME": str(home)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for one in (its_in, its_out, *high):
            os.close(one)
        self._out, self._in = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._number, self._session, self.complaints = 0, "", list[str]()
        (target,) = [one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def ask(self, method: str, **parameters: Any) -> Any:
        """The result of a command; what the page complains of meanwhile is kept."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        self._out.write(
            json.dumps({"id": self._number, "method": method, "params": parameters, **session}).encode() + b"\0"
        )
        self._out.flush()
        while True:
            text = b"".join(iter(lambda: self._in.read(1), b"\0"))
            message = json.loads(text)
            entry = message.get("params", {}).get("entry", {})
            if entry.get("level") != "verbose" and message.get("method") in (
                "Log.entryAdded",
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
            ):
                self.complaints.append(text.decode())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def value(self, expression: str) -> Any:
        """What a script of the page gives."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until a script of the page gives true."""
        until = time.monotonic() + 30
        while self.value(expression) is not True:
            assert time.monotonic() < until, (expression, self.value("document.body.innerText"), self.complaints)
            time.sleep(0.05)

    def drop(self, *paths: Path) -> None:
        """Drop files of the disk on the middle of the page, as a person does."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.ask("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def close(self) -> None:
        self._session = ""
        self.ask("Browser.close")
        self._process.wait(30)
        self._out.close()
        self._in.close()


@pytest.fixture
def page(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The page of the server, in a browser of this width and scheme, where its token is typed."""
    width, is_dark = request.param
    browser = Browser(tmp_path, width, is_dark)
    try:
        browser.ask("Page.navigate", url=server.address)
        browser.wait("!document.getElementById('key').hidden")
        # Without the token it told why it knows nothing.
        assert browser.value("document.getElementById('state').innerText").startswith("token: is missing or wrong")
        assert [one for one in browser.complaints if "401" not in one] == []
        browser.complaints.clear()
        browser.value("document.getElementById('token').focus()")
        browser.ask("Input.insertText", text=TOKEN)
        browser.value("document.activeElement.blur()")
        browser.wait("document.title === 'digits'")
        yield browser
        # Nothing was fetched but from the server itself, and nothing was complained of.
        fetched = browser.value("performance.getEntriesByType('resource').map(one => one.name)")
        own = {one.removeprefix(server.address) for one in fetched if not one.startswith(("blob:", "data:"))}
        assert own == {"/card", "/predict"} and browser.complaints == []
    finally:
        browser.close()


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium (apt-get install chromium)")


@pytest.mark.services
@needs_browser
@pytest.mark.parametrize("page", [(1000, False)], indirect=True)
def test_an_image_dropped_into_the_page(folder: Path, page: Browser, tmp_path: Path) -> None:
    said = table(folder)[0]
    (tmp_path / "no image.png").write_bytes(b"no image")
    page.drop(folder / "images" / "00.png", tmp_path / "no image.png")
    page.wait("document.querySelectorAll('article').length === 2")
    wrong, right = page.value("[...document.querySelectorAll('article')].map(one => one.innerText)")
    assert "cannot be read" in wrong and "not an image in a known format" in wrong
    assert right.startswith(f"{said['prediction']}\n") and "00.png" in right
    chances = sorted(
        ((float(value), name[2:-1]) for name, value in said.items() if name.startswith("p(")), reverse=True
    )
    shown = [f"{name}\n{100 * chance:.1f} %" for chance, name in chances[:5]]
    assert re.findall(r"\d\n[\d.]+ %", re.sub(r"\n+", "\n", right)) == shown
    assert f"set: {said['set']}" in right and "all 10" in right
    meters = page.value("[...document.querySelectorAll('meter')].map(one => one.value)")
    np.testing.assert_allclose(meters, [chance for chance, _ in chances[:5]], atol=2e-6)
    if importlib.util.find_spec("pytorch_grad_cam"):
        page.value("document.querySelector('article:last-child .why').click()")
        page.wait("!document.querySelector('article:last-child canvas').hidden")
        paint = "document.querySelector('article:last-child canvas').getContext('2d').getImageData(0, 0, 8, 8).data"
        assert len(set(page.value(f"[...{paint}].filter((_, at) => at % 4 === 3)"))) > 3
        assert f"The places that speak for {said['prediction']}" in page.value("document.body.innerText")
    page.value("document.querySelector('article:last-child .all').click()")
    assert page.value("document.querySelectorAll('meter').length") == 10
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 254)"


@pytest.mark.services
@needs_browser
@pytest.mark.parametrize("page", [(360, True)], indirect=True)
def test_the_page_on_a_phone_at_night(folder: Path, page: Browser, tmp_path: Path) -> None:
    long = tmp_path / f"{'averylongname' * 15}.png"
    shutil.copy(folder / "images" / "00.png", long)
    page.drop(long)
    page.wait("document.querySelectorAll('article').length === 1")
    assert page.value("document.documentElement.scrollWidth") <= page.value("innerWidth") == 360
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"


@pytest.mark.services
def test_what_has_begun_to_arrive_is_answered_after_the_signal(folder: Path, server: Server) -> None:
    """The last test of the server, which it ends."""
    image = (folder / "images" / "00.png").read_bytes()
    found = answered(server, "/predict", image)
    body = json.dumps({"images": [base64.b64encode(image).decode()]}).encode()
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as slow:
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
        time.sleep(0.5)
        server.process.terminate()
        time.sleep(0.5)
        assert server.process.poll() is None
        slow.sendall(body[10:])
        answer = b"".join(iter(lambda: slow.recv(1 << 16), b""))
    (row,) = json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]
    assert row["probabilities"] == pytest.approx(found["predictions"][0]["probabilities"], abs=1e-6)
    out, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 0 and "stopped; everything that was asked is answered" in out
