"""The page on students: its commands run one after another, and what the student learned from is looked up."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlpipe.cli import main
from mlpipe.reports.progress import Display
from mlpipe.running import launch
from mlpipe.running.steps import RunContext
from mlpipe.runs import ensembles, records
from mlpipe.runs.project import Project

PAGE = (Path(__file__).parents[2] / "docs" / "distill.md").read_text("utf-8")


@pytest.mark.program
def test_the_commands(tmp_path: Path, few_digits: None, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line)[1:] for line in re.findall(r"^mml .*$", PAGE, re.MULTILINE)]
    assert [mode for mode, *_ in commands] == ["train", "distill", "post", "export"]
    assert main([*commands[0], "sys.threads=1"]) == 0
    project = Project(tmp_path / "results" / "default")
    (teacher,) = ensembles.load_all(project, "digits")
    _what_is_taught(project, teacher.id, commands[1][1:])
    assert main([*commands[1], "sys.threads=1"]) == 0
    assert f" and {teacher.id} on 120 test rows that both predicted:" in capsys.readouterr().out
    students = [one for one in records.load_all(project, "digits") if teacher.id in " ".join(one.notes)]
    taught, *others = {one.recipe for one in students}
    assert len(students) == 2 and not others
    assert taught not in {one.recipe for one in records.load_all(project, "digits") if one not in students}
    assert "temperature 1, 0.1 of the loss of the true targets): its predictions of 240 images" in " ".join(
        students[0].notes
    )
    # The student's own ensemble is the newest one now, but no teacher.
    assert ensembles.load_all(project, "digits")[-1].id != teacher.id
    _what_is_taught(project, teacher.id, commands[1][1:])
    assert main(commands[2]) == 0 and main(commands[3]) == 0
    assert list((project.root / "reports" / "exports").glob("*.zip"))


def _what_is_taught(project: Project, teacher: str, words: list[str]) -> None:
    """Each image has the out-of-fold row of the stored table, test images have none; the teacher is kept by its id."""
    config = launch.prepare(launch.Command("distill", words)).run_config
    scheduler = config.scheduler.build(config, RunContext(project, Display()))
    scheduler.plan()
    assert scheduler.run_config.tree["mode"]["ensemble"] == teacher
    table = pq.read_table(project.ensembles_dir("digits") / f"{teacher}.parquet").to_pylist()
    stored = {row["sample_id"]: row["calibrated"] for row in table if row["split"] == "val"}
    ids, given = scheduler.looked_at.samples.ids, scheduler.request.teaching.outputs
    assert len(stored) == 480 and set(stored) < set(ids)
    for name, values in zip(ids, given, strict=True):
        np.testing.assert_array_equal(values, np.array(stored.get(name, [np.nan] * 10), np.float32))
