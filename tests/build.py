"""What tests of several files make: records and runs on disk without training, small networks, options of a quick run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config import snapshot
from mlpipe.running import launch
from mlpipe.runs import journal, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

SMALL = ["arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sys.threads=1", "trainer.max_epochs=1"]
# Options of a Musket script.
ON_CPU = ["--num_workers", "0", "--overrides", "sys.threads=1 trainer.accelerator=cpu"]
DIGITS = ["task=digits", "split.folds=2", *SMALL]

# Where solutions of an equation are known.
PLACES, TIMES = 12, 6


def make_record(
    project: Project, name: str, *, weights: bytes | None = b"weights", config: str | None = None, **facts: Any
) -> ModelRecord:
    """A record of digits with its configuration (composed, unless its text is given) and a file that stands for its weights."""
    plain: dict[str, Any] = {
        "id": name,
        "number": 0,
        "run": "2026-01-01/00-00-00-aaaa",
        "created": journal.now(),
        "task": "digits",
        "pivot": "digits",
        "fold": 0,
        "nested": False,
        "recipe": "11111111",
        "arch": "test_resnet",
        "classes": [str(number) for number in range(10)],
        "parameters": 1,
        "counts": {"train": 1},
        "kind": "classification",
        "scores": {"val": {"accuracy": 0.5, "loss": 1.0}},
        "best_epoch": 0,
        "epochs": 1,
        "monitor": "val/loss (min)",
        "val_used_for": [],
        "timings": {"seconds": 1.0},
        "environment": {},
        "weights": None,
    }
    record = ModelRecord(**{**plain, **facts})
    folder = project.model_dir(record.pivot, record.id)
    if config is None:
        composed = launch.prepare(launch.Command("train", ["arch.drop_rate=0.25", *DIGITS])).run_config
        snapshot.save(composed, folder / records.CONFIG_FILE)
    else:
        files.write_text(folder / records.CONFIG_FILE, config)
    files.write_text(folder / records.METRICS_FILE, "epoch\n0\n")
    if weights is not None:
        files.write_bytes(folder / records.WEIGHTS_FILE, weights)
        record = dataclasses.replace(record, weights=files.digest_bytes(weights))
    return records.save(project, record)


def models(tmp_path: Path, losses: list[float | None]) -> list[Located]:
    """Models of one project, one after the other, with these losses of validation."""
    project = Project(tmp_path / "results" / "default")
    made = [
        make_record(project, f"net-{place}", scores={"val": {"loss": loss}}, created=f"2026-01-01T00:00:0{place}")
        for place, loss in enumerate(losses)
    ]
    return [Located(project, record) for record in made]


def make_run(project: Project, overrides: list[str], *, finished: bool = False, mode: str = "train") -> Run:
    """A run with one step, which is done or not."""
    run = journal.create(project)
    snapshot.save(launch.prepare(launch.Command(mode, overrides)).run_config, run.folder / journal.CONFIG_FILE)
    run.write_plan(["train fold 0"], "11111111", {})
    if finished:
        run.note("train fold 0", "done")
    return run


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def as_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text("utf-8"))


def layers(*, row: bool, times: int = TIMES, places: int = PLACES, width: int = 48) -> list[dict[str, Any]]:
    """A dense network from initial values to solutions, its input with or without a height."""
    first = {"name": "flat", "batch_input_shape": [None, places, 1] if row else [None, 1, places, 1]}
    return [
        {"class_name": "Flatten", "config": first},
        {"class_name": "Dense", "config": {"name": "inner", "units": width, "activation": "tanh"}},
        {"class_name": "Dense", "config": {"name": "outer", "units": times * places}},
        {"class_name": "Reshape", "config": {"name": "solution", "target_shape": [times, places, 1]}},
    ]


def conv(name: str, filters: int, activation: str = "relu", size: int = 3, **more: Any) -> dict[str, Any]:
    config = {
        "name": name,
        "filters": filters,
        "kernel_size": [size, size],
        "padding": "same",
        "activation": activation,
    }
    return {"class_name": "Conv2D", "config": config | more}
