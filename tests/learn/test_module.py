"""What every head shares: bounds of gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mlpipe.config.schema import Clip
from mlpipe.learn.module import FoldModule


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        # Of 3 and 4 the norm is 5. As Keras 2.2's `get_gradients` does it: the norm first, and then each value.
        (Clip(1.0, 0.7), [0.6, 0.7]),
        (Clip(1.0, None), [0.6, 0.8]),
        (Clip(None, 3.5), [3.0, 3.5]),
        (Clip(None, None), [3.0, 4.0]),
    ],
)
def test_gradients_are_bounded_by_their_norm_and_then_by_value(clip: Clip, expected: list[float]) -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])

    def bound(optimizer: Any, most: float | None, how: str | None) -> None:
        if how == "norm":
            torch.nn.utils.clip_grad_norm_([weight], float(most or 0))
        elif how == "value":
            torch.nn.utils.clip_grad_value_([weight], float(most or 0))

    module: Any = SimpleNamespace(_learning=SimpleNamespace(clip=clip), clip_gradients=bound)
    FoldModule.configure_gradient_clipping(module, torch.optim.SGD([weight]))
    assert weight.grad.tolist() == pytest.approx(expected, abs=1e-5)
