"""rmldnn's slicers with targets from the command line: a training, its lines and its file, and the same network applied again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from tests.build import conv

SHAPE = (12, 16, 20)


def balls(seed: int, folder: Path, name: str) -> None:
    """A volume in HDF5 in which balls of two kinds are brighter and darker, and which kind is where."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(SHAPE, np.int64)
    for kind in (1, 2) * 3:
        far = sum((axis - rng.uniform(3, size - 3)) ** 2 for axis, size in zip(np.indices(SHAPE), SHAPE, strict=True))
        classes[far < 16] = kind
    volume = np.array([0.0, 3.0, -3.0])[classes] + rng.normal(0, 0.4, SHAPE)
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file["scan"] = volume[np.newaxis].astype(np.float32)
    with h5py.File(folder / f"{name}_classes.h5", "w") as file:
        file["classes"] = classes


def test_boxes_are_learned_and_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    balls(0, tmp_path, "train")
    balls(1, tmp_path, "test")
    data = {"type": "hdf5", "input_path": "train.h5", "target_path": "train_classes.h5", "test_input_path": "test.h5",
            "test_target_path": "test_classes.h5", "hdf5_outfile": "p.h5", "batch_size": 4, "test_batch_size": 4,
            "slicers": [{"name": "box", "sizes": [6, 8, 10], "padding": [1, 1, 1]}],
            "input_transforms": [{"normalize": {"std": 2}}], "target_transforms": []}  # fmt: skip
    first, last = ({"name": name, "kernel_size": [3, 3, 3], "padding": "same"} for name in ("one", "out"))
    layers = [{"class_name": "Conv3D", "config": {**first, "filters": 8, "activation": "relu",
                                                  "batch_input_shape": [None, 8, 10, 12, 1]}},
              {"class_name": "Conv3D", "config": {**last, "filters": 3, "activation": "softmax"}}]  # fmt: skip
    whole = {"layers": layers, "data": data, "loss": {"function": "Dice", "source": "softmax"}, "num_epochs": 12,
             "optimizer": {"type": "Adam", "learning_rate": 0.02}, "outfile": "log.txt"}  # fmt: skip
    Path("c.json").write_text(json.dumps({"neural_network": whole}))
    assert main(["train", "--config=c.json", "sys.threads=1", "proj=rm"]) == 0
    out = capsys.readouterr().out
    for line in (
        "Padding          : [(1,1)(1,1)(1,1)]",
        "Number of slices : 8",
        "Eval  Epoch [ 12/ 12] : Batch [    2/",
    ):
        assert line in out, line
    accuracy = float(re.findall(r"Accuracy: (\S+)", out)[-1])
    with h5py.File("p.h5") as file, h5py.File("test_classes.h5") as true:
        found, classes = file["box"][()], true["classes"][()]
    assert found.shape == (*SHAPE, 3) and np.allclose(found.sum(-1), 1, atol=1e-5)
    said = found.argmax(-1)
    dice = [2 * ((said == c) & (classes == c)).sum() / ((said == c).sum() + (classes == c).sum()) for c in range(3)]
    assert accuracy > 0.6 and accuracy == pytest.approx(np.mean(dice), abs=1e-3)
    assert len(Path("log_test.txt").read_text().splitlines()) == 12


def test_a_volume_from_training_to_the_same_network_applied_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    balls(0, tmp_path, "train")
    balls(1, tmp_path, "test")
    slicers = [{"name": "yz", "sizes": [1, 12, 16], "strides": [1, 6, 16], "padding": [0, 2, 2]}]
    test: dict[str, Any] = {"test_input_path": "test.h5", "test_target_path": "test_classes.h5", "hdf5_outfile": "p.h5"}
    data = {"type": "hdf5", "input_path": "train.h5", "target_path": "train_classes.h5", **test, "slicers": slicers,
            "batch_size": 6, "test_batch_size": 6,
            "input_transforms": [{"random_vertical_flip": 0.5}, {"normalize": {"std": 2}}],
            "target_transforms": [{"random_vertical_flip": 0.5}]}  # fmt: skip
    layers = [conv("c1", 8, batch_input_shape=[None, 16, 20, 1]), conv("out", 3, "log_softmax", 1)]
    whole = {"layers": layers, "data": data, "loss": {"function": "NLL"}, "optimizer": {"type": "Adam"},
             "num_epochs": 3, "outfile": "log.txt", "checkpoints": {"save": "ck", "interval": 3}}  # fmt: skip
    Path("c.json").write_text(json.dumps({"neural_network": whole}))
    assert main(["train", "--config=c.json", "sys.threads=1", "proj=rm"]) == 0
    out = capsys.readouterr().out
    for line in ("Slicing dataset 'scan' from HDF5 file: ", "Slice set yz", "Padding          : [(0,0)(2,2)(2,2)]",
                 "Number of slices : 48", "Number of training samples : 48",
                 "Eval  Epoch [  3/  3] : Batch [    8/"):  # fmt: skip
        assert line in out, line
    loss, accuracy = re.findall(r"Eval  Epoch .*Loss: (\S+)\) \| Accuracy: (\S+)", out)[-1]
    with h5py.File("p.h5") as file:
        trained = file["yz"][()]
    with h5py.File("test_classes.h5") as file:
        right = trained.argmax(-1) == file["classes"][()]
    assert trained.shape == (*SHAPE, 3) and right.mean() > 0.9 and float(accuracy) > 0.8
    given = {key: value for key, value in data.items() if key not in ("input_path", "target_path")}
    again = whole | {"data": given, "checkpoints": {"load": "ck/model_checkpoint_3.pt"}, "outfile": "again.txt"}
    Path("p.h5").unlink()
    Path("c2.json").write_text(json.dumps({"neural_network": again}))
    assert main(["train", "--config=c2.json", "sys.threads=1"]) == 0
    found = re.findall(r"Eval  Epoch .*Loss: (\S+)\) \| Accuracy: (\S+)", capsys.readouterr().out)[-1]
    assert float(found[0]) == pytest.approx(float(loss), abs=2e-4)
    assert float(found[1]) == pytest.approx(float(accuracy), abs=2e-3)
    with h5py.File("p.h5") as file:
        assert np.allclose(file["yz"][()], trained, atol=1e-4)
    assert [len(Path(f"{name}_test.txt").read_text().splitlines()) for name in ("log", "again")] == [3, 1]
    keys = ["mode.source=test.h5", "mode.targets=test_classes.h5", "mode.outfile=r.h5", "mode.batch_size=6"]
    sets = "mode.slices=[{name:yz,sizes:[1,12,16],strides:[1,6,16],padding:[0,2,2]}]"
    assert main(["evaluate", "mode.record=rm#1", "sys.threads=1", sets, *keys]) == 0
    with h5py.File("r.h5") as file:
        assert np.allclose(file["yz"][()].argmax(-1), trained.argmax(-1))
    said = re.search(r"targets: loss (\S+),", capsys.readouterr().out)
    assert said and float(said[1]) == pytest.approx(float(loss), abs=2e-4)
