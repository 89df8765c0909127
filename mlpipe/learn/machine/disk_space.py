"""Disk space needed for a fold's training, checked before it begins."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mlpipe.config.schema import Recipe
from mlpipe.errors import DiskFull, counted, problem
from mlpipe.learn import exact_heads, stages
from mlpipe.learn.job import FoldJob
from mlpipe.learn.optimizers.parameter_groups import parameter_groups

log = logging.getLogger("mlpipe")

# The newest state, the one before, and the one being written.
_STATES = 3


@dataclass(frozen=True)
class SpaceNeeded:
    """Bytes written by a training.

    Attributes:
        weights: Weights of the record's network, including those of stages that keep their own.
        state: One state to resume from; 0 if none is saved.
        sure: The minimum: the weights of all remaining folds, and one state.
        likely: The same with all states that exist at once if epochs are long.
    """

    weights: int
    state: int
    sure: int
    likely: int


def of(job: FoldJob, network: nn.Module) -> SpaceNeeded:
    """Estimate the minimum that the training of a fold and of those after it writes, without reports and predictions.

    Args:
        job: The fold.
        network: The network to train.
    """
    size, recipe = _bytes(network.state_dict().values()), job.recipe
    learned = _bytes(parameter for parameter in network.parameters() if parameter.requires_grad)
    plan = stages.of(recipe)
    kept_count = sum(stage.keep for stage in plan)
    weights = size * (1 + kept_count) if job.files.store_parameters else 0
    # The last epoch of a stage saves nothing.
    saves = not exact_heads.applies(recipe) and any(stage.epochs > 1 for stage in plan)
    state = size * (1 + job.files.store_best + kept_count) + int(learned * _optimizer_share(recipe)) if saves else 0
    record = weights * job.files.folds_left
    return SpaceNeeded(weights, state, record + state, record + _STATES * state)


def check(job: FoldJob, network: nn.Module) -> None:
    """Refuse a training without enough disk space; warn if it may run out.

    Args:
        job: The fold; its existing states are not counted again.
        network: The network to train.

    Raises:
        DiskFull: With the needed and the free space.
    """
    needed, folder = of(job, network), job.files.checkpoint
    state_size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    free = shutil.disk_usage(_existing(folder)).free + state_size
    facts = f"{_size_text(free)} are free"
    if needed.sure > free:
        need = counted(job.files.folds_left, "fold needs", "folds need")
        wrong = f"{need} {_size_text(needed.sure)} at least for weights and a state to go on from, {facts}"
        raise DiskFull(problem(str(job.files.project.root), wrong))
    if needed.likely > free:
        forecast = f"weights and states to go on from may take {_size_text(needed.likely)}, {facts}"
        log.warning(f"{job.title}: {forecast}")


def _optimizer_share(recipe: Recipe) -> float:
    """Return an optimizer's state size relative to its parameters, measured by one step of a small matrix."""
    parameter = nn.Parameter(torch.ones(8, 8))
    holder = nn.Module()
    holder.register_parameter("one", parameter)
    optimizer = recipe.optimizer.build(parameter_groups(holder))

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = parameter.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    loss()
    optimizer.step(loss)
    tensors = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))
    return _bytes(value for value in tensors if value.numel() >= parameter.numel()) / _bytes([parameter])


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
