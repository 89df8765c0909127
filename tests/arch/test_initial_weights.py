"""Start weights: what is taken over, what stays, and what a grey image sees after the channels changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mlpipe.arch import initial_weights, weights
from mlpipe.arch.classifier import Classifier, Head
from mlpipe.arch.initial_weights import Start
from mlpipe.errors import DataError
from mlpipe.learn.optimizers.parameter_groups import parameter_groups


def network(classes: int = 3, channels: int = 3, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(body, 4, {"target": Head(classes)}, [0.5] * channels, [2.0] * channels)


def stored(of: nn.Module, path: Path, *, keep_heads: bool = True, allow_missing: bool = False) -> Start:
    return Start(path, weights.save(of.state_dict(), path), "PROJ#3", keep_heads, allow_missing)


def test_a_body_and_a_matching_head_are_taken_over(tmp_path: Path) -> None:
    old, new = network(seed=1), network(seed=2)
    assert initial_weights.load(new, stored(old, tmp_path / "w.safetensors")) == "starts from PROJ#3, 9 tensors loaded"
    for name, tensor in old.state_dict().items():
        assert torch.equal(tensor, new.state_dict()[name])


@pytest.mark.parametrize(("classes", "keep_heads"), [(5, True), (3, False)])
def test_another_head_is_new_and_statistics_of_pixels_stay(tmp_path: Path, classes: int, keep_heads: bool) -> None:
    old, new = network(seed=1), network(classes, seed=2)
    head = new.heads["target"].weight.clone()
    old.mean += 7
    report = initial_weights.load(new, stored(old, tmp_path / "w.safetensors", keep_heads=keep_heads))
    assert "7 tensors loaded" in report
    assert "2 new (heads.target.weight, heads.target.bias)" in report
    assert torch.equal(new.heads["target"].weight, head)
    assert float(new.mean.max()) == 0.5
    assert torch.equal(old.backbone[0].weight, new.backbone[0].weight)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 6), (1, 2)])
def test_grey_images_give_the_same_features_with_other_channels(tmp_path: Path, before: int, after: int) -> None:
    old, new = network(channels=before, seed=1).eval(), network(channels=after, seed=2).eval()
    report = initial_weights.load(new, stored(old, tmp_path / "w.safetensors"))
    assert "1 adapted to other channels (backbone.0.weight)" in report
    grey = torch.rand(2, 1, 8, 8)
    left, right = old.features(grey.repeat(1, before, 1, 1)), new.features(grey.repeat(1, after, 1, 1))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_further_channels_repeat_the_first_as_timm_repeats_them(tmp_path: Path) -> None:
    """timm's rule: red, green, blue, red, scaled by 3 / 4, so that the sum over equal channels is about what it was."""
    old, new = network(channels=3, seed=1), network(channels=4, seed=2)
    initial_weights.load(new, stored(old, tmp_path / "w.safetensors"))
    before, after = old.backbone[0].weight, new.backbone[0].weight
    torch.testing.assert_close(after, 0.75 * torch.cat([before, before[:, :1]], 1))


def test_too_much_missing_is_an_error_unless_allowed(tmp_path: Path) -> None:
    part = nn.Module()
    part.backbone = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(DataError) as caught:
        initial_weights.load(network(), stored(part, tmp_path / "w.safetensors"))
    (sentence,) = caught.value.problems
    assert sentence.startswith("reuse.parameters: 5 of 7 tensors of the network's body are not in PROJ#3")
    assert sentence.endswith("choose the arch that it was trained with, or add reuse.allow_missing=true")
    report = initial_weights.load(network(), stored(part, tmp_path / "w.safetensors", allow_missing=True))
    assert "2 tensors loaded, 5 missing (backbone.1.weight" in report


def test_a_file_of_a_bare_body_fits(tmp_path: Path) -> None:
    old, new = network(seed=1), network(seed=2)
    initial_weights.load(new, stored(old.backbone, tmp_path / "w.safetensors"))
    assert torch.equal(old.backbone[0].weight, new.backbone[0].weight)


def test_no_optimizer_is_given_what_is_frozen() -> None:
    frozen = network()
    for parameter in frozen.backbone.parameters():
        parameter.requires_grad_(False)
    given = [parameter for group in parameter_groups(frozen) for parameter in group["params"]]
    assert {id(parameter) for parameter in given} == {id(parameter) for parameter in frozen.heads.parameters()}


def test_nothing_at_all_is_an_error_even_where_anything_is_allowed(tmp_path: Path) -> None:
    """It was said in no sentence that the network is one of random weights."""
    other = nn.Module()
    other.backbone = nn.Sequential(nn.Conv2d(3, 9, 5), nn.BatchNorm2d(9))
    wanted = (
        r"holds nothing of the network \(1 tensor loaded, 0? ?.*, got 'PROJ#3'; choose the arch that it was saved from"
    )
    with pytest.raises(DataError, match=wanted):
        # The counter of batches fits any network.
        initial_weights.load(network(), stored(other, tmp_path / "w.safetensors", allow_missing=True))
    with pytest.raises(DataError, match=r"holds nothing of the network \(0 tensors loaded, 7 missing"):
        initial_weights.load(network(), stored(nn.Linear(2, 2), tmp_path / "x.safetensors", allow_missing=True))
