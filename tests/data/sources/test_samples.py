"""Samples in NumPy files with class numbers beside them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlpipe.data import sources, task
from mlpipe.data.cache import packs
from mlpipe.data.preprocessing import standard
from mlpipe.data.sources.targets import mask_files, target_files
from mlpipe.errors import DataError
from mlpipe.learn.build.loss import compares_in_units


@pytest.fixture
def values(tmp_path: Path) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(0, 50, (6, 2, 5, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", **{f"s{index}": value for index, value in enumerate(drawn)})
    (tmp_path / "y").mkdir()
    for index in range(6):
        np.save(tmp_path / "y" / f"t{index}.npy", np.int64(index % 3))
    return drawn


def test_values_stay_as_they_are_channels_last(tmp_path: Path, values: np.ndarray) -> None:
    task = sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    assert (task.classes, task.channels, task.dtype) == (("0", "1", "2"), 2, "float32")
    read = sources.reader(task, 2)
    for row, name in enumerate(task.samples.ids):
        index = int(name.removeprefix("train/x.npz:s"))
        assert np.array_equal(read(row), values[index].transpose(1, 2, 0))
        assert task.samples.targets[row] == index % 3


def test_folders_may_be_classes_and_two_axes_are_one_channel(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "z" / label).mkdir(parents=True)
        np.save(tmp_path / "z" / label / "0.npy", np.full((3, 7), ord(label)))
    task = sources.samples(train=str(tmp_path / "z"), labels="folders")
    assert task.classes == ("a", "b") and task.channels == 1
    assert sources.reader(task, 1)(1).shape == (3, 7, 1) and sources.reader(task, 1)(1)[0, 0, 0] == ord("b")


def test_numbers_to_predict_are_compared_as_they_are(tmp_path: Path, values: np.ndarray) -> None:
    drawn = np.random.default_rng(1).normal(5, 3, (6, 2))
    np.savez(tmp_path / "n.npz", **{f"s{index}": row for index, row in enumerate(drawn)})
    paths = {"train": str(tmp_path / "x.npz"), "train_targets": str(tmp_path / "n.npz")}
    task = sources.samples(**paths, labels="numbers", classes=["width", "height"])
    assert (task.kind, task.classes) == ("regression", ("width", "height"))
    assert np.array_equal(task.samples.targets, drawn[[int(name[-1]) for name in task.samples.ids]])
    assert compares_in_units(task)
    # Test samples without targets are only predicted; without a training, the test targets give the names.
    both = sources.samples(**paths, test=str(tmp_path / "x.npz"), labels="numbers", allow_overlap=True)
    parts = np.array(both.samples.parts)
    assert np.isnan(both.samples.targets[parts == "unlabelled"]).all() and (parts == "train").sum() == 6
    only = sources.samples(test=paths["train"], test_targets=paths["train_targets"], labels="numbers")
    assert only.classes == ("output0", "output1") and set(only.samples.parts) == {"test"}
    with pytest.raises(DataError, match=r"task\.train_targets: is needed"):
        sources.samples(train=paths["train"], labels="numbers")
    np.savez(tmp_path / "n.npz", **{f"s{index}": row[: 1 + index % 2] for index, row in enumerate(drawn)})
    with pytest.raises(DataError, match=r"task\.train_targets: holds targets of 1, 2 numbers"):
        sources.samples(**paths, labels="numbers")


def test_what_does_not_fit_is_named(tmp_path: Path, values: np.ndarray) -> None:
    (tmp_path / "y" / "t5.npy").unlink()
    with pytest.raises(DataError, match=r"task\.train_targets: has 5 targets for 6 samples"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    np.save(tmp_path / "y" / "t5.npy", np.ones(4))
    with pytest.raises(DataError, match=r"holds targets that are no class numbers: t5\.npy"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    np.save(tmp_path / "y" / "t5.npy", np.int64(7))
    with pytest.raises(DataError, match=r"x\.npz:s5: its class number is none of the classes, got 7"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"), classes=["a", "b", "c"])
    with pytest.raises(DataError, match=r"task\.train_targets: is needed"):
        sources.samples(train=str(tmp_path / "x.npz"))


def test_datasets_of_hdf5_are_samples_and_targets(tmp_path: Path, values: np.ndarray) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as inputs, h5py.File(tmp_path / "y.h5", "w") as targets:
        for index, value in enumerate(values):
            inputs[f"deep/{index}"] = value
            targets[f"t{index}"] = np.int64(index % 2)
    made = sources.samples(train=str(tmp_path / "x.h5"), train_targets=str(tmp_path / "y.h5"))
    assert made.samples.ids[1] == "train/x.h5:deep/1" and made.samples.targets.tolist() == [0, 1] * 3
    read = sources.reader(made, 2)
    assert all(np.array_equal(read(row), values[row].transpose(1, 2, 0)) for row in range(6))


def test_arrays_may_be_masks(tmp_path: Path, values: np.ndarray) -> None:
    masks = np.random.default_rng(1).integers(0, 3, (6, 5, 4))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for index, mask in enumerate(masks):
            file[f"m{index}"] = mask if index % 2 else mask[np.newaxis].astype(np.float32)
    given = {
        "train": str(tmp_path / "x.npz"),
        "test": str(tmp_path / "x.npz"),
        "labels": "masks",
        "allow_overlap": True,
    }
    made = sources.samples(**given, train_targets=str(tmp_path / "m.h5"))  # type: ignore[arg-type]
    assert (made.kind, made.classes, made.channels) == ("segmentation", ("0", "1", "2"), 2)
    assert made.samples.parts == ("unlabelled",) * 6 + ("train",) * 6
    assert np.allclose(made.samples.targets[6:, 2], (masks == 2).mean(axis=(1, 2)), atol=1e-6)
    task.save(made, tmp_path / "task.json")
    read = sources.reader(mask_files.task_of(task.load(tmp_path / "task.json")), 1)
    assert all(np.array_equal(read(6 + row)[:, :, 0], masks[row]) for row in range(6))
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["m1"][0, 0] = 3 - file["m1"][0, 0]
    with pytest.raises(DataError, match="m.h5:m1: has changed since the task"):
        read(7)


def test_masks_that_do_not_fit_are_named(tmp_path: Path, values: np.ndarray) -> None:
    for index in range(6):
        np.save(tmp_path / "y" / f"t{index}.npy", np.zeros((5, 4)) + index)
    given = {"train": str(tmp_path / "x.npz"), "train_targets": str(tmp_path / "y"), "labels": "masks"}
    with pytest.raises(DataError, match=r"t3\.npy: has values that are no class \(3\)"):
        sources.samples(**given, classes=["a", "b", "c"])  # type: ignore[arg-type]
    np.save(tmp_path / "y" / "t2.npy", np.full((5, 4), 0.5))
    np.save(tmp_path / "y" / "t1.npy", np.zeros((4, 5)))
    np.save(tmp_path / "y" / "t0.npy", np.zeros((2, 5, 4)))
    with pytest.raises(DataError) as refused:
        sources.samples(**given)  # type: ignore[arg-type]
    said = "; ".join(refused.value.problems)
    assert "t0.npy: has 2 channels" in said and "t1.npy: has the shape [4, 5], its sample" in said
    assert "t2.npy: is no mask: whole numbers" in said
    with pytest.raises(DataError, match="train_targets: is needed; name the file or folder of masks"):
        sources.samples(train=str(tmp_path / "x.npz"), labels="masks")
    (tmp_path / "y" / "t5.npy").unlink()
    with pytest.raises(DataError, match="has 5 targets for 6 samples"):
        sources.samples(**given)  # type: ignore[arg-type]


def test_arrays_as_targets(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    inputs = {name: drawn.normal(size=(2, 5, 4)).astype(np.float32) for name in "abc"}
    targets = {name: drawn.normal(size=(3, 5, 4)).astype(np.float32) for name in "abc"}
    np.savez(tmp_path / "x.npz", **inputs)  # type: ignore[arg-type]
    np.savez(tmp_path / "y.npz", **targets)  # type: ignore[arg-type]
    given = {"train": str(tmp_path / "x.npz"), "train_targets": str(tmp_path / "y.npz"), "labels": "images"}
    made = sources.samples(**given)  # type: ignore[arg-type]
    assert (made.kind, made.channels, len(made.classes)) == ("images", 2, 3) and made.samples.labelled.all()
    read = sources.reader(target_files.task_of(made), 3)
    assert np.array_equal(read(1).transpose(2, 0, 1), targets["b"])
    own = sources.samples(train=given["train"], labels="images")
    assert target_files.are_own(own) and own.classes == ("channel 0", "channel 1")
    bare = sources.samples(test=given["train"], labels="images", labelled=False, classes=["u"])
    assert not bare.samples.labelled.any() and bare.classes == ("u",)
    with pytest.raises(DataError, match=r"task\.classes: targets have 3 channels"):
        sources.samples(**given, classes=["u"])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"task\.values: is for classes"):
        sources.samples(**given, values=[1])  # type: ignore[arg-type]
    np.savez(tmp_path / "z.npz", **{**targets, "b": targets["b"][:, :4], "c": targets["c"] * np.nan})  # type: ignore[arg-type]
    given["train_targets"] = str(tmp_path / "z.npz")
    with pytest.raises(DataError) as refused:
        sources.samples(**given)  # type: ignore[arg-type]
    said = "; ".join(refused.value.problems)
    assert (
        "b: has the shape [4, 4], its sample train/x.npz:b [5, 4]" in said
        and "c: has values that are no numbers" in said
    )


@pytest.mark.parametrize("labels", ["files", "masks", "images"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_named(tmp_path: Path, labels: str, value: float) -> None:
    arrays = {name: np.zeros((1, 4, 5), np.float32) for name in "abc"}
    arrays["b"][0, 2, 3] = value
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    targets = {
        name: np.array(number) if labels == "files" else np.zeros((1, 4, 5)) for number, name in enumerate("abc")
    }
    np.savez(tmp_path / "y.npz", **targets)  # type: ignore[arg-type]
    classes = {"classes": ["u", "v"]} if labels == "masks" else {}
    with pytest.raises(DataError, match=r"train/x\.npz:b: has values that are no numbers \(NaN or infinite\)"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y.npz"), labels=labels, **classes)  # type: ignore[arg-type]


@pytest.mark.parametrize("spatial", [(3, 5, 4), (7,)])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_samples_of_one_and_three_axes(tmp_path: Path, spatial: tuple[int, ...], layout: str) -> None:
    drawn = np.random.default_rng(0)
    inputs = drawn.normal(size=(4, 2, *spatial)).astype(np.float32)
    masks, targets = drawn.integers(0, 3, (4, *spatial)), drawn.normal(size=(4, 3, *spatial)).astype(np.float32)
    for name, arrays in (("x", inputs), ("m", masks), ("t", targets)):
        turned = np.moveaxis(arrays, 1, -1) if layout == "hwc" and name != "m" else arrays
        np.savez(tmp_path / f"{name}.npz", **{str(number): one for number, one in enumerate(turned)})  # type: ignore[arg-type]
        np.savez(tmp_path / "y.npz", **{str(number): np.int64(number % 2) for number in range(4)})  # type: ignore[arg-type]
    given = {"train": str(tmp_path / "x.npz"), "layout": layout, **({"axes": 1} if len(spatial) == 1 else {})}
    for labels, file, kind in (
        ("files", "y", "classification"),
        ("masks", "m", "segmentation"),
        ("images", "t", "images"),
    ):
        made = sources.samples(**given, labels=labels, train_targets=str(tmp_path / f"{file}.npz"))  # type: ignore[arg-type]
        task.save(made, tmp_path / "task.json")
        again = task.load(tmp_path / "task.json")
        assert (again.kind, again.channels, task.axes_of(again)) == (kind, 2, len(spatial))
        read = sources.reader(again, 2)
        assert all(np.array_equal(read(row), np.moveaxis(inputs[row], 0, -1)) for row in range(4))
        if labels == "masks":
            of_mask = sources.reader(mask_files.task_of(again), 1)
            assert all(np.array_equal(of_mask(row)[..., 0], masks[row]) for row in range(4))
        if labels == "images":
            of_target = sources.reader(target_files.task_of(again), 3)
            assert all(np.array_equal(of_target(row), np.moveaxis(targets[row], 0, -1)) for row in range(4))


def test_samples_of_unequal_axes_or_sizes_are_named(tmp_path: Path) -> None:
    def saved(name: str, *shapes: tuple[int, ...]) -> str:
        np.savez(tmp_path / name, **{str(number): np.ones(shape) for number, shape in enumerate(shapes)})  # type: ignore[arg-type]
        return str(tmp_path / name)

    flat = saved("flat.npz", (1, 4, 5, 6), (4, 5), (1, 4, 5, 6, 7))
    with pytest.raises(
        DataError, match=r"flat\.npz:1: is no sample of 3 axes: \[4, 5\] of float64; save arrays"
    ) as error:
        sources.samples(train=flat, labels="none")
    assert "say with task.axes that they have other than 3" in str(error.value)
    with pytest.raises(DataError, match=r"is no sample of 1 axis: \[1, 4, 5, 6\]"):
        sources.samples(train=flat, labels="none", axes=1)
    with pytest.raises(DataError, match=r"is no image: \[1, 4, 5, 6\]"):
        sources.samples(train=flat, labels="none", axes=2)
    boxes, other = saved("x.npz", (1, 4, 5, 6), (1, 4, 5, 6)), saved("y.npz", (4, 5, 6), (4, 5, 7))
    for labels in ("masks", "images"):
        with pytest.raises(
            DataError, match=r"y\.npz:1: has the shape \[4, 5, 7\], its sample train/x\.npz:1 \[4, 5, 6\]"
        ):
            sources.samples(train=boxes, train_targets=other, labels=labels)  # type: ignore[arg-type]
    sizes = sources.samples(train=saved("s.npz", (1, 4, 5, 6), (1, 4, 5, 7)), labels="none")
    how = standard(1, id="none", size=None)
    with pytest.raises(DataError, match=r"s\.npz:1: has the shape \[4, 5, 7, 1\], others have \[4, 5, 6, 1\]"):
        packs.build(sizes, how, tmp_path / "pack", workers=1)


def test_a_sample_that_has_changed_is_no_longer_that_of_the_task(tmp_path: Path, values: np.ndarray) -> None:
    task = sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    np.savez(tmp_path / "x.npz", **{f"s{index}": value + (index == 4) for index, value in enumerate(values)})
    read = sources.reader(task, 2)
    assert np.array_equal(read(task.samples.ids.index("train/x.npz:s3")), values[3].transpose(1, 2, 0))
    with pytest.raises(DataError, match=r"train/x\.npz:s4: has changed since the task x-\w+ was created"):
        read(task.samples.ids.index("train/x.npz:s4"))
