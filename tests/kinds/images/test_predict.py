"""Predicted images are stored as exactly as their targets are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlpipe.kinds.images import predict
from mlpipe.predicting.batches import Batch, joined


@pytest.mark.parametrize("are_bytes", [True, False])
def test_values_of_16_bit_targets_keep_all_of_their_levels(are_bytes: bool) -> None:
    peak = 255 if are_bytes else 65535
    levels = np.arange(peak - 63, peak + 1).reshape(1, 1, 8, 8)
    values = torch.from_numpy(levels.astype(np.float32) / np.float32(peak))
    # Images of 8 bits may have targets of 16 bits, such as depths.
    batch = Batch(["a"], torch.zeros(1, 3, 8, 8, dtype=torch.uint8), values, are_bytes=are_bytes)
    for part in (batch, joined([batch, batch])[:1]):
        kept = predict.kept(values, part, None)
        assert kept.arrays is not None and kept.true is not None
        for stored in (kept.arrays, kept.true):
            assert stored.dtype == (np.float16 if are_bytes else np.float32)
            assert (np.rint(stored.astype(np.float64) * peak) == levels).all()
