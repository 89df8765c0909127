"""A file of weights is made to fit as timm does it with its own pretrained weights, which are the reference here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mlpipe.arch import classifier, initial_weights, segmenter, timm_body, weights
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.errors import DataError

# Small members of families: what timm's filters and its first convolutions differ in.
FAMILIES = [
    ("test_vit", 1, 64, 64),
    ("test_vit", 5, 96, 64),
    ("test_vit", 4, 160, 160),
    ("test_vit2", 1, 64, 64),
    ("test_vit_relpos", 1, 64, 96),
    ("test_resnet", 1, 32, 32),
    ("test_convnext", 5, 32, 32),
    ("test_efficientnet", 1, 32, 32),
    ("test_byobnet", 2, 32, 32),
    ("test_nfnet", 1, 32, 32),
    ("mobilenetv3_small_050", 4, 32, 32),
    ("regnetx_002", 1, 64, 64),
]
LARGE = [
    ("vit_tiny_patch16_224", 1, 64, 64),
    ("deit_tiny_distilled_patch16_224", 3, 48, 96),
    ("xcit_nano_12_p8_224", 1, 64, 64),
    ("eva02_tiny_patch14_224", 5, 56, 56),
    ("levit_128s", 1, 224, 224),
    ("densenet121", 1, 64, 64),
    ("swin_tiny_patch4_window7_224", 1, 64, 64),
    ("swin_tiny_patch4_window7_224", 3, 96, 160),
    ("swinv2_tiny_window8_256", 1, 128, 128),
    ("coatnet_pico_rw_224", 1, 96, 96),
    ("maxvit_pico_rw_256", 3, 128, 128),
    ("gmixer_12_224", 5, 224, 224),
    ("beit_base_patch16_224", 1, 64, 64),
    ("samvit_base_patch16_224", 1, 224, 224),
    ("vit_small_r26_s32_224", 1, 96, 96),
    ("crossvit_tiny_240", 1, 240, 240),
    ("convmixer_768_32", 1, 64, 64),
    ("vgg11", 1, 64, 64),
    ("twins_svt_small", 1, 96, 96),
    ("mvitv2_tiny", 1, 96, 96),
]


def stored(name: str, path: Path, channels: int = 3, **options: Any) -> Path:
    """A file of a network with every tensor drawn anew, as a training leaves it."""
    torch.manual_seed(1)
    state = timm.create_model(name, in_chans=channels, **options).state_dict()
    torch.save({key: torch.randn_like(one) if one.is_floating_point() else one for key, one in state.items()}, path)
    return path


def theirs(name: str, channels: int, height: int, width: int, file: Path, **overlay: Any) -> nn.Module:
    """What timm makes of a file that it is told to be its pretrained weights."""
    settings = timm.get_pretrained_cfg(name)
    size = {"img_size": (height, width)} if settings.fixed_input_size else {}
    overlay = {"file": str(file), **overlay}
    return timm.create_model(
        name, pretrained=True, num_classes=0, in_chans=channels, pretrained_cfg_overlay=overlay, **size
    )


def ours(name: str, channels: int, height: int, width: int, file: Path, **options: Any) -> Classifier:
    pixels = Pixels(channels, height, width=width)
    return classifier.timm({"target": Head(3)}, pixels, name=name, weights=str(file), **options)


def assert_equal(mine: nn.Module, reference: nn.Module) -> None:
    expected, got = reference.state_dict(), mine.state_dict()
    assert set(got) == set(expected)
    differing = [name for name in expected if not torch.equal(got[name], expected[name])]
    assert differing == []


@pytest.mark.parametrize(("name", "channels", "height", "width"), FAMILIES)
def test_a_file_is_taken_as_timm_takes_pretrained_weights(
    tmp_path: Path, name: str, channels: int, height: int, width: int
) -> None:
    file = stored(name, tmp_path / "w.pth")
    network = ours(name, channels, height, width, file)
    assert_equal(network.backbone, theirs(name, channels, height, width, file))
    assert ("adapted to other channels" in network.begun) is (channels != 3)


@pytest.mark.program
@pytest.mark.parametrize(("name", "channels", "height", "width"), LARGE)
def test_a_file_of_a_larger_network_is_taken_alike(
    tmp_path: Path, name: str, channels: int, height: int, width: int
) -> None:
    file = stored(name, tmp_path / "w.pth")
    assert_equal(ours(name, channels, height, width, file).backbone, theirs(name, channels, height, width, file))


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 5), (4, 3), (1, 2), (5, 5)])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_any_channels_become_any_others_by_timms_rule(tmp_path: Path, name: str, before: int, after: int) -> None:
    file = stored(name, tmp_path / "w.pth", before)
    size = timm.get_pretrained_cfg(name).input_size[-1]
    network = ours(name, after, size, size, file)
    assert_equal(network.backbone, theirs(name, after, size, size, file, input_size=(before, size, size)))


@pytest.mark.parametrize("wrapped", ["plain", "data_parallel", "lightning", "compiled", "deep", "record"])
def test_what_a_file_wraps_around_the_names_does_not_matter(tmp_path: Path, wrapped: str) -> None:
    state = torch.load(stored("test_vit", tmp_path / "w.pth"))
    reference = theirs("test_vit", 1, 64, 64, tmp_path / "w.pth")
    prefix = {
        "data_parallel": "module.",
        "lightning": "model.",
        "compiled": "_orig_mod.",
        "deep": "net.module.encoder.",
    }
    named = {f"{prefix.get(wrapped, '')}{name}": tensor for name, tensor in state.items()}
    made: dict[str, Any] = named
    if wrapped == "lightning":
        named["criterion.weight"] = torch.ones(3)
        made = {"state_dict": named, "epoch": 3, "hyper_parameters": {"lr": 0.1}}
    if wrapped == "record":
        whole = classifier.timm({"target": Head(3)}, Pixels(3, 160), name="test_vit", pretrained=False)
        whole.backbone.load_state_dict(state, strict=False)
        made = whole.state_dict()
    torch.save(made, tmp_path / "wrapped.pth")
    network = ours("test_vit", 1, 64, 64, tmp_path / "wrapped.pth")
    assert_equal(network.backbone, reference)
    assert ("2 of heads left out" in network.begun) is (wrapped != "record")


def test_the_names_of_torchvision_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    for name in ("resnet18", "densenet121"):
        their = getattr(models, name)(weights=None)
        torch.save(their.state_dict(), tmp_path / f"{name}.pth")
        network = ours(name, 3, 64, 64, tmp_path / f"{name}.pth").eval()
        images = torch.rand(2, 3, 64, 64)
        last = "fc" if name == "resnet18" else "classifier"
        setattr(their, last, nn.Identity())
        torch.testing.assert_close(network.backbone(images), their.eval()(images), rtol=1e-3, atol=1e-4)


def test_statistics_of_pixels_are_the_tasks_and_those_of_batches_the_files(tmp_path: Path) -> None:
    def made(peak: float, file: Path | None = None, **options: Any) -> Classifier:
        weights = {"weights": str(file)} if file else {"pretrained": False}
        pixels = Pixels(1, 32, peak, **options)
        return classifier.timm({"target": Head(3)}, pixels, name="test_resnet", **weights)

    first = made(255.0)
    for module in first.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_mean, 0.25)  # type: ignore[arg-type]
    weights.save(first.state_dict(), tmp_path / "w.safetensors")
    for peak, normalization in ((65535.0, "model"), (255.0, "unit"), (1.0, "model")):
        again = made(peak, tmp_path / "w.safetensors", normalization=normalization)
        new = made(peak, normalization=normalization)
        assert torch.equal(again.mean, new.mean) and torch.equal(again.std, new.std)
        assert float(again.backbone.bn1.running_mean[0]) == 0.25
        assert torch.equal(again.heads["target"].weight, first.heads["target"].weight)


def test_a_grid_that_was_no_square_is_read_as_one(tmp_path: Path) -> None:
    """A record of images of 64 x 160: its places are 4 x 10 and not a part of 6 x 6."""
    first = classifier.timm({"target": Head(3)}, Pixels(3, 64, width=160), name="test_vit", pretrained=False)
    with torch.no_grad():
        rows = torch.arange(4.0).view(4, 1, 1).expand(4, 10, first.backbone.pos_embed.shape[2]).reshape(1, 40, -1)
        first.backbone.pos_embed[:, -40:] = rows
    weights.save(first.state_dict(), tmp_path / "w.safetensors")
    again = ours("test_vit", 3, 128, 320, tmp_path / "w.safetensors")
    table = again.backbone.pos_embed[0, -8 * 20 :].view(8, 20, -1)
    torch.testing.assert_close(table, table[:, :1].expand_as(table), rtol=1e-4, atol=1e-4)
    assert table[0].mean() < 0.5 and table[-1].mean() > 2.5


def test_a_grid_of_known_images_is_read_as_theirs(tmp_path: Path) -> None:
    """4 x 4 places of which only the record knows that they were 2 x 8."""
    first = classifier.timm({"target": Head(3)}, Pixels(3, 32, width=128), name="test_vit", pretrained=False)
    places = torch.arange(8.0).view(1, 8, 1).expand(2, 8, first.backbone.pos_embed.shape[2]).reshape(1, 16, -1)
    with torch.no_grad():
        first.backbone.pos_embed[:, -16:] = places
    weights.save(first.state_dict(), tmp_path / "w.safetensors")
    network = classifier.timm({"target": Head(3)}, Pixels(3, 64, width=256), name="test_vit", pretrained=False)
    start = initial_weights.Start(tmp_path / "w.safetensors", "", "PROJ#1", keep_heads=True, sides=(32, 128))
    assert "1 resampled to another size (backbone.pos_embed)" in initial_weights.load(network, start)
    table = network.backbone.pos_embed[0, -4 * 16 :].view(4, 16, -1)
    torch.testing.assert_close(table, table[:1].expand_as(table), rtol=1e-4, atol=1e-4)
    assert table[0, 0].mean() < 0.5 and table[0, -1].mean() > 6.5


@pytest.mark.parametrize(
    ("name", "size", "table"),
    [
        ("pit_ti_224", 96, "pos_embed"),
        ("visformer_tiny", 96, "pos_embed2"),
        ("convit_tiny", 96, "pos_embed"),
        ("gcvit_xxtiny", 96, "stages.0.blocks.0.attn.rel_pos.relative_position_bias_table"),
        ("levit_128s", 96, "stages.0.blocks.0.attn.attention_biases"),
    ],
)
def test_tables_that_timm_does_not_resample_keep_what_they_say(
    tmp_path: Path, name: str, size: int, table: str
) -> None:
    """A table that is the same number everywhere is so at every size; timm refuses to load these."""
    state = timm.create_model(name).state_dict()
    state[table] = torch.full_like(state[table], 7.0)
    torch.save(state, tmp_path / "w.pth")
    got = ours(name, 3, size, size, tmp_path / "w.pth").backbone.state_dict()[table]
    assert got.shape != state[table].shape
    torch.testing.assert_close(got, torch.full_like(got, 7.0), rtol=1e-4, atol=1e-4)


def test_positions_run_on_from_edge_to_edge(tmp_path: Path) -> None:
    """A ramp from left to right stays one, in maps of channels and in rows of places."""
    for name, table in (("pit_ti_224", "pos_embed"), ("convit_tiny", "pos_embed")):
        state = timm.create_model(name).state_dict()
        one = state[table]
        side = one.shape[-1] if one.ndim == 4 else math.isqrt(one.shape[1])
        ramp = torch.linspace(0, 1, side).repeat(side, 1)
        state[table] = (ramp if one.ndim == 4 else ramp.reshape(1, -1, 1)).expand_as(one).clone()
        torch.save(state, tmp_path / "w.pth")
        got = ours(name, 3, 96, 96, tmp_path / "w.pth").backbone.state_dict()[table]
        got = got[0, 0] if got.ndim == 4 else got[0, :, 0].view(math.isqrt(got.shape[1]), -1)
        assert bool((got.diff(dim=1) > 0).all()) and float(got.diff(dim=0).abs().max()) < 1e-4


def test_another_network_is_refused_with_names(tmp_path: Path) -> None:
    """A larger network's file holds all tensors of a smaller one, in their shapes."""
    file = stored("resnet34", tmp_path / "w.pth")
    with pytest.raises(DataError) as caught:
        ours("resnet18", 3, 32, 32, file)
    (sentence,) = caught.value.problems
    assert "122 tensors loaded" not in sentence and "unused (layer1.2.conv1.weight" in sentence
    assert sentence.endswith("choose the arch that it was saved from, or add arch.weights_strict=false")
    assert "unused (layer1.2.conv1.weight" in ours("resnet18", 3, 32, 32, file, weights_strict=False).begun


def test_one_tensor_of_another_shape_is_refused_with_its_shapes(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    name = "layer2.0.conv1.weight"
    wrong = torch.zeros(2, *state[name].shape[1:])
    torch.save({**state, name: wrong}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"1 of another shape \(backbone.layer2.0.conv1.weight: \[2, .*\] for \["):
        ours("test_resnet", 3, 32, 32, tmp_path / "w.pth")
    kept = ours("test_resnet", 3, 32, 32, tmp_path / "w.pth", weights_strict=False)
    assert torch.equal(kept.backbone.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


def test_a_report_does_not_change_what_is_drawn(tmp_path: Path) -> None:
    file = stored("test_resnet", tmp_path / "w.pth")
    torch.manual_seed(3)
    classifier.timm({"target": Head(3)}, Pixels(3, 32), name="test_resnet", pretrained=False)
    expected = torch.rand(3)
    torch.manual_seed(3)
    timm_body._filter_and_network.cache_clear()
    ours("test_resnet", 3, 32, 32, file)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_an_encoder_takes_a_file_of_its_network_alone(tmp_path: Path, encoder: str) -> None:
    file = stored(encoder, tmp_path / "w.pth")
    heads, pixels = {"target": Head(3, per_pixel=True)}, Pixels(1, 64)
    options: dict[str, Any] = {"encoder": encoder, "name": "x", "weights": str(file)}
    network = segmenter.unet(heads, pixels, **options)
    their = timm.create_model(
        encoder,
        pretrained=True,
        in_chans=1,
        features_only=True,
        out_indices=network.backbone.model.feature_info.out_indices,
        pretrained_cfg_overlay={"file": str(file)},
    )
    expected = their.state_dict()
    got = network.backbone.model.state_dict()
    assert set(got) == set(expected) and all(torch.equal(got[name], expected[name]) for name in expected)
    assert "1 adapted to other channels" in network.begun and "new (heads.target.0.weight" in network.begun


def test_a_classifiers_record_begins_an_encoder_and_the_other_way(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = classifier.timm({"target": Head(3)}, Pixels(3, 64), name="test_convnext", pretrained=False)
    weights.save(one.state_dict(), tmp_path / "one.safetensors")
    masks = {"target": Head(2, per_pixel=True)}
    options: dict[str, Any] = {"encoder": "test_convnext", "name": "x"}
    other = segmenter.unet(masks, Pixels(3, 64), weights=str(tmp_path / "one.safetensors"), **options)
    image = torch.rand(1, 3, 64, 64)
    deepest = one.backbone.eval().forward_intermediates(image, intermediates_only=True)[-1]
    torch.testing.assert_close(other.backbone.eval().model(image)[-1], deepest)
    weights.save(other.state_dict(), tmp_path / "other.safetensors")
    again = ours("test_convnext", 3, 64, 64, tmp_path / "other.safetensors", weights_strict=False)
    for name, tensor in again.backbone.state_dict().items():
        if not name.startswith(("head", "norm_pre")):
            assert torch.equal(tensor, one.backbone.state_dict()[name]), name
    assert "of heads left out (decoder." in again.begun


@pytest.mark.parametrize("tag", ["a1_in1k", "tv_in1k", None])
def test_the_weights_of_the_tag_are_loaded_and_said(monkeypatch: pytest.MonkeyPatch, tag: str | None) -> None:
    asked: list[str] = []
    state = timm.create_model("resnet18").state_dict()

    def answer(name: str, *_: object, **__: object) -> dict[str, torch.Tensor]:
        asked.append(name)
        return dict(state)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", answer)
    monkeypatch.setattr(classifier, "_is_reachable", lambda address: True)
    name = f"resnet18.{tag}" if tag else "resnet18"
    network = classifier.timm({"target": Head(3)}, Pixels(1, 32), name=name, pretrained=True)
    used = tag or timm.get_pretrained_cfg("resnet18").tag
    assert asked == [f"timm/resnet18.{used}"]
    assert network.begun.startswith(f"starts from timm's weights resnet18.{used}, 120 tensors loaded")
    assert (
        "1 adapted to other channels (backbone.conv1.weight), 2 of heads left out (fc.weight, fc.bias)" in network.begun
    )
    masks = {"target": Head(3, per_pixel=True)}
    maps = segmenter.unet(masks, Pixels(1, 64), encoder=name, name="x", pretrained=True)
    assert asked[1:] == asked[:1] and torch.equal(
        maps.backbone.model.layer4[0].conv1.weight, state["layer4.0.conv1.weight"]
    )
    assert "1 adapted to other channels (backbone.model.conv1.weight)" in maps.begun
