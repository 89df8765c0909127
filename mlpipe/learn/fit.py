"""Train one fold: from a recipe and a fold's rows to a record, from top to bottom."""

from __future__ import annotations

import csv
import io
import logging
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

import mlpipe
from mlpipe import files
from mlpipe.arch import weights as weight_files
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.cache import Pack
from mlpipe.data.loaders import Draw, FoldData
from mlpipe.data.task import Task
from mlpipe.data.variants import View
from mlpipe.errors import DataError, TrainingError, problem
from mlpipe.learn import checkpoints
from mlpipe.learn.callbacks import Direction, Guard, Keeper, Progress, Tick
from mlpipe.learn.lr_schedulers import Clock
from mlpipe.learn.module import TARGET, FoldModule, draw_seed
from mlpipe.learn.optimizers import parameter_groups
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
    recipe, view = job.recipe, job.view
    prepare_torch(recipe.threads)
    network = build_network(recipe, job.task, job.pack, seed=draw_seed(recipe.seed, view.fold, -1))
    monitor, direction = recipe.metrics.monitor, monitor_direction(recipe)
    keeper = Keeper(monitor, direction, job.checkpoint, keep_best=job.store_best)
    progress = Progress(watch.report, len(view.train))
    data = fold_data(recipe, job.task, view, job.pack, job.num_workers)
    counts = torch.from_numpy(job.task.class_counts(view.train))
    module = FoldModule(
        network,
        recipe.loss.build(counts),
        _optimizers(recipe, len(data.train_dataloader()), direction),
        _val_metrics(recipe),
        seed=recipe.seed,
        fold=view.fold,
    )
    speeds: list[dict[str, float]] = []
    own = [callback.build(monitor, direction) for callback in recipe.callbacks.values()]
    guard = Guard(watch.should_stop, f"{view.task} fold {view.fold}")
    trainer = _trainer(recipe, [guard, progress, _Speeds(progress, speeds), *own, keeper])
    resuming = checkpoints.exists(job.checkpoint)
    if resuming:
        watch.log(f"{view.task} fold {view.fold}: resumes from the state in {job.checkpoint.name}")
    with quiet():
        trainer.fit(module, datamodule=data, ckpt_path=str(job.checkpoint) if resuming else None)
        state = _chosen_state(job, keeper, module, watch)
        module.load_state_dict(state)
        trainer.validate(module, datamodule=data, verbose=False)
    scores: dict[str, float | None] = {**metrics.compute(recipe.metrics.final, module.val_logits, module.val_targets)}
    scores["loss"] = float(trainer.callback_metrics["val/loss"])
    seconds = time.perf_counter() - started
    return _write(job, module, keeper, scores, _timings(speeds, seconds), str(trainer.precision), resuming)


def build_network(recipe: Recipe, task: Task, pack: Pack, *, seed: int, pretrained: bool = True) -> nn.Module:
    """The recipe's network for a task; `pretrained=False` skips weights that will be replaced anyway."""
    arch = recipe.arch
    if not pretrained:
        arch = Component(arch.slot, arch.target, {**arch.params, "pretrained": False, "weights": None})
    torch.manual_seed(seed)
    channels, size = pack.images.shape[3], pack.images.shape[1]
    network = arch.build({TARGET: len(task.classes)}, channels, size, recipe.augmentations.normalization)
    assert isinstance(network, nn.Module)
    return network


def try_recipe(recipe: Recipe, task: Task, pack: Pack) -> None:
    """Build every part once and push one image through, so that what cannot work is known before anything is written.

    Raises:
        DataError: When the network cannot take images of this size, or a part does not fit the task.
        MlpipeError: When pretrained weights cannot be had.
    """
    prepare_torch(recipe.threads)
    network = build_network(recipe, task, pack, seed=0).eval()
    image = torch.zeros(1, pack.images.shape[3], *pack.images.shape[1:3])
    arch, size = recipe.arch.params.get("name", recipe.arch.target), pack.images.shape[1]
    try:
        with torch.no_grad():
            network(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        wrong = f"{arch} cannot take images of {size} pixels ({reason})"
        raise DataError(problem("preprocessing.size", wrong, fix="choose another size or arch")) from error
    recipe.loss.build(torch.from_numpy(task.class_counts()))
    _optimizers(recipe, 2, "min")(network)
    for step in recipe.augmentations.cpu:
        step.build()
    for callback in recipe.callbacks.values():
        callback.build(recipe.metrics.monitor, "min")


def fold_data(recipe: Recipe, task: Task, view: View, pack: Pack, num_workers: int) -> FoldData:
    """The loaders of one fold."""
    steps = [step.build() for step in recipe.augmentations.cpu]
    draw = Draw(recipe.seed, view.fold)
    return FoldData(task, view, pack, steps=steps, sampling=recipe.sampling.build(), draw=draw, num_workers=num_workers)


def prepare_torch(threads: int) -> None:
    """Set torch's threads and silence what Lightning prints for itself."""
    torch.set_num_threads(threads)
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's hints about workers and logging intervals off the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        for message in (".*does not have many workers.*", ".*LeafSpec.*", ".*lr_scheduler.step.*"):
            warnings.filterwarnings("ignore", message=message)
        yield


def monitor_direction(recipe: Recipe) -> Direction:
    """Whether less or more of the monitor is better."""
    direction = recipe.metrics.direction
    if direction == "auto":
        return "min" if metrics.direction(recipe.metrics.monitor) == "min" else "max"
    return direction


def precision_for(setting: Any) -> Any:
    """`auto` by a table over hardware: bfloat16 autocast on a GPU that has it, else 32 bit."""
    if setting != "auto":
        return setting
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


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


def _optimizers(
    recipe: Recipe, batches: int, direction: Direction
) -> Callable[[nn.Module], tuple[Optimizer, dict[str, Any]]]:
    steps = -(-batches // int(recipe.trainer.get("accumulate_grad_batches") or 1))
    clock = Clock(steps, int(recipe.trainer["max_epochs"]), direction)

    def build(network: nn.Module) -> tuple[Optimizer, dict[str, Any]]:
        optimizer = recipe.optimizer.build(parameter_groups(network))
        schedule = recipe.lr_scheduler.build(optimizer, clock)
        described = {"scheduler": schedule, "interval": recipe.lr_scheduler.params.get("interval", "epoch")}
        if isinstance(schedule, ReduceLROnPlateau):
            described["monitor"] = recipe.metrics.monitor
        return optimizer, described

    return build


def _val_metrics(recipe: Recipe) -> list[str]:
    """The metrics of every epoch, the monitored one among them."""
    monitored = recipe.metrics.monitor.removeprefix("val/")
    extra = [monitored] if monitored != "loss" and monitored not in recipe.metrics.train else []
    return [*recipe.metrics.train, *extra]


def _trainer(recipe: Recipe, callbacks: list[Callback]) -> pl.Trainer:
    given = {key: value for key, value in recipe.trainer.items() if key != "precision"}
    with quiet():
        return pl.Trainer(
            **given,
            precision=precision_for(recipe.trainer.get("precision", "auto")),
            callbacks=callbacks,
            plugins=[checkpoints.PlainCheckpointIO()],
            logger=False,
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
    precision: str,
    resumed: bool,
) -> ModelRecord:
    """Write weights, metrics and configuration, then the record that names them, then drop the saved state."""
    folder = job.project.model_dir(job.task.name, job.record_id)
    digest = None
    if job.store_parameters:
        digest = weight_files.save(module.network.state_dict(), folder / records.WEIGHTS_FILE)
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
        parameters=sum(parameter.numel() for parameter in module.network.parameters()),
        counts={name: len(rows) for name, rows in job.view.rows().items()},
        scores={"val": scores},
        best_epoch=keeper.best_epoch if keeper.best_epoch is not None else len(module.history) - 1,
        epochs=len(module.history),
        monitor=f"{job.recipe.metrics.monitor} ({monitor_direction(job.recipe)})",
        val_used_for=job.val_used_for,
        timings=timings,
        environment=_environment(job.recipe, precision),
        weights=digest,
        notes=(["the validation score is optimistic: it also chose what val_used_for names"] if optimistic else [])
        + (["resumed: timings are of the last part"] if resumed else []),
    )
    record = records.save(job.project, record)
    shutil.rmtree(job.checkpoint, ignore_errors=True)
    return record


def _environment(recipe: Recipe, precision: str) -> dict[str, Any]:
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
        "precision": precision,
    }


def _as_csv(history: list[dict[str, float]]) -> str:
    out = io.StringIO()
    if history:
        table = csv.DictWriter(out, list(history[0]), lineterminator="\n")
        table.writeheader()
        for row in history:
            table.writerow({**row, "epoch": int(row["epoch"])})
    return out.getvalue()
