"""What is sent to a tracking server, once, and what happens when it fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlpipe.errors import ConfigError
from mlpipe.runs.trackers import tracker
from mlpipe.runs.trackers.tracker import Guarded, Marks, Place


class Kept:
    """A run that keeps what it is told in memory."""

    def __init__(self) -> None:
        self.got: list[tuple[int, dict[str, float]]] = []
        self.status = ""

    def configure(self, tree: Mapping[str, Any], text: str) -> None:
        raise NotImplementedError

    def points(self, values: Mapping[str, float], step: int) -> None:
        self.got.append((step, dict(values)))

    def file(self, path: Path) -> None:
        raise OSError("no such http://me:pw@server")

    def close(self, status: str) -> None:
        self.status = status


@pytest.fixture(autouse=True)
def nothing_failed() -> Iterator[None]:
    """What one test's server did is no matter of another's."""
    tracker._GONE.clear()
    yield
    tracker._GONE.clear()


def test_epochs_are_sent_once_also_by_a_process_that_goes_on(tmp_path: Path) -> None:
    file, run = tmp_path / "logs" / "marks.json", Kept()
    rows = [{"epoch": 0.0, "val/loss": 2.0, "val/odd": float("nan")}, {"epoch": 1.0, "val/loss": 1.0}]
    assert tracker.send_epochs(run, rows[:1], Marks(file))
    assert not tracker.send_epochs(run, rows[:1], Marks(file))
    assert tracker.send_epochs(run, rows, Marks(file))
    assert run.got == [(0, {"val/loss": 2.0}), (1, {"val/loss": 1.0})]


def test_a_file_of_marks_that_is_damaged_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "marks.json").write_text("{")
    assert Marks(tmp_path / "marks.json").epochs == 0
    (tmp_path / "marks.json").write_text('{"epochs": "many"}')
    assert Marks(tmp_path / "marks.json").epochs == 0


def test_a_failure_is_told_once_and_nothing_more_is_asked(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    run = Kept()
    guarded = Guarded("logging=x", lambda place: run, Place("p", tmp_path, "r", tmp_path))
    with caplog.at_level(logging.WARNING, "mlpipe"):
        guarded.attempt(lambda one: one.points({"a": 1.0}, 0))
        guarded.attempt(lambda one: one.file(tmp_path))
        guarded.attempt(lambda one: one.points({"a": 2.0}, 1))
        guarded.close(tracker.FINISHED)
    assert caplog.messages == ["logging=x: failed (no such http://me:***@server); the run goes on without it"]
    assert run.got == [(0, {"a": 1.0})] and run.status == ""


def test_what_was_never_opened_is_not_closed(tmp_path: Path) -> None:
    def opens(place: Place) -> Kept:
        raise AssertionError("opened")

    Guarded("logging=x", opens, Place("p", tmp_path, "r", tmp_path)).close(tracker.STOPPED)
    assert not tracker._GONE


def test_scores_have_flat_names_with_the_ends_of_their_intervals() -> None:
    scores = {
        "test": {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}, "auroc": {"value": None, "low": None}},
        "val": {"loss": 0.5, "by": {"cat": 1}},
        "is": True,
    }
    assert tracker.final(scores) == {
        "final/test/accuracy": 0.8, "final/test/accuracy_low": 0.7, "final/test/accuracy_high": 0.9,
        "final/val/loss": 0.5, "final/val/by/cat": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "plain", "known"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000", {}),
        ("https://me:p%40w:x@host/a?b=1", "https://host/a?b=1",
         {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@w:x"}),
        ("http://me@host:80", "http://host:80", {"MLFLOW_TRACKING_USERNAME": "me"}),
        ("sqlite:///a/b.db", "sqlite:///a/b.db", {}),
    ],
)  # fmt: skip
def test_an_address_is_stored_without_user_and_password(address: str, plain: str, known: dict[str, str]) -> None:
    assert tracker.address_without_login(address, "key") == (plain, known)


@pytest.mark.parametrize("address", ["postgresql://me:s3cret@host/db", "http://host/?password=s3cret"])
def test_a_password_that_would_be_stored_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI") as caught:
        tracker.address_without_login(address, "logging.tracking_uri")
    assert "s3cret" not in str(caught.value) and "logging.tracking_uri: " in str(caught.value)


def test_nested_keys_are_flat() -> None:
    tree = {"a": {"b": 1, "c": {}, "d": {"e": [1, 2]}}, "f": None}
    assert dict(tracker.flat(tree)) == {"a.b": 1, "a.c": {}, "a.d.e": [1, 2], "f": None}
