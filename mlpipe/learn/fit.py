"""Train one fold: from a recipe and a fold's rows to a record, from top to bottom."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback

from mlpipe.arch import starting
from mlpipe.arch.classifier import Classifier
from mlpipe.config.schema import Recipe, Stage
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import FoldData
from mlpipe.data.loading.together import JointData
from mlpipe.errors import Interrupted, TrainingError, listing
from mlpipe.learn import (
    checkpoints,
    compile,
    device_group,
    disk_space,
    features,
    image_targets,
    linear_head,
    monitoring,
    multitask,
    own_metrics,
    recording,
    recovery,
    stages,
)
from mlpipe.learn.build import loss, setup
from mlpipe.learn.callbacks import tensorboard
from mlpipe.learn.callbacks.examples import Examples
from mlpipe.learn.callbacks.guard import Guard
from mlpipe.learn.callbacks.keeper import Keeper
from mlpipe.learn.callbacks.progress import EpochRows, EpochScores, Progress
from mlpipe.learn.device_group import Team
from mlpipe.learn.gradient_wait import Exchange
from mlpipe.learn.hardware import Numerics
from mlpipe.learn.job import FoldJob as FoldJob
from mlpipe.learn.job import Watch as Watch
from mlpipe.learn.losses import class_weights
from mlpipe.learn.module import TARGET, FoldModule, Learning, Optimizers, draw_seed
from mlpipe.learn.recovery import Healed
from mlpipe.post import metrics
from mlpipe.runs.records import ModelRecord


def fit(job: FoldJob, watch: Watch) -> ModelRecord:
    """Train one fold and write its record, see `train`."""
    record = recording.write(job, **train(job, watch))
    _events_file(job).unlink(missing_ok=True)
    return record


def train(job: FoldJob, watch: Watch) -> dict[str, Any]:
    """Train one fold, stage by stage; resumes from `job.checkpoint` when a state is there.

    Every stage but the first starts from the best weights so far (the last ones where `job.store_best` is false; those of
    the stage before where that keeps its own), with a new optimizer. The final scores are those of the kept weights, with
    the last stage's loss. A saved state that is damaged is not used; a loss that is no number and memory that runs out are
    mended as `job.healing` says.

    Returns:
        What `recording.write` is given; where several processes learn the fold, the first one gives it to it.

    Raises:
        TrainingError: When the loss becomes NaN or infinite once too often.
        Interrupted: When asked to stop; the state of the last saved epoch stays.
    """
    # Processes that learn together would have to agree on what is mended: there a trouble ends the fold with a sentence.
    mended = job.healing if job.shard.ranks == 1 else replace(job.healing, rollbacks=0, micro_batches=False)
    healed = Healed(mended, _events_file(job), f"{job.view.task} fold {job.view.fold}")
    if job.shard.rank == 0:
        _verify_state(job, watch, healed)
    device_group.meet(job.shard)
    while True:
        try:
            return _train(job, watch, healed)
        except (recovery.NotFinite, recovery.OutOfMemory) as error:
            watch.healed(healed.mended(error, setup.batch_size(job.recipe)))
        # Here and not above: until then the error holds everything that the training had in memory.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _events_file(job: FoldJob) -> Path:
    """What was mended so far, until the record has it."""
    return job.checkpoint.with_name(job.checkpoint.name + recovery.EVENTS)


def _verify_state(job: FoldJob, watch: Watch, healed: Healed) -> None:
    """See that the saved state is whole; the newest one that is, is gone on from."""
    found = checkpoints.settle(job.checkpoint)
    way = "goes on from the state before" if checkpoints.exists(job.checkpoint) else "the fold starts anew"
    for place, sentence in enumerate(found, 1):
        watch.healed(healed.damaged(sentence, way if place == len(found) else "it is not used"))


def _train(job: FoldJob, watch: Watch, healed: Healed) -> dict[str, Any]:
    """Train the fold from its saved state, if there is one."""
    started = time.perf_counter()
    recipe, view, task = job.recipe, job.view, job.task
    monitor, direction = recipe.metrics.monitor, monitoring.monitor_direction(recipe)
    network, chosen, report = first_network(job)
    begun: list[str] = []
    _note(job, watch, begun, report)
    if job.shard.rank == 0:
        disk_space.check(job, network)
    at_first, plan = stages.learning(network), stages.of(recipe)
    keeper = Keeper(monitor, direction, job.checkpoint, keep_best=job.store_best)
    speeds: list[dict[str, float]] = []
    resuming = checkpoints.exists(job.checkpoint)
    begin, epochs = stages.position(job.checkpoint)
    history: list[dict[str, float]] = []
    carried: stages.Carried | None = None
    shown: list[dict[str, Any]] = []
    if resuming:
        watch.log(f"{view.task} fold {view.fold}: resumes from the state in {job.checkpoint.name}")
    recipe.compile.build(network)
    with setup.quiet(), compile.explained():
        for number in range(begin, len(plan)):
            if number > begin and (keeper.best_epoch is not None or number - 1 in keeper.of_stages):
                stages.take_up(network, keeper.of_stages.get(number - 1, keeper.best_state))
            keeper.begin(number, keep=plan[number].keep)
            loaded = stages.prepare(network, plan[number], at_first)
            _note(job, watch, begun, f"stage {number + 1} {loaded}" if loaded else "")
            now = stages.recipe_of(recipe, plan[number])
            place = number if len(plan) > 1 else None
            module, data = _module(job, now, network, chosen, watch, stage=place, part=plan[number], carried=carried)
            module.history, module.healed = history, healed
            if recipe.stages:
                data.load_state_dict({"first_epoch": epochs})
            guard = Guard(watch.should_stop, f"{view.task} fold {view.fold}", number)
            whole = epochs + sum(stage.epochs for stage in plan[number:])
            exchange = Exchange()
            progress = Progress(watch.report, data.epoch_images, whole, guard.last_norm, exchange.share)
            own = setup.build_callbacks(now, direction)
            followers = [EpochScores(watch.epoch, monitor), EpochRows(watch.row)]
            callbacks = [guard, exchange, progress, _Speeds(progress, speeds), *own, *followers]
            if count := int(job.logging.params.get("examples", 0)):
                callbacks.append(Examples(shown, number, stages.view_of(view, task, plan[number]).val.tolist(), count))
            callbacks += _board(job)
            callbacks.append(keeper)
            trainer = _trainer(job, now, chosen.precision, callbacks, number, epochs)
            saved = str(job.checkpoint) if resuming and number == begin else None
            if linear_head.has_no_steps(recipe):
                _without_steps(job, module, watch)
                continue
            learn = partial(trainer.fit, module, datamodule=data, ckpt_path=saved)
            recovery.attempt(learn, partial(_epoch, trainer), number, network)
            history, epochs = module.history, len(module.history)
            carried = stages.Carried.of(network, trainer.optimizers[0])
        if job.store_best and not linear_head.has_no_steps(recipe):
            stages.take_up(network, _best_state(job, keeper, watch))
        if plan[-1].val_negatives is not None:
            data = setup.fold_data(now, task, view, job.pack, job.num_workers, shard=job.shard)
        judge = partial(trainer.validate, module, datamodule=data, verbose=False)
        if len(view.val):
            recovery.attempt(judge, partial(_epoch, trainer), number, network)
    scores = _scores(job, module, trainer)
    if recipe.optimizer.is_none:
        module.history[0] |= {f"val/{name}": value for name, value in scores.items() if value is not None}
    # After the scores: it validates anew, by other heads.
    co_tasks = _co_tasks(job, module, trainer)
    timings = recording.timings(speeds, time.perf_counter() - started)
    balances = loss.balances(recipe, task, view.train)
    weighed = [
        f"{key}=balanced: {one}" for key, b in balances.items() for one in class_weights.special(b, task.classes)
    ]
    unscored = _without_score(job, keeper, epochs)
    for sentence in unscored:
        watch.told(f"{view.task} fold {view.fold}: {sentence}")
    notes = [*begun, *weighed, *unscored] + ["resumed: timings are of the last part"] * resuming
    return {
        "module": module,
        "keeper": keeper,
        "scores": scores,
        "timings": timings,
        "chosen": chosen,
        "notes": notes,
        "co_tasks": co_tasks,
        "events": healed.events,
        "examples": shown,
    }


def _note(job: FoldJob, watch: Watch, notes: list[str], report: str) -> None:
    """Tell what stored weights a training begins with, and keep it for the record."""
    if report:
        notes.append(report)
        watch.log(f"{job.view.task} fold {job.view.fold}: {report}")


def _scores(job: FoldJob, module: FoldModule, trainer: pl.Trainer) -> dict[str, float | None]:
    """The final metrics of the validation images; none where there are none."""
    if not len(job.view.val):
        return {}
    names = monitoring.final_metrics(job.recipe, job.task)
    return {
        **metrics.compute(names, module.val_logits, module.val_targets, job.kind, module.own_metrics),
        **module.measured,
        "loss": float(trainer.callback_metrics["val/loss"]),
    }


def _epoch(trainer: pl.Trainer) -> int:
    return int(trainer.current_epoch)


def _without_steps(job: FoldJob, module: FoldModule, watch: Watch) -> None:
    """In place of a training put the exact head in, or leave the network as it is; the history is one row."""
    if not linear_head.applies(job.recipe):
        module.history = [{"epoch": 0.0, "lr": 0.0}]
        return
    pack = pack_of(job, module.network, watch)
    found = linear_head.learn(job.recipe, module.network, job.task, job.view.train, pack, TARGET)
    module.history = [{"epoch": 0.0, "inner/loss": float(np.mean(found.loss)), "lr": 0.0}]


def _co_tasks(job: FoldJob, module: FoldModule, trainer: pl.Trainer) -> list[dict[str, Any]]:
    if job.joint is None:
        return []
    assert isinstance(module, multitask.JointModule)
    with setup.quiet():
        return multitask.described(job.recipe, job.joint, module, trainer, job.num_workers)


def parts(
    job: FoldJob, watch: Watch, optimizers: Optimizers | None = None
) -> tuple[FoldModule, FoldData | JointData, Numerics]:
    """What a fold's first stage is trained with: module with first weights, loaders, precision and layout.

    Args:
        job: The fold.
        watch: Asked while features are computed.
        optimizers: In place of the recipe's.
    """
    network, chosen, _ = first_network(job)
    stage = stages.of(job.recipe)[0]
    stages.prepare(network, stage, stages.learning(network))
    recipe = stages.recipe_of(job.recipe, stage)
    module, data = _module(job, recipe, network, chosen, watch, optimizers=optimizers)
    return module, data, chosen


def first_network(job: FoldJob) -> tuple[torch.nn.Module, Numerics, str]:
    """The network with its first weights, precision and layout, and a report of the weights that it starts from."""
    setup.prepare_torch(job.recipe.threads)
    chosen = setup.numerics_for(job.recipe, job.pack)
    seed = draw_seed(job.recipe.seed, job.view.fold, -1)
    if job.joint is None:
        network, begun = setup.started_network(job.recipe, job.task, job.pack, seed, job.view.train, job.start)
    else:
        network = multitask.build_network(job.recipe, job.task, job.pack, job.joint, seed=seed, rows=job.view.train)
        begun = starting.load(network, job.start) if job.start is not None else setup.begun(network)
    return network.to(memory_format=torch.channels_last) if chosen.channels_last else network, chosen, begun


def _module(
    job: FoldJob,
    recipe: Recipe,
    network: torch.nn.Module,
    chosen: Numerics,
    watch: Watch,
    *,
    stage: int | None = None,
    optimizers: Optimizers | None = None,
    part: Stage | None = None,
    carried: stages.Carried | None = None,
) -> tuple[FoldModule, FoldData | JointData]:
    """A stage's module and loaders, of the stage's recipe."""
    task = job.task
    view = stages.view_of(job.view, task, part) if part is not None else job.view
    pack = pack_of(job, network, watch)
    data: FoldData | JointData
    if job.joint is None:
        data = setup.fold_data(recipe, task, view, pack, job.num_workers, shard=job.shard)
    else:
        data = multitask.fold_data(recipe, task, view, pack, job.joint, job.num_workers)
    if optimizers is None:
        direction = monitoring.monitor_direction(recipe)
        take_up = partial(carried.into, rates=part.lr is None) if carried and part and part.carry else None
        optimizers = setup.build_optimizers(recipe, len(data.train_dataloader()), direction, take_up)
    learning = Learning(
        job.kind,
        monitoring.val_metrics(recipe, task),
        recipe.seed,
        view.fold,
        device_steps=setup.device_steps(recipe, job.pack.peak),
        channels_last=chosen.channels_last,
        scale=setup.regression_scale(task, view.train),
        clip_norm=recipe.clip.clip_norm,
        clip_value=recipe.clip.clip_value,
        team=_team(job, data),
        own_metrics=own_metrics.measures(recipe.metrics, job.kind, len(task.classes)),
        while_training=recipe.metrics.while_training,
        batch_sizes=data.batch_sizes,
    )
    if job.joint is not None:
        joint = multitask.build_module(recipe, task, view, job.pack, job.joint, network, optimizers, learning)
        return joint, data
    module = image_targets.module_for(job.kind)
    return module(network, setup.build_loss(recipe, task, view.train), optimizers, learning, stage), data


def _team(job: FoldJob, data: FoldData | JointData) -> Team:
    """The processes that learn the fold; several of them learn no other tasks with it."""
    if isinstance(data, JointData):
        return Team()
    return Team(job.shard, data.train_sampler().share, data.val_batches)


def pack_of(job: FoldJob, network: torch.nn.Module, watch: Watch) -> Pack:
    """What the fold learns from: its cached images, or their features where nothing below the heads can ever change."""
    if job.joint is not None or job.recipe.stages or not features.applies(job.recipe, network):
        return job.pack
    assert isinstance(network, Classifier)
    rows = np.union1d(job.view.train, job.view.val)

    def stop() -> None:
        if watch.should_stop():
            raise Interrupted("stopped as asked")

    device = "cuda" if torch.cuda.is_available() and job.recipe.trainer.get("accelerator") != "cpu" else "cpu"
    return features.feature_pack(network.to(device), job.pack, rows, stop)


class _Speeds(Callback):
    """Collects each epoch's speed for the history."""

    def __init__(self, progress: Progress, speeds: list[dict[str, float]]) -> None:
        self._progress, self._speeds = progress, speeds

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._speeds.append(
            {
                "train_seconds": self._progress.epoch_seconds,
                "train_images_per_s": self._progress.images_per_s,
                "data_wait": self._progress.wait,
            }
        )


def _trainer(
    job: FoldJob, recipe: Recipe, precision: Any, callbacks: list[Callback], stage: int, epochs: int
) -> pl.Trainer:
    """The trainer of a stage, whose epochs go on from those of the stages before."""
    given = {key: value for key, value in recipe.trainer.items() if key != "precision"}
    given["max_epochs"] += epochs
    logs = job.logs / f"stage{stage}" if recipe.stages else job.logs
    with setup.quiet():
        trainer = pl.Trainer(
            **device_group.trainer_arguments(given, job.shard),
            precision=precision,
            callbacks=callbacks,
            # Named, so that Lightning does not take a Slurm job's signals and tasks for its own.
            plugins=[checkpoints.PlainCheckpointIO(), LightningEnvironment()],
            logger=job.logging.build(logs) or False,
            log_every_n_steps=int(job.logging.params.get("every_n_steps", 50)),
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    stages.start_at(trainer, epochs)
    return trainer


def _board(job: FoldJob) -> list[Callback]:
    """What writes more than curves to TensorBoard; nothing where nobody asks for it."""
    keys = {"histograms": 0, "gradients": False, "filters": False, "graph": False, "embeddings": 0}
    given: dict[str, Any] = {key: job.logging.params.get(key, default) for key, default in keys.items()}
    return [tensorboard.Board(**given)] if any(given.values()) else []


def _best_state(job: FoldJob, keeper: Keeper, watch: Watch) -> Mapping[str, torch.Tensor]:
    where = f"{job.view.task} fold {job.view.fold}"
    if keeper.best_epoch is None:
        raise TrainingError(f"{where}: no epoch was finished, so that there are no weights to keep")
    watch.log(f"{where}: best epoch {keeper.best_epoch + 1}, score {keeper.best_score:.4f}")
    return keeper.best_state


def _without_score(job: FoldJob, keeper: Keeper, epochs: int) -> list[str]:
    """What a person should know of epochs whose monitor was NaN."""
    if not keeper.missing or not job.store_best:
        return []
    name, where = job.recipe.metrics.monitor, listing([epoch + 1 for epoch in keeper.missing])
    if keeper.best_score != keeper.best_score:
        return [f"{name} was NaN in every epoch, so that none is the best: the last one's weights are kept"]
    return [
        f"{name} was NaN in {len(keeper.missing)} of {epochs} epochs ({where}), which are never better than a number"
    ]
