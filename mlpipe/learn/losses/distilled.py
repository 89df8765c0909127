"""The loss of a student: what a teacher gave for the same images, beside their targets."""

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
    """w times the loss of the targets, plus 1 - w times that of the teacher's predictions (Hinton et al. 2015).

    The latter is T^2 times the cross-entropy of the teacher's probabilities softened by T with the student's alike; for
    labels the mean of each one's; for numbers the loss of the recipe itself, with the teacher's numbers as targets.

    Args:
        hard: The recipe's loss.
        teaching: What the teacher predicted, temperature T and weight w.
        kind: What is predicted.
    """

    def __init__(self, hard: nn.Module, teaching: Teaching, kind: str) -> None:
        super().__init__()
        self.hard, self._facts = hard, facts(kind)
        self._temperature, self._hard_weight = teaching.temperature, teaching.hard_weight
        outputs = torch.from_numpy(np.ascontiguousarray(teaching.outputs, np.float32))
        soft = outputs if self._facts.of_numbers else probabilities(outputs / self._temperature, kind)
        # A saved state needs none of it: it is made of stored predictions.
        self.register_buffer("soft", soft, persistent=False)
        self.soft: Tensor

    def beside(self, target: Tensor, rows: Tensor) -> Tensor:
        """Targets as numbers for each output, and right of them the teacher's, shape (n, 2 * outputs); NaN is unknown.

        Args:
            target: Class numbers, -1 where there is none, shape (n,), or labels or numbers, shape (n, outputs).
            rows: The samples' rows in the task, shape (n,).
        """
        soft = self.soft[rows.to(self.soft.device)]
        if target.ndim == 1:
            plain = F.one_hot(target.clamp(min=0), soft.shape[1]).to(soft.dtype)
            target = plain.masked_fill((target < 0)[:, None], torch.nan)
        return torch.cat([target.to(soft.dtype), soft], dim=1)

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss of a batch; of targets without a teacher's, as validation has them, the recipe's own.

        Args:
            outputs: Shape (n, outputs).
            target: As `beside` gives it, or without a teacher.
            weight: Of images, shape (n,).
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
