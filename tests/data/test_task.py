"""A task's file: what is saved is what is read, and nothing else is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.data import kind as kind_data
from mlpipe.data import task
from mlpipe.data.task import Row
from mlpipe.errors import DataError
from tests.data.samples import saved_task, small_task


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return saved_task(tmp_path)


def test_round_trip(saved: Path) -> None:
    made, read = small_task(), task.load(saved)
    assert (read.name, read.kind, read.classes, read.channels) == (made.name, made.kind, made.classes, made.channels)
    assert dict(read.source) == dict(made.source)
    assert (read.samples.ids, read.samples.parts, read.samples.digests) == (
        made.samples.ids,
        made.samples.parts,
        made.samples.digests,
    )
    assert read.samples.targets.tolist() == made.samples.targets.tolist()
    assert read.source_hash == made.source_hash


@pytest.mark.parametrize("kind", kind_data.names())
def test_a_task_without_samples_is_read_again(kind: str, tmp_path: Path) -> None:
    made = task.make("none", ["a", "b"], [], channels=1, source={"type": "arrays"}, kind=kind)
    task.save(made, tmp_path / "task.json")
    read = task.load(tmp_path / "task.json")
    assert (read.samples.targets.shape, read.samples.targets.dtype) == (
        made.samples.targets.shape,
        made.samples.targets.dtype,
    )
    assert read.source_hash == made.source_hash and read.class_counts().tolist() == made.class_counts().tolist()


def test_the_same_task_is_the_same_bytes(saved: Path) -> None:
    before = saved.read_bytes()
    task.save(task.load(saved), saved)
    assert saved.read_bytes() == before


def test_saving_keeps_the_splits(saved: Path) -> None:
    stored = files.read_json(saved)
    files.write_json(saved, {**stored, "splits": {"kfold": [1, 2]}})
    task.save(small_task(), saved)
    assert files.read_json(saved)["splits"] == {"kfold": [1, 2]}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: task.save(small_task(), path),
        lambda path: task.rewrite_source(small_task(), replace(small_task(), notes=("moved",)), path),
    ],
)
def test_a_change_waits_for_that_of_another_command(change: Callable[[Path], object], saved: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with task.changing(saved):
            stored, begun = files.read_json(saved), pool.submit(change, saved)
            with pytest.raises(TimeoutError):
                begun.result(timeout=0.1)
            files.write_json(saved, {**stored, "splits": {"kfold": [1, 2]}, "decided": {"max_unreadable": 3}})
        begun.result(timeout=10)
    content = files.read_json(saved)
    assert (content["splits"], content["decided"]) == ({"kfold": [1, 2]}, {"max_unreadable": 3})


def test_what_reads_the_samples_now_replaces_what_read_them_before(saved: Path) -> None:
    files.write_json(saved, {**files.read_json(saved), "splits": {"kfold": [1, 2]}, "later": 3})
    before, stored = saved.read_bytes(), task.load(saved)
    assert not task.rewrite_source(stored, small_task(), saved) and saved.read_bytes() == before
    moved = replace(stored, source={**stored.source, "heads": ({"outputs": 2},)}, notes=("moved",))
    assert task.rewrite_source(stored, moved, saved)
    found = files.read_json(saved)
    assert found == {
        **json.loads(before),
        "source": {**stored.source, "heads": [{"outputs": 2}]},
        "notes": ["moved"],
    }
    assert task.load(saved).source_hash == stored.source_hash and not task.rewrite_source(
        task.load(saved), moved, saved
    )


def swap_targets(stored: dict[str, Any]) -> None:
    stored["samples"]["target"][:2] = stored["samples"]["target"][1::-1]


def rename_class(stored: dict[str, Any]) -> None:
    stored["classes"][0] = "other"


def drop_sample(stored: dict[str, Any]) -> None:
    for column in stored["samples"].values():
        column.pop()


def change_digest(stored: dict[str, Any]) -> None:
    stored["samples"]["digest"][0] = "digest1"


def move_to_test(stored: dict[str, Any]) -> None:
    stored["samples"]["part"][0] = "test"


@pytest.mark.parametrize("tamper", [swap_targets, rename_class, drop_sample, change_digest, move_to_test])
def test_a_changed_file_is_refused(saved: Path, tamper: Callable[[dict[str, Any]], None]) -> None:
    stored = files.read_json(saved)
    tamper(stored)
    files.write_json(saved, stored)
    with pytest.raises(DataError, match="was changed by hand"):
        task.load(saved)


@pytest.mark.parametrize("key", ["format", "name", "classes", "samples", "source", "source_hash", "notes"])
def test_a_missing_entry_is_one_sentence(saved: Path, key: str) -> None:
    stored = files.read_json(saved)
    del stored[key]
    files.write_json(saved, stored)
    with pytest.raises(DataError, match="cannot be read as a task"):
        task.load(saved)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", json.dumps({"format": task.FORMAT})])
def test_a_damaged_file_is_one_sentence(saved: Path, content: str) -> None:
    saved.write_text(content)
    with pytest.raises(DataError, match="cannot be read as a task"):
        task.load(saved)


def test_another_format_is_refused(saved: Path) -> None:
    files.write_json(saved, {**files.read_json(saved), "format": 99})
    with pytest.raises(DataError, match="has another format, got 99; this version reads 2"):
        task.load(saved)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a task"):
        task.load(tmp_path / "task.json")


def test_samples_are_ordered_by_id_and_unique() -> None:
    made = task.make("t", ["a", "b"], [Row("z", "train", 0, "1"), Row("y", "val", 1, "2")], channels=1, source={})
    assert made.samples.ids == ("y", "z") and made.samples.targets.tolist() == [1, 0]
    with pytest.raises(DataError, match="not unique: z"):
        task.make("t", ["a", "b"], [Row("z", "train", 0, "1"), Row("z", "val", 1, "2")], channels=1, source={})


def test_the_hash_depends_on_everything_given_but_not_on_the_name() -> None:
    rows = [Row("a", "train", 0, "1"), Row("b", "train", 1, "2")]
    base = task.make("t", ["x", "y"], rows, channels=1, source={}).source_hash
    assert task.make("other", ["x", "y"], rows[::-1], channels=1, source={}).source_hash == base
    assert task.make("t", ["x", "z"], rows, channels=1, source={}).source_hash != base
    assert task.make("t", ["x", "y"], [rows[0], Row("b", "train", 1, "3")], channels=1, source={}).source_hash != base


def test_counts() -> None:
    rows = [
        Row("a", "train", 0, "1"),
        Row("b", "train", 2, "2"),
        Row("c", "test", 2, "3"),
        Row("d", "unlabelled", -1, "4"),
    ]
    made = task.make("t", ["x", "y", "z"], rows, channels=1, source={})
    assert made.class_counts().tolist() == [1, 0, 2]
    assert made.class_counts(made.samples.in_part("train").nonzero()[0]).tolist() == [1, 0, 1]
    assert made.part_sizes() == {"train": 2, "test": 1, "unlabelled": 1}


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[2J", "a\u202eb", "a\u2028b"])
def test_a_class_whose_name_would_break_a_line_or_command_a_terminal_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"task\.classes: has an end of a line, a tab or a control character, got"):
        task.make("x", ["a", name], [], channels=1, source={"type": "arrays"})


def test_a_class_may_have_signs_of_any_script() -> None:
    names = ["naïve", "دسته\u200cها", "犬", "👩\u200d🔬", "=1+1", "a\u00a0b"]
    assert task.make("x", names, [], channels=1, source={"type": "arrays"}).classes == tuple(names)


def test_a_class_whose_name_is_a_book_is_refused() -> None:
    assert task.make("x", ["a" * 1000], [], channels=1, source={"type": "arrays"}).classes == ("a" * 1000,)
    with pytest.raises(DataError, match=r"task\.classes: a name has more than 1,000 letters"):
        task.make("x", ["a" * 1001], [], channels=1, source={"type": "arrays"})


def test_notes_of_a_file_are_one_line_each(saved: Path) -> None:
    stored = files.read_json(saved)
    stored["notes"] = ["plain", "\x1b[2J\nforged"]
    saved.write_text(json.dumps(stored))
    assert task.load(saved).notes == ("plain", r"\x1b[2J forged")


def test_notes_over_two_lines_are_described_once(tmp_path: Path) -> None:
    seen = replace(small_task(), notes=("t.csv, column 'a\nb': a note",))
    path = tmp_path / "task.json"
    task.save(seen, path)
    before = path.read_bytes()
    assert not task.rewrite_source(task.load(path), seen, path) and path.read_bytes() == before


def test_classes_are_matched_by_name() -> None:
    rows = [Row(name, "train", target, name) for name, target in (("1", 0), ("2", 1), ("3", task.NO_TARGET), ("4", 0))]
    cats = task.make("pets", ["dog", "cat"], rows, channels=1, source={"type": "folder"})
    known = task.in_classes(cats, ("ant", "cat", "dog"))
    assert known is not None and known.classes == ("ant", "cat", "dog")
    assert known.samples.targets.tolist() == [2, 1, task.NO_TARGET, 2] and known.class_counts().tolist() == [0, 1, 2]
    assert task.in_classes(cats, ("dog", "cat")) is cats
    assert task.in_classes(cats, ("ant", "cat")) is None
    numbers = task.make("n", ["a"], [Row("1", "train", (1.0,), "1")], channels=1, source={}, kind="regression")
    assert task.in_classes(numbers, ("a", "b")) is None and task.in_classes(numbers, ("a",)) is numbers
