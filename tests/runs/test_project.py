"""A project's paths, and its lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlpipe.runs.project import Project

TOP = Path(__file__).parents[2]


def test_the_folder_of_a_variant_is_one_that_every_file_system_takes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    names = ["digits", "digits+subset?0.1", "digits+bring?a:b", "digits+bring?a=b", "digits+remove?a/b c", "x+y-1"]
    folders = [project.model_dir(name, "r").parent.parent.name for name in names]
    assert folders == [
        "digits", "digits+subset=0.1", "digits+bring=a~b", "digits+bring=a%3Db", "digits+remove=a%2Fb c", "x+y-1",
    ]  # fmt: skip


def test_every_path_lies_in_the_project(tmp_path: Path) -> None:
    project = Project(tmp_path / "proj")
    assert project.name == "proj"
    relative = {
        "runs/2020-01-02/03-04-05-abcd": project.run_dir("2020-01-02/03-04-05-abcd"),
        "tasks/t/models/m": project.model_dir("t", "m"),
        "tasks/t/predictions/m.parquet": project.predictions_file("t", "m"),
        "tasks/t/calibrations/m.json": project.calibration_file("t", "m"),
        "tasks/t/ensembles": project.ensembles_dir("t"),
        "studies": project.studies_dir(),
        "reports": project.reports_dir(),
        "reports/plots": project.plots_dir(),
    }
    assert {path.relative_to(project.root).as_posix() for path in relative.values()} == set(relative)
    assert all(path.relative_to(project.root).as_posix() == wanted for wanted, path in relative.items())
    assert not project.root.exists()


COUNTS = """
import sys, time
from pathlib import Path
from mlpipe.runs.project import Project
file = Path(sys.argv[1]) / "count"
for _ in range(40):
    with Project(Path(sys.argv[1])).locked():
        count = int(file.read_text()) if file.exists() else 0
        time.sleep(0.001)
        file.write_text(str(count + 1))
"""


def test_only_one_process_holds_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNTS, str(tmp_path / "proj")]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "proj" / "count").read_text() == "80"


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    project = Project(tmp_path / "proj")
    for _ in range(2):
        try:
            with project.locked():
                raise ValueError
        except ValueError:
            pass
