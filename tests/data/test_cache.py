"""The pack of decoded images: complete or not there, made once, and the same as decoding one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from mlpipe import files
from mlpipe.data import cache, preprocessing, sources, task
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError

TOP = Path(__file__).parents[2]
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
from mlpipe.data import cache, preprocessing, sources
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

    def slow(of: Task, channels: int) -> sources.Read:
        opened.append(of.name)
        time.sleep(0.2)
        return reader(of, channels)

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
from mlpipe.data import cache, preprocessing, sources
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
