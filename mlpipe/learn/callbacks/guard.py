"""Stop on request, and when the loss, a gradient or a weight is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from mlpipe.errors import Interrupted, counted
from mlpipe.learn.recovery import NotFinite


class Guard(Callback):
    """Stops after the current batch on request, and when the loss, a gradient or a weight is not finite.

    Args:
        should_stop: Whether a stop was requested.
        where: The task and fold, for messages.
        stage: The number of the stage.
    """

    def __init__(self, should_stop: Callable[[], bool], where: str, stage: int = 0) -> None:
        self._should_stop, self._where, self._stage = should_stop, where, stage
        self._gradients: Tensor | None = None
        self._last_norm: Tensor | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the gradient norm of the last epoch."""
        self._gradients = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Check the loss before the backward pass."""
        if loss.device.type == "cpu" and not torch.isfinite(loss):
            raise self._not_finite_error(
                trainer, pl_module, f"the loss is {float(loss.detach())}", trainer.fit_loop.batch_idx
            )

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the gradients, unless a scaler of 16-bit gradients skips such steps itself."""
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return
        norm = _norm(parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None)
        self._last_norm = norm
        if norm is None:
            return
        # On a GPU the norm is checked together with the loss, so that not every step has to wait for it.
        self._gradients = norm if self._gradients is None else torch.maximum(self._gradients, norm)
        if norm.device.type == "cpu":
            self._check_gradients(trainer, pl_module, trainer.fit_loop.batch_idx)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the weights before they are validated and saved, because the last step of an epoch may have broken them."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        norm = _norm(tensor for tensor in pl_module.state_dict().values() if tensor.is_floating_point())
        if norm is not None and not torch.isfinite(norm):
            raise self._not_finite_error(
                trainer, pl_module, "the weights are no longer finite", trainer.fit_loop.batch_idx
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss, and whether a stop was requested."""
        loss = outputs["loss"]
        cheap = loss.device.type == "cpu" or batch_idx % 20 == 0 or batch_idx + 1 == trainer.num_training_batches
        if cheap and not torch.isfinite(loss):
            raise self._not_finite_error(trainer, pl_module, f"the loss is {float(loss)}", batch_idx)
        if cheap:
            self._check_gradients(trainer, pl_module, batch_idx)
        self._stop_if_asked()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop if requested."""
        self._stop_if_asked()

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop if requested."""
        self._stop_if_asked()

    def last_norm(self) -> Tensor | None:
        """Return the norm of the last step's gradients before clipping; None if it was not computed."""
        return self._last_norm

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Interrupted("stopped as asked")

    def _check_gradients(self, trainer: pl.Trainer, module: pl.LightningModule, batch: int) -> None:
        if self._gradients is not None and not torch.isfinite(self._gradients):
            raise self._not_finite_error(trainer, module, "the gradients are not finite", batch)

    def _not_finite_error(self, trainer: pl.Trainer, module: pl.LightningModule, symptom: str, batch: int) -> NotFinite:
        broken = [name for name, tensor in module.named_parameters() if not torch.isfinite(tensor).all()]
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        at = f"{self._where}: {symptom} in epoch {trainer.current_epoch + 1}, batch {batch + 1}"
        if broken:
            cause = f"{counted(len(broken), 'parameter is', 'parameters are')} no longer finite, {broken[0]} first"
        else:
            cause = "the parameters are finite, so the logits or the loss overflowed"
        sentence = (
            f"{at} (learning rate {rate:.3g}): {cause}; lower optimizer.lr, "
            "set optimizer.clip_norm=1 or use trainer.precision=32-true"
        )
        return NotFinite(sentence, trainer.current_epoch, self._stage, symptom)


def _norm(tensors: Iterable[Tensor]) -> Tensor | None:
    """Return the norm of all tensors together, not finite if one of them is not; None without tensors."""
    tensor_list = list(tensors)
    return torch.nn.utils.get_total_norm(tensor_list) if tensor_list else None
