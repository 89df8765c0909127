"""Which training images come in which order: drawn from seed, fold and epoch alone, so that nothing need be stored."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from mlpipe.data.augmentations import Seeds, mix
from mlpipe.files import digest_bytes

Rows = npt.NDArray[np.int64]
Request = tuple[int, Rows]


@dataclass(frozen=True)
class Sampling:
    """How many images make a batch.

    Attributes:
        batch_size: Training images in one optimizer step (before accumulation).
        eval_batch_size: Images at a time when nothing is learned.
    """

    batch_size: int
    eval_batch_size: int


def full(*, batch_size: Annotated[int, ">= 1"] = 32, eval_batch_size: Annotated[int, ">= 1"] = 256) -> Sampling:
    """Every training image once in an epoch, in a new order each time.

    Args:
        batch_size: Training images in a batch.
        eval_batch_size: Images at a time when nothing is learned.
    """
    return Sampling(batch_size, eval_batch_size)


class EpochBatches(Sized):
    """The batches of each epoch: rows in an order drawn from (seed, fold, epoch).

    A last batch of a single image joins the one before it, because batch normalisation cannot learn from one image.
    Lightning calls `set_epoch` before each epoch.

    Args:
        rows: The training rows, shape (n,).
        batch_size: Rows in a batch.
        seed: The run's seed.
        fold: The fold's number.
    """

    def __init__(self, rows: Rows, batch_size: int, seed: int, fold: int) -> None:
        self._rows, self._batch_size, self._seed, self._fold = rows, batch_size, seed, fold
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return batches_in_epoch(len(self._rows), self._batch_size)

    def __iter__(self) -> Iterator[Request]:
        key = [self._seed, self._fold * 2**32 + self._epoch]
        order = np.random.Generator(np.random.Philox(key=key)).permutation(self._rows)
        starts = [index * self._batch_size for index in range(len(self))] + [len(order)]
        for start, end in itertools.pairwise(starts):
            yield self._epoch, order[start:end]


class OrderedBatches(Sized):
    """Rows in their own order, for evaluation.

    Args:
        rows: Shape (n,).
        batch_size: Rows in a batch.
    """

    def __init__(self, rows: Rows, batch_size: int) -> None:
        self._rows, self._batch_size = rows, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __iter__(self) -> Iterator[Request]:
        for start in range(0, len(self._rows), self._batch_size):
            yield 0, self._rows[start : start + self._batch_size]


def batches_in_epoch(n: int, batch_size: int) -> int:
    """How many batches `n` training images make."""
    return max(1, math.ceil(n / batch_size) - (n > batch_size > 1 and n % batch_size == 1))


def sample_seeds(ids: tuple[str, ...]) -> Seeds:
    """A number for each sample id, shape (n,), from which its random draws come."""
    return np.array([int(digest_bytes(name.encode("utf-8"))[:16], 16) for name in ids], np.uint64)


def epoch_seeds(seeds: Seeds, seed: int, fold: int, epoch: int) -> Seeds:
    """The samples' seeds in one epoch of one fold of one run."""
    return mix(mix(mix(seeds, seed), fold), epoch)
