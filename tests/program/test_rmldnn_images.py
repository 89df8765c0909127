"""rmldnn's auto-encoders from the command line: training, its lines and outputs, evaluation and inference of the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from tests.data.samples import make_masks


def conv(name: str, filters: int, activation: str, **more: Any) -> dict[str, Any]:
    shared = {"name": name, "filters": filters, "kernel_size": [3, 3], "padding": "same", "activation": activation}
    return {"class_name": "Conv2D", "config": shared | more}


LAYERS = [conv("c1", 12, "relu", batch_input_shape=[None, 24, 28, 1]), conv("c2", 6, "relu"), conv("out", 1, "sigmoid")]
SIZE = {"transforms": [{"resize": [28, 24]}]}
OWN = {"grayscale": True, "target_type": "images", "test_target_path": "test"}


def write(path: str, loss: dict[str, Any] | None, data: Any, **sections: Any) -> str:
    common = {"input_type": "images", "test_input_path": "test", "batch_size": 8, "test_batch_size": 20}
    whole = {"layers": LAYERS, "data": common | data, **({"loss": loss} if loss else {}), **sections}
    Path(path).write_text(json.dumps({"neural_network": whole}))
    return path


def test_an_auto_encoder_from_training_to_inference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_masks(tmp_path / "all", 100)
    for place, file in enumerate(sorted((tmp_path / "all/images").iterdir())):
        folder = tmp_path / ("train" if place < 80 else "test")
        folder.mkdir(exist_ok=True)
        file.rename(folder / file.name)
    adam, bce = {"type": "Adam", "learning_rate": 0.01}, {"function": "BCE"}
    data = {**OWN, **SIZE, "input_path": "train", "target_path": "train", "test_output_path": "out"}
    write("c.json", bce, data, num_epochs=4, outfile="log.txt", optimizer=adam, checkpoints={"save": "ck"})
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 0
    decibels = [float(found) for found in re.findall(r"Accuracy: (\S+)", capsys.readouterr().out)]
    # The mean of all images as the answer to each has 11 dB.
    assert len(decibels) == 4 and decibels[-1] >= 14
    files = sorted(path.name for path in (tmp_path / "test").iterdir())
    with h5py.File("out/output_4.h5") as found:
        assert sorted(found) == files and found[files[0]].shape == (1, 24, 28)
        said = np.stack([found[name][0] for name in files])
    pictures = [Image.open(tmp_path / "test" / name).resize((28, 24), Image.Resampling.BILINEAR) for name in files]
    error = ((said - np.stack([np.asarray(one) / 255 for one in pictures])) ** 2).mean()
    assert -10 * np.log10(error) == pytest.approx(decibels[-1], abs=0.5)

    load = {"load": "ck/model_checkpoint_4.pt"}
    write("t.json", bce, {**OWN, **SIZE}, outfile="again.txt", checkpoints=load)
    assert main(["train", "recipe=t.json", "sys.threads=1"]) == 0
    assert float(Path("again_test.txt").read_text().split()[-1]) == pytest.approx(decibels[-1], abs=2e-2)
    only = {"grayscale": True, **SIZE, "test_output_path": "only"}
    write("i.json", None, only, checkpoints=load)
    assert main(["train", "recipe=i.json", "sys.threads=1"]) == 0
    with h5py.File("only/output_1.h5") as found:
        assert np.abs(np.stack([found[name][0] for name in files]) - said).max() < 0.02


def test_patches_are_painted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_masks(tmp_path / "all", 40)
    (tmp_path / "all/images").rename(tmp_path / "test")
    patches = {"transforms": [*SIZE["transforms"], {"random_patches": {"number": 2, "size": 5}}]}
    data = {**OWN, **patches, "input_path": "test", "target_path": "test"}
    write("c.json", {"function": "MSE"}, data, num_epochs=3, optimizer={"type": "Adam", "learning_rate": 0.01})
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 0
    losses = [float(found) for found in re.findall(r"\(Loss: (\S+)\)", capsys.readouterr().out)]
    # Patches are a tenth of an image: nothing in them would cost what the whole of it does.
    assert len(losses) == 3 and losses[-1] < losses[0] and losses[-1] < 0.1


def test_targets_are_resized_to_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_masks(tmp_path / "all", 40)
    (tmp_path / "all/images").rename(tmp_path / "test")
    pool = {"class_name": "AveragePooling2D", "config": {"name": "pool", "pool_size": [2, 2]}}
    layers = [LAYERS[0], pool, conv("c2", 6, "relu"), conv("out", 1, "linear")]
    flip = {"random_horizontal_flip": 0.5}
    sizes = {"input_transforms": [flip, {"resize": [28, 24]}], "target_transforms": [flip, {"resize": [14, 12]}]}
    data = {**OWN, **sizes, "input_path": "test", "target_path": "test", "test_output_path": "out"}
    adam = {"type": "Adam", "learning_rate": 0.01}
    write("c.json", {"function": "MSE"}, data, num_epochs=3, optimizer=adam, layers=layers, outfile="log.txt",
          checkpoints={"save": "ck"})  # fmt: skip
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 0
    decibels = [float(found) for found in re.findall(r"Accuracy: (\S+)", capsys.readouterr().out)]
    with h5py.File("out/output_3.h5") as found:
        names = sorted(found)
        said = np.stack([found[name][0] for name in names])
    assert said.shape == (40, 12, 14) and len(decibels) == 3
    truth = np.stack([cv2.resize(cv2.imread(str(tmp_path / "test" / name), 0), (14, 12)) for name in names]) / 255
    assert -10 * np.log10(((said - truth) ** 2).mean()) == pytest.approx(decibels[-1], abs=0.05)
    given = {key: value for key, value in data.items() if key not in ("input_path", "target_path", "test_output_path")}
    load = {"load": "ck/model_checkpoint_3.pt"}
    write("t.json", {"function": "MSE"}, given, outfile="again.txt", checkpoints=load, layers=layers)
    assert main(["train", "recipe=t.json", "sys.threads=1"]) == 0
    assert float(Path("again_test.txt").read_text().split()[-1]) == pytest.approx(decibels[-1], abs=2e-2)
    alone = {"grayscale": True, "input_transforms": [{"resize": [28, 24]}], "test_output_path": "only"}
    write("i.json", None, alone, checkpoints=load, layers=layers)
    assert main(["train", "recipe=i.json", "sys.threads=1"]) == 0
    with h5py.File("only/output_1.h5") as found:
        assert np.abs(np.stack([found[name][0] for name in names]) - said).max() < 0.02
