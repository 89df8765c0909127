"""Orders of training images: every one once in an epoch, drawn from seed, fold and epoch alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data import sampling
from mlpipe.data.sampling import EpochBatches, OrderedBatches, Sampling, Shard, batches_in_epoch, in_order
from mlpipe.errors import DataError

ROWS = np.arange(100, 150)
TARGETS = np.array([0] * 40 + [1] * 8 + [2] * 2)


def order(seed: int = 0, fold: int = 0, epoch: int = 0) -> list[int]:
    batches = EpochBatches(ROWS, TARGETS, Sampling(8, 8), seed, fold)
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
    batches = EpochBatches(ROWS, TARGETS, Sampling(8, 8), 3, 1)
    for epoch in range(4):
        batches.set_epoch(epoch)
        last = [rows.tolist() for _, rows in batches]
    fresh = EpochBatches(ROWS, TARGETS, Sampling(8, 8), 3, 1)
    fresh.set_epoch(3)
    assert [rows.tolist() for _, rows in fresh] == last


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 70), st.integers(1, 20))
def test_every_row_once_and_never_a_last_batch_of_one(n: int, batch_size: int) -> None:
    rows = np.arange(n) * 3
    batches = EpochBatches(rows, rows, Sampling(batch_size, 8), 0, 0)
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
    assert [len(rows) for _, rows in EpochBatches(np.arange(n), np.zeros(n), Sampling(batch_size, 8), 0, 0)] == wanted


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


def drawn(made: Sampling, epoch: int, seed: int = 0) -> np.ndarray:
    batches = EpochBatches(ROWS, TARGETS, made, seed, 0)
    batches.set_epoch(epoch)
    return np.concatenate([rows for _, rows in batches])


@pytest.mark.parametrize("count", [None, 7, 50, 200])
def test_balanced_epochs_have_every_class_equally_often(count: int | None) -> None:
    made = sampling.balanced(batch_size=8, sample_count=count)
    seen = np.zeros(150, int)
    for epoch in range(30):
        rows = drawn(made, epoch)
        assert len(rows) == (count or 50)
        per_class = np.bincount(TARGETS[rows - 100], minlength=3)
        assert per_class.max() - per_class.min() <= 1
        np.add.at(seen, rows, 1)
    for name in range(3):
        appearances = seen[ROWS[name == TARGETS]]
        assert appearances.max() - appearances.min() <= 1


def test_samples_without_a_class_keep_their_share_of_balanced_epochs() -> None:
    """Samples that only a teacher has labelled were a class of their own, as large as each of the others."""
    rows, targets = np.arange(60), np.array([-1] * 15 + [0] * 30 + [1] * 10 + [2] * 5)
    made, seen = sampling.balanced(batch_size=8), np.zeros(60, int)
    for epoch in range(12):
        batches = EpochBatches(rows, targets, made, 0, 0)
        batches.set_epoch(epoch)
        chosen = np.concatenate([part for _, part in batches])
        assert np.bincount(targets[chosen] + 1).tolist() == [15, 15, 15, 15]
        np.add.at(seen, chosen, 1)
    assert set(seen[:15]) == {12} and set(seen[15:45]) == {6} and set(seen[45:55]) == {18} and set(seen[55:]) == {36}
    few = sampling.balanced(batch_size=8, sample_count=8)
    order = few.order(rows, targets, (0, 0), 3)
    assert np.bincount(targets[order] + 1).tolist() == [2, 2, 2, 2]
    # Without such samples nothing changes.
    own = made.order(rows[15:], targets[15:], (0, 0), 3)
    assert np.bincount(targets[own]).tolist() == [15, 15, 15]
    # Nor does a class need to occur.
    assert sorted(made.order(rows[:15], targets[:15], (0, 0), 3).tolist()) == rows[:15].tolist()


def test_balanced_is_for_classes_only() -> None:
    made = sampling.balanced(batch_size=8)
    with pytest.raises(DataError, match="sampling=balanced: is for classification tasks"):
        EpochBatches(ROWS, np.zeros((50, 2)), made, 0, 0)


@pytest.mark.parametrize("count", [1, 7, 50, 120])
def test_subset_epochs_are_exact_and_take_turns(count: int) -> None:
    made = sampling.subset(sample_count=count, batch_size=8)
    seen = np.zeros(50, int)
    for epoch in range(50):
        rows = drawn(made, epoch)
        assert len(rows) == count == EpochBatches(ROWS, TARGETS, made, 0, 0).images
        np.add.at(seen, rows - 100, 1)
    assert seen.min() == seen.max() == count
    assert drawn(made, 3, seed=1).tolist() != drawn(made, 3).tolist() or count == 1


@pytest.mark.parametrize(
    ("n", "batch_size", "ranks"), [(100, 16, 2), (97, 16, 2), (99, 16, 3), (7, 16, 2), (51, 16, 3)]
)
def test_processes_share_every_batch_of_one_process(n: int, batch_size: int, ranks: int) -> None:
    rows, targets, sampling = np.arange(n) * 3, np.zeros(n, np.int64), Sampling(batch_size, 8)
    samplers = [EpochBatches(rows, targets, sampling, 1, 0, Shard(rank, ranks)) for rank in range(ranks)]
    parts = [[list(part) for _, part in sampler] for sampler in samplers]
    batches = [np.concatenate(part) for part in zip(*parts, strict=True)]
    assert all(len(part) >= 1 for shard in parts for part in shard)
    assert all(len(part) >= 2 for shard in parts[:-1] for part in shard)
    assert sorted(np.concatenate(batches)) == sorted(rows)
    alone = [list(part) for _, part in EpochBatches(rows, targets, sampling, 1, 0)]
    for whole, batch in zip(alone[: len(batches) - 1], batches, strict=False):
        assert sorted(whole) == sorted(batch)
    # With its share the mean over processes of each one's mean is the mean over the batch.
    for number, batch in enumerate(batches):
        means = [sampler.share(number) * np.mean(part[number]) for sampler, part in zip(samplers, parts, strict=True)]
        np.testing.assert_allclose(np.mean(means), np.mean(batch))


def test_a_short_last_batch_joins_the_one_before_only_where_devices_need_it() -> None:
    assert batches_in_epoch(34, 16) == 3
    assert batches_in_epoch(34, 16, 2) == 2
    assert batches_in_epoch(36, 16, 2) == 3
    assert batches_in_epoch(3, 16, 2) == 1


@pytest.mark.parametrize("n", [1, 8, 9, 40])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_counts_each_row_once_in_the_order_of_one_process(n: int, ranks: int) -> None:
    rows = np.arange(n)[::-1] + 5
    alone = [list(part) for _, part in OrderedBatches(rows, 8)]
    shards = [[list(part) for _, part in OrderedBatches(rows, 8, Shard(rank, ranks))] for rank in range(ranks)]
    assert all(shards) and all(len(OrderedBatches(rows, 8, Shard(rank, ranks))) >= 1 for rank in range(ranks))
    assert in_order(shards, len(alone)) == alone
