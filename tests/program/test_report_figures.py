"""Every figure that a clinician reads in a report, computed anew from the stored Parquet file by other libraries."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import optimize, special, stats
from sklearn import calibration, linear_model, metrics

from mlpipe.cli import main
from mlpipe.runs.project import Project
from tests.program.test_post import make_project, make_task, only_ensemble

ILL, ELSEWHERE = "b", 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 400 and 200 images of made-up predictions, with its report; the probabilities are too sure at first."""
    made = tmp_path_factory.mktemp("report")
    project = make_project(made, make_task(made / "data", n=400), {"one": 4.0}, folds=2)
    where = ["task=made", f"out_dir={made}", f"data_dir={made / 'data'}"]
    asked = [f"mode.positive={ILL}", f"mode.deploy_prior=[{1 - ELSEWHERE},{ELSEWHERE}]", "mode.stage=before"]
    assert main(["post", *where, *asked]) == 0
    assert project.reports_dir().is_dir()
    return made / "default"


@pytest.fixture(scope="module")
def tables(folder: Path) -> list[list[list[str]]]:
    """The texts of all tables of the page: cells of rows of tables."""
    page = (folder / "reports" / "report.html").read_text("utf-8")

    def cells(row: str) -> list[str]:
        texts = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        return [html.unescape(re.sub(r"<[^>]*>", "", text)).strip() for text in texts]

    found = re.findall(r"<table>(.*?)</table>", page, re.DOTALL)
    return [[cells(row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)] for table in found]


@pytest.fixture(scope="module")
def rows(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes of the test images, and their probabilities raw and calibrated, read without mlpipe."""
    (file,) = (folder / "tasks" / "made" / "ensembles").glob("*.parquet")
    table = pq.read_table(file).to_pandas()
    of_test = table[table["split"] == "test"]
    raw, calibrated = (
        special.softmax(np.stack(of_test[name].to_numpy()).astype(np.float64), axis=1)
        for name in ("logits", "calibrated")
    )
    return of_test["target"].to_numpy().astype(int), raw, calibrated


def row_of(tables: list[list[list[str]]], name: str) -> list[str]:
    """The only row of all tables that begins with a name."""
    (row,) = [row for table in tables for row in table if row[:1] == [name]]
    return row


def is_rounded(text: str, value: float) -> bool:
    """Whether a figure is the value, rounded to the decimals that it has."""
    return float(text) == pytest.approx(value, abs=0.5000001 * 10.0 ** -len(text.partition(".")[2]))


def test_sensitivity_specificity_and_predictive_values(tables: list[list[list[str]]], rows: tuple) -> None:
    true, _, chances = rows
    is_ill, said = true == 1, chances.argmax(axis=1) == 1
    (tn, fp), (fn, tp) = metrics.confusion_matrix(is_ill, said)
    counts = {
        "sensitivity": (tp, tp + fn, metrics.recall_score(is_ill, said)),
        "specificity": (tn, tn + fp, metrics.recall_score(is_ill, said, pos_label=0)),
        "positive predictive value": (tp, tp + fp, metrics.precision_score(is_ill, said)),
        "negative predictive value": (tn, tn + fn, metrics.precision_score(is_ill, said, pos_label=0)),
    }
    for name, (hits, total, value) in counts.items():
        here = row_of(tables, name)[1]
        figure, low, high = re.findall(r"\d\.\d+", here)
        assert hits / total == pytest.approx(value) and is_rounded(figure, value), name
        ends = [stats.binomtest(int(hits), int(total)).proportion_ci(method=how) for how in ("wilson", "exact")]
        assert any(is_rounded(low, pair.low) and is_rounded(high, pair.high) for pair in ends), name
    sensitivity, specificity = (counts[name][2] for name in ("sensitivity", "specificity"))
    ill, well = ELSEWHERE, 1 - ELSEWHERE
    expected = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        # Bayes' rule: another share of images is ill, and as many of them are found.
        "positive predictive value": sensitivity * ill / (sensitivity * ill + (1 - specificity) * well),
        "negative predictive value": specificity * well / (specificity * well + (1 - sensitivity) * ill),
    }
    place = next(row for table in tables for row in table if any("10 % are positive" in cell for cell in row))
    column = next(number for number, cell in enumerate(place) if "10 % are positive" in cell)
    for name, value in expected.items():
        figure, low, high = re.findall(r"\d\.\d+", row_of(tables, name)[column])
        assert is_rounded(figure, value) and float(low) <= value <= float(high), name


def test_calibration_errors_and_brier(tables: list[list[list[str]]], rows: tuple, folder: Path) -> None:
    true, *both = rows
    page = (folder / "reports" / "report.html").read_text("utf-8")
    before, after = re.search(  # type: ignore[union-attr]
        r"Expected calibration error: ([\d.]+) before calibration, ([\d.]+) after calibration", page
    ).groups()
    for chances, told in zip(both, (before, after), strict=True):
        sure, right = chances.max(axis=1), chances.argmax(axis=1) == true
        hits, confidence = calibration.calibration_curve(right, sure, n_bins=15)
        # scikit-learn gives no counts: those of the bins that hold rows.
        counts = np.histogram(sure, np.linspace(0, 1, 16))[0]
        assert is_rounded(told, float(np.abs(hits - confidence) @ counts[counts > 0] / len(true)))
    brier = metrics.brier_score_loss(true == 1, both[1][:, 1])
    # Summed over both classes.
    assert is_rounded(row_of(tables, "brier")[1], 2 * brier)
    assert is_rounded(row_of(tables, "nll")[1], metrics.log_loss(true, both[1]))


def test_the_calibration_line(tables: list[list[list[str]]], rows: tuple) -> None:
    true, _, chances = rows
    is_ill, odds = true == 1, special.logit(chances[:, 1])
    fit = linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], is_ill)
    large = optimize.brentq(lambda shift: special.expit(odds + shift).sum() - is_ill.sum(), -9, 9)
    weights = special.expit(fit.intercept_[0] + fit.coef_[0, 0] * odds)
    design = np.column_stack([np.ones_like(odds), odds])
    errors = np.sqrt(np.diag(np.linalg.inv((design.T * (weights * (1 - weights))) @ design)))
    shifted = special.expit(odds + large)
    of_large = 1 / np.sqrt((shifted * (1 - shifted)).sum())
    z = stats.norm.ppf(0.975)
    for name, value, error in (
        ("slope", fit.coef_[0, 0], errors[1]),
        ("intercept", fit.intercept_[0], errors[0]),
        ("calibration in the large", large, of_large),
    ):
        figure, ends = row_of(tables, name)[1:3]
        low, high = ends.split(" to ")
        assert is_rounded(figure, value), name
        assert is_rounded(low, value - z * error) and is_rounded(high, value + z * error), name
    assert is_rounded(row_of(tables, "mean probability")[1], chances[:, 1].mean())
    assert is_rounded(row_of(tables, "share that is positive")[1], is_ill.mean())


def test_the_decision_curve(rows: tuple, folder: Path) -> None:
    true, _, chances = rows
    is_ill, share = true == 1, (true == 1).mean()
    with (folder / "reports" / "plots" / "made_decision_curve.csv").open(encoding="utf-8") as lines:
        drawn = list(csv.DictReader(lines))
    assert len(drawn) == 60
    for row in drawn:
        cut = float(row["threshold"])
        (_, fp), (_, tp) = metrics.confusion_matrix(is_ill, chances[:, 1] >= cut, labels=[False, True])
        # Vickers and Elkin 2006.
        assert float(row["net_benefit"]) == pytest.approx((tp - fp * cut / (1 - cut)) / len(true), abs=1e-9)
        assert float(row["everybody"]) == pytest.approx(share - (1 - share) * cut / (1 - cut), abs=1e-9)
        assert float(row["low"]) <= float(row["net_benefit"]) <= float(row["high"])


def test_the_score_of_the_headline(folder: Path, tables: list[list[list[str]]], rows: tuple) -> None:
    true, _, chances = rows
    accuracy = metrics.accuracy_score(true, chances.argmax(axis=1))
    page = (folder / "reports" / "report.html").read_text("utf-8")
    assert f"is right on {100 * accuracy:.1f} % of 200 test images" in page
    assert only_ensemble(Project(folder)).scores["test"]["accuracy"]["value"] == pytest.approx(accuracy)
    area = metrics.roc_auc_score(true == 1, chances[:, 1])
    assert is_rounded(row_of(tables, "auroc")[1], area)
