"""Any change of a stored file is noticed, and nothing is where nothing was changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import integrity, predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from tests.build import make_record


@pytest.fixture
def made(tmp_path: Path) -> tuple[Project, ModelRecord]:
    """A record with all its files."""
    import dataclasses

    project = Project(tmp_path / "p")
    scores = {"val": {"accuracy": float("nan"), "loss": 0.1}}
    record = make_record(project, "net", config="seed: 1\n", scores=scores)
    folder = project.model_dir("digits", "net")
    names = (records.METRICS_FILE, records.CONFIG_FILE)
    sums = {name: files.digest_file(folder / name) for name in names}
    record = records.save(project, dataclasses.replace(record, checksums=sums))
    logits = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    with predictions.writer(project.predictions_file("digits", "net"), (), "classification") as sink:
        sink.add("digits", "val", 0, [str(row) for row in range(50)], np.arange(50) % 10, logits)
    return project, record


def test_whole_files_are_ok(made: tuple[Project, ModelRecord]) -> None:
    project, record = made
    found = list(integrity.of_record(project, record))
    assert [one.what for one in found] == [
        "record.json", "weights.safetensors", "metrics.csv", "config.yaml", "predictions",
    ]  # fmt: skip
    assert {one.verdict for one in found} == {"ok"}
    again = records.load(project.model_dir("digits", "net"))
    assert again.id == record.id and again.checksums == record.checksums


@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.csv", "config.yaml", "record.json", "predictions"])
@pytest.mark.parametrize("how", ["bit", "gone"])
def test_a_change_is_named(name: str, how: str, made: tuple[Project, ModelRecord]) -> None:
    project, record = made
    folder = project.model_dir("digits", "net")
    path = project.predictions_file("digits", "net") if name == "predictions" else folder / name
    if how == "gone":
        path.unlink()
    elif name == "record.json":
        path.write_text(path.read_text().replace('"loss": 0.1', '"loss": 0.2'))
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 4] ^= 1
        path.write_bytes(bytes(content))
    found = {one.what: one.verdict for one in integrity.of_record(project, record) if one.verdict != "ok"}
    if (name, how) == ("predictions", "gone"):
        # What was never predicted is no damage.
        assert found == {}
    else:
        assert found == {name: "missing" if how == "gone" else "damaged"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
@example(at=8756, bit=7)
def test_predictions_whose_numbers_changed_never_pass(at: int, bit: int, made: tuple[Project, ModelRecord]) -> None:
    """Whatever bit is flipped, the file is damaged or reads as it did."""
    project, _ = made
    path = project.predictions_file("digits", "net")
    whole, before = path.read_bytes(), predictions.load(path, "digits", "val")
    content = bytearray(whole)
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(bytes(content))
    try:
        if integrity.predictions_finding(path, "net", "predictions").verdict == "ok":
            try:
                after = predictions.load(path, "digits", "val")
            except ProjectError:
                return
            assert not len(after) or np.array_equal(after.logits, before.logits)
    finally:
        path.write_bytes(whole)


def test_calibrated_predictions_keep_the_checksums_of_their_pages(made: tuple[Project, ModelRecord]) -> None:
    """Every bit of the stored logits counts after `mml post` as before it: each page says that it was changed."""
    project, _ = made
    path = project.predictions_file("digits", "net")
    values = np.random.default_rng(1).normal(size=(50, 10)).astype(np.float32)
    predictions.write_calibrated(path, {("digits", "val"): values})
    whole = path.read_bytes()
    assert integrity.predictions_finding(path, "net", "predictions").verdict == "ok"
    # The least byte of a number, which any reader takes as it is.
    number = predictions.load(path, "digits", "val").logits[20, 3].tobytes()
    at = whole.index(number)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert integrity.predictions_finding(path, "net", "predictions").verdict == "damaged"


def test_records_without_checksums_are_not_compared(made: tuple[Project, ModelRecord]) -> None:
    project, _ = made
    path = project.model_dir("digits", "net") / "record.json"
    stored = json.loads(path.read_text())
    files.write_json(path, {key: value for key, value in stored.items() if key not in ("checksum", "checksums")})
    again = records.load(path.parent)
    found = {one.what: one.verdict for one in integrity.of_record(project, again)}
    assert found["record.json"] == found["metrics.csv"] == "not compared" and found["weights.safetensors"] == "ok"


def test_a_record_that_cannot_be_read_counts_for_every_run(made: tuple[Project, ModelRecord]) -> None:
    project, record = made
    (own,), mixtures, wrong = integrity.records_of_run(project, record.run)
    assert (own.id, mixtures, wrong) == ("net", [], [])
    files.write_text(project.model_dir("digits", "broken") / "record.json", "{")
    folds, _, (broken,) = integrity.records_of_run(project, "another")
    assert folds == [] and (broken.of, broken.verdict) == ("broken", "damaged")
