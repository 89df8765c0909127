"""Learning boxes: rows of a validation, counts, and what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from mlpipe.config.schema import Recipe
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError
from mlpipe.kinds.detection import learn
from mlpipe.learn import per_pixel
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.yolov3 import yolov3
from mlpipe.post.measures import box_metrics

NAN = math.nan
FOUND = torch.tensor([[[1.0, 2, 11, 12, 0.9, 1], [0, 0, 5, 5, 0.4, 0]], [[NAN] * 6] * 2, [[NAN] * 6] * 2])
TRUE = torch.tensor([[[1.0, 2, 10, 12, 1], [NAN] * 5], [[NAN] * 5] * 2, [[NAN, NAN, NAN, NAN, -1], [NAN] * 5]])
LABELS = Labels("detection", torch.tensor([1, 1]), 3)


def test_rows_are_those_that_metrics_take() -> None:
    outputs, targets = learn.rows(yolov3(LABELS), FOUND, TRUE)
    assert np.array_equal(outputs.numpy(), box_metrics.as_outputs(FOUND.numpy()))
    assert np.array_equal(targets.numpy(), box_metrics.as_targets(TRUE.numpy()), equal_nan=True)


def test_a_validation_keeps_the_loss_of_each_batch() -> None:
    def loss(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.tensor(float(len(outputs)))

    kept = [learn.kept(loss, FOUND[part], TRUE[part]) for part in (slice(0, 2), slice(2, 3))]
    rows, targets = (torch.cat([one[place] for one in kept]) for place in (0, 1))
    mean, outputs = learn.validated(loss, rows, targets)
    assert mean.item() == pytest.approx((2 * 2 + 1) / 3) and outputs.shape == (3, 12)


def test_images_with_a_box_are_positive() -> None:
    found = learn.positives(np.array([[0.0, 2], [0, 0], [NAN, NAN]]))
    assert found is not None and found.tolist() == [True, False, False]


def test_a_loss_that_knows_nothing_of_boxes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_pixel, "refuse_parts", lambda recipe, what: None)
    recipe = SimpleNamespace(loss=SimpleNamespace(name="focal", is_users=False))
    with pytest.raises(ConfigError, match="loss: knows nothing of boxes, got 'focal'; use auto or yolov3"):
        learn.check(cast(Recipe, recipe), cast(Task, None), {}, FOUND, torch.nn.MSELoss())
