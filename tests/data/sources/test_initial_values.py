"""Generated initial values are the waves that the page says, the same each time, and an ordinary task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.data import sources
from mlpipe.data import task as tasks
from mlpipe.data.sources import initial_values
from mlpipe.data.sources.targets import target_files
from mlpipe.data.splits import methods
from mlpipe.data.task import Task
from mlpipe.errors import DataError

GIVEN: dict[str, Any] = {"size": 12, "examples": 5, "test_examples": 3, "frequency": [1.0, 3.0]}


def values(of: Task) -> dict[str, np.ndarray[Any, Any]]:
    """Every sample by its name, shape (1, size, 1)."""
    read = sources.reader(of, 1)
    return {name: read(row) for row, name in enumerate(of.samples.ids)}


def test_frequencies_lie_evenly_between_both_ends() -> None:
    made = initial_values(**GIVEN, sampling="uniform", allow_overlap=True)
    found, x = values(made), np.arange(12)
    for part, wanted in (("train", [1.0, 1.5, 2.0, 2.5, 3.0]), ("test", [1.0, 2.0, 3.0])):
        for number, c in enumerate(wanted):
            sample = found[f"{part}/{number:07d}"]
            assert sample.shape == (1, 12, 1) and sample.dtype == np.float32
            np.testing.assert_allclose(sample[0, :, 0], (1 - np.cos(2 * np.pi * c * x / 12)) / 2, atol=1e-6)
    (only,) = values(initial_values(size=8, examples=1, frequency=[2.0, 4.0], sampling="uniform")).values()
    np.testing.assert_allclose(only[0, :, 0], (1 - np.cos(np.pi * np.arange(8) / 2)) / 2, atol=1e-6)


def test_random_frequencies_are_the_same_each_time(tmp_path: Path) -> None:
    made, again = initial_values(**GIVEN), initial_values(**GIVEN)
    assert made.source_hash == again.source_hash
    assert made.name == again.name and made.source == again.source
    other = initial_values(**GIVEN, seed=7)
    assert other.name != made.name
    drawn = np.ravel(made.source["train"] + made.source["test"])
    assert (drawn >= 1).all() and (drawn <= 3).all() and len(set(drawn)) == 8
    # More of them begin with the same ones.
    assert initial_values(**{**GIVEN, "examples": 9}).source["train"][:5] == made.source["train"]
    # What was stored is read without drawing.
    tasks.save(made, tmp_path / "task.json")
    stored = tasks.load(tmp_path / "task.json")
    for name, sample in values(made).items():
        np.testing.assert_array_equal(values(stored)[name], sample)


def test_several_waves_are_averaged() -> None:
    made = initial_values(size=10, examples=4, frequency=[0.5, 2.5], waves=3)
    for number, frequencies in enumerate(made.source["train"]):
        assert len(frequencies) == 3
        each = [(1 - np.cos(2 * np.pi * c * np.arange(10) / 10)) / 2 for c in frequencies]
        sample = values(made)[f"train/{number:07d}"][0, :, 0]
        np.testing.assert_allclose(sample, np.mean(each, axis=0), atol=1e-6)
        assert sample[0] == 0 and sample.min() >= 0 and sample.max() <= 1


def test_it_is_an_ordinary_task_of_images_that_are_their_own_targets() -> None:
    made = initial_values(**GIVEN)
    assert (made.kind, made.channels, made.dtype, made.classes) == ("images", 1, "float32", ("channel 0",))
    assert made.part_sizes() == {"train": 5, "test": 3} and made.samples.labelled.all() and target_files.are_own(made)
    split = methods.kfold(made.samples, folds=5, seed=1)
    assert sorted(np.unique(split.fold)) == [-1, 0, 1, 2, 3, 4]
    applied = initial_values(**{**GIVEN, "examples": 0}, labelled=False)
    assert applied.part_sizes() == {"unlabelled": 3} and not applied.samples.labelled.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"examples": 0, "test_examples": 0}, "task.examples: there is no sample"),
        ({"frequency": [3.0, 1.0]}, r"task.frequency: must be the least and the largest, got \[3.0, 1.0\]"),
        ({"frequency": [3.0]}, "task.frequency: must be the least and the largest"),
        ({"sampling": "uniform", "waves": 2}, "task.waves: several are for random frequencies, got 2"),
        ({"sampling": "uniform"}, "task: 3 validation or test images are in the training part too"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        initial_values(**{**GIVEN, **changes})


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        initial_values(size=4, frequency=[2.0, 1.0], sampling="uniform", waves=2)
    assert len(caught.value.problems) == 3
