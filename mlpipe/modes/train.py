"""`mml train`, `mml predict`, `mml test`: one model for each fold, its predictions, its scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np

from mlpipe import kinds
from mlpipe.config import rules
from mlpipe.config.schema import AUTO, RunConfig
from mlpipe.data.records import outputs
from mlpipe.data.splits import checks, methods
from mlpipe.data.splits.methods import Split
from mlpipe.data.task import Task
from mlpipe.errors import DataError, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.running import (
    artifacts,
    console,
    dimension_checks,
    fold_predictions,
    folds,
    leaderboard,
    new_data,
    output_records,
    reuse,
    tasks,
)
from mlpipe.running import (
    co_tasks as cotasks,
)
from mlpipe.running.artifacts import Artifact
from mlpipe.running.fold_predictions import Inference
from mlpipe.running.fold_training import FoldTraining, Kept
from mlpipe.running.folds import Folds
from mlpipe.running.new_data import NewData
from mlpipe.running.scheduler import Scheduler, Step, World, raise_all, require_writable
from mlpipe.runs import maps, records, references
from mlpipe.runs.adoption import adopt
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

log = logging.getLogger("mlpipe")


class TrainingScheduler(Scheduler):
    """Trains one model for each fold, predicts with each, tests each.

    Args:
        run_config: The checked configuration.
        world: The project, the display, the wish to stop.
        subroutines: Any of train, predict, test.
        cv: One model for each fold; False: fold 0 only.
        nested: Set each fold aside as test data and split the rest anew.
        store_parameters: Keep weights.
        store_best: Keep the best epoch's weights.
        multitask: How many tasks are learned together, the pivot included; False: the pivot alone.
        co_tasks: The other tasks, of `task_list`; or drawn from it.
        task_weights: The weight of each task's loss, the pivot's first; `uncertainty` learns them; None: all the same.
        eval_on: Tasks to predict and test instead of the pivot.
        use_blueprint: Sections of `reuse.blueprint` have replaced those of the configuration (`modes.reuse` did it).
        pipeline_keys: Sections stored as the record's pipeline.
        folds: Only these folds.
        strict_validation: Refuse a score from a fold that also chose something.
        source: `mml predict` only: new images to predict, see `mlpipe.running.new_data`.
        ensemble: With `source`, the ensemble to predict them with.
        deploy_prior: With `source`, the prevalence where they are from.
    """

    def __init__(
        self,
        run_config: RunConfig,
        world: World,
        *,
        subroutines: list[str],
        cv: bool,
        nested: bool,
        store_parameters: bool,
        store_best: bool,
        multitask: Literal[False] | Annotated[int, ">= 2"],
        co_tasks: Literal["random"] | list[str],
        task_weights: Literal["uncertainty"] | list[float] | None,
        eval_on: str | list[str] | None,
        use_blueprint: bool,
        pipeline_keys: list[str],
        folds: list[int] | None,
        strict_validation: bool,
        source: str | None = None,
        ensemble: str | None = None,
        deploy_prior: Literal["estimate"] | list[float] | None = None,
    ) -> None:
        super().__init__(run_config, world)
        self._subroutines = [name for name in ("train", "predict", "test") if name in subroutines]
        self._cv, self._nested, self._folds = cv, nested, folds
        self._kept = Kept(store_parameters, store_best)
        self._eval_on = [eval_on] if isinstance(eval_on, str) else eval_on
        self._asked = new_data.Asked(source, ensemble, deploy_prior) if source is not None else None
        self._wish = cotasks.Wish(multitask, co_tasks, task_weights)
        self._recipe_hash = ""
        self._start_facts = ""

    def recipe_hash(self) -> str:
        """What groups the folds of this cross-validation."""
        return self._recipe_hash

    def plan(self) -> list[Step]:
        """The cache and the network first; then every fold's training, predictions and test."""
        config = self.run_config
        raise_all(require_writable(config.out_dir, "out_dir") + require_writable(config.data_dir, "data_dir"))
        training = "train" in self._subroutines
        self._task = tasks.pivot(config) if training else tasks.recorded_pivot(config, self.world.project)
        tasks.refuse_results_inside(self._task, config.project_dir)
        if self._task.bases:
            log.info(f"task {self._task.name}: {tasks.describe(self._task)}")
        if not training:
            raise_all(self._device_problems())
        if self._asked is not None:
            return NewData(config, self.world, self._task, self._asked, self._folds).plan()
        self._other_tasks = self._evaluated_tasks()
        return self._plan_training() if training else self._plan_stored()

    def _plan_training(self) -> list[Step]:
        task = self._task
        output_records.refuse_training(task, self._eval_on)
        co_tasks = cotasks.chosen(self.run_config, task, self._wish)
        decided = tasks.as_decided(self.run_config, task)
        config = self.run_config = cotasks.with_channels(decided, [task, *co_tasks])
        split = tasks.split_of(config, task)
        raise_all(self._problems(split) + cotasks.size_problems(config, co_tasks))
        ground = Folds(config, self.world, task, split, self._nested, decoding=config)
        begun = reuse.start(config, task, self._start_facts)
        self._recipe_hash = reuse.recipe_hash(config, "&".join(one.name for one in (task, *co_tasks)), begun)
        chosen = self._chosen_folds(split)
        written = artifacts.of(config)
        wrong = [text for one in written for text in one.problems(task, chosen, stored=self._kept.parameters)]
        raise_all(wrong + console.problems(config, len(chosen)))
        training = FoldTraining(ground, chosen, self._recipe_hash, self._kept, co_tasks, self._wish, begun)
        steps = self._preprocessing(ground, [task, *co_tasks, *self._other_tasks])
        steps.append(Step("build the network", training.try_network, in_project=False))
        if not config.recipe.tune.is_none:
            steps.append(Step("tune", training.tune))
        steps += [Step(f"train fold {fold}", partial(training.train, fold), lane=fold) for fold in chosen]
        if outputs.names(task.source):
            divide = partial(output_records.write, ground)
            steps += [Step(f"heads of fold {fold}", _trained(training, divide, fold), lane=fold) for fold in chosen]
        for name, call in self._after_training(Inference(ground, self._other_tasks)):
            steps += [Step(f"{name} fold {fold}", _trained(training, call, fold), lane=fold) for fold in chosen]
        removals = [(str(fold), _trained(training, self._remove_weights, fold)) for fold in chosen]
        steps += [Step(one.step, partial(self._write, one, training, chosen[0])) for one in written]
        return [*steps, *self._last_steps(removals)]

    def _write(self, one: Artifact, training: FoldTraining, fold: int, run: Run | None) -> None:
        assert run is not None
        record_id = training.record_id(run, fold)
        record = records.load(self.world.project.model_dir(self._task.name, record_id))
        one.write(self.world, self._task, record, run)

    def _preprocessing(self, ground: Folds, of: Sequence[Task]) -> list[Step]:
        def step(one: Task, run: Run | None) -> None:
            ground.pack(one)

        return [Step(f"preprocess {one.name}", partial(step, one), in_project=False) for one in of]

    def _last_steps(self, removals: Sequence[tuple[str, Callable[[Run | None], None]]]) -> list[Step]:
        """The leaderboard, and after everything else what `remove.parameters` deletes."""
        wanted = removals if self.run_config.remove.parameters else []
        removing = [Step(f"remove the weights of {name}", call) for name, call in wanted]
        return [Step("leaderboard", self._leaderboard), *removing]

    def _leaderboard(self, run: Run | None) -> None:
        leaderboard.show(self.world, *output_records.task_names(self._task))

    def _remove_weights(self, record: ModelRecord) -> None:
        records.without_weights(self.world.project, record, "removed after the run (remove.parameters)")

    def _plan_stored(self) -> list[Step]:
        """Predict and test with the records of the task's latest cross-validation."""
        taken = reuse.elsewhere(self.run_config.reuse.models, "reuse.models", self.run_config, self._task.name)
        chosen = self._chosen_records([one.record for one in taken])
        if not fold_predictions.views_are_stored(self.run_config):
            raise_all(dimension_checks.view_problems(self.run_config.recipe.tta, self._task))
            self.run_config.recipe.tta.build(1.0)
        homes = {one.record.id: one.project for one in taken}
        stored = tasks.config_of(self.run_config, chosen[0], homes.get(chosen[0].id))
        split = tasks.split_of(stored, self._task)
        ground = Folds(self.run_config, self.world, self._task, split, chosen[0].nested, decoding=stored)
        log.info(f"records of {self._task.name}: {listing([record.id for record in chosen])}")
        steps = self._preprocessing(ground, self._other_tasks if self._eval_on else [self._task])
        names = [record.id for record in chosen]
        steps += [Step(f"take {one.record.id}", partial(self._adopt, one)) for one in taken if one.record.id in names]
        for name, call in self._after_training(Inference(ground, self._other_tasks, homes)):
            steps += [Step(f"{name} {record.id}", partial(self._with_own, call, record)) for record in chosen]
        removals = [(record.id, partial(self._with_own, self._remove_weights, record)) for record in chosen]
        return [*steps, *self._last_steps(removals)]

    def _chosen_records(self, taken: Sequence[ModelRecord]) -> list[ModelRecord]:
        """The folds of the latest cross-validation that were asked for, in this project or among records of others."""
        project = self.world.project
        found = records.latest_cross_validation(taken or records.load_all(project, self._task.name))
        if not found:
            raise records.untrained(project, self._task.name)
        there = [record.fold for record in found]
        raise_all(folds.problems(self._folds or [], there))
        chosen = [record for record in found if self._folds is None or record.fold in self._folds]
        fix = "train with mode.store_parameters=true"
        weightless = [record.id for record in chosen if record.weights is None]
        raise_all([problem(name, "has no weights to predict with", fix=fix) for name in weightless])
        return chosen

    def _adopt(self, one: Located, run: Run | None) -> None:
        references.check_weights(one, "reuse.models", self.run_config.out_dir)
        adopt(one, self.world.project, weights=True, predictions=False)

    def _with_own(self, call: Callable[[ModelRecord], None], record: ModelRecord, run: Run | None) -> None:
        """Call with the record as it is in this project now, a taken one's copy included."""
        call(records.load(self.world.project.model_dir(record.pivot, record.id)))

    def _after_training(self, done_by: Inference) -> list[tuple[str, Callable[[ModelRecord], None]]]:
        calls = {"predict": done_by.predict, "test": done_by.test}
        if outputs.names(self._task.source):
            # The numbers of all outputs side by side are nobody's predictions: each head has its own, made after a training.
            calls = {} if "train" in self._subroutines else {"predict": partial(output_records.write, done_by.ground)}
        return [(name, call) for name, call in calls.items() if name in self._subroutines]

    def _problems(self, split: Split) -> list[str]:
        """Everything that is wrong with the recipe for this task."""
        from mlpipe.arch import classifier

        config, mode = self.run_config, self.run_config.tree["mode"]
        if self._nested and len(split.validated) < split.n_folds:
            fix = "add mode.nested=false, or use split=kfold"
            found = [problem("mode.nested", f"the split has {len(split.validated)} validation part", fix=fix)]
        else:
            task = self._task
            found = checks.size_problems(task.kind, task.samples, split, task.classes, nested=self._nested)
        if self._folds is not None:
            found += folds.problems(self._folds, list(split.validated))
        found += _unjudged_problems(config, split, self._task)
        arch = config.recipe.arch.params
        if config.recipe.arch.name == "timm":
            keys = {key: arch[key] for key in ("name", "pretrained", "weights")}
            found += classifier.check_local(**keys)
        found += self._device_problems() + _metric_problems(config, self._task)
        found += dimension_checks.problems(config.recipe, self._task)
        has_test = self._nested or bool((split.fold == methods.TEST).any()) or bool(self._eval_on)
        if "test" in mode["subroutines"] and not has_test:
            fix = "use mode.nested=true or split.test_fraction=0.2"
            found.append(problem("mode.subroutines", f"{self._task.name} has no test images", fix=fix))
        return found

    def _device_problems(self) -> list[str]:
        from mlpipe.learn import hardware

        return hardware.device_problems(self.run_config.recipe.trainer)

    def _evaluated_tasks(self) -> list[Task]:
        found, wrong = [], []
        for name in self._eval_on or ():
            try:
                other = tasks.another(self.run_config, name)
            except DataError as error:
                wrong += [f"mode.eval_on: {sentence}" for sentence in error.problems]
                continue
            if (other.kind, other.classes) != (self._task.kind, self._task.classes):
                text = f"it is no {self._task.kind} task with the classes of {self._task.name}, it has {listing(other.classes)}"
                wrong.append(problem(f"mode.eval_on={name}", text, fix="name a task with the same classes"))
            found.append(other)
        raise_all(wrong)
        return found

    def _chosen_folds(self, split: Split) -> list[int]:
        if self._folds is not None:
            return list(self._folds)
        return list(split.validated) if self._cv else list(split.validated[:1])


def _trained(training: FoldTraining, call: Callable[[ModelRecord], None], fold: int) -> Callable[[Run | None], None]:
    """`call` with the record that this run trained for a fold."""

    def step(run: Run | None) -> None:
        assert run is not None
        ground = training.ground
        call(records.load(ground.world.project.model_dir(ground.task.name, training.record_id(run, fold))))

    return step


def _unjudged_problems(config: RunConfig, split: Split, task: Task) -> list[str]:
    """Nothing can be chosen by validation images where there are none."""
    used = rules.val_used_for(config.tree)
    if not used or all((split.fold == fold).any() for fold in split.validated):
        return []
    groups = len({task.samples.groups[row] for row in np.flatnonzero(split.fold >= 0)} if task.samples.groups else ())
    if 2 <= groups < split.n_folds:
        wrong = f"leaves a fold without images: they are of {groups} groups, which are not split"
        return [problem("split.folds", wrong, got=split.n_folds, fix=f"use split.folds={groups}")]
    fix = "use mode.store_best=false, no early stop and no plateau schedule, or give the task a test part"
    return [problem("split", f"leaves no image to validate on, by which to choose ({listing(used)})", fix=fix)]


def _metric_problems(config: RunConfig, task: Task) -> list[str]:
    from mlpipe.learn import monitoring, own_metrics

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
    if recipe.while_training and task.kind in maps.KINDS:
        found.append(problem("metrics.while_training", "is not for masks and target images", fix="leave it out"))
    monitors = ["val/loss", *(f"val/{name}" for name in (*known, *monitoring.outputs_metrics(config.recipe)))]
    # What is learned from is measured by the training itself, which says what it has.
    watched = [(key, name) for key, name in monitoring.watched(config.recipe) if not name.startswith("train/")]
    for key, name in [("metrics.monitor", recipe.monitor), *watched]:
        if name not in monitors:
            fix = did_you_mean(name, monitors, otherwise=f"use one of {listing(monitors)}")
            found.append(problem(key, f"no metric of {kind} tasks", got=name, fix=fix))
    return found
