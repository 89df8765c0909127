"""Torchvision's detectors behind this program's pixels and targets, against what torchvision itself gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torchvision import models
from torchvision.models import detection

from mlpipe.arch import boxes, torchvision_detector, weights
from mlpipe.arch.classifier import RAW, Head, Pixels
from mlpipe.arch.torchvision_detector import TorchvisionDetector
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError
from mlpipe.learn.build.network import without_weights

NAN = math.nan
SIDE = 64
NAMES = {
    "fasterrcnn": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
    "ssd": "ssdlite320_mobilenet_v3_large",
}
TARGET = torch.tensor(
    [
        [[4.0, 6, 30, 40, 1], [20, 20, 60, 60, 0]],
        [[NAN] * 5] * 2,
        [[10, 10, 50, 30, 2], [NAN] * 5],
    ]
)


def pixels(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def built(word: str, **options: Any) -> TorchvisionDetector:
    torch.manual_seed(0)
    make = getattr(torchvision_detector, word)
    head = Head(3, most=boxes.MOST)
    return make({"target": head}, Pixels(3, SIDE), **{"name": NAMES[word], "min_score": 0.0} | options)  # type: ignore[no-any-return]


def plain(word: str) -> Any:
    """The same network as torchvision gives it, for images that are not resized."""
    torch.manual_seed(0)
    names = ("box_score_thresh", "box_nms_thresh", "box_detections_per_img")
    names = names if word == "fasterrcnn" else ("score_thresh", "nms_thresh", "detections_per_img")
    options = dict(zip(names, (0.0, 0.5, 100), strict=True))
    model = detection.__dict__[NAMES[word]](weights=None, weights_backbone=None, num_classes=4, **options)
    model.transform.min_size, model.transform.max_size, model.transform.fixed_size = (SIDE,), SIDE, None
    model.transform.size_divisible = 1
    return model


# The small bodies by themselves: those of 50 layers take seconds.
LARGE = [pytest.param(word, marks=pytest.mark.program) for word in ("retinanet", "fcos")]


@pytest.mark.parametrize("word", ["fasterrcnn", "ssd", *LARGE])
def test_loss_and_detections_are_torchvisions(word: str) -> None:
    own, other, images = built(word), plain(word), pixels()
    bright = list(images.float() / 255)
    truth = [{"boxes": one[one[:, 4] >= 0][:, :4], "labels": one[one[:, 4] >= 0][:, 4].long() + 1} for one in TARGET]
    torch.manual_seed(1)
    expected = other(bright, truth)
    torch.manual_seed(1)
    terms = own(images, TARGET)["target"]
    assert terms.shape == (3, len(expected)) and terms.requires_grad
    assert torch.allclose(terms[0], torch.stack(list(expected.values())), rtol=1e-4)
    assert torch.equal(terms[0], terms[2])
    own.eval()
    other.eval()
    with torch.no_grad():
        found, both, wanted = own(images)["target"], own(images, TARGET), other(bright)
    assert found.shape == (3, 100, 6) and both["target" + RAW].shape == terms.shape
    for one, want in zip(found, wanted, strict=True):
        there = one[~one[:, 4].isnan()]
        assert len(there) == len(want["scores"])
        assert torch.allclose(there[:, 4], want["scores"].sort(descending=True).values, atol=1e-5)
        assert torch.allclose(there[:, :4].sum(0), want["boxes"].sum(0), rtol=1e-3)
    # The loss of an evaluation does not depend on what was drawn before.
    with torch.no_grad():
        torch.manual_seed(5)
        assert torch.equal(own(images, TARGET)["target" + RAW], both["target" + RAW])


def test_images_of_which_nothing_is_known_do_not_count() -> None:
    own, images = built("ssd"), pixels()
    own.eval()
    target = TARGET.clone()
    target[1] = NAN
    target[1, 0, 4] = -1
    with torch.no_grad():
        loss = own(images, target)["target" + RAW]
        assert torch.allclose(loss[0], own(images[[0, 2]], target[[0, 2]])["target" + RAW][0], rtol=1e-4)
        assert own(images[1:2], target[1:2])["target" + RAW].tolist() == [[0]]


def test_its_weights_are_stored_once_and_the_body_can_be_frozen() -> None:
    own = built("ssd", freeze=True)
    names = list(own.state_dict())
    assert len(names) == len(set(names)) and {name.split(".")[0] for name in names} == {
        "mean",
        "std",
        "backbone",
        "heads",
    }
    assert not any(one.requires_grad for one in own.backbone.parameters())
    own(pixels(), TARGET)["target"].sum().backward()
    assert all(one.grad is not None for one in own.heads.parameters())


@pytest.mark.parametrize("word", ["fasterrcnn", "ssd", *LARGE])
def test_a_pretrained_body_is_built_again_without_a_download(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision makes a pretrained body otherwise (frozen normalisations, a wider end), and a record has weights of that."""

    def downloaded(weights: models.WeightsEnum, *given: Any, **named: Any) -> Any:
        torch.manual_seed(5)
        return models.get_model(type(weights).__name__.removesuffix("_Weights").lower()).state_dict()

    with monkeypatch.context() as patch:
        patch.setattr(models.WeightsEnum, "get_state_dict", downloaded)
        trained = built(word, pretrained=True).eval()
    arch = Component(
        "arch", f"mlpipe.arch.torchvision_detector.{word}", {"name": NAMES[word], "pretrained": True, "weights": None}
    )
    again = without_weights(arch)
    assert again.params["pretrained"] == "form"
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *given, **named: pytest.fail("a download"))
    network = again.build({"target": Head(3, most=boxes.MOST)}, Pixels(3, SIDE)).eval()
    match = weights.load(network, trained.state_dict())
    assert not (match.missing or match.unexpected or match.misshapen), match.sentence()
    with torch.no_grad():
        for own, other in zip(trained(pixels()).values(), network(pixels()).values(), strict=True):
            torch.testing.assert_close(own, other, equal_nan=True)
    learning = [[name for name, one in each.named_parameters() if one.requires_grad] for each in (trained, network)]
    assert learning[0] == learning[1]
    plain = without_weights(Component("arch", arch.target, {**arch.params, "weights": "x.pt"}))
    assert plain.params["pretrained"] is False and plain.params["weights"] is None


def test_pixels_of_unit_range_are_not_normalised() -> None:
    own = built("fasterrcnn")
    make, head = torchvision_detector.fasterrcnn, Head(3, most=boxes.MOST)
    unit = make({"target": head}, Pixels(3, SIDE, normalization="unit"), name=NAMES["fasterrcnn"])  # type: ignore[arg-type]
    seen = {}
    for key, network in (("model", own), ("unit", unit)):
        network.backbone.register_forward_pre_hook(lambda _, given, key=key: seen.update({key: given[0]}))
        network.eval()(pixels())
    shares = pixels().float() / 255
    torch.testing.assert_close(seen["unit"], shares)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(seen["model"], (shares - mean) / std)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="of one channel or three, the task's have 4"):
        torchvision_detector.ssd({"target": Head(3, most=100)}, Pixels(4, SIDE), name="ssdlite320_mobilenet_v3_large")
    with pytest.raises(ConfigError, match="the task has no boxes"):
        torchvision_detector.fcos({"target": Head(3)}, Pixels(3, SIDE), name="fcos_resnet50_fpn")
