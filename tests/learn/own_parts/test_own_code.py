"""Functions of a folder's own files as loss, network and views: against torch and plain loops, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.config import components
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn import tta
from mlpipe.learn.build import own_network
from mlpipe.learn.losses import own
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.own_parts.own_code import Code
from mlpipe.learn.tta import Views

MODULE = """
import numpy as np
import torch
from musket_core.losses import keras_loss
from torch import nn


@keras_loss
def cross(y_true, y_pred):
    return -(y_true * y_pred.clamp(min=1e-7).log()).sum(1)


def flat(y_true, y_pred):
    return torch.zeros(())


def shapeless(y_true, y_pred):
    return 3.0


def failing(y_true, y_pred):
    raise RuntimeError("no loss today")


def tiny(input_shape, classes, width=4):
    return nn.Sequential(nn.Conv2d(input_shape[2], width, 3), nn.ReLU())


class Whole(nn.Module):
    def __init__(self, in_chans):
        super().__init__()
        self.layer = nn.Linear(in_chans, 3)

    def forward(self, images):
        return self.layer(images.mean((2, 3)))


class Pair(nn.Module):
    def __init__(self, input_shape, in_chans):
        super().__init__()
        assert input_shape == [(8, 8, 3), (8, 8, 1)] and in_chans == [3, 1]

    def forward(self, inputs):
        first, second = inputs
        return torch.stack([first.mean((1, 2, 3)), second.mean((1, 2, 3))], 1)


def no_network():
    return 3


def mirrored(image):
    return [image, np.fliplr(image)]


def smaller(image):
    return image[1:]
"""
CLASSES = Labels("classification", torch.tensor([5, 5, 5]), 15)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"own_{tmp_path.name.replace('-', '_')}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return {"modules": str(folder), "stand_ins": ["musket_core"]}


def test_a_loss_is_torchs_cross_entropy(code: dict[str, Any]) -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.arange(6) % 3
    weight = torch.tensor([1.0, 2.0, 3.0, 1.0, 0.0, 1.0])
    each = nn.functional.cross_entropy(logits, target, reduction="none")
    loss = own.own(CLASSES, expression="0.5*cross + ce", **code)
    torch.testing.assert_close(loss(logits, target), 1.5 * each.mean())
    torch.testing.assert_close(loss(logits, target, weight), 1.5 * (each * weight).sum() / weight.sum())


def test_unknown_labels_are_left_out(code: dict[str, Any]) -> None:
    labels = Labels("multilabel", torch.tensor([5, 5]), 15)
    loss = own.own(labels, expression="cross", **code)
    outputs, target = torch.randn(4, 2), torch.ones(4, 2)
    target[1, 0] = torch.nan
    expected = -outputs.sigmoid().log().sum(1)[[0, 2, 3]].mean()
    torch.testing.assert_close(loss(outputs, target), expected)
    assert float(loss(outputs, target * torch.nan)) == 0


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("flat", "flat gives nothing to learn from"),
        ("shapeless", "shapeless gives no loss, got 'float'"),
        ("failing", r"failing fails \(RuntimeError: no loss today\)"),
        ("cros", "unknown loss, got 'cros'; did you mean 'cross'"),
    ],
)
def test_what_is_no_loss(code: dict[str, Any], expression: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        own.own(CLASSES, expression=expression, **code)


def test_code_from_elsewhere_is_refused(code: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    elsewhere = tmp_path / "modules" / "deeper"
    elsewhere.mkdir()
    with pytest.raises(DataError, match="outside the current folder"):
        own.own(CLASSES, expression="cross", modules=str(elsewhere))
    node = {"_target_": "mlpipe.learn.losses.own.own", "expression": "x", "trust": [str(elsewhere)]}
    part, wrong = components.check("loss", "loss", node)
    assert part is not None and part.params["trust"] == [] and not wrong


@pytest.mark.parametrize(("name", "features"), [("tiny", 4), ("Whole", 3)])
def test_a_network_gets_pooling_and_heads(code: dict[str, Any], name: str, features: int) -> None:
    torch.manual_seed(0)
    network = own_network.own({"target": Head(2)}, Pixels(3, 8), name=name, **code).eval()
    images = torch.randint(0, 256, (2, 3, 8, 8)).float()
    scaled = (images / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    found = network.backbone.module(scaled)  # type: ignore[operator, union-attr]
    pooled = found.mean((2, 3)) if found.ndim == 4 else found
    assert pooled.shape == (2, features)
    torch.testing.assert_close(network(images)["target"], network.heads["target"](pooled), atol=1e-5, rtol=1e-4)


def test_a_network_of_several_inputs_is_given_a_list(code: dict[str, Any]) -> None:
    torch.manual_seed(0)
    pixels = Pixels(4, 8, peak=1.0, normalization="unit", parts=(3, 1))
    network = own_network.own({"target": Head(2)}, pixels, name="Pair", **code).eval()
    images = torch.rand(2, 4, 8, 8)
    # The module is told of both shapes, and gives the means of both inputs beside each other.
    features = torch.stack([images[:, :3].mean((1, 2, 3)), images[:, 3].mean((1, 2))], 1)
    torch.testing.assert_close(network(images)["target"], network.heads["target"](features))
    with pytest.raises(ConfigError, match=r"arch.in_chans: inputs have 4 channels in all, got 3"):
        own_network.own({"target": Head(2)}, pixels, name="Pair", in_chans=3, **code)


def test_a_network_by_its_arguments(code: dict[str, Any]) -> None:
    network = own_network.own({"target": Head(2)}, Pixels(1, 8), name="tiny", arguments={"width": 7}, **code)
    assert network.heads["target"].in_features == 7
    with pytest.raises(ConfigError, match="gives no network, got 'int'"):
        own_network.own({"target": Head(2)}, Pixels(1, 8), name="no_network", **code)
    with pytest.raises(ConfigError, match="tiny fails"):
        own_network.own({"target": Head(2)}, Pixels(1, 8), name="tiny", arguments={"depth": 7}, **code)


def test_views_are_flips(code: dict[str, Any]) -> None:
    images = torch.randint(0, 256, (3, 2, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 4))
    views = tta.own(255.0, function="mirrored", **code)
    assert isinstance(views, Views)
    expected = tta.flips(255.0).predict(network, images, "classification")
    torch.testing.assert_close(views.predict(network, images, "classification"), expected)
    with pytest.raises(ConfigError, match=r"smaller gives no views of an image, got \[\[7, 8, 2\]\]"):
        tta.own(255.0, function="smaller", **code).predict(network, images, "classification")
    assert np.isfinite(expected.detach().numpy()).all()


def test_packages_have_hashes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of each is called __init__.py: the first one had the hash of the second, whatever it held."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = ["first_hashed_package", "second_hashed_package"]
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"def body{number}(in_chans): ...\n")
    code = Code(imports=names, trust=names)
    code.functions("arch")
    before = code.digests()
    (tmp_path / names[0] / "__init__.py").write_text("def body0(in_chans): return None\n")
    after = code.digests()
    assert [before[name] == after[name] for name in names] == [False, True]


def test_other_files_of_a_package_and_what_they_import_have_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `__init__.py` had one: stored features of a changed network were used again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "deep_hashed_package").mkdir()
    (tmp_path / "deep_hashed_package" / "__init__.py").write_text("from .layers import body\n")
    (tmp_path / "deep_hashed_package" / "layers.py").write_text("from hashed_width import WIDTH\ndef body(): ...\n")
    (tmp_path / "hashed_width.py").write_text("WIDTH = 1\n")
    code = Code(imports=["deep_hashed_package"], trust=["deep_hashed_package"])
    code.functions("arch")
    before = code.digests()
    assert list(before) == ["deep_hashed_package", "deep_hashed_package/layers.py", "hashed_width.py"]
    (tmp_path / "hashed_width.py").write_text("WIDTH = 2\n")
    after = code.digests()
    assert [name for name in before if before[name] != after[name]] == ["hashed_width.py"]
