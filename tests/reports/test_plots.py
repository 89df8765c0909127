"""Plots: what is drawn is what was given, and a figure's SVG has no colour of its own."""

from __future__ import annotations

import csv
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn import metrics as reference

from mlpipe.post.calibration.errors import reliability_bins
from mlpipe.post.diagnosis import NetBenefit
from mlpipe.post.measures.ranks import area_under_roc, average_precision_of
from mlpipe.reports.plots import confusion, diagnosis, learning, numbers, probabilities, shares, studies, style
from mlpipe.reports.plots.shares import Value

RNG = np.random.default_rng


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def titles(figure: Figure) -> list[str]:
    """What the pieces of a drawing say under the pointer."""
    tree = ElementTree.fromstring(style.svg(style.Plot("p", figure, "", "", [])).html)
    return [element.text for element in tree.iter("title") if element.text]


def binary(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = RNG(seed)
    positive = rng.random(n) < 0.4
    # Rounded, so that some scores are tied.
    return np.round(rng.normal(size=n) + positive, 2), positive


@pytest.mark.parametrize("n", [30, 3000])
def test_curves_have_the_area_of_the_reference(n: int) -> None:
    scores, positive = binary(n)
    roc = probabilities.roc("a", scores, positive, area_under_roc(scores, positive))
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(reference.roc_auc_score(positive, scores), abs=2e-3)
    assert roc.area == pytest.approx(reference.roc_auc_score(positive, scores))
    recall = probabilities.precision_recall("a", scores, positive, average_precision_of(scores, positive))
    assert recall.area == pytest.approx(reference.average_precision_score(positive, scores))
    assert np.trapezoid(recall.y, recall.x) == pytest.approx(recall.area, abs=4e-3)
    assert len(roc.x) <= 121 and len(recall.x) <= 121
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)


def test_confusion_matrix_and_pairs() -> None:
    counts = np.array([[5, 1, 0], [0, 4, 2], [3, 0, 1]])
    drawn = texts(confusion.confusion_matrix(counts, ["a", "b", "c"]))
    assert drawn == ["5\n83 %", "1\n17 %", "4\n67 %", "2\n33 %", "3\n75 %", "1\n25 %"]
    cells = [[true, predicted, int(counts[true, predicted])] for true, predicted in np.argwhere(counts).tolist()]
    assert confusion.most_confused(cells) == [(2, 0, 3, 0.75), (1, 2, 2, 1 / 3), (0, 1, 1, 1 / 6)]
    assert confusion.most_confused(cells, most=1) == [(2, 0, 3, 0.75)]
    pairs = confusion.confused_pairs([("c", "a", 3, 0.75)])
    assert [bar.get_width() for bar in pairs.axes[0].patches] == [3]
    assert texts(pairs) == [" c taken for a", "3 (75 %)"]


def test_class_names_are_no_mathematics() -> None:
    figure = confusion.confusion_matrix(np.eye(2, dtype=int), ["$x$ <b>", "a_b\nc" * 30])
    drawing = style.svg(style.Plot("p", figure, "", "", []))
    assert "$x$ &lt;b&gt;" in drawing.html


def test_values_are_told_under_the_pointer() -> None:
    losses, rates = [1.0, 0.5, 0.4], [0.1, 0.2, 0.1]
    histories = [learning.History(fold, [1, 2, 3], losses, losses, [0.5, 0.9, np.nan], 2, rates) for fold in (0, 3)]
    drawing = style.svg(style.Plot("p", learning.learning_curves(histories, "accuracy"), "", "", [])).html
    tree = ElementTree.fromstring(drawing)
    said = [element.text or "" for element in tree.iter("title")]
    assert "fold 3, epoch 2: validation accuracy 0.9" in said and "fold 0, epoch 3: learning rate 0.1" in said
    assert not any("nan" in text for text in said)
    assert {element.get("data-series") for element in tree.iter()} - {None} == {"fold 0", "fold 3"}
    named = probabilities.Curve('"a" <b>', 0.5, np.array([0, 1.0]), np.array([0, 1.0]))
    tree = ElementTree.fromstring(
        style.svg(style.Plot("p", probabilities.curves([named], "x", "y", chance=True), "", "", [])).html
    )
    assert {element.get("data-series") for element in tree.iter()} - {None} == {'"a" <b>'}
    counts = np.array([[5, 0], [2, 4]])
    matrix = confusion.confusion_matrix(counts, ["a|<b>", 'say "x"'])
    tree = ElementTree.fromstring(style.svg(style.Plot("p", matrix, "", "", [])).html)
    pairs = {str(one.get("data-pair")): one.findtext("title") for one in tree.iter() if one.get("data-pair")}
    assert pairs["1-0"] == 'say "x", predicted as a/<b>: 2 (33 %)' and sorted(pairs) == ["0-0", "1-0", "1-1"]


def test_reliability_shows_every_bin() -> None:
    sure = RNG(1).random(500)
    bins = reliability_bins(sure, (RNG(2).random(500) < sure).astype(float), bins=10)
    figure = probabilities.reliability([("before", bins), ("after", bins)])
    assert len(figure.axes) == 2
    points = figure.axes[0].collections[0].get_offsets()
    assert np.allclose(points, [[one.confidence, one.hits] for one in bins])


def test_only_the_worst_of_many_curves_are_named() -> None:
    found = [
        probabilities.Curve(f"c{place}", place / 40, np.array([0, 1.0]), np.array([0, 1.0])) for place in range(40)
    ]
    figure = probabilities.curves(found, "x", "y", chance=True)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        f"c{place} {place / 40:.3f}" for place in range(5)
    ]


def test_names_of_folds_do_not_cover_each_other() -> None:
    histories = [learning.History(fold, [1, 2], [1.0, 0.5], [1.0, 0.5], [0.5, 0.9], 2) for fold in range(4)]
    figure = learning.learning_curves(histories, "accuracy")
    for panel in figure.axes:
        heights = sorted(text.get_position()[1] for text in panel.texts)
        assert np.diff(heights).min() > 0.09 and heights[-1] <= 1.01
    assert "validation accuracy" in [panel.get_title(loc="left") for panel in figure.axes]


def test_one_epoch_without_scores() -> None:
    figure = learning.learning_curves([learning.History(0, [1], [], [0.5], [], 1)], "accuracy")
    assert len(figure.axes) == 1


def test_many_points_are_counted_in_cells() -> None:
    true = RNG(0).normal(size=10_000)
    names = [f"{place}.png" for place in range(len(true))]
    figure = numbers.predicted_against_true(true, true + 0.1, "n", names)
    assert len(figure.axes[0].collections) == 0 and 10 < len(figure.axes[0].patches) < 1600
    counted = [int(text.split()[0]) for text in titles(figure)]
    assert len(counted) == len(figure.axes[0].patches) and sum(counted) == len(true)
    few = numbers.residuals(true[:100], true[:100] + 0.1, "n", 0.5, names[:100])
    assert np.allclose(few.axes[0].collections[0].get_offsets()[:, 1], 0.1)
    said = [text for text in titles(few) if text]
    assert len(said) == 100 and said[7] == f"7.png: true {true[7]:.4g}, predicted {true[7] + 0.1:.4g}"


def test_scores_and_prevalence() -> None:
    values = [Value("a", 0.5, 0.4, 0.6), Value("b", 0.7, stands_out=True)]
    assert texts(shares.scores(values, "accuracy", 300)) == ["a", "0.500", "b", "0.700"]
    # As many digits as the tables have.
    assert texts(shares.scores(values, "accuracy", 24))[1::2] == ["0.50", "0.70"]
    # A recipe of a preset with its hash and a network's long name.
    long = "mirrored 1a2b3c4d tf_efficientnet_lite0.in1k"
    assert long in texts(shares.scores([Value(long, 0.5)], "accuracy", 24))
    # Scores that are the same but for rounding stand above each other, on an axis that can be read.
    panel = shares.scores([Value("a", 49.293654), Value("b", 49.293654 + 1e-7)], "rmse").axes[0]
    low, high = panel.get_xlim()
    assert high - low == pytest.approx(2 * 4.93, rel=1e-2)
    assert panel.xaxis.get_major_formatter().get_offset() == "" and panel.get_xlabel() == "test rmse"
    bars = shares.prevalence([("training", values), ("test", values)]).axes[0].patches
    assert [bar.get_width() for bar in bars][:4] == [0.5, 0.7, 0.5, 0.7]


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    shares.scores([Value("a", 0.5)], "accuracy")
    assert dict(matplotlib.rcParams) == before


def test_svg_follows_the_theme_and_files_lie_beside(tmp_path: Path) -> None:
    values = [Value("a", 0.5, 0.4, 0.6)]
    plot = style.Plot(
        "t/../x <y>", shares.scores(values, "accuracy"), "c", 'says "<so>"', ["name", "value"], [["a", 0.5]]
    )
    style.write(plot, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["t_.._x_y.csv", "t_.._x_y.png"]
    with (tmp_path / names[0]).open(encoding="utf-8", newline="") as handle:
        assert list(csv.reader(handle)) == [["name", "value"], ["a", "0.5"]]
    assert (tmp_path / names[1]).read_bytes()[:4] == b"\x89PNG"
    drawing = style.svg(plot).html
    tree = ElementTree.fromstring(drawing)
    assert tree.find("title").text == 'says "<so>"'  # type: ignore[union-attr]
    assert "var(--series-1)" in drawing and "http" not in drawing
    # Clip paths and markers are found under the names that they were given.
    names_of = {element.get("id") for element in tree.iter() if element.get("id")}
    used = {part.split(")")[0] for part in drawing.split("url(#")[1:]} | {
        part.split('"')[0] for part in drawing.split('href="#')[1:]
    }
    assert used and used <= names_of


def test_no_fixed_colour_is_left(tmp_path: Path) -> None:
    import re

    scores, positive = binary(200)
    curve = probabilities.roc("a", scores, positive, 0.5)
    bins = reliability_bins(np.array([0.2, 0.8]), np.array([0.0, 1.0]))
    figures = [
        probabilities.curves([curve], "x", "y", chance=True),
        probabilities.reliability([("t", bins)]),
        confusion.confusion_matrix(np.eye(3, dtype=int), ["a", "b", "c"]),
        confusion.confused_pairs([("a", "b", 1, 0.5)]),
        learning.learning_curves([learning.History(0, [1, 2], [1, 1], [1, 1], [1, 1], 1)], "accuracy"),
        numbers.residuals(scores, scores, "n", 1.0, ["a"] * len(scores)),
        numbers.coverage(["n"], [bins]),
        shares.prevalence([("training", [Value("a", 1.0, 0.5, 1.0)])]),
    ]
    for place, figure in enumerate(figures):
        drawing = style.svg(style.Plot(f"p{place}", figure, "", "", [])).html
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)


def test_names_that_begin_alike_stay_apart() -> None:
    long = ["invasive carcinoma, ductal", "invasive carcinoma, lobular", "invasive", "other_disease_of_the_skin"]
    expected = ["…ductal", "…lobular", "invasive", "other_disea…"]
    assert style.shortened_apart(long, 12) == expected
    assert style.shortened_apart(["pneumoniaofthelungA", "pneumoniaofthelungB"], 8) == ["…helungA", "…helungB"]
    assert style.shortened_apart(["the same long name"] * 2, 8) == ["the sam…"] * 2
    # Words longer than their place, and letters as wide as high.
    assert style.shortened_apart(["stage_carcinomatous1", "stage_carcinomatous2"], 10) == ["…nomatous1", "…nomatous2"]
    assert style.shortened_apart(["肺炎肺炎肺炎一", "肺炎肺炎肺炎二"], 9) == ["…炎肺炎一", "…炎肺炎二"]


def test_a_decision_curve_of_one_group_says_that_it_has_no_band() -> None:
    nothing = np.full(2, np.nan)
    curve = NetBenefit(np.array([0.1, 0.5]), np.array([0.3, 0.2]), nothing, nothing, np.array([0.2, 0.0]))
    drawing = style.svg(style.Plot("p", diagnosis.decision_curve(curve), "", "", [])).html
    assert "predictions 0.3000, everybody 0.2000" in drawing and "nan" not in drawing


def test_letters_as_wide_as_high_count_twice_and_none_causes_a_warning() -> None:
    name = "肺炎の疑いがある胸部写真"
    assert style.shortened(name, 12) == "肺炎の疑い…" and style.shortened(name, 24) == name
    counts = np.array([[3, 1], [0, 2]])
    plot = style.Plot("p", confusion.confusion_matrix(counts, [name, "b"]), "", "", [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "肺炎の疑いがある" in style.svg(plot).html


def test_a_key_has_two_columns_only_where_both_fit() -> None:
    found = [probabilities.Curve(name, 0.9, np.arange(2.0), np.arange(2.0)) for name in ("a", "b", "x" * 40)]
    for some, columns in ((found[:2], 2), (found, 1)):
        figure = probabilities.curves(some, "x", "y", chance=False)
        figure.draw_without_rendering()
        (key,) = figure.legends
        assert key._ncols == columns
        assert key.get_window_extent().x1 <= figure.bbox.x1


def test_names_of_pairs_leave_the_bars_the_whole_width() -> None:
    pairs = [("a" * 30, "b" * 30, 3, 0.5), ("b" * 30, "a" * 30, 1, 0.1)]
    figure = confusion.confused_pairs(pairs)
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().width > 0.9 * figure.bbox.width


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1e-5, 1e-3, 1e-1], ["1e-05", "0.0001", "0.1"]),
        ([30, 900], []),
        ([2e-5, 1.5e-4], ["6e-05"]),
        ([1, 60], ["20", "50"]),
    ],
)
def test_axes_of_searches_have_plain_numbers(values: list[float], labels: list[str]) -> None:
    """Powers of ten are formulas, which stood in the page as they are written for LaTeX."""
    drawing = studies.slice_plot([(value, value) for value in values], "optimizer.lr", "val/loss")
    drawing.canvas.draw()
    (panel,) = drawing.axes
    shown = [label.get_text() for label in panel.get_xticklabels(which="both")]
    assert not any("$" in text for text in shown) and set(labels) <= set(shown)
    low, high = panel.get_xlim()
    assert len([tick for tick in panel.get_xticks() if low <= tick <= high]) <= 7
