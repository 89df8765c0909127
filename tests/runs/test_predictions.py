"""Predictions on disk: round trip, unique rows, never half a file."""

from __future__ import annotations

import errno
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpipe.errors import ProjectError
from mlpipe.runs import predictions

LOGITS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def write(path: Path, split: str = "val", names: str = "abcdefg", task: str = "t") -> None:
    with predictions.writer(path, {(task, split)}, "classification") as sink:
        for start in range(0, 7, 3):
            rows = slice(start, start + 3)
            sink.add(task, split, 1, list(names[rows]), np.array([0, 1, 2, 0, 1, 2, -1])[rows], LOGITS[rows])


def test_round_trip_in_the_order_of_ids(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet", names="gfedcba")
    rows = predictions.load(tmp_path / "p.parquet", "t", "val")
    assert rows.sample_ids == list("abcdefg")
    assert rows.targets.tolist() == [-1, 2, 1, 0, 2, 1, 0]
    assert (rows.logits == LOGITS[::-1]).all()
    assert rows.calibrated is None


def test_a_split_without_rows_is_read_without_pandas(tmp_path: Path) -> None:
    """What `mml info` would wait for: pyarrow imports it for an array that is made of nothing."""
    write(tmp_path / "p.parquet")
    code = "import sys; from pathlib import Path; from mlpipe.runs import predictions; "
    code += "rows = predictions.load(Path(sys.argv[1]), 't', 'test'); print(len(rows), 'pandas' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "p.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]


def test_columns(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet")
    table = pq.ParquetFile(tmp_path / "p.parquet").read()
    assert table.column_names == ["task", "sample_id", "split", "fold", "target", "logits", "calibrated"]
    assert table["target"].null_count == 1


def test_writing_again_replaces_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    write(path, split="test")
    write(path, split="val", names="hijklmn")
    assert predictions.contents(path) == {("t", "test"): 7, ("t", "val"): 7}
    assert predictions.load(path, "t", "val").sample_ids == list("hijklmn")
    assert predictions.load(path, "t", "test").sample_ids == list("abcdefg")
    assert len(predictions.load(path, "other", "test")) == 0


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), predictions.writer(path, (), "classification") as sink:
        sink.add("t", "test", 0, ["x"], np.array([0]), LOGITS[:1])
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["p.parquet"]


def test_rows_leave_memory_in_groups(tmp_path: Path) -> None:
    """F25: every batch of predictions was kept in memory."""
    sink = predictions.PredictionsWriter(tmp_path / "p.parquet", "classification", row_group=10)
    for number in range(9):
        sink.add("t", "val", 0, [f"{number}{row}" for row in range(4)], np.zeros(4, np.int64), LOGITS[:4])
        assert sum(table.num_rows for table in sink._pending_tables) < 10
    sink.close()
    assert pq.ParquetFile(tmp_path / "p.parquet").num_row_groups == 3


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """F26: a warning named the file of another model."""
    (tmp_path / "p.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(ProjectError, match=r"p\.parquet: cannot be read as predictions"):
        predictions.load(tmp_path / "p.parquet", "t", "val")


def test_a_sample_has_one_row_in_a_task_and_split_after_replacing(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    for _ in range(3):
        for task in ("t", "t+nested?1"):
            write(path, task=task)
    table = pq.ParquetFile(path).read().to_pylist()
    keys = [(row["task"], row["split"], row["sample_id"]) for row in table]
    assert len(keys) == len(set(keys)) == 14


def test_old_rows_are_copied_a_group_at_a_time_and_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    sink = predictions.PredictionsWriter(path, "classification", row_group=50)
    logits = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    ids = [f"{row:04d}" for row in range(500)]
    for start in range(0, 500, 25):
        rows = slice(start, start + 25)
        sink.add("t", "val", 0, ids[rows], np.arange(500)[rows] % 3, logits[rows])
    sink.close()
    again = predictions.PredictionsWriter(tmp_path / "q.parquet", "classification", row_group=50)
    again.copy(path, ())
    again.close()
    stored = pq.ParquetFile(tmp_path / "q.parquet")
    assert max(stored.metadata.row_group(group).num_rows for group in range(stored.num_row_groups)) <= 50
    rows = predictions.load(tmp_path / "q.parquet", "t", "val")
    assert rows.sample_ids == ids and (rows.logits == logits).all()


def test_calibrated_is_there_when_every_row_has_it(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path, names="gfedcba")
    table = pq.ParquetFile(path).read()
    values = pa.array((2 * LOGITS).tolist(), pa.list_(pa.float32()))
    pq.write_table(table.set_column(6, "calibrated", values), path)
    calibrated = predictions.load(path, "t", "val").calibrated
    assert calibrated is not None and (calibrated == 2 * LOGITS[::-1]).all()
    partly = pa.array([*(2 * LOGITS).tolist()[:-1], None], pa.list_(pa.float32()))
    pq.write_table(table.set_column(6, "calibrated", partly), path)
    assert predictions.load(path, "t", "val").calibrated is None


def test_tasks_with_other_numbers_of_classes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    with predictions.writer(path, (), "classification") as sink:
        sink.add("other", "val", 0, ["x"], np.array([1]), np.array([[1, 2, 3, 4, 5]], np.float32))
    assert predictions.load(path, "other", "val").logits.tolist() == [[1, 2, 3, 4, 5]]
    assert predictions.load(path, "t", "val").logits.shape == (7, 3)


def test_what_fails_where_rows_are_copied_to_is_no_fault_of_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.parquet"
    write(path)

    def fail(self: object, table: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(OSError, match="Read-only file system"):
        write(path, split="test")


def test_rows_of_another_kind_are_no_predictions_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    with (
        pytest.raises(ProjectError, match=r"cannot be read as predictions \(it has other columns\); remove it"),
        predictions.writer(path, (), "regression"),
    ):
        pass


def test_a_damaged_file_is_named_before_it_would_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(ProjectError, match=r"p\.parquet: cannot be read as predictions .*; remove it"):
        write(path)
    assert path.read_bytes() == b"PAR1 but no more"


def test_numbers_and_calibrated_rows_come_back(tmp_path: Path) -> None:
    path, targets = tmp_path / "p.parquet", np.array([[0.5, np.nan], [1, 2]])
    with predictions.writer(path, (), "regression") as sink:
        sink.add("t", "test", 3, ["b", "a"], targets, LOGITS[:2], 3 * LOGITS[:2])
    rows = predictions.load(path, "t", "test")
    assert rows.sample_ids == ["a", "b"] and len(rows) == 2
    np.testing.assert_array_equal(rows.targets, targets[::-1].astype(np.float32))
    assert rows.calibrated is not None and np.array_equal(rows.calibrated, 3 * LOGITS[:2][::-1])
    table = pq.ParquetFile(path).read()
    assert table["fold"].to_pylist() == [3, 3] and table["split"].to_pylist() == ["test"] * 2
    assert table.schema.equals(predictions.schema("regression"))
    empty = predictions.load(path, "t", "val")
    assert len(empty) == 0 and empty.logits.shape == (0, 0) and empty.calibrated is None


@pytest.mark.parametrize("rows", [2, 4096])
def test_calibrated_values_are_filled_in_by_task_and_split(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_ROW_GROUP", rows)
    path = tmp_path / "p.parquet"
    write(path, names="gfedcba")
    write(path, split="test")
    for factor in (2, 5):
        predictions.write_calibrated(path, {("t", "val"): factor * LOGITS[::-1]})
        assert np.array_equal(predictions.load(path, "t", "val").calibrated, factor * LOGITS[::-1])
        assert predictions.load(path, "t", "test").calibrated is None
    predictions.write_calibrated(path, {("t", "test"): LOGITS})
    assert np.array_equal(predictions.load(path, "t", "val").calibrated, 5 * LOGITS[::-1])
    assert np.array_equal(predictions.load(path, "t", "test").calibrated, LOGITS)
    with pytest.raises(ProjectError, match=r"p\.parquet: has 7 rows of \('t', 'val'\), not 3"):
        predictions.write_calibrated(path, {("t", "val"): LOGITS[:3]})
    with pytest.raises(ProjectError, match=r"has 0 rows of \('u', 'val'\), not 7"):
        predictions.write_calibrated(path, {("u", "val"): LOGITS})
    (tmp_path / "q.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        ProjectError, match=r"q\.parquet: cannot be read as predictions .*; remove it and run mml predict"
    ):
        predictions.write_calibrated(tmp_path / "q.parquet", {})


def test_names_of_samples_are_those_of_the_tasks(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    write(path, split="test", names="bcdefgh")
    write(path, task="u", names="1234567")
    assert predictions.sample_ids(path, ["t"]) == set("abcdefgh")
    assert predictions.sample_ids(path, {"t", "u"}) == set("abcdefgh1234567")
    assert predictions.sample_ids(path, []) == set()
    path.write_bytes(b"x")
    with pytest.raises(ProjectError, match=r"cannot be read as predictions .*; remove it and run mml predict"):
        predictions.sample_ids(path, ["t"])


def changed(path: Path, column: str, values: pa.Array) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, values), path)


def test_rows_that_do_not_fit_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    changed(path, "target", pa.array([0, 1, 2, 0, 1, 3, None], pa.int64()))
    with pytest.raises(ProjectError, match=r"has class number 3, but predictions of 3 classes; run mml predict"):
        predictions.load(path, "t", "val")
    write(path)
    rows = LOGITS.tolist()
    for wrong in ([*rows[:6], [1.0, 2.0]], [*rows[:6], None], [*rows[:6], [1.0, 2.0, None]]):
        changed(path, "logits", pa.array(wrong, pa.list_(pa.float32())))
        with pytest.raises(ProjectError, match=r"is damaged \(its rows of logits are not all of one length\)"):
            predictions.load(path, "t", "val")
    changed(path, "logits", pa.array(rows, pa.list_(pa.float64())))
    with pytest.raises(ProjectError, match=r"its column logits is list<.*double>"):
        predictions.load(path, "t", "val")
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["target"]), path)
    with pytest.raises(ProjectError, match=r"its column target is missing.*; run mml predict"):
        predictions.load(path, "t", "val")


def test_rows_of_a_task_may_lie_apart(tmp_path: Path) -> None:
    sink = predictions.PredictionsWriter(tmp_path / "p.parquet", "classification", row_group=4)
    for index in range(10):
        task = "t" if index % 3 else "u"
        sink.add(task, "val", 0, [f"{index}"], np.array([index % 3]), np.full((1, 3), index, np.float32))
    sink.close()
    rows = predictions.load(tmp_path / "p.parquet", "t", "val")
    assert rows.sample_ids == ["1", "2", "4", "5", "7", "8"] and rows.logits[:, 2].tolist() == [1, 2, 4, 5, 7, 8]
    assert rows.targets.tolist() == [1, 2, 1, 2, 1, 2]
    assert predictions.contents(tmp_path / "p.parquet") == {("t", "val"): 6, ("u", "val"): 4}


def test_calibrated_values_of_many_classes_are_filled_in_without_an_object_for_each(tmp_path: Path) -> None:
    """As numbers of Python's 20 rows of 20,000 classes are 13 MB, as they are stored 1.6 MB."""
    path, logits = tmp_path / "p.parquet", np.random.default_rng(1).normal(size=(20, 20_000)).astype(np.float32)
    ids = [f"{row:02}" for row in range(20)]
    with predictions.writer(path, (), "classification") as sink:
        sink.add("t", "val", 0, ids[:10], np.arange(10), logits[:10], logits[:10])
        sink.add("t", "test", 0, ids[10:], np.arange(10), logits[10:], logits[10:])
    tracemalloc.start()
    predictions.write_calibrated(path, {("t", "test"): 2 * logits[10:]})
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8e6
    assert np.array_equal(predictions.load(path, "t", "val").calibrated, logits[:10])
    assert np.array_equal(predictions.load(path, "t", "test").calibrated, 2 * logits[10:])


def test_rows_that_are_added_at_once_are_read_in_groups_and_by_name(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(2), tmp_path / "p.parquet"
    ids = [f"{number:03}" for number in rng.permutation(100)]
    targets, logits = np.arange(100) % 3, rng.normal(size=(100, 3)).astype(np.float32)
    sink = predictions.PredictionsWriter(path, "classification", row_group=30)
    sink.add("t", "val", 0, ids, targets, logits, -logits)
    sink.close()
    assert [pq.ParquetFile(path).metadata.row_group(group).num_rows for group in range(4)] == [30, 30, 30, 10]
    rows, order = predictions.load(path, "t", "val"), np.argsort(ids)
    assert rows.sample_ids == sorted(ids) and np.array_equal(rows.targets, targets[order])
    assert np.array_equal(rows.logits, logits[order]) and np.array_equal(rows.calibrated, -logits[order])


def test_a_row_without_a_name_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path)
    changed(path, "sample_id", pa.array([*"abcdef", None], pa.string()))
    with pytest.raises(ProjectError, match=r"is damaged \(a row has no name\); run mml predict"):
        predictions.load(path, "t", "val")
