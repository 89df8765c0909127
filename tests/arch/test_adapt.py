"""Parts of a network that learn: low-rank additions merge exactly, stages freeze, what is frozen stays in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mlpipe.arch import adapt, classifier, weights
from mlpipe.arch.adapt import Added
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.errors import ConfigError


def build(name: str = "test_resnet", **given: Any) -> Classifier:
    torch.manual_seed(0)
    options = {"pretrained": False, **given}
    return classifier.timm({"target": Head(3)}, Pixels(3, 32), name=name, **options)


def images(n: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()


def disturbed(network: nn.Module) -> nn.Module:
    """The network with additions that add something."""
    generator = torch.Generator().manual_seed(1)
    for addition in adapt.additions(network):
        addition.up.weight.data.normal_(0, 0.3, generator=generator)
    return network


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 5),
        nn.Linear(6, 5, bias=False),
        nn.Conv2d(6, 5, 1),
        nn.Conv2d(6, 5, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(6, 5, (3, 2), dilation=2, padding="same", padding_mode="reflect"),
    ],
)
def test_an_addition_is_the_layer_with_merged_weights(layer: nn.Linear | nn.Conv2d) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6) if isinstance(layer, nn.Linear) else torch.randn(2, 6, 9, 9)
    addition = Added(layer, rank=2, scale=1.5, dropout=0.5).eval()
    assert torch.equal(addition(x), layer(x))
    addition.up.weight.data.normal_()
    before = addition(x)
    assert not torch.allclose(before, layer(x), atol=1e-2)
    state = {"weight": addition.weight} | ({"bias": addition.bias} if addition.bias is not None else {})
    layer.load_state_dict(state)
    assert torch.allclose(layer(x), before, atol=1e-4)


@pytest.mark.parametrize(("name", "layers"), [("test_resnet", ["*"]), ("test_vit", ["*attn.qkv", "*mlp*"])])
def test_the_merged_state_fits_the_plain_network_and_gives_its_outputs(name: str, layers: list[str]) -> None:
    given: dict[str, Any] = {} if name == "test_resnet" else {"drop_rate": 0.1}
    network = build(name, **given)
    plain_names = set(network.state_dict())
    adapt.lora(network, layers=layers, rank=2, alpha=3.0)
    disturbed(network).eval()
    merged = adapt.merged_state(network)
    assert set(merged) == plain_names
    plain = build(name, **given).eval()
    match = weights.load(plain, merged)
    assert not (match.missing or match.unexpected or match.misshapen)
    with torch.no_grad():
        expected = network(images())["target"]
        assert torch.allclose(plain(images())["target"], expected, atol=1e-4)
        assert not torch.allclose(build(name, **given).eval()(images())["target"], expected, atol=1e-2)


def test_only_additions_and_heads_learn() -> None:
    network = build("test_vit")
    total = sum(parameter.numel() for parameter in network.parameters())
    qkv = [module for name, module in network.named_modules() if name.endswith("attn.qkv")]
    adapt.lora(network, layers=["*attn.qkv"], rank=4)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name for name in learning if "heads" not in name} == {
        f"backbone.blocks.{block}.attn.qkv.{part}.weight" for block in range(len(qkv)) for part in ("up", "down")
    }
    assert {"heads.target.weight", "heads.target.bias"} <= learning
    added = sum(4 * (layer.in_features + layer.out_features) for layer in qkv)
    assert adapt.added_parameter_count(network) == added
    assert sum(parameter.numel() for parameter in network.parameters()) == total + added


def test_additions_leave_out_depthwise_convolutions_and_the_body_stays_in_evaluation() -> None:
    network = build("mobilenetv3_small_050", drop_rate=0.3)
    adapt.lora(network, layers=["blocks.*"], rank=2, dropout=0.2)
    assert all(getattr(addition.base, "groups", 1) == 1 for addition in adapt.additions(network))
    network.train()
    adapt.keep_frozen_in_eval(network)
    training = [name for name, module in network.backbone.named_modules() if module.training]
    assert training and all(name.endswith(".dropout") for name in training)
    assert network.heads.training


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (["*qvk"], "peft.layers: matches no linear layer or convolution, got '\\*qvk'"),
        (["blocks.0.norm1"], "matches no linear layer or convolution"),
    ],
)
def test_patterns_that_match_nothing(layers: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        adapt.lora(build("test_vit"), layers=layers)


def test_a_network_without_a_backbone() -> None:
    with pytest.raises(ConfigError, match="peft=lora: the network has no backbone to add to; use peft=none"):
        adapt.lora(nn.Linear(2, 2), layers=["*"])


@pytest.mark.parametrize(
    ("name", "stages", "learning"),
    [
        ("test_resnet", 1, {"layer4"}),
        ("test_resnet", 2, {"layer3", "layer4"}),
        ("test_vit", 2, {"blocks.4", "blocks.5", "norm"}),
        ("mobilenetv3_small_050", 1, {"conv_head"}),
    ],
)
def test_all_but_the_last_stages_are_frozen(name: str, stages: int, learning: set[str]) -> None:
    network = build(name, freeze=stages)
    for key, parameter in network.named_parameters():
        learns = key.startswith("heads.") or any(key.startswith(f"backbone.{start}.") for start in learning)
        assert parameter.requires_grad == learns, key
    assert not any(parameter.requires_grad for parameter in build(name, freeze="backbone").backbone.parameters())
    assert all(parameter.requires_grad for parameter in build(name, freeze=False).parameters())


def test_too_many_stages() -> None:
    with pytest.raises(ConfigError, match="arch.freeze: the network has 5 stages, got 5; use 1 to 4, true or false"):
        build(freeze=5)


def test_frozen_stages_keep_statistics_and_use_no_dropout() -> None:
    network = build(freeze=1)
    network.train()
    adapt.keep_frozen_in_eval(network)
    norms = {name: module for name, module in network.backbone.named_modules() if isinstance(module, nn.BatchNorm2d)}
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    network(images())
    moved = {name for name, norm in norms.items() if not torch.equal(norm.running_mean, before[name])}
    assert moved == {name for name in norms if name.startswith("layer4.")}


def test_statistics_stay_while_scales_and_shifts_learn() -> None:
    network = build()
    network.train()
    # Statistics that those of a batch are far from.
    norms = [module for module in network.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_var.fill_(0.3)
    in_evaluation = network.eval()(images())["target"]
    adapt.freeze_statistics(network, True)
    network.train()
    adapt.keep_frozen_in_eval(network)
    in_training = network(images())["target"]
    assert torch.equal(in_training, in_evaluation)
    in_training.square().sum().backward()
    assert all(torch.all(norm.running_var == 0.3) for norm in norms)
    assert all(parameter.grad is not None for norm in norms for parameter in (norm.weight, norm.bias))
    assert norms[0].weight.grad.abs().max() > 0
    adapt.freeze_statistics(network, False)
    network.train()
    adapt.keep_frozen_in_eval(network)
    assert not torch.allclose(network(images())["target"], in_evaluation, atol=1e-2)
    assert not any(torch.all(norm.running_var == 0.3) for norm in norms)


def test_a_part_without_parameters_belongs_to_what_comes_before_it() -> None:
    network = nn.Module()
    network.backbone = nn.Sequential(
        nn.Dropout(), nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)), nn.Dropout()
    )
    first, last = network.backbone[1], network.backbone[3]
    adapt.keep_frozen_in_eval(network)
    assert all(module.training for module in network.modules())
    first.requires_grad_(False)
    adapt.keep_frozen_in_eval(network)
    assert [module.training for module in network.backbone] == [False, False, False, True, True]
    assert last[0].training


def test_layers_are_counted_from_the_pixels() -> None:
    layers = adapt.layer_numbers(build("test_vit"), coarse=False)
    assert layers is not None
    assert layers["backbone.patch_embed.proj.weight"] == 0
    assert layers["backbone.blocks.5.norm1.weight"] == layers["backbone.norm.weight"] == 6
    assert adapt.layer_numbers(nn.Linear(1, 1), coarse=True) is None


@pytest.mark.parametrize(
    "given", [{"freeze": True}, {"freeze": 1}, {"freeze": False}, {"freeze": True, "pool": "stages"}]
)
def test_dropout_before_the_head_is_there_once_whatever_learns(given: dict[str, Any]) -> None:
    """A frozen body is in evaluation mode, where its own dropout did nothing: `arch.drop_rate` was given in vain."""
    network = build(drop_rate=0.5, **given).train()
    adapt.keep_frozen_in_eval(network)
    seen: list[torch.Tensor] = []
    network.heads["target"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for _ in range(8):
        network(images(16))
    whole = build(**given).train()
    adapt.keep_frozen_in_eval(whole)
    never = (whole.features(images(16)) == 0).float().mean().item()
    dropped = (torch.cat(seen) == 0).float().mean().item()
    assert dropped == pytest.approx(0.5 + never / 2, abs=0.05)
    network.eval()(images(2))
    torch.testing.assert_close(seen[-1], network.features(images(2)))
