"""The steps of one cross-validation's training: testing the network, `tune` on the first fold, every fold, the refit."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpipe import files
from mlpipe.config import rules, snapshot
from mlpipe.config.schema import Recipe
from mlpipe.data.sampling import WHOLE
from mlpipe.data.splits.variants import REFIT, View, fold_name
from mlpipe.data.task import Task
from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.figures import number
from mlpipe.post.teaching import Teaching
from mlpipe.running import console, tasks
from mlpipe.running.folds import co_tasks
from mlpipe.running.folds.fold_progress import FoldProgress
from mlpipe.running.folds.folds import Folds, num_workers, tell_sizes
from mlpipe.running.folds.time_shares import Share, TimeShares, applied
from mlpipe.running.time_plan import PlannedAnew
from mlpipe.runs import records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import RECORD_FILE, ModelRecord

if TYPE_CHECKING:
    from mlpipe.arch.initial_weights import Start
    from mlpipe.learn.job import FoldJob, Watch
    from mlpipe.learn.multitask import Joint

log = logging.getLogger("mlpipe")


@dataclass(frozen=True)
class Storage:
    """The weights that a training stores.

    Attributes:
        parameters: Whether weights are stored.
        best: Store the best epoch's weights instead of the last one's.
    """

    parameters: bool
    best: bool


@dataclass(frozen=True)
class FoldTraining:
    """Train the folds of one recipe.

    Attributes:
        folds: The task, its split and its images.
        chosen: The folds to train.
        recipe_hash: The hash that groups them.
        storage: The weights to store.
        beside: Tasks that are trained together with the pivot.
        joint: How they are trained together.
        start: Weights to start from; None: as in the recipe's arch.
        time: Divides a time limit among the folds; None: no limit.
        teaching: A teacher's predictions of the task's samples; None: there is no teacher.
    """

    folds: Folds
    chosen: Sequence[int]
    recipe_hash: str
    storage: Storage
    beside: Sequence[Task]
    joint: co_tasks.Request
    start: Start | None
    time: TimeShares | None = None
    teaching: Teaching | None = None

    def try_network(self, run: Run | None) -> None:
        """Build what every fold builds, so that a failed download or a mismatch is found before anything is written."""
        from mlpipe.learn import multitask, stages
        from mlpipe.learn.build.trial import try_recipe

        recipe, task = self.folds.config.recipe, self.folds.task
        views = [self.folds.checked(fold) for fold in self.chosen]
        pack, rows = self.folds.pack(task), views[0].train
        network = try_recipe(recipe, task, pack, rows, self.start, beside=len(self.beside))
        terminal = console.of(self.folds.config)
        if terminal.lists_batches:
            counts = {"train": len(rows), "test": len(views[0].val)}
            terminal.introduce(task, network, counts)
        stages.check(recipe, task, pack, rows, network)
        joints = [self._joint(view) for view in views] if self.beside else []
        if joints:
            multitask.try_joint(recipe, task, pack, rows, joints[0])
        # A network that cannot be trained has no parts to report.
        tell_sizes(self.folds.context, task, self.folds.split, views)
        for place, partner in enumerate(joints[0].partners if joints else ()):
            of = [joint.partners[place].view for joint in joints]
            tell_sizes(self.folds.context, partner.task, tasks.split_of_other(self.folds.config, partner.task), of)

    def tune(self, run: Run | None) -> None:
        """Tune on the first fold the values shared by all folds; a continued run reads them again."""
        from mlpipe.learn import tune
        from mlpipe.learn.job import Watch

        assert run is not None
        job, display = self._job(self.chosen[0], run, {}), self.folds.context.display
        display.start("tuning on the first fold", 1)
        try:
            result = job.recipe.tune.build().find(job, Watch(self.folds.context.stop, log=log.debug))
        finally:
            display.close()
        tune.write(result, run.folder)
        text = ", ".join(f"{name} {value:.4g}" for name, value in result.chosen.items())
        log.info(f"{result.name} on fold {job.view.fold}: {text}; {run.folder / result.name}.csv has what was measured")

    def train(self, fold: int, run: Run | None) -> None:
        """Train a fold, or `REFIT`, to its record, or continue it; folds without time left are not trained."""
        from mlpipe.learn import fit
        from mlpipe.learn.build import loss
        from mlpipe.learn.job import Watch
        from mlpipe.learn.losses import class_weights
        from mlpipe.learn.machine import hardware
        from mlpipe.running.processes import device_processes

        assert run is not None
        devices = hardware.device_count(self.folds.config.recipe.trainer)
        if devices > 1 and self.folds.context.shard is None:
            device_processes.run(self.folds.config, self.folds.context, run, f"train {fold_name(fold)}", devices)
            return
        context, recovery_log = self.folds.context, partial(_tell_recovery, run, f"train {fold_name(fold)}")
        share = None if self.time is None else self.time.of(run, self._place(fold))
        if share is not None and share.is_left_out:
            return
        job = self._job(fold, run, self._tuned(run))
        terminal = console.of(self.folds.config)
        trace = console.trace(self.folds.config, terminal, run, job.files.record_id, len(job.view.val))
        progress, row = self._progress(job), trace.epoch if trace else _ignore_epoch
        follower = self._epoch_follower(fold)
        outside = (
            partial(context.follower.history, fold)
            if context.follower and context.follower.history
            else _ignore_history
        )

        def report(tick: Any) -> None:
            if trace is not None:
                trace.batch(tick)
            if not terminal.lists_batches:
                progress.batch(tick)

        def history(rows: Sequence[Mapping[str, float]]) -> None:
            progress.epochs(rows)
            outside(rows)

        watch = Watch(
            context.stop,
            report,
            log.debug,
            epoch=follower,
            healed=recovery_log,
            row=row,
            history=history,
            told=log.info,
        )
        if job.shard.rank > 0:
            fit.train(_job_within_share(job, share), Watch(context.stop))
            return
        where = fold_name(fold)
        for key, balance in loss.balances(job.recipe, job.task, job.view.train).items():
            log.info(f"{where}: {class_weights.sentence(key, balance, job.task.classes)}")
        context.display.start(self._fold_title(fold), 1)
        try:
            record = fit.fit(job, watch) if share is None else self._train_within_time(job, watch, run, share)
        finally:
            context.display.close()
        log.info(f"{where}: {_record_line(record)}")
        for sentence in metrics.class_mean_notes(
            record.details.get("val", {}).get("classes", []), record.scores["val"]
        ):
            log.info(f"  {sentence}")
        for co_task in record.co_tasks:
            name = post_kind.of(co_task["kind"]).HEADLINE
            log.info(f"  with {co_task['name']}: validation {name} {number(co_task['val'].get(name)) or '-'}")

    def is_left_out(self, fold: int, run: Run | None) -> bool:
        """Return whether a fold has no record because there was no time for it."""
        return self.time is not None and run is not None and self.time.is_left_out(run, self._place(fold))

    def _place(self, fold: int) -> int:
        """Return the position of a fold among those that share the time; the refit is the last."""
        return len(self.chosen) if fold == REFIT else self.chosen.index(fold)

    def _train_within_time(self, job: FoldJob, watch: Watch, run: Run, share: Share) -> ModelRecord:
        """Train a fold within its share of the time; restart it if its first batches show how many epochs fit."""
        from mlpipe.learn import fit

        assert self.time is not None
        place = self._place(job.view.fold)
        if job.shard.ranks > 1 or job.lasting:
            # With several devices, the recipe's epochs are kept: all devices would have to restart together. A refit
            # uses the epochs of its folds.
            return fit.fit(_job_within_share(job, share), watch)
        stopwatch = self.time.stopwatch(run, place, share, job.files.checkpoint)

        def report(tick: Any) -> None:
            stopwatch.tick(tick)
            watch.report(tick)

        def should_stop() -> bool:
            stopwatch.ask()
            return watch.should_stop()

        try:
            record = fit.fit(_job_within_share(job, share), replace(watch, report=report, should_stop=should_stop))
        except PlannedAnew:
            shutil.rmtree(job.files.logs, ignore_errors=True)
            return self._train_within_time(job, watch, run, self.time.of(run, place))
        self.time.learned(run, place, stopwatch)
        return record

    def record_id(self, run: Run, fold: int) -> str:
        """Return the name of the record of a fold, or of `REFIT`: readable, and the same when the run is continued."""
        params = self.folds.config.recipe.arch.params
        name = files.safe_name(str(params.get("name", "net")))[:40]
        variant = "refit" if fold == REFIT else f"n{fold}" if self.folds.nested else f"f{fold}"
        return f"{name}-{files.digest([self.recipe_hash, self.folds.task.name, run.name])[:8]}-{variant}"

    def record(self, fold: int, run: Run | None) -> ModelRecord:
        """Return the record that a run trained for a fold."""
        assert run is not None
        return records.load(self.folds.context.project.model_dir(self.folds.task.name, self.record_id(run, fold)))

    def _job(self, fold: int, run: Run, tuned: dict[str, float]) -> FoldJob:
        from mlpipe.learn import job, tune

        config, record_id, view = self.folds.config, self.record_id(run, fold), self.folds.checked(fold)
        fold_files = job.FoldFiles(
            project=self.folds.context.project,
            record_id=record_id,
            checkpoint=run.checkpoints_dir / record_id,
            logging=config.logging,
            logs=run.folder / "logs" / record_id,
            store_best=self.storage.best and fold != REFIT,
            store_parameters=self.storage.parameters,
            folds_left=1 if fold == REFIT else sum(not self._is_trained(run, other) for other in self.chosen),
        )
        folds = [other for other in self.chosen if not self.is_left_out(other, run)]
        refit = [self.record(other, run) for other in folds] if fold == REFIT else []
        origin = job.Origin(
            run=run.name,
            recipe_hash=self.recipe_hash,
            pipeline=snapshot.stored(config.tree),
            nested=self.folds.nested and fold != REFIT,
            val_used_for=rules.val_used_for(config.tree) if fold != REFIT else [],
            tuned=tuned,
            refit=[record.id for record in refit],
        )
        recipe, lasting = tune.applied(config.recipe, tuned), tuple[int, ...]()
        if refit:
            planned = recipe if self.time is None else applied(recipe, self.time.of(run, 0))
            recipe, lasting = self._refit_recipe(planned, refit)
        return job.FoldJob(
            recipe=recipe,
            task=self.folds.task,
            view=view if self.teaching is None else self._view_with_teaching(view),
            pack=self.folds.pack(self.folds.task),
            files=fold_files,
            origin=origin,
            joint=self._joint(view) if self.beside else None,
            start=self.start,
            num_workers=num_workers(config),
            shard=self.folds.context.shard or WHOLE,
            healing=config.healing,
            lasting=lasting,
            teaching=self.teaching,
        )

    def _view_with_teaching(self, view: View) -> View:
        """Return a fold that also trains on images without a target, if the teacher has predicted them."""
        assert self.teaching is not None
        task = self.folds.task
        taught = self.teaching.known & task.samples.in_part("unlabelled")
        taught &= ~self.folds.pack(task).unreadable_mask(task)
        return replace(view, train=np.concatenate([view.train, np.flatnonzero(taught)]))

    def _refit_recipe(self, recipe: Recipe, trained: Sequence[ModelRecord]) -> tuple[Recipe, tuple[int, ...]]:
        """Return the recipe of a refit, with the epochs of each stage taken from the folds' trainings."""
        from mlpipe.learn import refit

        folders = [self.folds.context.project.model_dir(record.pivot, record.id) for record in trained]
        histories = [folder / records.METRICS_FILE for folder in folders]
        lasting = refit.epochs(recipe, histories, keep_best=self.storage.best)
        return refit.recipe_of(recipe, lasting), tuple(count for count in lasting if count)

    def _is_trained(self, run: Run, fold: int) -> bool:
        folder = self.folds.context.project.model_dir(self.folds.task.name, self.record_id(run, fold))
        return (folder / RECORD_FILE).is_file()

    def _joint(self, view: View) -> Joint:
        folds = self.folds
        return co_tasks.joint(folds.config, folds.task, view, self.beside, folds.pack, self.joint)

    def _tuned(self, run: Run) -> dict[str, float]:
        from mlpipe.learn import tune

        section = self.folds.config.recipe.tune
        name = section.target.rpartition(".")[2]
        return {} if section.is_none else tune.read(run.folder, name)

    def _fold_title(self, fold: int) -> str:
        """Return a fold's title: its number, as in files and keys, and its position among all if they count from 0."""
        folds = self.folds.split.validated
        if fold == REFIT:
            return f"refit of {counted(len(self.chosen), 'fold')}"
        is_counted = len(folds) > 1 and tuple(folds) == tuple(range(len(folds)))
        return f"fold {fold} ({fold + 1}/{len(folds)})" if is_counted else f"fold {fold}"

    def _progress(self, job: FoldJob) -> FoldProgress:
        from mlpipe.learn import monitoring

        fold = job.view.fold
        alone = self.folds.config.sys.fold_workers != 1 or fold == REFIT
        position, count = (0, 1) if alone else (self.chosen.index(fold), len(self.chosen))
        return FoldProgress(
            self.folds.context.display,
            self._fold_title(fold),
            metric=post_kind.of(job.kind).HEADLINE,
            monitor=job.recipe.metrics.monitor,
            direction=monitoring.monitor_direction(job.recipe),
            validated=len(job.view.val),
            position=position,
            count=count,
        )

    def _epoch_follower(self, fold: int) -> Callable[[int, float], None]:
        follower, epochs = self.folds.context.follower, self.folds.config.recipe.epochs
        if fold == REFIT:
            return lambda epoch, score: None
        position = self.chosen.index(fold)

        def report(epoch: int, score: float) -> None:
            if follower is not None:
                follower.epoch(position, epoch, epochs, score)

        return report


def _job_within_share(job: FoldJob, share: Share | None) -> FoldJob:
    """Return a fold's job with the epochs and seconds of its share, a refit's with the seconds only."""
    if share is None:
        return job
    return replace(job, recipe=job.recipe if job.lasting else applied(job.recipe, share), seconds=share.seconds)


def _ignore_epoch(epoch: int, values: dict[str, float]) -> None:
    """Ignore the epochs."""


def _ignore_history(rows: Sequence[Mapping[str, float]]) -> None:
    """Ignore the history."""


def _record_line(record: ModelRecord) -> str:
    """Describe a trained fold in one line."""
    scores = record.scores["val"]
    headline = post_kind.of(record.kind).HEADLINE
    known_scores = {name: value for name in (headline, "loss") if (value := scores.get(name)) is not None}
    count = record.counts.get("val")
    parts = ", ".join(f"{name} {number(value, count) or '-'}" for name, value in known_scores.items())
    how = f"{record.timings['seconds']:.0f} s"
    if "train_images_per_s" in record.timings:
        speed = f"{record.timings['train_images_per_s']:.0f} images/s"
        how = f"best epoch {record.best_epoch + 1} of {record.epochs}, {speed}, {how}"
    if record.refit:
        learned = counted(record.counts["train"], "image")
        return f"learned from all {learned} that are not for tests ({record.timings['seconds']:.0f} s)"
    return f"validation {parts} ({how})" if scores else f"trained, not validated ({how})"


def _tell_recovery(run: Run, step: str, event: dict[str, Any]) -> None:
    """Report a recovered problem of a step to the user and the journal."""
    log.warning(event["text"])
    run.note(step, "healed", **event)
