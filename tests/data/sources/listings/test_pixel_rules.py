"""One rule for what image files leave open: stored with the task, part of its name and of its cache's, nothing elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import preprocessing, sources, task
from mlpipe.data.cache import packs
from mlpipe.data.creator import TaskCreator
from mlpipe.data.sources.targets import mask_files, target_files
from mlpipe.data.task import Task
from mlpipe.errors import DataError

ORIENTATION = 0x0112


def floats(folder: Path, low: float, high: float, ending: str = "tif") -> dict[str, np.ndarray[Any, Any]]:
    """Two classes of floating-point pictures, some darker than others, between two values."""
    rng, made = np.random.default_rng(0), {}
    for index in range(6):
        top = high if index == 5 else low + (high - low) * (index + 1) / 8
        values = (low + rng.random((6, 5)) * (top - low)).astype(np.float32)
        values[0, 0], values[0, 1] = low, top
        name = f"{'ab'[index % 2]}/{index}.{ending}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / name)
        made[name] = values
    return made


def of_folder(base: Path, **options: Any) -> Task:
    return sources.folder(root=str(base), **options)


def of_folders(base: Path, **options: Any) -> Task:
    return sources.folders(train=str(base), **options)


def of_csv(base: Path, **options: Any) -> Task:
    lines = [f"{path.relative_to(base)},{path.parent.name}" for path in sorted(base.glob("?/*.*"))]
    (base / "t.csv").write_text("\n".join(["path,label", *lines]))
    return sources.csv(file=str(base / "t.csv"), **options)


def of_images(base: Path, **options: Any) -> Task:
    return sources.image_folders(train=str(base), **options)


def of_creator(base: Path, **options: Any) -> Task:
    creator = TaskCreator("made", base, ["a", "b"], **options)
    for path in sorted(base.glob("?/*.*")):
        creator.add(path.relative_to(base).as_posix(), path.parent.name)
    return creator.task()


@pytest.mark.parametrize("make", [of_folder, of_folders, of_csv, of_images, of_creator])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1000.0, 3000.0)])
def test_floating_point_images_need_a_range_and_have_one_for_all(
    tmp_path: Path, make: Any, low: float, high: float
) -> None:
    values = floats(tmp_path / "base", low, high)
    with pytest.raises(DataError) as refused:
        make(tmp_path / "base")
    assert (
        f"6 images have floating-point values (0.tif, 2.tif, 4.tif and 3 more), from {low:g} to {high:g}"
        in (refused.value.problems[0])
    )
    assert refused.value.problems[0].endswith(f"task.value_range=[{low:g},{high:g}]")
    made = make(tmp_path / "base", value_range=(low, high))
    assert made.dtype == "uint16" and made.source["decoding"]["range"] == [low, high]
    read = sources.reader(made, 1)
    for row, name in enumerate(made.samples.ids):
        wanted = (values[name.removeprefix("train/")].astype(float) - low) / (high - low)
        np.testing.assert_allclose(read(row)[:, :, 0] / 65535, wanted, atol=1e-5)
    other = make(tmp_path / "base", value_range=(low, 2 * high))
    assert other.name != made.name and other.source_hash == made.source_hash
    how = preprocessing.standard(1, id="x", size=4)
    assert packs.pack_id(other, how) != packs.pack_id(made, how)
    with pytest.raises(DataError) as beyond:
        make(tmp_path / "base", value_range=(low, high / 2))
    assert f"outside task.value_range, got [{low!r}, {high / 2!r}]" in beyond.value.problems[0]


def test_the_range_goes_through_the_stored_task_and_to_new_images(tmp_path: Path) -> None:
    values = floats(tmp_path / "base", 0.0, 4.0)
    made = of_folder(tmp_path / "base", value_range=(0.0, 4.0))
    task.save(made, tmp_path / "data" / made.name / "task.json")
    stored = sources.created(name=made.name, data_dir=str(tmp_path / "data"))
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((6, 5), 1.0, np.float32)).save(tmp_path / "new" / "grey.tif")
    Image.fromarray(np.full((6, 5), 5.0, np.float32)).save(tmp_path / "new" / "white.tif")
    new = sources.new_images(root=str(tmp_path / "new"), like=stored)
    read = sources.reader(new, 1)
    assert (read(0) == round(65535 / 4)).all()
    with pytest.raises(Exception, match=r"from 5 to 5, outside task\.value_range \[0, 4\]"):
        read(1)
    first = sources.reader(stored, 1)(0)[:, :, 0]
    np.testing.assert_allclose(first / 65535, values[stored.samples.ids[0]] / 4, atol=1e-5)


def test_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    floats(tmp_path / "base", 0.0, 1.0)
    broken = np.full((6, 5), np.nan, np.float32)
    Image.fromarray(broken).save(tmp_path / "base" / "a" / "0.tif")
    with pytest.raises(DataError, match="0.tif: has values that are no numbers"):
        of_folder(tmp_path / "base", value_range=(0.0, 1.0))
    with pytest.raises(DataError, match="must grow"):
        of_folder(tmp_path / "base", value_range=(1.0, 0.0))


def transparent(folder: Path, opacity: int) -> Path:
    for index in range(4):
        pixels = np.full((6, 5, 4), 40 * index, np.uint8)
        pixels[..., 3], pixels[0, 0, 3] = 255, opacity
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def test_transparent_images_are_said_and_have_caches_of_their_own(tmp_path: Path) -> None:
    how = preprocessing.standard(3, id="x", size=4)
    base, opaque = transparent(tmp_path / "base", 0), transparent(tmp_path / "opaque", 255)
    made = of_folder(base)
    assert any(note.startswith("4 images have transparent places, laid over white") for note in made.notes)
    assert sources.reader(made, 3)(0)[0, 0].tolist() == [255] * 3
    black = of_folder(base, background="black")
    assert sources.reader(black, 3)(1)[0, 0].tolist() == [0] * 3
    kept = of_folder(base, channels=4)
    assert sources.reader(kept, 4)(0)[0, 0, 3] == 0 and "decoding" not in kept.source
    assert len({made.name, black.name, kept.name}) == 3
    assert packs.pack_id(made, how) != packs.pack_id(black, how)
    plain = of_folder(opaque)
    assert "decoding" not in plain.source and not plain.notes


def test_caches_of_ordinary_images_keep_their_names(tmp_path: Path) -> None:
    """The name of a cache is made of what it was made of before there was a rule."""
    from mlpipe import files

    made, how = of_folder(transparent(tmp_path / "base", 255)), preprocessing.standard(3, id="x", size=4)
    key = [packs.FORMAT, how.key(), "uint8", list(made.samples.ids), list(made.samples.digests)]
    assert packs.pack_id(made, how) == f"x-{files.digest(key)[:12]}"
    assert made.name == f"base-{files.digest([made.source_hash, 3])[:8]}"


def test_a_stored_task_from_before_the_rule_gets_another_cache(tmp_path: Path) -> None:
    how = preprocessing.standard(3, id="x", size=4)
    for name, opacity, changed in (("clear", 0, True), ("opaque", 255, False)):
        made = of_folder(transparent(tmp_path / name, opacity))
        path = tmp_path / "data" / made.name / "task.json"
        task.save(made, path)
        content = json.loads(path.read_text())
        content["source"].pop("decoding", None)
        path.write_text(json.dumps(content))
        before = task.load(path)
        now = sources.created(name=made.name, data_dir=str(tmp_path / "data"))
        assert (packs.pack_id(now, how) != packs.pack_id(before, how)) == changed
        assert packs.pack_id(now, how) == packs.pack_id(made, how)


def test_targets_have_a_range_of_their_own(tmp_path: Path) -> None:
    depth = floats(tmp_path / "out", 0.0, 10.0)
    for index, name in enumerate(depth):
        path = tmp_path / "in" / Path(name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 5, 3), 20 * index, np.uint8)).save(path)
    given = {"train": str(tmp_path / "in"), "train_targets": str(tmp_path / "out")}
    with pytest.raises(DataError, match=r"task\.target_value_range=\[0,10\]"):
        sources.image_folders(**given)  # type: ignore[arg-type]
    made = sources.image_folders(**given, target_value_range=(0.0, 20.0))  # type: ignore[arg-type]
    assert made.dtype == "uint8" and "decoding" not in made.source
    read = sources.reader(target_files.task_of(made), 1)
    for row, (name, _) in enumerate(made.samples.masks):
        np.testing.assert_allclose(read(row)[:, :, 0] / 65535, depth[name] / 20, atol=1e-5)
    other = sources.image_folders(**given, target_value_range=(0.0, 40.0))  # type: ignore[arg-type]
    how = preprocessing.standard(1, id="x", size=4)
    assert other.name != made.name
    assert packs.pack_id(target_files.task_of(other), how) != packs.pack_id(target_files.task_of(made), how)


def tagged(path: Path, pixels: np.ndarray[Any, Any], orientation: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tag = Image.Exif()
    tag[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=tag)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_with_their_images(tmp_path: Path, orientation: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(3):
        mask = rng.integers(0, 2, (4, 6), dtype=np.uint8)
        tagged(tmp_path / "images" / f"{index}.png", mask * 100 + index, orientation)
        tagged(tmp_path / "masks" / f"{index}.png", mask, orientation)
    made = sources.masks(root=str(tmp_path))
    pixels, masks = sources.reader(made, 1), sources.reader(mask_files.task_of(made), 1)
    for row in range(3):
        assert ((pixels(row) - row) // 100 == masks(row)).all()
    assert not any("orientation" in note for note in made.notes)


def test_an_image_and_a_mask_of_other_shapes_or_tags_are_named(tmp_path: Path) -> None:
    for index in range(3):
        tagged(tmp_path / "images" / f"{index}.png", np.full((4, 6), index, np.uint8), 6 if index == 1 else 1)
        tagged(tmp_path / "masks" / f"{index}.png", np.eye(4, 6, dtype=np.uint8), 1)
    with pytest.raises(DataError) as refused:
        sources.masks(root=str(tmp_path))
    (sentence,) = refused.value.problems
    assert "masks/1.png: is 6 x 4 pixels, its image 1.png 4 x 6" in sentence and "EXIF" in sentence
    tagged(tmp_path / "images" / "1.png", np.full((4, 6), 1, np.uint8), 3)
    made = sources.masks(root=str(tmp_path))
    assert any(note.startswith("1 mask has another EXIF orientation") for note in made.notes)


def test_masks_of_few_bits_have_the_classes_of_their_numbers(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for index in range(3):
        tagged(tmp_path / "images" / f"{index}.png", np.full((1, 4), index, np.uint8), 1)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(b"\0" + bytes([0b00_01_10_01])))
        (tmp_path / "masks").mkdir(exist_ok=True)
        content = b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")
        (tmp_path / "masks" / f"{index}.png").write_bytes(content)
    made = sources.masks(root=str(tmp_path))
    assert made.classes == ("0", "1", "2") and made.samples.targets[0].tolist() == [0.25, 0.5, 0.25]
    assert sources.reader(mask_files.task_of(made), 1)(0)[0, :, 0].tolist() == [0, 1, 2, 1]
