"""What more images would bring: which records make a curve, on which images, and what is left out with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe import files
from mlpipe.reports import more_data
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests.runs.test_records import made

TEST_IDS = [f"t{number:03d}" for number in range(400)]
TARGETS = np.arange(400) % 2


def trained(
    project: Project, part: str, images: int, error: float, *, lr: float = 0.1, tested: int = 400, unlabelled: int = 0
) -> None:
    """Two folds trained on a part of the task, wrong in the first images of the test, as many as the error says."""
    pivot = f"t{part}"
    for fold in (0, 1):
        name = files.safe_name(f"{part}-{lr}-{fold}")
        record = made(name, fold=fold, pivot=pivot, task=pivot, recipe=f"{part}{lr}", counts={"train": images + fold})
        folder = project.model_dir(pivot, name)
        files.write_text(folder / records.CONFIG_FILE, f"seed: 1\noptimizer: {{lr: {lr}}}\ntags: '{part}'\n")
        records.save(project, record)
        wrong = np.arange(tested) < round(error * tested)
        logits = np.zeros((tested, 3), np.float32)
        logits[np.arange(tested), np.where(wrong, 2, TARGETS[:tested])] = 1
        with predictions.writer(project.predictions_file(pivot, name), (), "classification") as sink:
            sink.add(pivot, "test", fold, TEST_IDS[:tested], TARGETS[:tested], logits)
            names = [f"u{number}" for number in range(unlabelled)]
            sink.add(pivot, "test", fold, names, np.full(unlabelled, -1), np.zeros((unlabelled, 3), np.float32))


def power(images: float) -> float:
    return 0.05 + 2.0 * images**-0.5


def test_a_power_law_is_gone_on_with(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for part, images in (("+subset?0.25", 100), ("+shrink?200", 200), ("+subset?0.5?3", 400), ("", 800)):
        trained(project, part, images, power(images))
    # Other recipes, and variants that are more than parts of the task, have no say.
    trained(project, "+subset?0.5", 400, 0.9, lr=0.5)
    trained(project, "+noise?0.2", 800, 0.9)
    (found,), notes = more_data.more_data(project, "t")
    assert notes == []
    assert found.sizes == [100.5, 200.5, 400.5, 800.5]
    assert found.errors == pytest.approx([power(100), power(200), power(400), power(800)], abs=0.002)
    assert found.test_images == 400 and found.recipe == "0.1"
    for images, error, low, high in found.expected():
        assert low < error < high
        assert error == pytest.approx(power(images), abs=0.025)
    assert [row[0] for row in found.expected()] == pytest.approx([1200.75, 1601, 3202])
    assert found.sentences()[0].endswith("0.1210 with 800 images".replace("0.1210", f"{found.errors[-1]:.4f}"))
    assert found.as_plain()["expected"][1]["error"] == found.expected()[1][1]


def test_two_sizes_are_too_few(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    trained(project, "", 800, 0.1)
    assert more_data.more_data(project, "t") == ([], [])
    trained(project, "+subset?0.5", 400, 0.2)
    found, (note,) = more_data.more_data(project, "t")
    assert found == [] and "2 training sizes are too few" in note


def test_only_images_that_all_predicted_count(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for part, images, tested in (("+subset?0.25", 100, 400), ("+subset?0.5", 200, 300), ("", 400, 350)):
        trained(project, part, images, power(images), tested=tested)
    (found,), _ = more_data.more_data(project, "t")
    assert found.test_images == 300
    (project.predictions_file("t", files.safe_name("-0.1-0"))).unlink()
    found_now, (note,) = more_data.more_data(project, "t")
    assert found_now == [] and "not all have predictions of the same test images" in note


def test_test_images_without_a_target_are_no_errors(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    for part, images in (("+subset?0.25", 100), ("+subset?0.5", 200), ("", 400)):
        trained(project, part, images, power(images), unlabelled=100)
    (found,), _ = more_data.more_data(project, "t")
    assert found.test_images == 400
    assert found.errors == pytest.approx([power(100), power(200), power(400)], abs=0.002)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("t", True),
        ("t+subset?0.5", True),
        ("t+shrink?9+subset?0.5", True),
        ("t+subset?0.5+noise?0.1", False),
        ("tt", False),
    ],
)
def test_parts_of_a_task(name: str, answer: bool) -> None:
    assert more_data.is_part(name, "t") is answer
