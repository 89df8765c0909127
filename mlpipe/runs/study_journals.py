"""Estimate the time to read the journal of a search, which grows superlinearly if all lines are of one trial."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Optuna's codes of operations in a line.
_CREATE_STUDY, _DELETE_STUDY, _OF_STUDY, _CREATE_TRIAL, _SET_PARAM = 0, 1, (2, 3), 4, 5
# The cost of comparing two names, relative to copying one value.
_COMPARED = 10
_OF_TRIAL = ("params", "user_attrs", "system_attrs", "intermediate_values")


def steps(path: Path, most: int) -> int:
    """Return the number of values that Optuna copies and compares while it reads a journal, or any number above `most`.

    For each line, Optuna copies the present values of the trial or the study, searches all studies for a new study's
    name, and searches the trials for the first with a parameter.

    Args:
        path: The journal.
        most: The limit at which counting stops.

    Raises:
        OSError: When it is unreadable.
    """
    work = _Work()
    with path.open("rb") as file:
        for line in file:
            # An invalid line counts nothing: it is reported by the reader.
            with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
                work.add(json.loads(line))
            if work.steps > most:
                break
    return work.steps


@dataclass
class _Work:
    """The state read so far, as Optuna keeps it.

    Attributes:
        steps: The work so far.
        studies: The name of each existing study, by its number.
        trials: The study and the position in it of each trial, by its number.
        sizes: The number of values of each study and trial.
        firsts: The position of the first trial of a study with a parameter.
    """

    steps: int = 0
    studies: dict[Any, str] = field(default_factory=dict)
    trials: list[tuple[Any, int]] = field(default_factory=list)
    sizes: dict[tuple[str, Any], int] = field(default_factory=lambda: defaultdict(int))
    firsts: dict[tuple[Any, str], int] = field(default_factory=dict)
    _made: int = 0
    _names: set[str] = field(default_factory=set)
    _counts: dict[Any, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, line: Mapping[str, Any]) -> None:
        """Process a line.

        Raises:
            TypeError, LookupError, AttributeError: When it is none.
        """
        operation = line["op_code"]
        if operation == _CREATE_STUDY:
            self.steps += len(self.studies) * _COMPARED
            if line["study_name"] not in self._names:
                self.studies[self._made] = line["study_name"]
                self._names.add(line["study_name"])
                self._made += 1
        elif operation == _DELETE_STUDY:
            self._names.discard(self.studies.pop(line["study_id"], ""))
        elif operation == _CREATE_TRIAL:
            self._create_trial(line)
        elif operation in _OF_STUDY:
            self._grow(("study", line["study_id"]))
        else:
            self._grow(("trial", line["trial_id"]))
            if operation == _SET_PARAM:
                self._compare(line["trial_id"], line["param_name"])

    def _create_trial(self, line: Mapping[str, Any]) -> None:
        study = line["study_id"]
        if study not in self.studies:
            return
        number, place = len(self.trials), self._counts[study]
        self.trials.append((study, place))
        self._counts[study] += 1
        self.sizes["trial", number] = sum(len(line[key]) for key in _OF_TRIAL if key in line)
        for name in line.get("params", ()):
            self.firsts.setdefault((study, name), place)

    def _grow(self, what: tuple[str, Any]) -> None:
        self.steps += 2 * self.sizes[what] + 1
        self.sizes[what] += 1

    def _compare(self, trial: Any, name: str) -> None:
        if trial not in range(len(self.trials)):
            return
        study, place = self.trials[int(trial)]
        first = self.firsts.get((study, name), self._counts[study])
        self.steps += first * _COMPARED
        self.firsts[study, name] = min(first, place)
