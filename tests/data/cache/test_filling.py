"""A fill that is stopped anywhere goes on where it was, ends with the same bytes, and needs little memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe import files
from mlpipe.data import preprocessing, sources
from mlpipe.data.cache import filling, packs
from mlpipe.data.task import Task

SMALL = preprocessing.standard(3, id="x", size=8)
ORIGINAL = preprocessing.standard(3, id="x", size=8, keep="original")


@pytest.fixture
def pictures(picture_folder: Path) -> Task:
    return sources.folder(root=str(picture_folder))


@pytest.fixture
def read_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that are read, in order."""
    reader, seen = sources.reader, list[int]()

    def counted(of: Task, channels: int, least: int | None = None) -> sources.Read:
        read = reader(of, channels, least)
        return lambda row: (seen.append(row), read(row))[1]

    monkeypatch.setattr(sources, "reader", counted)
    return seen


def stop_at(when: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == when:
            raise KeyboardInterrupt

    return progress


def stopped(pictures: Task, folder: Path, when: int = 10, steps: Any = SMALL) -> Path:
    """A fill that was stopped after some images; its journal."""
    with pytest.raises(KeyboardInterrupt):
        packs.build(pictures, steps, folder, workers=1, progress=stop_at(when))
    return folder / filling.JOURNAL_FILE


def same_files(one: Path, other: Path) -> bool:
    names = {entry.name for entry in one.iterdir()} - {".lock", "index.json"}
    assert names == {entry.name for entry in other.iterdir()} - {".lock", "index.json"}
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("steps", [SMALL, ORIGINAL])
def test_stopped_again_and_again(pictures: Task, tmp_path: Path, read_rows: list[int], steps: Any) -> None:
    packs.build(pictures, steps, tmp_path / "whole", workers=2)
    read_rows.clear()
    for when in range(1, 36):
        stopped(pictures, tmp_path / "pack", when, steps)
        with (tmp_path / "pack" / filling.PART_FILE).open("ab") as part:
            part.write(b"not durable" * 200)
    packs.build(pictures, steps, tmp_path / "pack", workers=1)
    assert same_files(tmp_path / "pack", tmp_path / "whole")
    assert set(read_rows) == set(range(36))


def test_stopped_between_the_last_image_and_the_index(
    pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_rows: list[int]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for steps, name in ((SMALL, "fixed"), (ORIGINAL, "original")):
        with monkeypatch.context() as patched:
            patched.setattr(files, "write_json", fail)
            with pytest.raises(OSError, match="No space"):
                packs.build(pictures, steps, tmp_path / name, workers=1)
        assert not packs.is_complete(tmp_path / name)
        read_rows.clear()
        packs.build(pictures, steps, tmp_path / name, workers=1)
        assert read_rows == []
        packs.build(pictures, steps, tmp_path / f"{name} whole", workers=1)
        assert same_files(tmp_path / name, tmp_path / f"{name} whole")


def test_a_second_stop_after_a_torn_line_loses_nothing(pictures: Task, tmp_path: Path, read_rows: list[int]) -> None:
    folder = tmp_path / "pack"
    journal = stopped(pictures, folder, 10)
    with journal.open("a") as handle:
        handle.write('{"done": 11, "unreadable": {}')
    stopped(pictures, folder, 20)
    assert [json.loads(line)["done"] for line in journal.read_text().splitlines()] == [10, 20]
    read_rows.clear()
    packs.build(pictures, SMALL, folder, workers=1)
    assert read_rows == list(range(20, 36))


@pytest.mark.parametrize("harm", ["journal", "part", "no part", "no journal"])
def test_what_cannot_be_trusted_is_made_again(pictures: Task, tmp_path: Path, read_rows: list[int], harm: str) -> None:
    folder = tmp_path / "pack"
    journal, part = stopped(pictures, folder, 10), folder / filling.PART_FILE
    if harm == "journal":
        journal.write_text('{"done": "many"}\n' + journal.read_text())
    elif harm == "part":
        part.write_bytes(part.read_bytes()[:-1])
    else:
        (part if harm == "no part" else journal).unlink()
    read_rows.clear()
    packs.build(pictures, SMALL, folder, workers=1)
    assert sorted(read_rows) == list(range(36))
    packs.build(pictures, SMALL, tmp_path / "whole", workers=1)
    assert same_files(folder, tmp_path / "whole")


def test_unreadable_images_of_both_attempts_are_listed(picture_folder: Path, tmp_path: Path) -> None:
    for name in ("dark/001.png", "light/003.png"):
        (picture_folder / name).write_bytes(b"no image")
    made = sources.folder(root=str(picture_folder))
    for steps in (SMALL, ORIGINAL):
        folder = tmp_path / steps.keep
        stopped(made, folder, 12, steps)
        pack = packs.build(made, steps, folder, workers=1)
        assert list(pack.unreadable) == ["dark/001.png", "light/003.png"]
        bad = np.flatnonzero(pack.unreadable_mask(made))
        assert pack.take_fixed(bad).shape == (2, 8, 8, 3) and not pack.take_fixed(bad).any()


@pytest.mark.parametrize(("workers", "steps"), [(1, SMALL), (3, SMALL), (3, ORIGINAL)])
def test_few_images_wait_to_be_written(
    pictures: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_rows: list[int], workers: int, steps: Any
) -> None:
    monkeypatch.setattr(filling, "_WAITING_BYTES", 1)
    monkeypatch.setattr(packs, "_PROBED", 0)
    ahead: list[int] = []

    def progress(done: int, total: int) -> None:
        time.sleep(0.002)
        ahead.append(len(read_rows) - done)

    packs.build(pictures, steps, tmp_path / "pack", workers=workers, progress=progress)
    assert 0 < max(ahead) <= 2 * workers + 1 and len(read_rows) == 36


def test_jobs_are_long_for_small_images_and_short_for_large_ones() -> None:
    byte = np.dtype(np.uint8)
    assert filling._job_length((28, 28, 1), byte, 2) == filling._LONGEST_JOB
    assert filling._job_length((8192, 8192, 3), byte, 2) == 1
    assert filling._job_length(None, byte, 2) == 1
    for side in (64, 224, 512, 1024):
        for workers in (1, 8, 64):
            waiting = filling._job_length((side, side, 3), byte, workers) * 2 * workers * side * side * 3
            assert waiting <= max(filling._WAITING_BYTES, 2 * workers * side * side * 3)
