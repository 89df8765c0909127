"""`mml info mode.compare=[A,B]`: what names mean, which rows count, the tests against a closed form, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mlpipe import files
from mlpipe.cli import main
from mlpipe.post import comparison
from mlpipe.post.measures import class_metrics
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from tests.program.test_post import make_project, make_task, post


def info(folder: Path, *arguments: str) -> int:
    return main(["info", "task=made", f"out_dir={folder}", f"data_dir={folder / 'data'}", *arguments])


def asked(folder: Path, pair: str, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert info(folder, f"mode.compare={pair}", "mode.subroutines=[compare]", "--json") == 0
    return json.loads(capsys.readouterr().out)["compare"]


def test_recipes_records_and_ensembles_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data"), {"one": 4.0, "two": 0.5})
    assert post(tmp_path) == 0
    (mixed,) = ensembles.load_all(project, "made")
    found = asked(tmp_path, f"[latest,{mixed.id}]", capsys)
    assert found["first"] == found["second"] == mixed.id
    assert [one["difference"] for one in found["tests"]] == [0, 0, 0]
    found = asked(tmp_path, "[one,two-1]", capsys)
    assert (found["first"], found["second"], found["split"], found["rows"]) == ("one net", "two-1", "test", 300)
    by_number = asked(tmp_path, "[1,5]", capsys)
    assert (by_number["first"], by_number["second"]) == ("one-0", "two-1")


def test_the_differences_are_those_of_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data"), {"one": 4.0, "two": 0.5})
    found = {one["test"]: one for one in asked(tmp_path, "[one-0,two-0]", capsys)["tests"]}
    one, two = (
        predictions.load(project.predictions_file("made", f"{name}-0"), "made", "test") for name in ("one", "two")
    )
    right = [rows.logits.argmax(axis=1) == rows.targets for rows in (one, two)]
    b, c = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    mcnemar = found["McNemar, exact"]
    assert mcnemar["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
    nll = class_metrics.nll(one.logits, one.targets) - class_metrics.nll(two.logits, two.targets)
    assert found["paired bootstrap"]["difference"] == pytest.approx(nll)
    assert found["paired bootstrap"]["low"] < nll < found["paired bootstrap"]["high"]


def test_two_recipes_over_their_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data"), {"one": 4.0, "two": 0.5})
    for name, lr in (("one", 0.1), ("two", 0.2)):
        for fold in range(3):
            stored = f"seed: 1\nout_dir: {name}\noptimizer:\n  lr: {lr}\n"
            files.write_text(project.model_dir("made", f"{name}-{fold}") / "config.yaml", stored)
    found = asked(tmp_path, "[one,two]", capsys)
    assert found["differs"] == {"optimizer.lr": ["0.1", "0.2"]}
    assert info(tmp_path, "mode.compare=[one,two]", "mode.subroutines=[compare]") == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("what their configurations differ in:")
    assert [line.split() for line in lines[place + 1 : place + 4 : 2]] == [
        ["key", "one", "net", "two", "net"], ["optimizer.lr", "0.1", "0.2"],
    ]  # fmt: skip
    *_, told = found["tests"]
    assert told["test"] == "corrected resampled t"
    off = []
    for fold in range(3):
        both = [
            predictions.load(project.predictions_file("made", f"{name}-{fold}"), "made", "val")
            for name in ("one", "two")
        ]
        first, second = (class_metrics.accuracy(rows.logits, rows.targets) for rows in both)
        off.append(first - second)
    assert told["difference"] == pytest.approx(np.mean(off))
    # 400 rows learned, 200 held out: Nadeau and Bengio's t has 1/k + 1/2 where the plain one has 1/k.
    t = np.mean(off) / np.sqrt(np.var(off, ddof=1) * (1 / 3 + 1 / 2))
    assert told["p"] == pytest.approx(2 * stats.t.sf(abs(t), 2))


def test_rows_that_chose_are_no_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With select_on=test the test rows chose, and recipes without test rows have held-out ones only."""
    project = make_project(tmp_path, make_task(tmp_path / "data"), {"one": 4.0, "two": 0.5})
    assert post(tmp_path, "mode.select_on=test") == 0
    assert info(tmp_path, "mode.compare=[one,latst]", "mode.subroutines=[compare]") == 2
    assert "got 'latst'; did you mean 'latest'?" in capsys.readouterr().err
    assert info(tmp_path, "mode.compare=[latest,one]", "mode.subroutines=[compare]") == 2
    assert "have no predictions of the same rows with a target" in capsys.readouterr().err
    for record in records.load_all(project, "made"):
        path = project.predictions_file("made", record.id)
        val = predictions.load(path, "made", "val")
        path.unlink()
        with predictions.writer(path, (), "classification") as sink:
            sink.add("made", "val", record.fold, val.sample_ids, val.targets, val.logits)
    found = asked(tmp_path, "[one,two]", capsys)
    assert (found["split"], found["rows"]) == ("held-out", 600)


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        ("[one]", "mode.compare: must name two models"),
        ("[one,tow]", "did you mean 'two'?"),
        ("[net,one]", "mode.compare: several recipes have that name or network"),
        ("[one,latest]", "mode.compare: there is no such record of made, got 'latest'"),
    ],
)
def test_what_means_nothing(tmp_path: Path, pair: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path, make_task(tmp_path / "data"), {"one": 4.0, "two": 0.5})
    assert info(tmp_path, f"mode.compare={pair}") == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and not shown.out


def test_groups_are_drawn_together(tmp_path: Path) -> None:
    of = make_task(tmp_path / "data")
    project: Project = make_project(tmp_path, of, {"one": 4.0, "two": 0.5})
    one, two = (comparison.contender(project, "made", name) for name in ("one-0", "two-0"))
    alone = comparison.compared(one, two, None)
    pairs = {name: name[:-1] for name in of.samples.ids}
    together = comparison.compared(one, two, pairs)
    # The 300 rows are 30 groups.
    assert [found.test for found in together.found] == ["paired, few rows"] * len(together.found)
    assert together.found[1].difference == alone.found[1].difference
    assert together.found[1].low != alone.found[1].low
