"""A network's weights as timm takes them, and the card of a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from mlpipe.arch import classifier
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.errors import ConfigError
from mlpipe.modes import export
from mlpipe.running import model_card
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from tests.build import make_record


def network_of(arch: str, head: Head, channels: int = 3, **options: Any) -> Classifier:
    torch.manual_seed(0)
    made = classifier.timm({"target": head}, Pixels(channels, 32), name=arch, pretrained=False, **options)
    return made.eval()


def record_of(tmp_path: Path, arch: str, outputs: int) -> ModelRecord:
    classes = [str(number) for number in range(outputs)]
    return make_record(Project(tmp_path / "p"), "one", arch=arch, classes=classes, config="")


@pytest.mark.parametrize(
    ("arch", "options"),
    [("test_resnet", {}), ("test_vit", {}), ("test_efficientnet", {}), ("test_resnet", {"pool": "max"})],
)
@pytest.mark.parametrize("scaled", [False, True])
def test_timms_network_with_the_weights_gives_the_same(
    tmp_path: Path, arch: str, options: dict[str, Any], scaled: bool
) -> None:
    mean, std = ((1.0, -2.0, 3.0), (0.5, 2.0, 4.0)) if scaled else (None, None)
    network = network_of(arch, Head(3, mean, std), **options)
    state, how = model_card.timm_weights(network, record_of(tmp_path, arch, 3))
    plain = timm.create_model(how["name"], **how["options"])
    plain.load_state_dict(state, strict=True)
    pixels = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(1)).float()
    shift, unit = (torch.tensor(how[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        wanted, got = network(pixels)["target"], plain.eval()((pixels - shift) / unit)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_what_timm_has_no_network_for_is_said(tmp_path: Path) -> None:
    network = network_of("test_resnet", Head(3))
    record = record_of(tmp_path, "test_resnet", 3)
    network.mirrored = True
    with pytest.raises(
        ConfigError, match=r"one: its weights fit no network of timm: .*mirror image.*; use model.torch"
    ):
        model_card.timm_weights(network, record)
    with pytest.raises(ConfigError, match="none of timm"):
        model_card.timm_weights(torch.nn.Identity(), record)
    two = classifier.timm({"a": Head(2), "b": Head(3)}, Pixels(3, 32), name="test_resnet", pretrained=False)
    with pytest.raises(ConfigError, match="one linear head"):
        model_card.timm_weights(two, record)


CARD = {
    "task": "<pets>",
    "kind": "classification",
    "classes": ["cat", "dog"],
    "images": {"channels": 3, "type": "uint8"},
    "trained_on": {"train": 12},
    "models": [
        {
            "id": "one", "arch": "test_resnet", "fold": 0, "is_refit": False, "weight": 0.5, "parameters": 1234,
            "scores": {"val": {"accuracy": 0.75, "auroc": None}}, "images": {"val": 110, "test": 24},
            "preprocessing": {"size": (32, 32)}, "environment": {"torch": "2"},
        }
    ],
    "ensemble": {
        "id": "ens-1", "mixing": "logits", "calibration": "both", "notes": ["a note"],
        "scores": {
            "test": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}},
            "chosen on": {"accuracy": {"value": 0.51912, "low": 0.451, "high": 0.5872}},
        },
    },
}  # fmt: skip


def test_a_card_for_people() -> None:
    text = model_card.as_markdown(CARD)
    # By this, a later export knows the file as one that it may replace.
    assert export._CARD_MARK in text.encode()[: export._BEGINNING]
    assert "| one | test_resnet | 0 | 0.5 | 1,234 | accuracy 0.750 |" in text
    # Two decimals are what 24 test images tell; held-out ones are those of all folds together.
    assert "- test accuracy: 0.50 (0.25 to 0.75)" in text and "- a note" in text
    assert "- held-out accuracy: 0.519 (0.451 to 0.587)" in text
    shown = model_card.as_html(CARD)
    assert "<pets>" not in shown and "&lt;pets&gt;" in shown


def test_names_in_a_card_are_text_whatever_they_hold() -> None:
    evil = "a\n# Forged | b <img src=x> [x](javascript:1) \x1b[31m ![y](http://z) `c`"
    cost = {"flops": 1, "weights_bytes": 1, "peak_bytes": 1, "ms_1": 1.0, "ms_32": 1.0, "machine": evil}
    model = {
        "id": evil,
        "fold": 0,
        "is_refit": False,
        "weight": 1.0,
        "arch": evil,
        "parameters": 1,
        "images": {"val": 10},
        "scores": {"val": {evil: 0.5}},
        "preprocessing": {"resize": evil},
        "environment": {evil: evil},
        "cost": cost,
    }
    score = {evil: {"value": 0.5, "low": 0.25, "high": None}}
    ensemble = {"id": evil, "mixing": evil, "calibration": evil, "scores": {evil: score}, "notes": [evil]}
    images = {"channels": 3, "type": "uint8"}
    card = {"task": evil, "kind": "x", "classes": [evil], "images": images, "trained_on": {evil: 3}}
    text = model_card.as_markdown(model_card.checked({**card, "models": [model], "ensemble": ensemble}))
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("# ")] == lines[:1] and all(line.isprintable() for line in lines)
    # Nothing of a name but escaped letters is left that Markdown reads.
    plain = re.sub(r"\\.", "", text)
    assert not re.search(r"[<>\[\]`]", plain) and plain.count("|") == 2 * 7 + 7 + 2 * 7 + 7


@pytest.mark.parametrize("change", [{"models": []}, {"models": "x"}, {"classes": [1]}, {"images": {}}, {"task": None}])
def test_what_is_no_card_is_refused(change: dict[str, Any]) -> None:
    card = {"task": "a", "kind": "x", "classes": ["b"], "images": {"channels": 3, "type": "uint8"}, "trained_on": {}}
    with pytest.raises((TypeError, ValueError)):
        model_card.checked({**card, "models": [], **change})
