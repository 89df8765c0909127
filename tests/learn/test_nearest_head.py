"""Votes of the nearest images against scikit-learn's neighbours, and as the head of a stored network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from mlpipe.arch import weights
from mlpipe.arch.classifier import Classifier
from mlpipe.learn import features, fit
from mlpipe.learn.build.network import build_network
from mlpipe.learn.job import Watch
from mlpipe.learn.nearest_head import Neighbours, as_stored
from tests.learn.conftest import job

X, Y = load_digits(return_X_y=True)
X, Y, NEW = X[:300].astype(np.float32), Y[:300], X[300:360].astype(np.float32)


def head(kind: str, targets: np.ndarray, count: int, temperature: float = 0.07) -> Neighbours:
    made = Neighbours(kind, targets.shape[1], X.shape[1], len(X))
    made.rows = torch.nn.functional.normalize(torch.from_numpy(X), dim=1)
    made.targets = torch.from_numpy(targets.astype(np.float32))
    made.share = made.targets.nanmean(0)
    made.count, made.temperature = torch.tensor(count), torch.tensor(temperature)
    return made


def by_similarity(distances: np.ndarray) -> np.ndarray:
    # Cosine distance is one minus the similarity.
    return np.exp((distances[:, :1] - distances) / 0.07)


@pytest.mark.parametrize("count", [1, 7, 50])
def test_classes_against_scikit_learn(count: int) -> None:
    shown = head("classification", np.eye(10)[Y], count)(torch.from_numpy(NEW)).exp().numpy()
    model = KNeighborsClassifier(count, metric="cosine", algorithm="brute", weights=by_similarity).fit(X, Y)
    mass = by_similarity(model.kneighbors(NEW)[0]).sum(axis=1, keepdims=True)
    # One vote more, which is divided as the classes are.
    expected = (model.predict_proba(NEW) * mass + np.bincount(Y, minlength=10) / len(Y)) / (mass + 1)
    np.testing.assert_allclose(shown, expected, atol=2e-5)
    assert (shown > 0).all()


def test_votes_are_the_same_in_mixed_precision() -> None:
    """A training on a GPU validates in half precision, where cosines of digits differ in the third place."""
    made = head("classification", np.eye(10)[Y], 20)
    plain, chosen = made(torch.from_numpy(NEW)), torch.from_numpy(Y[:60])
    model = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=by_similarity).fit(X, Y)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, evidence = made(torch.from_numpy(NEW)), made.evidence(torch.from_numpy(NEW), chosen)
    assert torch.equal(mixed, plain)
    assert torch.equal(evidence, made.evidence(torch.from_numpy(NEW), chosen))
    assert (mixed.argmax(1).numpy() == model.predict(NEW)).all()


def test_numbers_against_scikit_learn_and_labels_that_are_not_known(tmp_path: Path) -> None:
    numbers = np.stack([Y * 1.0, X.sum(axis=1)], axis=1)
    shown = head("regression", numbers, 9)(torch.from_numpy(NEW)).numpy()
    model = KNeighborsRegressor(9, metric="cosine", algorithm="brute", weights=by_similarity).fit(X, numbers)
    np.testing.assert_allclose(shown, model.predict(NEW), rtol=1e-4, atol=1e-4)
    labels = np.stack([Y % 2, Y > 4], axis=1).astype(float)
    whole = head("multilabel", labels, 20)(torch.from_numpy(NEW))
    holes = labels.copy()
    holes[Y > 4, 0] = np.nan
    part = head("multilabel", holes, 20)(torch.from_numpy(NEW))
    # A file of weights holds no NaN: such a head was stored, and then refused by all that predicts.
    kept = head("multilabel", holes, 20)
    kept.targets = as_stored(kept.targets)
    weights.save(kept.state_dict(), tmp_path / "head.safetensors")
    read = head("multilabel", labels, 20)
    read.load_state_dict(weights.read(tmp_path / "head.safetensors"))
    assert torch.equal(read(torch.from_numpy(NEW)), part)
    assert not part.isnan().any() and torch.allclose(part[:, 1], whole[:, 1])
    assert not torch.allclose(part[:, 0], whole[:, 0])


@pytest.mark.program
def test_a_stored_head_holds_its_training_images(tmp_path: Path) -> None:
    one = job(tmp_path, "arch.freeze=true", "augmentations=none", "optimizer=nearest")
    record = fit.fit(one, Watch())
    network = build_network(one.recipe, one.task, one.pack, seed=1, pretrained=False).eval()
    stored = weights.read(one.files.project.model_dir("digits", record.id) / "weights.safetensors")
    match = weights.load(network, stored)
    assert not match.missing and not match.misshapen and not match.unexpected
    assert isinstance(network, Classifier)
    learned = features.feature_pack(network, one.pack, one.view.train, lambda: None).images[one.view.train]
    count, rows = int(stored["heads.target.count"]), one.view.val
    model = KNeighborsClassifier(count, metric="cosine", algorithm="brute", weights=by_similarity)
    model.fit(learned, one.task.samples.targets[one.view.train])
    images = torch.from_numpy(np.ascontiguousarray(one.pack.images[rows].transpose(0, 3, 1, 2)))
    with torch.no_grad():
        shown, seen = network(images)["target"].exp().numpy(), network.features(images).numpy()
    mass = by_similarity(model.kneighbors(seen)[0]).sum(axis=1, keepdims=True)
    share = np.bincount(one.task.samples.targets[one.view.train], minlength=10) / len(one.view.train)
    np.testing.assert_allclose(shown, (model.predict_proba(seen) * mass + share) / (mass + 1), atol=1e-4)
    accuracy = float((shown.argmax(1) == one.task.samples.targets[rows]).mean())
    assert record.scores["val"]["accuracy"] == pytest.approx(accuracy, abs=0.005) and accuracy > 0.5
