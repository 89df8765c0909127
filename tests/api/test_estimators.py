"""Estimators: what scikit-learn asks of them, what they take for images and targets, and what they refuse."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks as checks

from mlpipe.api import ImageClassifier, ImageRegressor, ImageSegmenter, estimators
from mlpipe.config import overrides
from mlpipe.data import task
from mlpipe.data.decoding import images
from mlpipe.errors import ConfigError, DataError

KINDS = [ImageClassifier, ImageRegressor, ImageSegmenter]
GREY = np.random.default_rng(0).integers(0, 256, (4, 6, 5), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "check",
    [
        checks.check_parameters_default_constructible,
        checks.check_no_attributes_set_in_init,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_estimator_repr,
        checks.check_estimator_cloneable,
    ],
    ids=lambda one: one.__name__,
)
def test_scikit_learn_checks_parameters(kind: type, check: object) -> None:
    assert callable(check)
    check(kind.__name__, kind())


def test_a_clone_has_the_parameters_and_is_not_trained() -> None:
    first = ImageClassifier("fast", arch="resnet18", overrides=["seed=1"], out_dir="there")
    again = clone(first)
    assert again.get_params() == first.get_params() and again is not first
    assert pickle.loads(pickle.dumps(first)).get_params() == first.get_params()
    assert is_classifier(first) and is_regressor(ImageRegressor())
    with pytest.raises(NotFittedError, match="ImageClassifier: is not fitted yet; call fit first"):
        again.predict(GREY)
    assert "resnet18" in first._repr_html_()


def test_images_come_from_paths_columns_arrays_and_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(GREY[0]).save(tmp_path / name)
    assert [Path(one).name for one in estimators.images_of(tmp_path)] == ["a.png", "b.png"]
    assert estimators.images_of(["a.png", "b.png"]) == ["a.png", "b.png"]
    assert estimators.images_of(np.array(["a.png", "b.png"])) == ["a.png", "b.png"]
    assert estimators.images_of(pd.Series(["a.png"], index=[7])) == ["a.png"]
    assert estimators.images_of(pd.DataFrame({"n": [1], "path": ["a.png"]})) == ["a.png"]
    assert len(estimators.images_of(GREY)) == 4 and len(estimators.images_of(np.stack([GREY] * 3, -1))) == 4


def test_a_frame_says_groups_and_targets() -> None:
    frame = pd.DataFrame({"image": ["a.png", "b.png"], "group": [1, 2], "kind": ["x", "y"]}, index=[5, 3])
    table, targets = estimators.table_of(frame, "kind")
    assert table.to_dict("list") == {"image": ["a.png", "b.png"], "group": [1, 2]} and targets.tolist() == ["x", "y"]


def test_pictures_in_memory_are_written_without_loss(tmp_path: Path) -> None:
    colour = np.stack([GREY[0]] * 3, -1)
    deep = GREY[0].astype(np.uint16) * 257
    Image.fromarray(colour).save(tmp_path / "kept.png")
    for place, one in enumerate([GREY[0], GREY[0][..., None], colour, deep, Image.fromarray(colour)]):
        stored = np.asarray(Image.open(estimators._image_path(one, tmp_path, place)))
        np.testing.assert_array_equal(stored, np.squeeze(np.asarray(one)))
    written = estimators._image_path((tmp_path / "kept.png").read_bytes(), tmp_path, 9)
    assert written.endswith("000009.png") and Path(written).read_bytes() == (tmp_path / "kept.png").read_bytes()
    assert estimators._image_path("x.jpg", tmp_path, 0) == str(Path("x.jpg").absolute())


def test_pictures_of_a_camera_or_a_printer_are_what_predict_makes_of_them(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(colour).save(out, "PNG", exif=exif)
    for place, one in enumerate(
        [Image.open(out), *(Image.fromarray(colour).convert(mode) for mode in ("CMYK", "HSV"))]
    ):
        written = images.decode(Path(estimators._image_path(one, tmp_path, place)).read_bytes(), 3)
        np.testing.assert_array_equal(written, np.asarray(ImageOps.exif_transpose(one).convert("RGB")))


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (b"no image", r"X\[3\]: cannot be decoded \(.*\); leave it out"),
        (np.zeros((4, 4, 5), np.uint8), r"X\[3\]: is no image, got 'uint8 of shape \[4, 4, 5\]'"),
        (
            np.zeros((4, 4, 3), np.uint16),
            r"X\[3\]: is no image, got 'uint16 of shape \[4, 4, 3\]'; give .*uint16 \(grey\)",
        ),
        (np.zeros((0, 4), np.uint8), r"X\[3\]: is no image"),
    ],
)
def test_what_is_no_picture_in_memory_is_said(one: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        estimators._image_path(one, tmp_path, 3)


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (GREY, [0, 1], "y: has 2 targets for 4 images; give one for each"),
        (GREY, None, "y: is missing; give a target for each image"),
        (GREY, 3, "y: must be a list, array or column, got 'int'"),
        (GREY, [0, 1, None, 1], "y: has missing values; leave these images out"),
        (GREY, [["a", "b"]] * 4, r"y: must be one target for each image, got 'shape \[4, 2\]'"),
        (GREY[0, 0], [0] * 5, r"X: is no list of images, got 'an array of shape \[5\]'"),
        (7, [0], "X: is no list of images, got 'int'; give a folder"),
        ([], [], "X: holds no image"),
        ("nowhere", None, "X: there is no such folder, got 'nowhere'"),
        (
            GREY.astype(float),
            [0, 1, 0, 1],
            r"X\[0\]: is no image, got 'float64 of shape \[6, 5\]'; give arrays of uint8",
        ),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ["k"], "X: has no column of paths"),
        (pd.DataFrame({"path": ["x"]}), "class", "y: the frame has no such column, got 'class'; use one of"),
        (
            GREY,
            np.array([1, "a", 1, "a"], object),
            r"y: has classes of several types, got \['int', 'str'\]; make all of",
        ),
        (GREY, ["a", " a", "b", "b"], "y: has classes that are empty or look the same as text"),
    ],
)
def test_what_is_no_training_data_is_said(x: object, y: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        ImageClassifier(out_dir=tmp_path).fit(x, y)


def test_parameters_that_are_wrong_are_said(tmp_path: Path) -> None:
    for wrong, sentence in (
        ({"arch": 3}, "arch: must be a text, got 3"),
        ({"overrides": "a=b"}, "overrides: must be a list of texts, got 'a=b'"),
        ({"arch": "resnet81"}, "resnet"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            ImageClassifier(out_dir=tmp_path, **wrong).fit(GREY, [0, 1, 0, 1])
    with pytest.raises(DataError, match="y: must be numbers, got 'a'"):
        ImageRegressor().fit(GREY, ["a"] * 4)
    with pytest.raises(DataError, match="y: has values that are NaN or infinite|y: has missing values"):
        ImageRegressor().fit(GREY, [0.0, np.nan, 1.0, 2.0])
    with pytest.raises(DataError, match="y: a folder's own folders say the classes; leave y out"):
        ImageClassifier().fit(tmp_path, [1])


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ([1.0, 0.0], np.array([1, 0])), ([1, 0], np.array([True, False])), ([True, False], np.array([1.0, 0.0])),
        (pd.Series([7, 70], index=[3, 4]), np.array([7.0, 70.0])), (["a", "b"], np.array(["a", "b"])),
        (pd.Series(["1", "0"], dtype="string"), np.array([1, 0])),
    ],
)  # fmt: skip
def test_classes_are_equal_whatever_type_they_have(given: object, known: np.ndarray) -> None:
    first, second = estimators._alike(given, known)
    assert first == second and len(set(first)) == 2


def test_a_new_fit_knows_nothing_of_the_one_before() -> None:
    classifier = ImageClassifier()
    # Columns were in another order than the classes, which the folders of the next fit need not be.
    classifier._order = [1, 0]
    classifier._forget()
    assert vars(classifier) == vars(ImageClassifier())


def test_masks_have_values_that_fit_a_byte() -> None:
    for one in (GREY[0] > 100, GREY[0].astype(np.int64), GREY[0].astype(np.uint16)):
        mask = estimators._as_mask(one)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, one)
    for one in (
        GREY[0].astype(np.int64) - 1 - int(GREY[0].min()),
        GREY[0].astype(np.int64) + 300,
        GREY[0] / 255,
        "a.png",
    ):
        assert estimators._as_mask(one) is one


def test_a_mask_in_a_file_is_read_as_a_task_reads_it(tmp_path: Path) -> None:
    numbers = (GREY[0] > 100).astype(np.uint8)
    palette = Image.fromarray(numbers, "P")
    palette.putpalette([0, 0, 0, 200, 10, 10])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.stack([numbers * 7] * 3, -1)).save(tmp_path / "three.png")
    np.testing.assert_array_equal(estimators._values_of(str(tmp_path / "palette.png")), numbers)
    np.testing.assert_array_equal(estimators._values_of(tmp_path / "three.png"), numbers * 7)
    np.testing.assert_array_equal(estimators._values_of(palette), numbers)


def test_what_is_no_mask_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"y\[3\]: is no image, got 'float64 of shape \[6, 5\]"):
        estimators._image_path(GREY[0] / 255, tmp_path, 3, "y")


def test_pixels_that_count_nowhere_do_not_count_in_the_score(tmp_path: Path) -> None:
    """A value that is no class is never predicted: as a class it would have an intersection over union of 0."""
    true = np.array([[[0, 1, 1, 255], [255, 0, 1, 0]]], np.uint8)
    said = np.array([[[0, 1, 0, 1], [0, 0, 1, 0]]], np.uint8)
    masks = {"root": "", "values": [0, 1], "ignored": 255, "names": ["a", "b"]}
    row = task.Row("a.png", "train", (0.5, 0.5), "", mask=("a.png", ""))
    of = task.make(
        "t", ["a", "b"], [row], channels=1, source={"type": "folder", "root": "", "masks": masks}, kind="segmentation"
    )
    task.save(of, tmp_path / "data" / "t" / "task.json")
    made = ImageSegmenter()
    made.model_, made._where = SimpleNamespace(task="t"), tmp_path
    made.predict = lambda items: list(said)  # type: ignore[method-assign]
    # Of the six that count: a 3 of 4, b 2 of 3.
    assert made.score(GREY[:1], true) == pytest.approx((3 / 4 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pd.Series([1, 0], dtype="Int64"), np.array([1, 0])),
        (pd.Series([True, False], dtype="boolean"), np.array([True, False])),
        (pd.Series([1.5, 0.0], dtype="Float64"), np.array([1.5, 0.0])),
        (pd.Series(pd.Categorical([7, 3])), np.array([7, 3])),
        (pd.DataFrame({"y": [1, 0]}, dtype="Int64"), np.array([1, 0])),
        ([["a"], ["b"]], np.array(["a", "b"])),
    ],
)  # fmt: skip
def test_targets_of_a_column_are_plain_arrays(column: Any, wanted: np.ndarray) -> None:
    targets = estimators.targets_of([0, 1], column)
    assert targets.tolist() == wanted.tolist() and (targets.dtype == wanted.dtype or isinstance(column, pd.DataFrame))


class Sure:
    """Predicts the first class, or the first number, of every image."""

    classes = ("0", "1")

    def predict_values(self, items: Sequence[Any]) -> np.ndarray:
        """Probabilities of two classes."""
        return np.tile([0.9, 0.1], (len(items), 1))


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor])
def test_a_score_is_of_known_targets(kind: type, tmp_path: Path) -> None:
    fitted = kind()
    vars(fitted).update(model_=Sure(), _where=tmp_path, classes_=np.array([0, 1]), _order=[0, 1], _single=True)
    zeros = pd.Series([0, 0, 1, 0], dtype="Int64")
    if kind is ImageClassifier:
        for y in (zeros, zeros.to_frame(), zeros.astype("Float64"), zeros.astype("boolean"), zeros.to_numpy()[:, None]):
            assert fitted.score(GREY, y) == 0.75
    for missing in (pd.Series([0, 0, None, 0], dtype="Int64"), [0.0, 0.0, np.nan, 0.0]):
        with pytest.raises(DataError, match="y: has missing values; leave these images out"):
            fitted.score(GREY, missing)
    with pytest.raises(DataError, match="y: is missing, got 'class'"):
        fitted.score(GREY, "class")


def test_weights_of_images_are_a_column_of_the_table(tmp_path: Path) -> None:
    table, _ = estimators.table_of(GREY, [0, 1, 0, 1])
    estimators._add_weights(table, pd.Series([1, 0, 2, 1], index=[9, 8, 7, 6]))
    assert table["weight"].tolist() == [1, 0, 2, 1]
    with pytest.raises(DataError, match="sample_weight: the frame's column weight says it already"):
        estimators._add_weights(table, [1, 1, 1, 1])
    for wrong in ([1, 2], [1, -1, 1, 1], [1, np.nan, 1, 1], [0, 0, 0, 0], ["a"] * 4, np.ones((4, 1))):
        with pytest.raises(DataError, match="sample_weight: must be 4 numbers of at least 0, not all of them 0"):
            ImageClassifier().fit(GREY, [0, 1, 0, 1], sample_weight=wrong)
    with pytest.raises(DataError, match="sample_weight: the images of a folder have no order"):
        ImageClassifier().fit(tmp_path, sample_weight=[1])


def test_folders_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[tuple[str, ...]]()
    monkeypatch.setattr(estimators, "run", lambda *words: calls.append(words) or {})
    monkeypatch.setattr(estimators, "load", lambda *names, **folders: SimpleNamespace(classes=["0", "1"]))
    home = tmp_path / "Ann's \\pictures, [2]"
    (home / "cat").mkdir(parents=True)
    ImageClassifier(out_dir=home).fit(home)
    ImageClassifier(out_dir=home).fit(GREY, [0, 1, 0, 1])
    for words in calls:
        changes, problems = overrides.parse(list(words[1:]))
        folders = {change.key: change.value for change in changes}
        assert (
            not problems and folders["out_dir"] == str(home / "results") and folders["data_dir"] == str(home / "data")
        )
    keys = {change.key: change.value for words in calls for change in overrides.parse(list(words[1:]))[0]}
    assert keys["task.root"] == str(home) and Path(keys["task.file"]).is_file()


def test_the_home_of_no_user_is_part_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ImageClassifier(out_dir="~nobody-of-that-name/out")._make_home() == tmp_path / "~nobody-of-that-name" / "out"
