"""The leaderboard's numbers against the same numbers computed by hand from a small made-up project."""

from __future__ import annotations

import csv
import dataclasses
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.config import snapshot
from mlpipe.config.compose import Facts, compose
from mlpipe.post import metrics
from mlpipe.reports import tables
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.predictions import Predictions
from mlpipe.runs.project import Project
from tests.reports import projects
from tests.runs.test_records import made

IDS = [f"s{number}" for number in range(8)]
TARGETS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def logits(seed: int, n: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def fold(project: Project, number: int, *, nested: bool = False, recipe: str = "abc", pivot: str = "t") -> None:
    """A record and its predictions: half of the images each held out, four test images that every fold predicts."""
    name = f"{recipe}-{number}"
    task = f"{pivot}+nested?{number}" if nested else pivot
    scores = {"val": {"accuracy": 0.5 + 0.25 * number}, "test": {"accuracy": 0.25 + 0.5 * number}}
    records.save(
        project,
        made(
            name, fold=number, nested=nested, recipe=recipe, task=task, pivot=pivot, scores=scores,
            val_used_for=["best_checkpoint"], timings={"seconds": 1.5, "train_images_per_s": 10.0 * (number + 1)},
        ),
    )  # fmt: skip
    own = slice(0, 5) if number == 0 else slice(5, 8)
    with predictions.writer(project.predictions_file(pivot, name), (), "classification") as sink:
        held_out = "test" if nested else "val"
        sink.add(task, held_out, number, IDS[own], TARGETS[own], logits(number)[own])
        sink.add(pivot, "test", number, ["t0", "t1", "t2", "t3"], np.array([0, 1, 2, 2]), logits(10 + number, 4))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("nested", [False, True])
def test_numbers_by_hand(nested: bool, tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for number in (0, 1):
        fold(project, number, nested=nested)
    (row,) = tables.leaderboard(project)
    assert (row["val"], row["fold_test"]) == (0.625, 0.5)
    assert row["val_sd"] == pytest.approx(statistics.stdev([0.5, 0.75]))
    assert row["fold_test_sd"] == pytest.approx(statistics.stdev([0.25, 0.75]))
    held_out = np.concatenate([logits(0)[:5], logits(1)[5:]])
    right = (held_out.argmax(axis=1) == TARGETS).sum()
    assert row["out_of_fold"] == right / 8
    assert row["out_of_fold"] != pytest.approx(
        ((held_out.argmax(1) == TARGETS)[:5].mean() + (held_out.argmax(1) == TARGETS)[5:].mean()) / 2
    )
    mean = (softmax(logits(10, 4)) + softmax(logits(11, 4))) / 2
    assert row["test"] == (mean.argmax(axis=1) == [0, 1, 2, 2]).mean()
    assert row["test_nll"] == pytest.approx(-np.log(mean[range(4), [0, 1, 2, 2]]).mean(), rel=1e-6)
    assert (row["test_images"], row["folds"], row["nested"]) == (4, 2, nested)
    assert (row["seconds"], row["images_per_s"], row["parameters"]) == (3.0, 15.0, 5)
    assert row["records"] == "abc-0 abc-1"
    text = tables.as_text([row])
    assert "0.6250 ± 0.1768" in text
    assert ("val is optimistic" in text) is not nested


@pytest.mark.parametrize(("nested", "split"), [(False, "val"), (True, "test")])
def test_the_mean_over_folds_has_its_corrected_interval(nested: bool, split: str, tmp_path: Path) -> None:
    project, scores = Project(tmp_path / "p"), [0.7, 0.75, 0.8, 0.85, 0.9]
    counts = {"train": 80, "val": 20, "test": 20} if not nested else {"train": 80, "val": 16, "test": 20}
    for number, value in enumerate(scores):
        other = "test" if split == "val" else "val"
        both = {split: {"accuracy": value}, other: {"accuracy": 0.1}}
        records.save(project, made(f"abc-{number}", fold=number, nested=nested, scores=both, counts=counts))
    (row,) = tables.leaderboard(project)
    # Student's quantile for four degrees of freedom, s^2 = 0.025 / 4, and 1/5 + 20/80.
    half = 2.7764451051977987 * (0.00625 * 0.45) ** 0.5
    assert (row["folds_low"], row["folds_high"]) == pytest.approx((0.8 - half, 0.8 + half))
    assert f"{0.8 - half:.2f} to {0.8 + half:.2f}" in tables.as_text([row])


def test_repeats_are_one_row_with_their_spread(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    cuts = [slice(0, 5), slice(5, 8), slice(0, 3), slice(3, 8)]
    for number, own in enumerate(cuts):
        record = made(
            f"abc-{number}", fold=number, recipe="abc", task="t", pivot="t", scores={"val": {"accuracy": 0.5}}
        )
        records.save(project, record)
        with predictions.writer(project.predictions_file("t", f"abc-{number}"), (), "classification") as sink:
            sink.add("t", "val", number, IDS[own], TARGETS[own], logits(number)[own])
    (row,) = tables.leaderboard(project)
    joined = [np.concatenate([logits(one)[cuts[one]] for one in pair]) for pair in ((0, 1), (2, 3))]
    scores = [float((one.argmax(axis=1) == TARGETS).mean()) for one in joined]
    assert scores[0] != scores[1] and (row["repeats"], row["folds"]) == (2, 4)
    assert row["out_of_fold"] == pytest.approx(statistics.fmean(scores))
    assert row["out_of_fold_sd"] == pytest.approx(statistics.stdev(scores))
    assert "2 x 2" in tables.as_text([row])


def recipe(project: Project, seed: int, vals: list[float], *more: str, mode: str = "train") -> None:
    """The folds of one recipe of a seed, with their configuration, and test images that all of them predict."""
    config = compose(mode, ["task=digits", f"seed={seed}", *more], Facts(lambda: ()))
    name = config.recipe_hash("t")
    for number, value in enumerate(vals):
        scores = {"val": {"accuracy": value}}
        record = made(f"{name}-{number}", fold=number, recipe=name, scores=scores, timings={"seconds": float(seed + 1)})
        records.save(project, record)
        folder = project.model_dir("t", record.id)
        (folder / records.CONFIG_FILE).write_text(snapshot.stored(config.tree))
        with predictions.writer(project.predictions_file("t", record.id), (), "classification") as sink:
            sink.add("t", "test", number, ["t0", "t1", "t2", "t3"], np.array([0, 1, 2, 2]), logits(seed, 4))


def test_seeds_are_one_row_with_their_spread(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    vals = {0: [0.5, 0.75], 1: [0.25, 0.25], 2: [0.75, 1.0]}
    for seed, of_folds in vals.items():
        recipe(project, seed, of_folds)
    recipe(project, 0, [0.5, 0.5], "optimizer.lr=0.5")
    # Neither what a command does besides nor how the machine is used makes another recipe.
    recipe(project, 7, [0.5, 0.5], "mode.subroutines=[train,predict]", "sys.num_workers=2")
    board = tables.leaderboard(project)
    assert len(board) == 5
    joined, other = tables.seeds_together(board, project)
    # Means over folds 0.625, 0.25, 0.875 and 0.5: their mean is 2.25 / 4, squared deviations sum to 0.203125.
    assert joined["val"] == pytest.approx(0.5625) and joined["val_sd"] == pytest.approx((0.203125 / 3) ** 0.5)
    tested = [float((logits(seed, 4).argmax(axis=1) == [0, 1, 2, 2]).mean()) for seed in (0, 1, 2, 7)]
    assert joined["test"] == pytest.approx(statistics.fmean(tested))
    assert joined["test_sd"] == pytest.approx(statistics.stdev(tested)) and len(set(tested)) > 1
    assert (joined["seeds"], joined["folds"], joined["folds_low"]) == ([0, 1, 2, 7], 2, None)
    # The report has an interval of each recipe's test score: none of them is that of a mean over seeds.
    with_ends = [{**row, "test_low": 0.1, "test_high": 0.2} for row in board]
    (again,) = (row for row in tables.seeds_together(with_ends, project) if "seeds" in row)
    assert (again["test_low"], again["test_high"], again["test"]) == (None, None, joined["test"])
    # Two folds of 1, 2, 3 and 8 seconds.
    assert joined["seconds"] == 7.0 and len(joined["records"].split()) == 8
    assert other["recipe"] not in joined["of_recipes"] and "seeds" not in other
    text = tables.as_text([joined, other])
    assert "2 recipes" in text and "mean ± sd of 4 seeds" in text and "0.5625 ± 0.2602" in text


def test_a_mean_of_weights_is_none_of_the_seeds(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for seed, value in enumerate((0.5, 0.75)):
        recipe(project, seed, [value])
    # It has the configuration of one of those that it is of.
    first = next(one for one in records.load_all(project) if one.scores["val"]["accuracy"] == 0.5)
    soup = made("soup", recipe="soup", scores={"val": {"accuracy": 1.0}}, environment={"averaged": [first.id]})
    records.save(project, soup)
    folder = project.model_dir("t", "soup")
    (folder / records.CONFIG_FILE).write_text((project.model_dir("t", first.id) / records.CONFIG_FILE).read_text())
    alone, joined = tables.seeds_together(tables.leaderboard(project), project)
    assert alone["recipe"] == "soup" and joined["seeds"] == [0, 1] and joined["val"] == 0.625


@pytest.mark.parametrize(
    "more",
    [
        ["mode.nested=false"],
        ["reuse.parameters=other#1"],
        ["time_limit=1m"],
        ["split.seed=5"],
        ["arch=timm", "arch.name=resnet18"],
    ],
)
def test_what_differs_in_more_than_its_seed_stays_apart(more: list[str], tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    recipe(project, 0, [0.5])
    recipe(project, 1, [0.25], *more)
    board = tables.leaderboard(project)
    assert tables.seeds_together(board, project) == board and len(board) == 2


def test_records_without_a_configuration_stay_apart(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for name in ("one", "two"):
        records.save(project, made(name, recipe=name))
    board = tables.leaderboard(project)
    assert tables.seeds_together(board, project) == board and len(board) == 2


def test_what_cannot_be_had_is_none(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    records.save(project, made("one", scores={"val": {"accuracy": 0.5}}))
    (row,) = tables.leaderboard(project)
    missing = ("val_sd", "out_of_fold", "fold_test", "fold_test_sd", "test", "test_nll", "test_images")
    assert [row[key] for key in missing] == [None] * len(missing)
    assert row["val"] == 0.5
    fold(project, 1)
    (row,) = tables.leaderboard(project)
    assert row["folds"] == 2
    assert (row["out_of_fold"], row["test"]) == (None, None)
    assert tables.headline([row]) == "test accuracy 0.7500"


def test_a_fold_that_was_trained_again_counts_once(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    records.save(project, made("old", scores={"val": {"accuracy": 0.1}}))
    records.save(project, made("new", scores={"val": {"accuracy": 0.9}}))
    (row,) = tables.leaderboard(project)
    assert (row["folds"], row["val"], row["records"], row["number"]) == (1, 0.9, "new", 2)


def test_order_headline_and_files(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    assert tables.as_text(tables.leaderboard(project)) == "no records yet"
    assert tables.headline([]) == ""
    for recipe, pivot, score in (("low", "b", 0.3), ("high", "b", 0.8), ("other", "a", 0.1)):
        scores = {"val": {"accuracy": score}, "test": {"accuracy": score}}
        records.save(project, made(f"{recipe}-0", recipe=recipe, task=pivot, pivot=pivot, scores=scores))
    board = tables.leaderboard(project)
    assert [row["recipe"] for row in board] == ["other", "high", "low"]
    assert tables.headline(board) == "test accuracy 0.1000"
    assert [row["recipe"] for row in tables.leaderboard(project, "b")] == ["high", "low"]
    path = tables.write_csv(tables.leaderboard(project, "b"), project)
    with path.open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["recipe"] for row in rows] == ["high", "low", "other"]
    assert float(rows[0]["val"]) == 0.8
    assert tables.as_text(board).count("accuracy of") == 2


def test_mean_of_folds_needs_the_same_images() -> None:
    one = Predictions(["a", "b"], np.array([0, 1]), logits(0, 2))
    other = Predictions(["a", "c"], np.array([0, 1]), logits(1, 2))
    nothing = Predictions([], np.empty(0, np.int64), np.empty((0, 0), np.float32))
    assert tables.mean_of_folds([one, other], "classification") is None
    assert tables.mean_of_folds([one, nothing], "classification") is None
    assert tables.mean_of_folds([], "classification") is None
    again = tables.mean_of_folds([one, one], "classification")
    assert again is not None
    np.testing.assert_allclose(softmax(again.logits), softmax(one.logits), rtol=1e-6)
    assert tables.pooled([nothing]) is None


def test_a_column_has_the_digits_of_its_images() -> None:
    row = dict.fromkeys(("val", "val_sd", "out_of_fold", "fold_test", "fold_test_sd", "test", "test_nll", "parameters"))
    row |= {
        "task": "t",
        "metric": "accuracy",
        "recipe": "abc",
        "arch": "net",
        "folds": 2,
        "nested": False,
        "ensemble": "",
    }
    row |= {"val_used_for": "", "uneven": "", "refit": "", "seconds": None, "images_per_s": None, "number": 1}
    row |= {"called": ""}
    few = {**row, "val": 0.95833, "val_sd": 0.0123, "test": 0.95833, "val_images": 300, "test_images": 24}
    assert tables.as_text([few]).splitlines()[-1].split() == ["abc", "net", "2", "0.958", "±", "0.012", "0.96"]
    assert tables.headline([few]) == "test accuracy 0.96"
    # Of a preset's recipe the name stands beside the hash.
    assert tables.as_text([{**few, "called": "probe"}]).splitlines()[-1].split()[:3] == ["abc", "probe", "net"]
    unknown = {**few, "val_images": None, "test_images": None}
    assert tables.as_text([unknown]).splitlines()[-1].split() == ["abc", "net", "2", "0.9583", "±", "0.0123", "0.9583"]


def test_empty_columns_are_left_out() -> None:
    text = tables.grid(["a", "gone", "b"], [["1", "", "long"], ["22", "", "x"]])
    assert text.splitlines() == ["a   b", "--------", "1   long", "22  x"]


def test_a_name_of_a_stored_file_makes_no_line_of_a_table_and_no_command_of_a_terminal() -> None:
    text = tables.grid(["a", "b"], [["x\nforged  1", "\x1b[2Jy"], ["1", "2"]])
    assert text.splitlines() == ["a            b", "-" * 21, "x forged  1  \\x1b[2Jy", "1            2"]


def test_ensembles_have_a_row(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    fold(project, 0)
    score = {"value": 0.9, "low": 0.8, "high": 0.95}
    ensembles.save(
        project,
        EnsembleRecord(
            id="ens-1", created="now", run="r", task="t", kind="classification", classes=["a"], mixing="logits", way="search",
            members=[{"name": "abc net", "weight": 1.0, "records": ["abc-0"]}], select_on="oof", stage="before", calibration=None,
            prior={}, losses={}, scores={"chosen on": {"accuracy": {**score, "value": 0.99}}, "test": {"accuracy": score}},
        ),
    )  # fmt: skip
    first, second = tables.leaderboard(project, "t")
    assert (first["ensemble"], first["out_of_fold"], first["test"], first["test_low"]) == ("ens-1", 0.99, 0.9, 0.8)
    assert second["ensemble"] == "" and list(first) == list(second)
    shown = tables.as_text([first, second])
    assert "accuracy of 1 recipe and 1 ensemble" in shown and "the mean of its folds" in shown
    assert "out-of-fold is optimistic" not in shown
    # The newest recipe is what was trained last, whatever was put together of it.
    assert tables.headline([first, second]) == tables.headline([second]) != ""
    with tables.write_csv([first, second], project).open(encoding="utf-8") as handle:
        assert [row["ensemble"] for row in csv.DictReader(handle)] == ["ens-1", ""]


def made_ensemble(project: Project, name: str, test: float, **changes: Any) -> None:
    score = {"value": test, "low": test - 0.1, "high": test + 0.1}
    record = EnsembleRecord(
        id=name, created="now", run="r", task="t", kind="classification", classes=["a"], mixing="logits", way="search",
        members=[{"name": "abc net", "weight": 1.0, "records": ["abc-0"]}], select_on="oof", stage="before", calibration=None,
        prior={}, losses={}, scores={"chosen on": {"accuracy": {**score, "value": 0.99}}, "test": {"accuracy": score}},
        calibrations={"abc-0": {"method": "affine"}},
    )  # fmt: skip
    ensembles.save(project, dataclasses.replace(record, **changes))


def test_an_ensemble_of_a_single_recipe_stands_in_the_recipe_s_row(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    fold(project, 0)
    made_ensemble(project, "ens-1", 0.7)
    (row,) = tables.for_people(tables.leaderboard(project), project)
    assert (row["recipe"], row["arch"], row["ensemble"]) == ("abc", "net", "")
    assert (row["out_of_fold"], row["test"]) == (0.99, 0.7)
    assert (row["test_low"], row["test_high"]) == pytest.approx((0.6, 0.8))
    shown = tables.as_text([row])
    assert "accuracy of 1 recipe\n" in shown and shown.endswith("calibrated as ens-1, val is optimistic")
    # The files and frames have both rows.
    assert len(tables.leaderboard(project)) == 2


def test_the_newest_ensemble_of_a_recipe_counts_and_others_have_rows_if_they_predict_otherwise(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    fold(project, 0)
    for name, test, created in (("ens-a", 0.7, "1"), ("ens-b", 0.6, "2"), ("ens-c", 0.7, "3")):
        made_ensemble(project, name, test, created=created)
    rows = tables.for_people(tables.leaderboard(project), project)
    assert {row["recipe"]: (row["arch"], row["test"]) for row in rows} == {
        "abc": ("net", 0.7),
        "ens-b": ("abc net", 0.6),
    }
    assert "calibrated as ens-c" in tables.as_text(rows)


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"losses": {"members": {"abc net": 0.4, "def net": 0.5}}, "calibrations": {}}, "chosen as ens-1"),
        ({"losses": {"members": {"abc net": 0.4, "def net": 0.5}}}, "chosen and calibrated as ens-1"),
        ({"calibrations": {}}, ""),
        ({"prior": {"kind": "values", "values": [0.5]}}, None),
        ({"select_on": "test"}, None),
        ({"members": [{"name": "abc net", "weight": 1.0, "records": ["gone"]}]}, None),
    ],
)
def test_what_makes_an_ensemble_another_thing_than_its_recipe(
    changes: dict[str, Any], remark: str | None, tmp_path: Path
) -> None:
    project = Project(tmp_path / "p")
    fold(project, 0)
    (plain,) = tables.leaderboard(project)
    made_ensemble(project, "ens-1", 0.7, **changes)
    rows = tables.for_people(tables.leaderboard(project), project)
    assert len(rows) == (1 if remark is not None else 2)
    (row,) = [row for row in rows if not row["ensemble"]]
    assert row.get("own_ensemble") == remark and row["test"] == (plain["test"] if remark is None else 0.7)
    # Images that chose the recipe among others say nothing new about it.
    assert row["out_of_fold"] == (0.99 if remark == "" else plain["out_of_fold"])


def test_a_metric_without_a_value_has_a_dash_and_the_reason() -> None:
    nan = float("nan")
    plain = tables.scores({"dice": {"value": 0.5, "low": 0.25, "high": 0.75, "note": "wide"}})
    assert plain.splitlines()[2].split() == [
        "dice",
        "0.5000",
        "0.2500",
        "to",
        "0.7500",
        *["mean", "Dice", "coefficient", "of", "the", "classes;", "wide"],
    ]
    assert tables.scores({"dice": {"value": 0.5, "low": 0.25, "high": 0.75}}, 24).splitlines()[2].split()[1:5] == [
        "0.50", "0.25", "to", "0.75",
    ]  # fmt: skip
    values = {
        "dice": {"value": 0.5, "low": 0.25, "high": 0.75, "note": ""},
        "foreground_dice": {"value": nan, "low": nan, "high": nan, "note": ""},
        "own": {"value": None, "low": None, "high": None, "note": ""},
        "auroc": {"value": 0.9, "low": nan, "high": nan, "note": "one positive image is too few"},
    }
    rows = [line.split(maxsplit=3) for line in tables.scores(values).splitlines()[3:]]
    assert rows == [
        ["foreground_dice", "-", "-", "no image has foreground, in its mask or predicted"],
        ["own", "-", "-", "it is not defined on these rows"],
        ["auroc", "0.9000", "-", "area under the ROC curve; one positive image is too few"],
    ]


@pytest.mark.parametrize(
    ("kind", "names", "outputs", "targets"),
    [
        ("regression", ["r2", "pearson", "spearman"], np.random.default_rng(0).normal(size=(8, 1)), np.ones((8, 1))),
        ("multilabel", ["auroc", "average_precision"], np.zeros((8, 2)), np.zeros((8, 2))),
        ("classification", ["auroc"], np.zeros((8, 2)), np.zeros(8, np.int64)),
    ],
)
def test_what_has_a_reason_is_not_defined_there(kind: str, names: list[str], outputs: Any, targets: Any) -> None:
    found = metrics.compute(names, outputs.astype(np.float32), targets, kind)
    assert all(np.isnan(found[name]) and name in metrics.UNDEFINED for name in names)


def test_a_narrow_terminal_gets_fewer_columns_and_a_word_on_them(tmp_path: Path) -> None:
    project, _ = projects.make_project(tmp_path, ["a", "b"])
    projects.ensemble(project)
    board = tables.leaderboard(project)
    whole = tables.as_text(board)
    for width in (60, 100, 160):
        lines = tables.as_text(board, width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[1].startswith("recipe") and "out-of-fold" in lines[1] and "test (folds' mean)" in lines[1]
        places = [place for place, line in enumerate(lines) if line.startswith("not shown here")]
        said = " ".join(line.strip() for line in lines[places[0] if places else -1 :])
        shown = {name.strip() for name in lines[1].split("  ")} - {""}
        left_out = said.removeprefix("not shown here: ").removesuffix("; mml info has them").split(", ")
        there = {name.strip() for name in whole.splitlines()[1].split("  ")} - {""}
        if said.startswith("not shown here"):
            assert shown | ({*left_out} - {"note"}) == there and not shown & {*left_out}
        else:
            assert shown == there
    assert "not shown here" in tables.as_text(board, 60) and "not shown here" not in tables.as_text(board, 300)


def test_tables_that_are_too_wide_stand_in_blocks() -> None:
    header, row = ["one", "two", "three", "four"], ["1" * 12, "2" * 12, "3" * 12, "4" * 12]
    shown = tables.grid(header, [row], 30)
    assert shown.splitlines() == [
        "one           two", "-" * 26, f"{'1' * 12}  {'2' * 12}", "",
        "one           three", "-" * 26, f"{'1' * 12}  {'3' * 12}", "",
        "one           four", "-" * 26, f"{'1' * 12}  {'4' * 12}",
    ]  # fmt: skip
    assert tables.grid(header, [row], 54) == tables.grid(header, [row])


def test_long_texts_of_the_last_column_are_folded() -> None:
    shown = tables.grid(["name", "note"], [["a", "several words that are longer than the line"], ["b", "short"]], 32)
    assert shown.splitlines() == [
        "name  note", "-" * 32, "a     several words that are", "      longer than the line", "b     short"
    ]  # fmt: skip


def test_a_notebook_gets_a_table_of_the_columns_that_are_there(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for number in (0, 1):
        fold(project, number, nested=False)
    shown = tables.as_html(tables.leaderboard(project))
    (caption,) = re.findall(r"<caption><span>([^<]*)", shown)
    assert caption.endswith("accuracy of 1 recipe, more is better")
    assert "0.6250 ± 0.1768" in shown and "records" not in shown and "<td" in shown
    assert "Nothing is trained" in tables.as_html([])


def test_a_deviation_has_the_decimals_of_its_mean() -> None:
    many = tables.Digits(500, 300)
    assert tables.cell({"val": 0.801, "val_sd": 0.0057}, "val", many) == "0.801 ± 0.006"
    # Nothing but zeros would say that there is none.
    assert tables.cell({"val": 0.801, "val_sd": 0.00012}, "val", many) == "0.801 ± 0.00012"
    assert tables.cell({"val": 0.801, "val_sd": None}, "val", many) == "0.801"
