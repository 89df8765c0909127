"""The page on data: every command on it runs, in a folder with the files it speaks of."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = ["arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "mode.nested=false"]
SMALL = ["preprocessing.size=32", "split.folds=2"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page describes it."""
    rng = np.random.default_rng(0)
    names = []
    for kind, least in (("cat", 0), ("dog", 128)):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(least, least + 128, (40, 48, 3), np.uint8)
            name = f"pets/{kind}/{index:03d}.jpg"
            Image.fromarray(pixels).save(tmp_path / name)
            names.append((name, kind))
    shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "pets")
    lines = [f"{name},{kind},train,{kind}{index // 2},1" for index, (name, kind) in enumerate(names)]
    write = {
        "labels.csv": ["path,label,split,group,weight", *lines],
        "tags.csv": ["path,furry,brown", *(f"{name},{i % 2},{i // 2 % 2}" for i, (name, _) in enumerate(names))],
        "words.csv": ["path,labels", *(f"{name},{['a b', 'b', 'a', ''][i % 4]}" for i, (name, _) in enumerate(names))],
        "ages.csv": ["path,age", *(f"{name},{i * 1.5}" for i, (name, _) in enumerate(names))],
    }
    for name, rows in write.items():
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    images, targets = rng.integers(0, 256, (20, 24, 24), np.uint8), np.arange(20) % 2
    np.savez(tmp_path / "scans.npz", images=images, targets=targets)
    np.save(tmp_path / "scans.npy", images)
    np.save(tmp_path / "classes.npy", targets)
    (tmp_path / "my_tasks.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    # The program adds the current folder for good; another test's folder must not stay.
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 12 and all(shlex.split(command)[1] in ("train", "pp") for command in COMMANDS)


@pytest.mark.program
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(files: Path, command: str) -> None:
    if "elpv" in command:
        pytest.importorskip("elpv_dataset")
    _, mode, *arguments = shlex.split(command)
    if "task.group" in command:
        for image in list((files / "pets").rglob("*.jpg")):
            image.rename(image.with_name(f"{image.parent.name}{'abc'[int(image.stem) // 2]}_{image.name}"))
    given = [text.partition("=")[0] for text in arguments]
    extra = [text for text in SMALL if text.partition("=")[0] not in given and "preprocessing=size128" not in arguments]
    assert main([mode, *arguments, *extra, *(QUICK if mode == "train" else [])]) == 0
