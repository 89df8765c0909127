"""Heat maps equal closed forms, lie where an answer comes from, and lose it most when their places are deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.arch import classifier, detector, segmenter
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.arch.detector import Detector
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.errors import ConfigError
from mlpipe.kinds.detection import predict as found_boxes
from mlpipe.kinds.segmentation import predict as masks
from mlpipe.learn.nearest_head import Neighbours
from mlpipe.predicting import heat_maps
from mlpipe.predicting.heat_maps import Method

pytest.importorskip("pytorch_grad_cam", reason="the extra explain is not installed")
METHODS: tuple[Method, ...] = ("hires_cam", "grad_cam")


def network(name: str = "test_resnet", side: int = 96, classes: int = 4) -> Classifier:
    torch.manual_seed(3)
    return classifier.timm({"target": Head(classes)}, Pixels(3, side), name=name, pretrained=False).eval()


def images(side: int = 96, many: int = 2) -> Tensor:
    return torch.randint(0, 256, (many, 3, side, side), generator=torch.Generator().manual_seed(1)).float()


def drawn(planes: Tensor, size: tuple[int, int]) -> npt.NDArray[Any]:
    """What speaks for a class, from 0 to 1, as large as the image: (n, h, w) to (n, height, width)."""

    def scaled(values: Tensor) -> Tensor:
        values = values - values.amin((1, 2), keepdim=True)
        return values / values.amax((1, 2), keepdim=True).clamp(min=1e-12)

    large = functional.interpolate(scaled(planes.clamp(min=0))[:, None], size, mode="bilinear", align_corners=False)
    return scaled(large[:, 0]).detach().numpy()


def feature_maps(of: Classifier, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return of.backbone.forward_features((pixels - of.mean) / of.std)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_linear_head_on_averaged_features_is_zhous(method: Method) -> None:
    of, pixels, chosen = network(), images(many=4), [2, 0, 1, 3]
    found = heat_maps.of_images(of, pixels, chosen, "classification", method)
    by_hand = torch.einsum("nkhw,nk->nhw", feature_maps(of, pixels), of.heads["target"].weight[chosen])  # type: ignore[index]
    np.testing.assert_allclose(found, drawn(by_hand, (96, 96)), atol=2e-5)
    assert found.min() == 0 and found.max() == pytest.approx(1)


def test_of_two_classes_the_map_is_of_what_one_has_more_than_the_other() -> None:
    of, pixels = network(classes=2), images()
    weight = of.heads["target"].weight
    found = heat_maps.of_images(of, pixels, [0, 1], "classification", "hires_cam")
    more = torch.stack([weight[0] - weight[1], weight[1] - weight[0]])  # type: ignore[index]
    np.testing.assert_allclose(
        found, drawn(torch.einsum("nkhw,nk->nhw", feature_maps(of, pixels), more), (96, 96)), atol=2e-5
    )


def test_the_map_of_a_mirrored_network_is_the_mean_of_both_views() -> None:
    of, pixels = network(), images()
    alone = [heat_maps.of_images(of, one, [1, 1], "classification", "hires_cam") for one in (pixels, pixels.flip(-1))]
    of.mirrored = True
    found = heat_maps.of_images(of, pixels, [1, 1], "classification", "hires_cam")
    np.testing.assert_allclose(found, (alone[0] + alone[1][..., ::-1]) / 2, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_class_token_is_that_of_the_last_tokens_it_looks_at(method: Method) -> None:
    of, pixels = network("test_vit", 160), images(160)
    tokens: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Tensor) -> None:
        output.retain_grad()
        tokens.append(output)

    handle = of.backbone.blocks[-1].norm1.register_forward_hook(keep)  # type: ignore[union-attr, index]
    of(pixels)["target"][[0, 1], [3, 1]].sum().backward()
    handle.remove()
    values, gradient = (one[:, 1:].transpose(1, 2).unflatten(2, (10, 10)) for one in (tokens[0], tokens[0].grad))  # type: ignore[union-attr]
    weights = gradient if method == "hires_cam" else gradient.mean((2, 3), keepdim=True)
    found = heat_maps.of_images(of, pixels, [3, 1], "classification", method)
    np.testing.assert_allclose(found, drawn((values * weights).sum(1), (160, 160)), atol=2e-4)


def nearest(of: Classifier, count: int, kind: str = "classification") -> Neighbours:
    features = of.heads["target"].in_features
    head = Neighbours(kind, 3, features, rows=12)  # type: ignore[arg-type]
    draws = torch.Generator().manual_seed(5)
    head.rows = functional.normalize(torch.rand(12, features, generator=draws), dim=1)  # type: ignore[arg-type]
    head.targets, head.count = torch.eye(3)[torch.arange(12) % 3], torch.tensor(count)
    of.heads["target"] = head
    return head


@pytest.mark.parametrize("count", [1, 3])
def test_the_map_of_the_nearest_images_votes_is_that_of_what_makes_it_like_them(count: int) -> None:
    of, pixels = network(), images()
    head = nearest(of, count)
    maps = feature_maps(of, pixels)
    means = maps.mean((2, 3)).requires_grad_()
    own = head.rows[torch.tensor([[1, 4, 7, 10], [2, 5, 8, 11]])]
    likeness = torch.einsum("nf,nvf->nv", functional.normalize(means, dim=1), own) / 0.07
    votes = torch.log(likeness.topk(count).values.exp().sum(1))
    np.testing.assert_allclose(head.evidence(means, torch.tensor([1, 2])).detach(), votes.detach(), rtol=1e-5)
    votes.sum().backward()
    found = heat_maps.of_images(of, pixels, [1, 2], "classification", "hires_cam")
    assert means.grad is not None
    by_hand = torch.einsum("nkhw,nk->nhw", maps, means.grad)
    np.testing.assert_allclose(found, drawn(by_hand, (96, 96)), atol=2e-4)


class Grids(nn.Module):
    """Feature maps with their channels last, and a logit for each half of a wide image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 4, stride=4), nn.LayerNorm(6)
        self.act = nn.ReLU()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        maps = self.act(self.norm(self.conv(pixels).movedim(1, -1)))
        halves = maps.tensor_split(2, dim=2)
        return {"target": torch.stack([half.mean((1, 2, 3)) for half in (halves[1], *halves)], 1)}


def test_maps_lie_on_the_half_that_an_answer_is_made_of() -> None:
    torch.manual_seed(0)
    found = heat_maps.of_images(Grids(), torch.rand(2, 1, 16, 48), [1, 2], "multilabel", "hires_cam")
    assert found.shape == (2, 16, 48)
    assert found[0, :, :20].sum() > 0 and not found[0, :, 28:].any()
    assert found[1, :, 28:].sum() > 0 and not found[1, :, :20].any()


def test_a_network_without_places_has_no_map() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 2)

        def forward(self, pixels: Tensor) -> dict[str, Tensor]:
            return {"target": self.layer(pixels.flatten(1))}

    with pytest.raises(ConfigError, match="no layer whose outputs lie on the image"):
        heat_maps.of_images(Flat(), torch.rand(1, 1, 8, 8), [0], "classification", "hires_cam")


def test_a_network_is_left_as_it_was() -> None:
    of = network().train()
    of.backbone.conv1.requires_grad_(False)  # type: ignore[union-attr]
    before = {name: one.requires_grad for name, one in of.named_parameters()}
    hooks = sum(len(module._forward_hooks) for module in of.modules())
    heat_maps.of_images(of, images(), [0, 0], "classification", "hires_cam")
    assert of.training and before == {name: one.requires_grad for name, one in of.named_parameters()}
    assert all(one.grad is None for one in of.parameters())
    assert hooks == sum(len(module._forward_hooks) for module in of.modules())


def spots(many: int, seed: int) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Noise of 32 x 32 with a bright square (class 0), or a bright ring (class 1), of 8 pixels somewhere."""
    draws = np.random.default_rng(seed)
    pixels = draws.normal(80, 15, (many, 1, 32, 32))
    classes, places = draws.integers(0, 2, many), draws.integers(2, 22, (many, 2))
    for number, (top, left) in enumerate(places):
        pixels[number, 0, top : top + 8, left : left + 8] = 220
        if classes[number]:
            pixels[number, 0, top + 2 : top + 6, left + 2 : left + 6] = 80
    return torch.from_numpy(pixels).float(), torch.from_numpy(classes), [(int(a), int(b)) for a, b in places]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
        ]
        self.body = nn.Sequential(*layers, nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(24, 2)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"target": self.head(self.body((pixels - 100) / 60).amax((2, 3)))}


def test_deleting_what_a_map_shows_takes_more_from_the_answer_than_deleting_as_much_elsewhere() -> None:
    torch.manual_seed(0)
    drawn_anew, trained = Small(), Small()
    pixels, classes, _ = spots(192, 0)
    optimizer = torch.optim.Adam(trained.parameters(), 4e-3)
    for _ in range(12):
        for part in torch.arange(192).split(32):
            loss = functional.cross_entropy(trained(pixels[part])["target"], classes[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seen, true, places = spots(48, 1)
    logits = trained(seen)["target"].detach()
    assert (logits.argmax(1) == true).float().mean() > 0.85
    chosen = logits.argmax(1).tolist()
    maps = heat_maps.of_images(trained, seen, chosen, "classification", "hires_cam")
    other = heat_maps.of_images(drawn_anew, seen, chosen, "classification", "hires_cam")
    assert np.corrcoef(maps.ravel(), other.ravel())[0, 1] < 0.8
    inside = [float(one[a : a + 8, b : b + 8].sum() / one.sum()) for one, (a, b) in zip(maps, places, strict=True)]
    # The object has a sixteenth of the image.
    assert np.mean(inside) > 0.25

    def lost(order: npt.NDArray[Any]) -> float:
        """What the log-odds of the answer lose by the deletion of the first 96 pixels of an order."""
        changed = seen.flatten(1).clone()
        changed.scatter_(1, torch.from_numpy(order[:, :96].copy()), 80.0)
        after = trained(changed.view_as(seen))["target"].detach()
        odds = [
            one.gather(1, torch.tensor(chosen)[:, None]) - one.logsumexp(1, keepdim=True) for one in (logits, after)
        ]
        return float((odds[0] - odds[1]).mean())

    draws = np.random.default_rng(2)
    shown = lost(np.argsort(-maps.reshape(48, -1), axis=1, kind="stable"))
    at_random = [lost(draws.permuted(np.tile(np.arange(1024), (48, 1)), axis=1)) for _ in range(10)]
    assert shown > max(at_random) and shown > 0.1


@pytest.mark.parametrize(
    ("resize", "size", "height", "width"), [("squash", 16, 40, 20), ("pad", 16, 40, 20), ("short_side", 16, 32, 64)]
)
def test_a_restored_map_lies_where_the_network_saw_it(resize: Any, size: int, height: int, width: int) -> None:
    before = Preprocessing("x", 1, size, resize)
    down, across = slice(height // 2, height // 2 + 8), slice(width // 2, width // 2 + 8)
    pixels = np.zeros((height, width, 1), np.uint8)
    pixels[down, across] = 255
    seen = before(pixels)[..., 0].astype(np.float32) / 255
    (found,) = heat_maps.restored(seen[np.newaxis], before, [(height, width)])
    assert found.shape == (height, width) and found.min() >= 0 and found.max() <= 1
    assert found[down, across].mean() > 0.6 and found.sum() < 1.6 * pixels.sum() / 255
    rows, columns = np.nonzero(found > 0.5)
    assert abs(rows.mean() - (height // 2 + 3.5)) < 1.5 and abs(columns.mean() - (width // 2 + 3.5)) < 1.5


def test_the_mean_of_maps_is_weighted_and_reaches_from_0_to_1() -> None:
    one, other = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    one[0, 0], other[1, 1] = 1, 1
    (found,) = heat_maps.mean([[one], [other]], [0.25, 0.75])
    np.testing.assert_allclose(found, [[1 / 3, 0, 0], [0, 1, 0]], rtol=1e-6)
    assert not heat_maps.mean([[0 * one]], [1.0])[0].any()


def test_the_score_of_a_mask_is_the_mean_logit_where_the_class_is_predicted() -> None:
    logits = torch.tensor([[[[5.0, 1.0, 3.0]], [[2.0, 4.0, 1.0]]], [[[9.0, 9.0, 9.0]], [[1.0, 2.0, 6.0]]]])
    assert masks.score(logits, torch.tensor([0, 1])).tolist() == [4.0, 3.0]


def test_the_map_of_a_mask_is_of_what_the_encoder_gives_last() -> None:
    torch.manual_seed(1)
    head = {"target": Head(3, per_pixel=True)}
    of = segmenter.unet(head, Pixels(3, 90), encoder="resnet18", name="unet", pretrained=False, depth=3).eval()
    # As of encoders that need sides which they can halve.
    of._multiple = 8
    pixels = images(90)
    with torch.no_grad():
        whole, top, left = of.padded((pixels - of.mean) / of.std)
        features = [*of.backbone(whole)]
    assert whole.shape[2] > 90
    features[-1].requires_grad_()
    logits = of.heads["target"](of.decoder(features))[:, :, top : top + 90, left : left + 90]
    masks.score(logits, torch.tensor([2, 0])).sum().backward()
    gradient = features[-1].grad
    assert gradient is not None
    by_hand = drawn((features[-1] * gradient).sum(1), whole.shape[2:])[:, top : top + 90, left : left + 90]
    found = heat_maps.of_images(of, pixels, [2, 0], "segmentation", "hires_cam")
    np.testing.assert_allclose(found, by_hand, atol=2e-4)


def test_what_has_no_map_is_said() -> None:
    assert "predict images" in heat_maps.problems([], [], "images", 2)[0]
    assert heat_maps.problems([], [], "detection", 2) == []
    assert "two axes" in heat_maps.problems([], [], "regression", 3)[0]
    assert heat_maps.problems([], [], "regression", 2) == []
    with pytest.raises(ConfigError, match="no way to make heat maps, got 'x'; use hires_cam, grad_cam"):
        heat_maps.check_method("x", "method")


def finder(least: float) -> Detector:
    torch.manual_seed(3)
    return detector.yolo(
        {"target": Head(2, most=4)}, Pixels(3, 64), backbone="test_resnet", name="yolo", pretrained=False,
        strides=[8, 16], width=8, min_score=least,
    ).eval()  # fmt: skip


def test_the_answer_of_boxes_is_that_any_of_them_is_right() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.2, torch.nan]], requires_grad=True)
    rest = torch.tensor([[[0.0, 0, 9, 9]] * 4]), torch.tensor([[[1.0], [0.0], [1.0], [torch.nan]]])
    answer = found_boxes.score(torch.cat([rest[0], scores[..., None], rest[1]], -1), torch.tensor([1]))
    assert float(answer.detach()) == pytest.approx(-np.log(0.1 * 0.8))
    answer.sum().backward()
    assert scores.grad is not None
    # By log-odds, whose derivative of a score is score * (1 - score), it is the score itself.
    by_odds = scores.grad * scores.detach() * (1 - scores.detach())
    np.testing.assert_allclose(by_odds[0].nan_to_num(), [0.9, 0.0, 0.2, 0.0], rtol=1e-5)


def test_a_box_that_is_nearly_certain_speaks_for_its_class_most() -> None:
    odds = torch.tensor([[15.0, -1.0]], requires_grad=True)
    corners, label = torch.tensor([[[0.0, 0, 9, 9]] * 2]), torch.zeros(1, 2, 1)
    found_boxes.score(torch.cat([corners, odds.sigmoid()[..., None], label], -1), torch.tensor([0])).sum().backward()
    assert odds.grad is not None
    np.testing.assert_allclose(odds.grad, odds.detach().sigmoid(), rtol=1e-3)
    certain = torch.cat([corners, torch.ones(1, 2, 1), label], -1)
    assert bool(found_boxes.score(certain, torch.tensor([0])).isfinite().all())


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_boxes_is_that_of_the_coarsest_features(method: Method) -> None:
    of, pixels = finder(0.0), images(64)
    maps: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: list[Tensor]) -> None:
        output[-1].retain_grad()
        maps.append(output[-1])

    handle = of.backbone.register_forward_hook(keep)
    found_boxes.score(of(pixels)["target"], torch.tensor([1, 0])).sum().backward()
    handle.remove()
    (values,) = maps
    assert values.grad is not None
    weights = values.grad if method == "hires_cam" else values.grad.mean((2, 3), keepdim=True)
    found = heat_maps.of_images(of, pixels, [1, 0], "detection", method)
    np.testing.assert_allclose(found, drawn((values * weights).sum(1), (64, 64)), atol=2e-4)
    assert found.max() == pytest.approx(1)


def test_an_image_without_boxes_has_an_empty_map_and_does_not_say_where_that_of_others_lies() -> None:
    of, pixels = finder(0.0), images(64)
    alone = heat_maps.of_images(of, pixels[1:], [1], "detection", "hires_cam")
    real = of.forward

    def blind(given: Tensor) -> dict[str, Tensor]:
        there = real(given)["target"]
        seen = (given != 0).flatten(1).any(1)[:, None, None]
        return {"target": torch.where(seen, there, torch.nan)}

    of.forward = blind  # type: ignore[method-assign, assignment]
    pixels[0] = 0
    found = heat_maps.of_images(of, pixels, [1, 1], "detection", "hires_cam")
    assert not found[0].any()
    np.testing.assert_allclose(found[1:], alone, atol=1e-5)
    assert not heat_maps.of_images(of, pixels[:1], [1], "detection", "hires_cam").any()
