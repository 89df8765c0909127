"""Averages of trained weights (`mode.search=soup`): the models to average, their choice, and the resulting records."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files, stored
from mlpipe.config.components import Component
from mlpipe.config.schema import RunConfig
from mlpipe.data.splits.variants import REFIT
from mlpipe.data.task import Task
from mlpipe.errors import DataError, ProjectError, counted, listing, problem
from mlpipe.names import path_of
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling import soup
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.ensembling.members import as_rows
from mlpipe.post.ensembling.soup import Soup
from mlpipe.post.figures import number
from mlpipe.running import tasks
from mlpipe.running.folds.fold_predictions import Inference
from mlpipe.running.folds.folds import Folds, num_workers
from mlpipe.running.steps import RunContext
from mlpipe.runs import journal, predictions, records
from mlpipe.runs.integrity import Finding
from mlpipe.runs.journal import Run, now
from mlpipe.runs.predictions import Predictions
from mlpipe.runs.project import Project
from mlpipe.runs.records import AVERAGED, FIRST_WEIGHTS, ModelRecord

log = logging.getLogger("mlpipe")

KEY = "mode.search"
# The use of the validation images of such a record.
CHOSE = "members_of_the_soup"
_FILE = "soup.json"
_MIX = "mode.search=greedy mixes predictions, which asks for no common start"
_TRAIN = "train another with the same network, seed and folds, such as mml train optimizer.lr=0.0003"
_START = "begin all folds from one record: mml train reuse.parameters=PROJ#1"
# A function from the rows that a model predicted to those that choose.
Chosen = Callable[[Predictions], Sequence[str]]


@dataclass(frozen=True)
class Candidate:
    """A candidate whose weights may be averaged with those of others, fold by fold.

    Attributes:
        name: The recipe's hash with its network, or the record's id.
        called: The same for messages: preceded by the name that a preset has for the recipe.
        records: The records of its folds, or its only record.
        refit: The model of all folds; None: there is none.
    """

    name: str
    called: str
    records: tuple[ModelRecord, ...]
    refit: ModelRecord | None = None


@dataclass(frozen=True)
class JudgingRows:
    """The rows that choose, for one position: no model at that position was trained on them.

    Attributes:
        task: The task's name in the predictions.
        split: `val` or `test`.
        ids: Names of samples.
    """

    task: str
    split: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Sharing:
    """Models that share a start.

    Attributes:
        candidates: At least two.
        judged: The rows that choose, for each position.
        alone: The loss of each candidate on all of these rows.
        notes: Notes on excluded models.
    """

    candidates: Sequence[Candidate]
    judged: Sequence[JudgingRows]
    alone: Sequence[float]
    notes: Sequence[str]

    @property
    def is_of_folds(self) -> bool:
        """Whether there is a position for each fold, rather than one for all models."""
        return self.judged[0].split == "val"


@dataclass(frozen=True)
class Outcome:
    """The result, as stored with the run.

    Attributes:
        members: The names of the averaged models; a single name: no average was as good.
        records: The ids of the resulting records.
        losses: The loss of each candidate by itself.
        loss: The loss of the result.
    """

    members: list[str]
    records: list[str]
    losses: dict[str, float]
    loss: float


def sharing(project: Project, task: str, models: Sequence[ModelRecord], test: Chosen | None) -> Sharing:
    """Return the models to average: those that share a start with the best one that shares its start with any.

    Args:
        project: The project.
        task: The pivot's name.
        models: Its records, with predictions.
        test: Selects test rows, which then judge single records; None: each fold's validation rows judge recipes.

    Raises:
        ProjectError: When no two models share their initial weights, or rows on which neither was trained.
    """
    split, candidates = ("val", _recipes(project, models)) if test is None else ("test", _singles(models))
    usable, notes = list[Candidate](), list[str]()
    for candidate in candidates:
        wrong = next((why for record in candidate.records if (why := _exclusion_reason(project, record, split))), "")
        if wrong:
            notes.append(f"{candidate.called} is left out of the soup: {wrong}")
        else:
            usable.append(candidate)
    if len(usable) < 2:
        noun = "record" if test is not None else "recipe"
        wrong = f"averages weights of several models, there is {counted(len(usable), noun)} of {task} for it"
        raise ProjectError([*notes, problem(KEY, wrong, got="soup", fix=f"{_TRAIN}; {_MIX}")])
    rows = {
        candidate.name: [_rows(project, record, split, test) for record in candidate.records] for candidate in usable
    }
    groups: dict[Any, list[Candidate]] = defaultdict(list)
    for candidate in usable:
        its = [(record.environment[FIRST_WEIGHTS], *_place(record, split)) for record in candidate.records]
        groups[(tuple(its), tuple(tuple(part.ids) for part in rows[candidate.name]))].append(candidate)
    shared = [group for group in groups.values() if len(group) > 1]
    if not shared:
        raise ProjectError([*notes, _no_pair_sentence(usable, by_test=test is not None)])
    alone = {
        candidate.name: _loss(rows[candidate.name], candidate.records[0].kind)
        for group in shared
        for candidate in group
    }
    if not np.isfinite(list(alone.values())).any():
        raise ProjectError(problem(KEY, "no model has finite predictions of the images that choose", got="soup"))
    best = min(shared, key=lambda group: np.nanmin([alone[candidate.name] for candidate in group] + [np.inf]))
    notes += [
        f"{candidate.called} is left out of the soup: it {_difference_clause(candidate, best[0])}"
        for candidate in usable
        if candidate not in best
    ]
    judged = [
        JudgingRows(record.task if split == "val" else record.pivot, split, tuple(part.ids))
        for record, part in zip(best[0].records, rows[best[0].name], strict=True)
    ]
    return Sharing(best, judged, [alone[candidate.name] for candidate in best], notes)


def average(config: RunConfig, context: RunContext, task: Task, of: Sharing, run: Run) -> Outcome:
    """Choose the models to average, and write the records of the average with their predictions.

    Args:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        of: The candidates.
        run: The run.

    Returns:
        The result, which is stored in the run's folder.
    """
    first = of.candidates[int(np.nanargmin(of.alone))]
    config = _with_stored_views(config)
    decoding = tasks.config_of(config, first.records[0])
    split = tasks.split_of(decoding, task)
    folds = Folds(config, context, task, split, first.records[0].nested, decoding=decoding)
    folder = run.checkpoints_dir / "soup"
    averaging = _Averaging(folds, of, folder)
    try:
        chosen = soup.greedy(of.alone, averaging.loss)
        members = [of.candidates[place] for place in chosen.members]
        _tell(of, chosen)
        ids = [record.id for record in (*members[0].records, *([members[0].refit] if members[0].refit else []))]
        if len(members) > 1:
            ids = _write_records(folds, of, members, averaging, run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    losses = {
        candidate.name: loss for candidate, loss in zip(of.candidates, of.alone, strict=True) if np.isfinite(loss)
    }
    outcome = Outcome([candidate.name for candidate in members], ids, losses, chosen.loss)
    files.write_json(run.folder / _FILE, dataclasses.asdict(outcome))
    context.facts["soup"] = dataclasses.asdict(outcome)
    return outcome


def outcome_of(run: Run) -> Outcome:
    """Return the result of `average` in an earlier step of the run."""
    return stored.read(run.folder / _FILE, Outcome, "run the same command again")


def compared(project: Project, record: ModelRecord) -> Finding:
    """Check that a record's weights are exactly the average of the records it names, except for batch statistics.

    Args:
        project: The project.
        record: A record whose weights are an average.
    """
    from mlpipe.predicting import averaged_weights

    subject, names = "averaged weights", record.averaged
    weights = [project.model_dir(record.pivot, name) / records.WEIGHTS_FILE for name in (record.id, *names)]
    if gone := [path.parent.name for path in weights if not path.is_file()]:
        return Finding(record.id, subject, "not compared", f"the weights of {listing(gone, most=3)} are gone")
    try:
        if averaged_weights.is_mean(weights[0], weights[1:]):
            return Finding(record.id, subject, "ok")
    except DataError as error:
        # Damage of the record's own file is found by its checksum.
        return Finding(record.id, subject, "not compared", error.problems[0])
    return Finding(record.id, subject, "differs", f"they are not the mean of {listing(names, most=3)}")


def _with_stored_views(config: RunConfig) -> RunConfig:
    """Return the configuration with the test-time views with which each record was trained."""
    return replace(config, recipe=replace(config.recipe, tta=Component("tta", path_of("tta", "stored"), {})))


def _recipes(project: Project, models: Sequence[ModelRecord]) -> list[Candidate]:
    """Return each recipe with the newest record of each fold, except records that are averages already."""
    groups: dict[str, list[ModelRecord]] = defaultdict(list)
    for record in models:
        if not record.averaged:
            groups[record.recipe].append(record)
    candidates = []
    names = journal.names_of_recipes(project, (group[-1] for group in groups.values()))
    for recipe, group in groups.items():
        newest = records.newest_folds(group)
        name, refit = f"{recipe} {newest[0].arch}", records.newest_refit(group, newest)
        candidates.append(Candidate(name, journal.called(names, name), tuple(newest), refit))
    return candidates


def _singles(models: Sequence[ModelRecord]) -> list[Candidate]:
    return [Candidate(record.id, record.id, (record,)) for record in models if not record.averaged]


def _exclusion_reason(project: Project, record: ModelRecord, split: str) -> str:
    """Explain why a record cannot be averaged with any other; empty if it can."""
    if wrong := _missing_weights_reason(project, record):
        return wrong
    if record.co_tasks:
        return f"{record.id} was learned with other tasks"
    path = project.predictions_file(record.pivot, record.id)
    task, key = (record.task, split) if split == "val" else (record.pivot, split)
    if (task, key) not in predictions.contents(path):
        return f"{record.id} has no predictions of {'validation' if split == 'val' else 'test'} images"
    return ""


def _missing_weights_reason(project: Project, record: ModelRecord) -> str:
    """Explain why a record's weights are not available; empty if they are."""
    if FIRST_WEIGHTS not in record.environment:
        return f"{record.id} does not say which weights it began with (a version before trained it)"
    weights = project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE
    if record.weights is None or not weights.is_file():
        return f"{record.id} keeps no weights"
    if files.digest_file(weights) != record.weights:
        return f"the weights of {record.id} are not those that it was written with"
    return ""


def _place(record: ModelRecord, split: str) -> tuple[Any, ...]:
    """Return what records at the same position must have in common."""
    return (record.fold, record.task, record.kind) if split == "val" else (record.kind,)


def _rows(project: Project, record: ModelRecord, split: str, test: Chosen | None) -> Rows:
    """Return a record's predictions of the rows that judge it."""
    task = record.task if split == "val" else record.pivot
    outputs = predictions.load(project.predictions_file(record.pivot, record.id), task, split)
    rows = as_rows(outputs)
    return rows if test is None else rows.only(test(outputs))


def _loss(parts: Sequence[Rows], kind: str) -> float:
    """Return the loss of the rows of all positions: that of ensemble weights, else the headline measure."""
    targets = np.concatenate([part.targets for part in parts])
    outputs = np.concatenate([part.raw for part in parts])
    has_target, of = metrics.labelled(targets), post_kind.of(kind)
    if not has_target.any():
        raise ProjectError(problem(KEY, "none of the images that choose has a target", fix=_MIX))
    if of.ENSEMBLING is not None:
        whole = np.isfinite(outputs).all()
        return of.ENSEMBLING.loss(outputs[has_target], targets[has_target]) if whole else float("nan")
    value = metrics.compute([of.HEADLINE], outputs, targets, kind)[of.HEADLINE]
    return value if metrics.direction(of.HEADLINE) == "min" else -value


def _starts(candidate: Candidate) -> list[str]:
    return [record.environment[FIRST_WEIGHTS] for record in candidate.records]


def _difference_clause(candidate: Candidate, best: Candidate) -> str:
    """Describe what a candidate does not share with the averaged models."""
    return "began with other weights" if _starts(candidate) != _starts(best) else "predicts other images than they do"


def _no_pair_sentence(usable: Sequence[Candidate], *, by_test: bool) -> str:
    """Return the sentence for the case that no two models share what they must."""
    starts = [_starts(candidate) for candidate in usable]
    if any(start == other for place, start in enumerate(starts) for other in starts[:place]):
        wrong = "those that began with the same weights hold out other images: no image judges them together"
        return problem(KEY, wrong, got="soup", fix=f"train them with the same split; {_MIX}")
    if by_test:
        wrong = f"no two of {counted(len(usable), 'record')} began with the same weights: each fold draws its own"
        return problem(KEY, wrong, got="soup", fix=f"{_START}; {_MIX}")
    wrong = f"no two of {counted(len(usable), 'recipe')} began with the same weights, fold by fold"
    return problem(KEY, wrong, got="soup", fix=f"{_TRAIN}; {_MIX}")


@dataclass(frozen=True)
class _Averaging:
    """Averages weights in its own folder, and evaluates them on the rows that choose.

    Attributes:
        folds: The task, its split and its images.
        sharing: The candidates.
        folder: The folder of temporary averages.
    """

    folds: Folds
    sharing: Sharing
    folder: Path

    def loss(self, members: tuple[int, ...]) -> float:
        """Return the loss of the average of some candidates."""
        self.folds.context.stop.check()
        names = listing([self.sharing.candidates[place].called.split()[0] for place in members], most=4)
        self.folds.context.display.start(f"averaging {names}", len(self.sharing.judged))
        try:
            parts = [self._predicted_rows(members, place) for place in self._places()]
        finally:
            self.folds.context.display.close()
        return _loss(parts, self.sharing.candidates[0].records[0].kind)

    def write(self, averaged: Sequence[ModelRecord], out: Path) -> str:
        """Write the average of some records' weights, with recomputed batch statistics."""
        from mlpipe.predicting import averaged_weights

        task, project, first = self.folds.task, self.folds.context.project, averaged[0]
        sources = [project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE for record in averaged]
        is_one = len({(record.fold, record.task) for record in averaged}) == 1
        view = self.folds.view(first.fold if is_one else REFIT, nested=first.nested and is_one)
        recipe, pack = tasks.config_of(self.folds.config, first).recipe, self.folds.pack(task)
        return averaged_weights.write(recipe, task, pack, view.train, sources, out, stop=self.folds.context.stop)

    def _places(self) -> Iterator[int]:
        for place in range(len(self.sharing.judged)):
            yield place
            self.folds.context.display.update(place + 1)

    def _predicted_rows(self, members: Sequence[int], place: int) -> Rows:
        from mlpipe.predicting import records as predicting

        self.folder.mkdir(parents=True, exist_ok=True)
        weights, out = self.folder / f"{place}.safetensors", self.folder / f"{place}.parquet"
        averaged = [self.sharing.candidates[member].records[place] for member in members]
        self.write(averaged, weights)
        judged, task = self.sharing.judged[place], self.folds.task
        row_of = {name: row for row, name in enumerate(task.samples.ids)}
        rows: npt.NDArray[np.int64] = np.array([row_of[name] for name in judged.ids], np.int64)
        request = predicting.RowsToPredict(judged.task, judged.split, task, self.folds.pack(task), rows)
        recipe = tasks.config_of(self.folds.config, averaged[0]).recipe
        stop, workers = self.folds.context.stop, num_workers(self.folds.config)
        predicting.predict(recipe, weights, averaged[0].fold, [request], out, num_workers=workers, should_stop=stop)
        result = as_rows(predictions.load(out, judged.task, judged.split))
        for path in self.folder.iterdir():
            path.unlink()
        return result


def _tell(of: Sharing, chosen: Soup) -> None:
    count = sum(len(rows.ids) for rows in of.judged)
    names = [candidate.called for candidate in of.candidates]
    for note in of.notes:
        log.warning(note)
    for members, loss in chosen.tried:
        log.debug(f"soup: loss {loss:.6g} of {listing([names[place] for place in members])}")
    best = number(of.alone[chosen.members[0]], count)
    if len(chosen.members) == 1:
        log.info(
            f"soup: no mean of weights is as good as {names[chosen.members[0]]} alone (loss {best}): it stays as it is"
        )
        return
    text = listing([names[place] for place in chosen.members])
    of_all = f"{len(chosen.members)} of {len(names)}"
    log.info(
        f"soup: the mean of the weights of {of_all} ({text}) has loss {number(chosen.loss, count)}, the best alone {best}"
    )


def _write_records(
    folds: Folds, of: Sharing, members: Sequence[Candidate], averaging: _Averaging, run: Run
) -> list[str]:
    """Write the records of the average: one for each position, and that of the refits if all have one."""
    recipe = files.digest(["soup", sorted(candidate.name for candidate in members)])[:8]
    write = partial(_write, folds, of, averaging, run, recipe)
    means = [write([candidate.records[place] for candidate in members], ()) for place in range(len(of.judged))]
    project = folds.context.project
    refits = [
        candidate.refit
        for candidate in members
        if candidate.refit is not None and not _missing_weights_reason(project, candidate.refit)
    ]
    if len(refits) == len(members) and len({refit.environment[FIRST_WEIGHTS] for refit in refits}) == 1:
        means.append(write(refits, [mean.id for mean in means]))
    return [mean.id for mean in means]


def _write(
    folds: Folds,
    of: Sharing,
    averaging: _Averaging,
    run: Run,
    recipe: str,
    averaged: Sequence[ModelRecord],
    refit: Sequence[str],
) -> ModelRecord:
    """Write the average of some records as a record, with predictions and scores."""
    begun, project, first = time.perf_counter(), folds.context.project, averaged[0]
    record = _record(folds, of, run, recipe, averaged, refit)
    source, folder = project.model_dir(first.pivot, first.id), project.model_dir(record.pivot, record.id)
    folder.mkdir(parents=True, exist_ok=True)
    digest = averaging.write(averaged, folder / records.WEIGHTS_FILE)
    files.write_bytes(folder / records.CONFIG_FILE, (source / records.CONFIG_FILE).read_bytes())
    # No epoch was run; the trained models keep their own curves.
    files.write_text(folder / records.METRICS_FILE, files.csv_text([{"epoch": 0, "lr": 0.0}]))
    sums = {name: files.digest_file(folder / name) for name in (records.METRICS_FILE, records.CONFIG_FILE)}
    seconds = {"seconds": round(time.perf_counter() - begun, 3)}
    if (folder / records.RECORD_FILE).is_file():
        # If the step is repeated, the record has its number already.
        record = replace(record, number=records.load(folder).number)
    record = records.save(project, replace(record, weights=digest, checksums=sums, timings=seconds))
    inference = Inference(folds, ())
    inference.predict(record)
    record = _scored(project, records.load(folder))
    if (record.task, "test") in predictions.contents(project.predictions_file(record.pivot, record.id)):
        inference.test(record)
    return record


def _record(
    folds: Folds, of: Sharing, run: Run, recipe: str, averaged: Sequence[ModelRecord], refit: Sequence[str]
) -> ModelRecord:
    """Return the record of an average, without its weights."""
    first = averaged[0]
    is_one = of.is_of_folds
    base, _, variant = first.id.rpartition("-")
    variant = variant if is_one else "all"
    name = f"{base.rpartition('-')[0] or base}-{files.digest([recipe, folds.task.name, run.name])[:8]}-soup-{variant}"
    facts = {key: value for key, value in first.environment.items() if key not in (FIRST_WEIGHTS, "tta")}
    chose = [*dict.fromkeys(purpose for record in averaged for purpose in record.val_used_for)]
    names = listing([record.id for record in averaged])
    notes = [f"its weights are the mean of those of {names}"]
    if not is_one:
        count = len(of.judged[0].ids)
        notes.append(f"{counted(count, 'test image')} chose them, so that its test score is optimistic")
    elif not refit and not first.nested:
        notes.append("the validation score is optimistic: it also chose what val_used_for names")
    view = folds.view(first.fold if is_one else REFIT, nested=first.nested and is_one)
    return replace(
        first,
        id=name,
        number=0,
        run=run.name,
        created=now(),
        task=first.task if is_one else first.pivot,
        fold=first.fold if is_one else REFIT,
        nested=first.nested and is_one,
        recipe=recipe,
        counts={split: len(rows) for split, rows in view.rows().items()},
        scores={},
        best_epoch=0,
        epochs=1,
        val_used_for=[*chose, CHOSE] if is_one and not refit else [],
        timings={},
        environment={**facts, AVERAGED: [record.id for record in averaged]},
        weights=None,
        notes=notes,
        details={},
        events=[],
        checksums={},
        refit=list(refit),
    )


def _scored(project: Project, record: ModelRecord) -> ModelRecord:
    """Return the record with the scores of its own validation rows, if it has any."""
    rows = predictions.load(project.predictions_file(record.pivot, record.id), record.task, "val")
    if not len(rows):
        return record
    final = post_kind.of(record.kind).FINAL
    scores: Mapping[str, float] = metrics.compute(final, rows.logits, rows.targets, record.kind)
    details = metrics.details(rows.logits, rows.targets, record.classes, record.kind)
    return records.with_scores(project, record, {"val": dict(scores)}, {"val": details})
