"""Losses over pixels: cross-entropy, focal, and the overlaps Dice, Jaccard and Lovász, with pixels that do not count.

A loss is called with logits (n, classes, height, width), a softmax over classes being meant, and class numbers
(n, height, width), int64, `IGNORED` where a pixel counts nowhere; there may be one spatial axis, or three. Two classes have
two logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.data.task import IGNORED
from mlpipe.learn.losses.means import weighted_mean

Over = Literal["present", "all"]


class PixelCrossEntropy(nn.Module):
    """-(1 - p)^gamma log p of the true class of each pixel (Lin et al. 2017), cross-entropy for gamma 0.

    The mean over pixels is weighed by their class and by their image, as in torch.nn.CrossEntropyLoss.

    Args:
        weight: The weight of each class, shape (classes,); None: all the same.
        label_smoothing: Share of the target spread evenly over all classes.
        gamma: How much less easy pixels count.
        of_logs: Whether outputs are log-probabilities, taken as they are (torch.nn.NLLLoss).
    """

    def __init__(
        self, weight: Tensor | None, label_smoothing: float = 0.0, gamma: float = 0.0, *, of_logs: bool = False
    ) -> None:
        super().__init__()
        self._of_logs = of_logs
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._smoothing, self._gamma = label_smoothing, gamma

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over the pixels that count; zero without any."""
        known = target != IGNORED
        if self._of_logs:
            each = F.nll_loss(logits, target, self.weight, ignore_index=IGNORED, reduction="none")
        else:
            each = F.cross_entropy(
                logits, target, self.weight, ignore_index=IGNORED, reduction="none", label_smoothing=self._smoothing
            )
        safe = torch.where(known, target, 0)
        if self._gamma:
            chance = logits.softmax(1).gather(1, safe[:, None])[:, 0]
            each = each * (1 - chance) ** self._gamma
        share = known.to(each.dtype) if self.weight is None else self.weight[safe] * known
        if weight is not None:
            own = weight.view(-1, *[1] * (each.ndim - 1))
            share, each = share * own, each * own
        return weighted_mean(each.sum(), share.sum())


class PixelOverlap(nn.Module):
    """1 - the overlap of each class's probabilities with its pixels, the mean over classes.

    `dice` is (2 I + s) / (P + T + s) (Milletari et al. 2016), `jaccard` (I + s) / (P + T - I + s), with I the sum of the
    true class's probabilities, P and T the sums of probabilities and of pixels over the batch.

    Args:
        name: Which of the two.
        smooth: s; larger values make small objects count less.
        per_image: Sums over each image instead of the batch, and the mean over images.
        square: Squares in P, as in V-Net.
        over: The mean over the classes that the sums have pixels of, or over all: a class without any then asks for
            probabilities of zero.
        eps: What a denominator is at least.
        weight: The weight of each class in the mean, shape (classes,); None: all the same.
    """

    def __init__(
        self,
        name: Literal["dice", "jaccard"],
        *,
        smooth: float = 0.0,
        per_image: bool = False,
        square: bool = False,
        over: Over = "present",
        eps: float = 1e-7,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._name, self._smooth, self._square, self._over, self._eps = name, smooth, square, over, eps
        self._per_image = per_image

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch; zero where no pixel counts."""
        known = (target != IGNORED)[:, None]
        chance = logits.float().softmax(1) * known
        true = F.one_hot(torch.where(known[:, 0], target, 0), logits.shape[1]).movedim(-1, 1) * known
        spatial = tuple(range(2, logits.ndim))
        axes = spatial if self._per_image else (0, *spatial)
        shared, pixels = (chance * true).sum(axes), true.sum(axes)
        taken = (chance**2 if self._square else chance).sum(axes)
        union = taken + pixels
        if self._name == "dice":
            overlap = (2 * shared + self._smooth) / (union + self._smooth).clamp(min=self._eps)
        else:
            overlap = (shared + self._smooth) / (union - shared + self._smooth).clamp(min=self._eps)
        counted = (pixels > 0).float() if self._over == "present" else torch.ones_like(overlap)
        counted = counted * known.any().float()
        if self.weight is not None:
            counted = counted * self.weight
        return weighted_mean(((1 - overlap) * counted).sum(), counted.sum())


class PixelLovasz(nn.Module):
    """The Lovász extension of the Jaccard loss (Berman, Rannen Triki & Blaschko 2018), of a softmax or as a hinge.

    Args:
        per_image: The mean over images, instead of all pixels of the batch together.
        hinge: For two classes the hinge of the second one's logit, in place of the softmax's errors of both.
    """

    def __init__(self, per_image: bool = False, hinge: bool = False) -> None:
        super().__init__()
        from segmentation_models_pytorch.losses import LovaszLoss  # type: ignore[import-untyped]

        kind = "binary" if hinge else "multiclass"
        self._loss, self._per_image = LovaszLoss(kind, ignore_index=IGNORED, from_logits=True), per_image
        self._hinge = hinge

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch; zero where no pixel counts."""
        # float16 loses the order of errors that it is made of.
        logits, known = logits.float(), (target != IGNORED).flatten(1).any(1)
        if not known.any():
            return logits.sum() * 0
        # The order of pixels matters nowhere, and the library knows maps of two axes only.
        logits, target = logits.flatten(2)[:, :, None], target.flatten(1)[:, None]
        if self._hinge:
            logits = logits[:, 1] - logits[:, 0]
        if not self._per_image:
            loss: Tensor = self._loss(logits, target)
            return loss
        places = known.nonzero()[:, 0].tolist()
        return torch.stack(
            [self._loss(logits[place : place + 1], target[place : place + 1]) for place in places]
        ).mean()


# Terms of `loss.expression` for masks; each with its defaults.
TERMS: dict[str, Callable[[], nn.Module]] = {
    "auto": lambda: PixelCrossEntropy(None),
    "ce": lambda: PixelCrossEntropy(None),
    "focal": lambda: PixelCrossEntropy(None, gamma=2.0),
    "dice": lambda: PixelOverlap("dice"),
    "jaccard": lambda: PixelOverlap("jaccard"),
    "lovasz": PixelLovasz,
}
# Those that are one number of a whole batch and cannot weigh images.
TOGETHER = frozenset({"dice", "jaccard", "lovasz"})
