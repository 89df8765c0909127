"""Train one fold: from a recipe and a fold's rows to a record, from top to bottom."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from mlpipe.arch import adapt
from mlpipe.arch import weights as weight_files
from mlpipe.arch.gan import Gan
from mlpipe.config.schema import Recipe, Stage
from mlpipe.data.loading.joint import JointData
from mlpipe.data.loading.loaders import FoldData
from mlpipe.errors import Interrupted, TrainingError, counted, listing
from mlpipe.learn import (
    checkpoints,
    compile,
    exact_heads,
    monitoring,
    multitask,
    recording,
    recovery,
    stages,
)
from mlpipe.learn.build import fold, loss
from mlpipe.learn.build.callbacks import build_callbacks
from mlpipe.learn.build.loaders import batch_size, fold_data
from mlpipe.learn.build.optimizer import most_steps
from mlpipe.learn.callbacks import tensorboard
from mlpipe.learn.callbacks.batches import Batches
from mlpipe.learn.callbacks.examples import Examples
from mlpipe.learn.callbacks.guard import Guard
from mlpipe.learn.callbacks.keeper import Keeper
from mlpipe.learn.callbacks.progress import EpochReports, Progress
from mlpipe.learn.callbacks.sample_grids import SampleGrids
from mlpipe.learn.callbacks.step_limit import StepLimit
from mlpipe.learn.callbacks.time_limit import EpochLimit, FoldLimit, TimeLimit, WaitingLimits
from mlpipe.learn.gradients.gradient_wait import Exchange
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.logging import Followed, Loggers
from mlpipe.learn.losses import class_weights
from mlpipe.learn.machine import device_group, disk_space
from mlpipe.learn.machine.hardware import Numerics
from mlpipe.learn.machine.quiet import quiet
from mlpipe.learn.module import TARGET, FoldModule
from mlpipe.learn.recording import Trained
from mlpipe.learn.recovery import Healed
from mlpipe.post import metrics
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.trackers import tracker
from mlpipe.runs.trackers.tracker import Place


def fit(job: FoldJob, watch: Watch) -> ModelRecord:
    """Train one fold and write its record, see `train`; curves and scores also go to the loggers."""
    loggers = _loggers(job)
    status = tracker.FAILED
    try:
        trained = train(job, watch, loggers)
        record = recording.write(job, trained)
        loggers.judge(record, trained.module.history)
    except Interrupted:
        status = tracker.STOPPED
        raise
    finally:
        loggers.leave(status)
    _events_file(job).unlink(missing_ok=True)
    return record


def _loggers(job: FoldJob) -> Loggers:
    logs = job.files.logs
    place = Place(job.files.project.name, job.files.project.root, job.origin.run, logs.parent, logs.name)
    return Loggers(job.files.logging, Followed(place, pipeline=job.origin.pipeline))


def train(job: FoldJob, watch: Watch, loggers: Loggers | None = None) -> Trained:
    """Train one fold, stage by stage; resumes from `job.files.checkpoint` if it holds a state.

    Every stage but the first starts from the best weights so far (the last ones if `job.files.store_best` is false; those of
    the previous stage if it keeps its own), with a new optimizer. The final scores are those of the kept weights, with the
    last stage's loss. A damaged saved state is not used; from a NaN loss and from running out of memory the training recovers
    as `job.healing` allows.

    Returns:
        The input of `recording.write`; if several processes train the fold, only the first one writes.

    Raises:
        TrainingError: When the loss becomes NaN or infinite more often than allowed.
        Interrupted: When a stop was requested; the last saved state is kept.
    """
    # Processes that train together would have to agree on each recovery; there a trouble ends the fold with a message.
    allowed = job.healing if job.shard.ranks == 1 else replace(job.healing, rollbacks=0, micro_batches=False)
    healed = Healed(allowed, _events_file(job), job.title)
    # One process looks for the newest intact state, and may replace or delete a damaged one. The others wait for it:
    # otherwise they would load a state that it is about to remove, and resume at another epoch than the first.
    if job.shard.rank == 0:
        _verify_state(job, watch, healed)
    device_group.meet(job.shard)
    while True:
        try:
            return _train(job, watch, healed, loggers)
        except (recovery.NotFinite, recovery.OutOfMemory) as error:
            # The event is on disk before anything is tried again, so that a process that is killed now resumes with it.
            # The next attempt starts from the newest saved state and new objects; nothing of the failed attempt is
            # reused.
            watch.healed(healed.note_trouble(error, batch_size(job.recipe)))
        # Here and not above, because until then the error holds everything that the training had in memory.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _events_file(job: FoldJob) -> Path:
    """Return the path of the recoveries so far, which is deleted when the record contains them."""
    return job.files.checkpoint.with_name(job.files.checkpoint.name + recovery.EVENTS)


def _verify_state(job: FoldJob, watch: Watch, healed: Healed) -> None:
    """Drop damaged saved states, so that the training resumes from the newest intact one."""
    damages = checkpoints.verify_newest_state(job.files.checkpoint)
    way = "goes on from the state before" if checkpoints.exists(job.files.checkpoint) else "the fold starts anew"
    for number, sentence in enumerate(damages, 1):
        watch.healed(healed.note_damage(sentence, way if number == len(damages) else "it is not used"))


@dataclass
class _Training:
    """A fold's training in progress, from its first stage or a saved state to its scores.

    Attributes:
        job: The fold.
        watch: The callbacks that report on it.
        healed: Recoveries so far.
        network: Trained in place, stage after stage.
        numerics: Precision and layout.
        plan: The stages.
        at_first: The parameters trained in stages that do not specify any.
        keeper: Keeps the best weights and saves the state.
        stage: The stage to start or resume.
        epochs: Epochs of the stages before.
        resumed: Whether the training resumes from a saved state.
        notes: Notes for the record.
        history: A row for each epoch of all stages.
        speeds: The speed of each epoch.
        shown: Predictions for some validation images.
        batches: The loss of every batch, for the stages that keep it.
        optimizer_memory: The optimizer state of the previous stage.
        limits: Time limits of all stages together.
        recipe_limits: Time limits among the recipe's callbacks, by name; they end stages without callbacks of their own.
        loggers: The loggers of curves; None: none.
        steps: Steps done in the resumed stage.
        done: Epochs of all stages done in the saved state.
        first_weights: The hash of the initial weights.
    """

    job: FoldJob
    watch: Watch
    healed: Healed
    network: nn.Module
    numerics: Numerics
    plan: tuple[Stage, ...]
    at_first: frozenset[str]
    keeper: Keeper
    stage: int
    epochs: int
    resumed: bool
    notes: list[str] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    speeds: list[dict[str, float]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    optimizer_memory: stages.OptimizerMemory | None = None
    limits: list[Callback] = field(default_factory=list)
    recipe_limits: dict[str, TimeLimit] = field(default_factory=dict)
    loggers: Loggers | None = None
    steps: int = 0
    done: int = 0
    first_weights: str = ""

    def note(self, report: str) -> None:
        """Log a report on loaded weights and keep it for the record; does nothing if it is empty."""
        if report:
            self.notes.append(report)
            self.watch.log(f"{self.job.title}: {report}")


@dataclass(frozen=True)
class _Stage:
    """The objects that one stage is trained with.

    Attributes:
        number: The stage's number, counted from 0.
        recipe: The recipe with the changes of the stage.
        module: The module to train.
        data: Its loaders.
        trainer: Lightning's trainer.
    """

    number: int
    recipe: Recipe
    module: FoldModule
    data: FoldData | JointData
    trainer: pl.Trainer

    def attempt(self, run: Callable[..., Any], **options: Any) -> None:
        """Run a method of the trainer; a NaN loss, or too little memory, is raised with its epoch.

        Args:
            run: The method.
            options: Its arguments other than the module and its data.
        """
        call = partial(run, self.module, datamodule=self.data, **options)
        recovery.attempt(call, lambda: int(self.trainer.current_epoch), self.number, self.module.network)


def _train(job: FoldJob, watch: Watch, healed: Healed, loggers: Loggers | None) -> Trained:
    """Train the fold, from its saved state if there is one: begin, train one stage after the other, score the kept weights."""
    started = time.perf_counter()
    # Stages share network, history and keeper; each has its own module, loaders, optimizer and trainer, since Lightning
    # ties these together for one call of fit. The last stage remains, because its loss is used for the final scores.
    training = _begin(job, watch, healed, loggers)
    with quiet(), compile.explained():
        for number in range(training.stage, len(training.plan)):
            stage = _stage(training, number)
            _learn(training, stage)
        _validate(training, stage)
    return _judge(training, stage, started)


def _begin(job: FoldJob, watch: Watch, healed: Healed, loggers: Loggers | None) -> _Training:
    """Build the network with its initial weights, and find where in the plan a saved state left off."""
    # The initial weights are drawn, or read, for a resumed fold too, because Lightning loads the saved state into this
    # network.
    network, numerics, report = fold.first_network(job)
    at = stages.position(job.files.checkpoint)
    monitor, direction = job.recipe.metrics.monitor, monitoring.monitor_direction(job.recipe)
    training = _Training(
        job=job,
        watch=watch,
        healed=healed,
        network=network,
        numerics=numerics,
        plan=stages.of(job.recipe),
        # Determined before any stage freezes parameters: a stage that does not specify any returns to these.
        at_first=stages.learning(network),
        keeper=Keeper(monitor, direction, job.files.checkpoint, keep_best=job.files.store_best),
        stage=at.stage,
        epochs=at.before,
        resumed=checkpoints.exists(job.files.checkpoint),
        limits=[] if job.seconds is None else [FoldLimit(job.seconds)],
        loggers=loggers,
        # A schedule is built from the rates at the start of its stage; the rest of the optimizer is in the saved state.
        optimizer_memory=stages.OptimizerMemory({}, list(at.rates)) if at.rates else None,
        steps=at.step,
        done=at.epochs,
        first_weights=weight_files.digest(adapt.merged_state(network)) if job.shard.rank == 0 else "",
    )
    training.note(report)
    # Before the first epoch, which may take hours and would otherwise end with a full disk.
    if job.shard.rank == 0:
        disk_space.check(job, network)
    if training.resumed:
        watch.log(f"{job.title}: resumes from the state in {job.files.checkpoint.name}")
    job.recipe.compile.build(network)
    return training


def _stage(training: _Training, number: int) -> _Stage:
    """Build the objects that a stage is trained with, and load the weights that it starts from."""
    job, network, keeper, part = training.job, training.network, training.keeper, training.plan[number]
    # A resumed stage has its weights in the saved state, any other those kept by the stages before it.
    before = number - 1 if part.start_from is None else part.start_from
    if number > training.stage and (keeper.best_epoch is not None or before in keeper.of_stages):
        stages.load_network_state(network, keeper.of_stages.get(before, keeper.best_state))
    keeper.begin(number, keep=part.keep)
    loaded = stages.prepare(network, part, training.at_first, number)
    training.note(f"stage {number + 1} {loaded}" if loaded else "")
    recipe = stages.recipe_of(job.recipe, part)
    place = number if len(training.plan) > 1 else None
    module, data = fold.stage_parts(
        job, recipe, network, training.numerics, training.watch, part, place, training.optimizer_memory
    )
    # One history for all stages, which is also restored from a saved state.
    module.history, module.healed = training.history, training.healed
    if job.recipe.stages:
        # Epochs are counted on over stages, so that each has its own random draws.
        data.load_state_dict({"first_epoch": training.epochs})
    recipe = fold.with_epoch_bound(recipe, data)
    callbacks = _callbacks(training, recipe, number)
    loggers = _loggers_of(training, number)
    trainer = fold.build_trainer(job, recipe, training.numerics.precision, callbacks, loggers, training.epochs)
    return _Stage(number, recipe, module, data, trainer)


def _loggers_of(training: _Training, number: int) -> list[Logger]:
    """Return the loggers of a stage's curves."""
    if training.loggers is None:
        return []
    logs = training.job.files.logs
    is_saved = training.resumed and number == training.stage
    folder = logs / f"stage{number}" if training.job.recipe.stages else logs
    return training.loggers.stage_loggers(folder, training.done, training.steps if is_saved else None)


def _callbacks(training: _Training, recipe: Recipe, number: int) -> list[Callback]:
    """Return the callbacks of a stage in order: the first may stop a batch, the last saves what all others have recorded."""
    job, watch = training.job, training.watch
    guard, exchange = Guard(watch.should_stop, job.title, number), Exchange()
    later = [stage.epochs for stage in training.plan[number + 1 :]]
    whole = training.epochs + sum(job.lasting[number:] or [int(recipe.trainer["max_epochs"]), *later])
    progress = Progress(watch.report, whole, guard.last_norm, exchange.share, training.speeds)
    own = [*_own_callbacks(training, recipe, number), *training.limits]
    if (steps := most_steps(recipe)) is not None:
        own = [*own, StepLimit(steps)]

    def follow(rows: Sequence[Mapping[str, float]]) -> None:
        watch.history(rows)
        if training.loggers is not None:
            training.loggers.follow(rows)

    reports = EpochReports(watch.epoch, watch.row, follow, job.recipe.metrics.monitor)
    callbacks = [guard, exchange, progress, *own, reports]
    count = int(job.files.logging.params.get("examples", 0))
    if count and len(job.view.val):
        rows = stages.view_of(job.view, job.task, training.plan[number]).val.tolist()
        callbacks.append(Examples(training.shown, number, rows, count))
    if stages_of_batches := job.files.logging.params.get("batches"):
        # In every stage, because the batches of an earlier stage are in the state that a later one saves.
        callbacks.append(Batches(training.batches, number, is_kept=number in stages_of_batches))
    if isinstance(training.network, Gan):
        callbacks.append(SampleGrids(job.files.project.model_dir(job.task.name, job.files.record_id)))
    if job.lasting:
        callbacks.append(EpochLimit(training.epochs + job.lasting[number]))
    return [*callbacks, *tensorboard.boards(job.files.logging), training.keeper]


def _own_callbacks(training: _Training, recipe: Recipe, number: int) -> list[Any]:
    """Return the callbacks named by the recipe, or by the stage instead."""
    direction, limits = monitoring.monitor_direction(training.job.recipe), training.recipe_limits
    built = build_callbacks(recipe, direction)
    if training.plan[number].callbacks is not None:
        if not limits and any(stage.callbacks is None for stage in training.plan):
            # The stages with these limits come later, or came before a resume: then their state is in this stage's saved one.
            others = zip(training.job.recipe.callbacks, build_callbacks(training.job.recipe, direction), strict=True)
            limits.update({name: callback for name, callback in others if isinstance(callback, TimeLimit)})
        return [*built, WaitingLimits(limits)] if limits else built
    # A time limit of the recipe applies to the fold: a second stage has the time left by the first.
    return [
        limits.setdefault(name, callback) if isinstance(callback, TimeLimit) else callback
        for name, callback in zip(recipe.callbacks, built, strict=True)
    ]


def _learn(training: _Training, stage: _Stage) -> None:
    """Train one stage to its end."""
    job, module = training.job, stage.module
    if exact_heads.has_no_steps(stage.recipe):
        row = _fit_exact_head(job, stage.recipe, module, training.watch)
        if job.recipe.stages:
            _validate_as_epoch(training, stage, row)
        else:
            module.history = [row]
        return
    # The saved state belongs to one stage. A later one would get an optimizer of a finished stage from it.
    is_saved = training.resumed and stage.number == training.stage
    stage.attempt(stage.trainer.fit, ckpt_path=str(job.files.checkpoint) if is_saved else None)
    training.history, training.epochs = module.history, len(module.history)
    training.optimizer_memory = stages.OptimizerMemory.of(training.network, stage.trainer.optimizers[0])


def _validate(training: _Training, stage: _Stage) -> None:
    """Score the kept weights on the fold's validation images, with the last stage's loss."""
    job, keeper = training.job, training.keeper
    # The network has the last epoch's weights, but the record gets the best one's: scores must belong to the stored
    # weights.
    if job.files.store_best and not exact_heads.has_no_steps(job.recipe):
        if keeper.best_epoch is None:
            raise TrainingError(f"{job.title}: no epoch was finished, so that there are no weights to keep")
        training.watch.log(f"{job.title}: best epoch {keeper.best_epoch + 1}, score {keeper.best_score:.4f}")
        stages.load_network_state(training.network, keeper.best_state)
    if training.plan[-1].val_negatives is not None:
        # The record's scores cover all validation images, even if the stages used only some of them.
        data = fold_data(stage.recipe, job.task, job.view, job.pack, job.num_workers, shard=job.shard)
        stage = replace(stage, data=data)
    if len(job.view.val):
        stage.attempt(stage.trainer.validate, verbose=False)


def _judge(training: _Training, stage: _Stage, started: float) -> Trained:
    """Collect the contents of the record: scores, notes, and timings."""
    job, module, keeper = training.job, stage.module, training.keeper
    scores = _scores(job, module, stage.trainer)
    if job.recipe.optimizer.is_none:
        # Nothing was trained, so that these are also the scores of the only epoch.
        module.history[0] |= {f"val/{name}": value for name, value in scores.items() if value is not None}
    co_tasks: list[dict[str, Any]] = []
    if job.joint is not None:
        # After the scores, because it predicts again with other heads.
        with quiet():
            co_tasks = multitask.described(job.recipe, job.joint, module, stage.trainer, job.num_workers)
    timings = recording.timings(training.speeds, time.perf_counter() - started)
    unscored = _nan_epoch_notes(job, keeper, training.epochs)
    for sentence in unscored:
        training.watch.told(f"{job.title}: {sentence}")
    resumed = ["resumed: timings are of the last part"] * training.resumed
    return Trained(
        module=module,
        keeper=keeper,
        scores=scores,
        timings=timings,
        numerics=training.numerics,
        notes=[*training.notes, *_teaching_notes(job), *_class_weight_notes(job), *unscored, *resumed],
        co_tasks=co_tasks,
        events=training.healed.events,
        examples=training.shown,
        batches=training.batches,
        first_weights=training.first_weights,
    )


def _teaching_notes(job: FoldJob) -> list[str]:
    """Return notes on the teacher of a student for the record."""
    if job.teaching is None:
        return []
    known, rows = job.teaching.known[job.view.train], job.task.samples.labelled[job.view.train]
    how = f"temperature {job.teaching.temperature:g}, {job.teaching.hard_weight:g} of the loss of the true targets"
    sentence = (
        f"learned from {job.teaching.teacher} ({how}): its predictions of {counted(int((known & rows).sum()), 'image')}"
    )
    more = f" and of {counted(int((known & ~rows).sum()), 'image')} without a target" if (known & ~rows).any() else ""
    return [sentence + more]


def _class_weight_notes(job: FoldJob) -> list[str]:
    """Return notes on class weights computed from the training images for the record."""
    balances = loss.balances(job.recipe, job.task, job.view.train)
    return [
        f"{key}=balanced: {note}"
        for key, b in balances.items()
        for note in class_weights.balance_notes(b, job.task.classes)
    ]


def _scores(job: FoldJob, module: FoldModule, trainer: pl.Trainer) -> dict[str, float | None]:
    """Return the final metrics of the validation images; empty if there are none."""
    if not len(job.view.val):
        return {}
    names = monitoring.final_metrics(job.recipe, job.task)
    return {
        **metrics.compute(names, module.val_logits, module.val_targets, job.kind, module.own_metrics),
        **module.measured,
        "loss": float(trainer.callback_metrics["val/loss"]),
    }


def _fit_exact_head(job: FoldJob, recipe: Recipe, module: FoldModule, watch: Watch) -> dict[str, float]:
    """Put the exact head in, or leave the network as it is, instead of a training; return the only row of its history."""
    head = exact_heads.of(recipe)
    if head is None:
        return {"epoch": 0.0, "lr": 0.0}
    loss = head.learn(recipe, module.network, job.task, job.view.train, job.pack, TARGET, watch.stop_if_asked)
    return {"epoch": 0.0, "inner/loss": loss, "lr": 0.0}


def _validate_as_epoch(training: _Training, stage: _Stage, row: dict[str, float]) -> None:
    """Validate an exact head like an epoch, so that later epochs are compared with it."""
    module, epoch = stage.module, training.epochs
    row |= {"epoch": float(epoch), "stage": float(stage.number)}
    if len(training.job.view.val):
        stage.attempt(stage.trainer.validate, verbose=False)
        logged = stage.trainer.callback_metrics
        row |= {name: float(value) for name, value in logged.items() if name.startswith("val/")}
        training.keeper.compare(row[training.job.recipe.metrics.monitor], epoch, module)
    module.history.append(row)
    training.history, training.epochs = module.history, len(module.history)


def _nan_epoch_notes(job: FoldJob, keeper: Keeper, epochs: int) -> list[str]:
    """Return notes on epochs whose monitor was NaN for the record."""
    if not keeper.missing or not job.files.store_best:
        return []
    name, where = job.recipe.metrics.monitor, listing([epoch + 1 for epoch in keeper.missing])
    if keeper.best_score != keeper.best_score:
        return [f"{name} was NaN in every epoch, so that none is the best: the last one's weights are kept"]
    return [
        f"{name} was NaN in {len(keeper.missing)} of {epochs} epochs ({where}), which are never better than a number"
    ]
