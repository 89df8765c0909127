"""Planes of a volume as samples: the same bytes as planes saved one by one, and a sentence for what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.data import sources, task
from mlpipe.data.cache import packs
from mlpipe.data.cache.packs import Pack
from mlpipe.data.preprocessing import standard
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.splits import methods
from mlpipe.data.task import IGNORED, Task
from mlpipe.errors import ConfigError, DataError

Array = np.ndarray[Any, Any]
SHAPE = (12, 9, 10)
YZ = {"name": "yz", "sizes": [1, 9, 10]}


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[Array, Array]:
    """A volume of two channels and its class numbers 0, 4 and 7, as files."""
    rng = np.random.default_rng(0)
    volume, classes = rng.normal(size=(2, *SHAPE)), rng.choice([0, 4, 7], SHAPE)
    np.save(tmp_path / "a.npy", volume)
    np.save(tmp_path / "a_classes.npy", classes[np.newaxis].astype(np.float32))
    return volume.astype(np.float32), classes


def made(folder: Path, sets: list[dict[str, Any]], **keys: Any) -> Task:
    given = {"train": str(folder / "a.npy"), "train_targets": str(folder / "a_classes.npy"), **keys}
    return sources.slices(slices=sets, **given)


def packed(of: Task, folder: Path) -> tuple[Pack, Pack]:
    """The cached images and masks of a task."""
    how = standard(of.channels, id="none", size=None)
    of_masks = mask_files.task_of(of)
    images = packs.build(of, how, folder / "images", workers=2)
    return images, packs.build(of_masks, mask_files.preprocessing_of(how), folder / "masks", workers=2)


def test_planes_are_samples_with_masks_and_blocks(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    volume, classes = volumes
    of = made(tmp_path, [YZ], blocks=4)
    assert (of.kind, of.classes, of.channels, of.dtype) == ("segmentation", ("0", "4", "7"), 2, "float32")
    assert of.samples.ids[3] == "train/yz/00003" and of.name.startswith("a-")
    assert of.samples.groups == tuple(f"train, axis 0, block {at // 3}" for at in range(12))
    assert np.allclose(of.samples.targets[:, 2], (classes == 7).mean(axis=(1, 2)), atol=1e-6)
    task.save(of, tmp_path / "task.json")
    again = task.load(tmp_path / "task.json")
    read, read_mask = sources.reader(again, 2), sources.reader(mask_files.task_of(again), 1)
    for row in range(12):
        assert np.array_equal(read(row), volume[:, row].transpose(1, 2, 0))
        assert np.array_equal(read_mask(row)[:, :, 0], np.searchsorted([0, 4, 7], classes[row]))
    fold = methods.kfold(of.samples, folds=4).fold.reshape(4, 3)
    assert (fold == fold[:, :1]).all() and sorted(fold[:, 0].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "keys",
    [
        {"sizes": [1, 4, 5], "strides": [1, 3, 5], "padding": [0, 1, 2]},
        {"sizes": [1, 5, 4], "padded_sizes": [1, 8, 5], "margin": "data", "transpose": True},
        {"sizes": [6, 1, 7], "discard_remainders": True},
    ],
)
def test_a_pack_holds_what_planes_saved_one_by_one_give(
    tmp_path: Path, volumes: tuple[Array, Array], keys: dict[str, Any]
) -> None:
    volume, classes = volumes
    of = made(tmp_path, [{"name": "set", **keys}])
    wide = [(one, one + 8) for one in (8, 8, 8)]
    framed = {
        "zeros": np.pad(volume, ((0, 0), *wide)), "classes": np.pad(classes, wide, constant_values=99),
    }  # fmt: skip
    sizes, strides = keys["sizes"], keys.get("strides", keys["sizes"])
    padded = keys.get(
        "padded_sizes", [size + 2 * more for size, more in zip(sizes, keys.get("padding", [0] * 3), strict=True)]
    )
    before = [(more - size) // 2 for more, size in zip(padded, sizes, strict=True)]
    rests = [(length - size) / stride for length, size, stride in zip(SHAPE, sizes, strides, strict=True)]
    counts = [int(rest) + 1 if keys.get("discard_remainders") else int(np.ceil(rest)) + 1 for rest in rests]
    for number, at in enumerate(np.ndindex(*counts)):
        start = [one * stride for one, stride in zip(at, strides, strict=True)]
        inner = tuple(slice(8 + one, 8 + one + size) for one, size in zip(start, sizes, strict=True))
        outer = tuple(
            slice(8 + one - front, 8 + one - front + size)
            for one, front, size in zip(start, before, padded, strict=True)
        )
        counted = np.full([8 + length + 16 for length in SHAPE], 99)
        counted[inner] = framed["classes"][inner]
        pixels = framed["zeros"][(slice(None), *outer)]
        if keys.get("margin", "zeros") == "zeros":
            only = np.zeros_like(framed["zeros"])
            only[(slice(None), *inner)] = framed["zeros"][(slice(None), *inner)]
            pixels = only[(slice(None), *outer)]
        flat = sizes.index(1)
        image, mask = np.take(pixels, 0, flat + 1), np.take(counted[outer], 0, flat)
        if keys.get("transpose"):
            image, mask = image.swapaxes(1, 2), mask.T
        for kind, value in (("x", image), ("y", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            np.save(tmp_path / kind / f"{number:05}.npy", value)
    saved = sources.samples(train=str(tmp_path / "x"), train_targets=str(tmp_path / "y"), labels="masks",
                            values=[0, 4, 7], classes=["0", "4", "7"], ignore_index=99)  # fmt: skip
    own, other = packed(of, tmp_path / "own"), packed(saved, tmp_path / "other")
    assert len(of.samples) == len(saved.samples) > 8
    assert all(one.images[:].tobytes() == two.images[:].tobytes() for one, two in zip(own, other, strict=True))
    assert np.array_equal(of.samples.targets, saved.samples.targets)
    assert of.samples.digests == saved.samples.digests
    assert (own[1].images == IGNORED).any() or "padding" not in keys


def test_two_directions_and_a_test_volume_without_targets(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    volume, classes = volumes
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file.create_dataset("raw", data=volume, chunks=(1, 4, 4, 4), compression="gzip")
        file["of/classes"] = classes
    np.savez(tmp_path / "t.npz", raw=np.flip(volume, 1))
    other = {"name": "xz", "sizes": [9, 1, 10], "strides": [3, 1, 10], "discard_remainders": True}
    files = {
        "train": str(tmp_path / "both.h5"),
        "train_targets": str(tmp_path / "both.h5"),
        "test": str(tmp_path / "t.npz"),
    }
    of = made(
        tmp_path, [YZ, other], **files, dataset="raw", target_dataset="of/classes", name="mine", data_dir=str(tmp_path)
    )
    assert of.part_sizes() == {"train": 12 + 2 * 9, "unlabelled": 30} and of.name.startswith("mine-")
    assert len(of.notes) == 2 and "follow the axes 0, 1" in of.notes[0]
    row = of.samples.ids.index("train/xz/00010")
    assert np.array_equal(sources.reader(of, 2)(row), volume[:, 3:12, 1].transpose(1, 2, 0))
    assert len(list((tmp_path / ".seen").iterdir())) == 3
    same = made(
        tmp_path, [YZ, other], **files, dataset="raw", target_dataset="of/classes", name="mine", data_dir=str(tmp_path)
    )
    assert same.name == of.name


def test_tiles_of_an_image_follow_its_longer_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(tmp_path / "a.npy", rng.normal(size=(8, 30)))
    np.save(tmp_path / "a_classes.npy", rng.integers(0, 2, (8, 30)))
    of = made(tmp_path, [{"sizes": [4, 5], "strides": [4, 3]}], blocks=3)
    assert of.classes == ("background", "foreground") and of.samples.ids[0] == "train/slice_set_1/00000"
    assert of.samples.groups[:4] == tuple(f"train, axis 1, block {number}" for number in (0, 0, 0, 0))
    assert len(set(of.samples.groups)) == 3 and "slices overlap" in of.notes[0]


def test_slices_of_one_value_are_no_copies_of_each_other(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    volume, _ = volumes
    volume[:, [0, 5, 11]] = 0
    np.save(tmp_path / "a.npy", volume)
    of = made(tmp_path, [YZ], blocks=0)
    assert len(set(of.samples.digests)) == 12 and of.samples.groups == ()
    assert "task.blocks=0" in of.notes[0]
    thin = made(tmp_path, [YZ])
    assert "a block holds a single slice" in thin.notes[0] and "task.blocks=3" in thin.notes[0]
    with pytest.raises(DataError, match="9 validation or test images are in the training part too"):
        made(tmp_path, [YZ], test=str(tmp_path / "a.npy"), test_targets=str(tmp_path / "a_classes.npy"))


def test_a_file_that_changes_is_noticed(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    volume, classes = volumes
    of = made(tmp_path, [YZ], data_dir=str(tmp_path))
    before = sources.reader(of, 2), sources.reader(mask_files.task_of(of), 1)
    volume[0, 4, 0, 0] += 1
    np.save(tmp_path / "a.npy", volume)
    classes[4, 0, 0] = 11 - classes[4, 0, 0] or 4
    np.save(tmp_path / "a_classes.npy", classes)
    assert made(tmp_path, [YZ], classes=None, values=[0, 4, 7, 11], data_dir=str(tmp_path)).name != of.name
    for read in (*before, sources.reader(of, 2), sources.reader(mask_files.task_of(of), 1)):
        with pytest.raises(DataError, match="train/yz/00004: has changed since the task a-"):
            read(4)
    np.save(tmp_path / "a.npy", volume[:, :11])
    with pytest.raises(DataError, match=r"a\.npy: has changed since"):
        sources.reader(of, 2)(0)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(DataError, match=r"task\.train: cannot be read"):
        sources.reader(of, 2)(0)


WRONG = [
    ([YZ], {"train": None}, r"task\.train: a file is needed"),
    ([YZ], {"train_targets": None}, r"task\.train_targets: is needed"),
    ([YZ], {"test_targets": "a.npy"}, r"task\.test_targets: is of a volume that is not there"),
    ([YZ], {"train": "b.npy"}, r"task\.train: there is no such file"),
    ([YZ], {"train_targets": "a.npy"}, r"train_targets: has another shape than the volume, \[12, 9, 10\], got \[2, 12, 9, 10\]"),
    ([YZ], {"train_targets": "half.npy"}, r"train/yz/00002 holds no class numbers"),
    ([YZ], {"classes": ["a", "b"], "values": [0, 4]}, r"task\.train_targets: holds values that are no class \(7\)"),
    ([YZ], {"train": "nan.npy"}, r"task\.train: train/yz/00001 holds values from nan to nan"),
    ([YZ], {"train": "damaged.npy"}, r"task\.train: cannot be read"),
    ([YZ], {"train": "two.npz"}, r"task\.dataset: two\.npz holds 2 arrays"),
    ([YZ], {"train_targets": "two.npz"}, r"task\.target_dataset: two\.npz holds 2 arrays"),
    ([YZ], {"dataset": "raw", "train": "two.npz", "test": "thin.npy"}, r"task\.test: volumes have 2, 1 channels"),
    ([{"sizes": [9, 10]}], {}, r"task\.train: has 4 axes, sizes are for 2"),
    ([{"sizes": [1, 20, 10], "discard_remainders": True}], {}, r"task\.slices\[0\]\.sizes: no whole slice fits"),
]  # fmt: skip


@pytest.mark.parametrize(("sets", "keys", "sentence"), WRONG)
def test_what_does_not_fit_is_a_sentence(
    tmp_path: Path, volumes: tuple[Array, Array], sets: list[dict[str, Any]], keys: dict[str, Any], sentence: str
) -> None:
    volume, classes = volumes
    np.save(tmp_path / "half.npy", classes + 0.5 * (np.arange(12)[:, None, None] == 2))
    np.save(tmp_path / "nan.npy", np.where(np.arange(12)[:, None, None] == 1, np.nan, volume))
    np.save(tmp_path / "thin.npy", volume[0])
    np.savez(tmp_path / "two.npz", raw=volume, more=classes)
    (tmp_path / "damaged.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:900])
    paths = {
        key: str(tmp_path / value) if isinstance(value, str) and "." in value else value for key, value in keys.items()
    }
    with pytest.raises((DataError, ConfigError), match=sentence):
        made(tmp_path, sets, **paths)


def test_boxes_and_lines_are_samples_of_their_own_axes(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    volume, classes = volumes
    box = made(tmp_path, [{"sizes": [4, 9, 5], "padding": [1, 0, 1], "margin": "data"}])
    assert task.axes_of(box) == 3 and len(set(box.samples.groups)) == 3 and box.notes == ()
    images, masks = packed(box, tmp_path / "box")
    assert (
        images.images.shape == (6, 6, 9, 7, 2) and masks.images.shape == (6, 6, 9, 7, 1) and images.shape == (6, 9, 7)
    )
    framed = np.pad(volume, ((0, 0), (1, 1), (0, 0), (1, 1)))
    assert np.array_equal(images.images[3], np.moveaxis(framed[:, 4:10, :, 5:12], 0, -1))
    numbers = np.searchsorted([0, 4, 7], classes)
    assert np.array_equal(masks.images[3, 1:-1, :, 1:-1, 0], numbers[4:8, :, 5:10])
    assert (masks.images[3, 0] == IGNORED).all()
    line = made(tmp_path, [{"sizes": [1, 1, 5]}])
    images, masks = packed(line, tmp_path / "line")
    assert task.axes_of(line) == 1 and images.images.shape == (12 * 9 * 2, 5, 2) and images.shape == (5,)
    assert np.array_equal(images.images[21], volume[:, 1, 1, 5:].T)
    assert np.array_equal(masks.images[21, :, 0], numbers[1, 1, 5:])
    assert len(set(line.samples.groups)) == 12
    assert task.axes_of(made(tmp_path, [YZ])) == 2


def test_slices_must_be_of_one_size(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    np.save(tmp_path / "four.npy", np.zeros((4, 4, 4, 4)))
    with pytest.raises(ConfigError, match=r"gives slices of 4 axes, networks take 3 at most"):
        made(tmp_path, [{"sizes": [4, 4, 4, 4]}], train=str(tmp_path / "four.npy"))
    with pytest.raises(ConfigError, match=r"slices\[1\]\.sizes: gives \[12, 10\] with what is put around"):
        made(tmp_path, [YZ, {"sizes": [12, 1, 10]}])


def test_a_damaged_piece_of_a_file_is_named(tmp_path: Path, volumes: tuple[Array, Array]) -> None:
    volume, _ = volumes
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=volume, chunks=(2, 1, 9, 10), compression="gzip")
        at = file["raw"].id.get_chunk_info(6).byte_offset
    with (tmp_path / "a.h5").open("r+b") as opened:
        opened.seek(at)
        opened.write(b"\0" * 40)
    with pytest.raises(DataError, match=r"task\.train: train/yz/00006 cannot be read from .*a\.h5"):
        made(tmp_path, [YZ], train=str(tmp_path / "a.h5"))
