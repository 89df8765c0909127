"""Short trial trainings of a few steps: their trainer and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback

from mlpipe.config.schema import Recipe
from mlpipe.learn.job import Watch
from mlpipe.learn.machine.hardware import Numerics

# Trials end after a number of steps; augmentations that stop in the last epochs must not stop during a trial.
_ENDLESS = 10**6


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    Attributes:
        name: `lr_find` or `batch_size`, the name of its files.
        chosen: The changes to the recipe (`applied`): `lr_found`; or `micro_batch` and `accumulate`.
        facts: Further facts for the user.
        table: The measurements, a row for each step or trial.
    """

    name: str
    chosen: dict[str, float]
    facts: dict[str, Any]
    table: list[dict[str, float]]


def short_trainer(recipe: Recipe, numerics: Numerics, steps: int, callback: Callback, accumulate: Any) -> pl.Trainer:
    """Return a trainer for some steps without validation.

    Args:
        recipe: Specifies the device and gradient clipping.
        numerics: Precision and memory layout.
        steps: Number of optimizer steps.
        callback: Observes the steps.
        accumulate: Batches per step.
    """
    names = ("accelerator", "gradient_clip_val", "gradient_clip_algorithm")
    options = {key: value for key, value in recipe.trainer.items() if key in names}
    return pl.Trainer(
        **options,
        devices=1,
        max_epochs=_ENDLESS,
        max_steps=steps,
        accumulate_grad_batches=int(accumulate or 1),
        limit_val_batches=0,
        precision=numerics.precision,
        plugins=[LightningEnvironment()],
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


class Asking(Callback):
    """Stops on request."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if requested."""
        self._watch.stop_if_asked()
