"""Learn masks: counts of pixels instead of logits that are kept, and probabilities of every pixel for the project."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpipe.data.task import IGNORED
from mlpipe.learn.module import FoldModule
from mlpipe.runs import maps


@dataclass(frozen=True)
class PixelBatch:
    """What is predicted for a batch of images: probabilities of classes, or values.

    Attributes:
        outputs: Predicted pixels and hits of each class, shape (n, 2 * classes), or sums of errors.
        targets: True pixels of each class, NaN without a mask, shape (n, classes), or counts of values.
        chances: Probabilities in 255ths, shape (n, classes, *spatial), or values.
        true: True class numbers, shape (n, *spatial), or values; None where no image has a target.
    """

    outputs: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    chances: npt.NDArray[np.uint8] | maps.Values
    true: npt.NDArray[np.uint8] | maps.Values | None


class MapsModule(FoldModule):
    """Learns one fold of which every pixel is predicted, and keeps sums of each image in place of maps.

    The validation loss is the mean of the batches' losses, each with as much weight as it has images.
    """

    def _kept(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Keep what the metrics are made of, each row with its batch's loss behind it."""
        self._seen.append((torch.cat([outputs, loss.double().expand(len(outputs), 1)], 1), targets))

    def _validated(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return logits[:, -1].mean(), logits[:, :-1]


class SegmentationModule(MapsModule):
    """Learns one fold of images with masks; it keeps counts, see `mlpipe.post.measures.mask_metrics`."""

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:  # type: ignore[override]
        """Count the pixels of each class: maps of a whole split would not fit into memory. Callbacks get the logits."""
        logits, target = self._outputs(self._laid_out(batch["images"])), batch["target"].long()
        loss = self._loss(logits, target, None)
        self._kept(*counted(logits.argmax(1), target, logits.shape[1]), loss)
        return logits

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> PixelBatch:  # type: ignore[override]
        """Counts and probabilities of a batch."""
        logits = super().predict_step(batch, batch_idx)
        chances = logits.softmax(1).cpu().numpy()
        predicted, classes = chances.argmax(1), chances.shape[1]
        target = batch["target"]
        true = target.cpu().numpy() if target.dtype == torch.uint8 else None
        each = [maps.counts(one, None if true is None else true[place], classes) for place, one in enumerate(predicted)]
        quantised = np.stack([maps.quantised(one) for one in chances])
        return PixelBatch(np.stack([one for one, _ in each]), np.stack([one for _, one in each]), quantised, true)

    def _augmented(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self._laid_out(batch["images"]), batch["target"].long()


def counted(predicted: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Pixels of each image, on the device that they lie on.

    Args:
        predicted: Class numbers, shape (n, height, width), or with other spatial axes.
        target: The same, `IGNORED` where pixels do not count.
        classes: How many classes there are.

    Returns:
        Predicted pixels and hits, shape (n, 2 * classes), and true pixels, shape (n, classes), both float64.
    """
    known = target != IGNORED
    first = torch.arange(len(target), device=target.device).view(-1, *[1] * (target.ndim - 1)) * classes

    def count(numbers: Tensor, where: Tensor) -> Tensor:
        found = torch.bincount((numbers + first)[where], minlength=len(target) * classes)
        return found.view(len(target), classes).double()

    hits = known & (predicted == target)
    return torch.cat([count(predicted, known), count(predicted, hits)], 1), count(target, known)
