"""Several views of an image: the mean is a plain loop's, of the right thing; eight views of a square; nothing random."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax
from torch import Tensor, nn

from mlpipe.arch import weights
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn import fit, tta
from mlpipe.learn.build.network import build_network
from mlpipe.learn.job import Watch
from mlpipe.predicting import records
from mlpipe.predicting.records import RowsToPredict
from mlpipe.runs import predictions
from tests.learn.conftest import job


def images(n: int = 3, channels: int = 2, side: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=generator)


def network(outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 64, outputs))


def through(net: nn.Module) -> Any:
    return lambda batch: net(batch.float() / 255)


@pytest.mark.parametrize(
    ("views", "by_hand"),
    [
        (tta.flips(255.0), [lambda x: x, np.fliplr]),
        (tta.flips(255.0, vertical=True), [lambda x: x, np.fliplr, np.flipud, lambda x: np.flipud(np.fliplr(x))]),
        (tta.rotate(255.0), [lambda x, k=k: np.rot90(x, k) for k in range(4)]),
        (
            tta.d4(255.0),
            [lambda x, k=k, f=f: f(np.rot90(x, k)) for k, f in itertools.product(range(4), (np.asarray, np.fliplr))],
        ),
    ],
)
def test_the_mean_is_that_of_a_plain_loop(views: tta.Views, by_hand: list[Any]) -> None:
    net, batch = network(), images()
    pixels = batch.permute(0, 2, 3, 1).numpy()
    outputs = []
    with torch.no_grad():
        for change in by_hand:
            changed = np.stack([np.ascontiguousarray(change(image)) for image in pixels])
            outputs.append(through(net)(torch.from_numpy(changed).permute(0, 3, 1, 2)).numpy().astype(np.float64))
        got = views.predict(through(net), batch, "classification").numpy()
    np.testing.assert_allclose(np.exp(got), np.mean([softmax(one, axis=1) for one in outputs], axis=0), atol=1e-6)
    np.testing.assert_allclose(np.exp(got).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("mix", ["probabilities", "logits"])
def test_what_the_mean_is_of(kind: Any, mix: Any) -> None:
    outputs = [np.random.default_rng(seed).normal(0, 3, (5, 4)) for seed in range(3)]
    got = tta.mean_of([torch.from_numpy(one) for one in outputs], kind, mix).numpy()
    if mix == "logits" or kind == "regression":
        expected = np.mean(outputs, axis=0)
    elif kind == "multilabel":
        expected = logit(np.mean([expit(one) for one in outputs], axis=0))
    else:
        expected = np.log(np.mean([softmax(one, axis=1) for one in outputs], axis=0))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_extreme_logits_stay_finite() -> None:
    far = [torch.tensor([[200.0, -200.0]]), torch.tensor([[180.0, -190.0]])]
    for kind in ("classification", "multilabel"):
        assert tta.mean_of(far, kind).isfinite().all()  # type: ignore[arg-type]


def test_a_square_has_eight_views_and_the_mean_does_not_change_between_them() -> None:
    views, batch, net = tta.d4(255.0), images(1), network()
    seen = [view(batch) for view in views.views]
    assert len({one.numpy().tobytes() for one in seen}) == 8
    with torch.no_grad():
        expected = views.predict(through(net), batch, "classification")
        for turned in seen:
            assert torch.allclose(views.predict(through(net), turned, "classification"), expected, atol=1e-5)
    flat = torch.full_like(batch, 7)
    assert all(torch.equal(view(flat), flat) for view in views.views)


@pytest.mark.parametrize("name", ["rotate", "d4"])
def test_turning_needs_squares(name: str) -> None:
    views = getattr(tta, name)(255.0)
    with pytest.raises(DataError, match=r"tta: rot90 turns images on their side, and these are 8 x 6; use tta=hv"):
        views.predict(lambda batch: batch.float().mean((2, 3)), images()[..., :6], "classification")
    assert tta.flips(255.0, vertical=True).views[3](images()[..., :6]).shape == (3, 2, 8, 6)


def test_crops_are_corners_and_the_middle() -> None:
    """F13: the third crop had no name."""
    batch = images(2, 1, 16)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    for view, (top, left) in zip(tta.crop(255.0, scale=0.75).views, places, strict=True):
        part = batch[:, :, top : top + 12, left : left + 12].float()
        expected = nn.functional.interpolate(part, size=(16, 16), mode="bilinear", antialias=True)
        assert torch.equal(view(batch), expected)
    assert all(torch.equal(view(batch), batch.float()) for view in tta.crop(255.0, scale=1.0).views)


def test_views_of_ones_own_draw_the_same_for_every_image_and_time() -> None:
    turned = Component("device_augmentations", "torchvision.transforms.v2.RandomRotation", {"degrees": 90})
    blurred = Component("device_augmentations", "kornia.augmentation.RandomGaussianNoise", {"p": 1.0})
    views = tta.views(255.0, views=["identity", turned, blurred])  # type: ignore[list-item]
    batch = images(4)
    state = torch.get_rng_state()
    first = [view(batch) for view in views.views]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    for view, expected in zip(views.views, first, strict=True):
        assert torch.equal(view(batch), expected)
        assert torch.equal(view(batch.flip(0)), expected.flip(0))
    assert not torch.equal(first[1], batch)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["horizontl"], r"tta.views\[0\]: unknown view, got 'horizontl'; did you mean 'horizontal'"),
        ([], "tta.views: must name a view"),
    ],
)
def test_wrong_views(names: list[Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tta.views(255.0, views=names)


@pytest.mark.parametrize("views", [tta.flips(255.0), tta.d4(255.0)])
def test_boxes_of_several_views_are_refused(views: tta.Views) -> None:
    with pytest.raises(ConfigError, match=r"tta: boxes in several views of an image are not joined; use tta=none"):
        views.predict(lambda images: torch.zeros(len(images), 100, 6), torch.zeros(1, 3, 8, 8), "detection")


def test_a_label_says_what_was_chosen() -> None:
    assert tta.label(Component("tta", "mlpipe.learn.tta.none", {})) == "none"
    flips = Component("tta", "mlpipe.learn.tta.flips", {"vertical": False, "mix": "logits"})
    assert tta.label(flips) == "flips (vertical=False, mix=logits)"
    blur = Component("device_augmentations", "kornia.augmentation.RandomGaussianBlur", {})
    own = Component("tta", "mlpipe.learn.tta.views", {"views": ["identity", blur]})
    assert tta.label(own) == "views (views=identity+RandomGaussianBlur)"


@pytest.mark.program
def test_predictions_are_the_mean_over_the_views_of_the_stored_network(tmp_path: Path) -> None:
    one = job(tmp_path, "trainer.max_epochs=1", "tta=d4")
    plain = job(tmp_path / "plain", "trainer.max_epochs=1")
    fit.fit(one, Watch())
    file, rows = one.files.project.model_dir("digits", "record") / "weights.safetensors", one.view.val
    part = RowsToPredict("digits", "val", one.task, one.pack, rows)
    records.predict(one.recipe, file, 0, [part], tmp_path / "d4.parquet", num_workers=0)
    records.predict(plain.recipe, file, 0, [part], tmp_path / "plain.parquet", num_workers=0)
    net = build_network(one.recipe, one.task, one.pack, seed=0, pretrained=False).eval()
    weights.load(net, weights.read(file))
    outputs = []
    for k, mirrored in itertools.product(range(4), (False, True)):
        turned = np.rot90(one.pack.images[rows], k, (1, 2))
        turned = np.flip(turned, 2) if mirrored else turned
        with torch.no_grad():
            batch = torch.from_numpy(np.ascontiguousarray(turned.transpose(0, 3, 1, 2)))
            outputs.append(softmax(net(batch)["target"].double().numpy(), axis=1))
    got = np.exp(predictions.load(tmp_path / "d4.parquet", "digits", "val").logits)
    np.testing.assert_allclose(got, np.mean(outputs, axis=0), atol=1e-5)
    without = predictions.load(tmp_path / "plain.parquet", "digits", "val").logits
    np.testing.assert_allclose(softmax(without, axis=1), outputs[0], atol=1e-5)
