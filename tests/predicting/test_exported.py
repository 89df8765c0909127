"""The network of a file: its resize is Pillow's, its rows are those of the models it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlpipe.arch import boxes
from mlpipe.data.preprocessing import Interpolation, Preprocessing
from mlpipe.data.sources.targets.boxes import placing, unplaced
from mlpipe.post import kind as post_kind
from mlpipe.post.calibration.labels import calibrate_labels
from mlpipe.post.ensembling import box_fusion
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.measures.box_metrics import as_outputs, detections_of
from mlpipe.predicting import box_tensors, exported, onnx_files, output_tensors
from mlpipe.predicting.exported import Mixture, Part, Whole
from mlpipe.predicting.output_tensors import Classes, Maps

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "box", "linear"])
@pytest.mark.parametrize(
    ("kind", "channels"), [(np.uint8, 1), (np.uint8, 3), (np.uint8, 4), (np.uint16, 3), (np.float32, 3)]
)
def test_the_resize_is_that_of_the_pipeline(kind: type, channels: int, interpolation: Interpolation) -> None:
    before = Preprocessing("x", channels, (16, 24), "squash", interpolation=interpolation)
    if interpolation == "linear" and kind is not np.uint8:
        pytest.skip("OpenCV's own sums of these differ between its builds")
    for shape in ((40, 60), (7, 9), (200, 31), (16, 24), (3, 90)):
        # Floats lie from 0 to 1.
        is_float = kind is np.float32
        peak = 255 if is_float else np.iinfo(kind).max
        pixels = RNG.integers(0, peak + 1, (*shape, channels), np.uint8 if is_float else kind)
        pixels[: shape[0] // 2] = np.where(pixels[: shape[0] // 2] % 2, 0, peak)
        pixels = (pixels / 255).astype(np.float32) if is_float else pixels
        seen = exported.resized(torch.from_numpy(pixels)[None].movedim(-1, 1), before)[0].movedim(0, -1).numpy()
        np.testing.assert_allclose(seen, before(pixels), rtol=0, atol=1e-6 if is_float else 0)


class Mean(nn.Module):
    """Three rows made of the mean of an image."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([scale, -scale, 0.5]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"target": images.mean((1, 2, 3))[:, None] / 255 * self.weight}


CALIBRATION = {"method": "affine", "prior": [0.2, 0.3, 0.5], "rows": 9, "notes": [], "scores": {}}
CALIBRATION["parameters"] = {"scale": 2.0, "bias": [0.1, 0.0, -0.3]}


def whole_of(resizes: bool, *, from_raw: bool = False) -> tuple[Whole, Mixture]:
    before = Preprocessing("x", 3, (6, 5), "squash")
    members = [[Part(Mean(1.0), CALIBRATION, before), Part(Mean(2.0), None, before)], [Part(Mean(-3.0), None, before)]]
    mixture = Mixture(members, [0.25, 0.75], "probabilities", "logits", CALIBRATION if from_raw else None, from_raw)
    return Whole(mixture, Classes(), resizes=resizes), mixture


@pytest.mark.parametrize("from_raw", [False, True])
def test_rows_are_calibrated_and_mixed_as_those_of_the_project(from_raw: bool) -> None:
    from mlpipe.post.calibration.values import Calibration

    pixels = torch.from_numpy(RNG.integers(0, 256, (4, 6, 5, 3), np.uint8))
    whole, mixture = whole_of(False, from_raw=from_raw)
    calibrated = Calibration.from_plain(CALIBRATION)
    members = []
    for parts in mixture.members:
        rows = [part.network(pixels.movedim(-1, 1).float())["target"].double().detach().numpy() for part in parts]
        use = [part.calibration is not None and not from_raw for part in parts]
        rows = [calibrated.apply(one) if used else one for one, used in zip(rows, use, strict=True)]
        members.append(combine(rows, [1 / len(rows)] * len(rows), "classification", "probabilities"))
    wanted = combine(members, mixture.weights, "classification", "logits")
    wanted = calibrated.apply(wanted) if from_raw else wanted
    values, logits = (one.detach().numpy() for one in whole(pixels))
    np.testing.assert_allclose(values, np.exp(wanted), atol=1e-6)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), values, atol=1e-6)


@pytest.mark.program
@pytest.mark.parametrize("resizes", [True, False])
def test_a_file_gives_what_the_network_gives(tmp_path: Path, resizes: bool) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    whole, _ = whole_of(resizes)
    shape = (2, 11, 9, 3) if resizes else (2, 6, 5, 3)
    example = torch.from_numpy(RNG.integers(0, 256, shape, np.uint8))
    exported.save(whole, example, tmp_path / "a.onnx", {"classes": ["ü", "b"]}, any_size=resizes)
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    assert json.loads(session.get_modelmeta().custom_metadata_map["mlpipe"])["classes"] == ["ü", "b"]
    assert onnx_files.read(tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    for count, high, wide in ((1, 30, 17), (5, 4, 50), (2, 90, 9)) if resizes else ((1, 6, 5), (7, 6, 5)):
        pixels = RNG.integers(0, 256, (count, high, wide, 3), np.uint8)
        got = session.run(None, {"pixels": pixels})
        wanted = [one.detach().numpy() for one in whole(torch.from_numpy(pixels))]
        np.testing.assert_allclose(got[0], wanted[0], atol=1e-6)
        np.testing.assert_allclose(got[1], wanted[1], atol=1e-5)


def test_what_a_file_can_resize() -> None:
    assert exported.is_resizable(Preprocessing("x", 3, 8, "squash"))
    for way in ("lanczos", "linear"):
        assert exported.is_resizable(Preprocessing("x", 3, 8, "squash", interpolation=way))
    others = [
        Preprocessing("x", 3, None, "squash"),
        Preprocessing("x", 3, 8, "pad"),
        Preprocessing("x", 3, 8, "squash", interpolation="nearest"),
        Preprocessing("x", 3, 8, "squash", "original"),
    ]
    assert not any(exported.is_resizable(one) for one in others)


class Places(nn.Module):
    """Two values of every place of an image."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        dark = images.mean(1, keepdim=True) / 64
        return {"target": torch.cat([dark, 2 - dark], 1)}


def test_values_of_places_are_mixed_in_the_size_of_the_image() -> None:
    before = [Preprocessing("x", 3, size, "squash") for size in ((6, 5), (8, 8))]
    mixture = Mixture([[Part(Places(), None, one)] for one in before], [0.25, 0.75], "", "", None, False)
    whole = Whole(mixture, Maps(output_tensors.probabilities), resizes=True)
    pixels = RNG.integers(0, 256, (11, 9, 3), np.uint8)
    (values,) = whole(torch.from_numpy(pixels)[None])
    wanted = np.zeros((11, 9, 2))
    for weight, one in zip((0.25, 0.75), before, strict=True):
        dark = one(pixels).mean(-1) / 64
        chances = 1 / (1 + np.exp(-np.stack([2 * dark - 2, 2 - 2 * dark], -1)))
        wanted += weight * one.restored(chances.astype(np.float32), 11, 9)[0]
    np.testing.assert_allclose(values[0].numpy(), wanted, atol=1e-6)
    np.testing.assert_array_equal(values[0].numpy().argmax(-1), wanted.argmax(-1))


def test_half_precision_leaves_the_networks_alone() -> None:
    whole, mixture = whole_of(False)
    half = Whole(mixture, Classes(), resizes=False, half=True)
    pixels = torch.from_numpy(RNG.integers(0, 256, (2, 6, 5, 3), np.uint8))
    np.testing.assert_allclose(half(pixels)[0].detach(), whole(pixels)[0].detach(), atol=2e-3)
    assert half.networks[0].weight.dtype == torch.float16
    assert mixture.members[0][0].network.weight.dtype == torch.float32


@pytest.mark.program
def test_a_program_of_torch_export_gives_what_the_network_gives(tmp_path: Path) -> None:
    whole, _ = whole_of(True)
    example = torch.from_numpy(RNG.integers(0, 256, (2, 11, 9, 3), np.uint8))
    exported.save_program(whole, example, tmp_path / "a.pt2", {"classes": ["a"]}, any_size=True)
    call = exported.loaded(tmp_path / "a.pt2")
    for shape in ((1, 30, 17, 3), (3, 4, 50, 3)):
        pixels = torch.from_numpy(RNG.integers(0, 256, shape, np.uint8))
        for one, other in zip(call(pixels), whole(pixels), strict=True):
            np.testing.assert_allclose(one, other.detach(), atol=1e-6)
    held = {exported.FACTS: ""}
    torch.export.load(tmp_path / "a.pt2", extra_files=held)
    assert json.loads(held[exported.FACTS]) == {"classes": ["a"]}


class Anchored(nn.Module):
    """Boxes of one grid of an image, whose raw rows its pixels give.

    Args:
        seed: Of its weights.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2 * (boxes.BOX + 3), 3, 8, 8, generator=generator) / 900)
        self.register_buffer("anchors", torch.tensor([[[20.0, 30.0], [24.0, 16.0]]]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        cells = nn.functional.conv2d(images, self.weight, stride=8)
        sides = (images.shape[2], images.shape[3])
        raw = boxes.rows(cells.flatten(2).mT, [(cells.shape[2], cells.shape[3])], sides, self.anchors)
        return {"target": boxes.detections(raw, sides, min_score=0.2, iou=0.4)}


@pytest.mark.program
@pytest.mark.parametrize(("networks", "weights"), [(1, [1.0]), (3, [0.25, 0.75])])
def test_a_file_gives_the_boxes_that_the_project_gives(tmp_path: Path, networks: int, weights: list[float]) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    odds = RNG.normal(size=(60, 3))
    fitted = calibrate_labels(odds, (odds + RNG.normal(size=odds.shape) > 0).astype(float))
    before = Preprocessing("x", 3, (48, 64), "squash")
    parts = [Part(Anchored(seed), fitted.as_plain() if seed else None, before) for seed in range(networks)]
    members = [parts[:1]] if networks == 1 else [parts[:2], parts[2:]]
    mixture = Mixture(members, weights, "", "", None, False)
    whole = Whole(mixture, box_tensors.Boxes(), resizes=True).eval()
    example = torch.from_numpy(RNG.integers(0, 256, (2, 60, 50, 3), np.uint8))
    exported.save(whole, example, tmp_path / "a.onnx", {"classes": ["a"]}, any_size=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    many = 0
    for count, high, wide in ((1, 96, 128), (4, 48, 64), (2, 61, 45)):
        pixels = RNG.integers(0, 256, (count, high, wide, 3), np.uint8)
        wanted = by_project(mixture, pixels)
        (found,) = session.run(None, {"pixels": pixels})
        for one, other in zip(wanted, found.astype(np.float64), strict=True):
            own, there = one[one[:, 4] > 0], other[other[:, 4] > 0]
            np.testing.assert_allclose(there, own, atol=2e-3)
            many += len(own)
    assert many > 20


def by_project(mixture: Mixture, pixels: np.ndarray) -> np.ndarray:
    """Boxes of images as rows of the project are moved, calibrated and fused, shape (n, k, 6)."""
    members = []
    for parts in mixture.members:
        rows = []
        for part in parts:
            seen = np.stack([part.preprocessing(one) for one in pixels])
            with torch.no_grad():
                found = part.network(torch.from_numpy(seen).movedim(-1, 1).float())["target"].numpy()
            places = placing(part.preprocessing, np.array([pixels.shape[2:0:-1]] * len(pixels)))
            own = as_outputs(np.stack(unplaced(list(found), places))).astype(np.float64)
            plain = part.calibration
            rows.append(own if plain is None else post_kind.of("detection").PROBABILITIES.learned(plain)(own))
        members.append(box_fusion.fused_boxes(rows, [1 / len(rows)] * len(rows)))
    return detections_of(box_fusion.fused_boxes(members, mixture.weights))


def test_features_are_what_the_heads_are_given_and_change_nothing_else() -> None:
    from mlpipe.arch import classifier
    from mlpipe.arch.classifier import Head, Pixels

    torch.manual_seed(0)
    before, pixels = (
        Preprocessing("x", 3, (32, 32), "squash"),
        torch.from_numpy(RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)),
    )
    networks = [
        classifier.timm({"target": Head(3)}, Pixels(3, 32), name="test_resnet", pretrained=False).eval()
        for _ in range(2)
    ]
    networks[1].mirrored = True
    mixture = Mixture([[Part(one, CALIBRATION, before) for one in networks]], [1.0], "logits", "logits", None, False)
    plain, more = (Whole(mixture, Classes(), resizes=False, features=features) for features in (False, True))
    with torch.no_grad():
        given, (values, logits, features) = plain(pixels), more(pixels)
        seen = pixels.movedim(-1, 1).float()
        wanted = torch.cat([one.features(seen) for one in networks], 1)
    assert plain.names == ("values", "logits") and more.names == ("values", "logits", "features")
    torch.testing.assert_close(features, wanted, rtol=0, atol=0)
    torch.testing.assert_close((values, logits), given, rtol=0, atol=0)
