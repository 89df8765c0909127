"""Builds what a fold is trained with, stage by stage: network, inputs, module and loaders, trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn
from torch.optim import Optimizer

from mlpipe.arch import initial_weights
from mlpipe.arch.gan import Gan
from mlpipe.config.schema import Recipe, Stage
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.joint import JointData
from mlpipe.data.loading.loaders import FoldData
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.learn import checkpoints, class_features, exact_heads, features, monitoring, multitask, stages
from mlpipe.learn.build.loaders import device_steps, fold_data
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.build.network import scale_of, started_network, weights_report
from mlpipe.learn.build.optimizer import build_optimizers, epochs_of, most_steps, steps_per_epoch
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.losses.distilled import Distilled
from mlpipe.learn.machine import device_group
from mlpipe.learn.machine.device_group import DeviceGroup
from mlpipe.learn.machine.hardware import Numerics, numerics_for
from mlpipe.learn.machine.quiet import prepare_torch, quiet
from mlpipe.learn.module import TARGET, FoldModule, Learning, Optimizers, draw_seed
from mlpipe.learn.own_parts import own_metrics


def first_network(job: FoldJob) -> tuple[nn.Module, Numerics, str]:
    """Return the network with its initial weights, precision and layout, and a report on those weights."""
    prepare_torch(job.recipe.threads)
    numerics = numerics_for(job.recipe, job.pack, job.kind)
    seed = draw_seed(job.recipe.seed, job.view.draws, -1)
    if job.joint is None:
        network, report = started_network(job.recipe, job.task, job.pack, seed, job.view.train, job.start)
    else:
        network = multitask.build_network(job.recipe, job.task, job.pack, job.joint, seed=seed, rows=job.view.train)
        report = initial_weights.load(network, job.start) if job.start is not None else weights_report(network)
    if isinstance(network, Gan) and job.start is None:
        class_features.learn(job.recipe, network, job.task, job.view.train, job.pack, seed)
    return network.to(memory_format=torch.channels_last) if numerics.channels_last else network, numerics, report


def first_stage(
    job: FoldJob, watch: Watch, optimizers: Optimizers | None = None
) -> tuple[FoldModule, FoldData | JointData, Numerics]:
    """Return a fold's module with initial weights, its loaders, precision and layout, for its first stage with steps.

    Args:
        job: The fold.
        watch: Asked for stop requests while features are computed.
        optimizers: Used instead of the recipe's.
    """
    network, numerics, _ = first_network(job)
    plan = stages.of(job.recipe)
    stage = next((candidate for candidate in plan if candidate.head is None), plan[0])
    stages.prepare(network, stage, stages.learning(network))
    recipe = stages.recipe_of(job.recipe, stage)
    data = _loaders(job, recipe, job.view, inputs_of(job, network, watch))
    optimizers = optimizers or _optimizers(recipe, data)
    return _module(job, recipe, network, numerics, data, optimizers), data, numerics


def stage_parts(
    job: FoldJob,
    recipe: Recipe,
    network: nn.Module,
    numerics: Numerics,
    watch: Watch,
    stage: Stage,
    number: int | None,
    memory: stages.OptimizerMemory | None,
) -> tuple[FoldModule, FoldData | JointData]:
    """Return the module and the loaders of one stage.

    Args:
        job: The fold.
        recipe: The recipe with the changes of the stage.
        network: The network to train.
        numerics: Precision and layout.
        watch: Asked for stop requests while features are computed.
        stage: The stage.
        number: Its number, counted from 0; None if it is the only one.
        memory: The optimizer state of the previous stage.
    """
    view = stages.view_of(job.view, job.task, stage, number)
    data = _loaders(job, recipe, view, inputs_of(job, network, watch, recipe))
    take_up = partial(memory.load_into, rates=stage.lr is None) if memory is not None and stage.carry else None
    optimizers = _optimizers(recipe, data, take_up)
    return _module(job, recipe, network, numerics, data, optimizers, view.train, number), data


def inputs_of(job: FoldJob, network: nn.Module, watch: Watch, recipe: Recipe | None = None) -> Pack:
    """Return the inputs of the fold: its cached images, or their features if nothing below the heads can ever change.

    Args:
        job: The fold.
        network: The network to train.
        watch: Asked for stop requests while features are computed.
        recipe: The recipe with the changes of the stage; None: the fold's recipe.
    """
    recipe = recipe or job.recipe
    if job.joint is not None or not features.applies(recipe, network):
        return job.pack
    rows = np.union1d(job.view.train, job.view.val)
    device = "cuda" if torch.cuda.is_available() and job.recipe.trainer.get("accelerator") != "cpu" else "cpu"
    return features.inputs(recipe, network.to(device), job.pack, rows, watch.stop_if_asked)


def with_epoch_bound(recipe: Recipe, data: FoldData | JointData) -> Recipe:
    """Return a stage's recipe in which `max_epochs` counts the epochs that begin before `max_steps` is reached.

    Args:
        recipe: The recipe with the changes of the stage.
        data: The stage's loaders.
    """
    if most_steps(recipe) is None or exact_heads.has_no_steps(recipe):
        return recipe
    epochs = epochs_of(recipe, steps_per_epoch(recipe, len(data.train_dataloader())))
    return replace(recipe, trainer={**recipe.trainer, "max_epochs": math.ceil(epochs)})


def build_trainer(
    job: FoldJob, recipe: Recipe, precision: Any, callbacks: list[Callback], loggers: list[Logger], epochs: int
) -> pl.Trainer:
    """Build the trainer of a stage.

    Args:
        job: The fold.
        recipe: The recipe with the changes of the stage.
        precision: Lightning's precision.
        callbacks: The callbacks of the stage.
        loggers: Loggers for its curves.
        epochs: The number of epochs of earlier stages, from which its own are counted on.
    """
    # A callback limits the steps, because Lightning would stop there without a last validation.
    arguments = {key: value for key, value in recipe.trainer.items() if key not in ("precision", "max_steps")}
    arguments["max_epochs"] += epochs
    with quiet():
        trainer = pl.Trainer(
            **device_group.trainer_arguments(arguments, job.shard),
            precision=precision,
            callbacks=callbacks,
            # Given explicitly, so that Lightning does not use a Slurm job's signals and tasks.
            plugins=[checkpoints.PlainCheckpointIO(), LightningEnvironment()],
            logger=loggers or False,
            log_every_n_steps=int(job.files.logging.params.get("every_n_steps", 50)),
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    stages.start_at(trainer, epochs)
    return trainer


def _loaders(job: FoldJob, recipe: Recipe, view: View, pack: Pack) -> FoldData | JointData:
    if job.joint is None:
        return fold_data(recipe, job.task, view, pack, job.num_workers, shard=job.shard)
    return multitask.fold_data(recipe, job.task, view, pack, job.joint, job.num_workers)


def _optimizers(
    recipe: Recipe,
    data: FoldData | JointData,
    take_up: Callable[[nn.Module, Optimizer], None] | None = None,
) -> Optimizers:
    return build_optimizers(recipe, len(data.train_dataloader()), monitoring.monitor_direction(recipe), take_up)


def _module(
    job: FoldJob,
    recipe: Recipe,
    network: nn.Module,
    numerics: Numerics,
    data: FoldData | JointData,
    optimizers: Optimizers,
    rows: Rows | None = None,
    number: int | None = None,
) -> FoldModule:
    """Build a stage's module; `rows` are the rows it is trained on, instead of all training rows of the fold."""
    task, rows = job.task, job.view.train if rows is None else rows
    learning = Learning(
        monitoring.val_metrics(recipe, task),
        recipe.seed,
        job.view.draws,
        device_steps=device_steps(recipe, job.pack.peak),
        channels_last=numerics.channels_last,
        clip=recipe.clip,
        group=_device_group(job, data),
        own_metrics=own_metrics.measures(recipe.metrics, job.kind, len(task.classes)),
        while_training=recipe.metrics.while_training,
        batch_sizes=data.batch_sizes,
        weighing=None if job.joint is None else multitask.weighing(task, job.joint),
    )
    # Rows labelled only by a teacher do not count in class weights.
    rows = rows if job.teaching is None else rows[task.samples.labelled[rows]]
    loss, scale = build_loss(recipe, task, rows), scale_of(task, rows, job.kind)
    loss = loss if job.teaching is None else Distilled(loss, job.teaching, job.kind)
    heads = [LearnedHead(TARGET, job.kind, len(task.classes), loss, scale)]
    heads += [] if job.joint is None else multitask.partner_heads(recipe, job.pack, job.joint)
    return FoldModule(network, heads, optimizers, learning, number)


def _device_group(job: FoldJob, data: FoldData | JointData) -> DeviceGroup:
    """Return the group of processes that train the fold; several processes do not train other tasks with it."""
    if isinstance(data, JointData):
        return DeviceGroup()
    return DeviceGroup(job.shard, data.train_sampler().share, data.val_batches)
