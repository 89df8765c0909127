"""The plans of a cross-validation: its training, and the predictions and tests of its stored records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mlpipe import kinds
from mlpipe.config import near_values, rules
from mlpipe.config.schema import AUTO, Recipe, RunConfig
from mlpipe.data.records import outputs
from mlpipe.data.splits import checks, methods, variants
from mlpipe.data.splits.methods import Split
from mlpipe.data.splits.variants import REFIT, fold_name
from mlpipe.data.task import Task, in_classes
from mlpipe.errors import DataError, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post.teaching import Teaching
from mlpipe.running import (
    artifacts,
    console,
    dimension_checks,
    external_scores,
    leaderboard,
    next_command,
    reuse,
    tasks,
    tracking,
)
from mlpipe.running.artifacts import Artifact
from mlpipe.running.folds import co_tasks, fold_predictions, output_records, time_shares
from mlpipe.running.folds.fold_predictions import Inference
from mlpipe.running.folds.fold_training import FoldTraining, Storage
from mlpipe.running.folds.folds import Folds, unknown_folds, with_possible_nesting
from mlpipe.running.folds.time_shares import Rows, TimeShares
from mlpipe.running.processes import fold_processes
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import records, references
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

log = logging.getLogger("mlpipe")

# Steps on the records of a run after all folds are trained and have predicted.
Ending = Callable[[Sequence[ModelRecord], Run], None]
# Its constant time, independent of the number of images: importing plot libraries, intervals, the page.
_REPORT_SECONDS = 6.0
# Callback keys that name output files of a model.
_PLACES = ("folder", "outfile")


@dataclass(frozen=True)
class Request:
    """The keys of a mode that concern the folds.

    Attributes:
        subroutines: Any of train, predict, test, in this order.
        cv: One model for each fold; False: fold 0 only.
        nested: Set each fold aside as test data and split the rest again.
        folds: Only these folds; None: all.
        storage: The weights that a training stores.
        joint: The tasks that are trained together.
        eval_on: Tasks to predict and test instead of the pivot.
        refit: Train one more model on all folds.
        teaching: A teacher's predictions, on which the folds train; None: there is no teacher.
    """

    subroutines: Sequence[str]
    cv: bool
    nested: bool
    folds: Sequence[int] | None
    storage: Storage
    joint: co_tasks.Request
    eval_on: Sequence[str]
    refit: bool = False
    teaching: Teaching | None = None

    @property
    def trains(self) -> bool:
        """Whether models are trained; False: stored ones are used."""
        return "train" in self.subroutines


@dataclass(frozen=True)
class Plan:
    """A planned training.

    Attributes:
        steps: All steps in order.
        config: The configuration with decisions that depend on the data, as stored with the run.
        recipe_hash: The hash that groups the folds of this cross-validation.
    """

    steps: list[Step]
    config: RunConfig
    recipe_hash: str


@dataclass(frozen=True)
class _Made:
    """The record of a fold or a refit, which exists when a step runs.

    Attributes:
        label: The label of its steps.
        load: Loads the record.
        lane: The lane of its steps; None: they wait for all folds.
        is_left_out: Whether there is no record, because a time limit left the fold out.
    """

    label: str
    load: Callable[[Run | None], ModelRecord]
    lane: int | None = None
    is_left_out: Callable[[Run | None], bool] = lambda run: False

    def step(self, name: str, call: Callable[[ModelRecord], None]) -> Step:
        """Return a step that does something with the record, if there is one."""

        def done(run: Run | None) -> None:
            if not self.is_left_out(run):
                call(self.load(run))

        return Step(f"{name} {self.label}", done, lane=self.lane)


def _made_of(trainer: FoldTraining, fold: int, lane: int | None) -> _Made:
    return _Made(fold_name(fold), partial(trainer.record, fold), lane, partial(trainer.is_left_out, fold))


def training(
    config: RunConfig, context: RunContext, task: Task, request: Request, origin: str, ending: Ending | None = None
) -> Plan:
    """Read the data, and plan the training of every fold.

    Args:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        request: The request of the mode.
        origin: How the starting model of the training was chosen; empty: it was named, or there is none.
        ending: Calibrates, mixes and reports; if there are test images, folds are tested before it. None: nothing
            follows.

    Raises:
        ConfigError: With a sentence for every problem.
        DataError: Likewise.
    """
    others = _evaluated_tasks(config, task, request.eval_on)
    output_records.refuse_training(task, request.eval_on)
    beside = co_tasks.chosen(config, task, request.joint)
    config = co_tasks.with_channels(tasks.with_decisions(config, task), [task, *beside])
    split = tasks.split_of(config, task)
    config = with_possible_nesting(config, split)
    request = replace(request, nested=bool(config.tree["mode"]["nested"]))
    raise_all(_problems(config, task, split, request) + co_tasks.size_problems(config, beside))
    _tell_learned_images(task, split, others)
    if outputs.names(task.source):
        # Each output's head has its own records, by which its task is post-processed.
        ending = None
    if ending is not None and _has_test(split, request):
        request = replace(request, subroutines=[*dict.fromkeys([*request.subroutines, "test"])])
    folds = Folds(config, context, task, split, request.nested, decoding=config)
    begun = reuse.start(config, task, origin)
    recipe_hash = reuse.recipe_hash(config, "&".join(other.name for other in (task, *beside)), begun, request.teaching)
    every = list(split.validated if request.cv else split.validated[:1])
    chosen = every if request.folds is None else list(request.folds)
    artifacts_ = artifacts.of(config)
    wrong = [
        text for artifact in artifacts_ for text in artifact.problems(task, chosen, stored=request.storage.parameters)
    ]
    raise_all(wrong + console.problems(config, len(chosen)) + _refit_problems(task, split, request, chosen))
    for sentence in same_files(config.recipe, len(chosen) + request.refit):
        log.info(f"note on {task.name}: {sentence}")
    limit = _time_shares(folds, chosen, request, _REPORT_SECONDS if ending is not None else 0.0)
    trainer = FoldTraining(
        folds, chosen, recipe_hash, request.storage, beside, request.joint, begun, limit, request.teaching
    )
    outcomes = [_made_of(trainer, fold, fold) for fold in chosen]
    refit = [_made_of(trainer, REFIT, None)] if request.refit else []
    # Steps that need no run come first: a failed download, or a network that does not fit the images, leaves no trace
    # in the project. Then the steps of each fold share a lane, so that folds may run in parallel, and steps of all
    # folds wait.
    steps = _preprocessing(folds, [task, *beside, *others])
    steps.append(Step("build the network", trainer.try_network, in_project=False))
    if not config.recipe.tune.is_none:
        steps.append(Step("tune", trainer.tune))
    steps += [Step(f"train fold {fold}", partial(trainer.train, fold), lane=fold) for fold in chosen]
    steps += _steps_after_training(request, Inference(folds, others), outcomes)
    if refit:
        steps += [
            Step("train refit", partial(trainer.train, REFIT)),
            *_steps_after_training(request, Inference(folds, others), refit),
        ]
    steps += [Step(artifact.step, partial(_write, artifact, trainer)) for artifact in artifacts_]
    if ending is not None:
        steps.append(Step("post", partial(_run_ending, outcomes, ending)))
    predicts_later = request.storage.parameters and "predict" not in request.subroutines
    last = _last_steps(folds, outcomes + refit, predicts_later=predicts_later, has_ended=ending is not None)
    return Plan([*steps, *last], config, recipe_hash)


def same_files(recipe: Recipe, models: int) -> list[str]:
    """Return a sentence for each callback that writes to a given path, which all models of a run would share.

    Args:
        recipe: How each learns.
        models: The number of models to train.
    """
    if models == 1:
        return []
    sections = {"callbacks": recipe.callbacks}
    sections |= {
        f"stages.list[{number}].callbacks": stage.callbacks or {} for number, stage in enumerate(recipe.stages)
    }
    fix = "train one of them (mode.folds=[0], or split=holdout mode.nested=false)"
    return [
        problem(f"{section}.{name}", f"all {models} models write to {place}, the last one's files stay", fix=fix)
        for section, group in sections.items()
        for name, callback in group.items()
        for key in _PLACES
        if isinstance(place := callback.params.get(key), str)
    ]


def stored(config: RunConfig, context: RunContext, task: Task, request: Request) -> list[Step]:
    """Plan the predictions and tests of stored records; records of other projects are copied first.

    Args:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        request: The request of the mode.

    Raises:
        ConfigError: With a sentence for every problem.
        ProjectError: When there are no such records.
    """
    others = _evaluated_tasks(config, task, request.eval_on)
    locations = reuse.foreign_records(config.reuse.models, "reuse.models", config, task.name)
    chosen = _chosen_records(context.project, task, [location.record for location in locations], request.folds)
    if not fold_predictions.views_are_stored(config):
        raise_all(dimension_checks.view_problems(config.recipe.tta, task))
        config.recipe.tta.build(1.0)
    homes = {location.record.id: location.project for location in locations}
    stored_config = tasks.config_of(config, chosen[0], homes.get(chosen[0].id))
    folds = Folds(config, context, task, tasks.split_of(stored_config, task), chosen[0].nested, decoding=stored_config)
    _tell_learned_images(task, folds.split, others)
    log.info(f"records of {task.name}: {listing([record.id for record in chosen])}")
    names = [record.id for record in chosen]
    outcomes = [_Made(record.id, partial(_stored_record, context.project, record)) for record in chosen]
    return [
        *_preprocessing(folds, others if request.eval_on else [task]),
        *(
            Step(f"take {location.record.id}", partial(_adopt, config, location))
            for location in locations
            if location.record.id in names
        ),
        *_inferences(request, Inference(folds, others, homes), outcomes),
        *(
            Step(f"scores on {other.name}", partial(_report_scores, folds, other))
            for other in others
            if "test" in request.subroutines and request.folds is None and request.eval_on
        ),
        *_last_steps(folds, outcomes),
    ]


def _report_scores(folds: Folds, other: Task, run: Run | None) -> None:
    external_scores.report(folds.context, folds.task, other, folds.config.seed)


def _time_shares(folds: Folds, chosen: Sequence[int], request: Request, after: float) -> TimeShares | None:
    """Divide the time limit among the folds, reserving some seconds for later steps; None if there is no limit."""
    limit, config = time_shares.seconds(folds.config), folds.config
    if limit is None:
        return None
    predicts = bool({"predict", "test"} & set(request.subroutines))
    places = [*chosen, REFIT] if request.refit else list(chosen)

    def rows(place: int) -> Rows:
        view = folds.view(places[place])
        views = len(getattr(config.recipe.tta.build(1.0), "views", ())) if predicts else 0
        predicted = max(predicts, views) * (len(view.val) + len(view.test) + len(view.unlabelled))
        return Rows(len(view.train), len(view.val), predicted)

    at_once = fold_processes.lane_count(config.sys.fold_workers, config.recipe.threads, len(chosen))
    return TimeShares(
        max(1.0, limit - after),
        folds.context,
        rows,
        len(chosen),
        at_once,
        len(folds.task.samples),
        refits=request.refit,
        heads=time_shares.heads(config.recipe),
    )


def _evaluated_tasks(config: RunConfig, task: Task, names: Sequence[str]) -> list[Task]:
    """Return the tasks of `mode.eval_on`.

    Args:
        config: The checked configuration.
        task: The pivot.
        names: Their names.

    Raises:
        ConfigError: With a sentence for each task that does not exist or has other classes than the pivot.
    """
    others, problems = [], []
    for name in names:
        try:
            other = tasks.other_task(config, name)
        except DataError as error:
            problems += [f"mode.eval_on: {sentence}" for sentence in error.problems]
            continue
        renumbered = in_classes(other, task.classes) if other.kind == task.kind else None
        if renumbered is None:
            text = f"it is no {task.kind} task with the classes of {task.name}, it has {listing(other.classes)}"
            problems.append(
                problem(f"mode.eval_on={name}", text, fix="name a task with the same classes, or some of them")
            )
            continue
        if len(other.classes) < len(task.classes):
            missing = [class_name for class_name in task.classes if class_name not in other.classes]
            log.info(f"mode.eval_on: {other.name} has no images of {listing(missing)}; its classes are matched by name")
        others.append(renumbered)
    raise_all(problems)
    return others


def _tell_learned_images(task: Task, split: Split, others: Sequence[Task]) -> None:
    """Warn about images of `mode.eval_on` that the pivot's models were trained on."""
    for other in others:
        for sentence in checks.learned_images_notes(task, split, other):
            log.warning(f"mode.eval_on: {sentence}")


def _preprocessing(folds: Folds, of: Sequence[Task]) -> list[Step]:
    """Plan a step for each task that decodes its images, if they are not decoded yet."""

    def step(one: Task, run: Run | None) -> None:
        folds.pack(one)

    return [Step(f"preprocess {task.name}", partial(step, task), in_project=False) for task in of]


def _steps_after_training(request: Request, inference: Inference, outcomes: Sequence[_Made]) -> list[Step]:
    """Plan the steps after the training of some folds: the records of heads, predictions and tests."""
    steps = []
    if outputs.names(inference.folds.task.source):
        steps = [outcome.step("heads of", partial(output_records.write, inference.folds)) for outcome in outcomes]
    return steps + _inferences(request, inference, outcomes)


def _inferences(request: Request, inference: Inference, outcomes: Sequence[_Made]) -> list[Step]:
    """Plan the requested predictions and tests of each fold's record."""
    calls = {"predict": inference.predict, "test": inference.test}
    if outputs.names(inference.folds.task.source):
        # The outputs of all heads side by side are not predictions: each head has its own, made after a training.
        calls = {} if request.trains else {"predict": partial(output_records.write, inference.folds)}
    return [outcome.step(name, calls[name]) for name in calls if name in request.subroutines for outcome in outcomes]


def _run_ending(outcomes: Sequence[_Made], ending: Ending, run: Run | None) -> None:
    assert run is not None
    ending([outcome.load(run) for outcome in outcomes if not outcome.is_left_out(run)], run)


def _last_steps(
    folds: Folds, outcomes: Sequence[_Made], *, predicts_later: bool = False, has_ended: bool = False
) -> list[Step]:
    """Plan the leaderboard and, last of all, the deletions of `remove.parameters`.

    Args:
        folds: The folds.
        outcomes: The record of each fold.
        predicts_later: Whether weights are stored and nothing was predicted yet, so that the user is told how to
            continue.
        has_ended: Whether everything was predicted and reported, so that the user is told the result.
    """
    context, removes = folds.context, folds.config.remove.parameters

    def board(run: Run | None) -> None:
        names = output_records.task_names(folds.task)
        if has_ended:
            assert run is not None
            kind = next(outcome.load(run).kind for outcome in outcomes if not outcome.is_left_out(run))
            command = (
                "" if removes else next_command.predict_command(folds.config, context.project, folds.task, kind, run)
            )
            leaderboard.tell_result(context, folds.config, names, command)
            return
        leaderboard.show(context, *names)
        if predicts_later and not removes and not context.is_part:
            words = "" if context.project.name == "default" else f" proj={context.project.name}"
            if kinds.of(kinds.decide(folds.task.kind, folds.config.recipe.loss)).draws:
                log.info(f"next: mml predict{words} mode.samples=64 draws images")
                return
            log.info(f"next: mml predict{words}, then mml post{words}, for calibration, intervals and the report")

    def remove(one: _Made, run: Run | None) -> None:
        if one.is_left_out(run):
            return
        records.without_weights(context.project, one.load(run), "removed after the run (remove.parameters)")

    names = [f"remove the weights of {outcome.label.removeprefix('fold ')}" for outcome in outcomes]
    removals = [Step(name, partial(remove, outcome)) for name, outcome in zip(names, outcomes, strict=True)]
    return [Step("leaderboard", board), *(removals if removes else [])]


def _write(artifact: Artifact, trainer: FoldTraining, run: Run | None) -> None:
    assert run is not None
    artifact.write(trainer.folds.context, trainer.folds.task, trainer.record(trainer.chosen[0], run), run)


def _problems(config: RunConfig, task: Task, split: Split, request: Request) -> list[str]:
    """Return everything that is wrong with the recipe for this task."""
    from mlpipe.arch import classifier
    from mlpipe.learn.machine import hardware

    if request.nested and not split.can_nest:
        fix = "add mode.nested=false, or use split=kfold"
        problems = [problem("mode.nested", f"the split has {len(split.validated)} validation part", fix=fix)]
    else:
        problems = checks.of_repeats(task.kind, task.samples, split, task.classes, nested=request.nested)
    if request.folds is not None:
        problems += unknown_folds(request.folds, list(split.validated))
    problems += _validation_problems(config, split, task)
    arch = config.recipe.arch
    if arch.name == "timm":
        problems += classifier.check_local(**{key: arch.params[key] for key in ("name", "pretrained", "weights")})
    problems += hardware.device_problems(config.recipe.trainer) + _metric_problems(config, task)
    problems += tracking.missing(config)
    problems += dimension_checks.problems(config.recipe, task)
    if "test" in request.subroutines and not _has_test(split, request):
        fix = "use mode.nested=true or split.test_fraction=0.2"
        problems.append(problem("mode.subroutines", f"{task.name} has no test images", fix=fix))
    return problems


def _has_test(split: Split, request: Request) -> bool:
    return request.nested or bool((split.fold == methods.TEST).any()) or bool(request.eval_on)


def _refit_problems(task: Task, split: Split, request: Request, chosen: Sequence[int]) -> list[str]:
    """Check a refit, which trains on what folds held out; impossible if they held nothing out."""
    if not request.refit or request.nested:
        return []
    learned = len(variants.whole(task, split).train)
    if any(len(variants.plain(task, split, fold).train) < learned for fold in chosen):
        return []
    wrong = "the split holds no training image out: its model has learned from all of them"
    return [problem("mode.refit", wrong, got=True, fix="leave it out, or use split=kfold")]


def _validation_problems(config: RunConfig, split: Split, task: Task) -> list[str]:
    """Without validation images, nothing can be chosen by them."""
    used = rules.val_used_for(config.tree)
    if not used or all((part.fold == fold).any() for part in split.each() for fold in part.validated):
        return []
    groups = len({task.samples.groups[row] for row in np.flatnonzero(split.fold >= 0)} if task.samples.groups else ())
    if 2 <= groups < split.n_folds:
        wrong = f"leaves a fold without images: they are of {groups} groups, which are not split"
        return [problem("split.folds", wrong, got=split.n_folds, fix=f"use split.folds={groups}")]
    fix = "use mode.store_best=false, no early stop and no plateau schedule, or give the task a test part"
    return [problem("split", f"leaves no image to validate on, by which to choose ({listing(used)})", fix=fix)]


def _metric_problems(config: RunConfig, task: Task) -> list[str]:
    from mlpipe.learn import monitoring
    from mlpipe.learn.own_parts import own_metrics

    recipe = config.recipe.metrics
    own, kind = own_metrics.names_of(recipe), kinds.decide(task.kind, config.recipe.loss)
    known = [*own, *post_kind.of(kind).METRICS, *own_metrics.loss_metrics(kind)]
    problems = []
    of_outputs = [name for name in monitoring.outputs_metrics(config.recipe) if not monitoring.has_direction(name)]
    if recipe.monitor.removeprefix("val/") in [*own, *of_outputs] and recipe.direction == "auto":
        fix = "use metrics.direction=min or metrics.direction=max"
        wrong = "nothing tells whether less or more of a function of your own is better"
        problems.append(problem("metrics.direction", wrong, got=recipe.monitor, fix=fix))
    for key in ("train", "final"):
        names = getattr(recipe, key)
        for name in names if names != AUTO else ():
            if name not in known:
                suggestion = near_values.for_value("metrics.monitor", name).removeprefix("val/")
                otherwise = f"metrics of {kind}: {listing(known)}"
                fix = (
                    f"did you mean {suggestion!r}?"
                    if suggestion in known
                    else did_you_mean(str(name), known, otherwise=otherwise)
                )
                problems.append(problem(f"metrics.{key}", f"no metric of {kind} tasks", got=name, fix=fix))
    if recipe.while_training and kinds.of(task.kind).is_dense:
        problems.append(problem("metrics.while_training", "is not for masks and target images", fix="leave it out"))
    monitors = ["val/loss", *(f"val/{name}" for name in (*known, *monitoring.outputs_metrics(config.recipe)))]
    # Metrics of training images are computed by the training itself, which determines what is available. A schedule may
    # monitor the learning rate, which its history contains.
    watched = [
        (key, name)
        for key, name in monitoring.watched_metrics(config.recipe)
        if not name.startswith("train/") and not (name == "lr" and "lr_scheduler" in key)
    ]
    for key, name in [("metrics.monitor", recipe.monitor), *watched]:
        if name not in monitors:
            suggestion = near_values.for_value("metrics.monitor", name)
            fix = did_you_mean(name, monitors, otherwise=f"use one of {listing(monitors)}")
            fix = f"write {key}={suggestion}" if suggestion in monitors else fix
            problems.append(problem(key, f"no metric of {kind} tasks", got=name, fix=fix))
    return problems


def _chosen_records(
    project: Project, task: Task, others: Sequence[ModelRecord], folds: Sequence[int] | None
) -> list[ModelRecord]:
    """Return the requested folds of the latest cross-validation, and its refit, from this project or others."""
    if not others:
        records.require_whole(project, task.name)
    candidates = others or records.load_all(project, task.name)
    latest = records.latest_cross_validation(candidates)
    if not latest:
        raise records.untrained_error(project, task.name)
    raise_all(unknown_folds(folds or [], [record.fold for record in latest]))
    chosen = [record for record in latest if folds is None or record.fold in folds]
    refit = records.newest_refit(candidates, latest)
    # The folds come first: the split is set up from one of them.
    chosen += [refit] if refit is not None and refit.weights is not None and folds is None else []
    fix = "train with mode.store_parameters=true"
    weightless = [record.id for record in chosen if record.weights is None]
    raise_all([problem(name, "has no weights to predict with", fix=fix) for name in weightless])
    return chosen


def _adopt(config: RunConfig, location: Located, run: Run | None) -> None:
    references.check_weights(location, "reuse.models", config.out_dir)
    references.adopt(location, Project(config.project_dir), weights=True, predictions=False)


def _stored_record(project: Project, record: ModelRecord, run: Run | None) -> ModelRecord:
    """Return the record as stored in this project: for an adopted record, the copy."""
    return records.load(project.model_dir(record.pivot, record.id))
