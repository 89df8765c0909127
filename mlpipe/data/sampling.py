"""Order of the training samples, drawn only from seed, fold and epoch, so that no state needs to be stored."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mlpipe.data.augment.samples import Seeds, mix
from mlpipe.errors import DataError, problem
from mlpipe.files import digest_bytes

_NEGATIVES_SEED = 23232
T = TypeVar("T")
Rows = npt.NDArray[np.int64]
Request = tuple[int, Rows]
# Maps (training rows, their targets, key of the random numbers, epoch) to the epoch's rows in their order.
Order = Callable[[Rows, "npt.NDArray[Any]", tuple[int, int], int], Rows]


@dataclass(frozen=True)
class Shard:
    """This process's part of every batch if several processes train one fold together.

    Attributes:
        rank: The process's number, counted from 0.
        ranks: The number of processes.
    """

    rank: int = 0
    ranks: int = 1


WHOLE = Shard()


def shuffled(rows: Rows, targets: npt.NDArray[Any], key: tuple[int, int], epoch: int) -> Rows:
    """Return all rows in an order drawn for the epoch."""
    return _generator(key, epoch).permutation(rows)


@dataclass(frozen=True)
class Sampling:
    """Samples of an epoch, and batch sizes.

    Attributes:
        batch_size: Training samples per optimizer step (before accumulation).
        eval_batch_size: Samples per batch outside of training.
        order: The rows of each epoch.
        balances: Whether classes are balanced, for models that are not trained in epochs.
    """

    batch_size: int
    eval_batch_size: int
    order: Order = shuffled
    balances: bool = False


def full(*, batch_size: Annotated[int, ">= 1"] = 32, eval_batch_size: Annotated[int, ">= 1"] = 256) -> Sampling:
    """Every training sample once per epoch, in a new order each time.

    Args:
        batch_size: Training samples per batch.
        eval_batch_size: Samples per batch outside of training.
    """
    return Sampling(batch_size, eval_batch_size)


def balanced(
    *,
    batch_size: Annotated[int, ">= 1"] = 32,
    eval_batch_size: Annotated[int, ">= 1"] = 256,
    sample_count: Annotated[int, ">= 1"] | None = None,
) -> Sampling:
    """Every class equally often: samples of rare classes are repeated within an epoch, samples of frequent ones take turns.

    Counts of classes differ by at most one per epoch, and counts of a class's samples by at most one over a training.
    Samples without a class, which only a teacher has labelled, are as large a part of an epoch as of the training samples.

    Args:
        batch_size: Training samples per batch.
        eval_batch_size: Samples per batch outside of training.
        sample_count: Samples per epoch; None: the number of training samples.
    """

    def order(rows: Rows, targets: npt.NDArray[Any], key: tuple[int, int], epoch: int) -> Rows:
        require_classes(targets)
        count, unlabelled = sample_count or len(rows), rows[targets < 0]
        unlabelled_count = round(count * len(unlabelled) / len(rows))
        classes, sizes = np.unique(targets[targets >= 0], return_counts=True)
        last = (key[0], key[1] + 2**48 * (len(classes) + 1))
        drawn = [_rows_in_turns(unlabelled, unlabelled_count, last, epoch * unlabelled_count)]
        if not len(classes):
            return _generator(key, epoch).permutation(drawn[0])
        by_class = np.split(rows[np.argsort(targets, kind="stable")][len(unlabelled) :], np.cumsum(sizes)[:-1])
        least, extra = divmod(count - unlabelled_count, len(classes))
        for index, own_rows in enumerate(by_class):
            # The classes that get one sample more rotate from epoch to epoch.
            more = (index - np.arange(epoch % len(classes) + 1)) % len(classes) < extra
            past_count = epoch * least + (epoch // len(classes)) * extra + int(more[:-1].sum())
            own = (key[0], key[1] + 2**48 * (index + 1))
            drawn.append(_rows_in_turns(own_rows, least + int(more[-1]), own, past_count))
        return _generator(key, epoch).permutation(np.concatenate(drawn))

    return Sampling(batch_size, eval_batch_size, order, balances=True)


def require_classes(targets: npt.NDArray[Any]) -> None:
    """Refuse to balance targets that are not classes.

    Args:
        targets: As `mlpipe.data.task.Samples.targets`.

    Raises:
        DataError: If the targets are not one class number per sample.
    """
    if targets.ndim != 1:
        fix = "use sampling=full, for labels with loss.pos_weight=balanced"
        raise DataError(problem("sampling=balanced", "is for classification tasks", fix=fix))


def subset(
    *,
    sample_count: Annotated[int, ">= 1"],
    batch_size: Annotated[int, ">= 1"] = 32,
    eval_batch_size: Annotated[int, ">= 1"] = 256,
) -> Sampling:
    """A fixed number of samples per epoch; epochs take turns, so that all samples are used equally often over time.

    Args:
        sample_count: Samples per epoch; if there are fewer, samples are repeated.
        batch_size: Training samples per batch.
        eval_batch_size: Samples per batch outside of training.
    """

    def order(rows: Rows, targets: npt.NDArray[Any], key: tuple[int, int], epoch: int) -> Rows:
        return _rows_in_turns(rows, sample_count, key, epoch * sample_count)

    return Sampling(batch_size, eval_batch_size, order)


def with_negatives(rows: Rows, positives: npt.NDArray[np.bool_], ratio: int) -> Rows:
    """Return all positive rows and `ratio` negative rows for each of them, the same ones every time.

    Python's `random` with the seed 23232 draws the negatives, so that all epochs have the same ones.

    Args:
        rows: Rows to choose from, shape (n,).
        positives: Whether each is positive, shape (n,).
        ratio: Negatives for each positive; 0: none.
    """
    chosen, others = rows[positives].tolist(), rows[~positives].tolist()
    if ratio == 0:
        return np.array(chosen, np.int64)
    generator = random.Random(_NEGATIVES_SEED)
    generator.shuffle(others)
    result = [*chosen, *others[: min(len(others), round(len(chosen) * ratio))]]
    generator.shuffle(result)
    return np.array(result, np.int64)


def _rows_in_turns(rows: Rows, count: int, key: tuple[int, int], start: int) -> Rows:
    """Return `count` rows from an endless sequence in which every row occurs once before any is repeated."""
    if count == 0:
        return rows[:0]
    first, last = start // len(rows), (start + count - 1) // len(rows)
    sequence = np.concatenate([_generator(key, turn).permutation(rows) for turn in range(first, last + 1)])
    begin = start - first * len(rows)
    return sequence[begin : begin + count]


def _generator(key: tuple[int, int], number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[key[0], key[1] + number]))


class EpochBatches(Sized):
    """Batches of each epoch: rows in an order drawn from (seed, fold, epoch).

    A last batch of a single sample (with several processes, of fewer than two samples each) is merged into the batch before
    it, because batch normalisation cannot train on one sample. Lightning calls `set_epoch` before each epoch.
    `images` is the number of samples per epoch, over all processes.

    Args:
        rows: The training rows, shape (n,).
        targets: Their targets, shape (n,) or (n, outputs).
        sampling: The samples of an epoch and the batch size.
        seed: The run's seed.
        fold: The fold's number.
        shard: This process's part of every batch.
    """

    def __init__(
        self,
        rows: Rows,
        targets: npt.NDArray[Any],
        sampling: Sampling,
        seed: int,
        fold: int,
        shard: Shard = WHOLE,
    ) -> None:
        self._rows, self._targets, self._sampling, self._shard = rows, targets, sampling, shard
        self._key, self._epoch = (seed, fold * 2**32), 0
        self.images = len(self._order())

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch of the next batches, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return batches_in_epoch(self.images, self._sampling.batch_size, self._shard.ranks)

    def __iter__(self) -> Iterator[Request]:
        order = self._order()
        for start, end in self._bounds():
            yield self._epoch, order[start:end][self._shard.rank :: self._shard.ranks]

    def sizes(self) -> list[int]:
        """Return the number of samples in each batch of an epoch, over all processes; the same for every epoch."""
        return [end - start for start, end in self._bounds()]

    def share(self, number: int) -> float:
        """Return the weight of this process's mean over its part of a batch: 1 if all parts have equal sizes.

        With it, the mean over processes is the mean over all samples of the batch.

        Args:
            number: The batch's number, counted from 0 in each epoch.
        """
        start, end = self._bounds()[number]
        own = len(range(self._shard.rank, end - start, self._shard.ranks))
        return own * self._shard.ranks / (end - start)

    def _bounds(self) -> list[tuple[int, int]]:
        starts = [index * self._sampling.batch_size for index in range(len(self))] + [self.images]
        return list(itertools.pairwise(starts))

    def _order(self) -> Rows:
        return self._sampling.order(self._rows, self._targets, self._key, self._epoch)


class OrderedBatches(Sized):
    """Rows in their own order, for evaluation.

    Several processes take turns batch by batch, so that every batch is the same as with one process; a process without
    a batch repeats the first one, which `in_order` removes again.

    Args:
        rows: Shape (n,).
        batch_size: Rows in a batch.
        shard: This process's part.
    """

    def __init__(self, rows: Rows, batch_size: int, shard: Shard = WHOLE) -> None:
        starts = range(0, len(rows), batch_size)
        self._rows, self._batch_size = rows, batch_size
        self._starts = starts[shard.rank :: shard.ranks] or starts[:1]

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Request]:
        for start in self._starts:
            yield 0, self._rows[start : start + self._batch_size]


def in_order(shards: Sequence[Sequence[T]], batches: int) -> list[T]:
    """Return the results of all processes for their batches, in the order of a single process.

    Args:
        shards: For each process, the result for each batch of its `OrderedBatches`.
        batches: The number of batches of a single process.
    """
    return [shards[number % len(shards)][number // len(shards)] for number in range(batches)]


def batches_in_epoch(n: int, batch_size: int, ranks: int = 1) -> int:
    """Return the number of batches in an epoch of `n` training samples for this number of processes."""
    lonely = n > batch_size > 1 and 0 < n % batch_size < 2 * ranks
    return max(1, math.ceil(n / batch_size) - lonely)


def sample_seeds(ids: tuple[str, ...]) -> Seeds:
    """Return a seed for the random draws of each sample id, shape (n,)."""
    return np.array([int(digest_bytes(name.encode("utf-8"))[:16], 16) for name in ids], np.uint64)


def epoch_seeds(seeds: Seeds, seed: int, fold: int, epoch: int) -> Seeds:
    """Return the samples' seeds for one epoch of one fold of one run."""
    return mix(mix(mix(seeds, seed), fold), epoch)
