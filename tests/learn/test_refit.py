"""A training on all folds: how long it lasts, what it leaves out, and that its epochs are those of the whole schedule."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mlpipe.config.schema import Stage
from mlpipe.data.splits.variants import REFIT
from mlpipe.errors import Interrupted
from mlpipe.learn import fit, refit
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.runs import records
from tests.learn.conftest import NONE, job
from tests.learn.test_fit import calls_in_epoch, stop_after


def history(path: Path, scores: list[float], stages: list[int] | None = None) -> Path:
    """A fold's `metrics.csv` with these validation losses."""
    rows = ["epoch,stage,val/loss" if stages else "epoch,val/loss"]
    for epoch, score in enumerate(scores):
        rows.append(f"{epoch},{stages[epoch]},{score}" if stages else f"{epoch},{score}")
    path.write_text("\n".join(rows) + "\n")
    return path


def of_all(one: FoldJob, *lasting: int) -> FoldJob:
    """A training on the rows of a fold, its validation rows among them."""
    everything = np.union1d(one.view.train, one.view.val)
    view = dataclasses.replace(one.view, fold=REFIT, train=everything, val=NONE)
    files = dataclasses.replace(one.files, store_best=False)
    origin = dataclasses.replace(one.origin, refit=["a", "b"])
    return dataclasses.replace(one, view=view, files=files, origin=origin, lasting=lasting)


def rows(one: FoldJob) -> list[dict[str, str]]:
    path = one.files.project.model_dir("digits", "record") / records.METRICS_FILE
    return list(csv.DictReader(path.read_text().splitlines()))


def test_it_lasts_as_long_as_the_median_fold_until_its_best_epoch(tmp_path: Path) -> None:
    recipe = job(tmp_path, "trainer.max_epochs=9").recipe
    losses = {"a": [3, 2, 1, 2, 3], "b": [1, 2, 3, 4], "c": [float("nan"), 5, 4, 3, 2, 1]}
    folds = [history(tmp_path / name, values) for name, values in losses.items()]
    assert refit.epochs(recipe, folds, keep_best=True) == (3,)
    assert refit.epochs(recipe, folds[:2], keep_best=True) == (3,)
    assert refit.epochs(recipe, folds, keep_best=False) == (5,)
    larger = dataclasses.replace(recipe.metrics, direction="max")
    more_is_better = dataclasses.replace(recipe, metrics=larger)
    assert refit.epochs(more_is_better, folds, keep_best=True) == (2,)


def test_a_stage_lasts_as_long_as_it_led_to_the_weights_that_were_kept(tmp_path: Path) -> None:
    recipe = dataclasses.replace(job(tmp_path).recipe, stages=(Stage(3), Stage(3), Stage(2)))
    where = [0, 0, 0, 1, 1, 1, 2, 2]
    # Best epochs: 2 of the first, then 1 of the second; 3, then none; 1, 2 and 2.
    folds = [
        history(tmp_path / "a", [5, 4, 6, 3, 9, 9, 9, 9], where),
        history(tmp_path / "b", [5, 4, 3, 9, 9, 9, 9, 9], where),
        history(tmp_path / "c", [5, 6, 7, 5, 4, 8, 3, 2], where),
    ]
    assert refit.epochs(recipe, folds, keep_best=True) == (2, 1, 0)
    assert refit.epochs(recipe, folds, keep_best=False) == (3, 3, 2)
    # The stage after one that keeps its own weights starts from them, however good those before were.
    keeping = dataclasses.replace(recipe, stages=(Stage(3), Stage(3, keep=True), Stage(2)))
    late = history(tmp_path / "d", [5, 4, 6, 8, 7, 9, 2, 3], where)
    assert refit.epochs(keeping, [late], keep_best=True) == (2, 2, 1)


def test_a_stage_that_starts_from_an_earlier_one_has_only_that_one_behind_it(tmp_path: Path) -> None:
    """Epochs of the stages in between were counted, which the weights that were kept had never learned in."""
    plan = (Stage(3, keep=True), Stage(3, keep=True), Stage(2, start_from=0))
    recipe = dataclasses.replace(job(tmp_path).recipe, stages=plan)
    fold = history(tmp_path / "a", [5, 4, 6, 9, 8, 9, 3, 2], [0, 0, 0, 1, 1, 1, 2, 2])
    lasting = refit.epochs(recipe, [fold], keep_best=True)
    assert lasting == (2, 0, 2)
    assert [stage.epochs for stage in refit.recipe_of(recipe, lasting).stages] == [3, 2]
    # Where nothing is chosen the last stage's epochs are those that count.
    assert refit.epochs(recipe, [fold], keep_best=False) == (2, 0, 2)


def test_stages_that_no_fold_learned_one_after_the_other_are_not_joined(tmp_path: Path) -> None:
    """One fold kept the second stage, the other the third, which starts from the first: a refit had all three."""
    recipe = job(tmp_path).recipe
    recipe = dataclasses.replace(recipe, stages=(Stage(2, keep=True), Stage(2), Stage(2, start_from=0)))
    where = [0, 0, 1, 1, 2, 2]
    folds = [history(tmp_path / "a", [5, 4, 3, 2, 9, 8], where), history(tmp_path / "b", [5, 4, 9, 8, 3, 2], where)]
    assert [refit.epochs(recipe, [fold], keep_best=True) for fold in folds] == [(2, 2, 0), (2, 0, 2)]
    assert refit.epochs(recipe, folds, keep_best=True) == (2, 0, 2)


def test_what_looks_at_validation_images_is_left_out(tmp_path: Path) -> None:
    recipe = job(tmp_path, "cbs=[early,ema]").recipe
    assert set(refit.recipe_of(recipe, (2,)).callbacks) == {"ema"}
    stages = (Stage(3, keep=True, val_negatives=1, negatives=2, callbacks=recipe.callbacks), Stage(2))
    (only,) = refit.recipe_of(dataclasses.replace(recipe, stages=stages), (2, 0)).stages
    assert (only.epochs, only.keep, only.val_negatives, only.negatives) == (3, False, None, 2)
    assert set(only.callbacks or ()) == {"ema"}


def test_its_epochs_are_the_first_of_the_whole_schedule(tmp_path: Path) -> None:
    base = "trainer.max_epochs=3", "lr_scheduler=cosine"
    whole, cut = of_all(job(tmp_path / "whole", *base)), of_all(job(tmp_path / "cut", *base), 2)
    fit.fit(whole, Watch())
    record = fit.fit(cut, Watch())
    assert len(rows(cut)) == 2 and rows(cut) == rows(whole)[:2]
    assert (record.fold, record.epochs, record.best_epoch, record.refit) == (-1, 2, 1, ["a", "b"])
    assert record.scores == {"val": {}} and record.counts["val"] == 0
    assert record.counts["train"] == len(job(tmp_path / "fold").view.train) + len(job(tmp_path / "fold").view.val)


def test_stages_end_in_the_midst_of_theirs(tmp_path: Path) -> None:
    stages = "stages.list=[{epochs:3,lr:1e-3},{epochs:2,lr:1e-2}]"
    one = of_all(job(tmp_path, stages, "lr_scheduler=none"), 1, 2)
    assert fit.fit(one, Watch()).epochs == 3
    assert [(row["epoch"], row["stage"]) for row in rows(one)] == [("0", "0"), ("1", "1"), ("2", "1")]


@pytest.mark.parametrize(
    "overrides",
    [["cbs=ema", "cbs.ema.decay=0.9"], pytest.param(["cbs=swa", "cbs.swa.start=0.3"], marks=pytest.mark.program)],
)
def test_averaged_weights_are_stored_without_validation_too(tmp_path: Path, overrides: list[str]) -> None:
    """The same training with a validation that chooses nothing stores the same weights."""
    validated = job(tmp_path / "validated", *overrides, store_best=False)
    blind = job(tmp_path / "blind", *overrides, store_best=False)
    blind = dataclasses.replace(blind, view=dataclasses.replace(blind.view, val=NONE))
    assert fit.fit(blind, Watch()).weights == fit.fit(validated, Watch()).weights


@pytest.mark.program
def test_a_refit_that_was_stopped_goes_on_bit_by_bit(saves_every_epoch: None, tmp_path: Path) -> None:
    base = "trainer.max_epochs=4", "lr_scheduler=cosine", "cbs=ema"
    whole, cut = of_all(job(tmp_path / "whole", *base), 3), of_all(job(tmp_path / "cut", *base), 3)
    expected = fit.fit(whole, Watch())
    with pytest.raises(Interrupted):
        fit.fit(cut, stop_after(calls_in_epoch(cut) + 2))
    assert fit.fit(cut, Watch()).weights == expected.weights
    assert rows(cut) == rows(whole)
