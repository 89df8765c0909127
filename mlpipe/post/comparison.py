"""Comparison of two models: any two recipes, records or ensembles of a project, on rows that both predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlpipe.errors import ProjectError, counted, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics, paired_tests
from mlpipe.post.ensembling import choice, members, repeats
from mlpipe.post.ensembling.member_mixture import at_own_prevalence
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.figures import number
from mlpipe.post.paired_tests import Comparison
from mlpipe.post.rows import row_groups
from mlpipe.runs import ensembles, journal, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

KEY = "mode.compare"
_LEVEL = 0.95


@dataclass(frozen=True)
class Contender:
    """A model to compare, with its predictions.

    Attributes:
        name: Its name in sentences.
        held_out: Rows of the training images that its networks were not trained on; None without any.
        test: Rows of the test images; None without any.
        folds: For a recipe, the held-out rows and the record of each fold.
        chose: What the held-out rows decided besides being a score.
        kind: The kind of its predictions.
        newest: A record of the recipe, with which its configuration is stored; None for an ensemble.
        unlabelled: Rows of the images without a target, moved as `held_out`; None without any.
    """

    name: str
    held_out: Rows | None
    test: Rows | None
    folds: Mapping[int, tuple[Rows, ModelRecord]]
    chose: tuple[str, ...]
    kind: str
    newest: ModelRecord | None = None
    unlabelled: Rows | None = None


@dataclass(frozen=True)
class Compared:
    """The comparison of two models on the same rows.

    Attributes:
        first: The first model's name.
        second: The second model's name.
        split: `test` or `held-out`.
        rows: The number of rows that both predicted.
        found: The outcome of each test, first minus second.
        notes: Notes for the reader.
    """

    first: str
    second: str
    split: str
    rows: int
    found: Sequence[Comparison]
    notes: Sequence[str]

    def sentences(self) -> list[str]:
        """Return the outcome in words."""
        begun = f"{self.first} and {self.second} on {counted(self.rows, f'{self.split} row')} that both predicted:"
        return [begun, *(test.sentence for test in self.found), *self.notes]

    def as_plain(self) -> dict[str, Any]:
        """Return the comparison as a dict, ready for JSON."""
        facts = {"first": self.first, "second": self.second, "split": self.split, "rows": self.rows}
        return {**facts, "tests": [test.as_plain() for test in self.found], "notes": list(self.notes)}


def contender(project: Project, task: str, text: str, key: str = KEY) -> Contender:
    """Return the model that a text names.

    Args:
        project: The project.
        task: The task's name.
        text: A recipe's hash, its name in its preset, or its network as in the leaderboard; a record's number or id; an
            ensemble's id, or `latest` for the newest ensemble.
        key: The configuration key of the text, for the error message.

    Raises:
        ProjectError: When nothing, or more than one recipe, has that name; the sentence lists the choices.
    """
    records.require_whole(project, task)
    stored, mixed = records.load_all(project, task), ensembles.load_all(project, task)
    for ensemble in mixed[-1:] if text == "latest" else mixed:
        if text in ("latest", ensemble.id):
            return _ensemble_contender(project, ensemble)
    for record in stored:
        if text.removeprefix("#") in (str(record.number), record.id):
            return replace(_recipe_contender(project, [record]), name=record.id)
    arch_by_recipe = {record.recipe: record.arch for record in stored}
    called = journal.names_of_recipes(project, {entry.recipe: entry for entry in stored}.values())
    fitting = [recipe for recipe, arch in arch_by_recipe.items() if text in (recipe, arch, called.get(recipe))]
    if not fitting and len(text) > 2:
        fitting = [recipe for recipe in arch_by_recipe if recipe.startswith(text)]
    if len(fitting) == 1:
        return _recipe_contender(project, [record for record in stored if record.recipe == fitting[0]])
    if fitting:
        options = listing([f"{journal.called(called, recipe)} ({arch_by_recipe[recipe]})" for recipe in fitting])
        raise ProjectError(
            problem(key, "several recipes have that name or network", got=text, fix=f"name one of {options}")
        )
    known_names = [
        *arch_by_recipe,
        *dict.fromkeys([*arch_by_recipe.values(), *called.values()]),
        *(record.id for record in stored),
    ]
    known_names += [*(mixture.id for mixture in mixed), *["latest"] * bool(mixed)]
    known = listing(
        [
            *(f"{journal.called(called, recipe)} ({arch})" for recipe, arch in arch_by_recipe.items()),
            *(mixture.id for mixture in mixed),
        ],
        most=8,
    )
    fix = did_you_mean(text, known_names, otherwise=f"recipes and ensembles of {task}: {known or 'none'}")
    raise ProjectError(problem(key, f"there is no such record of {task}", got=text, fix=fix))


def compared(first: Contender, second: Contender, groups: Mapping[str, str] | None, seed: int = 0) -> Compared:
    """Compare two models on test rows that both predicted, or on held-out rows if there are none.

    For two recipes with the same splits the corrected resampled t-test over the folds is added.

    Args:
        first: The first model.
        second: The second model.
        groups: The group of each sample; None: every row by itself.
        seed: Seed of the bootstrap.

    Raises:
        ProjectError: When they predict different things, or no row with a target was predicted by both.
    """
    kind = first.kind
    if second.kind != kind:
        wrong = f"{first.name} predicts {kind}, {second.name} {second.kind}"
        raise ProjectError(problem(KEY, wrong, fix="name two that predict the same"))
    for split, first_rows, other in (
        ("test", first.test, second.test),
        ("held-out", first.held_out, second.held_out),
    ):
        pair = _shared_rows(first_rows, other)
        if pair is not None:
            notes = _notes(first, second) if split == "held-out" else []
            names = first.name, second.name
            tests = [*paired(*pair, kind, groups, seed, names), *fold_comparisons(first, second, kind)]
            return Compared(first.name, second.name, split, len(pair[0]), tests, notes)
    wrong = f"{first.name} and {second.name} have no predictions of the same rows with a target"
    raise ProjectError(problem(KEY, wrong, fix="run mml predict, then mml test, for both"))


def paired(
    first_rows: Rows,
    other: Rows,
    kind: str,
    groups: Mapping[str, str] | None,
    seed: int,
    names: tuple[str, str] = paired_tests.UNNAMED,
) -> list[Comparison]:
    """Run every test that two models on the same rows allow: bootstrap of the headline and of the likelihood, McNemar.

    Args:
        first_rows: The first model's rows.
        other: The second's, in the same order.
        kind: The kind of the task.
        groups: The group of each sample, whose rows are drawn together; None: every row by itself.
        seed: Seed of the bootstrap.
        names: The names of the two in sentences.
    """
    units = row_groups(first_rows.ids, groups)
    part = post_kind.of(kind)
    if part.HEADLINE in part.WITHOUT_INTERVAL:
        return [_without_interval(first_rows, other, part.HEADLINE, kind, names)]
    measures = [part.HEADLINE, *(["nll"] if "nll" in part.METRICS else [])]
    tests = [
        paired_tests.paired_bootstrap(
            name,
            first_rows.calibrated,
            other.calibrated,
            first_rows.targets,
            kind=kind,
            groups=units,
            level=_LEVEL,
            seed=seed,
            names=names,
        )
        for name in dict.fromkeys(measures)
    ]
    # McNemar's test assumes independent rows.
    known = metrics.labelled(first_rows.targets)
    right = [part.right(rows.calibrated[known], first_rows.targets[known]) for rows in (first_rows, other)]
    if right[0] is not None and right[1] is not None and units is None:
        test = paired_tests.mcnemar(right[0], right[1], names=names)
        if measures[0] == "accuracy":
            count = int(known.sum())
            tests[0] = paired_tests.agreeing_comparison(tests[0], test, measures[0], _LEVEL, count, names)
        tests.append(test)
    return tests


def _without_interval(first_rows: Rows, other: Rows, name: str, kind: str, names: tuple[str, str]) -> Comparison:
    """Return the difference of a metric whose uncertainty cannot be estimated by resampling."""
    first, second = (_score(rows, name, kind) for rows in (first_rows, other))
    figures = f"{number(first, len(first_rows))} of {names[0]}, {number(second, len(first_rows))} of {names[1]}"
    sentence = (
        f"The rows do not tell {names[0]} and {names[1]} apart by {name}, which has no interval: it is {figures}."
    )
    return Comparison("difference", first - second, None, None, None, sentence)


def fold_comparisons(first: Contender, second: Contender, kind: str) -> list[Comparison]:
    """Run the corrected resampled t-test on two recipes that were trained on the same folds; return nothing for others.

    Args:
        first: The first model.
        second: The second model.
        kind: The kind of the task.
    """
    both = sorted(first.folds.keys() & second.folds.keys())
    same = [set(first.folds[fold][0].ids) == set(second.folds[fold][0].ids) for fold in both]
    if len(both) < 2 or not all(same):
        return []
    name = post_kind.of(kind).HEADLINE
    scores = [[_score(model.folds[fold][0], name, kind) for fold in both] for model in (first, second)]
    if not np.isfinite(scores).all():
        return []
    tested = float(np.mean([len(first.folds[fold][0]) for fold in both]))
    trained = float(np.mean([first.folds[fold][1].counts["train"] for fold in both]))
    names = first.name, second.name
    return [paired_tests.corrected_t(*scores, n_train=trained, n_test=tested, name=name, names=names)]


def _ensemble_contender(project: Project, ensemble: EnsembleRecord) -> Contender:
    path = project.ensembles_dir(ensemble.task) / f"{ensemble.id}.parquet"
    prior = None if ensemble.other_prevalence is None else np.asarray(ensemble.other_prevalence)
    splits = (predictions.load(path, ensemble.task, split) for split in ("val", "test", "unlabelled"))
    held_out, test, unlabelled = (members.as_rows(rows) if len(rows) else None for rows in splits)
    unlabelled = _moved_rows(unlabelled, held_out, prior)
    if held_out is not None:
        held_out = at_own_prevalence(held_out, prior)
    chose, test = ("members and weights",), test if ensemble.select_on == "oof" else None
    return Contender(ensemble.id, held_out, test, {}, chose, ensemble.kind, unlabelled=unlabelled)


def _moved_rows(rows: Rows | None, labelled: Rows | None, prior: Any) -> Rows | None:
    """Move rows without a target from a prior to the prevalence of the labelled rows."""
    if rows is None or labelled is None or prior is None:
        return rows
    # Targets of the file are ignored, so that these rows do not count in the prevalence.
    none = np.full_like(rows.targets, -1 if rows.targets.ndim == 1 else np.nan)
    calibrated = np.concatenate([labelled.calibrated, rows.calibrated])
    both = Rows([*labelled.ids, *rows.ids], np.concatenate([labelled.targets, none]), calibrated, calibrated)
    return replace(rows, calibrated=at_own_prevalence(both, prior).calibrated[len(labelled) :])


def _recipe_contender(project: Project, of_recipe: list[ModelRecord]) -> Contender:
    newest = records.newest_folds(of_recipe)
    kind, prior = newest[0].kind, members.prior_of(project, newest)
    held_out: dict[int, tuple[Rows, ModelRecord]] = {}
    for record in newest:
        own = members.held_out(project, record)
        if own is not None:
            held_out[record.fold] = (own, record)
    # Folds of random splits share rows, so their mean would mix seen and unseen rows.
    apart = repeats.are_whole([rows.ids for rows, _ in held_out.values()])
    joined = members.out_of_fold([rows for rows, _ in held_out.values()], kind) if held_out and apart else None
    refit = records.newest_refit(of_recipe, newest)
    test, unlabelled = (members.pooled(project, newest, refit, split) for split in ("test", "unlabelled"))
    can_calibrate = post_kind.of(kind).PROBABILITIES is not None
    if joined is not None and can_calibrate and metrics.labelled(joined.targets).any():
        best = choice.best_form(members.Member("", newest, joined, test, unlabelled, prior), kind)
        joined, test, unlabelled = best.chooses, best.test, best.unlabelled
        if best.form == "raw":
            held_out = {fold: (rows.uncalibrated(), record) for fold, (rows, record) in held_out.items()}
    held_out = {fold: (at_own_prevalence(rows, prior), record) for fold, (rows, record) in held_out.items()}
    unlabelled = _moved_rows(unlabelled, joined, prior)
    joined = None if joined is None else at_own_prevalence(joined, prior)
    chose = tuple(dict.fromkeys(purpose for record in newest if not record.nested for purpose in record.val_used_for))
    name = journal.called(journal.names_of_recipes(project, newest[-1:]), f"{newest[0].recipe} {newest[0].arch}")
    return Contender(name, joined, test, held_out, chose, kind, newest[-1], unlabelled)


def _shared_rows(rows: Rows | None, other: Rows | None) -> tuple[Rows, Rows] | None:
    """Return the labelled rows that both predicted, in one order; None without any."""
    if rows is None or other is None:
        return None
    other_names = set(other.ids)
    known = metrics.labelled(rows.targets)
    ids = [name for name, good in zip(rows.ids, known, strict=True) if good and name in other_names]
    return (rows.only(ids), other.only(ids)) if ids else None


def _score(rows: Rows, name: str, kind: str) -> float:
    return metrics.compute([name], rows.calibrated, rows.targets, kind)[name]


def _notes(*contenders: Contender) -> list[str]:
    return [
        f"note: the same rows chose {listing(model.chose)} of {model.name}, which flatters it"
        for model in contenders
        if model.chose
    ]
