"""Training a fold in several processes (`trainer.devices=2`): each image counts once, in training and in scores.

PyTorch's DistributedDataParallel (Li et al. 2020) averages the gradients, run by Lightning. This module exchanges the rest:
validation logits in the order of a single process, batch statistics, sums, and decisions that depend on a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, distributed, nn

from mlpipe.data.sampling import WHOLE, Shard, in_order
from mlpipe.errors import ProjectError, problem

# The kept part of an evaluation batch: rows, targets and, if validation is weighted, weights.
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class DeviceGroup:
    """The processes that train a fold, as seen by one of them.

    Attributes:
        shard: This process's part.
        share: Maps the number of a training batch to the weight of this process's mean in the mean over processes.
        val_batches: Number of batches of all validation images.
    """

    shard: Shard = WHOLE
    share: Callable[[int], float] = lambda number: 1.0
    val_batches: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether there is only one process."""
        return self.shard.ranks == 1

    def all_batches(self, batches: list[Batch]) -> list[Batch]:
        """Return every process's evaluation batches, in the order of a single process.

        Args:
            batches: This process's batches, from an `OrderedBatches`.
        """
        if self.is_alone:
            return batches
        # Every process gets all rows, not only the first: each computes the same metrics from them, so that schedules,
        # stops and the best epoch agree without further messages. They are sent as objects, which works for batches of
        # any size.
        device = batches[0][0].device
        everyone: list[Any] = [None] * self.shard.ranks
        distributed.all_gather_object(everyone, [tuple(part.cpu() for part in batch) for batch in batches])
        ordered = in_order(everyone, self.val_batches)
        return [tuple(part.to(device) for part in batch) for batch in ordered]

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum over processes of a tensor of any shape."""
        # In place, because the caller's tensor is not needed otherwise. Sums and counts are added over processes before
        # the division; a mean of the processes' means would be wrong if one has fewer images.
        if not self.is_alone:
            distributed.all_reduce(values)
        return values

    def share_buffers(self, module: nn.Module) -> None:
        """Copy the first process's batch statistics to every process, so that all evaluate the same network."""
        # Weights are equal in all processes, because gradients are averaged; running statistics depend on each process's
        # own images.
        for buffer in () if self.is_alone else module.buffers():
            distributed.broadcast(buffer, 0)


ALONE = DeviceGroup()


class Rounds:
    """Collects every process's results for its evaluation batches in the first process, in the order of a single process.

    A round is one batch of each process, so that only one of each is in memory; in the last round some may have none.

    Args:
        shard: This process's part.
        batches: Number of batches without sharding; not used with a single process.
    """

    def __init__(self, shard: Shard, batches: int) -> None:
        self._shard, self._batches, self._done = shard, batches, 0

    def gathered_values(self, values: npt.NDArray[Any] | None) -> list[npt.NDArray[Any]]:
        """Return the values of a round in the first process, an empty list in the others.

        Args:
            values: This process's values; None if it has none in this round.
        """
        if self._shard.ranks == 1:
            return [] if values is None else [values]
        everyone: list[Any] | None = [None] * self._shard.ranks if self._shard.rank == 0 else None
        distributed.gather_object(values, everyone)
        first, self._done = self._done * self._shard.ranks, self._done + 1
        # A process without a batch of its own has computed the first one too.
        return [np.asarray(part) for part in (everyone or [])[: self._batches - first]]

    def rest(self) -> list[npt.NDArray[Any]]:
        """Return the values of the last round, if this process had no batch left for it."""
        if self._shard.ranks == 1 or self._done >= math.ceil(self._batches / self._shard.ranks):
            return []
        return self.gathered_values(None)


def rounds(trainer: pl.Trainer) -> Rounds:
    """Return the rounds of a validation that is starting."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    several = trainer.world_size > 1
    return Rounds(Shard(trainer.global_rank, trainer.world_size), data.val_batches if several else 0)


def mean(value: Tensor) -> Tensor:
    """Return the mean of a number over the processes of the group; the number itself if there is one process."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return value
    # A copy: all_reduce writes in place, and the closure's own loss is still needed for its gradients.
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def trainer_arguments(given: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
    """Return Lightning's arguments for one process of a device group: `devices` becomes the size of the group.

    Args:
        given: The arguments of the `trainer` section.
        shard: The process's part; the program has started the processes, so that Lightning starts none.
    """
    rest = {key: value for key, value in given.items() if key != "devices"}
    if shard.ranks == 1:
        return {**rest, "devices": 1}
    # Batch statistics are shared before each validation, because processes may then have different numbers of batches.
    strategy = DDPStrategy(broadcast_buffers=False)
    return {**rest, "devices": shard.ranks, "strategy": strategy}


def shared_decision(trainer: pl.Trainer, wish: bool) -> bool:
    """Return the first process's decision, because processes with different clocks could decide differently."""
    return wish if trainer.world_size == 1 else bool(trainer.strategy.broadcast(wish))


def check_devices(saved: Any, trainer: pl.Trainer) -> None:
    """Refuse a state saved by another number of processes, because their batches differ.

    Raises:
        ProjectError: When the numbers differ.
    """
    if int(saved) != trainer.world_size:
        wrong = f"its saved state is of {saved} devices"
        raise ProjectError(problem("continue", wrong, got=trainer.world_size, fix="use as many, or start a new run"))


def join(shard: Shard, meeting_point: str, backend: str) -> None:
    """Add this process to a device group; returns when all processes have joined.

    Args:
        shard: The process's part.
        meeting_point: A file that does not exist yet, the same for all processes.
        backend: `gloo` or `nccl`.
    """
    if backend == "nccl":
        # Before the group exists, because NCCL uses the device that is current when it first communicates.
        torch.cuda.set_device(shard.rank)
    # A file instead of a port, which another run on this machine could use.
    distributed.init_process_group(
        backend, init_method=f"file://{meeting_point}", rank=shard.rank, world_size=shard.ranks
    )


def meet(shard: Shard) -> None:
    """Wait until all processes of a device group have reached this point.

    Args:
        shard: This process's part.
    """
    if shard.ranks > 1:
        distributed.barrier()
