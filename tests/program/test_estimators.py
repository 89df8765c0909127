"""Estimators from images to predictions: what they give is what the stored model gives."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from mlpipe.api import ImageClassifier, ImageRegressor, ImageSegmenter, load
from mlpipe.errors import ConfigError, DataError

QUICK = ["arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "preprocessing.size=16", "split.folds=2"]
DIGITS = load_digits(n_class=2)
PIXELS = (DIGITS.images[:30] * 15).astype(np.uint8)


@pytest.fixture(scope="module")
def classifier() -> ImageClassifier:
    """Of the classes 7 and 70, of which texts sort as numbers do not."""
    return ImageClassifier(arch="test_resnet", overrides=QUICK).fit(PIXELS, np.where(DIGITS.target[:30] == 1, 7, 70))


def test_probabilities_are_those_of_the_model(classifier: ImageClassifier) -> None:
    chances = classifier.predict_proba(PIXELS)
    assert classifier.classes_.tolist() == [7, 70] and chances.shape == (30, 2)
    frame = classifier.model_.predict(list(PIXELS))
    np.testing.assert_allclose(chances, frame[["p(7)", "p(70)"]], atol=1e-6)
    assert classifier.predict(PIXELS).tolist() == [[7, 70][place] for place in chances.argmax(axis=1)]
    truth = np.where(DIGITS.target[:30] == 1, 7, 70)
    assert classifier.score(PIXELS, truth) == pytest.approx((classifier.predict(PIXELS) == truth).mean())


def test_a_trained_one_is_not_pickled_and_shows_its_card(classifier: ImageClassifier) -> None:
    with pytest.raises(ConfigError, match=r"ImageClassifier: a trained model is not pickled; use save\(FILE\)"):
        pickle.dumps(classifier)
    assert "test_resnet" in classifier._repr_html_() and "images" in classifier._repr_html_()
    with pytest.raises(ConfigError, match="file: its ending names no format, got 'model.pkl'; use a name that ends"):
        classifier.save("model.pkl")


def test_a_bundle_of_it_predicts_the_same(classifier: ImageClassifier, tmp_path: Path) -> None:
    there = load(classifier.save(tmp_path / "kept" / "model.zip"))
    np.testing.assert_array_equal(there.predict_values(list(PIXELS[:6])), classifier._values(PIXELS[:6]))


def test_what_cannot_be_read_is_named(classifier: ImageClassifier, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="X: 1 image of 2 cannot be predicted, such as number 1: "):
        classifier.predict([PIXELS[0], str(tmp_path / "torn.png")])


def test_the_temporary_project_goes_with_the_object() -> None:
    made = ImageRegressor(arch="test_resnet", overrides=QUICK).fit(PIXELS, DIGITS.target[:30] * 2.5)
    home, values = made.home_, made.predict(PIXELS[:4])
    assert values.shape == (4,) and home.is_dir()
    assert np.isfinite(made.score(PIXELS, DIGITS.target[:30] * 2.5))
    del made
    assert not home.exists()


def test_masks_come_back_with_their_values_and_in_their_size(tmp_path: Path) -> None:
    masks = np.where(PIXELS > 60, 255, 0).astype(np.uint8)
    made = ImageSegmenter(overrides=[*QUICK, "arch.encoder=resnet10t", "preprocessing.size=32"]).fit(PIXELS, masks)
    found = made.predict([PIXELS[0], PIXELS[1][:, :6]])
    assert [one.shape for one in found] == [(8, 8), (8, 6)]
    assert set(np.unique(np.concatenate([one.ravel() for one in found])).tolist()) <= {0, 255}
    assert 0 <= made.score(PIXELS[:4], masks[:4]) <= 1
    there = load(made.save(tmp_path / "masks.zip"))
    for one, other in zip(there.predict([PIXELS[0], PIXELS[1][:, :6]])["mask"], found, strict=True):
        np.testing.assert_array_equal(one, other)
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"X\[1\]: .*; leave it out"):
        made.predict([PIXELS[0], tmp_path / "torn.png"])
    with pytest.raises(ConfigError, match="ImageSegmenter: a trained model is not pickled"):
        pickle.dumps(made)


@pytest.mark.slow
def test_a_grid_search_chooses_by_the_score_of_images_left_out() -> None:
    grid = {"overrides": [[*QUICK, "optimizer.lr=1e-9"], [*QUICK, "trainer.max_epochs=6", "optimizer.lr=0.01"]]}
    truth = DIGITS.target[:30]
    search = GridSearchCV(ImageClassifier(arch="test_resnet"), grid, cv=2).fit(list(PIXELS), truth)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all() and search.best_score_ == scores.max()
    assert search.best_params_["overrides"] == grid["overrides"][int(scores.argmax())]
    assert search.predict(list(PIXELS)).shape == (30,) and set(search.predict(list(PIXELS))) <= {0, 1}
