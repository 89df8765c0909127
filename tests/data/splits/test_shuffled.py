"""Shuffled folds, test parts and negatives: worked examples, and scikit-learn itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from mlpipe.data.sampling import with_negatives
from mlpipe.data.splits import methods, shuffled
from mlpipe.data.splits.methods import TEST
from mlpipe.data.task import Row, Samples, make
from mlpipe.errors import DataError


def samples(n: int = 10, classes: int = 2) -> Samples:
    """Samples whose order is that of their numbers."""
    rows = [Row(f"{row:03d}", "train", row % classes, f"{row}") for row in range(n)]
    return make("t", [str(one) for one in range(classes)], rows, channels=1, source={"type": "digits"}).samples


def test_the_worked_examples() -> None:
    stay, test = shuffled.test_rows(10, 0.2, 123)
    assert (stay.tolist(), test.tolist()) == ([8, 7, 5, 9, 2, 3, 6, 1], [4, 0])
    assert [len(part) for part in shuffled.test_rows(5, 0.5, 123)] == [2, 3]
    found = with_negatives(np.arange(12), np.arange(12) < 3, 2)
    assert found.tolist() == [4, 3, 1, 2, 11, 7, 0, 8, 6]
    assert with_negatives(np.arange(12), np.arange(12) < 3, 0).tolist() == [0, 1, 2]


def test_folds_are_positions_in_what_is_left_after_the_test_part() -> None:
    split = methods.shuffled(samples(), folds=4, test_fraction=0.2)
    left = np.array([8, 7, 5, 9, 2, 3, 6, 1])
    for fold, (_, val) in enumerate(KFold(4, shuffle=True, random_state=33).split(left)):
        assert sorted(np.flatnonzero(split.fold == fold)) == sorted(left[val])
    assert np.flatnonzero(split.fold == TEST).tolist() == [0, 4]
    assert split.validated == (0, 1, 2, 3)


def test_stratified_folds_are_those_of_scikit_learn() -> None:
    given = samples(30, 3)
    split = methods.shuffled(given, folds=5, stratify=True)
    for fold, (_, val) in enumerate(
        StratifiedKFold(5, shuffle=True, random_state=33).split(np.zeros(30), given.targets)
    ):
        assert np.flatnonzero(split.fold == fold).tolist() == val.tolist()


def test_one_fold_is_a_single_validation_part() -> None:
    split = methods.shuffled(samples(20), folds=1, val_fraction=0.25)
    _, val = train_test_split(np.arange(20), test_size=0.25, random_state=33)
    assert np.flatnonzero(split.fold == 0).tolist() == sorted(val)
    assert split.validated == (0,)


def test_files_win(tmp_path: Path) -> None:
    (tmp_path / "test").write_text("[[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]")
    (tmp_path / "folds").write_text(
        "[[[2, 3, 4, 5, 6, 7], [0, 1]], [[0, 1, 4, 5, 6, 7], [2, 3]], [[0,1,2,3],[4,5,6,7]]]"
    )
    split = methods.shuffled(
        samples(), test_fraction=0.5, folds_file=str(tmp_path / "folds"), test_file=str(tmp_path / "test")
    )
    assert split.fold.tolist() == [0, 0, 1, 1, 2, 2, 2, 2, TEST, TEST]
    (tmp_path / "test").write_text("[[0, 1], [8, 9]]")
    with pytest.raises(DataError, match="does not fit the 10 images"):
        methods.shuffled(samples(), test_file=str(tmp_path / "test"))


def test_rare_sets_of_labels_share_a_stratum() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 1]], np.float64)
    assert shuffled.strata_of(targets, 2).tolist() == [1, 1, 0, 2, 0]


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="split.folds"):
        methods.shuffled(samples(3), folds=5)


def test_a_share_that_cannot_keep_classes_is_refused_with_what_helps() -> None:
    twos, helps = samples(20, 10), "use a larger share, add images of the rarest class, or use split.stratify=false"
    for options, key in (({"folds": 1, "val_fraction": 0.1}, "val"), ({"folds": 2, "test_fraction": 0.1}, "test")):
        with pytest.raises(DataError, match=rf"^split\.{key}_fraction: cannot be drawn \(.*\), got 0\.1; {helps}$"):
            methods.shuffled(twos, stratify=True, **options)  # type: ignore[arg-type]
    halves = methods.shuffled(twos, folds=1, stratify=True, val_fraction=0.5)
    assert np.bincount(twos.targets[halves.fold == 0]).tolist() == [1] * 10
    assert (methods.shuffled(twos, folds=1, val_fraction=0.1).fold == 0).sum() == 2
