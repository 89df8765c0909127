"""A student whose training was interrupted goes on with its teacher, to the weights of one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.cli import main
from mlpipe.errors import Interrupted
from mlpipe.learn.callbacks import keeper
from mlpipe.learn.callbacks.guard import Guard
from mlpipe.runs import ensembles, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

SMALL = [
    "task=digits", "split.folds=2", "split.test_fraction=0.8", "arch=test_resnet", "arch.pretrained=false",
    "preprocessing.size=16", "sys.threads=1", "mode.nested=false",
]  # fmt: skip
STUDENT = [*SMALL, "trainer.max_epochs=3", "arch.drop_rate=0.2", "mode.temperature=2"]


def students(project: Project, teacher: str) -> list[ModelRecord]:
    return [one for one in records.load_all(project) if teacher in " ".join(one.notes)]


@pytest.mark.program
def test_an_interrupted_student_goes_on_with_its_teacher_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, "trainer.max_epochs=1"]) == 0
    project = Project(tmp_path / "results" / "default")
    (teacher,) = ensembles.load_all(project, "digits")
    monkeypatch.setattr(keeper, "_SAVING_SHARE", 0)
    real = Guard.on_train_epoch_start

    def stops(self: Guard, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 2:
            raise Interrupted("stopped")
        real(self, trainer, module)

    monkeypatch.setattr(Guard, "on_train_epoch_start", stops)
    assert main(["distill", *STUDENT]) == 75
    assert not students(project, teacher.id)
    monkeypatch.setattr(Guard, "on_train_epoch_start", real)
    # What is made meanwhile is no teacher of a run that has one.
    assert main(["post", "mode.calibrator=temperature"]) == 0
    assert ensembles.load_all(project, "digits")[-1].id != teacher.id
    capsys.readouterr()
    assert main(["distill", "continue=latest"]) == 0
    assert f"the teacher {teacher.id} predicts" in capsys.readouterr().out
    went_on = students(project, teacher.id)
    assert main(["distill", *STUDENT, f"mode.ensemble={teacher.id}"]) == 0
    whole = [one for one in students(project, teacher.id) if one not in went_on]
    assert [one.fold for one in went_on] == [one.fold for one in whole] == [0, 1]
    assert [one.weights for one in went_on] == [one.weights for one in whole]
    assert any("resumed: timings are of the last part" in one.notes for one in went_on)
