"""What a replay needs of the project: the predictions of a student's teacher, an ensemble or records."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.post import comparison
from mlpipe.reports.progress import Display
from mlpipe.running import launch, replay
from mlpipe.running.folds import time_shares
from mlpipe.running.steps import RunContext
from mlpipe.runs import predictions
from mlpipe.runs.project import Project
from tests.build import DIGITS, as_json, make_record, make_run


def test_a_teacher_of_records_is_brought_with_what_it_predicted(tmp_path: Path) -> None:
    stored, temporary = Project(tmp_path / "a/default"), Project(tmp_path / "b/default")
    for fold in range(2):
        record = make_record(stored, f"net-f{fold}", fold=fold, recipe="abcd1234", config="seed: 1\n")
        with predictions.writer(stored.predictions_file("digits", record.id), (), "classification") as sink:
            logits = np.random.default_rng(fold).normal(size=(4, 10)).astype(np.float32)
            sink.add("digits", "val", fold, [f"{fold}{place}" for place in range(4)], np.arange(4), logits)
    for teacher in ("abcd1234", "net-f1"):
        replay._bring_teacher(stored, temporary, "digits", teacher)
        ours, theirs = (comparison.contender(one, "digits", teacher) for one in (stored, temporary))
        assert ours.held_out is not None and theirs.held_out is not None
        assert ours.held_out.ids == theirs.held_out.ids
        np.testing.assert_array_equal(ours.held_out.calibrated, theirs.held_out.calibrated)
    # No weights are copied, and nothing is brought where there is no teacher.
    assert not list(temporary.root.rglob("*.safetensors"))
    replay._bring_teacher(stored, temporary, "digits", None)
    with pytest.raises(ProjectError, match="gone, its teacher, is not stored any more, so it cannot be replayed"):
        replay._bring_teacher(stored, temporary, "digits", "gone")


@pytest.mark.parametrize(
    ("scores", "views", "verdict"),
    [
        ({"val": 0.5, "test": 0.75}, "none", "differs"),
        ({"val": 0.5, "test": 0.75}, "flips", "ok"),
        ({"val": 0.25, "test": 0.25}, "flips", "differs"),
    ],
)
def test_test_scores_of_other_views_are_not_compared(
    scores: dict[str, float], views: str, verdict: str, tmp_path: Path
) -> None:
    """`mml test tta=flips` scores a stored model again; the replay of its training has the views of the training."""
    stored, temporary = Project(tmp_path / "a/p"), Project(tmp_path / "b/p")
    facts = {"config": "seed: 1\n", "weights": None}
    ours = {split: {"accuracy": value} for split, value in scores.items()}
    record = make_record(stored, "net", scores=ours, environment={"tta": views}, **facts)
    theirs = {"val": {"accuracy": 0.5}, "test": {"accuracy": 0.25}}
    make_record(temporary, "net", scores=theirs, environment={"tta": "none"}, **facts)
    found = {finding.what: finding.verdict for finding in replay.compared(stored, record, temporary)}
    assert found["replayed scores"] == verdict


def test_shares_of_time_are_those_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were measured again, so that a fold had another number of epochs, and its weights differed."""
    project = Project(tmp_path / "results" / "p")
    run = make_run(project, [*DIGITS, "time_limit=5m"])
    config = launch.prepare(launch.Command("verify", [f"out_dir={tmp_path / 'results'}", "proj=p"])).run_config
    assert replay._config(config, run, Project(tmp_path / "t" / "p"), [1]).tree["mode"]["folds"] == [1]
    files.write_json(run.folder / time_shares.FOLDER / "0.json", {"epochs": 1})
    again = replay._config(config, run, Project(tmp_path / "t" / "p"), [1])
    assert again.tree["mode"]["folds"] is None
    seen: list[Any] = []

    def build(config: Any, context: Any) -> Any:
        return SimpleNamespace(run=lambda copy: seen.append(as_json(copy.folder / time_shares.FOLDER / "0.json")))

    changed = SimpleNamespace(tree=again.tree, scheduler=SimpleNamespace(build=build))
    monkeypatch.setattr(replay, "_config", lambda *given: changed)
    context = RunContext(project, Display(io.StringIO()))
    with replay.replayed_run(config, context, run, [make_record(project, "net", config="seed: 1\n")]):
        pass
    assert seen == [{"epochs": 1}]
