"""Small projects of made-up predictions for the report, written in a moment."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlpipe import files
from mlpipe.data import task
from mlpipe.data.task import Row, Task
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from tests.runs.test_records import made

RNG = np.random.default_rng


def outputs(targets: np.ndarray, classes: int, kind: str, seed: int, sharpness: float = 1.0) -> np.ndarray:
    rng = RNG(seed)
    if kind == "regression":
        return targets + rng.normal(0, 2, targets.shape)
    if kind == "multilabel":
        return sharpness * (2 * targets - 1 + rng.normal(0, 1.5, targets.shape))
    scores = rng.normal(0, 1, (len(targets), classes))
    scores[np.arange(len(targets)), targets] += 1.8
    return sharpness * scores


def make_task(
    data_dir: Path, classes: list[str], kind: str, n: int, *, groups: int = 0, name: str = "t", absent: int = -1
) -> Task:
    """A task of n training and n // 2 test images, real files below `data_dir/../images`."""
    rng, rows, root = RNG(0), list[Row](), data_dir.parent / "images"
    root.mkdir(parents=True, exist_ok=True)
    present = [number for number in range(len(classes)) if number != absent]
    for part, count in (("train", n), ("test", n // 2)):
        for index in range(count):
            target: Any = int(rng.choice(present))
            if kind == "multilabel":
                target = tuple((rng.random(len(classes)) < 0.4).astype(float).tolist())
            elif kind == "regression":
                target = tuple(rng.normal(50, 10, len(classes)).tolist())
            file = root / f"{part}{index:05d}.png"
            if n <= 200:
                Image.fromarray(rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)).save(file)
                digest = files.digest_bytes(file.read_bytes())
            else:
                digest = file.name
            group = f"g{index % groups}" if groups else ""
            rows.append(Row(file.name, part, target, digest, group))  # type: ignore[arg-type]
    of = task.make(name, classes, rows, channels=3, source={"type": "folder", "root": str(root)}, kind=kind)  # type: ignore[arg-type]
    task.save(of, data_dir / name / "task.json")
    return of


def make_project(
    folder: Path,
    classes: list[str],
    kind: str = "classification",
    *,
    n: int = 120,
    recipes: int = 2,
    folds: int = 2,
    with_predictions: bool = True,
    with_test: bool = True,
    **given: Any,
) -> tuple[Project, Path]:
    """A project with `recipes * folds` records, and the folder of its tasks."""
    project, data_dir = Project(folder / "p"), folder / "data"
    of = make_task(data_dir, classes, kind, n, **given)
    train, test = (np.flatnonzero(of.samples.in_part(part)) for part in ("train", "test"))  # type: ignore[arg-type]
    for recipe in range(recipes):
        for fold in range(folds):
            record = made(
                f"r{recipe}-{fold}", fold=fold, recipe=f"recipe{recipe}", task=of.name, pivot=of.name, classes=classes, kind=kind,
                parameters=1_234_567, counts={"train": n // 2, "val": n // 2, "test": n // 2}, val_used_for=["best_checkpoint"],
                timings={"seconds": 12.5, "train_images_per_s": 321.0}, scores={"val": {}}, best_epoch=1, epochs=3,
            )  # fmt: skip
            records.save(project, record)
            lines = [f"{epoch},{1 / (epoch + 1)},{0.9 / (epoch + 1)},{0.3 + 0.1 * epoch},0.1" for epoch in range(3)]
            text = "\n".join(["epoch,train/loss,val/loss,val/accuracy,lr", *lines]) + "\n"
            files.write_text(project.model_dir(of.name, record.id) / "metrics.csv", text)
            config = f"mode_name: train\nseed: 1\noptimizer:\n  lr: {0.1 * (recipe + 1):.1f}\n"
            files.write_text(project.model_dir(of.name, record.id) / "config.yaml", config)
            if with_predictions:
                with predictions.writer(project.predictions_file(of.name, record.id), (), kind) as sink:
                    for split, rows in (("val", train[fold::folds]), ("test", test if with_test else test[:0])):
                        if len(rows):
                            targets = of.samples.targets[rows]
                            values = outputs(targets, len(classes), kind, 10 * recipe + fold, 1 + 2 * recipe)
                            ids = [of.samples.ids[row] for row in rows]
                            sink.add(of.name, split, fold, ids, targets, values.astype(np.float32))
    return project, data_dir


def ensemble(project: Project, name: str = "t", **given: Any) -> EnsembleRecord:
    """An ensemble stored with a project, with scores that nothing else has."""
    score = {"value": 0.812345, "low": 0.712345, "high": 0.912345, "level": 0.95, "method": "wilson", "note": ""}
    classes = given.setdefault("classes", ["a", "b"])
    cuts = {classes[0]: 0.4567} | dict.fromkeys(classes[1:])
    record = EnsembleRecord(
        id="ens-12345678", created="2099-01-01", run="r", task=name, kind="classification", classes=classes,
        members=[{"name": "recipe0 net", "weight": 0.75, "records": ["r0-0", "r0-1"]},
                 {"name": "recipe1 net", "weight": 0.25, "records": ["r1-0", "r1-1"]}],
        mixing="probabilities", way="search", select_on="oof", stage="before", calibration=None,
        prior={"kind": "val", "values": None}, losses={"members": {"recipe0 net": 0.4321, "recipe1 net": 0.5432}},
        scores={"chosen on": {"accuracy": {**score, "value": 0.834567}}, "test": {"accuracy": score}},
        decide={"thresholds": {"criterion": "f1", "cuts": cuts},
                "sets": {"score": "lac", "alpha": 0.1, "cuts": [0.7], "penalty": 0.0, "free_rank": 5, "guarantee": "the promise",
                         "rows": 30, "observed_coverage": 0.877, "mean_size": 1.23},
                "at_deploy_prior": {"prior": [0.2, 0.8], "accuracy": 0.7654, "nll": 0.5678}},
        notes=["a note <b>"],
    )  # fmt: skip
    record = dataclasses.replace(record, **given)
    source = project.predictions_file(name, "r0-0")
    with predictions.writer(project.ensembles_dir(name) / f"{record.id}.parquet", (), record.kind) as sink:
        for split in ("val", "test"):
            rows = predictions.load(source, name, split)
            if len(rows):
                sink.add(name, split, -1, rows.sample_ids, rows.targets, rows.logits, rows.logits / 2)
    ensembles.save(project, record)
    return record
