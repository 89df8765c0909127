"""Features that learned the classes of a task: they tell them apart, depend on the seed alone, and need two classes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from mlpipe.arch.gan import ClassFeatures, ConvCritic, ConvGenerator, Gan, PixelFeatures
from mlpipe.data import task
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError
from mlpipe.learn import class_features

RECIPE: Any = SimpleNamespace(trainer={"accelerator": "cpu"})
SHAPE = (1, 8, 8)
ROWS = np.arange(0, 60, 2)


class Stripes:
    """Images of stripes that lie (even thirds) or stand, and of noise: a pack of 60."""

    def __init__(self) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 80, (60, 8, 8, 1), np.uint8)
        self.pixels[0::3, ::2] += 120
        self.pixels[1::3, :, ::2] += 120

    def take(self, rows: Any) -> Any:
        assert (np.diff(rows) >= 0).all()
        return self.pixels[rows]


def task_of(*targets: int) -> Task:
    rows = [Row(f"{number:02d}", "train", targets[number % 3], str(number)) for number in range(60)]
    return task.make("t", ["lying", "standing", "noise"], rows, channels=1, source={"type": "folder"})


def network(features: torch.nn.Module) -> Gan:
    parts = ConvGenerator(4, SHAPE, 4, signed=True), ConvCritic(SHAPE, 4), features
    return Gan(*parts, 4, SHAPE, 255.0, signed=True, target="target")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_features, "_STEPS", 50)


def learned(of: Task, seed: int = 0) -> ClassFeatures:
    made = network(ClassFeatures(1, 3, 255.0))
    before = torch.get_rng_state()
    class_features.learn(RECIPE, made, of, ROWS, cast(Any, Stripes()), seed)
    assert torch.equal(torch.get_rng_state(), before)
    return cast(ClassFeatures, made.features)


def test_images_of_other_rows_are_told_apart() -> None:
    found = learned(task_of(0, 1, 2))
    others = np.arange(1, 60, 2)
    logits = found.logits(torch.from_numpy(Stripes().take(others)).movedim(-1, 1).float())
    assert (logits.argmax(1).numpy() == others % 3).mean() == 1
    # A model's weights have them, and nothing of them learns any more.
    assert not list(found.parameters()) and len(found.state_dict()) == 8


def test_they_depend_on_the_seed_alone() -> None:
    first, again, other = (learned(task_of(0, 1, -1), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_other_features_stay_and_one_class_is_refused() -> None:
    made = network(PixelFeatures(255.0))
    class_features.learn(RECIPE, made, task_of(0, 0, 0), ROWS, cast(Any, None), 0)
    with pytest.raises(DataError, match=r"arch\.features: classes need images of two of them, got 1; use arch.feat"):
        learned(task_of(2, -1, 2))
