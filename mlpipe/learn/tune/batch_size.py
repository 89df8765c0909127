"""The largest batch that fits into memory, and the recipe's batch split into equal parts that fit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import pytorch_lightning as pl
import torch

from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.loading.loaders import FoldData
from mlpipe.errors import ConfigError, TrainingError, counted, problem
from mlpipe.learn.build import fold, loaders
from mlpipe.learn.build.optimizer import build_optimizer
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.machine.hardware import Numerics
from mlpipe.learn.machine.quiet import quiet
from mlpipe.learn.recovery import is_out_of_memory
from mlpipe.learn.tune.short_runs import Asking, Tuned, short_trainer
from mlpipe.names import path_of


def batch_size(
    *, cap: Annotated[int, ">= 1"] | None = None, headroom: Annotated[float, ">= 0", "< 1"] = 0.1
) -> MemoryTest:
    """Find how many images fit into memory at once, by doubling their number; batches are then split into such parts.

    The gradients of the parts add up to those of the batch, so that `sampling.batch_size` remains the number of images per
    optimizer step. Batch normalisation sees one part at a time.

    Args:
        cap: The largest number of images to try; None: sampling.batch_size.
        headroom: The share of a GPU's memory that stays free.
    """
    return MemoryTest(cap, headroom)


@dataclass(frozen=True)
class MemoryTest:
    """A search for the largest number of images that fit into memory at once.

    Attributes:
        cap: The largest number to try; None: the recipe's batch size.
        headroom: The share of a GPU's memory that stays free.
    """

    cap: int | None
    headroom: float

    def find(self, job: FoldJob, watch: Watch) -> Tuned:
        """Train two steps with increasing numbers of images, and split the recipe's batch into equal parts that fit.

        Raises:
            ConfigError: When no part of more than one image divides the batch.
            TrainingError: When not even two images fit.
            Interrupted: When a stop was requested.
        """
        batch = loaders.batch_size(job.recipe)
        most = min(self.cap or batch, batch, len(job.view.train))
        # Memory does not depend on the rate, and a schedule might need a validation, which does not happen here.
        module, own_data, numerics = fold.first_stage(
            job, watch, lambda network: (build_optimizer(job.recipe, network), {})
        )
        pack = fold.inputs_of(job, module.network, watch)
        table: list[dict[str, float]] = []

        def fits(size: int) -> bool:
            sampling = Component("sampling", path_of("sampling", "full"), {"batch_size": size})
            recipe = replace(job.recipe, sampling=sampling)
            data = loaders.fold_data(recipe, job.task, job.view, pack, 0)
            module.learn_batches(data.batch_sizes)
            good = self._fits(recipe, numerics, module, data, watch)
            table.append({"images": size, "fits": float(good)})
            watch.log(f"{counted(size, 'image')} at a time: {'fits' if good else 'does not fit'} into memory")
            return good

        fitting = largest_that_fits(fits, most)
        # No batch has more images than an epoch, in which some images may occur several times.
        largest = max(size for sizes in own_data.batch_sizes(0) for size in sizes)
        micro = batch if fitting >= largest else part_of_batch(batch, fitting)
        chosen_sizes: dict[str, float] = {"micro_batch": micro, "accumulate": batch // micro}
        return Tuned("batch_size", chosen_sizes, {"batch_size": batch, "largest_that_fits": fitting}, table)

    def _fits(
        self, recipe: Recipe, numerics: Numerics, module: pl.LightningModule, data: FoldData, watch: Watch
    ) -> bool:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            with quiet():
                short_trainer(recipe, numerics, 2, Asking(watch), 1).fit(module, datamodule=data)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # The traceback keeps the batch's tensors alive.
            error.__traceback__ = None
            return False
        finally:
            module.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if not torch.cuda.is_available() or recipe.trainer.get("accelerator") == "cpu":
            return True
        _, total = torch.cuda.mem_get_info()
        return torch.cuda.max_memory_reserved() <= (1 - self.headroom) * total


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest of 2, 4, 8, ... and `most` that fits, trying them in this order until one does not fit.

    Raises:
        TrainingError: When the first one does not fit.
    """
    size, largest = min(2, most), 0
    while fits(size):
        largest = size
        if size == most:
            return largest
        size = min(2 * size, most)
    if largest == 0:
        wrong = f"not even {counted(size, 'image fits', 'images fit')} into memory"
        raise TrainingError(problem("tune=batch_size", wrong, fix="choose a smaller arch or preprocessing.size"))
    return largest


def part_of_batch(batch: int, fitting: int) -> int:
    """Return the largest part of at most `fitting` images that divides a batch.

    Raises:
        ConfigError: When that is a single image, from which batch normalisation cannot learn.
    """
    part = max(size for size in range(1, min(fitting, batch) + 1) if batch % size == 0)
    if part == 1 and batch > 1:
        fit = counted(fitting, "image fits", "images fit")
        wrong = f"{fit} into memory, and {batch} cannot be split into equal parts of 2 to {fitting}"
        raise ConfigError(problem("sampling.batch_size", wrong, got=batch, fix="use a power of two"))
    return part
