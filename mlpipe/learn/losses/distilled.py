"""The loss of a student: a teacher's predictions for the same images in addition to their targets."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.learn.losses.cross_entropy import cross_entropies
from mlpipe.learn.losses.labels import facts
from mlpipe.learn.losses.means import mean_of_known, probabilities, weighted_mean
from mlpipe.post.teaching import Teaching


class Distilled(nn.Module):
    """w times the loss of the targets plus 1 - w times the loss of the teacher's predictions (Hinton et al. 2015).

    For classes the latter is T^2 times the cross-entropy between the teacher's probabilities and the student's, both softened
    by T; for labels it is the mean over labels; for numbers it is the recipe's loss with the teacher's numbers as targets.

    Args:
        hard: The recipe's loss.
        teaching: The teacher's predictions, the temperature T and the weight w.
        kind: The kind of predictions.
    """

    def __init__(self, hard: nn.Module, teaching: Teaching, kind: str) -> None:
        super().__init__()
        self.hard, self._facts = hard, facts(kind)
        self._temperature, self._hard_weight = teaching.temperature, teaching.hard_weight
        outputs = torch.from_numpy(np.ascontiguousarray(teaching.outputs, np.float32))
        soft = outputs if self._facts.of_numbers else probabilities(outputs / self._temperature, kind)
        # Not part of a saved state, because it is computed from stored predictions.
        self.register_buffer("soft", soft, persistent=False)
        self.soft: Tensor

    def beside(self, target: Tensor, rows: Tensor) -> Tensor:
        """Return targets, one number per output, joined with the teacher's, shape (n, 2 * outputs); NaN is unknown.

        Args:
            target: Class numbers, shape (n,), -1 if unknown, or labels or numbers, shape (n, outputs).
            rows: The samples' rows in the task, shape (n,).
        """
        soft = self.soft[rows.to(self.soft.device)]
        if target.ndim == 1:
            plain = F.one_hot(target.clamp(min=0), soft.shape[1]).to(soft.dtype)
            target = plain.masked_fill((target < 0)[:, None], torch.nan)
        return torch.cat([target.to(soft.dtype), soft], dim=1)

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch; the recipe's loss for targets without a teacher's, as in validation.

        Args:
            outputs: Shape (n, outputs).
            target: As returned by `beside`, or without a teacher's.
            weight: Image weights, shape (n,).
        """
        width = outputs.shape[1]
        if target.ndim != 2 or target.shape[1] != 2 * width:
            return self._target_loss(outputs, target, weight)
        taught = self._teacher_loss(outputs, target[:, width:], weight)
        if self._hard_weight == 0:
            return taught
        learned = self._target_loss(outputs, target[:, :width], weight)
        return self._hard_weight * learned + (1 - self._hard_weight) * taught

    def _target_loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        loss: Tensor = self.hard(outputs, target) if weight is None else self.hard(outputs, target, weight)
        return loss

    def _teacher_loss(self, outputs: Tensor, soft: Tensor, weight: Tensor | None) -> Tensor:
        if self._facts.of_numbers:
            return self._target_loss(outputs, soft, weight)
        known, truth, softened = ~soft.isnan(), soft.nan_to_num(0.0), outputs / self._temperature
        if self._facts.of_labels:
            values = F.binary_cross_entropy_with_logits(softened, truth, reduction="none")
            return self._temperature**2 * mean_of_known(values, known, weight)
        share = known.all(dim=1).to(outputs.dtype)
        share = share if weight is None else share * weight.to(outputs.dtype)
        values = cross_entropies(softened, truth).sum(dim=1)
        return self._temperature**2 * weighted_mean((values * share).sum(), share.sum())
