"""A head of the user's own in an optimizer's place: known by what its builder is annotated to return, and by no name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import nn

from mlpipe.arch.classifier import Classifier
from mlpipe.config import rules
from mlpipe.config.components import Component
from mlpipe.errors import DataError
from mlpipe.learn import exact_heads, features
from mlpipe.learn.build.network import build_network
from mlpipe.learn.exact_heads import ExactHead
from tests.learn.conftest import job


@dataclass(frozen=True)
class Means(ExactHead):
    """The nearest mean of a class: -|x - m|^2 / 2 is a linear function of x besides what all classes share."""

    def learn(self, recipe: Any, network: Any, task: Any, rows: Any, pack: Any, target: str, *more: Any) -> float:
        values = exact_heads.training_features(recipe, network, pack, rows, lambda: None)[:, 0]
        means = np.stack([values[task.samples.targets[rows] == one].mean(axis=0) for one in range(len(task.classes))])
        with torch.no_grad():
            network.heads[target].weight.copy_(torch.from_numpy(means))
            network.heads[target].bias.copy_(torch.from_numpy(-(means**2).sum(axis=1) / 2))
        return float("nan")


def means(groups: object) -> Means:
    return Means()


def test_an_own_head_is_made_in_no_steps(tmp_path: Path) -> None:
    one = job(tmp_path, "arch.freeze=true", "augmentations=none", "optimizer=linear")
    path = f"{__name__}.means"
    assert rules.is_exact({"optimizer": {"_target_": path}})
    assert not rules.is_exact({"optimizer": {"_target_": "mlpipe.learn.optimizers.linear.none"}})
    # As version 0.1.0 stored it.
    assert rules.is_exact({"optimizer": {"_target_": "mlpipe.learn.optimizers.linear"}})
    recipe = replace(one.recipe, optimizer=Component("optimizer", path, {}))
    head = exact_heads.of(recipe)
    assert isinstance(head, ExactHead) and exact_heads.has_no_steps(recipe)
    network = build_network(recipe, one.task, one.pack, seed=0, rows=one.view.train)
    assert isinstance(network, Classifier) and isinstance(network.heads["target"], nn.Linear)
    rows, held = one.view.train, one.view.val
    head.learn(recipe, network, one.task, rows, one.pack, "target")
    seen = features.feature_pack(network, one.pack, np.concatenate([rows, held]), lambda: None).images
    with torch.no_grad():
        shown = network.heads["target"](torch.from_numpy(seen[held])).argmax(1).numpy()
    model = NearestCentroid().fit(seen[rows], one.task.samples.targets[rows])
    assert (shown == model.predict(seen[held])).all()


@pytest.mark.parametrize("optimizer", ["linear", "nearest"])
def test_balanced_epochs_are_balanced_classes(tmp_path: Path, optimizer: str) -> None:
    """Without epochs `sampling=balanced` changed nothing, and nothing was said."""
    base = ["arch.freeze=true", "augmentations=none", f"optimizer={optimizer}"]

    def given(*words: str) -> torch.Tensor:
        one = job(tmp_path, *base, *words)
        network, rows = build_network(one.recipe, one.task, one.pack, seed=0, rows=one.view.train), one.view.train
        assert isinstance(network, Classifier)
        # Mostly zeros and ones.
        rows = np.concatenate([rows[one.task.samples.targets[rows] < 2], rows[:20]])
        head = exact_heads.of(one.recipe)
        assert head is not None
        head.learn(one.recipe, network, one.task, np.unique(rows), one.pack, "target")
        seen = features.feature_pack(network, one.pack, one.view.val, lambda: None).images[one.view.val]
        with torch.no_grad():
            answers: torch.Tensor = network.heads["target"](torch.from_numpy(seen))
        return answers

    balanced = given("sampling=balanced")
    assert torch.equal(balanced, given("loss.class_weights=balanced"))
    assert not torch.equal(balanced, given())


@pytest.mark.parametrize("optimizer", ["linear", "nearest"])
def test_balanced_epochs_without_classes_are_refused_as_in_training(tmp_path: Path, optimizer: str) -> None:
    """They changed nothing, and nothing was said."""
    words = ["arch.freeze=true", "augmentations=none", f"optimizer={optimizer}", "sampling=balanced"]
    one = job(tmp_path, *words)
    labels = replace(one.task.samples, targets=np.eye(10)[one.task.samples.targets])
    task, rows = replace(one.task, kind="multilabel", samples=labels), one.view.train[:20]
    network, head = build_network(one.recipe, one.task, one.pack, seed=0, rows=rows), exact_heads.of(one.recipe)
    assert head is not None
    with pytest.raises(DataError, match="sampling=balanced: is for classification tasks"):
        head.learn(one.recipe, network, task, rows, one.pack, "target")
