"""rmldnn's loss Wasserstein: two networks in `layers`, images without targets, and what the page leaves open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlpipe.dialects import rmldnn
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError


def network(name: str, *layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def dense(name: str, units: int, **more: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": units, **more}}


GENERATOR = network(
    "drawer",
    dense("d", 64, activation="sigmoid", batch_input_shape=[None, 6]),
    {"class_name": "Reshape", "config": {"name": "r", "target_shape": [8, 8, 1]}},
)
CRITIC = network(
    "judge",
    {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 8, 8, 1]}},
    dense("s", 1),
)


def translated(
    layers: Any, loss: str = "Wasserstein", sections: dict[str, Any] | None = None, **data: Any
) -> Translation:
    given: dict[str, Any] = {
        "input_type": "images",
        "input_path": "x",
        "test_input_path": "v",
        "grayscale": True,
        **data,
    }
    whole: dict[str, Any] = {
        "layers": layers, "optimizer": {"type": "Adam"}, "loss": {"function": loss},
        "data": {key: value for key, value in given.items() if value is not None}, **(sections or {}),
    }  # fmt: skip
    return rmldnn.translate({"neural_network": whole})


@pytest.mark.parametrize(
    "layers",
    [
        [GENERATOR, CRITIC],
        {"generator": GENERATOR, "critic": CRITIC},
        {"discriminator": CRITIC, "generator": GENERATOR},
        [GENERATOR["config"]["layers"], CRITIC["config"]["layers"]],
    ],
)
def test_two_networks(layers: Any) -> None:
    found = translated(layers, test_output_path="o", transforms=[{"random_horizontal_flip": 0.5}])
    chosen = found.chosen()
    assert (chosen["arch"], chosen["loss"], chosen["task"]) == ("gan", "wasserstein", "image_folders")
    assert chosen["callbacks"] == "output_files"
    arch = found.native["arch"]
    assert "Reshape" in arch["generator"] and "Flatten" in arch["critic"] and arch["values"] == "unit"
    assert {"train": "x", "test": "v", "channels": 1}.items() <= found.native["task"].items()
    assert not {"train_targets", "test_targets"} & set(found.native["task"])
    said = {line.key: line.note for line in found.report}
    assert "images are seen as 0 to 1" in said["layers"]
    assert "gradient penalty of 10" in said["loss.function"]


def test_files_of_networks(tmp_path: Path) -> None:
    for name, one in (("g", GENERATOR), ("c", CRITIC)):
        (tmp_path / f"{name}.json").write_text(json.dumps(one))
    found = translated([str(tmp_path / "g.json"), str(tmp_path / "c.json")])
    assert json.loads(found.native["arch"]["generator"]) == GENERATOR
    assert json.loads(found.native["arch"]["critic"]) == CRITIC


def test_images_with_labels_keep_their_classes() -> None:
    found = translated([GENERATOR, CRITIC], target_type="labels")
    assert found.chosen()["task"] == "folders" and found.chosen()["loss"] == "wasserstein"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"layers": GENERATOR}, "layers: Wasserstein teaches a generator and a critic, this is one network"),
        ({"layers": [dense("a", 3), dense("b", 1)]}, "teaches a generator and a critic"),
        ({"layers": [GENERATOR, CRITIC], "loss": "MSE"}, "several networks learn by the loss Wasserstein only"),
        ({"layers": ["g.json"], "loss": "NLL"}, "several networks learn by the loss Wasserstein only"),
        ({"layers": [GENERATOR, CRITIC], "input_path": None}, "Wasserstein is for training"),
        ({"layers": [GENERATOR, CRITIC], "sections": {"checkpoints": {"load": "w.h5"}}}, "are of one network"),
        ({"layers": ["no.json", CRITIC]}, "there is no such file"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        translated(given.pop("layers"), **given)
