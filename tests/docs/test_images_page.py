"""The page on images as targets: every command on it runs, on pictures and arrays made here."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from tests.data.samples import make_masks

PAGE = (Path(__file__).parents[2] / "docs" / "images.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = ["trainer.max_epochs=1", "sys.threads=1"]
SMALL = ["arch.encoder=resnet10t", "arch.pretrained=false", "preprocessing.size=32"]


@pytest.mark.program
def test_the_commands_of_the_page_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) == 10
    make_masks(tmp_path / "made", 24)
    (tmp_path / "made/images").rename(tmp_path / "photos")
    for folder, many in (("noisy", 24), ("clean", 24), ("new", 3), ("small", 24), ("large", 24)):
        (tmp_path / folder).mkdir()
        for file in sorted((tmp_path / "photos").iterdir())[:many]:
            pixels = np.asarray(Image.open(file))
            made = Image.fromarray(pixels if folder != "noisy" else pixels // 2 + 40)
            made = made.resize((14, 14)) if folder == "small" else made
            made.save(tmp_path / folder / file.name)
    drawn = np.random.default_rng(0)
    fields = {f"{number:02}": drawn.normal(size=(2, 8, 8)).astype(np.float32) for number in range(20)}
    np.savez(tmp_path / "fields.npz", **fields)  # type: ignore[arg-type]
    np.savez(tmp_path / "solutions.npz", **{name: one[:1] for name, one in fields.items()})  # type: ignore[arg-type]
    np.savez(tmp_path / "diffusivities.npz", **{name: np.exp(one[:1]) for name, one in fields.items()})  # type: ignore[arg-type]
    config = {"filters": 1, "kernel_size": 1, "batch_input_shape": [None, 8, 8, 2]}
    (tmp_path / "maps.json").write_text(json.dumps([{"class_name": "Conv2D", "config": config}]))
    config = {**config, "batch_input_shape": [None, 8, 8, 1]}
    (tmp_path / "solver.json").write_text(json.dumps([{"class_name": "Conv2D", "config": config}]))
    first = {"class_name": "Conv2D", "config": {**config, "batch_input_shape": [None, 14, 14, 1]}}
    twice = {"class_name": "UpSampling2D", "config": {"size": [2, 2]}}
    (tmp_path / "twice.json").write_text(json.dumps([first, twice]))
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        given = [one for one in arguments if not one.startswith("arch.encoder")]
        quick = [*QUICK, *([] if "arch=keras_json" in given else SMALL), "split.folds=2", "mode.nested=false"]
        assert main([mode, *given, *(quick if mode == "train" else [])]) == 0, command
        if mode == "predict":
            pictures = sorted((tmp_path / "results/default/reports/predictions").rglob("*.png"))
            assert [Image.open(file).size for file in pictures] == [(28, 28)] * 3
