"""Rows of data as dictionaries: a loader makes named arrays of them, a transformer is fitted to them, augmentors vary them.

A data record is a tuple of dictionaries: (X,) for scoring, (X, y) or (X, y, w) for training. X has an array for each input
of the network, y and w have one for each output. The names are those that code of `docs/from_barrage.md` imports.
"""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import numpy as np

from mlpipe.errors import DataError, did_you_mean, listing, problem

Record = dict[str, Any]
DataRecord = tuple[dict[str, Any], ...]
BatchDataRecords = tuple[dict[str, np.ndarray[Any, Any]], ...]
RecordScore = dict[str, np.ndarray[Any, Any]]
# More repeats of a record in one epoch are taken for a mistake.
MOST_REPEATS = 100_000

__all__ = [
    "BatchDataRecords", "DataRecord", "IdentityTransformer", "KeySelector", "Record", "RecordAugmentor", "RecordLoader",
    "RecordMode", "RecordScore", "RecordSet", "RecordTransformer", "as_records", "batchify", "batchify_network_output",
]  # fmt: skip


class RecordMode(Enum):
    """The purpose for which rows are read."""

    TRAIN = 0
    VALIDATION = 1
    SCORE = 2


class RecordLoader(ABC):
    """Base class of loaders, which make a data record of a row; subclasses implement `load`.

    Attributes:
        mode: The purpose of reading rows.
        params: The configuration's parameters.

    Args:
        mode: The purpose of reading rows.
        params: The configuration's parameters.

    Raises:
        TypeError: If the mode is not a `RecordMode`.
    """

    def __init__(self, mode: RecordMode, *mappings: Mapping[str, Any], **params: Any) -> None:
        self.mode = _checked(mode)
        self.params = {**(mappings[0] if mappings else {}), **params}

    def __call__(self, record: Record) -> DataRecord:
        """Return the arrays that `load` makes of a row."""
        return self.load(record)

    @abstractmethod
    def load(self, record: Record) -> DataRecord:
        """Return the data record: (X,) in score mode, else (X, y) or (X, y, w).

        Args:
            record: The row.
        """


class KeySelector(RecordLoader):
    """Loader that selects values of a row by key: a key gives the value as an array, a list of keys an array of values.

    So `["y"]` has the shape (1,), and `"y"` of a number the shape ().

    Args:
        mode: The purpose of reading rows.
        inputs: The key, or keys, of each input.
        outputs: The key, or keys, of each output; ignored in score mode.
        sample_weights: The key, or keys, of each output's weight; None: there are no weights.

    Raises:
        TypeError: If one of them is not a dictionary, or the mode is not a `RecordMode`.
    """

    def __init__(
        self,
        mode: RecordMode,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        sample_weights: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(mode)
        mappings = {"inputs": inputs, "outputs": outputs, "sample_weights": sample_weights}
        for name, value in mappings.items():
            if not isinstance(value, Mapping) and not (name == "sample_weights" and value is None):
                raise TypeError(f"{name} must be a dict")
        self.inputs, self.outputs, self.sample_weights = inputs, outputs, sample_weights

    def load(self, record: Record) -> DataRecord:
        """Return the arrays under the keys."""
        chosen = [self.inputs]
        if self.mode is not RecordMode.SCORE:
            chosen += [self.outputs] + ([self.sample_weights] if self.sample_weights else [])
        return tuple({name: _values_of_keys(record, keys) for name, keys in part.items()} for part in chosen)


class RecordTransformer(ABC):
    """Base class of transformers, which are fitted to training rows and then change data records and scores.

    `fit` can set `network_params`, which are added to the network's parameters in the configuration.

    Attributes:
        mode: The purpose of reading rows.
        loader: Makes data records.
        params: The configuration's parameters.

    Args:
        mode: The purpose of reading rows.
        loader: Makes data records.
        params: The configuration's parameters.

    Raises:
        TypeError: If the mode is not a `RecordMode`.
    """

    def __init__(self, mode: RecordMode, loader: RecordLoader, *mappings: Mapping[str, Any], **params: Any) -> None:
        self.mode, self.loader, self.params = _checked(mode), loader, {**(mappings[0] if mappings else {}), **params}
        self._network_params: dict[str, Any] = {}

    @property
    def network_params(self) -> dict[str, Any]:
        """Return the network's parameters besides those of the configuration."""
        return self._network_params

    @network_params.setter
    def network_params(self, params: dict[str, Any]) -> None:
        if not isinstance(params, dict):
            raise TypeError("network_params must be a dict")
        self._network_params = params

    @abstractmethod
    def fit(self, records: list[Record]) -> None:
        """Fit to all training rows, each once and in their order.

        Args:
            records: The rows; `self.loader` makes data records of them.
        """

    @abstractmethod
    def transform(self, data_record: DataRecord) -> DataRecord:
        """Return a changed data record.

        Args:
            data_record: The result of the loader.
        """

    @abstractmethod
    def postprocess(self, score: RecordScore) -> RecordScore:
        """Return a changed score.

        Args:
            score: The network's result for one row, by output.
        """

    @abstractmethod
    def save(self, path: str) -> None:
        """Write the fitted state.

        Args:
            path: An existing folder.
        """

    @abstractmethod
    def load(self, path: str) -> None:
        """Read what `save` wrote.

        Args:
            path: The folder.
        """


class IdentityTransformer(RecordTransformer):
    """A transformer that changes nothing."""

    def fit(self, records: list[Record]) -> None:
        """Do nothing, as there is nothing to fit."""

    def transform(self, data_record: DataRecord) -> DataRecord:
        """Return the data record unchanged."""
        return data_record

    def postprocess(self, score: RecordScore) -> RecordScore:
        """Return the score unchanged."""
        return score

    def save(self, path: str) -> None:
        """Do nothing, as there is nothing to write."""

    def load(self, path: str) -> None:
        """Do nothing, as there is nothing to read."""


class RecordAugmentor:
    """Applies functions to data records one after the other.

    Args:
        functions: The functions with their parameters; none: data records stay unchanged.
    """

    def __init__(self, functions: Sequence[tuple[Callable[..., DataRecord], Mapping[str, Any]]]) -> None:
        self._functions = [partial(function, **params) for function, params in functions]

    def __call__(self, data_record: DataRecord) -> DataRecord:
        """Return the data record after all functions, in their order."""
        for function in self._functions:
            data_record = function(data_record)
        return data_record

    def __len__(self) -> int:
        return len(self._functions)


@dataclass(frozen=True)
class RecordSet:
    """Rows with their loader, transformer and augmentor.

    Attributes:
        records: The rows.
        mode: The purpose of reading them.
        loader: Makes data records.
        transformer: The fitted or loaded transformer.
        augmentor: Varies data records in training.
    """

    records: Sequence[Record]
    mode: RecordMode
    loader: RecordLoader
    transformer: RecordTransformer
    augmentor: RecordAugmentor = field(default_factory=lambda: RecordAugmentor([]))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> DataRecord:
        """Return the data record of one row, varied in training only; the row itself is not changed."""
        plain = self.plain(index)
        return self.augmentor(plain) if self.mode is RecordMode.TRAIN else plain

    def plain(self, index: int) -> DataRecord:
        """Return the data record of one row after the transformer."""
        return self.transformer.transform(self.loader(copy.deepcopy(self.records[index])))


def repeats(record: Record, sample_count: str | None) -> int:
    """Return how often a row is used per epoch: at least once, rounded down.

    Args:
        record: The row.
        sample_count: The key of its count; None: every row is used once.

    Raises:
        DataError: If the row has no such key, no number there, or one above `MOST_REPEATS`.
    """
    if sample_count is None:
        return 1
    if sample_count not in record:
        fix = did_you_mean(sample_count, record, otherwise=f"records have {listing(record, most=20)}")
        raise DataError(problem("task.sample_count", "records have no such key", got=sample_count, fix=fix))
    try:
        times = max(1, int(record[sample_count]))
    except (TypeError, ValueError, OverflowError) as error:
        wrong = "must be the key of whole numbers"
        raise DataError(
            problem("task.sample_count", wrong, got=record[sample_count], fix="count in records")
        ) from error
    if times > MOST_REPEATS:
        wrong, fix = f"a record comes more than {MOST_REPEATS:,} times in an epoch", "count less often"
        raise DataError(problem("task.sample_count", wrong, got=record[sample_count], fix=fix))
    return times


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Seed the global generators of NumPy and Python within the context, and restore their states afterwards.

    Args:
        seed: Any integer >= 0.
    """
    before, plain_before = np.random.get_state(), random.getstate()
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
        random.setstate(plain_before)


def as_records(rows: Any) -> list[Record]:
    """Return rows as a list of dictionaries.

    Args:
        rows: Such a list, or a pandas data frame; neither is changed.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    if hasattr(rows, "to_dict") and hasattr(rows, "reset_index"):
        records: list[Record] = rows.reset_index().to_dict("records")
        return records
    raise TypeError("record must be a list of dicts or pandas DataFrame")


def batchify(data_records: Sequence[DataRecord]) -> BatchDataRecords:
    """Combine data records into one, with arrays stacked along a new first axis."""
    parts = zip(*data_records, strict=True)
    return tuple({name: np.array([mapping[name] for mapping in part]) for name in part[0]} for part in parts)


def batchify_network_output(network_output: Any, output_names: Sequence[str]) -> list[RecordScore]:
    """Split a network's outputs for a batch into one score per row.

    Args:
        network_output: An array, or one for each output, with the batch along the first axis.
        output_names: The outputs' names in the same order.
    """
    arrays = network_output if isinstance(network_output, list | tuple) else [network_output]
    return [
        {name: np.asarray(array[row]) for name, array in zip(output_names, arrays, strict=True)}
        for row in range(len(arrays[0]))
    ]


def _checked(mode: RecordMode) -> RecordMode:
    if not isinstance(mode, RecordMode):
        raise TypeError("mode must be type RecordMode")
    return mode


def _values_of_keys(record: Record, keys: Any) -> np.ndarray[Any, Any]:
    return np.array([record[key] for key in keys]) if isinstance(keys, list) else np.array(record[keys])
