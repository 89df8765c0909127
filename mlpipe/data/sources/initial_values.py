"""Generated initial values of an equation: waves between 0 and 1, for networks that learn to solve the equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.data import task
from mlpipe.data.sources.listings.array_layout import pixel_digest
from mlpipe.data.sources.source import ByName, finished
from mlpipe.data.sources.targets import target_files
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, problem

_PARTS: tuple[Part, ...] = ("train", "test")


def initial_values(
    *,
    size: Annotated[int, ">= 2"],
    examples: Annotated[int, ">= 0"] = 0,
    test_examples: Annotated[int, ">= 0"] = 0,
    frequency: list[Annotated[float, ">= 0"]],
    sampling: Literal["uniform", "random"] = "random",
    waves: Annotated[int, ">= 1"] = 1,
    seed: Annotated[int, ">= 0"] = 42,
    labelled: bool = True,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Samples b(x) = (1 - cos(2 pi c x / size)) / 2 at x = 0, ..., size - 1, shape (1, 1, size); each is its own target.

    Args:
        size: The number of points of a sample.
        examples: The number of training samples.
        test_examples: The number of test samples.
        frequency: The smallest and the largest frequency c.
        sampling: `uniform`: the frequencies of a part are evenly spaced, both ends included; `random`: each is drawn.
        waves: The number of waves of different frequencies that are averaged; more than one only with `random`.
        seed: The seed of the frequencies; with more samples, the first ones stay the same.
        labelled: False: no sample is its own target; samples are only predicted.
        name: The task's name before the hash; None: a description.
        max_unreadable: As for `folder`; generated samples are always readable.
        allow_overlap: Accept test samples that are also training samples, such as the ends of `uniform`.

    Raises:
        DataError: If there is no sample, or the frequencies are not a range.
    """
    counts = {"train": examples, "test": test_examples}
    _check(counts, frequency, sampling, waves)
    drawn: dict[str, list[list[float]]] = {
        part: _frequencies(counts[part], frequency, sampling, waves, seed=(seed, number))
        for number, part in enumerate(_PARTS)
    }
    rows = []
    for part in _PARTS:
        for number, frequencies in enumerate(drawn[part]):
            known: Part = part if labelled else "unlabelled"
            digest = pixel_digest(_wave(size, frequencies))
            rows.append(Row(f"{part}/{number:07d}", known, (1.0 if labelled else float("nan"),), digest))
    source: dict[str, Any] = {
        "type": "initial_values",
        "size": size,
        **drawn,
        "targets": target_files.described(None, 1, "float32"),
    }
    classes = target_files.names_of(1, of_files=False)
    title = name or f"initial_values_{size}"
    new_task = task.make(title, classes, rows, kind="images", channels=1, dtype="float32", source=source)
    return finished(new_task, allow_overlap)


class Waves(ByName):
    """Waves computed from the frequencies that the task stores; nothing is drawn again."""

    def by_name(self) -> Callable[[str], npt.NDArray[np.float32]]:
        """Return a function from sample id to values of shape (1, size, 1)."""
        source = self.task.source

        def read(name: str) -> npt.NDArray[np.float32]:
            part, _, number = name.partition("/")
            return _wave(source["size"], source[part][int(number)])

        return read


def _check(counts: Mapping[str, int], frequency: list[float], sampling: str, waves: int) -> None:
    problems = []
    if not any(counts.values()):
        problems.append(
            problem("task.examples", "there is no sample", fix="add task.examples=64, or task.test_examples")
        )
    if len(frequency) != 2 or frequency[0] > frequency[1]:
        fix = "for example task.frequency=[1,4]"
        problems.append(problem("task.frequency", "must be the least and the largest", got=frequency, fix=fix))
    if waves > 1 and sampling == "uniform":
        fix = "use task.sampling=random, or one wave"
        problems.append(problem("task.waves", "several are for random frequencies", got=waves, fix=fix))
    if problems:
        raise DataError(problems)


def _frequencies(
    count: int, between: list[float], sampling: str, waves: int, *, seed: tuple[int, int]
) -> list[list[float]]:
    """Return the frequencies of each sample of a part; `seed` is the task's seed and the part's number."""
    low, high = float(between[0]), float(between[1])
    if sampling == "uniform":
        return [[value] for value in np.linspace(low, high, count).tolist()]
    drawn = np.random.default_rng(seed).random((count, waves))
    listed: list[list[float]] = (low + (high - low) * drawn).tolist()
    return listed


def _wave(size: int, frequencies: list[float]) -> npt.NDArray[np.float32]:
    """Return the mean of the waves of these frequencies, shape (1, size, 1)."""
    phase = 2 * np.pi * np.outer(frequencies, np.arange(size)) / size
    return np.asarray(((1 - np.cos(phase)) / 2).mean(axis=0), np.float32).reshape(1, size, 1)
