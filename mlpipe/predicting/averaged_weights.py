"""A network whose weights are the mean of those of several trained networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mlpipe.arch import weights as weight_files
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn import multitask
from mlpipe.learn.callbacks.averaging import from_batches
from mlpipe.learn.machine.quiet import prepare_torch
from mlpipe.predicting import model
from mlpipe.predicting.batches import TaskBatches
from mlpipe.predicting.through import through

# The most images that batch statistics are computed from.
_MOST = 2048
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def write(
    recipe: Recipe,
    task: Task,
    pack: Pack,
    rows: Rows,
    files: Sequence[Path],
    out: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """Write the mean of stored weights, with batch statistics that belong to it.

    Averaged weights produce other activations than those that each network's own statistics describe. So the statistics of every
    batch normalisation in which the networks differ are replaced by means over batches of training images, preprocessed as for
    prediction (Izmailov et al. 2018, section 3); statistics in which they agree were frozen, and stay.

    Args:
        recipe: A recipe that the weights were trained with.
        task: The task.
        pack: Its cached images.
        rows: The training images; if there are more than 2048, that many are drawn with the recipe's seed.
        files: The weights of each network.
        out: The file to write.
        stop: Called after every batch; returns whether to stop.

    Returns:
        The hash of the file.

    Raises:
        DataError: When the networks are of different architectures.
        Interrupted: When `stop` says so.
    """
    states = [weight_files.read(path) for path in files]
    mean = weight_files.mean(states)
    layers_of = [name.removesuffix(".running_mean") for name in mean if name.endswith(".running_mean")]
    moved = [name for name in layers_of if not _has_same_statistics(states, name)]
    digest = weight_files.save(mean, out)
    if not moved or len(rows) < 2:
        return digest
    prepare_torch(recipe.threads)
    network = multitask.stored_network(recipe, task, pack, ())
    model.load(network, out)
    drawn = np.random.default_rng(recipe.seed).permutation(rows)[:_MOST]
    placed = model.Model.of_weights(network, recipe, task, pack)
    layers = [part for name, part in network.named_modules() if name in moved and isinstance(part, _BatchNorm)]
    for layer in layers:
        layer.train()
    # Every batch has the same weight, so none may be smaller.
    most = TaskBatches(recipe, task, pack, drawn, 0).most
    drawn = drawn[: len(drawn) // most * most or len(drawn)]
    with from_batches(layers):
        for _ in through(placed, TaskBatches(recipe, task, pack, drawn, 0), stop=stop, where=task.name):
            pass
    return weight_files.save(network.state_dict(), out)


def is_mean(stored: Path, files: Sequence[Path]) -> bool:
    """Return whether stored weights are, except for batch statistics, bit by bit the mean of others.

    Args:
        stored: Their file.
        files: The files of the others.
    """
    weights, mean = (
        _learned_tensors(state)
        for state in (weight_files.read(stored), weight_files.mean([weight_files.read(path) for path in files]))
    )
    return weights.keys() == mean.keys() and all(torch.equal(weights[name], mean[name]) for name in mean)


def _learned_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in _STATISTICS}


def _has_same_statistics(states: Sequence[Mapping[str, Tensor]], layer: str) -> bool:
    """Return whether networks have the same statistics in a layer."""
    names = [f"{layer}.{statistic}" for statistic in _STATISTICS[:2]]
    return all(torch.equal(state[name], states[0][name]) for state in states[1:] for name in names if name in states[0])
