"""Files of a search in a Musket experiment's folder: trials, scores, the best values, and everything as YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mlpipe import files, stored
from mlpipe.errors import ProjectError, first_line, problem

TRIALS, SCORES, BEST = "hyperopt.trials", "hyperopt.scores", "best.params.yaml"
_TRIAL = re.compile(r"trial\d+")


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        trial: Its number.
        state: `complete`, `fail`, `pruned` or `running`.
        values: The values of the hyperparameters.
        score: The value that the search optimises; None: none.
        run: The run of the project that trained it.
        error: The reason of a failure.
        best: Whether it is the best one.
    """

    trial: int
    state: str
    values: Mapping[str, Any]
    score: float | None
    run: str | None
    error: str | None
    best: bool


def write(folder: Path, trials: Sequence[Trial]) -> None:
    """Write the files of a search.

    Args:
        folder: The experiment's folder.
        trials: Its trials, one of them the best.
    """
    rows = [{**asdict(trial), "values": dict(trial.values)} for trial in trials]
    files.write_text(folder / TRIALS, files.yaml_text(rows))
    files.write_text(folder / SCORES, files.yaml_text([trial.score for trial in trials]))
    best = next(trial for trial in trials if trial.best)
    files.write_text(folder / BEST, files.yaml_text(dict(best.values)))


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial."""
    return folder / f"trial{number}"


def is_trial(folder: Path) -> bool:
    """Return whether a folder is the trial folder of an experiment."""
    return _TRIAL.fullmatch(folder.name) is not None and (folder.parent / TRIALS).is_file()


def best_values(folder: Path) -> dict[str, Any]:
    """Return the best values of a search in this folder; empty if there are none."""
    values: dict[str, Any] = _best(folder).get("values", {})
    return values


def best_run(folder: Path) -> str | None:
    """Return the run of the best trial of a search in this folder; None if there is none."""
    return _best(folder).get("run")


def _best(folder: Path) -> dict[str, Any]:
    if not (folder / TRIALS).is_file():
        return {}
    path = folder / TRIALS
    try:
        rows = files.read_yaml(path)
        if not stored.fits(rows, list[_Trial]):
            raise ValueError("it is no list of trials")
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"is damaged ({first_line(error)})", fix="search again")) from error
    return next((row for row in rows if row["best"]), {})


class _Trial(TypedDict):
    """The entries of a trial that are read again."""

    best: bool
    values: dict[str, Any]
    run: NotRequired[str | None]
