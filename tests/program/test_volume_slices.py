"""A network on slices of a volume, from the command line: what it gives for the whole volume, and refusals in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import conv3d

from mlpipe.arch.keras import keras_json
from mlpipe.cli import main
from mlpipe.errors import ConfigError
from mlpipe.running import launch
from tests.data.samples import make_masks

Array = np.ndarray[Any, Any]
SHAPE = (9, 10, 11)


def layers(axes: int, filters: int = 2, *, padding: str = "same", activation: str = "linear") -> list[dict[str, Any]]:
    config = {"name": "conv", "filters": filters, "kernel_size": [3] * axes, "padding": padding,
              "activation": activation, "batch_input_shape": [None] * (axes + 1) + [1]}  # fmt: skip
    return [{"class_name": f"Conv{axes}D", "config": config}]


@pytest.fixture
def volume(tmp_path: Path) -> Array:
    """A volume in the current folder, networks, and weights of that of three axes."""
    found = np.random.default_rng(3).normal(size=(1, *SHAPE)).astype(np.float32)
    np.save("volume.npy", found)
    for axes in (1, 2, 3):
        Path(f"net{axes}.json").write_text(json.dumps(layers(axes)))
    network = keras_json.load("net3.json")
    torch.save(dict(network.state_dict()), "net3.pt")
    return found


def run(*arguments: str) -> int:
    return main(["evaluate", "sys.threads=1", "arch=keras_json", *arguments])


def test_slices_with_their_neighbours_give_what_the_whole_volume_gives(volume: Array) -> None:
    sets = "mode.slices=[{sizes:[4,4,5],strides:[3,4,4],padding:[1,1,1],margin:data,name:pred}]"
    assert run("arch.file=net3.json", "arch.weights=net3.pt", "mode.source=volume.npy", sets, "mode.outfile=p.h5") == 0
    state = torch.load("net3.pt", weights_only=True)
    kernel, bias = (next(value for name, value in state.items() if name.endswith(end)) for end in ("weight", "bias"))
    expected = conv3d(torch.from_numpy(volume)[None], kernel, bias, padding=1)[0].numpy()
    with h5py.File("p.h5") as file:
        assert np.allclose(np.moveaxis(file["pred"][()], -1, 0), expected, atol=1e-5)
    assert not Path("results").exists() and not Path("mlpipe_data").exists()


def test_two_sets_of_flat_slices_and_the_lines_of_rmldnn(volume: Array, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("volume.h5", "w") as file:
        file["input"] = volume
    slicers = [
        {"name": "yz", "sizes": [1, 10, 11], "padded_sizes": [1, 12, 12]},
        {"sizes": [9, 1, 11], "transpose": True, "padding": [1, 0, 0]},
    ]
    data = {"input_type": "hdf5", "test_input_path": "volume.h5", "slicers": slicers, "hdf5_outfile": "out/p.h5"}
    whole = {
        "layers": layers(2, 3, activation="log_softmax"),
        "outfile": "log.txt",
        "data": {**data, "test_batch_size": 4},
    }
    Path("config.json").write_text(json.dumps({"neural_network": whole}))
    assert main(["train", "--config=config.json", "sys.threads=1"]) == 0
    out = capsys.readouterr().out
    for line in ("Slicing dataset 'input' from HDF5 file: ", "Padding          : [(0,0)(1,1)(0,1)]",
                 "Eval  Epoch [  1/  1] : Batch [    6/    6]", "All done (return value = 0)."):  # fmt: skip
        assert line in out
    with h5py.File("out/p.h5") as file:
        assert {name: dataset.shape for name, dataset in file.items()} == {
            "yz": (*SHAPE, 3), "slice_set_2": (*SHAPE, 3),
        }  # fmt: skip
        assert np.allclose(np.exp(file["yz"][()]).sum(-1), 1, atol=1e-5)
    assert Path("log_test.txt").read_text().split()[0] == "1"


def test_lines_go_through_a_network_of_one_axis(volume: Array) -> None:
    keys = ["mode.slices=[{sizes:[1,1,11]}]", "mode.precision=half", "mode.layout=channels_first", "mode.outfile=p.h5"]
    assert run("arch.file=net1.json", "mode.source=volume.npy", *keys) == 0
    with h5py.File("p.h5") as file:
        assert file["slice_set_1"].shape == (2, *SHAPE) and file["slice_set_1"].dtype == np.float16


WRONG = [
    (["mode.slices=[{sizes:[1,10,11],pading:[1]}]"], "slices[0].pading: unknown key; did you mean 'padding'"),
    (["mode.slices=[]"], "mode.slices: is empty"),
    (["mode.slices=[{sizes:[4,4,4],padding:[1,1,1],padded_sizes:[6,6,6]}]"], "padding: says the same as padded_sizes"),
    (["mode.slices=[{sizes:[1,10]}]"], "mode.source: has 4 axes, sizes are for 2 and one of channels in front"),
    (["mode.slices=[{sizes:[1,12,12],discard_remainders:true}]"], "no whole slice fits into [9, 10, 11]"),
    (["mode.slices=[{sizes:[1,5,5],strides:[1,6,5]}]"], "strides: leaves gaps, got [1, 6, 5]"),
    (["mode.slices=[{sizes:[4,4,4]}]"], "arch.layers: takes [None, None, 1], slices are [4, 4, 4, 1]"),
    (["arch.file=valid.json"], "gives [8, 9, 2] of slices of [10, 11, 1], where only the channels may change"),
    (["mode.outfile=volume.npy"], "mode.outfile: cannot be written"),
    (["mode.source=volum.npy"], "there is no such file"),
    (["mode.outfile=null"], "mode.outfile: a value is needed"),
    (["mode.outputs=out"], "mode.outputs: is for images, not for slices; use mode.outfile"),
    (["mode.slices=null"], "mode.source: is for slices; add mode.slices"),
    (["mode.record=default#1"], "mode.record: there is no such project"),
    (["mode.batch_size=0"], "mode.batch_size: must be"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_what_is_wrong_is_one_sentence(volume: Array, changes: list[str], sentence: str) -> None:
    Path("valid.json").write_text(json.dumps([{**layers(2)[0], "config": {**layers(2, padding="valid")[0]["config"],
                                                                          "kernel_size": [3, 3]}}]))  # fmt: skip
    keys = {"arch.file": "net2.json", "mode.source": "volume.npy", "mode.slices": "[{sizes:[1,10,11]}]",
            "mode.outfile": "p.h5"} | dict(text.split("=", 1) for text in changes)  # fmt: skip
    texts = [f"{key}={value}" for key, value in keys.items()]
    with pytest.raises(Exception) as error:
        launch.execute(launch.prepare(launch.Command("evaluate", ["sys.threads=1", "arch=keras_json", *texts])))
    assert sentence in str(error.value) and not Path("p.h5").exists()


def test_every_problem_is_listed_at_once(volume: Array) -> None:
    with pytest.raises(ConfigError) as error:
        launch.planned(
            launch.prepare(launch.Command("evaluate", ["mode.slices=[{sizes:[1,1]},{size:[4]}]", "arch=resnet18"]))
        )
    assert len(error.value.problems) == 6


def test_planes_through_a_record_are_what_it_predicts_for_images(tmp_path: Path) -> None:
    make_masks(tmp_path / "d", 90)
    quick = [
        "arch=unet",
        "arch.encoder=resnet10t",
        "arch.pretrained=false",
        "preprocessing.size=28",
        "optimizer.lr=3e-3",
    ]
    split = ["split=holdout", "mode.nested=false", "trainer.max_epochs=6", "sampling.batch_size=16", "sys.threads=1"]
    assert main(["train", "task=masks", f"task.root={tmp_path / 'd'}", *quick, *split]) == 0
    new = sorted((tmp_path / "d/images").iterdir())[:3]
    np.save("planes.npy", np.stack([np.asarray(Image.open(file)) for file in new]))
    (tmp_path / "new").mkdir()
    for file in new:
        (tmp_path / "new" / file.name).write_bytes(file.read_bytes())
    keys = ["mode.source=planes.npy", "mode.slices=[{sizes:[1,28,28]}]", "mode.outfile=p.h5", "sys.threads=1"]
    assert main(["evaluate", "mode.record=default#1", *keys]) == 0
    assert main(["predict", f"mode.source={tmp_path / 'new'}", "sys.threads=1"]) == 0
    masks = sorted((tmp_path / "results/default/reports/predictions").rglob("*.png"))
    with h5py.File("p.h5") as file_:
        found = file_["slice_set_1"][()].argmax(-1)
    assert len(masks) == 3 and 0 < found.mean() < 1
    assert np.mean(np.stack([np.asarray(Image.open(file)) == 255 for file in masks]) == found) > 0.99


@pytest.mark.parametrize(("axes", "activation"), [(3, "softmax"), (2, "log_softmax"), (2, "linear"), (1, "softmax")])
def test_loss_and_dice_of_slices(volume: Array, axes: int, activation: str, capsys: pytest.CaptureFixture[str]) -> None:
    classes = np.random.default_rng(5).choice([3, 8, 99], SHAPE)
    with h5py.File("classes.h5", "w") as file:
        file["one"], file["other"] = classes[np.newaxis], classes
    Path("net.json").write_text(json.dumps(layers(axes, activation=activation)))
    sizes = {3: "[5,10,11],padding:[1,1,1]", 2: "[1,6,11],padding:[0,2,0]", 1: "[1,1,7],padding:[0,0,1]"}[axes]
    keys = ["mode.targets=classes.h5", "mode.target_dataset=one", "mode.values=[3,8]", "mode.ignore_index=99"]
    step = "{_target_: mlpipe.data.augment.geometry.normalize, mean: 0.5, std: 2.0}"
    keys += ["augmentations=none", f"augmentations.cpu.pipeline=[{step}]", "mode.batch_size=1000"]
    sets = f"mode.slices=[{{sizes:{sizes}}}]"
    capsys.readouterr()
    assert run("arch.file=net.json", "mode.source=volume.npy", sets, "mode.outfile=p.h5", *keys) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "targets:" in line)
    said = dict(re.findall(r"(\w+) (\d\.\d{4})", line))
    with h5py.File("p.h5") as file:
        given = np.moveaxis(file["slice_set_1"][()].astype(np.float64), -1, 0)
    chance = {"softmax": given, "log_softmax": np.exp(given)}.get(activation, np.exp(given) / np.exp(given).sum(0))
    known, true = classes != 99, classes == 8
    right = np.where(true, chance[1], chance[0])
    found = chance.argmax(0) == 1
    dice = [2 * (known & found & true).sum() / ((known & found).sum() + (known & true).sum())]
    dice += [2 * (known & ~found & ~true).sum() / ((known & ~found).sum() + (known & ~true).sum())]
    assert float(said["loss"]) == pytest.approx(-np.log(right[known]).mean(), abs=2e-4)
    assert float(said["dice"]) == pytest.approx(np.mean(dice), abs=2e-4)


TARGETS_WRONG = [
    (["mode.targets=none.npy"], "mode.targets: there is no such file"),
    (["mode.targets=flat.npy"], "mode.targets: has another shape than the volume, [9, 10, 11], got [10, 11]"),
    (["mode.targets=three.npy"], "mode.targets: holds values that are none of 2 classes (2)"),
    (["mode.targets=half.npy"], "mode.targets: volume/slice_set_1/00000 holds no class numbers"),
    (["mode.values=[0,1]"], "mode.values: is for targets; add mode.targets=FILE"),
    (["mode.targets=three.npy", "arch.file=one.json"], "gives 1 map, targets are classes"),
    (["mode.targets=three.npy", "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.geometry.rotate, degrees: 9}]"],
     "augmentations.cpu.pipeline: changes slices, got 'mlpipe.data.augment.geometry.rotate'"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "sentence"), TARGETS_WRONG)
def test_targets_that_do_not_fit_are_a_sentence(volume: Array, keys: list[str], sentence: str) -> None:
    np.save("flat.npy", np.zeros((10, 11)))
    np.save("three.npy", np.arange(990).reshape(SHAPE) % 3)
    np.save("half.npy", np.full(SHAPE, 0.5))
    Path("one.json").write_text(json.dumps(layers(2, 1)))
    given = {"arch.file": "net2.json"} | dict(text.split("=", 1) for text in keys)
    texts = ["mode.source=volume.npy", "mode.slices=[{sizes:[1,10,11]}]", "mode.outfile=p.h5"]
    texts += [f"{key}={value}" for key, value in given.items()]
    with pytest.raises(Exception) as error:
        launch.execute(launch.prepare(launch.Command("evaluate", ["sys.threads=1", "arch=keras_json", *texts])))
    assert sentence in str(error.value) and not Path("p.h5").exists()
