"""Features of a frozen backbone: computed once, the same training as without them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mlpipe.arch.classifier import Head, Pixels, timm
from mlpipe.config.components import Component
from mlpipe.data.preprocessing import BeforeResize
from mlpipe.learn import features, fit
from mlpipe.learn.build.network import build_network
from mlpipe.learn.job import Watch
from tests.learn.conftest import job

FROZEN = ["arch.freeze=true", "augmentations=none", "arch.drop_rate=0.0"]


def test_they_are_what_the_backbone_gives(tmp_path: Path) -> None:
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)
    assert features.applies(one.recipe, network)
    rows = np.union1d(one.view.train, one.view.val)
    pack = features.feature_pack(network, one.pack, rows, lambda: None)  # type: ignore[arg-type]
    images = torch.from_numpy(one.pack.take_fixed(rows[:5])).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.eval().features(images)  # type: ignore[operator]
    assert np.allclose(pack.take(rows[:5]), expected.numpy(), atol=1e-5)
    assert network.heads["target"](torch.from_numpy(pack.take(rows[:5]))).shape == (5, 10)  # type: ignore[index, operator]


@pytest.mark.program
def test_training_on_them_is_training_on_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = fit.fit(job(tmp_path / "a", *FROZEN), Watch())
    monkeypatch.setattr(features, "applies", lambda recipe, network: False)
    slow = fit.fit(job(tmp_path / "b", *FROZEN), Watch())
    assert quick.scores["val"] == pytest.approx(slow.scores["val"], abs=1e-4)


def test_a_second_fold_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)
    rows = np.arange(40)
    first = features.feature_pack(network, one.pack, rows, lambda: None)  # type: ignore[arg-type]
    calls: list[int] = []
    monkeypatch.setattr(
        network, "view_features", lambda images: calls.append(len(images)) or torch.ones(len(images), 256)
    )
    again = features.feature_pack(network, one.pack, rows[10:], lambda: None)  # type: ignore[arg-type]
    assert calls == [] and (again.take(rows) == first.take(rows)).all()
    features.feature_pack(network, one.pack, np.arange(30, 50), lambda: None)  # type: ignore[arg-type]
    assert calls == [10]


@pytest.mark.parametrize(("name", "pools"), [("test_resnet", ("avg", "max", "avgmax")), ("test_vit", ("token", "avg"))])
def test_another_pooling_has_other_features_beside_them(tmp_path: Path, name: str, pools: tuple[str, ...]) -> None:
    one, rows = job(tmp_path, *FROZEN, "preprocessing.size=64"), np.arange(5)
    images = torch.from_numpy(one.pack.take_fixed(rows)).permute(0, 3, 1, 2)
    for pool in pools:
        torch.manual_seed(0)
        given = {"name": name, "pretrained": False, "pool": None if pool == "token" else pool}
        pixels = Pixels(channels=one.pack.preprocessing.channels, size=images.shape[-1])
        network = timm({"target": Head(10)}, pixels, **given).eval()  # type: ignore[arg-type]
        found = features.feature_pack(network, one.pack, rows, lambda: None).take(rows)
        with torch.no_grad():
            assert np.allclose(found, network.features(images).numpy(), atol=1e-5)


@pytest.mark.parametrize("overrides", [["arch.freeze=false"], ["augmentations=flips"], ["augmentations=kornia"]])
def test_nothing_of_this_when_features_change(tmp_path: Path, overrides: list[str]) -> None:
    one = job(tmp_path, *FROZEN, *overrides)
    assert not features.applies(one.recipe, build_network(one.recipe, one.task, one.pack, seed=0))


def test_transforms_before_the_resize_are_known_by_what_they_are(tmp_path: Path) -> None:
    """Their address in memory was part of the name, so that no other process found the features."""
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)

    def name(degrees: float) -> str:
        step = Component("augmentations", "mlpipe.data.augment.geometry.rotate", {"degrees": degrees})
        own = dataclasses.replace(one.pack.preprocessing, before=BeforeResize([step]))
        return features._fingerprint(network, dataclasses.replace(one.pack, preprocessing=own))  # type: ignore[arg-type]

    assert name(3.0) == name(3.0) != name(4.0)
