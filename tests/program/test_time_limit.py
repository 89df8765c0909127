"""Time limits of plain trainings, searches and sweeps: planned anew, stored, gone on with, refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.running.folds.fold_training import FoldTraining
from mlpipe.running.folds.time_shares import Stopwatch, Tempo, TimeShares
from mlpipe.running.steps import Deadline
from mlpipe.runs import journal, records
from mlpipe.runs.project import Project

TRAIN = [
    "train", "mode.subroutines=[train]", "task=digits+subset?0.2", "arch=test_resnet", "arch.pretrained=false", "sys.threads=1",
]  # fmt: skip
FOLDS = ["preprocessing.size=16", "split.folds=2", "mode.nested=false", "trainer.max_epochs=6"]


def project(folder: Path) -> Project:
    return Project(folder / "results" / "default")


def with_pace(monkeypatch: pytest.MonkeyPatch, seconds: float, left: float) -> None:
    """Epochs seem to take so long, whatever they do, and so many seconds are left for all folds."""
    tempo = Tempo(begin=0.0, learn=seconds, image=0.0, batches=5)

    def tick(self: Stopwatch, tick: object) -> None:
        if not self._is_known:
            self._is_known = True
            self._tempo_listener(tempo, tick.epochs)  # type: ignore[attr-defined]

    monkeypatch.setattr(Stopwatch, "tick", tick)
    monkeypatch.setattr(Stopwatch, "tempo", lambda self: tempo)
    monkeypatch.setattr(TimeShares, "_remaining_seconds", lambda self: left)
    monkeypatch.setattr(TimeShares, "_training_count", lambda self, *given: self._folds)


def test_a_training_is_planned_by_its_first_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_pace(monkeypatch, 10.0, 69.0)
    assert main([*TRAIN, *FOLDS, "time_limit=5m", "mode.subroutines=[train,test]"]) == 0
    assert "an epoch takes about 10 s, 67 s are left for 2 folds: 3 of 6 epochs" in capsys.readouterr().out
    # The first fold has half of the time; all of it is left for the second, which has as many epochs all the same.
    found = records.load_all(project(tmp_path))
    assert [record.epochs for record in found] == [3, 3] and all(record.scores["test"] for record in found)
    run = project(tmp_path).run_dir(found[0].run)
    stored = [json.loads((run / "time_limit" / f"{place}.json").read_text()) for place in (0, 1)]
    assert [one["epochs"] for one in stored] == [3, 3] and stored[0]["took"] > 0
    assert not list((run / "checkpoints").glob("*"))
    # A training without a limit is another recipe.
    assert main([*TRAIN, *FOLDS, "trainer.max_epochs=1"]) == 0
    assert len({record.recipe for record in records.load_all(project(tmp_path))}) == 2


def test_a_stopped_training_goes_on_with_what_it_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_pace(monkeypatch, 10.0, 45.0)
    learned = TimeShares.learned

    def stopping(self: TimeShares, run: journal.Run, place: int, watch: Stopwatch) -> None:
        learned(self, run, place, watch)
        self._context.stop.asked = True

    monkeypatch.setattr(TimeShares, "learned", stopping)
    assert main([*TRAIN, *FOLDS, "time_limit=5m"]) == 75
    monkeypatch.setattr(TimeShares, "learned", learned)
    monkeypatch.setattr(TimeShares, "_remaining_seconds", lambda self: 500.0)
    assert main(["train", "continue=latest"]) == 0
    assert [record.epochs for record in records.load_all(project(tmp_path))] == [2, 2]


def test_stages_and_batches_where_not_one_epoch_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_pace(monkeypatch, 100.0, 130.0)
    stages = "stages.list=[{epochs: 2, freeze: backbone}, {epochs: 4}]"
    assert main([*TRAIN, *FOLDS, "time_limit=5m", stages]) == 0
    told = capsys.readouterr().out
    assert "3 of 5 batches of one epoch; a whole epoch of 2 folds takes time_limit=" in told
    assert [record.epochs for record in records.load_all(project(tmp_path))] == [2, 2]


def test_a_model_of_all_has_twice_the_time_of_a_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_pace(monkeypatch, 10.0, 95.0)
    monkeypatch.setattr(TimeShares, "_training_count", lambda self, *given: self._folds + 1)
    assert main([*TRAIN, *FOLDS, "time_limit=5m", "mode.refit=true"]) == 0
    # Epochs of 10, 10 and 20 s: two of each.
    found = records.load_all(project(tmp_path))
    assert [(record.fold, record.epochs) for record in found[:2]] == [(0, 2), (1, 2)]
    assert found[2].refit == [record.id for record in found[:2]] and 1 <= found[2].epochs <= 2
    stored = project(tmp_path).run_dir(found[0].run) / "time_limit"
    seconds = [json.loads((stored / f"{place}.json").read_text())["seconds"] for place in range(3)]
    assert seconds == pytest.approx([94 / 4, 94.5 / 3, 94.5], abs=2.0)


def test_a_head_before_the_first_epoch_is_planned_beside_the_epochs(tmp_path: Path) -> None:
    words = [*TRAIN, *FOLDS, "trainer.max_epochs=2", "stages=linear_then_finetune", "augmentations=none"]
    assert main([*words, "time_limit=3h"]) == 0
    found = records.load_all(project(tmp_path))
    assert [record.epochs for record in found] == [3, 3]
    stored = project(tmp_path).run_dir(found[0].run) / "time_limit"
    for place in range(2):
        share = json.loads((stored / f"{place}.json").read_text())
        assert share["epochs"] == 2 and share["tempo"]["learn"] > 0


def test_a_fold_without_time_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_pace(monkeypatch, 10.0, 65.0)
    monkeypatch.setattr(TimeShares, "_training_count", lambda self, *given: 1)
    assert (
        main([*TRAIN, *FOLDS, "time_limit=5m", "mode.subroutines=[train,predict,test]", "remove.parameters=true"]) == 0
    )
    assert "left out: the time is enough for 1 fold of 2" in capsys.readouterr().out
    (record,) = records.load_all(project(tmp_path))
    assert record.fold == 0 and record.epochs == 6


def test_folds_side_by_side_and_a_head_that_is_fitted_exactly(tmp_path: Path) -> None:
    words = [*TRAIN, *FOLDS, "time_limit=20m", "arch.freeze=true", "augmentations=none", "optimizer=linear"]
    assert main([*words, "sys.fold_workers=2"]) == 0
    assert len(records.load_all(project(tmp_path))) == 2


def test_a_search_ends_within_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = [*TRAIN, *FOLDS, "trainer.max_epochs=1", "hpo=optuna", "search_space=none", "hpo.trials=4"]
    search += ["optimizer.lr=0.001,0.01,0.1,0.2", "hpo.sampler=grid", "hpo.study=timed", "mode.folds=[0]"]
    # The second trial finds that the time is over within its training, the next command goes on with it.
    train, over = FoldTraining.train, Deadline.left
    count = 0

    def trained(self: FoldTraining, fold: int, run: journal.Run | None) -> None:
        nonlocal count
        count += 1
        if count == 2:
            monkeypatch.setattr(Deadline, "left", lambda self: -1.0)
        train(self, fold, run)

    monkeypatch.setattr(FoldTraining, "train", trained)
    assert main([*search, "time_limit=1h"]) == 0
    told = capsys.readouterr().out
    assert "the time is over: trial 1 is stopped; the same command goes on with it" in told
    # Nothing is begun that would take longer than what is left.
    monkeypatch.setattr(Deadline, "left", lambda self: 0.001)
    assert main([*search, "time_limit=1h"]) == 0
    assert "no further trial: 0 s are left, and one takes about" in capsys.readouterr().out
    monkeypatch.setattr(Deadline, "left", over)
    assert main([*search, "hpo.trials=2"]) == 0
    assert "trial 1 (2/2) goes on: " in capsys.readouterr().out
    assert len(records.load_all(project(tmp_path))) == 2


def test_a_search_without_time_for_one_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = [*TRAIN, *FOLDS, "hpo=optuna", "optimizer.lr=0.001,0.01", "hpo.sampler=grid", "mode.folds=[0]"]
    assert main([*search, "time_limit=1s"]) == 75
    assert "time_limit: no trial ended within 1 s" in capsys.readouterr().err


def test_jobs_of_a_sweep_share_the_time(tmp_path: Path) -> None:
    before = time.monotonic()
    assert main([*TRAIN, *FOLDS, "trainer.max_epochs=1", "mode.folds=[0]", "seed=1,2", "time_limit=1h", "-m"]) == 0
    taken = time.monotonic() - before
    limits = [
        float(
            next(
                line for line in (run.folder / "config.yaml").read_text().splitlines() if line.startswith("time_limit")
            ).split()[1]
        )
        for run in journal.all_runs(project(tmp_path))
    ]
    assert limits[0] == pytest.approx(1800, abs=taken) and limits[1] == pytest.approx(3600, abs=2 * taken)
    assert limits[1] > limits[0] and len(limits) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lr_find", "time_limit=5m"], "time_limit: is for what trains, got '5m'"),
        (["train", "time_limit=soon"], "time_limit: is no time, got 'soon'"),
        (["train", "time_limit=5m", "mode.subroutines=[predict]"], "time_limit: is for what trains"),
    ],
)
def test_what_is_refused(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err
