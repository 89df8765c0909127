"""Learn target images: sums of errors instead of maps that are kept, and the values of every pixel for the project."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpipe.learn.module import FoldModule
from mlpipe.learn.segmentation import MapsModule, PixelBatch, SegmentationModule
from mlpipe.learn.solutions import SolutionsModule
from mlpipe.runs import maps


class ImagesModule(MapsModule):
    """Learns one fold of images with images as targets: it keeps sums of errors, see `mlpipe.post.measures.image_metrics`."""

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:  # type: ignore[override]
        """Sum the errors of each image: images of a whole split would not fit into memory. Callbacks get the values."""
        values, target = self._outputs(self._laid_out(batch["images"])), batch["target"]
        self._kept(*summed(values, target), self._loss(values, target, None))
        return values

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> PixelBatch:  # type: ignore[override]
        """Sums and values of a batch."""
        values = super().predict_step(batch, batch_idx).cpu().numpy()
        target = batch["target"]
        true = target.cpu().numpy() if target.ndim > 2 else None
        # Half precision keeps values of 0 to 1 better than 8 bit would; arrays may have any values.
        is_half = batch["images"].dtype == torch.uint8
        each = [maps.errors(one, None if true is None else true[place]) for place, one in enumerate(values)]
        kept = None if true is None else _kept(true, half=is_half)
        sums = np.stack([one for one, _ in each]), np.stack([one for _, one in each])
        return PixelBatch(*sums, _kept(values, half=is_half), kept)


def _kept(values: npt.NDArray[Any], *, half: bool) -> maps.Values:
    return values.astype(np.float16) if half else values.astype(np.float32)


def summed(values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of each image, on the device that they lie on.

    Args:
        values: Predicted, shape (n, channels, height, width), or with other spatial axes.
        target: The same; NaN in images without a target.

    Returns:
        Sums of squared and of absolute errors, shape (n, 2 * channels), and how many values each channel has, shape
        (n, channels), NaN without a target; both float64.
    """
    error = values.double() - target.double()
    known = ~target.flatten(1).isnan().all(1)
    spatial = tuple(range(2, error.ndim))
    error = torch.where(known.view(-1, *[1] * (error.ndim - 1)), error, 0.0)
    counts = torch.full(error.shape[:2], float(error[0, 0].numel()), dtype=torch.float64, device=error.device)
    counts[~known] = torch.nan
    return torch.cat([(error**2).sum(spatial), error.abs().sum(spatial)], 1), counts


def module_for(kind: str) -> type[FoldModule]:
    """What learns to predict this."""
    found: dict[str, type[FoldModule]] = {
        "segmentation": SegmentationModule, "images": ImagesModule, "solutions": SolutionsModule,
    }  # fmt: skip
    return found.get(kind, FoldModule)
