"""Each small file that a project holds, damaged in every way: a sentence with its name, or what stands for a file that is none.

What the ways are: nothing, half, noise, other JSON, other types, no numbers, too deep, no ordinary file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe import files
from mlpipe.config.schema import Healing
from mlpipe.dialects.musket import experiment_files, search_files
from mlpipe.dialects.musket import files as musket_files
from mlpipe.errors import MlpipeError
from mlpipe.learn import recovery, tune
from mlpipe.reports.sections import heat_maps
from mlpipe.running import presets, stored_decisions, training_log
from mlpipe.running.folds import time_shares
from mlpipe.runs import calibrations, costs
from mlpipe.runs.project import Project

RECORD: Any = SimpleNamespace(pivot="digits", id="one")


@dataclass(frozen=True)
class Stored:
    """A file: where it lies below a folder, what it holds when it is whole, and what reads it there.

    Attributes:
        name: Its path.
        content: A text, or data of JSON.
        read: Reads it.
        value: What is read where it is whole.
    """

    name: str
    content: Any
    read: Callable[[Path], Any]
    value: Any


COST = costs.Cost(1, 2, 3, 4, 5.0, 6.0, [1, 8, 8], "cpu")
CALIBRATION = {"record": "one", "prior": {"kind": "val", "values": [0.5, 0.5]}, "calibration": {"method": "none"}}
INDEX = {"task": "digits", "images": [{"image": "a", "file": "001_a.png", "words": ["why 1"]}, {"image": "b"}]}
SHARE = time_shares.Share(2, 0, 3.5, 2, time_shares.Tempo(0.1, 0.2, 0.3, 4))
EVENT = {
    "kind": "not a number",
    "epoch": 1,
    "stage": 0,
    "lr_factor": 0.5,
    "lr_scale": 0.5,
    "found": "loss",
    "text": "t",
}
LINE = {
    "epoch": {"epoch": 1, "seconds": 2.0, "loss": 3.0, "accuracy": None},
    "batches": [{"epoch": 1, "batch": 1, "seconds": 1.0, "loss": 3.0, "norm": 0.5}],
}
TRIALS = files.yaml_text([{"best": True, "values": {"lr": 0.1}, "run": "r"}])
DECIDED = {"decided": {"max_unreadable": 3}, "name": "digits"}


def _run(folder: Path) -> Any:
    return SimpleNamespace(folder=folder)


FILES = [
    Stored("tasks/digits/models/one/cost.json", asdict(COST), lambda at: costs.load(Project(at), RECORD), COST),
    Stored(
        "tasks/digits/calibrations/one.json",
        CALIBRATION,
        lambda at: calibrations.load(Project(at), "digits", "one"),
        CALIBRATION,
    ),
    Stored("reports/explain/digits/index.json", INDEX, lambda at: heat_maps.index_of(Project(at), "digits"), INDEX),
    Stored(
        "time_limit/0.json",
        asdict(SHARE),
        lambda at: time_shares.TimeShares._stored(None, _run(at), 0),  # type: ignore[arg-type]
        SHARE,
    ),
    Stored(
        "x.events.json",
        [EVENT],
        lambda at: recovery.Healed(Healing(), at / "x.events.json", "fold 0").lr_scale(2),
        0.5,
    ),
    Stored("lr_find.json", {"chosen": {"lr_found": 0.1}}, lambda at: tune.read(at, "lr_find"), {"lr_found": 0.1}),
    Stored(
        "batches.jsonl",
        json.dumps(LINE) + "\n",
        lambda at: len(training_log.TrainingLog(at / "batches.jsonl").rows_until(1)[0]),
        1,
    ),
    Stored(
        "preset.json",
        {"a": {"epochs": 1, "seconds": None}},
        lambda at: presets.PresetScheduler._stored(None, at / "preset.json"),  # type: ignore[arg-type]
        {"a": {"epochs": 1, "seconds": None}},
    ),
    Stored(
        "task.json",
        DECIDED,
        lambda at: stored_decisions._decisions_in(at / "task.json"),
        {"max_unreadable": 3},
    ),
    Stored("hyperopt.trials", TRIALS, search_files.best_values, {"lr": 0.1}),
    Stored(
        "metrics/metrics-0.0.csv",
        "epoch,lr,val_loss\n0,0.1,2.0\n",
        lambda at: experiment_files.best_metric_values(at, "val_loss", "auto"),
        [(0, 0, 2.0, 0.1)],
    ),
    Stored(
        "rows.csv", "epoch,loss\n0,2.0\n", lambda at: musket_files._rows(at / "rows.csv"), [{"epoch": 0.0, "loss": 2.0}]
    ),
]


def _changed(content: Any) -> dict[str, bytes | None]:
    """The ways; None: a pipe in its place."""
    whole = (content if isinstance(content, str) else json.dumps(content)).encode()
    ways: dict[str, bytes | None] = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "noise": bytes(range(256)),
        "a list": b"[1, 2]\n",
        "an object": b"{}\n",
        "deep": b"[" * 100_000,
        "a number of many digits": b"9" * 5000 + b"\n",
        "a pipe": None,
    }
    if isinstance(content, dict):
        others: dict[str, Any] = {
            "texts": "x",
            "no values": None,
            "lists": [[1]],
            "objects": {"x": "y"},
            "no numbers": float("nan"),
        }
        for name, other in others.items():
            ways[name] = json.dumps(dict.fromkeys(content, other)).encode()
    return ways


def test_ways_are_ten_and_more() -> None:
    assert len(_changed({})) >= 10


@pytest.mark.parametrize("stored", FILES, ids=lambda stored: stored.name)
def test_a_whole_file_is_read(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / stored.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stored.content if isinstance(stored.content, str) else json.dumps(stored.content), "utf-8")
    assert stored.read(tmp_path) == stored.value


@pytest.mark.parametrize(
    ("stored", "way"),
    [pytest.param(one, way, id=f"{one.name}-{way}") for one in FILES for way in _changed(one.content)],
)
def test_a_damaged_file_is_a_sentence_with_its_name(
    stored: Stored, way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, content = tmp_path / stored.name, _changed(stored.content)[way]
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    try:
        found = stored.read(tmp_path)
    except MlpipeError as error:
        assert path.name in str(error) and str(error).isprintable() and len(str(error)) < 1000
    else:
        # Read as nothing, or as what is in it: nothing else, and never what the whole file says.
        assert not found or found != stored.value
