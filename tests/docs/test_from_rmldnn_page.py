"""The page for those who come from rmldnn: its configuration, every command and the Python run, its layers are there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mlpipe.arch.keras import layers as keras_layers
from mlpipe.cli import main
from tests.conftest import make_pictures

PAGE = (Path(__file__).parents[2] / "docs" / "from_rmldnn.md").read_text("utf-8")
COMMANDS = [command for command in re.findall(r"^mml .*$", PAGE, re.MULTILINE) if "keras_json" in command]
OF_FILES = [command for command in re.findall(r"^mml .*$", PAGE, re.MULTILINE) if "config.json" in command]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
QUICK = ["trainer.max_epochs=1", "sys.threads=1", "mode.folds=[0]", "mode.nested=false", "preprocessing.size=16"]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    import keras

    ends = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.layers.Input((16, 16, 1)), *ends])
    (tmp_path / "net.json").write_text(model.to_json())
    model.save_weights(tmp_path / "net.weights.h5")
    return tmp_path


def test_the_layers_of_the_page_are_there() -> None:
    assert len(COMMANDS) == 3
    section = PAGE[PAGE.index("## Layers") : PAGE.index("Networks inside")]
    names = [name for name in re.findall(r"`([A-Z]\w+)`", section) if name not in ("Input", "Activation")]
    bare = ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling", "UpSampling", "ZeroPadding")
    bare += ("Cropping", "SpatialDropout", "AdaptiveMaxPooling", "AdaptiveAveragePooling")
    names = [f"{name}2D" if name in bare else name for name in names]
    assert len(names) > 35 and [name for name in names if not keras_layers.known(name)] == []


@pytest.mark.program
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(network: Path, command: str) -> None:
    _, mode, *arguments = shlex.split(command)
    assert main([mode, *arguments, *QUICK]) == 0


@pytest.mark.program
def test_the_configuration_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    first = {"name": "flat", "batch_input_shape": [None, 8, 8, 3]}
    last = {"name": "out", "units": 2, "activation": "log_softmax"}
    layers = [{"class_name": "Flatten", "config": first}, {"class_name": "Dense", "config": last}]
    (tmp_path / "model.json").write_text(json.dumps(layers))
    make_pictures(tmp_path / "train", {"dark": 100, "light": 100})
    make_pictures(tmp_path / "test", {"dark": 10, "light": 10}, seed=1)
    assert len(OF_FILES) == 3
    for command in OF_FILES:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, "sys.threads=1"]) == 0
    assert float((tmp_path / "log_test.txt").read_text().split()[-1]) >= 0.9
    assert (tmp_path / "checkpoints" / "model_checkpoint_10.pt").is_file()
    assert (tmp_path / "outputs" / "output_10.h5").is_file()


@pytest.mark.program
def test_the_masks_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    last = {"name": "out", "filters": 3, "kernel_size": 1, "activation": "softmax"}
    layers = [{"class_name": "Conv2D", "config": {**last, "batch_input_shape": [None, 16, 24, 3]}}]
    (tmp_path / "maps.json").write_text(json.dumps(layers))
    for part, many in (("train", 30), ("test", 6)):
        for number in range(many):
            mask = np.ones((20, 30), np.uint8)
            mask[:, number % 9 : 20], mask[:, 20:] = 2, 3
            for kind, pixels in (("masks", mask), ("inputs", np.stack([mask * 80, 255 - mask * 80, mask], 2))):
                path = tmp_path / kind / part / f"{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    assert main(["train", "recipe=config.json", "sys.threads=1", "sampling.batch_size=2"]) == 0
    assert float((tmp_path / "log_test.txt").read_text().split()[-1]) >= 0.5
    with h5py.File(tmp_path / "outputs" / "output_2.h5") as found:
        assert sorted(found) == [f"{number:02}.png" for number in range(6)] and found["00.png"].shape == (3, 16, 24)


@pytest.mark.program
def test_the_slices_of_the_page(tmp_path: Path) -> None:
    texts = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert len(texts) == 5
    rng = np.random.default_rng(0)
    for part, planes in (("train", 16), ("test", 6)):
        classes = rng.integers(0, 3, (planes, 20, 24))
        with h5py.File(f"{part}.h5", "w") as volume, h5py.File(f"{part}_classes.h5", "w") as targets:
            volume["scan"], targets["classes"] = classes[None] + rng.normal(0, 0.1, (1, planes, 20, 24)), classes
    last = {"name": "out", "filters": 3, "kernel_size": 1, "activation": "log_softmax"}
    for name, shape in (("learned", [24, 24]), ("planes", [None, None])):
        layers = [{"class_name": "Conv2D", "config": {**last, "batch_input_shape": [None, *shape, 1]}}]
        (tmp_path / f"{name}.json").write_text(json.dumps(layers))
    (tmp_path / "slices.json").write_text(texts[2])
    assert main(["train", "--config=slices.json", "sys.threads=1"]) == 0
    assert len((tmp_path / "log_test.txt").read_text().splitlines()) == 2
    with h5py.File("test_prediction.h5") as found:
        assert found["yz"].shape == (6, 20, 24, 3)
    with h5py.File("volume.h5", "w") as volume:
        volume["scan"] = rng.normal(size=(1, 30, 40, 50))
    trained = texts[3].replace("planes.weights.h5", "checkpoints/model_checkpoint_2.pt")
    (tmp_path / "slices.json").write_text(trained)
    assert main(["train", "recipe=slices.json", "sys.threads=1"]) == 0
    with h5py.File("prediction.h5") as found:
        assert {name: one.shape for name, one in found.items()} == dict.fromkeys(("xz", "yz"), (30, 40, 50, 3))


def test_the_python_of_the_page(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(json.loads((network / "net.json").read_text())["config"]["layers"]) == 4
    exec(PYTHON[0], {})
    assert capsys.readouterr().out.startswith("4 weights loaded (7890, 7890)\ndigraph ")


@pytest.mark.program
def test_the_images_of_the_page(tmp_path: Path) -> None:
    blocks = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "config.json").write_text(next(one for one in blocks if "painter.json" in one))
    convolution = {"kernel_size": 3, "padding": "same"}
    layers = [
        {"class_name": "Conv2D", "config": {"filters": 8, "batch_input_shape": [None, 16, 24, 1], **convolution}},
        {"class_name": "Conv2D", "config": {"name": "out", "filters": 1, **convolution}},
    ]
    (tmp_path / "painter.json").write_text(json.dumps(layers))
    for part, many in (("train", 30), ("test", 6)):
        make_pictures(tmp_path / "inputs" / part, {"light": many}, seed=many)
    assert main(["train", "recipe=config.json", "sys.threads=1", "sampling.batch_size=2"]) == 0
    assert len((tmp_path / "log_test.txt").read_text().splitlines()) == 2
    with h5py.File(tmp_path / "outputs" / "output_2.h5") as found:
        (folder,) = found
        assert len(found[folder]) == 6 and next(iter(found[folder].values())).shape == (1, 16, 24)
