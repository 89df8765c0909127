"""Whose weights may be averaged, on records without training: what they share, who is left out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.running import soups
from mlpipe.runs import predictions
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from tests.build import make_record

TARGETS = np.array([0, 1, 2, 3])


def stored(
    project: Project, name: str, sharp: float, *, start: str = "aa", test: bool = False, of: int = 0, **facts: Any
) -> ModelRecord:
    """A record with predictions of four images, the surer of the true class the larger `sharp`."""
    environment = {"first_weights": start} if start else {}
    record = make_record(project, name, config="seed: 1\n", environment=environment, **facts)
    fold = facts.get("fold", 0)
    with predictions.writer(project.predictions_file("digits", name), (), "classification") as sink:
        for split in ("val", "test") if test else ("val",):
            ids = [f"{split}{of + 4 * fold * (split == 'val') + place}" for place in range(4)]
            sink.add(record.task, split, fold, ids, TARGETS, (sharp * np.eye(10)[TARGETS]).astype(np.float32))
    return record


def cross_entropy(*sharp: float) -> float:
    return float(np.mean([np.log(np.exp(one) + 9) - one for one in sharp]))


def refused(project: Project, *found: ModelRecord) -> str:
    with pytest.raises(ProjectError) as error:
        soups.sharing(project, "digits", found, None)
    return error.value.problems[-1]


def test_those_that_share_a_start_with_the_best(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    # Two folds each: the first two begin alike fold by fold, the best begins alone, the last two alike but worse.
    begun = {"one": ("aa", 1.0), "two": ("aa", 3.0), "best": ("bb", 9.0), "four": ("cc", 0.5), "five": ("cc", 0.6)}
    made = [
        stored(project, f"{name}-{fold}", sharp + fold, start=f"{start}{fold}", fold=fold, recipe=name)
        for name, (start, sharp) in begun.items()
        for fold in range(2)
    ]
    # It begins with the first two, and holds out other images.
    made += [
        stored(project, f"moved-{fold}", 9.0, start=f"aa{fold}", fold=fold, recipe="moved", of=8) for fold in range(2)
    ]
    found = soups.sharing(project, "digits", made, None)
    assert [one.name for one in found.candidates] == ["one test_resnet", "two test_resnet"]
    assert found.alone == pytest.approx([cross_entropy(1, 2), cross_entropy(3, 4)], rel=1e-6)
    assert [one.ids for one in found.judged] == [("val0", "val1", "val2", "val3"), ("val4", "val5", "val6", "val7")]
    assert found.is_of_folds and [note.split()[0] for note in found.notes] == [
        "best",
        "four",
        "five",
        "moved",
    ]
    assert found.notes[0].endswith("it began with other weights")
    assert found.notes[-1].endswith("it predicts other images than they do")


def test_test_rows_judge_records(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    made = [stored(project, f"one-{fold}", 1.0 + fold, fold=fold, test=True) for fold in range(3)]
    found = soups.sharing(project, "digits", made, lambda rows: rows.sample_ids[1:3])
    assert [one.name for one in found.candidates] == ["one-0", "one-1", "one-2"] and not found.is_of_folds
    assert [(one.split, one.ids) for one in found.judged] == [("test", ("test1", "test2"))]
    assert found.alone == pytest.approx([cross_entropy(1), cross_entropy(2), cross_entropy(3)], rel=1e-6)
    other = [stored(project, f"two-{fold}", 1.0, fold=fold, test=True, start=f"{fold}") for fold in range(2)]
    with pytest.raises(ProjectError, match="no two of 2 records began with the same weights: each fold draws its own"):
        soups.sharing(project, "digits", other, lambda rows: rows.sample_ids)


def test_what_cannot_be_averaged_is_said_with_a_way_out(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    one = stored(project, "one", 1.0, recipe="one")
    assert refused(project, one).startswith(
        "mode.search: averages weights of several models, there is 1 recipe of digits for it, got 'soup'; train another"
    )
    other = stored(project, "other", 1.0, recipe="other", start="bb")
    assert "no two of 2 recipes began with the same weights, fold by fold" in refused(project, one, other)
    apart = stored(project, "apart", 1.0, recipe="apart", fold=1)
    assert "no two of 2 recipes began" not in (said := refused(project, one, apart)) and "hold out other images" in said
    old = stored(project, "old", 1.0, recipe="old", start="")
    bare = stored(project, "bare", 1.0, recipe="bare", weights=None)
    torn = stored(project, "torn", 1.0, recipe="torn")
    (project.model_dir("digits", "torn") / "weights.safetensors").write_bytes(b"weigh")
    together = stored(project, "together", 1.0, recipe="together", co_tasks=[{"name": "b"}])
    with pytest.raises(ProjectError) as error:
        soups.sharing(project, "digits", [one, old, bare, torn, together], None)
    said = "\n".join(error.value.problems)
    assert "old does not say which weights it began with" in said and "bare keeps no weights" in said
    assert "the weights of torn are not those that it was written with" in said
    assert "together was learned with other tasks" in said and "there is 1 recipe of digits" in said


def test_damaged_weights_end_no_comparison(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    stored(project, "one", 1.0)
    soup = make_record(project, "soup", config="seed: 1\n", environment={"averaged": ["one"]})
    # What stands for the weights of both is no file of tensors.
    found = soups.compared(project, soup)
    assert found.verdict == "not compared" and "arch.weights" in found.why
    (project.model_dir("digits", "one") / "weights.safetensors").unlink()
    assert soups.compared(project, soup).why == "the weights of one are gone"
