"""Orders of training images: every one once in an epoch, drawn from seed, fold and epoch alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data import sampling
from mlpipe.data.sampling import EpochBatches, OrderedBatches

ROWS = np.arange(100, 150)


def order(seed: int = 0, fold: int = 0, epoch: int = 0) -> list[int]:
    batches = EpochBatches(ROWS, 8, seed, fold)
    batches.set_epoch(epoch)
    found = list(batches)
    assert {number for number, _ in found} == {epoch}
    return np.concatenate([rows for _, rows in found]).tolist()


def test_another_epoch_fold_or_seed_is_another_order_and_the_same_is_the_same() -> None:
    keys = list(itertools.product([0, 1, 42], [0, 1], [0, 1, 2]))
    orders = [tuple(order(*key)) for key in keys]
    assert len(set(orders)) == len(keys)
    assert orders == [tuple(order(*key)) for key in keys]


def test_an_order_needs_no_epochs_before_it() -> None:
    batches = EpochBatches(ROWS, 8, 3, 1)
    for epoch in range(4):
        batches.set_epoch(epoch)
        last = [rows.tolist() for _, rows in batches]
    fresh = EpochBatches(ROWS, 8, 3, 1)
    fresh.set_epoch(3)
    assert [rows.tolist() for _, rows in fresh] == last


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 70), st.integers(1, 20))
def test_every_row_once_and_never_a_last_batch_of_one(n: int, batch_size: int) -> None:
    rows = np.arange(n) * 3
    batches = EpochBatches(rows, batch_size, 0, 0)
    found = [request[1] for request in batches]
    assert sorted(np.concatenate(found).tolist()) == rows.tolist()
    assert len(found) == len(batches) == sampling.batches_in_epoch(n, batch_size)
    sizes = [len(batch) for batch in found]
    assert set(sizes[:-1]) <= {batch_size}
    if n > batch_size > 1:
        assert 1 < sizes[-1] <= batch_size + 1
        assert (sizes[-1] == batch_size + 1) == (n % batch_size == 1)


@pytest.mark.parametrize(
    ("n", "batch_size", "wanted"), [(33, 32, [33]), (65, 32, [32, 33]), (1, 32, [1]), (3, 1, [1, 1, 1]), (5, 2, [2, 3])]
)
def test_the_lone_last_image_joins_the_batch_before(n: int, batch_size: int, wanted: list[int]) -> None:
    assert [len(rows) for _, rows in EpochBatches(np.arange(n), batch_size, 0, 0)] == wanted


def test_the_order_is_a_fair_shuffle() -> None:
    firsts = np.array([order(epoch=epoch)[0] for epoch in range(400)])
    assert len(set(firsts.tolist())) > 45
    assert abs(firsts.mean() - ROWS.mean()) < 4 * ROWS.std() / 20


def test_evaluation_keeps_the_order() -> None:
    batches = OrderedBatches(np.array([5, 3, 9, 1, 7]), 2)
    assert [(epoch, rows.tolist()) for epoch, rows in batches] == [(0, [5, 3]), (0, [9, 1]), (0, [7])]
    assert len(batches) == 3
    assert list(OrderedBatches(np.empty(0, np.int64), 4)) == [] and len(OrderedBatches(np.empty(0, np.int64), 4)) == 0


def test_seeds_of_samples_depend_on_their_names_and_every_other_number() -> None:
    names = tuple(f"{index}" for index in range(200))
    seeds = sampling.sample_seeds(names)
    assert len(set(seeds.tolist())) == 200
    assert sampling.sample_seeds(names[::-1]).tolist() == seeds[::-1].tolist()
    drawn = [tuple(sampling.epoch_seeds(seeds, *key).tolist()) for key in itertools.product((0, 1), (0, 1), (0, 1))]
    assert len(set(drawn)) == 8


def test_full() -> None:
    made = sampling.full(batch_size=7, eval_batch_size=9)
    assert (made.batch_size, made.eval_batch_size) == (7, 9)
