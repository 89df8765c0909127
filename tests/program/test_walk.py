"""The README's own commands, from training to a picture on the page: one image has one probability everywhere."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("onnxscript", reason="needs the extra export")

from mlpipe.api import load
from mlpipe.cli import main
from mlpipe.data import sources
from mlpipe.runs import ensembles
from mlpipe.runs.project import Project
from tests.program.test_serve import Browser, needs_browser

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
# A smaller training than `make run`, of the same images.
SMALL = ["split.folds=2", "trainer.max_epochs=2", "sys.threads=1"]


def command(mode: str, having: str) -> list[str]:
    """The README's line of a mode that has some word."""
    lines = (shlex.split(line, comments=True) for line in README.splitlines() if line.startswith(f"mml {mode} "))
    return next(words[1:] for words in lines if having in words)


@pytest.mark.services
@needs_browser
def test_one_image_has_one_probability_everywhere(tmp_path: Path) -> None:
    (train,) = re.findall(r"^run:.*\n\t\S+/mml (.*)$", MAKEFILE, re.MULTILINE)
    assert main([*shlex.split(train), *SMALL]) == 0
    # What the table of the ensemble says of a test image.
    project = Project(tmp_path / "results" / "default")
    (mixture,) = ensembles.load_all(project, "fashion_mini")
    table = pq.read_table(project.ensembles_dir("fashion_mini") / f"{mixture.id}.parquet").to_pylist()
    row = next(one for one in table if one["split"] == "test")
    stored = np.exp(np.array(row["calibrated"], np.float64))
    of = sources.fashion_mini()
    pixels = sources.reader(of, 1)(of.samples.ids.index(row["sample_id"]))
    (tmp_path / "new").mkdir()
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "new" / "a.png")
    names, best = list(of.classes), float(stored.max())

    predict = command("predict", "mode.ensemble=latest")
    assert main([*(word for word in predict if "mode.source=" not in word), f"mode.source={tmp_path / 'new'}"]) == 0
    (found,) = (project.reports_dir() / "predictions").glob("new-*.csv")
    with found.open(encoding="utf-8") as handle:
        (predicted,) = csv.DictReader(handle)
    np.testing.assert_allclose([float(predicted[f"p({name})"]) for name in names], stored, atol=2e-6)

    in_hand = load("default", ensemble="latest").predict_values(tmp_path / "new" / "a.png")[0]
    np.testing.assert_allclose(in_hand, stored, atol=2e-6)

    # The file resizes inside as the pipeline does; the runner knows nothing of this program.
    assert main(command("export", "mode.ensemble=latest")) == 0
    np.testing.assert_allclose(load("model.onnx").predict_values(tmp_path / "new")[0], stored, atol=1e-5)
    run = [sys.executable, "model_run.py", "model.onnx", "new"]
    (line,) = csv.DictReader(subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines())
    np.testing.assert_allclose([float(line[f"p({name})"]) for name in names], stored, atol=1e-5)

    serve = [sys.executable, "-m", "mlpipe.cli", *command("serve", "mode.ensemble=latest"), "mode.port=0"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        address = next(found[1] for line in lines if (found := re.match(r"(http://\S+): a page", line)))
        browser = Browser(tmp_path, 1000, False)
        try:
            browser.ask("Page.navigate", url=address)
            browser.wait("document.title === 'fashion_mini'")
            browser.drop(tmp_path / "new" / "a.png")
            browser.wait("document.querySelectorAll('article').length === 1")
            meters = browser.value("[...document.querySelectorAll('meter')].map(one => one.value)")
            headline = browser.value("document.querySelector('article h2').innerText")
        finally:
            browser.close()
        np.testing.assert_allclose(meters, np.sort(stored)[::-1][:5], atol=2e-6)
        assert headline == names[int(stored.argmax())] == line["prediction"] == predicted["prediction"]
        assert best == pytest.approx(float(predicted["probability"]), abs=2e-6)
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.communicate()
