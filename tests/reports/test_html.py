"""The report: well-formed, escaped, whole in one file, and its numbers are the stored ones."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from statsmodels.stats.proportion import proportion_confint

from mlpipe import kinds
from mlpipe.post import metrics
from mlpipe.reports import facts, html, markup, tables
from mlpipe.reports.markup import paragraph
from mlpipe.reports.sections import prevalence, training
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests.build import make_record
from tests.reports import projects
from tests.safety.corpus import stored

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Text, tables and pictures of a page; every tag must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.headings: list[int] = []
        self.links: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.cells: list[str] = []
        self.scripts: list[str] = []
        self.tables = self.captions = self.drawings = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []  # type: ignore[list-item]
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data") and value]
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.drawings += tag == "svg"
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "img":
            self.alts.append(given.get("alt") or "")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.scripts += [""] if tag == "script" else []
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif "style" not in self.open[-1:]:
            self.text.append(data)
        if {"td", "th"} & set(self.open) and self.cells:
            self.cells[-1] += data

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def report(project: Project, data_dir: Path) -> Page:
    path = html.write(project, data_dir)
    text = path.read_text("utf-8")
    page = Page(text)
    # Nothing from elsewhere: only anchors of the page and data inside it.
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#") and len(link) > 1} <= set(page.ids)
    # One script, which is the package's own whatever stands in the page, and which the policy names by its hash.
    assert page.scripts == [(Path(html.__file__).parent / "report.js").read_text("utf-8")]
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text
    assert "http" not in re.sub(r"http-equiv", "", text.split("<body>")[0]) and "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    assert page.tables == page.captions and all(page.alts)
    assert page.headings[0] == 1 and all(
        later - sooner <= 1 for sooner, later in zip(page.headings, page.headings[1:], strict=False)
    )
    return page


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are empty, for pages whose words alone are looked at: drawing is most of what a report costs."""

    def save(self: Figure, target: Any, *, format: str, **options: Any) -> None:
        if format == "png":
            Path(target).write_bytes(b"")
        else:
            target.write('<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr(Figure, "savefig", save)


def test_numbers_are_the_stored_ones(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"])
    stored = projects.ensemble(project)
    page = report(project, data_dir)
    words = page.words
    assert "The ensemble of 2 recipes is right on 81 % of 60 test images (95 % interval 71 % to 91 %)." in words
    # Two folds of 60 images each were validated, 60 images are of the test part.
    for row in tables.leaderboard(project, "t"):
        for key, decimals in (("out_of_fold", 3), ("test", 2), ("test_nll", 2)):
            assert row[key] is None or f"{row[key]:.{decimals}f}" in page.cells, key
    assert {"0.81", "0.71 to 0.91"} <= set(page.cells) and {"0.83", "0.835"} & set(page.cells)
    (recipe,) = (row for row in tables.leaderboard(project, "t") if row["recipe"] == "recipe1")
    # One or two of sixty are wrong: Wilson's ends would cover too seldom there.
    low, high = proportion_confint(round(recipe["test"] * 60), 60, 0.05, "beta")
    assert f"{low:.2f} to {high:.2f}" in page.cells
    assert {"recipe0 net", "0.750", "r0-0, r0-1"} <= set(page.cells)
    assert {"0.4567", "none", "321", "1.23 M"} <= set(page.cells)
    for piece in ("hold it for 88 %", "1.23 classes", "The promise.", "accuracy 0.77, nll 0.57", "a note <b>"):
        assert piece in words
    assert "validation images also chose best checkpoint" in words and "optimistic" in words
    rows = predictions.load(project.ensembles_dir("t") / f"{stored.id}.parquet", "t", "test")
    found = metrics.details(rows.logits, rows.targets, ["a", "b"], "classification")
    for row in found["classes"]:
        assert f"{row['recall']:.2f}" in page.cells and f"{row['auroc']:.2f}" in page.cells
    with (project.plots_dir() / "t_confusion.csv").open(encoding="utf-8", newline="") as handle:
        assert [[int(cell) for cell in row[1:]] for row in list(csv.reader(handle))[1:]] == found["confusion"]
    # What recipes differ in stands in for the overrides.
    assert {"optimizer.lr", "0.1", "0.2"} <= set(page.cells)
    shown = [sum(alt.startswith(f"Image {part}") for alt in page.alts) for part in ("test", "train")]
    assert shown[0] > 12 and shown[1] == 4 and sum(shown) == len(page.alts)
    pngs = {path.stem for path in project.plots_dir().glob("*.png")}
    assert pngs == {path.stem for path in project.plots_dir().glob("*.csv")} and len(pngs) == page.drawings >= 7


def test_every_name_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert('x')</script>"
    project, data_dir = projects.make_project(tmp_path, [bad, '"&<img src=http://x>'], groups=3)
    projects.ensemble(project, classes=[bad, "b"], notes=[bad], comparisons=["<b>bold</b>"])
    page = report(project, data_dir)
    assert bad in page.words and "<b>bold</b>" in page.words


def test_groups_absent_classes_and_gone_images(tmp_path: Path, undrawn: None) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b", "gone"], groups=4, absent=2, n=60)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    page = report(project, data_dir)
    assert "No test image has: gone." in page.words
    # Each has seven or eight test images, of which a score by itself would be noise.
    assert "4 groups of fewer than 10 images" in page.cells and "g0" not in page.cells
    assert "of these images cannot be shown any more" in page.words and page.alts == []


@pytest.mark.program
def test_without_a_description_of_the_task(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40)
    (data_dir / "t" / "task.json").unlink()
    assert "No pictures: the task's description cannot be read." in report(project, data_dir).words


def test_no_predictions_yet(tmp_path: Path, undrawn: None) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], with_predictions=False, n=20)
    record = records.load_all(project)[0]
    event = {"kind": "not a number", "epoch": 6, "text": "t fold 0: back <b>to</b> the start"}
    records.save(project, dataclasses.replace(record, events=[event]))
    page = report(project, data_dir)
    assert "1 trouble came up in training" in page.words and {"back <b>to</b> the start", "7"} <= set(page.cells)
    assert "There are no predictions of labelled images yet: mml predict makes them." in page.words
    assert "Learning curves" in page.words and "Confusion" not in page.words


def test_records_without_an_ensemble_or_test_images(tmp_path: Path, undrawn: None) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b", "c"], with_test=False, n=60)
    page = report(project, data_dir)
    best = tables.leaderboard(project, "t")[0]
    assert f"is right on {100 * best['out_of_fold']:.0f} % of 60 out-of-fold images." in page.words
    assert "There are no test images, and the validation images also chose something (best_checkpoint)" in page.words


def test_nothing_trained(tmp_path: Path) -> None:
    assert "Nothing has been trained yet" in report(Project(tmp_path / "p"), tmp_path / "data").words


@pytest.mark.program
def test_an_ensemble_that_test_images_chose_is_called_so(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40)
    projects.ensemble(project, select_on="test", created="2000")
    words = report(project, data_dir).words
    assert "A part of the test images chose this ensemble." in words
    assert "Something was trained after this ensemble was made" in words


@pytest.mark.program
def test_labels(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["u", "v", "w"], "multilabel", n=80)
    page = report(project, data_dir)
    best = tables.leaderboard(project, "t")[0]
    assert f"area under the ROC curve of {best['test']:.2f} on 40 test images" in page.words
    assert "ROC curves, label by label" in page.words and "Confusion" not in page.words
    assert page.drawings == len(list(project.plots_dir().glob("*.png")))


@pytest.mark.program
def test_numbers_to_predict(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["size", "age"], "regression", n=100)
    intervals = {"halfwidths": {"size": 3.4567, "age": 4.5678}, "interval_alpha": 0.1}
    projects.ensemble(
        project, kind="regression", classes=["size", "age"], decide=intervals,
        scores={"test": {"rmse": {"value": 1.2345, "low": 1.1, "high": 1.4, "method": "m"}}},
    )  # fmt: skip
    page = report(project, data_dir)
    assert "root mean squared error of 1.23 on 50 test images (95 % interval 1.10 to 1.40)" in page.words
    rows = predictions.load(project.ensembles_dir("t") / "ens-12345678.parquet", "t", "test")
    assert rows.calibrated is not None
    inside = (np.abs(rows.calibrated[:, 0] - rows.targets[:, 0]) <= 3.4567).mean()
    assert f"{100 * inside:.0f} %" in page.cells and "± 3.46" in page.cells
    names = {path.stem for path in project.plots_dir().glob("*.png")}
    assert {"t_predicted_size", "t_residuals_age", "t_coverage"} <= names
    with (project.plots_dir() / "t_coverage.csv").open(encoding="utf-8", newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 12


@pytest.mark.program
def test_many_classes_and_rows_stay_small(tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(100)]
    project, data_dir = projects.make_project(tmp_path, classes, n=6000, recipes=1)
    page = report(project, data_dir)
    assert (project.reports_dir() / "report.html").stat().st_size < 1_500_000
    assert not (project.plots_dir() / "t_confusion.png").exists()
    assert "The most frequent of" in page.words and "The table of all 100 rows" in page.words


@pytest.mark.program
def test_the_newest_task_comes_first(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=20, recipes=1)
    projects.make_project(tmp_path, ["a", "b"], n=20, recipes=1, name="later")
    assert [task.name for task in facts.gather(project, data_dir)] == ["later", "t"]
    words = report(project, data_dir).words
    assert words.index("later predicts") < words.index("t predicts")


def test_which_mistakes_are_shown() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.51, 0.49], [0.01, 0.99]]))
    rows = facts.Rows(list("vwxyz"), np.array([1, 0, 0, 0, 1]), logits, logits)
    wrong, near = kinds.part("classification", "report").mistakes(rows, ["a", "b"], 3)
    assert [one.sample for one in wrong] == ["v", "w", "x"] and [one.sample for one in near] == ["y", "z"]
    assert wrong[0].words == "b, taken for a (90.0 % sure)"
    assert near[0].words == "a (51.0 %), nearly b (49.0 %)"
    numbers = facts.Rows(list("xyz"), np.array([[0.0], [1.0], [2.0]]), *[np.array([[0.5], [4.0], [2.0]])] * 2)
    assert [one.sample for one in kinds.part("regression", "report").mistakes(numbers, ["n"], 2)[0]] == ["y", "x"]


def test_prevalence_counts_images_that_a_split_took_for_the_test(tmp_path: Path) -> None:
    of = projects.make_task(tmp_path / "data", ["a", "b"], "classification", 40)
    tested = frozenset(of.samples.ids[-5:]) | {name for name in of.samples.ids if name.startswith("train0000")}
    parts = {name: [one.value for one in values] for name, values, _ in prevalence._part_shares(of, ["a", "b"], tested)}
    own = np.array([name.startswith("test") or name in tested for name in of.samples.ids])
    for name, rows in (("training", ~own), ("test", own)):
        assert parts[name] == pytest.approx(np.bincount(of.samples.targets[rows], minlength=2) / rows.sum())


@pytest.mark.parametrize("wrong", ["nan", "inf"])
def test_a_broken_recipe_is_not_shown(tmp_path: Path, wrong: str, undrawn: None) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=20, recipes=1, folds=1)
    path = project.predictions_file("t", "r0-0")
    rows = predictions.load(path, "t", "test")
    with predictions.writer(path, {("t", "test"), ("t", "val")}, "classification") as sink:
        sink.add("t", "test", 0, rows.sample_ids, rows.targets, np.full_like(rows.logits, float(wrong)))
    assert "There are no predictions of labelled images yet" in report(project, data_dir).words


@pytest.mark.parametrize("name", [name for name in stored.CURVES if name != "texts"])
def test_a_damaged_table_of_metrics_has_no_curve(name: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    record = make_record(project, "one", config="")
    (project.model_dir("digits", "one") / "metrics.csv").write_bytes(stored.CURVES[name])
    found = training.history(project, record, "accuracy")
    assert found is None or all(value != value for value in found.train[:1])


def test_a_narrow_section_between_wide_ones_has_its_pieces_beside_each_other() -> None:
    def section(title: str, *, is_wide: bool) -> Section:
        return Section(title, [paragraph(title)], is_wide=is_wide)

    made = [section("a", is_wide=True), section("b", is_wide=False), section("c", is_wide=True)]
    together = [*made, section("d", is_wide=False), section("e", is_wide=False)]
    text = html.page("p", [("t", together)])
    assert text.count('<div class="alone">') == 1 and text.count('<div class="columns" style="--count: 2">') == 1


def test_a_long_word_of_a_row_is_broken_for_its_figures() -> None:
    made = str(markup.table("t", ["name", "n"], [["x" * 60, "1"], [markup.element("code", "a.b"), "2"]]))
    assert made.count('class="long"') == 1 and f'<th scope="row" class="long">{"x" * 60}</th>' in made


@pytest.mark.parametrize(
    ("heights", "count"),
    [
        # The first two stand under each other beside the third: of three columns one was empty.
        ([300, 340, 900], 2),
        ([300, 800], 2),
        ([300, 300, 300], 3),
        ([500, 200, 200, 300, 100, 400], 4),
        ([100, 100], 2),
    ],
)
def test_no_column_stays_empty(heights: list[float], count: int) -> None:
    assert html.filled_columns(heights) == count
