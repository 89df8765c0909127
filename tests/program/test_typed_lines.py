"""What people type from the habits of other programs, and slips: each is answered by the line to type, or just works."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mlpipe.cli import main

pytestmark = pytest.mark.program
FILE = Path(__file__).with_name("typed_lines.txt")
LINES = [tuple(line.split(" => ")) for line in FILE.read_text("utf-8").splitlines() if line and line[0] != "#"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of classes, one of new images, a table, a created task and the folders of two projects."""
    root = tmp_path_factory.mktemp("typed")
    for number in range(24):
        name = f"{('circle', 'square', 'triangle')[number % 3]}/{number:02}.png"
        for folder in ("shapes", "pictures"):
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), (number * 9 + len(folder)) % 256).save(path)
        new = root / "new_images" / f"{number}.png"
        new.parent.mkdir(exist_ok=True)
        shutil.copy(path, new)
    rows = [
        f"shapes/circle/{number:02}.png,{'ill' if number % 2 else 'healthy'},P{number}" for number in range(0, 24, 3)
    ]
    (root / "cohort.csv").write_text("\n".join(["image,diagnosis,patient", *rows]), "utf-8")
    for project in ("clinic", "deadline"):
        (root / "results" / project / "runs").mkdir(parents=True)
    task = ["task=folder", f"task.root={root / 'pictures'}", "task.name=pictures"]
    places = [f"data_dir={root / 'mlpipe_data'}", f"out_dir={tmp_path_factory.mktemp('elsewhere')}"]
    assert main(["create", *task, *places]) == 0
    return root


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which a line is typed."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MML_RESULTS_PATH", "results")
    monkeypatch.setenv("MML_DATA_PATH", "mlpipe_data")
    return folder


@pytest.mark.parametrize(("line", "answer"), LINES, ids=[line for line, _ in LINES])
def test_a_typed_line_is_answered_by_the_line_to_type(
    line: str, answer: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = shlex.split(line)
    runs = answer.startswith("read as") or "the only task" in answer
    code = main([*words, *(["--dry-run"] if runs else [])])
    shown = capsys.readouterr()
    said = shown.out + shown.err
    assert answer in said
    assert code == (0 if runs else 2), said
    assert "Traceback" not in said
    if not runs:
        # One sentence for the slip, and at most one more that it brings with it.
        assert len(shown.err.splitlines()) <= 2, shown.err
        assert sorted(path.name for path in (here / "results").iterdir()) == ["clinic", "deadline"]
