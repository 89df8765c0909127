"""Scores on another task are those of what predicts new images, and groups count together."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from mlpipe.data import task
from mlpipe.data.task import Row
from mlpipe.reports.progress import Display
from mlpipe.running import external_scores
from mlpipe.running.steps import RunContext
from mlpipe.runs import predictions
from mlpipe.runs.project import Project
from tests.build import make_record

CLASSES = ["healthy", "ill"]


def other_task(targets: np.ndarray, groups: list[str]) -> task.Task:
    rows = [
        Row(f"{row:03d}.png", "train", int(target), f"hash {row}", group)
        for row, (target, group) in enumerate(zip(targets, groups, strict=True))
    ]
    return task.make(
        "external", CLASSES, rows, kind="classification", channels=1, dtype="uint8", source={"type": "csv"}
    )


def test_the_mean_of_the_folds_is_scored_with_intervals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project, rng = Project(tmp_path / "results" / "default"), np.random.default_rng(0)
    targets = np.repeat(np.arange(40) % 2, 2)
    other = other_task(targets, [f"patient {row // 2}" for row in range(80)])
    probabilities = []
    for number in range(2):
        facts = {"classes": CLASSES, "kind": "classification", "fold": number, "task": "digits"}
        record = make_record(project, f"net-{number}", config="", **facts)
        logits = np.stack([np.zeros(80), rng.normal(2 * targets - 1, 1.5)], axis=1).astype(np.float32)
        with predictions.writer(project.predictions_file(record.pivot, record.id), (), record.kind) as sink:
            sink.add(other.name, "test", number, list(other.samples.ids), targets, logits, None)
        probabilities.append(1 / (1 + np.exp(-logits[:, 1].astype(np.float64))))
    pivot = task.make("digits", CLASSES, [], kind="classification", channels=1, dtype="uint8", source={"type": "csv"})
    context = RunContext(project, Display())
    with caplog.at_level(logging.INFO, "mlpipe"):
        external_scores.report(context, pivot, other, 0)
    scores, mean = context.facts["scores_on"][other.name], np.mean(probabilities, axis=0)
    assert scores["accuracy"]["value"] == pytest.approx(accuracy_score(targets, mean > 0.5))
    assert scores["nll"]["value"] == pytest.approx(log_loss(targets, mean))
    assert scores["sensitivity"]["value"] == pytest.approx((mean[targets == 1] > 0.5).mean())
    assert scores["specificity"]["value"] == pytest.approx((mean[targets == 0] <= 0.5).mean())
    assert scores["positive"] == "ill" and "independent" in scores["accuracy"]["note"]
    assert "ill against the rest, with 95 % intervals: sensitivity" in caplog.text


def test_without_predictions_of_its_labels_nothing_is_said(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    record = make_record(project, "net", config="", classes=CLASSES, kind="classification", fold=0, task="digits")
    other = other_task(np.array([0, 1]), ["a", "b"])
    with predictions.writer(project.predictions_file(record.pivot, record.id), (), record.kind) as sink:
        sink.add(other.name, "test", 0, list(other.samples.ids), np.full(2, -1), np.zeros((2, 2), np.float32), None)
    pivot = task.make("digits", CLASSES, [], kind="classification", channels=1, dtype="uint8", source={"type": "csv"})
    context = RunContext(project, Display())
    external_scores.report(context, pivot, other, 0)
    assert "scores_on" not in context.facts
