"""One result in the terminal, the report and JSON: the same predictor, the same number, and called what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.reports import facts
from mlpipe.reports.headline import headline
from tests.program.test_post import make_project, make_task, only_ensemble


@pytest.mark.parametrize(("stage", "called"), [("none", "recipe one net"), ("before", "calibrated recipe one net")])
def test_terminal_report_and_json_say_the_same(
    tmp_path: Path, stage: str, called: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of = make_task(tmp_path / "data", n=120)
    project = make_project(tmp_path, of, {"one": 2.0}, folds=2)
    where = ["task=made", f"out_dir={tmp_path}", f"data_dir={tmp_path / 'data'}"]
    looked_for = of.classes[1]
    assert main(["post", *where, f"mode.stage={stage}", f"mode.positive={looked_for}", "--json"]) == 0
    after_post = json.loads(capsys.readouterr().out)
    assert main(["info", *where, "mode.subroutines=[models]", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    score = only_ensemble(project).scores["test"]["accuracy"]
    assert after_post["final"] == told["final"] and after_post["headline"] == told["headline"]
    assert told["final"]["value"] == score["value"] and told["headline"] == f"test accuracy {score['value']:.2f}"
    assert told["final"]["predictor"] == f"the {called}" and told["final"]["calibrated"] == (stage != "none")
    page = (project.reports_dir() / "report.html").read_text("utf-8")
    assert told["final"]["sentence"] in page and told["final"]["against"] in page
    assert f"Diagnosis of {looked_for}" in page and only_ensemble(project).decide["positive"] == looked_for
    assert f"right on {100 * score['value']:.0f} %" in told["final"]["sentence"]
    # Where nothing is calibrated the picture of it is drawn once.
    assert ("after calibration" in re.sub(r"\s+", " ", page)) == (stage != "none")


def test_figures_of_the_terminal_stand_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = make_task(tmp_path / "data", n=120)
    project = make_project(tmp_path, of, {"one": 1.0, "two": 2.0}, folds=2)
    where = ["task=made", f"out_dir={tmp_path}", f"data_dir={tmp_path / 'data'}"]
    assert main(["post", *where]) == 0
    told = capsys.readouterr().out
    assert main(["info", *where, "mode.subroutines=[models]"]) == 0
    told += capsys.readouterr().out
    page = (project.reports_dir() / "report.html").read_text("utf-8")
    cells = {re.sub(r"<[^>]*>", "", one).strip() for one in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.DOTALL)}
    scores = dict(re.findall(r"^(\w+) +(-?[\d.]+ +-?[\d.]+ to -?[\d.]+)", told, re.MULTILINE))
    stored = only_ensemble(project).scores["test"]
    assert set(scores) == set(stored)
    for name, figures in scores.items():
        value, low, _, high = figures.split()
        assert {value, f"{low} to {high}"} <= cells, name
        # As many decimals as the test images tell, and the value itself is the stored one.
        assert (
            value == f"{stored[name]['value']:.{len(value.partition('.')[2])}f}" and len(value.partition(".")[2]) >= 2
        )
    names = {"one", "two", only_ensemble(project).id}
    rows = [line for line in told.splitlines() if line.split() and line.split()[0] in names]
    assert {row.split()[0] for row in rows} == names <= cells
    for row in rows:
        for figure in re.findall(r"(?<![\w.])0\.\d+(?: ± 0\.\d+)?(?! M)", row):
            assert figure in cells, row
    (final,) = re.findall(r"^.* is right on [\d.]+ %.*$", told.partition("look at")[0], re.MULTILINE)
    assert final in page


def test_the_same_predictions_have_one_interval(tmp_path: Path) -> None:
    """That of a recipe's row, and that of the ensemble which is this recipe."""
    of = make_task(tmp_path / "data", n=120)
    project = make_project(tmp_path, of, {"one": 1.0}, folds=2)
    where = ["task=made", f"out_dir={tmp_path}", f"data_dir={tmp_path / 'data'}", "seed=7"]
    assert main(["post", *where, "mode.stage=none", "mode.report=false"]) == 0
    found = facts.of_task(project, tmp_path / "data", "made")
    assert found is not None
    rows = {bool(row["ensemble"]): (row["test"], row["test_low"], row["test_high"]) for row in found.board}
    assert rows[False] == pytest.approx(rows[True], abs=1e-12)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    of = make_task(tmp_path / "data", n=120)
    project = make_project(tmp_path, of, {"one": 1.0, "bad": 40.0}, folds=2)
    where = ["task=made", f"out_dir={tmp_path}", f"data_dir={tmp_path / 'data'}"]
    assert main(["post", *where, "mode.max_ensemble_size=1", "mode.report=false"]) == 0
    gathered = facts.of_task(project, tmp_path / "data", "made")
    assert gathered is not None
    found = headline(gathered)
    assert found is not None
    (kept,) = only_ensemble(project).members
    other = {"one net": "bad net", "bad net": "one net"}[kept["name"]]
    assert any(sentence.startswith(f"{other} is left out") for sentence in found.left_out)


def test_nothing_predicted_has_no_headline(tmp_path: Path) -> None:
    assert (
        facts.of_task(make_project(tmp_path, make_task(tmp_path / "data", n=60), {}), tmp_path / "data", "made") is None
    )
