"""The wheel holds everything: built, installed into a fresh environment, used from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(TOP)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return next(folder.glob("mlpipe-*.whl"))


def test_wheel_holds_the_configuration_and_the_embedded_images(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {"conf": "*.yaml", "docs": "*.md"}
    files = [file for folder, pattern in folders.items() for file in (TOP / folder).rglob(pattern)]
    wanted = {f"mlpipe/{file.relative_to(TOP).as_posix()}" for file in files}
    assert wanted <= set(names)
    assert {"mlpipe/data/embedded/fashion_mini.npz", "mlpipe/data/embedded/NOTICE", "mlpipe/py.typed"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "conf/", "docs/"))]


@pytest.mark.timeout(900)
def test_train_from_an_empty_folder_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    uv = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(fresh / "bin" / "python"),
    ]
    subprocess.run([*uv, "-r", str(TOP / "requirements" / "base.txt"), str(wheel)], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MML_", "PYTHON"))}
    command = [str(fresh / "bin" / "mml"), "train", "task=digits", "mode.cv=false", "trainer.max_epochs=1"]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(entry.name for entry in empty.iterdir()) == ["mlpipe_data", "results"]
    records = list((empty / "results" / "default" / "tasks" / "digits" / "models").glob("*/record.json"))
    assert len(records) == 1
