"""Maps of predictions and of targets that are stored with the rows of a task: those shown, and those learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.reports.facts import Shown, TaskFacts
from mlpipe.runs import maps
from mlpipe.runs.maps import Maps
from mlpipe.runs.records import ModelRecord

Bytes = npt.NDArray[np.uint8]
Images = Iterator[npt.NDArray[Any]]

# The largest amounts of target images that are read: values of all judged images, and images behind a mean.
_MOST_VALUES, _MOST_IMAGES = 100_000_000, 200


@dataclass(frozen=True)
class Stored:
    """Maps of predictions: each file with the name and the split of its rows."""

    files: list[tuple[Maps, str, str]]

    def values(self, sample: str) -> tuple[maps.Values, maps.Values | None] | None:
        """Return predicted and true values of a sample, shape (channels, height, width); None if nothing is stored."""
        place = self._place(sample)
        return None if place is None else (place[0].values(*place[1]), place[0].true_values(*place[1]))

    def target(self, sample: str) -> maps.Values | None:
        """Return only the true values of a sample; None if it has none."""
        place = self._place(sample)
        return None if place is None else place[0].true_values(*place[1])

    def of(self, sample: str) -> tuple[Bytes, Bytes | None] | None:
        """Return predicted and true class numbers of a sample; None if nothing is stored."""
        place = self._place(sample)
        if place is None:
            return None
        return place[0].chances(*place[1]).argmax(axis=0).astype(np.uint8), place[0].true(*place[1])

    def _place(self, sample: str) -> tuple[Maps, tuple[str, str, str]] | None:
        """Return the file that has a sample, and the sample's key in it."""
        rows = ((file, (task, split, sample)) for file, task, split in self.files)
        return next(((file, row) for file, row in rows if file.has(*row)), None)


def of_shown(facts: TaskFacts, subject: Shown, stack: ExitStack) -> Stored | None:
    """Open the maps of the subject of the plots; None if they are gone.

    Args:
        facts: The task.
        subject: The subject of the plots.
        stack: Closes them.
    """
    if subject.ensemble is None:
        return _held_out(facts, facts.recipes[subject.recipe], stack)
    path = facts.project.ensembles_dir(facts.name) / f"{subject.ensemble.id}{maps.SUFFIX}"
    split = "test" if subject.test is not None else "val"
    return Stored([(stack.enter_context(Maps(path)), facts.name, split)]) if path.is_file() else None


def targets(facts: TaskFacts, subject: Shown, stack: ExitStack) -> tuple[Images, Images] | None:
    """Return target images of training samples, and those of the subject's rows, in their order.

    Of the former an evenly spread sample is taken. None if a file is gone, or there is too much to read.

    Args:
        facts: The task.
        subject: The subject of the plots.
        stack: Closes the files.
    """
    rows, used = subject.rows, facts.members(subject)
    judged, held_out = of_shown(facts, subject, stack), _held_out(facts, used, stack) if used else None
    if rows is None or judged is None or held_out is None or np.nansum(rows.targets) > _MOST_VALUES:
        return None
    tested = set(rows.ids) if subject.test is not None else set[str]()
    ids = [] if facts.task is None else [sample_id for sample_id in facts.task.samples.ids if sample_id not in tested]
    ids = ids[:: max(1, len(ids) // _MOST_IMAGES)]
    return _there(held_out, ids), _there(judged, rows.ids)


def _there(stored: Stored, ids: Sequence[str]) -> Images:
    return (image for sample_id in ids if (image := stored.target(sample_id)) is not None)


def _held_out(facts: TaskFacts, of: Sequence[ModelRecord], stack: ExitStack) -> Stored | None:
    """Return the maps that each fold held out; None if one is gone."""
    paths = [facts.project.predictions_file(facts.name, record.id).with_suffix(maps.SUFFIX) for record in of]
    if not paths or not all(path.is_file() for path in paths):
        return None
    opened = [stack.enter_context(Maps(path)) for path in paths]
    return Stored([(file, record.task, record.held_out) for file, record in zip(opened, of, strict=True)])
