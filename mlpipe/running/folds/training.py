"""The plan of a training: the cache and the network first, then every fold with its predictions and its test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mlpipe import kinds
from mlpipe.config import rules
from mlpipe.config.schema import AUTO, RunConfig
from mlpipe.data.records import outputs
from mlpipe.data.splits import checks, methods
from mlpipe.data.splits.methods import Split
from mlpipe.data.task import Task
from mlpipe.errors import counted, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.running import artifacts, console, dimension_checks, reuse, tasks
from mlpipe.running.artifacts import Artifact
from mlpipe.running.folds import co_tasks, cross_validation, output_records
from mlpipe.running.folds.cross_validation import Request
from mlpipe.running.folds.fold_predictions import Inference
from mlpipe.running.folds.fold_training import FoldTraining
from mlpipe.running.folds.folds import Folds, unknown_folds
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord


@dataclass(frozen=True)
class Plan:
    """A training that can begin.

    Attributes:
        steps: All steps in their order.
        config: The configuration with what the data decided: what is stored with the run.
        recipe_hash: What groups the folds of this cross-validation.
    """

    steps: list[Step]
    config: RunConfig
    recipe_hash: str


def plan(config: RunConfig, context: RunContext, task: Task, request: Request, origin: str) -> Plan:
    """Look at the data, and plan the training of every fold.

    Args:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        request: What the mode asks for.
        origin: How the model that the training starts from was chosen; empty: it was named, or there is none.

    Raises:
        ConfigError: With a sentence for every problem.
        DataError: Likewise.
    """
    others = cross_validation.evaluated_tasks(config, task, request.eval_on)
    output_records.refuse_training(task, request.eval_on)
    beside = co_tasks.chosen(config, task, request.joint)
    config = co_tasks.with_channels(tasks.as_decided(config, task), [task, *beside])
    split = tasks.split_of(config, task)
    raise_all(_problems(config, task, split, request) + co_tasks.size_problems(config, beside))
    ground = Folds(config, context, task, split, request.nested, decoding=config)
    begun = reuse.start(config, task, origin)
    recipe_hash = reuse.recipe_hash(config, "&".join(one.name for one in (task, *beside)), begun)
    chosen = _chosen_folds(split, request)
    written = artifacts.of(config)
    wrong = [text for one in written for text in one.problems(task, chosen, stored=request.storage.parameters)]
    raise_all(wrong + console.problems(config, len(chosen)))
    training = FoldTraining(ground, chosen, recipe_hash, request.storage, beside, request.joint, begun)
    steps = cross_validation.preprocessing(ground, [task, *beside, *others])
    steps.append(Step("build the network", training.try_network, in_project=False))
    if not config.recipe.tune.is_none:
        steps.append(Step("tune", training.tune))
    steps += [Step(f"train fold {fold}", partial(training.train, fold), lane=fold) for fold in chosen]
    if outputs.names(task.source):
        divide = partial(output_records.write, ground)
        steps += [Step(f"heads of fold {fold}", _trained(training, divide, fold), lane=fold) for fold in chosen]
    for name, call in cross_validation.inferences(request, Inference(ground, others)):
        steps += [Step(f"{name} fold {fold}", _trained(training, call, fold), lane=fold) for fold in chosen]
    remove = partial(cross_validation.remove_weights, context)
    removals = [(str(fold), _trained(training, remove, fold)) for fold in chosen]
    steps += [Step(one.step, partial(_write, one, training, chosen[0])) for one in written]
    return Plan([*steps, *cross_validation.last_steps(config, context, task, removals)], config, recipe_hash)


def _chosen_folds(split: Split, request: Request) -> list[int]:
    if request.folds is not None:
        return list(request.folds)
    return list(split.validated) if request.cv else list(split.validated[:1])


def _trained(training: FoldTraining, call: Callable[[ModelRecord], None], fold: int) -> Callable[[Run | None], None]:
    """`call` with the record that this run trained for a fold."""

    def step(run: Run | None) -> None:
        assert run is not None
        call(_record(training, run, fold))

    return step


def _record(training: FoldTraining, run: Run, fold: int) -> ModelRecord:
    ground = training.ground
    return records.load(ground.context.project.model_dir(ground.task.name, training.record_id(run, fold)))


def _write(one: Artifact, training: FoldTraining, fold: int, run: Run | None) -> None:
    assert run is not None
    one.write(training.ground.context, training.ground.task, _record(training, run, fold), run)


def _problems(config: RunConfig, task: Task, split: Split, request: Request) -> list[str]:
    """Everything that is wrong with the recipe for this task."""
    from mlpipe.arch import classifier
    from mlpipe.learn.machine import hardware

    if request.nested and not split.can_nest:
        fix = "add mode.nested=false, or use split=kfold"
        found = [problem("mode.nested", f"the split has {len(split.validated)} validation part", fix=fix)]
    else:
        found = checks.size_problems(task.kind, task.samples, split, task.classes, nested=request.nested)
    if request.folds is not None:
        found += unknown_folds(request.folds, list(split.validated))
    found += _unjudged_problems(config, split, task)
    arch = config.recipe.arch
    if arch.name == "timm":
        found += classifier.check_local(**{key: arch.params[key] for key in ("name", "pretrained", "weights")})
    found += hardware.device_problems(config.recipe.trainer) + _metric_problems(config, task)
    found += dimension_checks.problems(config.recipe, task)
    has_test = request.nested or bool((split.fold == methods.TEST).any()) or bool(request.eval_on)
    if "test" in request.subroutines and not has_test:
        fix = "use mode.nested=true or split.test_fraction=0.2"
        found.append(problem("mode.subroutines", f"{task.name} has no test images", fix=fix))
    return found


def _unjudged_problems(config: RunConfig, split: Split, task: Task) -> list[str]:
    """Nothing can be chosen by validation images where there are none."""
    used = rules.val_used_for(config.tree)
    if not used or all((split.fold == fold).any() for fold in split.validated):
        return []
    groups = len({task.samples.groups[row] for row in np.flatnonzero(split.fold >= 0)} if task.samples.groups else ())
    if 2 <= groups < split.n_folds:
        wrong = f"leaves a fold without images: they are of {counted(groups, 'group, which is', 'groups, which are')} not split"
        return [problem("split.folds", wrong, got=split.n_folds, fix=f"use split.folds={groups}")]
    fix = "use mode.store_best=false, no early stop and no plateau schedule, or give the task a test part"
    return [problem("split", f"leaves no image to validate on, by which to choose ({listing(used)})", fix=fix)]


def _metric_problems(config: RunConfig, task: Task) -> list[str]:
    from mlpipe.learn import monitoring
    from mlpipe.learn.own_parts import own_metrics

    recipe = config.recipe.metrics
    own, kind = own_metrics.names_of(recipe), kinds.decide(task.kind, config.recipe.loss)
    known = [*own, *post_kind.of(kind).METRICS, *own_metrics.of_losses(kind)]
    found = []
    if recipe.monitor.removeprefix("val/") in own and recipe.direction == "auto":
        fix = "use metrics.direction=min or metrics.direction=max"
        wrong = "nothing tells whether less or more of a function of your own is better"
        found.append(problem("metrics.direction", wrong, got=recipe.monitor, fix=fix))
    for key in ("train", "final"):
        wanted = getattr(recipe, key)
        for name in wanted if wanted != AUTO else ():
            if name not in known:
                fix = did_you_mean(str(name), known, otherwise=f"metrics of {kind}: {listing(known)}")
                found.append(problem(f"metrics.{key}", f"no metric of {kind} tasks", got=name, fix=fix))
    if recipe.while_training and kinds.of(task.kind).is_dense:
        found.append(problem("metrics.while_training", "is not for masks and target images", fix="leave it out"))
    monitors = ["val/loss", *(f"val/{name}" for name in (*known, *monitoring.outputs_metrics(config.recipe)))]
    # What is learned from is measured by the training itself, which says what it has.
    watched = [(key, name) for key, name in monitoring.watched(config.recipe) if not name.startswith("train/")]
    for key, name in [("metrics.monitor", recipe.monitor), *watched]:
        if name not in monitors:
            fix = did_you_mean(name, monitors, otherwise=f"use one of {listing(monitors)}")
            found.append(problem(key, f"no metric of {kind} tasks", got=name, fix=fix))
    return found
