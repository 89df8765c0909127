"""Train one fold: from a recipe and a fold's rows to a record, from top to bottom."""

from __future__ import annotations

import csv
import io
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import Callback

import mlpipe
from mlpipe import files
from mlpipe.arch import adapt, starting
from mlpipe.arch import weights as weight_files
from mlpipe.arch.classifier import Classifier
from mlpipe.arch.starting import Start
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.cache import Pack
from mlpipe.data.loaders import FoldData
from mlpipe.data.task import Task
from mlpipe.data.together import JointData
from mlpipe.data.variants import View
from mlpipe.errors import Interrupted, TrainingError
from mlpipe.learn import checkpoints, compiling, features, linear_head, multitask, setup
from mlpipe.learn.callbacks import Guard, Keeper, Progress, Tick
from mlpipe.learn.hardware import Numerics
from mlpipe.learn.module import TARGET, FoldModule, Learning, Optimizers, draw_seed
from mlpipe.learn.multitask import Joint
from mlpipe.post import metrics
from mlpipe.runs import records
from mlpipe.runs.journal import now
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord


@dataclass(frozen=True)
class FoldJob:
    """Everything that one fold's training is given.

    Attributes:
        recipe: How to learn.
        task: The task.
        view: The rows of this fold.
        pack: The cached images.
        project: Where the record goes.
        record_id: The record's id.
        run: The run's name.
        recipe_hash: What groups the folds.
        checkpoint: The folder of the state to resume from.
        pipeline: The configuration that is stored with the record, as YAML.
        nested: Whether the fold is a nested variant.
        store_best: Keep the best epoch's weights instead of the last one's.
        store_parameters: Keep weights at all.
        val_used_for: What validation decided besides being a score.
        num_workers: Loader processes.
        logging: What writes the training's curves.
        logs: The folder that they go to.
        joint: Other tasks that are learned with it; None: it is learned alone.
        start: Weights that training starts from; None: as the recipe's arch says.
        tuned: What `tune` chose before the first fold, such as `lr`; `recipe` has it already.
    """

    recipe: Recipe
    task: Task
    view: View
    pack: Pack
    project: Project
    record_id: str
    run: str
    recipe_hash: str
    checkpoint: Path
    pipeline: str
    nested: bool
    store_best: bool
    store_parameters: bool
    val_used_for: list[str]
    num_workers: int
    logging: Component
    logs: Path
    joint: Joint | None = None
    start: Start | None = None
    tuned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """How the outside follows a training and stops it.

    Attributes:
        should_stop: Asked after every batch.
        report: Told after every batch.
        log: Told what a person should know.
    """

    should_stop: Callable[[], bool] = lambda: False
    report: Callable[[Tick], None] = lambda tick: None
    log: Callable[[str], None] = field(default=lambda text: None)


def fit(job: FoldJob, watch: Watch) -> ModelRecord:
    """Train one fold and write its record; resumes from `job.checkpoint` when a state is there.

    Raises:
        TrainingError: When the loss becomes NaN or infinite, or never has a finite score.
        Interrupted: When asked to stop; the state of the last saved epoch stays.
    """
    started = time.perf_counter()
    recipe, view, task = job.recipe, job.view, job.task
    module, data, chosen, begun = parts(job, watch)
    monitor, direction = recipe.metrics.monitor, setup.monitor_direction(recipe)
    keeper = Keeper(monitor, direction, job.checkpoint, keep_best=job.store_best)
    progress = Progress(watch.report, data.epoch_images)
    speeds: list[dict[str, float]] = []
    own = [callback.build(monitor, direction) for callback in recipe.callbacks.values()]
    guard = Guard(watch.should_stop, f"{view.task} fold {view.fold}")
    trainer = _trainer(job, chosen.precision, [guard, progress, _Speeds(progress, speeds), *own, keeper])
    resuming = checkpoints.exists(job.checkpoint)
    if resuming:
        watch.log(f"{view.task} fold {view.fold}: resumes from the state in {job.checkpoint.name}")
    recipe.compile.build(module.network)
    with setup.quiet(), compiling.explained():
        if linear_head.applies(recipe):
            pack = pack_of(job, module.network, watch)
            found = linear_head.learn(recipe, module.network, task, view.train, pack, TARGET)
            module.history = [{"epoch": 0.0, "inner/loss": float(np.mean(found.loss)), "lr": 0.0}]
        else:
            trainer.fit(module, datamodule=data, ckpt_path=str(job.checkpoint) if resuming else None)
            module.load_state_dict(_chosen_state(job, keeper, module, watch))
        trainer.validate(module, datamodule=data, verbose=False)
    names = setup.final_metrics(recipe, task)
    scores: dict[str, float | None] = {
        **metrics.compute(names, module.val_logits, module.val_targets, task.kind),
        "loss": float(trainer.callback_metrics["val/loss"]),
    }
    co_tasks = _co_tasks(job, module, trainer)
    timings = _timings(speeds, time.perf_counter() - started)
    notes = [begun] * bool(begun) + ["resumed: timings are of the last part"] * resuming
    return _write(job, module, keeper, scores, timings, chosen, notes, co_tasks)


def _network(job: FoldJob, seed: int) -> tuple[torch.nn.Module, str]:
    """The network, and a report of the weights that it starts from."""
    if job.joint is None:
        return setup.started_network(job.recipe, job.task, job.pack, seed, job.view.train, job.start)
    network = multitask.build_network(job.recipe, job.task, job.pack, job.joint, seed=seed, rows=job.view.train)
    return network, starting.load(network, job.start) if job.start is not None else ""


def _data(job: FoldJob, pack: Pack) -> FoldData | JointData:
    if job.joint is None:
        return setup.fold_data(job.recipe, job.task, job.view, pack, job.num_workers)
    return multitask.fold_data(job.recipe, job.task, job.view, pack, job.joint, job.num_workers)


def _module(job: FoldJob, network: torch.nn.Module, optimizers: Optimizers, learning: Learning) -> FoldModule:
    if job.joint is None:
        return FoldModule(network, setup.build_loss(job.recipe, job.task, job.view.train), optimizers, learning)
    return multitask.build_module(job.recipe, job.task, job.view, job.pack, job.joint, network, optimizers, learning)


def _co_tasks(job: FoldJob, module: FoldModule, trainer: pl.Trainer) -> list[dict[str, Any]]:
    if job.joint is None:
        return []
    assert isinstance(module, multitask.JointModule)
    with setup.quiet():
        return multitask.described(job.recipe, job.joint, module, trainer, job.num_workers)


def parts(
    job: FoldJob, watch: Watch, optimizers: Optimizers | None = None
) -> tuple[FoldModule, FoldData | JointData, Numerics, str]:
    """What a fold is trained with: the module with its first weights, the loaders, precision and layout, and a report of
    the weights that it starts from.

    Args:
        job: The fold.
        watch: Asked while features are computed.
        optimizers: In place of the recipe's.
    """
    recipe, view, task = job.recipe, job.view, job.task
    setup.prepare_torch(recipe.threads)
    chosen = setup.numerics_for(recipe, job.pack)
    seed = draw_seed(recipe.seed, view.fold, -1)
    network, begun = _network(job, seed)
    data = _data(job, pack_of(job, network, watch))
    module = _module(
        job,
        network.to(memory_format=torch.channels_last) if chosen.channels_last else network,
        optimizers or setup.build_optimizers(recipe, len(data.train_dataloader()), setup.monitor_direction(recipe)),
        Learning(
            task.kind,
            setup.val_metrics(recipe, task),
            recipe.seed,
            view.fold,
            device_steps=setup.device_steps(recipe, job.pack.peak),
            channels_last=chosen.channels_last,
            scale=setup.regression_scale(task, view.train),
            clip_norm=recipe.clip.clip_norm,
            clip_value=recipe.clip.clip_value,
        ),
    )
    return module, data, chosen, begun


def pack_of(job: FoldJob, network: torch.nn.Module, watch: Watch) -> Pack:
    """What the fold learns from: its cached images, or their features where nothing below the heads can change."""
    if job.joint is not None or not features.applies(job.recipe, network):
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


def _trainer(job: FoldJob, precision: Any, callbacks: list[Callback]) -> pl.Trainer:
    given = {key: value for key, value in job.recipe.trainer.items() if key != "precision"}
    with setup.quiet():
        return pl.Trainer(
            **given,
            precision=precision,
            callbacks=callbacks,
            plugins=[checkpoints.PlainCheckpointIO()],
            logger=job.logging.build(job.logs) or False,
            log_every_n_steps=int(job.logging.params.get("every_n_steps", 50)),
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def _chosen_state(job: FoldJob, keeper: Keeper, module: FoldModule, watch: Watch) -> Mapping[str, torch.Tensor]:
    if not job.store_best:
        return module.state_dict()
    if keeper.best_epoch is None:
        wrong = f"{job.view.task} fold {job.view.fold}: {job.recipe.metrics.monitor} was never a number"
        raise TrainingError(
            f"{wrong}, so there is no best epoch; choose another metrics.monitor or mode.store_best=false"
        )
    watch.log(
        f"{job.view.task} fold {job.view.fold}: best epoch {keeper.best_epoch + 1}, score {keeper.best_score:.4f}"
    )
    return keeper.best_state


def _timings(speeds: list[dict[str, float]], seconds: float) -> dict[str, float]:
    steady = speeds[1:] or speeds
    if not steady:
        return {"seconds": seconds}
    return {
        "seconds": round(seconds, 3),
        "train_seconds": round(sum(row["train_seconds"] for row in speeds), 3),
        "train_images_per_s": round(float(np.median([row["train_images_per_s"] for row in steady])), 1),
        "data_wait": round(float(np.median([row["data_wait"] for row in steady])), 4),
    }


def _write(
    job: FoldJob,
    module: FoldModule,
    keeper: Keeper,
    scores: dict[str, float | None],
    timings: dict[str, float],
    chosen: Numerics,
    notes: list[str],
    co_tasks: list[dict[str, Any]],
) -> ModelRecord:
    """Write weights, metrics and configuration, then the record that names them, then drop the saved state."""
    folder = job.project.model_dir(job.task.name, job.record_id)
    digest = None
    if job.store_parameters:
        digest = weight_files.save(adapt.merged_state(module.network), folder / records.WEIGHTS_FILE)
    files.write_text(folder / records.METRICS_FILE, _as_csv(module.history))
    files.write_text(folder / records.CONFIG_FILE, job.pipeline)
    optimistic = bool(job.val_used_for) and not job.nested
    record = ModelRecord(
        id=job.record_id,
        number=0,
        run=job.run,
        created=now(),
        task=job.view.task,
        pivot=job.task.name,
        fold=job.view.fold,
        nested=job.nested,
        recipe=job.recipe_hash,
        arch=str(job.recipe.arch.params.get("name", job.recipe.arch.target)),
        classes=list(job.task.classes),
        parameters=sum(parameter.numel() for parameter in module.network.parameters()) - adapt.added(module.network),
        counts={name: len(rows) for name, rows in job.view.rows().items()},
        kind=job.task.kind,
        scores={"val": scores},
        best_epoch=keeper.best_epoch if keeper.best_epoch is not None else len(module.history) - 1,
        epochs=len(module.history),
        monitor=f"{job.recipe.metrics.monitor} ({setup.monitor_direction(job.recipe)})",
        val_used_for=job.val_used_for,
        timings=timings,
        environment=_environment(job.recipe, chosen) | _used(job, module),
        weights=digest,
        notes=(["the validation score is optimistic: it also chose what val_used_for names"] if optimistic else [])
        + notes,
        details={"val": metrics.details(module.val_logits, module.val_targets, job.task.classes, job.task.kind)},
        co_tasks=co_tasks,
    )
    record = records.save(job.project, record)
    shutil.rmtree(job.checkpoint, ignore_errors=True)
    return record


def _environment(recipe: Recipe, chosen: Numerics) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "mlpipe": mlpipe.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch_lightning": version("pytorch-lightning"),
        "timm": timm.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "device": device,
        "threads": recipe.threads,
        "precision": str(chosen),
    }


def _used(job: FoldJob, module: FoldModule) -> dict[str, Any]:
    """What the training used beyond the usual; empty for most."""
    recipe = job.recipe
    used: dict[str, Any] = dict(job.tuned)
    if not recipe.compile.is_none:
        used["compile"] = str(recipe.compile.params.get("mode", recipe.compile.target))
    if additions := adapt.additions(module.network):
        learned = sum(parameter.numel() for parameter in module.network.parameters() if parameter.requires_grad)
        used["lora"] = {"rank": additions[0].rank, "layers": len(additions), "learned_parameters": learned}
    return used


def _as_csv(history: list[dict[str, float]]) -> str:
    out = io.StringIO()
    if history:
        table = csv.DictWriter(out, list(history[0]), lineterminator="\n")
        table.writeheader()
        for row in history:
            table.writerow({**row, "epoch": int(row["epoch"])})
    return out.getvalue()
