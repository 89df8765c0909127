"""Class numbers of every source of arrays: from 1, with gaps, with -1, as floats; the classes are those that occur."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from mlpipe.data import sources
from mlpipe.data.task import Task
from mlpipe.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 6, 7), dtype=np.uint8)
Numbers = list[Any]


def fresh(folder: Path) -> Path:
    """A new folder: what was read of a file is remembered."""
    made = folder / str(len(list(folder.iterdir())))
    made.mkdir()
    return made


def of_npz(folder: Path, numbers: Numbers, **options: Any) -> Task:
    folder = fresh(folder)
    np.savez(folder / "a.npz", images=PIXELS[: len(numbers)], targets=np.array(numbers))
    return sources.arrays(file=str(folder / "a.npz"), **options)


def of_npy(folder: Path, numbers: Numbers, **options: Any) -> Task:
    folder = fresh(folder)
    np.save(folder / "a.npy", PIXELS[: len(numbers)])
    np.save(folder / "y.npy", np.array(numbers))
    return sources.arrays(file=str(folder / "a.npy"), targets=str(folder / "y.npy"), **options)


def of_samples(folder: Path, numbers: Numbers, **options: Any) -> Task:
    folder = fresh(folder)
    with h5py.File(folder / "x.h5", "w") as images, h5py.File(folder / "y.h5", "w") as targets:
        for index, number in enumerate(numbers):
            images[f"s{index:02d}"], targets[f"s{index:02d}"] = PIXELS[index].astype(np.float32), np.array(number)
    return sources.samples(train=str(folder / "x.h5"), train_targets=str(folder / "y.h5"), **options)


def of_idx(folder: Path, numbers: Numbers, **options: Any) -> Task:
    folder = fresh(folder)
    values, pixels = np.array(numbers, np.uint8), PIXELS[: len(numbers)]
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, len(values)) + values.tobytes())
    return sources.mnist(root=str(folder), **options)


MAKERS = [of_npz, of_npy, of_samples, of_idx]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("numbers", "classes", "targets"),
    [
        ([1, 2, 3, 1, 2, 3], ("1", "2", "3"), [0, 1, 2, 0, 1, 2]),
        ([1, 2, 4, 4, 2, 1], ("1", "2", "4"), [0, 1, 2, 2, 1, 0]),
        ([7, 200, 7, 200], ("7", "200"), [0, 1, 0, 1]),
        ([10, 9, 10, 9], ("9", "10"), [1, 0, 1, 0]),
        ([0, 1, 2, 0], ("0", "1", "2"), [0, 1, 2, 0]),
    ],
)
def test_classes_are_the_numbers_that_occur(
    tmp_path: Path, make: Any, numbers: Numbers, classes: tuple[str, ...], targets: list[int]
) -> None:
    made = make(tmp_path, numbers)
    assert made.classes == classes and made.samples.targets.tolist() == targets
    assert made.class_counts().min() > 0


@pytest.mark.parametrize("make", MAKERS)
def test_names_are_those_of_the_numbers_in_their_order(tmp_path: Path, make: Any) -> None:
    made = make(tmp_path, [3, 1, 2, 1], classes=["x", "y", "z"])
    assert made.classes == ("x", "y", "z") and made.samples.targets.tolist() == [2, 0, 1, 0]
    gaps = make(tmp_path, [9, 4, 9, 4], classes=["low", "high"])
    assert gaps.samples.targets.tolist() == [1, 0, 1, 0]
    from_zero = make(tmp_path, [0, 2, 0, 2], classes=["x", "y", "z"])
    assert from_zero.samples.targets.tolist() == [0, 2, 0, 2]
    by_number = make(tmp_path, [1, 2, 3, 3], classes=["3", "2", "1"])
    assert by_number.samples.targets.tolist() == [2, 1, 0, 0]
    with pytest.raises(DataError, match="none of the classes|2 names are given"):
        make(tmp_path, [1, 2, 5, 5], classes=["x", "y"])


@pytest.mark.parametrize("make", [of_npz, of_npy, of_samples])
def test_rows_of_minus_one_have_no_class_and_are_counted(tmp_path: Path, make: Any) -> None:
    made = make(tmp_path, [-1, 0, 1, -1, 0, 1, 1])
    assert made.classes == ("0", "1") and made.part_sizes() == {"train": 5, "unlabelled": 2}
    assert made.samples.targets.tolist() == [-1, 0, 1, -1, 0, 1, 1]
    assert any("2 of -1" in note and "predicted only" in note for note in made.notes)
    every = make(tmp_path, [-1, 1, -1, 1], missing=False)
    assert every.classes == ("-1", "1") and every.samples.targets.tolist() == [0, 1, 0, 1]
    other = make(tmp_path, [255, 1, 2, 1], missing=[255])
    assert other.classes == ("1", "2") and other.part_sizes() == {"train": 3, "unlabelled": 1}
    # The pixels are those of the row, whatever its part has become.
    read = sources.reader(made, 1)
    assert [int(read(row).reshape(-1)[0]) for row in range(7)] == PIXELS[:7, 0, 0].tolist()


@pytest.mark.parametrize("make", [of_npz, of_npy, of_samples])
def test_whole_floats_are_class_numbers(tmp_path: Path, make: Any) -> None:
    made = make(tmp_path, [1.0, 2.0, 4.0, np.nan])
    assert made.classes == ("1", "2", "4") and made.samples.targets.tolist() == [0, 1, 2, -1]
    assert made.part_sizes() == {"train": 3, "unlabelled": 1} and any("1 of NaN" in note for note in made.notes)


def test_plus_and_minus_one_alone_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has the classes 1 beside -1, which means none; .*task\.missing=false"):
        of_npz(tmp_path, [-1, 1, -1, 1])


def test_floats_that_are_no_classes_name_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"add task\.kind=regression, or task\.kind=classification"):
        of_npz(tmp_path, [0.5, 1.0, 2.0])
    with pytest.raises(DataError, match=r"not whole \(train, row 0: 0\.5\)"):
        of_npz(tmp_path, [0.5, 1.0, 2.0], kind="classification")
    np.savez(tmp_path / "many.npz", images=np.zeros((60, 2, 2), np.uint8), targets=np.arange(60.0))
    with pytest.raises(DataError, match=r"task\.kind=classification"):
        sources.arrays(file=str(tmp_path / "many.npz"))
    made = sources.arrays(file=str(tmp_path / "many.npz"), kind="classification")
    assert len(made.classes) == 60


def test_a_column_of_class_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS[:4], targets=np.array([[1], [2], [3], [1]]))
    made = sources.arrays(file=str(tmp_path / "a.npz"))
    assert made.kind == "classification" and made.classes == ("1", "2", "3")


def test_a_number_that_training_lacks_is_an_error(tmp_path: Path) -> None:
    parts = {"x_train": PIXELS[:4], "y_train": [1, 2, 1, 2], "x_test": PIXELS[4:6], "y_test": [1, 3]}
    np.savez(tmp_path / "a.npz", **parts)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a\.npz, test: has class numbers that no training row has \(3\)"):
        sources.arrays(file=str(tmp_path / "a.npz"))
    parts["y_test"] = [1, -1]
    np.savez(tmp_path / "a.npz", **parts)  # type: ignore[arg-type]
    made = sources.arrays(file=str(tmp_path / "a.npz"))
    assert made.part_sizes() == {"train": 4, "test": 1, "unlabelled": 1}
    targets = dict(zip(made.samples.ids, made.samples.targets.tolist(), strict=True))
    assert (targets["test/0000000"], targets["test/0000001"]) == (0, -1)


def test_complete_numbers_keep_their_hashes(tmp_path: Path) -> None:
    """The hash is made of kind, classes, type and rows alone, as they were when numbers had to count from 0."""
    made = of_npz(tmp_path, [0, 1, 2, 0, 1, 2])
    digests = list(made.samples.digests)
    rows = {
        "id": [f"train/{index:07d}" for index in range(6)], "part": ["train"] * 6, "target": [0, 1, 2, 0, 1, 2],
        "digest": digests,
    }  # fmt: skip
    from mlpipe import files

    assert made.source_hash == files.digest(["classification", ("0", "1", "2"), "uint8", rows])
    assert made.name == f"a-{files.digest([made.source_hash, 1])[:8]}"


def test_names_in_arrays_are_texts_however_they_are_stored(tmp_path: Path) -> None:
    for names in (np.array([b"cat", b"dog ", b"dog", b""]), np.array(["cat", "dog\u00a0", "dog", ""])):
        np.savez(tmp_path / "a.npz", images=PIXELS[:4], targets=names, who=np.array([b"p0", b"p0 ", b"p1", b"p1"]))
        made = sources.arrays(file=str(tmp_path / "a.npz"), groups="who")
        assert made.classes == ("cat", "dog") and made.samples.targets.tolist() == [0, 1, 1, -1]
        assert made.part_sizes() == {"train": 3, "unlabelled": 1} and made.samples.groups == ("p0", "p0", "p1", "p1")
        assert any("groups in a.npz" in note for note in made.notes)
    np.savez(tmp_path / "a.npz", images=PIXELS[:4], targets=np.array(["a", "nan", "None", "b"]))
    with pytest.raises(DataError, match=r"look like missing ones: 'None' \(1 row\), 'nan' \(1 row\)"):
        sources.arrays(file=str(tmp_path / "a.npz"))
    assert sources.arrays(file=str(tmp_path / "a.npz"), missing=True).part_sizes() == {"train": 2, "unlabelled": 2}


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32])
def test_images_of_other_types_become_floats_by_a_range(tmp_path: Path, kind: Any) -> None:
    values = (np.arange(2 * 4 * 5).reshape(2, 4, 5) * 10).astype(kind)
    np.savez(tmp_path / "a.npz", images=values, targets=np.array([0, 1]))
    with pytest.raises(DataError, match=r"task\.value_range=\[0,390\]"):
        sources.arrays(file=str(tmp_path / "a.npz"))
    made = sources.arrays(file=str(tmp_path / "a.npz"), value_range=(0.0, 400.0))
    np.testing.assert_allclose(sources.reader(made, 1)(1)[:, :, 0], values[1] / 400, atol=1e-6)


def test_masks_by_numbers_from_one_have_the_names_in_their_order(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(1, 4, (3, 6, 7))
    np.savez(tmp_path / "x.npz", **{f"s{index}": PIXELS[index] for index in range(3)})
    np.savez(tmp_path / "y.npz", **{f"s{index}": masks[index] for index in range(3)})
    given = {"train": str(tmp_path / "x.npz"), "train_targets": str(tmp_path / "y.npz")}
    made = sources.samples(**given, labels="masks", classes=["a", "b", "c"])  # type: ignore[arg-type]
    shares = [[float((mask == number).mean()) for number in (1, 2, 3)] for mask in masks]
    np.testing.assert_allclose(made.samples.targets, shares, atol=1e-6)


@pytest.mark.parametrize("numbers", [np.array([2**63, 5] * 6, np.uint64), np.array([2.0**60, 5.0] * 6)])
def test_numbers_that_cannot_be_held_are_no_missing_ones(tmp_path: Path, numbers: Any) -> None:
    for make, missing in ((of_npz, None), (of_npy, False)):
        with pytest.raises(DataError, match=r"too large \(train, row 0: .*, train, row 2: .*save them as text"):
            make(tmp_path, numbers, kind="classification", missing=missing)
