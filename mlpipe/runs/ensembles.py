"""Stored calibrations and ensembles, as JSON; read without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mlpipe import files, kinds, limits
from mlpipe.errors import ProjectError, did_you_mean, in_one_line, is_out_of_memory, listing, problem
from mlpipe.runs import formats
from mlpipe.runs.project import Project
from mlpipe.stored import fits, made, tell_left_out


class Member(TypedDict):
    """The keys that every member of a mixture has."""

    name: str
    weight: float
    records: list[str]
    refit: NotRequired[str]


class Interval(TypedDict):
    """A metric with its interval; None if it has none."""

    value: float | None
    low: float | None
    high: float | None


class _Errors(TypedDict):
    """Calibration errors."""

    before: float | None
    after: float | None


class _Sets(TypedDict):
    """Prediction sets, see `mlpipe.post.conformal`."""

    score: str
    alpha: float
    cuts: list[float | None]
    penalty: float
    free_rank: int
    guarantee: str
    rows: int


class _Costs(TypedDict):
    """The costs of decisions."""

    table: list[list[float]]
    each: float | None
    most_probable: float | None
    normalised: float | None


class _Thresholds(TypedDict):
    """The threshold of each output."""

    criterion: str
    cuts: dict[str, float | None]
    prevalence: NotRequired[list[float]]
    at_least: NotRequired[float]
    positive: NotRequired[str]


class Decide(TypedDict):
    """The decisions, as far as they are read again."""

    calibration_error: NotRequired[_Errors]
    sets: NotRequired[_Sets]
    halfwidths: NotRequired[dict[str, float | None]]
    interval_alpha: NotRequired[float]
    costs: NotRequired[_Costs]
    thresholds: NotRequired[_Thresholds]
    at_deploy_prior: NotRequired[dict[str, Any]]
    prevalence: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class EnsembleRecord:
    """An ensemble of records, or a single record, with its calibration and scores.

    Attributes:
        id: Its name, unique in the project.
        created: The time in UTC (ISO 8601).
        run: The run that made it.
        task: The task.
        kind: What is predicted.
        classes: The names of the outputs.
        members: For each member its `name`, its `weight` and the ids of its `records`; if a model of all folds predicts
            in their place, its id as `refit`.
        mixing: What is mixed: `logits` or `probabilities`.
        way: How it was found.
        select_on: `oof` (members are recipes, out-of-fold rows chose) or `test` (members are records).
        stage: `none` (nothing is calibrated), `before` (members are), `after` (the mixture is) or `both`.
        calibration: The mixture's own calibration as plain data; None if the stage has none.
        prior: The prevalence for which probabilities are meant, with its source.
        calibrations: The calibration learned from each record's validation rows, by the record's id, or its shift to
            the prior; none if the record is used unchanged.
        losses: Losses of the selection: of the ensemble, of single members in their best form (with these `forms`), of
            every stage, of rows that did not choose, and the gap to the best weights if known; `soup`: the losses of
            the models among which the same rows chose those to average.
        scores: By split, each metric with its interval as plain data.
        decide: Thresholds, prediction sets and the expected performance at another prevalence, as plain data.
        comparisons: Sentences that compare the ensemble with its best member.
        notes: Notes for the user.
        format: The file's format number.
    """

    id: str
    created: str
    run: str
    task: str
    kind: str
    classes: list[str]
    members: list[dict[str, Any]]
    mixing: str
    way: str
    select_on: str
    stage: str
    calibration: dict[str, Any] | None
    prior: dict[str, Any]
    losses: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    decide: dict[str, Any] = field(default_factory=dict)
    comparisons: list[str] = field(default_factory=list)
    calibrations: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    format: int = formats.ENSEMBLE

    @property
    def other_prevalence(self) -> list[float] | None:
        """The prevalence for which its probabilities are meant; None if it is that of the rows that chose."""
        values: list[float] | None = self.prior.get("values")
        return values if values and self.prior.get("kind") != "val" else None

    @property
    def is_calibrated(self) -> bool:
        """Whether its probabilities, or its members', have a learned calibration, and not only a shifted prior."""
        if self.stage == "none":
            return False
        used = [self.calibration] if self.calibration is not None else []
        return any(_has_learned(calibration) for calibration in [*used, *self.calibrations.values()])

    @property
    def is_of_one_recipe(self) -> bool:
        """Whether it predicts as a single recipe, maybe with a calibration."""
        return len(self.members) == 1 and self.select_on != "test"

    @property
    def is_chosen(self) -> bool:
        """Whether its images chose among members, which makes its scores optimistic; calibrations are cross-fitted."""
        several = max(len(self.members), len(self.losses.get("members", {})), len(self.losses.get("soup", {})))
        return self.select_on != "none" and several > 1


def _has_learned(calibration: dict[str, Any]) -> bool:
    """Return whether a stored calibration is more than the identity, or a shift to a prior."""
    if "labels" in calibration:
        return any(
            label_calibration is not None and _has_learned(label_calibration)
            for label_calibration in calibration["labels"]
        )
    held = calibration.get("parameters", {}).get("deviations")
    return calibration.get("method") != "none" and (held is None or any(held))


def save(project: Project, record: EnsembleRecord) -> Path:
    """Durably write an ensemble's record; its predictions must exist already."""
    path = project.ensembles_dir(record.task) / f"{record.id}.json"
    files.write_sealed(path, dataclasses.asdict(record))
    return path


def load(path: Path) -> EnsembleRecord:
    """Read an ensemble's record.

    Raises:
        ProjectError: When it is damaged or has another format.
    """
    try:
        stored = files.read_json(path, limits.RECORD)
        formats.check(stored, formats.ENSEMBLE, path)
        stored.pop("checksum", None)
        record = made(EnsembleRecord, formats.with_interval_alpha(stored))
        if record.kind not in kinds.names():
            raise TypeError(f"its kind is {record.kind!r}")
        if not fits(record.members, list[Member]):
            raise TypeError("members are of another type")
        if not fits(record.scores, dict[str, dict[str, Interval]]):
            raise TypeError("scores are of another type")
        _check_decisions(record)
        notes, comparisons = (
            [in_one_line(sentence) for sentence in sentences] for sentences in (record.notes, record.comparisons)
        )
        return dataclasses.replace(record, notes=notes, comparisons=comparisons)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise ProjectError(problem(str(path), f"cannot be read as an ensemble ({error})")) from error


def _check_decisions(record: EnsembleRecord) -> None:
    """Refuse decisions that do not fit a record's classes.

    Raises:
        TypeError: When they have another type, or are for other classes.
    """
    if not fits(record.decide, Decide):
        raise TypeError("decide is of another type")
    class_count = len(record.classes)
    costs, cuts = record.decide.get("costs"), record.decide.get("thresholds", {}).get("cuts", {})
    shares, halves = record.decide.get("thresholds", {}).get("prevalence"), record.decide.get("halfwidths")
    fits_classes = (
        costs is None or [len(row) for row in costs["table"]] == [class_count] * class_count,
        set(cuts) in (set(), set(record.classes)),
        shares is None or len(shares) == class_count,
        record.decide.get("thresholds", {}).get("positive") in (None, *record.classes),
        len(record.decide.get("sets", {}).get("cuts", [None])) in (1, class_count),
        halves is None or (set(halves) == set(record.classes) and "interval_alpha" in record.decide),
    )
    if not all(fits_classes):
        raise TypeError("decide is for other classes")


def load_all(project: Project, task: str) -> list[EnsembleRecord]:
    """Return all readable ensembles of a task, the oldest first; unreadable ones are logged once."""
    ensembles, wrong = _read_all(project.ensembles_dir(task).glob("*.json"))
    for sentence in wrong:
        tell_left_out(sentence)
    return sorted(ensembles, key=lambda record: (record.created, record.id))


def broken(project: Project) -> list[str]:
    """Return a sentence for each unreadable ensemble of a project."""
    return _read_all(project.tasks_dir().glob("*/ensembles/*.json"))[1]


def _read_all(paths: Iterable[Path]) -> tuple[list[EnsembleRecord], list[str]]:
    ensembles: list[EnsembleRecord] = []
    wrong: list[str] = []
    for path in sorted(paths):
        try:
            ensembles.append(load(path))
        except formats.OlderFormat:
            raise
        except ProjectError as error:
            wrong += error.problems
    return ensembles, wrong


def named(project: Project, task: str, reference: str, key: str) -> EnsembleRecord:
    """Return the ensemble of a task with a name.

    Args:
        project: The project.
        task: The task's name.
        reference: `latest`, an ensemble's id, or a unique prefix of one (at least three characters).
        key: The key with the name, for messages.

    Raises:
        ProjectError: When it does not exist.
    """
    ensembles = load_all(project, task)
    if not ensembles:
        wrong = f"project {project.name} has no ensemble of {task}"
        raise ProjectError(problem(key, wrong, fix=f"mml post task={task}"))
    if reference == "latest":
        return ensembles[-1]
    names = {record.id: record for record in ensembles}
    start = reference.removeprefix("ens-")
    begun = [ensemble for name, ensemble in names.items() if name.removeprefix("ens-").startswith(start)]
    if reference in names or (len(begun) == 1 and len(reference) > 2):
        return names[reference] if reference in names else begun[0]
    fix = did_you_mean(reference, ["latest", *names], otherwise=f"use latest, or one of {listing(list(names))}")
    raise ProjectError(problem(key, "there is none", got=reference, fix=fix))
