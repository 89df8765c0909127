"""`mml train`, `mml predict`, `mml test`: one model for each fold, its predictions, its scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from mlpipe import files
from mlpipe.config import rules, snapshot
from mlpipe.config.assemble import cores
from mlpipe.config.schema import AUTO, Recipe, RunConfig
from mlpipe.data import splits, variants
from mlpipe.data.cache import Pack
from mlpipe.data.splits import Split
from mlpipe.data.task import Task
from mlpipe.data.variants import View
from mlpipe.errors import DataError, ProjectError, did_you_mean, listing, problem
from mlpipe.modes import cotasks, new_images, reuse, tasks
from mlpipe.modes.base import Scheduler, Step, World, raise_all, require_writable
from mlpipe.modes.new_images import NewImages
from mlpipe.post import metrics
from mlpipe.reports import tables
from mlpipe.runs import predictions, records, references
from mlpipe.runs.adoption import adopt
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

if TYPE_CHECKING:
    from mlpipe.learn.multitask import Joint

if TYPE_CHECKING:
    from mlpipe.learn.fit import FoldJob

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
        source: `mml predict` only: new images to predict, see `mlpipe.modes.new_images`.
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
        self._store_parameters, self._store_best = store_parameters, store_best
        self._eval_on = [eval_on] if isinstance(eval_on, str) else eval_on
        self._pipeline_keys = pipeline_keys
        self._asked = new_images.Asked(source, ensemble, deploy_prior) if source is not None else None
        self._wish = cotasks.Wish(multitask, co_tasks, task_weights)
        self._co_tasks: list[Task] = []
        self._recipe_hash = ""
        self._packs: dict[str, Pack] = {}
        self._decoding_config: RunConfig | None = None
        self._start_facts = ""
        self._homes: dict[str, Project] = {}

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
        if self._asked is not None:
            asked, workers = self._asked, self._num_workers()
            return NewImages(config, self.world, self._task, asked, self._folds, workers).plan()
        self._other_tasks = self._evaluated_tasks()
        if training:
            return self._plan_training()
        return self._plan_stored()

    def _plan_training(self) -> list[Step]:
        task = self._task
        self._co_tasks = cotasks.chosen(self.run_config, task, self._wish)
        config = self.run_config = cotasks.with_channels(self.run_config, [task, *self._co_tasks])
        self._split = tasks.split_of(config, task)
        raise_all(self._problems(self._split))
        self._begun = reuse.start(config, task, self._start_facts)
        names = "&".join(one.name for one in (task, *self._co_tasks))
        self._recipe_hash = reuse.recipe_hash(config, names, self._begun)
        folds = self._chosen_folds(self._split)
        self._all_folds = folds
        steps = [
            Step(f"preprocess {one.name}", partial(self._preprocess_step, one), in_project=False)
            for one in (task, *self._co_tasks, *self._other_tasks)
        ]
        steps.append(Step("build the network", self._try_network, in_project=False))
        if not config.recipe.tune.is_none:
            steps.append(Step("tune", self._tune))
        steps += [Step(f"train fold {fold}", partial(self._train, fold), lane=fold) for fold in folds]
        for name, call in self._after_training():
            steps += [Step(f"{name} fold {fold}", self._with_trained(call, fold), lane=fold) for fold in folds]
        removals = [(str(fold), self._with_trained(self._remove_weights, fold)) for fold in folds]
        return [*steps, *self._last_steps(removals)]

    def _last_steps(self, removals: Sequence[tuple[str, Callable[[Run | None], None]]]) -> list[Step]:
        """The leaderboard, and after everything else what `remove.parameters` deletes."""
        wanted = removals if self.run_config.remove.parameters else []
        removing = [Step(f"remove the weights of {name}", call) for name, call in wanted]
        return [Step("leaderboard", self._leaderboard), *removing]

    def _remove_weights(self, record: ModelRecord) -> None:
        records.without_weights(self.world.project, record, "removed after the run (remove.parameters)")

    def _plan_stored(self) -> list[Step]:
        """Predict and test with the records of the task's latest cross-validation."""
        taken = reuse.elsewhere(self.run_config.reuse.models, "reuse.models", self.run_config, self._task.name)
        self._homes = {one.record.id: one.project for one in taken}
        offered = [one.record for one in taken] or records.load_all(self.world.project, self._task.name)
        found = records.latest_cross_validation(offered)
        if not found:
            wrong = f"project {self.world.project.name} has no trained record of it"
            raise ProjectError(problem(f"task {self._task.name}", wrong, fix=f"mml train task={self._task.name}"))
        wanted = self._folds if self._folds is not None else [record.fold for record in found]
        raise_all(_fold_problems(wanted, [record.fold for record in found]))
        chosen = [record for record in found if record.fold in wanted]
        raise_all(
            [
                problem(record.id, "has no weights to predict with", fix="train with mode.store_parameters=true")
                for record in chosen
                if record.weights is None
            ]
        )
        if not self._views_are_stored():
            self.run_config.recipe.tta.build(1.0)
        self._split = tasks.split_of(self._stored_config(chosen[0]), self._task)
        log.info(f"records of {self._task.name}: {listing([record.id for record in chosen])}")
        self._decoding_config = self._stored_config(chosen[0])
        steps = [
            Step(f"preprocess {one.name}", partial(self._preprocess_step, one), in_project=False)
            for one in (self._other_tasks if self._eval_on else [self._task])
        ]
        names = [record.id for record in chosen]
        steps += [Step(f"take {one.record.id}", partial(self._adopt, one)) for one in taken if one.record.id in names]
        for name, call in self._after_training():
            steps += [Step(f"{name} {record.id}", partial(self._with_own, call, record)) for record in chosen]
        removals = [(record.id, partial(self._with_own, self._remove_weights, record)) for record in chosen]
        return [*steps, *self._last_steps(removals)]

    def _adopt(self, one: Located, run: Run | None) -> None:
        references.check_weights(one, "reuse.models", self.run_config.out_dir)
        adopt(one, self.world.project, weights=True, predictions=False)

    def _with_own(self, call: Callable[[ModelRecord], None], record: ModelRecord, run: Run | None) -> None:
        """Call with the record as it is in this project now, a taken one's copy included."""
        call(records.load(self.world.project.model_dir(record.pivot, record.id)))

    def _after_training(self) -> list[tuple[str, Callable[[ModelRecord], None]]]:
        calls = {"predict": self._predict, "test": self._test}
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
            found = splits.size_problems(task.kind, task.samples, split, task.classes, nested=self._nested)
        if self._folds is not None:
            found += _fold_problems(self._folds, list(split.validated))
        arch = config.recipe.arch.params
        if config.recipe.arch.target.endswith("classifier.timm"):
            keys = {key: arch[key] for key in ("name", "pretrained", "weights")}
            found += classifier.check_local(**keys)
        found += _metric_problems(config, self._task) + cotasks.size_problems(config, self._co_tasks)
        has_test = self._nested or bool((split.fold == splits.TEST).any()) or bool(self._eval_on)
        if "test" in mode["subroutines"] and not has_test:
            fix = "use mode.nested=true or split.test_fraction=0.2"
            found.append(problem("mode.subroutines", f"{self._task.name} has no test images", fix=fix))
        return found

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

    def _view(self, fold: int, nested: bool) -> View:
        make = variants.nested if nested else variants.plain
        return make(self._task, self._split, fold)

    def _preprocess_step(self, of: Task, run: Run | None) -> None:
        self._preprocess(of)

    def _preprocess(self, of: Task) -> Pack:
        if of.name not in self._packs:
            display, stop = self.world.display, self.world.stop
            display.start(f"preprocessing {of.name}", len(of.samples))

            def progress(done: int, total: int) -> None:
                stop.check()
                display.update(done)

            try:
                config = self._decoding_config or self.run_config
                most = max(int(one.task.params.get("max_unreadable", 0)) for one in (config, self.run_config))
                self._packs[of.name] = tasks.pack_of(config, of, cores(), progress, max_unreadable=most)
            finally:
                display.close()
        return self._packs[of.name]

    def _try_network(self, run: Run | None) -> None:
        """Build what every fold builds, so that a failed download or a misfit is known before anything is written."""
        from mlpipe.learn import multitask, setup, stages

        pack = self._preprocess(self._task)
        mask = pack.unreadable_mask(self._task)
        views = [self._view(fold, self._nested).without(mask) for fold in self._all_folds]
        for view in views:
            variants.check(self._task, view)
        setup.try_recipe(self.run_config.recipe, self._task, pack, views[0].train, self._begun)
        stages.check(self.run_config.recipe, self._task, pack, views[0].train)
        if self._co_tasks:
            joints = [self._joint(view) for view in views]
            multitask.try_joint(self.run_config.recipe, self._task, pack, views[0].train, joints[0])

    def _joint(self, view: View) -> Joint:
        return cotasks.joint(self.run_config, self._task, view, self._co_tasks, self._preprocess, self._wish)

    def _train(self, fold: int, run: Run | None) -> None:
        from mlpipe.learn import fit

        assert run is not None
        position = self._all_folds.index(fold)
        watch = fit.Watch(self.world.stop, self._reporter(position), log.debug, self._epoch_follower(position))
        job = self._job(fold, run, self._tuned(run))
        self.world.display.start(f"fold {position + 1}/{len(self._all_folds)}", 1)
        try:
            record = fit.fit(job, watch)
        finally:
            self.world.display.close()
        scores = record.scores["val"]
        headline = metrics.HEADLINE[self._task.kind]
        parts = ", ".join(f"{name} {scores[name]:.4f}" for name in (headline, "loss") if scores.get(name) is not None)
        how = f"{record.timings['seconds']:.0f} s"
        if "train_images_per_s" in record.timings:
            speed = f"{record.timings['train_images_per_s']:.0f} images/s"
            how = f"best epoch {record.best_epoch + 1} of {record.epochs}, {speed}, {how}"
        log.info(f"fold {position + 1}/{len(self._all_folds)}: validation {parts} ({how})")
        for one in record.co_tasks:
            name = metrics.HEADLINE[one["kind"]]
            log.info(f"  with {one['name']}: validation {name} {one['val'].get(name) or float('nan'):.4f}")

    def _tune(self, run: Run | None) -> None:
        """Find on the first fold what holds for all; a continued run reads it again."""
        from mlpipe.learn import fit, tune

        assert run is not None
        job = self._job(self._all_folds[0], run, {})
        self.world.display.start("tuning on the first fold", 1)
        try:
            found = self.run_config.recipe.tune.build().find(job, fit.Watch(self.world.stop, log=log.debug))
        finally:
            self.world.display.close()
        tune.write(found, run.folder)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in found.chosen.items())
        log.info(f"{found.name} on fold {job.view.fold}: {shown}; {run.folder / found.name}.csv has what was measured")

    def _tuned(self, run: Run) -> dict[str, float]:
        from mlpipe.learn import tune

        section = self.run_config.recipe.tune
        name = section.target.rpartition(".")[2]
        return {} if section.is_none else tune.read(run.folder, name)

    def _job(self, fold: int, run: Run, tuned: dict[str, float]) -> FoldJob:
        from mlpipe.learn import fit, tune

        pack = self._preprocess(self._task)
        view = self._view(fold, self._nested).without(pack.unreadable_mask(self._task))
        variants.check(self._task, view)
        config = self.run_config
        record_id = self._record_id(run, fold)
        return fit.FoldJob(
            recipe=tune.applied(config.recipe, tuned),
            task=self._task,
            view=view,
            pack=pack,
            project=self.world.project,
            record_id=record_id,
            run=run.name,
            recipe_hash=self._recipe_hash,
            checkpoint=run.checkpoints_dir / record_id,
            pipeline=snapshot.text(config.tree),
            nested=self._nested,
            store_best=self._store_best,
            store_parameters=self._store_parameters,
            val_used_for=rules.val_used_for(config.tree),
            num_workers=self._num_workers(),
            logging=config.logging,
            logs=run.folder / "logs" / record_id,
            joint=self._joint(view) if self._co_tasks else None,
            start=self._begun,
            tuned=tuned,
        )

    def _reporter(self, position: int) -> Callable[[Any], None]:
        folds, display = len(self._all_folds), self.world.display
        alone = self.run_config.sys.fold_workers != 1
        started = False

        def report(tick: Any) -> None:
            nonlocal started
            per_fold = tick.epochs * tick.batches
            done = (0 if alone else position * per_fold) + tick.epoch * tick.batches + tick.batch
            if not started:
                display.start(f"fold {position + 1}/{folds}", (1 if alone else folds) * per_fold, done - 1)
                started = True
            what = f"fold {position + 1}/{folds} epoch {tick.epoch + 1}/{tick.epochs}"
            facts = f"loss {tick.loss:.4f}, {tick.images_per_s:.0f} images/s, data wait {100 * tick.wait:.0f} %"
            display.update(done, what, facts)

        return report

    def _epoch_follower(self, position: int) -> Callable[[int, float], None]:
        follower, epochs = self.world.follower, int(self.run_config.recipe.trainer["max_epochs"])

        def report(epoch: int, score: float) -> None:
            if follower is not None:
                follower.epoch(position, epoch, epochs, score)

        return report

    def _record_id(self, run: Run, fold: int) -> str:
        params = self.run_config.recipe.arch.params
        name = files.safe_name(str(params.get("name", "net")))[:40]
        variant = "n" if self._nested else "f"
        return f"{name}-{files.digest([self._recipe_hash, self._task.name, run.name])[:8]}-{variant}{fold}"

    def _with_trained(self, call: Callable[[ModelRecord], None], fold: int) -> Callable[[Run | None], None]:
        """`call` with the record that this run trained for a fold."""

        def step(run: Run | None) -> None:
            assert run is not None
            folder = self.world.project.model_dir(self._task.name, self._record_id(run, fold))
            call(records.load(folder))

        return step

    def _stored_config(self, record: ModelRecord) -> RunConfig:
        return tasks.config_of(self.run_config, record, self._homes.get(record.id))

    def _predict(self, record: ModelRecord) -> None:
        from mlpipe.learn import predict, tta

        recipe = self._predicting_recipe(record)
        wanted = self._wanted(record)
        project = self.world.project
        self.world.display.start(f"predicting {record.id}", 1)
        try:
            written = predict.predict(
                recipe,
                project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE,
                record.fold,
                wanted,
                project.predictions_file(record.pivot, record.id),
                num_workers=self._num_workers(),
                should_stop=self.world.stop,
                co_tasks=record.co_tasks,
            )
        finally:
            self.world.display.close()
        if record.environment.get("tta", "none") != tta.label(recipe.tta):
            records.with_environment(project, record, tta=tta.label(recipe.tta))
        log.debug(f"{record.id}: {written} predictions")

    def _predicting_recipe(self, record: ModelRecord) -> Recipe:
        """The recipe of a record, with this command's views of each image where it names any."""
        recipe = self._stored_config(record).recipe
        return recipe if self._views_are_stored() else replace(recipe, tta=self.run_config.recipe.tta)

    def _views_are_stored(self) -> bool:
        return self.run_config.recipe.tta.target == "mlpipe.learn.tta.stored"

    def _wanted(self, record: ModelRecord) -> list[Any]:
        """The rows that a record predicts: its variant's validation and test, and the pivot's test and unlabelled."""
        from mlpipe.learn.predict import Wanted

        if self._eval_on:
            packs = [(other, self._preprocess(other)) for other in self._other_tasks]
            return [
                Wanted(other.name, split, other, pack, rows)
                for other, pack in packs
                for split, rows in _foreign_rows(other, pack).items()
            ]
        pack = self._preprocess(self._task)
        mask = pack.unreadable_mask(self._task)
        own = self._view(record.fold, record.nested).without(mask)
        views: list[tuple[View, list[str]]] = [(own, ["val", "test", "unlabelled"])]
        if record.nested:
            views.append((self._view(record.fold, nested=False).without(mask), ["test", "unlabelled"]))
        return [
            Wanted(view.task, split, self._task, pack, view.rows()[split]) for view, names in views for split in names
        ]

    def _test(self, record: ModelRecord) -> None:
        from mlpipe.learn import tta

        path = self.world.project.predictions_file(record.pivot, record.id)
        names = [other.name for other in self._other_tasks] if self._eval_on else [record.task]
        there = predictions.contents(path) if path.is_file() else {}
        record = records.load(self.world.project.model_dir(record.pivot, record.id))
        wanted = tta.label(self.run_config.recipe.tta)
        # Where no views are asked for, predictions are judged as they are, whatever they were made from.
        others = not self._views_are_stored() and record.environment.get("tta", "none") != wanted
        if others or any((name, "test") not in there for name in names):
            self._predict(record)
            record = records.load(self.world.project.model_dir(record.pivot, record.id))
        chosen = self._stored_config(record).recipe.metrics.final
        final = metrics.FINAL[record.kind] if chosen == AUTO else list(chosen)
        scores, details = {}, {}
        for name in names:
            rows = predictions.load(path, name, "test")
            key = "test" if name == record.task else f"test:{name}"
            scores[key] = metrics.compute(final, rows.logits, rows.targets, record.kind) if len(rows) else {}
            details[key] = metrics.details(rows.logits, rows.targets, record.classes, record.kind) if len(rows) else {}
        records.with_scores(self.world.project, record, scores, details)
        for name, values in scores.items():
            shown = ", ".join(f"{metric} {value:.4f}" for metric, value in values.items())
            log.info(f"{record.id}: {name} {shown}")

    def _leaderboard(self, run: Run | None) -> None:
        board = tables.leaderboard(self.world.project, self._task.name)
        path = tables.write_csv(board, self.world.project)
        self.world.facts.update(task=self._task.name, leaderboard=board, leaderboard_file=str(path))
        log.info("\n" + tables.as_text(board))
        log.info(f"results: {self.world.project.root}")

    def _num_workers(self) -> int:
        wanted = self.run_config.sys.num_workers
        if wanted != "auto":
            return int(wanted)
        import torch

        return min(8, max(1, cores() - 1)) if torch.cuda.is_available() else 0


def _fold_problems(wanted: list[int], there: list[int]) -> list[str]:
    strange = [fold for fold in wanted if fold not in there]
    fix = f"the folds are {listing(there)}"
    return [problem("mode.folds", "there is no such fold", got=fold, fix=fix) for fold in strange]


def _metric_problems(config: RunConfig, task: Task) -> list[str]:
    recipe, known = config.recipe.metrics, list(metrics.BY_KIND[task.kind])
    found = []
    for key in ("train", "final"):
        wanted = getattr(recipe, key)
        for name in wanted if wanted != AUTO else ():
            if name not in known:
                fix = did_you_mean(str(name), known, otherwise=f"metrics of {task.kind}: {listing(known)}")
                found.append(problem(f"metrics.{key}", f"no metric of {task.kind} tasks", got=name, fix=fix))
    monitors = ["val/loss", *(f"val/{name}" for name in known)]
    if recipe.monitor not in monitors:
        fix = did_you_mean(recipe.monitor, monitors, otherwise=f"use one of {listing(monitors)}")
        found.append(problem("metrics.monitor", f"no metric of {task.kind} tasks", got=recipe.monitor, fix=fix))
    return found


def _foreign_rows(of: Task, pack: Pack) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Rows of a task that was not trained on: its test part where it has one, else all labelled images; unlabelled ones."""
    readable = ~pack.unreadable_mask(of)
    test = of.samples.in_part("test")
    labelled = test if test.any() else of.samples.labelled
    return {
        "test": np.flatnonzero(labelled & readable),
        "unlabelled": np.flatnonzero(of.samples.in_part("unlabelled") & readable),
    }
