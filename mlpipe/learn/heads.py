"""Heads that learn: the kind of each output, its loss, and the unit in which its numbers are compared."""

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


@dataclass(frozen=True, eq=False)
class LearnedHead:
    """A head of the network with what it is learned by.

    Attributes:
        name: The head's name in the network.
        kind: What it predicts.
        outputs: How many outputs it has.
        loss: Outputs and targets to a mean.
        scale: In which unit the loss compares numbers; None: as they are.
        brightness: What pixels are multiplied by to be as bright as the pivot's.
    """

    name: str
    kind: str
    outputs: int
    loss: nn.Module
    scale: Scale | None = None
    brightness: float = 1.0

    @property
    def part(self) -> Part:
        """How its kind is learned."""
        return kind.of(self.kind)

    @property
    def facts(self) -> Kind:
        """The facts of its kind."""
        return kinds.of(self.kind)

    @property
    def criterion(self) -> Loss:
        """The loss in the head's unit."""
        return self.loss if self.scale is None else self.mean_loss

    def mean_loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss of a batch, in standard deviations of the target for numbers.

        Args:
            outputs: What the network gives.
            target: What is true, as a loss takes it, and right of it what a teacher gave where there is one.
            weight: Of images; given only where a task has them, since losses of torch take none.
        """
        if self.scale is not None:
            mean, std = (part.to(outputs.device) for part in self.scale)
            times = target.shape[1] // outputs.shape[1]
            outputs, target = (outputs - mean) / std, (target - mean.repeat(times)) / std.repeat(times)
        loss: Tensor = self.loss(outputs, target) if weight is None else self.loss(outputs, target, weight)
        return loss

    def augmented_batch(
        self, batch: Mapping[str, Tensor], steps: Sequence[DeviceStep], left: int
    ) -> tuple[Tensor, Tensor]:
        """Images and targets after the steps on the device; class numbers become probabilities before them.

        A teacher's predictions stand right of the targets, so that what mixes images mixes both.

        Args:
            batch: With `images` and `target`, and `row` where there is a teacher.
            steps: Augmentations of whole batches.
            left: Epochs that are left.
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
        """Targets as a loss takes them: class numbers of pixels come as bytes."""
        return target.long() if self.facts.has_classes else target

    def metric_target(self, target: Tensor) -> Tensor:
        """Learned targets as metrics take them, without a teacher's; mixed images are of their larger class.

        Args:
            target: As `augmented_batch` gives them.
        """
        plain = target[:, : self.outputs] if isinstance(self.loss, Distilled) else target
        if not self.facts.has_classes or plain.ndim == 1:
            return plain
        return plain.argmax(1).masked_fill(plain.isnan().any(1), -1)

    def scaled_images(self, images: Tensor) -> Tensor:
        """Pixels on the pivot's scale."""
        return images if self.brightness == 1.0 else images.float() * self.brightness
