"""Networks for records: inputs by name, probabilities as logits, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn.build import row_network

CODE = """
import torch
from torch import nn
class Two(nn.Module):
    def __init__(self, units=3):
        super().__init__()
        self.units = units
    def forward(self, left, image):
        assert image.shape[1:] == (2, 2, 1)
        total = left.sum(1, keepdim=True) + image.flatten(1).sum(1, keepdim=True)
        return total * torch.arange(1.0, self.units + 1)
class Probabilities(nn.Module):
    def forward(self, x):
        return x.softmax(1)
class Several(nn.Module):
    def forward(self, x):
        return {"kind": x.softmax(1), "size": x[:, :2]}
class Raw(nn.Module):
    def forward(self, x):
        return {"kind": x, "size": x[:, :2]}
class Labels(nn.Module):
    def forward(self, x):
        return {"y": x.sigmoid()}
class Unnamed(nn.Module):
    def forward(self, a, b):
        return a
def no_network():
    return 3
def failing():
    raise ValueError("no way")
"""
TWO = (("left", (2,)), ("image", (2, 2, 1)))
ONE = (("x", (3,)),)


@pytest.fixture(autouse=True)
def code(tmp_path: Path) -> None:
    (tmp_path / "networks_of_records.py").write_text(CODE)


def made(name: str, inputs: Any = ONE, size: int = 3, params: Any = None, more: Any = None, **keys: Any) -> Any:
    pixels = Pixels(1, 6, 1.0, "unit", inputs, more or {})
    block = {"import": f"networks_of_records.{name}" if "." not in name else name, "params": params or {}}
    return row_network.records({"target": Head(size)}, pixels, network=block, output="y", **keys)


def test_inputs_are_given_by_name_in_their_shapes() -> None:
    network = made("Two", TWO)
    vectors = torch.arange(12.0).reshape(2, 1, 6, 1)
    assert network(vectors)["target"].tolist() == [[15, 30, 45], [51, 102, 153]]


def test_one_of_several_outputs_as_a_head() -> None:
    block = {"import": "networks_of_records.Several"}
    vectors = torch.randn(4, 1, 3, 1, generator=torch.Generator().manual_seed(0))
    flat, gives = vectors.reshape(4, 3), ["logits", "softmax"]

    def given(output: str | None, size: int) -> torch.Tensor:
        pixels = Pixels(1, 3, 1.0, "unit", ONE, {}, output=output)
        heads = {"target": Head(size)}
        made = row_network.records(heads, pixels, network=block, output=["size", "kind"], gives=gives)
        return made(vectors)["target"]

    assert torch.allclose(given(None, 5), torch.cat([flat[:, :2], flat.softmax(1)], 1))
    assert torch.allclose(given("kind", 3), flat.log_softmax(1), atol=1e-6)
    assert torch.equal(given("size", 2), flat[:, :2])
    with pytest.raises(ConfigError, match=r"gives \[2\] and \[3\] for a record, the targets have 3"):
        given("size", 3)


@pytest.mark.parametrize(
    ("gives", "plain"), [("class_logits", torch.nn.Softmax(1)), ("label_logits", torch.nn.Sigmoid())]
)
def test_logits_of_one_of_several_outputs_stand_as_probabilities_beside_the_others(gives: Any, plain: Any) -> None:
    block, flat = {"import": "networks_of_records.Raw"}, torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def given(output: str | None, size: int) -> torch.Tensor:
        pixels = Pixels(1, 3, 1.0, "unit", ONE, {}, output=output)
        heads, names = {"target": Head(size)}, ["kind", "size"]
        made = row_network.records(heads, pixels, network=block, output=names, gives=[gives, "logits"])
        return made(flat.reshape(4, 1, 3, 1))["target"]

    assert torch.allclose(given(None, 5), torch.cat([plain(flat), flat[:, :2]], 1))
    assert torch.equal(given("kind", 3), flat)


@pytest.mark.parametrize(("name", "gives"), [("Probabilities", "softmax"), ("Labels", "sigmoid")])
def test_probabilities_become_logits_that_give_them_again(name: str, gives: Any) -> None:
    values = torch.randn(5, 1, 3, 1, generator=torch.Generator().manual_seed(0))
    logits = made(name, gives=gives)(values)["target"]
    flat = values.reshape(5, 3)
    back, expected = (logits.softmax(1), flat.softmax(1)) if gives == "softmax" else (logits.sigmoid(), flat.sigmoid())
    assert torch.allclose(back, expected, atol=1e-6)
    assert torch.isfinite(made(name, gives=gives)(values * 1e4)["target"]).all()


def test_the_transformers_parameters_join_the_configurations() -> None:
    assert made("Two", TWO, size=5, more={"units": 5})(torch.zeros(1, 1, 6, 1))["target"].shape == (1, 5)
    with pytest.raises(ConfigError, match="units comes from the transformer too"):
        made("Two", TWO, params={"units": 3}, more={"units": 5})


def test_layers_by_their_names() -> None:
    layers = [{"import": "Dense", "params": {"units": "{{classes}}", "name": "y", "input_shape": [3]}}]
    for path in ("barrage.model.sequential_from_config", "mlpipe.arch.sequential.sequential_from_config"):
        network = made(path, params={"layers": layers}, more={"classes": 3})
        assert network(torch.zeros(2, 1, 3, 1))["target"].shape == (2, 3)
    layers[0]["params"]["name"] = "other"
    with pytest.raises(ConfigError, match=r"task\.output: the network has the outputs other, got 'y'"):
        made("barrage.model.sequential_from_config", params={"layers": layers}, more={"classes": 3})


@pytest.mark.parametrize(
    ("name", "keys", "sentence"),
    [
        ("no_network", {}, r"networks_of_records\.no_network gives no network, got 'int'"),
        ("failing", {}, r"networks_of_records\.failing fails \(ValueError: no way\)"),
        ("Two", {"params": {"unitz": 3}}, r"networks_of_records\.Two fails \(TypeError"),
        ("Unnamed", {"inputs": TWO}, r"the forward of .* takes a, b, the records have left, image"),
        ("Probabilities", {"size": 4}, r"gives \[3\] for a record, the targets have 4"),
        ("Two", {"inputs": (("left", (2,)), ("image", (4,)))}, r"with inputs left \[2\], image \[4\] fails"),
        ("Two", {"inputs": ()}, r"arch: is for records, the task has images"),
        ("Two", {"pretrained": True}, r"arch\.pretrained: a network for records has no weights"),
    ],
)
def test_what_does_not_fit(name: str, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        made(name, **keys)


@pytest.mark.parametrize("path", ["os.system", "torch.hub.load", "networks_of_records.Nothing"])
def test_imports_outside_the_current_folder_are_refused(path: str) -> None:
    with pytest.raises(DataError, match=r"arch\.network: "):
        made(path)
