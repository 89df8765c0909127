"""Training a fold in several processes (`trainer.devices=2`): each image counts once, in training and in scores.

PyTorch's DistributedDataParallel (Li et al. 2020) averages the gradients, Lightning runs it. What is exchanged besides is
here: validation logits in the order of one process, batch statistics, sums, and decisions that depend on a clock.
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

# What is kept of an evaluation batch: rows, targets and, where validation is weighed, weights.
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class DeviceGroup:
    """The processes that learn a fold, as one of them sees them.

    Attributes:
        shard: This process's part.
        share: What its mean over a training batch of a number counts in the mean over processes.
        val_batches: How many batches all validation images make.
    """

    shard: Shard = WHOLE
    share: Callable[[int], float] = lambda number: 1.0
    val_batches: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether there is one process only."""
        return self.shard.ranks == 1

    def all_batches(self, batches: list[Batch]) -> list[Batch]:
        """Every process's evaluation batches, in the order in which one process has them.

        Args:
            batches: This process's, of an `OrderedBatches`.
        """
        if self.is_alone:
            return batches
        # Every process gets all rows, not only the first: each computes the same metrics from them, so that schedules,
        # stops and the best epoch are decided alike without another message. They travel as objects, which works for
        # batches of any size.
        device = batches[0][0].device
        everyone: list[Any] = [None] * self.shard.ranks
        distributed.all_gather_object(everyone, [tuple(part.cpu() for part in batch) for batch in batches])
        ordered = in_order(everyone, self.val_batches)
        return [tuple(part.to(device) for part in batch) for batch in ordered]

    def summed(self, values: Tensor) -> Tensor:
        """The sum over processes, of a tensor of any shape."""
        # In place: the caller gives a tensor that nothing else needs. Sums and counts are summed over processes, and
        # divided only then; a mean of the processes' means would be wrong where one has fewer images.
        if not self.is_alone:
            distributed.all_reduce(values)
        return values

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's batch statistics, so that all evaluate the same network."""
        # Weights are alike in all processes, as all gradients are averaged; running statistics are of each one's own
        # images.
        for buffer in () if self.is_alone else module.buffers():
            distributed.broadcast(buffer, 0)


ALONE = DeviceGroup()


class Rounds:
    """Hands what every process makes of its evaluation batches to the first one, in the order in which one process has them.

    A round is a batch of each process, so that no more than one of each is in memory; in the last one some may have none.

    Args:
        shard: This process's part.
        batches: How many batches there are without any shard; not used by one process alone.
    """

    def __init__(self, shard: Shard, batches: int) -> None:
        self._shard, self._batches, self._done = shard, batches, 0

    def gathered_values(self, values: npt.NDArray[Any] | None) -> list[npt.NDArray[Any]]:
        """The values of a round in the first process, none in the others.

        Args:
            values: This process's; None: it has none in this round.
        """
        if self._shard.ranks == 1:
            return [] if values is None else [values]
        everyone: list[Any] | None = [None] * self._shard.ranks if self._shard.rank == 0 else None
        distributed.gather_object(values, everyone)
        first, self._done = self._done * self._shard.ranks, self._done + 1
        # A process without any batch has computed the first one too.
        return [np.asarray(part) for part in (everyone or [])[: self._batches - first]]

    def rest(self) -> list[npt.NDArray[Any]]:
        """The values of the last round, where this process had no batch left for it."""
        if self._shard.ranks == 1 or self._done >= math.ceil(self._batches / self._shard.ranks):
            return []
        return self.gathered_values(None)


def rounds(trainer: pl.Trainer) -> Rounds:
    """The rounds of a validation that begins."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    several = trainer.world_size > 1
    return Rounds(Shard(trainer.global_rank, trainer.world_size), data.val_batches if several else 0)


def mean(value: Tensor) -> Tensor:
    """The mean over processes that have met, of a number of each; where there is one process, the number itself."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return value
    # A copy: all_reduce writes in place, and the closure's own loss is still needed for its gradients.
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def trainer_arguments(given: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
    """Lightning's arguments for one process of a device group: `devices` of `trainer` becomes the size of the group.

    Args:
        given: The arguments of the `trainer` section.
        shard: The process's part; the program has started the processes, so that Lightning starts none.
    """
    rest = {key: value for key, value in given.items() if key != "devices"}
    if shard.ranks == 1:
        return {**rest, "devices": 1}
    # Batch statistics are shared before each validation: processes may then have different numbers of batches.
    strategy = DDPStrategy(broadcast_buffers=False)
    return {**rest, "devices": shard.ranks, "strategy": strategy}


def shared_decision(trainer: pl.Trainer, wish: bool) -> bool:
    """The first process's decision, where processes could decide differently because their clocks do."""
    return wish if trainer.world_size == 1 else bool(trainer.strategy.broadcast(wish))


def check_devices(saved: Any, trainer: pl.Trainer) -> None:
    """Refuse a state that another number of processes saved: their batches were others.

    Raises:
        ProjectError: When it is another one.
    """
    if int(saved) != trainer.world_size:
        wrong = f"its saved state is of {saved} devices"
        raise ProjectError(problem("continue", wrong, got=trainer.world_size, fix="use as many, or start a new run"))


def join(shard: Shard, meeting_point: str, backend: str) -> None:
    """Make this process one of a device group; returns when all have come.

    Args:
        shard: Its part.
        meeting_point: A file that does not exist yet, the same for all of them.
        backend: `gloo` or `nccl`.
    """
    if backend == "nccl":
        # Before the group exists: NCCL takes the device that is current when it first communicates.
        torch.cuda.set_device(shard.rank)
    # A file and no port, which another run on this machine could have taken.
    distributed.init_process_group(
        backend, init_method=f"file://{meeting_point}", rank=shard.rank, world_size=shard.ranks
    )


def meet(shard: Shard) -> None:
    """Wait here until all processes of a device group have come.

    Args:
        shard: This process's part.
    """
    if shard.ranks > 1:
        distributed.barrier()
