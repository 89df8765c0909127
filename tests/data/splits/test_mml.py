"""mml-core's folds: against tables that mml-core 1.0.4 drew, and against its description written with torch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.splits import methods, mml, variants
from mlpipe.errors import DataError
from tests.data.samples import make_samples, make_task

TARGETS = [(index * index + index // 7) % 3 for index in range(60)]
# What mml-core 1.0.4 makes of them: `split_folds(n_folds)`, and fold numbers after `nested_validation("1", n_folds)`.
FOLDS = {
    2: "111110000001100101001000101111010100111111011000000011101100",
    3: "222221000101110201101100202211120110211222112000000021202211",
    5: "444331111202210413202100414432141221322333223000000143304421",
}
NESTED = {
    2: "-----011000--01-0-10-110-1----0-1-10------0--0111011---0--10",
    3: "01000-222-2---102--0--011111---11--12--002--002210120-2121--",
    5: "14220----1002-32-2333-331-4013-2-01-342212120031401-1414440-",
}
UNBALANCED = "214344443313343004442202240112011240410201033330211102303122"
SEED_7 = "022332331321110303333103120202103010021302231002120120122111"

pytestmark = pytest.mark.filterwarnings("ignore:Length of split")
few = settings(max_examples=40, deadline=None, derandomize=True)


def text(numbers: np.ndarray) -> str:
    return "".join("-" if number < 0 else str(number) for number in numbers.tolist())


@pytest.mark.parametrize("n", FOLDS)
def test_folds_and_nested_folds_are_those_of_mml_core(n: int) -> None:
    samples = make_samples(TARGETS)
    split = methods.mml(samples, folds=n)
    assert text(split.fold) == FOLDS[n]
    view = variants.nested(make_task(samples), split, 1)
    nested = methods.inner_folds(samples, split, 1)
    assert text(nested) == NESTED[n]
    assert view.val.tolist() == np.flatnonzero(nested == 0).tolist()
    assert view.test.tolist() == np.flatnonzero(split.fold == 1).tolist()


def test_other_seeds_and_no_balance_too() -> None:
    targets = np.array(TARGETS)
    assert text(mml.fold_numbers(targets, 5, 42, stratify=False)) == UNBALANCED
    assert text(mml.fold_numbers(targets, 4, 7, stratify=True)) == SEED_7


@few
@given(st.lists(st.integers(0, 3), min_size=8, max_size=80), st.integers(2, 6), st.integers(1, 1000))
def test_as_random_split_draws_them(targets: list[int], n: int, seed: int) -> None:
    wanted = np.full(len(targets), -1)
    for level in range(4):
        pool = [row for row, target in enumerate(targets) if target == level]
        first = round(len(pool) / n)
        rest = np.array_split(np.arange(len(pool) - first), n - 1)
        lengths = [first, *(len(part) for part in rest)]
        parts = torch.utils.data.random_split(pool, lengths, generator=torch.Generator().manual_seed(seed))
        for number, part in enumerate(parts):
            wanted[list(part)] = number
    folds = mml.ordered_folds(np.array(targets), n, seed, stratify=True)
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(targets)))
    assert mml.fold_numbers(np.array(targets), n, seed, stratify=True).tolist() == wanted.tolist()
    for number, rows in enumerate(folds):
        before = [row for level in range(4) for row in _random_order(targets, level, n, seed)[number]]
        np.random.default_rng(3 * (seed - 1) + number).shuffle(before)
        assert rows.tolist() == before


def _random_order(targets: list[int], level: int, n: int, seed: int) -> list[list[int]]:
    pool = [row for row, target in enumerate(targets) if target == level]
    first = round(len(pool) / n)
    lengths = [first, *(len(part) for part in np.array_split(np.arange(len(pool) - first), n - 1))]
    return [list(part) for part in torch.utils.data.random_split(pool, lengths, torch.Generator().manual_seed(seed))]


def test_a_stored_split_knows_how_it_was_dealt() -> None:
    split = methods.mml(make_samples(TARGETS), folds=3)
    again = methods.Split.from_plain(split.as_plain())
    assert again.dealing == "mml" and again.fold.tolist() == split.fold.tolist()
    old = methods.kfold(make_samples(TARGETS), folds=3).as_plain()
    del old["dealing"]
    assert methods.Split.from_plain(old).dealing == "even"


def test_groups_and_too_few_images_are_refused() -> None:
    import dataclasses

    samples = make_samples(TARGETS)
    with pytest.raises(DataError, match="tears groups"):
        methods.mml(dataclasses.replace(samples, groups=("one",) * 60))
    with pytest.raises(DataError, match="there are only 3 training images"):
        methods.mml(make_samples([0, 1, 2]), folds=5)
