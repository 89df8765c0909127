"""Arrays as a task: parts, kinds, layouts and depths; and what does not fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mlpipe.data import sources
from mlpipe.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9, 7), np.uint8)


def saved(folder: Path, **given: Any) -> str:
    np.savez(folder / "a.npz", **given)
    return str(folder / "a.npz")


def test_grey_images_and_class_numbers(tmp_path: Path) -> None:
    made = sources.arrays(file=saved(tmp_path, images=GREY, labels=np.array([0, 2, 1, 0, 2, 1])))
    assert (made.kind, made.classes, made.channels, made.dtype) == ("classification", ("0", "1", "2"), 1, "uint8")
    assert made.samples.targets.tolist() == [0, 2, 1, 0, 2, 1]
    assert (sources.reader(made, 1)(3)[:, :, 0] == GREY[3]).all()
    assert sources.reader(made, 3)(3).shape == (9, 7, 3)


def test_parts_and_names_of_classes(tmp_path: Path) -> None:
    file = saved(
        tmp_path, x_train=GREY[:4], y_train=["b", "a", "b", "a"], x_test=GREY[4:5], y_test=["b"], x_unlabelled=GREY[5:]
    )
    made = sources.arrays(file=file)
    assert made.classes == ("a", "b") and made.part_sizes() == {"train": 4, "test": 1, "unlabelled": 1}
    by_id = dict(zip(made.samples.ids, made.samples.targets.tolist(), strict=True))
    assert by_id["test/0000000"] == 1 and by_id["unlabelled/0000000"] == -1 and by_id["train/0000001"] == 0


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_many_channels_on_either_axis(tmp_path: Path, layout: str) -> None:
    pixels = RNG.integers(0, 65536, (4, 20, 18, 5)).astype(np.uint16)
    stored = pixels if layout == "hwc" else pixels.transpose(0, 3, 1, 2)
    made = sources.arrays(file=saved(tmp_path, x=stored, y=np.array([0, 1, 0, 1])))
    assert (made.channels, made.dtype, made.source["layout"]) == (5, "uint16", layout)
    read = sources.reader(made, 5)(2)
    assert read.dtype == np.uint16 and (read == pixels[2]).all()


def test_floating_point_images_lie_in_a_range(tmp_path: Path) -> None:
    pixels = RNG.uniform(-2, 3, (4, 20, 20)).astype(np.float64)
    pixels[0, 0, 0], pixels[0, 0, 1] = -2, 3
    file = saved(tmp_path, x=pixels, y=np.array([0, 1, 0, 1]))
    with pytest.raises(DataError, match=r"values from -2 to 3, outside 0 to 1; add task.value_range=\[-2,3\]"):
        sources.arrays(file=file)
    made = sources.arrays(file=file, value_range=(-2.0, 3.0))
    read = sources.reader(made, 1)(0)
    assert made.dtype == "float32" and read.dtype == np.float32
    np.testing.assert_allclose(read[:, :, 0], (pixels[0] + 2) / 5, atol=1e-6)


def test_labels_and_numbers(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [1, 1], [0, 1]])
    made = sources.arrays(file=saved(tmp_path, images=GREY, targets=labels))
    assert made.kind == "multilabel" and made.samples.targets.tolist() == labels.tolist()
    file = saved(tmp_path, images=GREY, targets=np.linspace(0, 1, 6))
    with pytest.raises(DataError, match="task.kind"):
        sources.arrays(file=file)
    made = sources.arrays(file=file, kind="regression")
    assert made.classes == ("output0",) and made.samples.targets.shape == (6, 1)


def test_memory_mapped_npy_with_targets_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", GREY)
    np.save(tmp_path / "classes.npy", np.array([0, 1, 0, 1, 0, 1]))
    made = sources.arrays(file=str(tmp_path / "images.npy"), targets=str(tmp_path / "classes.npy"))
    assert (sources.reader(made, 1)(5)[:, :, 0] == GREY[5]).all() and made.class_counts().tolist() == [3, 3]


def test_groups(tmp_path: Path) -> None:
    file = saved(tmp_path, images=GREY, targets=np.array([0, 1] * 3), patient=np.array([1, 1, 2, 2, 3, 3]))
    assert sources.arrays(file=file, groups="patient").samples.groups == ("1", "1", "2", "2", "3", "3")
    with pytest.raises(DataError, match="did you mean 'patient'"):
        sources.arrays(file=file, groups="patients")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"images": GREY, "targets": np.array([0, 1])},
            "images has 6 rows, targets has 2; give every image one target",
        ),
        ({"images": GREY}, "has no targets; add targets"),
        ({"pictures": GREY, "targets": np.array([0, 1] * 3)}, "has no such array"),
        ({"images": GREY[0], "targets": np.array([0, 1])}, "is no array of images"),
        ({"images": GREY.astype(np.int32), "targets": np.array([0, 1] * 3)}, "has images of another type"),
        ({"images": GREY[:, :4, :5, None].repeat(4, 3), "targets": np.array([0, 1] * 3)}, "could be on either axis"),
        ({"images": GREY / np.float64("nan"), "targets": np.array([0, 1] * 3)}, "replace the values that are NaN"),
        ({"images": GREY, "targets": np.array([0, 1, 2] * 2), "classes": np.array(["a", "b"])}, "is class number 2"),
        ({"x_train": GREY[:4], "y_train": list("abab"), "x_test": GREY[4:], "y_test": list("ac")}, "row 1 of test"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        sources.arrays(file=saved(tmp_path, **given))
    assert any(sentence in text for text in refused.value.problems), refused.value.problems


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}, None], dtype=object), targets=np.array([0, 1]))
    with pytest.raises(DataError, match="cannot be read"):
        sources.arrays(file=str(tmp_path / "a.npz"))
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        sources.arrays(file=str(tmp_path / "b.npz"))


@pytest.mark.parametrize(
    "images",
    [
        np.linspace(-3.8994217, 3.2571993, 4 * 36, dtype=np.float32),
        np.linspace(0, 12345678, 4 * 36).astype(np.int32),
        np.linspace(1e-9, 2, 4 * 36),
    ],
)
def test_the_range_that_a_sentence_names_is_one_that_works(tmp_path: Path, images: npt.NDArray[Any]) -> None:
    images = images.reshape(4, 6, 6)
    # The test part reaches further than the training part.
    np.savez(tmp_path / "a.npz", x_train=images[1:3], y_train=[0, 1], x_test=images[[0, 3]], y_test=[0, 1])
    with pytest.raises(DataError) as told:
        sources.arrays(file=str(tmp_path / "a.npz"))
    named = re.search(r"task\.value_range=\[(\S+),(\S+)\]", str(told.value))
    assert named is not None
    ends = float(named[1]), float(named[2])
    assert ends == (images.min(), images.max())
    assert sources.arrays(file=str(tmp_path / "a.npz"), value_range=ends).part_sizes() == {"train": 2, "test": 2}


def test_labels_that_are_none_are_refused_and_may_mean_unknown(tmp_path: Path) -> None:
    # -1 is what CheXpert has for a label that nobody is sure of: a loss of labels would take it for one.
    labels = np.array([[0, 1], [1, -1], [0, 0], [1, 0], [1, 1], [-1, 1]])
    file = saved(tmp_path, images=GREY, targets=labels)
    with pytest.raises(DataError) as refused:
        sources.arrays(file=file, kind="multilabel")
    fix = "save 0 and 1; task.missing=[...] names numbers that mean unknown, as NaN does"
    assert list(refused.value.problems) == [
        f"a.npz, row 1 of train, column 1: is no label, got -1.0; {fix}",
        f"a.npz, row 5 of train, column 0: is no label, got -1.0; {fix}",
    ]
    made = sources.arrays(file=file, kind="multilabel", missing=[-1])
    np.testing.assert_array_equal(made.samples.targets, np.where(labels < 0, np.nan, labels))
    assert made.class_counts().tolist() == [3, 3]


@pytest.mark.parametrize(
    ("missing", "unknown"), [([0.5], [3]), ([-1.5], [4]), ([-1], [1]), ([float("inf")], []), ([-1, 0.5], [1, 3])]
)
def test_a_fraction_means_unknown_for_numbers_that_are_equal_to_it_alone(
    tmp_path: Path, missing: list[float], unknown: list[int]
) -> None:
    """0.5 was cut to 0, so that zeros were unknown and it was not; an infinite one ended in an error of Python."""
    numbers = np.array([0.0, -1.0, 1.0, 0.5, -1.5, 2.0])
    made = sources.arrays(file=saved(tmp_path, images=GREY, targets=numbers), kind="regression", missing=missing)
    assert np.flatnonzero(np.isnan(made.samples.targets[:, 0])).tolist() == unknown


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({"targets": [1.0, np.inf, 2.0, 3.0, 4.0, 5.0]}, "regression", "row 1 of train, column 0: is no finite number"),
        ({"targets": list("ababab")}, "regression", "targets of train are no numbers, got '<U1'"),
        (
            {"x_train": GREY[:4], "y_train": np.eye(4), "x_test": GREY[4:], "y_test": np.eye(2)},
            "multilabel",
            "targets of test have 2 columns, those of train 4; give all parts as many",
        ),
    ],
)
def test_numbers_that_cannot_be_predicted(tmp_path: Path, given: dict[str, Any], kind: Any, sentence: str) -> None:
    arrays = given if "x_train" in given else {"images": GREY, **given}
    with pytest.raises(DataError) as refused:
        sources.arrays(file=saved(tmp_path, **arrays), kind=kind)
    assert any(sentence in text for text in refused.value.problems), refused.value.problems


@pytest.mark.parametrize("name", ["other", "other_train"])
def test_targets_of_parts_are_those_that_are_named(tmp_path: Path, name: str) -> None:
    file = saved(
        tmp_path, x_train=GREY[:4], y_train=[0, 1, 0, 1], other_train=[1, 1, 0, 0],
        x_test=GREY[4:], y_test=[0, 1], other_test=[1, 0],
    )  # fmt: skip
    made = sources.arrays(file=file, targets=name)
    by_id = dict(zip(made.samples.ids, made.samples.targets.tolist(), strict=True))
    assert [by_id[f"train/000000{row}"] for row in range(4)] == [1, 1, 0, 0]
    assert [by_id[f"test/000000{row}"] for row in range(2)] == [1, 0]
    with pytest.raises(DataError, match="a.npz has no others_train for x_train, got 'others'; did you mean 'other'"):
        sources.arrays(file=file, targets="others")


def test_a_file_that_has_changed_is_no_longer_that_of_the_task(tmp_path: Path) -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    made = sources.arrays(file=saved(tmp_path, images=GREY, labels=labels))
    changed = GREY.copy()
    changed[2, 0, 0] ^= 1
    saved(tmp_path, images=changed, labels=labels)
    read = sources.reader(made, 1)
    assert (read(1)[:, :, 0] == GREY[1]).all()
    with pytest.raises(DataError, match=r"a\.npz: train/0000002: has changed since the task a-\w+ was created; run"):
        read(2)
    for fewer in ({"images": GREY[:2], "labels": labels[:2]}, {"other": GREY}):
        saved(tmp_path, **fewer)
        with pytest.raises(DataError, match=r"a\.npz: train/0000002: has changed since"):
            sources.reader(made, 1)(2)
