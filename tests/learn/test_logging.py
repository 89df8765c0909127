"""Where curves go, once also when a fold goes on, and that a logger that fails stops nothing."""

from __future__ import annotations

import csv
import errno
import importlib.util
import logging as messages
import struct
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger

from mlpipe.errors import ConfigError, Interrupted
from mlpipe.learn import fit, logging
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.logging import FileLogger, Followed
from mlpipe.runs import records
from mlpipe.runs.trackers import tracker
from mlpipe.runs.trackers.tracker import Place
from tests.learn.conftest import job


def test_nothing_is_logged_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert logging.none(tmp_path) == [] and not list(tmp_path.iterdir())


def test_lines_of_csv_lie_in_the_fold_s_own_folder(tmp_path: Path) -> None:
    (logger,) = logging.csv(tmp_path / "fold", every_n_steps=1)
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.save()
    (row,) = csv.DictReader((tmp_path / "fold" / "metrics.csv").read_text().splitlines())
    assert (float(row["loss"]), int(row["step"])) == (0.5, 3)


def test_a_package_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="the package tensorboard is not installed"):
        logging.tensorboard(tmp_path)


def test_another_folder_has_one_for_each_record_and_stage(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (logger,) = logging.tensorboard(tmp_path / "run" / "record" / "0", log_dir=str(tmp_path / "curves"))
    assert Path(logger.log_dir) == tmp_path / "curves" / "record" / "0"


def followed(folder: Path, epochs: int, step: int | None) -> Followed:
    return Followed(Place("proj", folder, "run", folder, "fold"), epochs, step)


def test_lines_before_the_saved_state_stay_and_those_after_it_are_written_once(tmp_path: Path) -> None:
    (first,) = logging.csv(tmp_path, followed(tmp_path, 0, None))
    for step in range(6):
        first.log_metrics({"loss": float(step), "epoch": step // 2}, step=step)
    first.save()
    (again,) = logging.csv(tmp_path, followed(tmp_path, 2, 4))
    again.log_metrics({"loss": 40.0, "epoch": 2}, step=4)
    again.save()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 40)]
    # A fold that is trained anew begins a table of its own.
    (anew,) = logging.csv(tmp_path, followed(tmp_path, 0, None))
    anew.log_metrics({"loss": 9.0}, step=0)
    anew.save()
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(("epochs", "step", "kept"), [(0, None, []), (2, 4, [0, 1, 2, 3])])
def test_points_of_a_failed_attempt_do_not_count(
    epochs: int, step: int | None, kept: list[int], tmp_path: Path
) -> None:
    """TensorBoard reads all files of a folder: points of an attempt without a saved state stood beside those of the next."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (failed,) = logging.tensorboard(tmp_path, followed(tmp_path, 0, None))
    for number in range(6):
        failed.log_metrics({"loss": float(number)}, step=number)
    failed.finalize("failed")
    (again,) = logging.tensorboard(tmp_path, followed(tmp_path, epochs, step))
    for number in range(step or 0, 7):
        again.log_metrics({"loss": 10.0 + number}, step=number)
    again.finalize("success")
    events: Any = EventAccumulator(str(tmp_path))
    events.Reload()
    later = [(number, 10.0 + number) for number in range(step or 0, 7)]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        *((number, number) for number in kept),
        *later,
    ]


def test_a_full_disk_of_a_logger_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Full(CSVLogger):
        def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    guarded = FileLogger(Full(tmp_path))
    with caplog.at_level(messages.WARNING, "mlpipe"):
        guarded.log_metrics({"loss": 1.0}, step=0)
        guarded.log_metrics({"loss": 1.0}, step=1)
        guarded.finalize("success")
    told = "logging: Full failed ([Errno 28] No space left on device); the training goes on without it"
    assert caplog.messages == [told]


def test_callbacks_find_loggers_of_their_kind(tmp_path: Path) -> None:
    guarded = FileLogger(CSVLogger(tmp_path, name="a", version="b"))
    assert isinstance(guarded, CSVLogger) and isinstance(guarded, FileLogger)
    assert guarded.log_dir == str(tmp_path / "a" / "b") and guarded.root_dir == str(tmp_path / "a")
    guarded.experiment.log_metrics({"x": 1.0}, 3)
    guarded.save()
    assert (tmp_path / "a" / "b" / "metrics.csv").read_text() == "step,x\n3,1.0\n"


def test_what_makes_no_logger_is_told(tmp_path: Path) -> None:
    class Maker:
        def build(self, folder: Path, fold: Followed) -> list[int]:
            return [3]

    with pytest.raises(ConfigError, match="logging: must make loggers of Lightning, got 'int'; return one"):
        logging._loggers_of(Maker(), tmp_path, followed(tmp_path, 0, None))


def points_of_wandb(logs: Path) -> list[dict[str, str]]:
    """The points of all files that are kept of a run: LevelDB's format of logs, protocol buffers inside."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for file in sorted(logs.rglob("*.wandb")):
        content, place, whole = file.read_bytes(), 7, b""
        while place + 7 <= len(content):
            if (left := 32768 - place % 32768) < 7:
                place += left
                continue
            size, kind = struct.unpack_from("<HB", content, place + 4)
            whole += content[place + 7 : place + 7 + size]
            place += 7 + size
            if kind not in (1, 4):
                continue
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                found.append({item.key or "/".join(item.nested_key): item.value_json for item in record.history.item})
    return found


@pytest.fixture
def all_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FoldJob:
    """A fold whose curves go to all four."""
    for package in ("mlflow", "wandb", "tensorboard"):
        pytest.importorskip(package, reason=f"the extra {package} is not installed")
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # As a command line leaves it, nothing would be heard.
    monkeypatch.setattr(messages.getLogger("mlpipe"), "propagate", True)
    tracker._GONE.clear()
    several = "logging=[mlflow,wandb,tensorboard,csv]"
    return job(tmp_path, several, "logging.every_n_steps=2", "logging.experiment=some", "logging.log_dir=curves")


@pytest.mark.program
def test_a_fold_that_goes_on_has_every_point_once_in_all_loggers(
    all_loggers: FoldJob, saves_every_epoch: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mlpipe.runs.trackers.mlflow import default_address

    one, files = all_loggers, all_loggers.files
    batches: list[int] = []
    asks = Watch(should_stop=lambda: len(batches) > 5, report=lambda tick: batches.append(tick.batch))
    with pytest.raises(Interrupted):
        fit.fit(one, asks)
    record = fit.fit(one, Watch())
    assert not [one for one in caplog.records if one.levelno >= messages.WARNING and one.name == "mlpipe"]
    table = files.project.model_dir("digits", "record") / records.METRICS_FILE
    expected = [float(row["val/loss"]) for row in csv.DictReader(table.read_text().splitlines())]
    assert len(expected) == 3 and len(batches) > 5

    client = MlflowClient(default_address(files.project.root))
    (experiment,) = [one for one in client.search_experiments() if one.name == "some"]
    runs = {one.data.tags["mml.record"]: one for one in client.search_runs([experiment.experiment_id])}
    child = runs["logs"]
    assert set(runs) == {"all", "logs"} and child.info.status == "FINISHED"
    history = client.get_metric_history(child.info.run_id, "val/loss")
    assert [(point.step, point.value) for point in history] == [(0, expected[0]), (1, expected[1]), (2, expected[2])]
    steps = [point.step for point in client.get_metric_history(child.info.run_id, "train/loss_step")]
    assert steps and len(steps) == len(set(steps))
    assert child.data.metrics["final/val/accuracy"] == pytest.approx(record.scores["val"]["accuracy"])
    assert child.data.params["optimizer.lr"] == str(one.recipe.optimizer.params["lr"])

    points = [point for point in points_of_wandb(files.logs.parent) if "val/loss" in point]
    assert [float(point["val/loss"]) for point in points] == pytest.approx(expected)
    assert [int(point["epoch"]) for point in points] == [0, 1, 2]

    (folder,) = {file.parent for file in Path("curves").rglob("events.out.tfevents.*")}
    read: Any = EventAccumulator(str(folder))
    read.Reload()
    of_steps = [event.step for event in read.Scalars("train/loss")]
    assert len(of_steps) == len(set(of_steps))
    losses = [event.value for event in read.Scalars("val/loss")]
    # The last is of the weights that are kept, as Lightning logs them.
    assert losses[:3] == pytest.approx(expected, abs=1e-6)

    rows = list(csv.DictReader((files.logs / "metrics.csv").read_text().splitlines()))
    assert [float(row["val/loss"]) for row in rows if row["val/loss"]][:3] == pytest.approx(expected, abs=1e-6)
    of_steps = [row["step"] for row in rows if row["train/loss"]]
    assert len(of_steps) == len(set(of_steps))
    assert float(rows[-1]["final/val/accuracy"]) == pytest.approx(record.scores["val"]["accuracy"])
    told = capfd.readouterr()
    assert "wandb" not in told.out + told.err and "mlflow" not in told.out + told.err
