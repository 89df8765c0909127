"""Trained heads: the kind of each output, its loss, and the unit in which its numbers are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.data.augment import batches
from mlpipe.data.augment.batches import DeviceStep
from mlpipe.kinds import Kind
from mlpipe.learn import kind
from mlpipe.learn.kind import Loss, Part, Scale
from mlpipe.learn.losses.distilled import Distilled
from mlpipe.learn.machine.hardware import full_precision


@dataclass(frozen=True, eq=False)
class LearnedHead:
    """A head of the network with its loss.

    Attributes:
        name: The head's name in the network.
        kind: The kind of its predictions.
        outputs: The number of its outputs.
        loss: Maps outputs and targets to a mean.
        scale: The unit in which the loss compares numbers; None: numbers are not scaled.
        brightness: Factor of pixels that makes them as bright as the pivot's.
    """

    name: str
    kind: str
    outputs: int
    loss: nn.Module
    scale: Scale | None = None
    brightness: float = 1.0

    @property
    def part(self) -> Part:
        """How its kind is trained."""
        return kind.of(self.kind)

    @property
    def facts(self) -> Kind:
        """The facts about its kind."""
        return kinds.of(self.kind)

    @property
    def criterion(self) -> Loss:
        """The loss in the head's unit."""
        return self.loss if self.scale is None else self.mean_loss

    def mean_loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch, in standard deviations of the target for numbers.

        Args:
            outputs: The network's outputs.
            target: Targets in the form of the loss, with a teacher's to their right if there is one.
            weight: Image weights; given only if a task has them, since torch's losses take none.
        """
        if self.scale is not None:
            mean, std = (part.to(outputs.device) for part in self.scale)
            times = target.shape[1] // outputs.shape[1]
            outputs, target = (outputs - mean) / std, (target - mean.repeat(times)) / std.repeat(times)
        with full_precision(outputs.device.type):
            loss: Tensor = self.loss(outputs, target) if weight is None else self.loss(outputs, target, weight)
        return loss

    def augmented_batch(
        self, batch: Mapping[str, Tensor], steps: Sequence[DeviceStep], left: int
    ) -> tuple[Tensor, Tensor]:
        """Return images and targets after the steps on the device; class numbers become probabilities before them.

        A teacher's predictions are to the right of the targets, so that steps that mix images mix both.

        Args:
            batch: A batch with `images` and `target`, and `row` if there is a teacher.
            steps: Augmentations of whole batches.
            left: Epochs left.
        """
        images, target = self.scaled_images(batch["images"]), self.loss_target(batch["target"])
        if isinstance(self.loss, Distilled):
            target = self.loss.beside(target, batch["row"])
        elif steps and self.facts.has_classes:
            target = nn.functional.one_hot(target, self.outputs).float()
        if steps:
            images, target = batches.apply(steps, images, target, left)
        return images, target

    def loss_target(self, target: Tensor) -> Tensor:
        """Convert targets to the form of the loss; class numbers of pixels are stored as bytes."""
        return target.long() if self.facts.has_classes else target

    def metric_target(self, target: Tensor) -> Tensor:
        """Convert training targets to the form of metrics, without a teacher's; mixed images get their larger class.

        Args:
            target: As returned by `augmented_batch`.
        """
        plain = target[:, : self.outputs] if isinstance(self.loss, Distilled) else target
        if not self.facts.has_classes or plain.ndim == 1:
            return plain
        return plain.argmax(1).masked_fill(plain.isnan().any(1), -1)

    def scaled_images(self, images: Tensor) -> Tensor:
        """Scale pixels to the pivot's brightness."""
        return images if self.brightness == 1.0 else images.float() * self.brightness
