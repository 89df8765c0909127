"""The table of experiments: what differs, means over folds of the best, order, blanks, seeds."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mlpipe.dialects.musket import comparison_table
from mlpipe.errors import DataError


def experiment(root: Path, name: str, config: str, folds: dict[str, str]) -> None:
    (root / name / "metrics").mkdir(parents=True)
    (root / name / "config.yaml").write_text(config)
    for file, text in folds.items():
        (root / name / "metrics" / file).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lines = "epoch,lr,val_loss,val_acc\n"
    experiment(
        tmp_path,
        "a",
        "lr: 1\nloss: x\nflag: true\nnested: {deep: [1, 2]}",
        {
            "metrics-0.0.csv": lines + "0,1,0.5,0.5\n1,1,0.4,0.6\n",
            "metrics-0.1.csv": lines + "0,1,0.45,0.9\n",
            "metrics-1.0.csv": lines + "0,1,0.2,NA\n",
        },
    )
    experiment(tmp_path, "b", "lr: 1\nloss: y\nflag: false", {"metrics-0.0.csv": "epoch,val_loss\n0,0.1\n"})
    experiment(tmp_path, "untrained", "lr: 3", {})
    return tmp_path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_the_best_of_each_fold_is_averaged_and_the_best_experiment_comes_first(root: Path) -> None:
    found = rows(comparison_table.table(comparison_table.collected_experiments(root)))
    assert [Path(row["path"]).parent.name for row in found] == ["b", "a"]
    assert found[1]["val_loss"] == "0.3" and found[1]["val_acc"] == "0.9"
    assert found[1]["fold_count"] == "2" and found[0]["val_acc"] == ""


def test_what_differs_has_a_column(root: Path) -> None:
    found = rows(comparison_table.table(comparison_table.collected_experiments(root)))
    assert found[1]["loss_function"] == "x" and found[1]["flag"] == "True" and found[1]["nested.deep"] == "[1, 2]"
    assert found[0]["nested.deep"] == "" and "lr" not in found[0]


def test_one_metric_and_larger_is_better(root: Path) -> None:
    experiment(root, "c", "lr: 1\nloss: z", {"metrics-0.0.csv": "epoch,val_acc\n0,0.95\n"})
    found = rows(
        comparison_table.table(comparison_table.collected_experiments(root), only="val_acc", sort_by="val_acc")
    )
    assert [Path(row["path"]).parent.name for row in found] == ["c", "a", "b"]
    assert "val_loss" not in found[0]
    with pytest.raises(DataError, match="did you mean 'val_acc'"):
        comparison_table.table(comparison_table.collected_experiments(root), only="val_ac")


@pytest.mark.parametrize(
    ("name", "less"),
    [
        ("val_mean_squared_error", True), ("val_out1_mae", True), ("dense_1_categorical_crossentropy", True),
        ("val_kullback_leibler_divergence", True), ("val_huber_loss", True), ("val_out0_loss", True), ("loss", True),
        ("val_rmse", True), ("val_brier", True), ("epoch", True),
        ("val_iou", False), ("val_categorical_accuracy", False), ("val_matthews_correlation", False), ("val_dice", False),
    ],
)  # fmt: skip
def test_of_losses_and_errors_less_is_better(name: str, less: bool) -> None:
    assert comparison_table.less_is_better(name) is less


def test_runs_of_several_seeds_are_one_row_under_their_parent(root: Path) -> None:
    for seed in (0, 1):
        experiment(root / "b", str(seed), "", {"metrics-0.0.csv": f"epoch,val_loss\n0,{seed}.3\n"})
        (root / "b" / str(seed) / "config.yaml").rename(root / "b" / str(seed) / "config_concrete.yaml")
    found = rows(comparison_table.table(comparison_table.collected_experiments(root)))
    assert len(found) == 2
    assert next(row for row in found if "/b/" in row["path"])["val_loss"] == f"{(0.1 + 0.3 + 1.3) / 3:.6g}"


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no experiment with metrics"):
        comparison_table.collected_experiments(tmp_path)
