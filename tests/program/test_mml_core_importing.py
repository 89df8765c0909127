"""A project of mml-core comes over: tasks with their folds, records, predictions, and weights that predict the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.cli import main
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests.mml_core_project import FOLDS, NAMES, label, written


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return written(tmp_path / "theirs", tmp_path / "data")


def upgrade(tmp_path: Path, source: Path, *more: str) -> int:
    folders = [f"out_dir={tmp_path / 'results'}", f"data_dir={tmp_path / 'own'}"]
    return main(["upgrade", f"mode.source={source}", f"mode.source_data={tmp_path / 'data'}", *more, *folders])


def test_records_predictions_and_weights_come_over(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Models name their files below the project's old name.
    renamed = foreign.with_name("renamed")
    foreign.rename(renamed)
    assert upgrade(tmp_path, renamed) == 0
    assert "left: runs (logs of runs)" in capsys.readouterr().out
    project = Project(tmp_path / "results" / "default")
    found = records.load_all(project)
    assert [one.fold for one in found] == [0, 1, 2]
    assert len({one.recipe for one in found}) == 1
    first = found[0]
    assert (first.nested, first.epochs, first.best_epoch, first.timings) == (True, 2, 1, {"seconds": 12.5})
    assert first.scores["val"]["loss"] == 0.6
    assert "accuracy" in first.scores["test"]
    path = project.predictions_file(first.pivot, first.id)
    held = predictions.load(path, first.task, "test")
    assert held.sample_ids == [f"training_data/{name}.png" for name in NAMES["train"][0::FOLDS]]
    assert held.targets.tolist() == [label(name) for name in NAMES["train"][0::FOLDS]]
    # Fold 0 of the outer task is no validation of a nested model.
    assert set(predictions.contents(path)) == {
        (first.task, "test"), (first.task, "val"), (first.pivot, "test"), (first.pivot, "unlabelled"),
    }  # fmt: skip

    folders = [f"out_dir={tmp_path / 'results'}", f"data_dir={tmp_path / 'own'}"]
    assert main(["post", *folders]) == 0
    # Predicted anew with the weights that came over: what the other program stored, in half precision.
    assert main(["predict", "sys.threads=1", *folders]) == 0
    again = predictions.load(path, first.task, "test")
    assert again.sample_ids == held.sample_ids
    np.testing.assert_allclose(again.logits, held.logits, rtol=0, atol=2e-3 * np.abs(held.logits).max())


def test_it_goes_on_and_takes_nothing_twice(foreign: Path, tmp_path: Path) -> None:
    assert upgrade(tmp_path, foreign) == 0
    assert upgrade(tmp_path, foreign) == 0
    assert len(records.load_all(Project(tmp_path / "results" / "default"))) == FOLDS


def test_nothing_of_a_checkpoint_is_run(foreign: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(marker)!r}, 'w').close()",))

    path = foreign / "PARAMETERS" / "pets+nested?0" / "model_0001.pth"
    stored = torch.load(path, weights_only=False)
    torch.save({**stored, "evil": Evil()}, path)
    assert upgrade(tmp_path, foreign) == 0
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_what_cannot_be_read_is_left_and_named(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def torn(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:50])

    torn(foreign / "PARAMETERS" / "pets+nested?0" / "model_0001.pth")
    torn(foreign / "PREDICTIONS" / "pets+nested?1" / "p_0001.pt")
    torn(foreign / "MODELS" / "pets+nested?2" / "model_storage_0001.json")
    assert upgrade(tmp_path, foreign) == 0
    told = capsys.readouterr().out
    assert "left: MODELS/pets+nested?2/model_storage_0001.json" in told
    assert "p_0001.pt was left" in told
    found = records.load_all(Project(tmp_path / "results" / "default"))
    assert [one.weights is None for one in found] == [True, False]
    assert any("its weights were left" in note for note in found[0].notes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda source: shutil.rmtree(source / "MODELS"), "mode.source: is no project folder of mml-core"),
        (lambda source: shutil.rmtree(source.parents[1] / "data" / "RAW"), "mode.source_data: holds no folder RAW"),
        (
            lambda source: (source.parents[1] / "data/RAW/DSET_pets/TASK_pets.json").unlink(),
            "mode.source_data: tasks pets are not described",
        ),
    ],
)
def test_folders_that_are_none_are_refused(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, sentence: str
) -> None:
    change(foreign)
    assert upgrade(tmp_path, foreign) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_keys_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [f"out_dir={tmp_path / 'results'}", f"data_dir={tmp_path / 'own'}"]
    assert main(["upgrade", f"mode.source_data={tmp_path}", *folders]) == 2
    assert "mode.source_data: goes with mode.source" in capsys.readouterr().err
    assert main(["downgrade", f"mode.source={tmp_path}", *folders]) == 2
    assert "only mml upgrade takes projects over" in capsys.readouterr().err
    assert main(["upgrade", *folders]) == 2
    assert "mode.version: is missing" in capsys.readouterr().err
