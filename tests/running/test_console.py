"""The tables of a training that goes on are those of one that never stopped."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlpipe.running import console


def trace(folder: Path) -> console.Trace:
    sampling = SimpleNamespace(params={"eval_batch_size": 4})
    recipe = SimpleNamespace(sampling=sampling, epochs=3)
    config: Any = SimpleNamespace(sys=SimpleNamespace(console="mlpipe", outfile=str(folder / "log.txt")), recipe=recipe)
    run: Any = SimpleNamespace(folder=folder / "run")
    return console.Trace(config, console.of(config), run, "record", 10)


def learned(one: console.Trace, epoch: int, batches: int, loss: float) -> None:
    for batch in range(1, batches + 1):
        one.batch(SimpleNamespace(epoch=epoch, batch=batch, batches=2, batch_loss=loss, norm=0.5, wait=0.1, epochs=3))


def columns(path: Path, *places: int) -> list[tuple[float, ...]]:
    return [tuple(float(line.split()[place]) for place in places) for line in path.read_text().splitlines()]


def test_a_stopped_epoch_is_written_once(tmp_path: Path) -> None:
    first = trace(tmp_path)
    for epoch in (0, 1):
        learned(first, epoch, 2, 1.0)
        first.epoch(epoch, {"loss": 1.0, "accuracy": 0.5})
    # Stopped in the third epoch, and its lines cut short.
    learned(first, 2, 1, 9.0)
    file = next((tmp_path / "run").rglob("batches.jsonl"))
    with file.open("a") as handle:
        handle.write('{"epoch": {"epoch": 3, "seco')
    again = trace(tmp_path)
    learned(again, 2, 2, 0.25)
    again.epoch(2, {"loss": 0.25, "foreground_dice": 0.75})
    assert columns(tmp_path / "log_test.txt", 0, 2, 3) == [(1, 1.0, 0.5), (2, 1.0, 0.5), (3, 0.25, 0.75)]
    assert columns(tmp_path / "log_train.txt", 0, 1, 3) == [
        (1, 1, 1.0), (1, 2, 1.0), (2, 1, 1.0), (2, 2, 1.0), (3, 1, 0.25), (3, 2, 0.25),
    ]  # fmt: skip
    seconds = [second for (second,) in columns(tmp_path / "log_test.txt", 1)]
    assert seconds == sorted(seconds)
    assert [json.loads(line)["epoch"]["epoch"] for line in file.read_text().splitlines()] == [1, 2, 3]
