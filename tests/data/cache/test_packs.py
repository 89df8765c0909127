"""The pack of decoded images: complete or not there, made once, and the same as decoding one by one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from mlpipe import files
from mlpipe.data import preprocessing, sampling, sources, task
from mlpipe.data.cache import filling
from mlpipe.data.cache import packs as cache
from mlpipe.data.decoding import images
from mlpipe.data.loading.loaders import Draw, FoldData
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.splits import methods, variants
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError

TOP = Path(__file__).parents[3]
SMALL = preprocessing.standard(3, id="size8", size=8)


@pytest.fixture
def pictures(picture_folder: Path) -> Task:
    return sources.folder(root=str(picture_folder))


def broken(folder: Path, names: tuple[str, ...]) -> Task:
    for name in names:
        (folder / name).write_bytes(b"no image")
    return sources.folder(root=str(folder))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("size", [8, None])
def test_the_pack_equals_decoding_one_by_one(pictures: Task, tmp_path: Path, workers: int, size: int | None) -> None:
    steps = preprocessing.standard(3, id="x", size=size)
    pack = cache.build(pictures, steps, tmp_path / "pack", workers=workers)
    read = sources.reader(pictures, 3)
    assert pack.images.shape == (36, *((8, 8) if size else (24, 20)), 3) and pack.images.dtype == np.uint8
    for row in range(36):
        assert (pack.images[row] == steps(read(row))).all()
    assert pack.unreadable == {} and not pack.unreadable_mask(pictures).any()


def test_more_images_than_a_chunk_and_grey_ones(tmp_path: Path) -> None:
    whole = sources.digits()
    pack = cache.build(whole, preprocessing.standard(1, id="x", size=None), tmp_path / "pack", workers=3)
    read = sources.reader(whole, 1)
    assert pack.images.shape == (1797, 8, 8, 1)
    assert (np.stack([read(row) for row in range(1797)]) == pack.images).all()


def test_progress_counts_to_the_end(pictures: Task, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    cache.build(pictures, SMALL, tmp_path / "pack", workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 36) for done in range(1, 37)]


def test_a_second_opening_decodes_nothing(pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cache.build(pictures, SMALL, tmp_path / "pack", workers=1)

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(sources, "reader", fail)
    second = cache.build(pictures, SMALL, tmp_path / "pack", workers=1)
    assert (first.images == second.images).all()
    with pytest.raises(AssertionError, match="decoded again"):
        cache.build(pictures, SMALL, tmp_path / "other", workers=1)


def test_unreadable_images_are_listed_and_zero(picture_folder: Path, tmp_path: Path) -> None:
    made = broken(picture_folder, ("dark/000.jpg", "light/003.png"))
    pack = cache.build(made, SMALL, tmp_path / "pack", workers=2)
    assert pack.unreadable == dict.fromkeys(["dark/000.jpg", "light/003.png"], "not an image in a known format")
    mask = pack.unreadable_mask(made)
    assert [made.samples.ids[row] for row in mask.nonzero()[0]] == ["dark/000.jpg", "light/003.png"]
    assert not pack.images[mask].any()
    assert (pack.images[~mask].reshape(34, -1).max(axis=1) > 0).all()
    assert cache.load(tmp_path / "pack", SMALL).unreadable == pack.unreadable


def test_a_file_that_vanished_is_unreadable(pictures: Task, picture_folder: Path, tmp_path: Path) -> None:
    (picture_folder / "dark" / "002.jpg").unlink()
    pack = cache.build(pictures, SMALL, tmp_path / "pack", workers=1)
    assert list(pack.unreadable) == ["dark/002.jpg"] and "cannot be opened" in pack.unreadable["dark/002.jpg"]


def test_too_many_unreadable_images_are_named(picture_folder: Path, tmp_path: Path) -> None:
    names = tuple(f"dark/{index:03d}.{'png' if index % 2 else 'jpg'}" for index in range(12))
    pack = cache.build(broken(picture_folder, names), SMALL, tmp_path / "pack", workers=1)
    cache.check_unreadable(pack, 12)
    with pytest.raises(DataError) as caught:
        cache.check_unreadable(pack, 11)
    assert len(caught.value.problems) == 11
    assert [sentence.split(":")[0] for sentence in caught.value.problems[:10]] == list(names[:10])
    last = caught.value.problems[-1]
    assert "12 unreadable images, 2 of them not shown, got 11" in last and "task.max_unreadable=12" in last


def test_nothing_readable_is_refused(picture_folder: Path, tmp_path: Path) -> None:
    every = tuple(file.relative_to(picture_folder).as_posix() for file in picture_folder.rglob("*.*"))
    made = broken(picture_folder, every)
    for size in (8, None):
        with pytest.raises(DataError, match="none of its 36 images can be read"):
            cache.build(made, preprocessing.standard(3, id="x", size=size), tmp_path / f"{size}", workers=1)
        assert not cache.is_complete(tmp_path / f"{size}")


def test_images_that_are_gone_come_back_from_their_archive(
    pictures: Task, picture_folder: Path, tmp_path: Path
) -> None:
    for file in picture_folder.rglob("*.*"):
        file.unlink()
    with pytest.raises(
        DataError, match=r"images can be read \(.*No such file.*\); put them back; .* mml create unpacks"
    ):
        cache.build(pictures, preprocessing.standard(3, id="x", size=8), tmp_path / "gone", workers=1)


def test_a_changed_file_stops_the_build(pictures: Task, picture_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 24)).save(picture_folder / "dark" / "001.png")
    with pytest.raises(DataError, match=r"001\.png: has changed since the task"):
        cache.build(pictures, SMALL, tmp_path / "pack", workers=2)
    assert not cache.is_complete(tmp_path / "pack")


def test_sizes_that_differ_need_a_resize(picture_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (21, 24)).save(picture_folder / "light" / "000.jpg")
    made = sources.folder(root=str(picture_folder))
    with pytest.raises(DataError, match=r"light/000\.jpg: is 21 x 24 pixels, others are 20 x 24; .*size=224"):
        cache.build(made, preprocessing.standard(3, id="none", size=None), tmp_path / "pack", workers=1)
    assert not cache.is_complete(tmp_path / "pack")
    assert not list((tmp_path / "pack").glob("*images*"))
    assert len(cache.build(made, SMALL, tmp_path / "pack", workers=1).images) == 36


def test_a_full_disk_is_noticed_before(pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 36 * 8 * 8 * 3 - 1})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match="the cache needs"):
        cache.build(pictures, SMALL, tmp_path / "pack", workers=1)
    usage.free += 1
    cache.build(pictures, SMALL, tmp_path / "pack", workers=1)


def test_the_name_changes_with_size_bytes_and_library(
    pictures: Task, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cache.pack_id(pictures, SMALL)
    assert name.startswith("size8-") and cache.pack_id(pictures, SMALL) == name
    assert cache.pack_id(pictures, preprocessing.standard(3, id="size8", size=9)) != name
    assert cache.pack_id(pictures, preprocessing.standard(1, id="size8", size=8)) != name
    Image.new("RGB", (20, 24)).save(picture_folder / "dark" / "001.png")
    assert cache.pack_id(sources.folder(root=str(picture_folder)), SMALL) != name
    monkeypatch.setattr(PIL, "__version__", "0.0")
    assert cache.pack_id(pictures, SMALL) != name


KILLED = """
import sys, time
from pathlib import Path
from mlpipe.data import preprocessing, sources
from mlpipe.data.cache import packs as cache
made = sources.folder(root=sys.argv[1])
def progress(done, total):
    if done == 20:
        print("filling", flush=True)
        time.sleep(60)
cache.build(made, preprocessing.standard(3, id="size8", size=8), Path(sys.argv[2]), workers=1, progress=progress)
"""


def test_a_killed_fill_leaves_no_pack_and_the_next_one_succeeds(
    pictures: Task, picture_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pack"
    command = [sys.executable, "-c", KILLED, str(picture_folder), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "filling\n"
        process.send_signal(signal.SIGKILL)
    assert not cache.is_complete(folder) and not (folder / "images.npy").exists()
    pack = cache.build(pictures, SMALL, folder, workers=1)
    read = sources.reader(pictures, 3)
    assert all((pack.images[row] == SMALL(read(row))).all() for row in range(36))


def test_an_index_without_images_is_never_there(
    pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        written.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    cache.build(pictures, SMALL, tmp_path / "pack", workers=1)
    assert written == ["images.npy", "index.json"]
    index = files.read_json(tmp_path / "pack" / "index.json")
    assert index["images"] == 36 and index["preprocessing"] == SMALL.key()


def test_two_that_build_at_once_decode_once(pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, opened = sources.reader, []

    def slow(of: Task, channels: int, least: int | None = None) -> sources.Read:
        opened.append(of.name)
        time.sleep(0.2)
        return reader(of, channels, least)

    monkeypatch.setattr(sources, "reader", slow)
    packs: list[cache.Pack] = []
    threads = [
        threading.Thread(target=lambda: packs.append(cache.build(pictures, SMALL, tmp_path / "pack", workers=1)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert len(packs) == 3 and all((pack.images == packs[0].images).all() for pack in packs)


BUILDS = """
import sys
from pathlib import Path
from mlpipe.data import preprocessing, sources
from mlpipe.data.cache import packs as cache
made = sources.folder(root=sys.argv[1])
pack = cache.build(made, preprocessing.standard(3, id="size8", size=8), Path(sys.argv[2]), workers=2)
print(int(pack.images.astype(int).sum()))
"""


def test_two_processes_at_once_agree(pictures: Task, picture_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDS, str(picture_folder), str(tmp_path / "pack")]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    sums = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    wanted = cache.build(pictures, SMALL, tmp_path / "alone", workers=1).images.astype(int).sum()
    assert sums == {f"{wanted}\n"}


def test_preprocessing_alone_names_the_folder_safely() -> None:
    made = task.make("t", ["a", "b"], [Row("x", "train", 0, "1")], channels=1, source={})
    assert cache.pack_id(made, Preprocessing("../we ird", 1, 4, "squash")).startswith("we_ird-")


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from mlpipe.data import preprocessing, sources
from mlpipe.data.cache import filling, packs as cache
filling._SYNC_SECONDS = 0.0
made = sources.folder(root=sys.argv[1])
def progress(done, total):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)
steps = preprocessing.standard(3, id="x", size=8, keep=sys.argv[3])
cache.build(made, steps, Path(sys.argv[2]), workers=1, progress=progress)
"""


@pytest.mark.parametrize("keep", ["fixed", "original"])
def test_a_killed_fill_goes_on_where_it_was(
    pictures: Task, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    folder = tmp_path / "pack"
    command = [sys.executable, "-c", INTERRUPTED, str(picture_folder), str(folder), keep]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TOP)}, check=False).returncode == -9
    steps = preprocessing.standard(3, id="x", size=8, keep=keep)  # type: ignore[arg-type]
    whole = cache.build(pictures, steps, tmp_path / "whole", workers=2)
    reader, read_rows = sources.reader, list[int]()

    def counted(of: Task, channels: int, least: int | None = None) -> sources.Read:
        read = reader(of, channels, least)
        return lambda row: read_rows.append(row) or read(row)  # type: ignore[func-returns-value]

    monkeypatch.setattr(sources, "reader", counted)
    pack = cache.build(pictures, steps, folder, workers=2)
    assert min(read_rows) >= 19 and len(set(read_rows)) <= 17
    name = "images.npy" if keep == "fixed" else "images.bin"
    assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert all(
        (one == other).all() for one, other in zip(pack.take(np.arange(36)), whole.take(np.arange(36)), strict=True)
    )
    assert sorted(entry.name for entry in folder.iterdir() if entry.name != ".lock") == sorted(
        entry.name for entry in (tmp_path / "whole").iterdir() if entry.name != ".lock"
    )


def test_a_torn_journal_is_believed_up_to_the_tear(
    pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_SYNC_SECONDS", 0.0)
    folder = tmp_path / "pack"

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.build(pictures, SMALL, folder, workers=1, progress=stop)
    journal = folder / filling.JOURNAL_FILE
    journal.write_text(journal.read_text().rstrip("\n") + '\n{"done": 33, "si')
    with (folder / filling.PART_FILE).open("ab") as part:
        part.write(b"torn")
    pack = cache.build(pictures, SMALL, folder, workers=1)
    assert (pack.images == cache.build(pictures, SMALL, tmp_path / "other", workers=1).images).all()


def test_originals_of_several_sizes(picture_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (1, 2, 3)).save(picture_folder / "light" / "000.jpg", quality=100)
    (picture_folder / "light" / "001.png").write_bytes(b"no image")
    made = sources.folder(root=str(picture_folder))
    steps = preprocessing.standard(3, id="x", size=8, keep="original", max_side=30, resize="pad")
    pack = cache.build(made, steps, tmp_path / "pack", workers=2)
    row = made.samples.ids.index("light/000.jpg")
    big, small = pack.take(np.array([row, 0]))
    assert big.shape == (24, 30, 3) and small.shape == (24, 20, 3) and pack.shape == (8, 8) and len(pack) == 36
    read = sources.reader(made, 3)
    assert (small == read(0)).all()
    fixed = pack.take_fixed(np.array([0, row]))
    assert fixed.shape == (2, 8, 8, 3) and (fixed[0] == steps.fixed(read(0))).all()
    assert list(pack.unreadable) == ["light/001.png"]


def test_sixteen_bit_and_floating_point_keep_their_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 9, 9)).astype(np.uint16)
    for stored in (values, (values / 65535).astype(np.float32)):
        np.savez(tmp_path / "a.npz", images=stored, targets=np.array([0, 1, 0, 1, 0]))
        made = sources.arrays(file=str(tmp_path / "a.npz"))
        pack = cache.build(made, preprocessing.standard(1, id="x", size=None), tmp_path / made.name, workers=1)
        assert pack.images.dtype == stored.dtype and (pack.images[..., 0] == stored).all()
        assert pack.peak == (65535 if stored.dtype == np.uint16 else 1.0)
        halved = cache.build(made, preprocessing.standard(1, id="y", size=3), tmp_path / "half", workers=1)
        assert abs(float(halved.images.mean()) - float(stored.mean())) < 0.1 * pack.peak
        (tmp_path / "half" / "index.json").unlink()


def refuse(*_: object) -> None:
    raise AssertionError("a decoder was touched")


@pytest.mark.parametrize("keep", ["fixed", "original"])
def test_after_packing_an_epoch_touches_no_decoder(
    pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    steps = preprocessing.standard(3, id="x", size=8, keep=keep)  # type: ignore[arg-type]
    cache.build(pictures, steps, tmp_path / "pack", workers=1)
    for name in ("decode", "look"):
        monkeypatch.setattr(images, name, refuse)
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(sources, "reader", refuse)
    pack = cache.build(pictures, steps, tmp_path / "pack", workers=1)
    data = FoldData(
        pictures,
        variants.plain(pictures, methods.kfold(pictures.samples, folds=3), 0),
        pack,
        steps=(),
        sampling=sampling.full(batch_size=5, eval_batch_size=7),
        draw=Draw(0, 0),
        num_workers=0,
    )
    seen = [batch["images"] for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]
    assert sum(map(len, seen)) == 36 and all(batch.shape[1:] == (3, 8, 8) for batch in seen)


def test_space_for_originals_is_estimated_from_a_few(
    pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = preprocessing.standard(3, id="x", size=8, keep="original")
    usage = type("Usage", (), {"free": 36 * 24 * 20 * 3 - 1})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match="the cache needs"):
        cache.build(pictures, steps, tmp_path / "pack", workers=1)
    usage.free += 1
    pack = cache.build(pictures, steps, tmp_path / "pack", workers=1)
    assert pack.ragged and pack.images.nbytes == 36 * 24 * 20 * 3


def test_the_name_changes_with_everything_that_changes_pixels(pictures: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(of: Task = pictures, **given: Any) -> str:
        return cache.pack_id(of, preprocessing.standard(3, id="x", **{"size": 8, **given}))

    names = [
        name(),
        name(size=9),
        name(resize="pad"),
        name(resize="short_side"),
        name(interpolation="bicubic"),
        name(keep="original"),
        name(keep="original", max_side=100),
        name(keep="original", max_side=101),
        name(dataclasses.replace(pictures, dtype="uint16")),
    ]
    monkeypatch.setattr(images, "RULES", -1)
    names.append(name())
    monkeypatch.setattr(images, "version", lambda library: "0.0")
    names.append(name())
    assert len(set(names)) == len(names)


def test_arrays_in_another_order_of_axes_have_another_name(tmp_path: Path) -> None:
    """(3, 5, 3) may be three channels of 5 x 3 pixels or 3 x 5 pixels of three channels, of the same bytes."""
    np.save(tmp_path / "x.npy", np.arange(4 * 45, dtype=np.uint8).reshape(4, 3, 5, 3))
    np.save(tmp_path / "t.npy", np.arange(4) % 2)
    of_x: Any = {"file": str(tmp_path / "x.npy"), "targets": str(tmp_path / "t.npy")}
    tasks = [sources.arrays(**of_x, layout=layout) for layout in ("hwc", "chw")]
    assert tasks[0].name == tasks[1].name and tasks[0].samples.digests == tasks[1].samples.digests
    how = preprocessing.standard(3, id="x", size=None)
    names = [cache.pack_id(of, how) for of in tasks]
    assert names[0] != names[1]
    shapes = [
        cache.build(of, how, tmp_path / name, workers=1).images.shape for of, name in zip(tasks, names, strict=True)
    ]
    assert shapes == [(4, 3, 5, 3), (4, 5, 3, 3)]
    # Arrays of one channel, with or without an axis of their own for it.
    np.save(tmp_path / "y.npy", np.zeros((1, 5, 4), np.float32))
    forms = [sources.samples(train=str(tmp_path / "y.npy"), labels="none", axes=axes) for axes in (2, 3)]
    assert cache.pack_id(forms[0], how) != cache.pack_id(forms[1], how)
    # What black and white are decides the pixels as well.
    np.save(tmp_path / "z.npy", np.linspace(0, 1, 100, dtype=np.float32).reshape(4, 5, 5))
    of_z: Any = {**of_x, "file": str(tmp_path / "z.npy")}
    ranges = [sources.arrays(**of_z, value_range=ends) for ends in (None, (0.0, 2.0))]
    assert cache.pack_id(ranges[0], how) != cache.pack_id(ranges[1], how)
