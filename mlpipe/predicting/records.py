"""Predict with a stored fold: logits of any rows, written batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback

from mlpipe import kinds
from mlpipe.arch import weights as weight_files
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import FoldData
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ProjectError, TrainingError, problem
from mlpipe.learn import multitask, recovery, tta
from mlpipe.learn.build.loaders import fold_data
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.callbacks.callbacks import Guard
from mlpipe.learn.hardware import Numerics, numerics_for
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.kind import PixelBatch
from mlpipe.learn.kind import of as learn_part
from mlpipe.learn.module import TARGET, FoldModule, Learning
from mlpipe.learn.quiet import prepare_torch, quiet
from mlpipe.runs import maps, predictions

log = logging.getLogger("mlpipe")


@dataclass(frozen=True)
class Wanted:
    """Rows to predict.

    Attributes:
        name: The task's name in the predictions, such as `digits+nested?2`.
        split: `val`, `test` or `unlabelled`.
        task: The task that the rows are of.
        pack: Its cached images.
        rows: Row numbers.
    """

    name: str
    split: str
    task: Task
    pack: Pack
    rows: Rows


def predict(
    recipe: Recipe,
    weights: Path,
    fold: int,
    wanted: Sequence[Wanted],
    out: Path,
    *,
    num_workers: int,
    should_stop: Callable[[], bool] = lambda: False,
    co_tasks: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Write the logits of all wanted rows to one Parquet file; never more than a few thousand rows in memory.

    Args:
        recipe: The recipe that the weights were trained with; its `tta` says what each image is predicted from.
        weights: The file of weights.
        fold: The fold's number, for the rows.
        wanted: What to predict; empty row sets are skipped.
        out: The file to write.
        num_workers: Loader processes.
        should_stop: Asked after every batch.
        co_tasks: What the record says of tasks that were learned with it.

    Returns:
        How many rows were written.

    Raises:
        ProjectError: When the weights are missing or do not fit the recipe.
    """
    prepare_torch(recipe.threads)
    state = _state(weights)
    written = 0
    kind = kinds.decide(wanted[0].task.kind, recipe.loss)
    pairs = {(part.name, part.split) for part in wanted}
    with predictions.writer(out, pairs, kind) as sink, _pixels(out, pairs, kind) as pixels:
        for part in wanted:
            if len(part.rows) == 0:
                continue
            chosen = numerics_for(recipe, part.pack, kind)
            network = multitask.stored_network(recipe, part.task, part.pack, co_tasks)
            load(network, state, weights)
            if chosen.channels_last:
                network = network.to(memory_format=torch.channels_last)
            if not learn_part(kind).VIEWS_AGREE:
                tta.refuse_views(recipe.tta)
            views = recipe.tta.build(part.pack.peak)
            learning = Learning([], 0, fold, channels_last=chosen.channels_last, views=views)
            head = LearnedHead(TARGET, kind, len(part.task.classes), _loss(recipe, part, kind))
            module = FoldModule(network, [head], no_optimizers, learning)
            data = fold_data(recipe, part.task, _only(part), part.pack, num_workers)
            take = partial(_stored, sink, part, fold, pixels, head)
            through(recipe, chosen, module, data, part.rows, take, where=part.name, should_stop=should_stop)
            written += len(part.rows)
    return written


def through(
    recipe: Recipe,
    chosen: Numerics,
    module: FoldModule,
    data: FoldData,
    rows: Rows,
    take: Callable[[Mapping[str, Any], Any], None],
    *,
    where: str,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Hand what a network gives for some rows on, with half as many images at a time from where memory ran out.

    Args:
        recipe: Which accelerator is used.
        chosen: How numbers are computed.
        module: The network; it learns nothing.
        data: Where the images come from.
        rows: Row numbers, in the order in which they are given.
        take: Is given each batch and what came out for it.
        where: What is predicted, for sentences.
        should_stop: Asked after every batch.

    Raises:
        TrainingError: When memory runs out with a single image.
    """
    given = _Given(take)
    at_once = data.eval_batch_size
    while given.rows < len(rows):
        trainer = _trainer(recipe, chosen, [Guard(should_stop, where), given])
        loader = data.rows_dataloader(rows[given.rows :], at_once)
        with quiet():
            sentence = recovery.shortage(partial(trainer.predict, module, loader, return_predictions=False))
        if not sentence:
            return
        if at_once == 1:
            fix = "use smaller images (preprocessing.size) or a smaller network"
            raise TrainingError(f"predicting {where}: memory ran out with one image at a time ({sentence}); {fix}")
        at_once = max(1, at_once // 2)
        log.warning(f"predicting {where}: memory ran out; from here on {at_once} images at a time")


class _Given(Callback):
    """Hands every batch and its outputs on, and counts their rows."""

    def __init__(self, take: Callable[[Mapping[str, Any], Any], None]) -> None:
        self._take = take
        self.rows = 0

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.rows += len(batch["row"])
        self._take(batch, outputs)


def _stored(
    sink: predictions.PredictionsWriter,
    wanted: Wanted,
    fold: int,
    pixels: maps.MapsWriter | None,
    head: LearnedHead,
    batch: Mapping[str, Any],
    outputs: Any,
) -> None:
    """Write a batch's logits; of masks and images counts, and maps to a writer of their own."""
    rows = batch["row"].cpu().numpy()
    ids = [wanted.task.samples.ids[row] for row in rows]
    found = head.part.prediction(head.criterion, outputs, batch)
    if not isinstance(found, PixelBatch):
        targets = wanted.task.samples.targets[rows]
        sink.add(wanted.name, wanted.split, fold, ids, targets, found.cpu().numpy())
        return
    assert pixels is not None
    for place, sample in enumerate(ids):
        has_mask = found.true is not None and not np.isnan(found.targets[place]).all()
        true = found.true[place] if found.true is not None and has_mask else None
        pixels.add(wanted.name, wanted.split, sample, found.chances[place], true)
    sink.add(wanted.name, wanted.split, fold, ids, found.targets, found.outputs)


def _pixels(
    out: Path, replacing: Collection[tuple[str, str]], kind: str
) -> AbstractContextManager[maps.MapsWriter | None]:
    """Where the maps of a record go, beside its table; nowhere for other kinds."""
    return maps.writer(out.with_suffix(maps.SUFFIX), replacing) if kind in maps.KINDS else nullcontext()


def _state(weights: Path) -> dict[str, torch.Tensor]:
    if not weights.is_file():
        raise ProjectError(
            problem(str(weights), "the record has no weights", fix="train with mode.store_parameters=true")
        )
    return weight_files.read(weights)


def load(network: torch.nn.Module, state: dict[str, torch.Tensor], weights: Path) -> None:
    """Load a record's weights into the network of its recipe.

    Args:
        network: The network.
        state: What the file holds.
        weights: The file, for the sentence.

    Raises:
        ProjectError: When one is missing, too much, or of another shape.
    """
    match = weight_files.load(network, state)
    if match.missing or match.unexpected or match.misshapen:
        raise ProjectError(problem(str(weights), f"does not fit its recipe: {match.sentence()}"))


def _trainer(recipe: Recipe, chosen: Numerics, callbacks: list[Callback]) -> pl.Trainer:
    with quiet():
        return pl.Trainer(
            accelerator=recipe.trainer.get("accelerator", "auto"),
            devices=1,
            precision=chosen.precision,
            plugins=[LightningEnvironment()],
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )


def _loss(recipe: Recipe, wanted: Wanted, kind: str) -> torch.nn.Module:
    """What judges predictions that have no target: an equation."""
    return build_loss(recipe, wanted.task, wanted.rows) if kind == "solutions" else torch.nn.Identity()


def _only(wanted: Wanted) -> View:
    return View(wanted.name, 0, wanted.rows, wanted.rows, wanted.rows, wanted.rows)


def no_optimizers(network: torch.nn.Module) -> Any:
    """For a module that only predicts."""
    raise AssertionError("prediction has no optimizer")
