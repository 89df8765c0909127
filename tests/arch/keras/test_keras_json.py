"""Keras JSON in all its forms, what is wrong with it in one sentence, counts and graphs."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mlpipe.arch.keras import keras_json
from mlpipe.errors import ConfigError
from tests.arch.keras.keras_oracle import agrees, all_agree, as_keras_2, both_agree

import keras  # isort: skip

L = keras.layers

DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 3}}


def dense(name: str, units: int = 3, **more: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": units, **more}}


def functional(layers: list[dict[str, Any]], inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    config = {"name": "net", "layers": layers}
    config |= {"input_layers": [[name, 0, 0] for name in inputs], "output_layers": [[name, 0, 0] for name in outputs]}
    return {"class_name": "Functional", "config": config}


def given(name: str, *shape: int | None) -> dict[str, Any]:
    return {
        "class_name": "InputLayer",
        "config": {"name": name, "batch_input_shape": [None, *shape]},
        "inbound_nodes": [],
    }


def after(layer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**layer, "inbound_nodes": [[[name, 0, 0, {}] for name in names]]}


def small() -> Any:
    i = L.Input((12, 10, 3), name="picture")
    x = L.Conv2D(6, 3, padding="same", strides=2, name="conv")(i)
    y = L.BatchNormalization(name="bn")(x)
    y = L.Activation("relu", name="act")(y)
    x = L.Add(name="sum")([x, y])
    x = L.Flatten(name="flat")(x)
    return keras.Model(i, L.Dense(4, activation="softmax", name="out")(x), name="small")


def test_both_versions_of_keras(tmp_path: Path) -> None:
    model = small()
    both_agree(model, tmp_path)


def test_a_file_and_its_names(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(small().to_json(indent=1))
    graph = keras_json.load(tmp_path / "net.json")
    assert graph.title == "small" and graph.inputs == ("picture",)
    assert set(graph.state_dict()) >= {"conv.weight", "bn.running_mean", "out.bias"}
    assert graph(torch.zeros(2, 3, 12, 10)).shape == (2, 4)
    copied = copy.deepcopy(graph).eval()
    assert torch.equal(copied(torch.ones(1, 3, 12, 10)), graph.eval()(torch.ones(1, 3, 12, 10)))


def test_sequential_with_and_without_an_input_layer(tmp_path: Path) -> None:
    layers = [L.Conv2D(4, 3), L.MaxPooling2D(), L.Flatten(), L.Dense(5)]
    model = keras.Sequential([L.Input((10, 8, 2)), *layers])
    both_agree(model, tmp_path)
    content = as_keras_2(json.loads(model.to_json()))
    shape = content["config"]["layers"].pop(0)["config"]["batch_input_shape"]
    content["config"]["layers"][0]["config"]["batch_input_shape"] = shape
    # A bare list, and a list in place of a Sequential's config.
    listed = content["config"]["layers"]
    all_agree(model, tmp_path, [content, listed, {"class_name": "Sequential", "config": listed}])


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    a, b = L.Input((6, 5, 2)), L.Input((4,))
    x = L.Conv2D(4, 3, padding="same")(a)
    x = L.Multiply()([x, L.Reshape((1, 1, 4))(b)])
    model = keras.Model([a, b], [L.GlobalAveragePooling2D()(x), x, L.Dense(2)(b)])
    both_agree(model, tmp_path)


def test_a_layer_that_is_used_twice_has_one_set_of_weights(tmp_path: Path) -> None:
    a, b = L.Input((5,)), L.Input((5,))
    shared = L.Dense(5, activation="tanh", name="shared")
    model = keras.Model([a, b], L.Subtract()([shared(shared(a)), shared(b)]))
    agrees(model, tmp_path)
    graph = keras_json.load(as_keras_2(json.loads(model.to_json())))
    assert [name for name, _ in graph.named_parameters()] == ["shared.weight", "shared.bias"]
    agrees(model, tmp_path, as_keras_2(json.loads(model.to_json())))


def test_networks_inside_networks(tmp_path: Path) -> None:
    j = L.Input((6, 6, 3))
    deep = keras.Sequential([L.Input((6, 6, 4)), L.Conv2D(4, 1, name="point")], name="deep")
    k = L.Conv2D(4, 3, padding="same", name="conv")(j)
    inner = keras.Model(j, [deep(k), L.GlobalMaxPooling2D()(k)], name="inner")
    i = L.Input((6, 6, 3))
    first, pooled = inner(i)
    second, _ = inner(L.Conv2D(3, 3, padding="same", name="conv")(i))
    out = L.Concatenate()([L.Flatten()(L.Add()([first, second])), pooled])
    model = keras.Model(i, L.Dense(3)(out))
    both_agree(model, tmp_path)


def test_a_call_that_says_it_never_trains(tmp_path: Path) -> None:
    base = keras.Sequential([L.Input((4, 4, 3)), L.BatchNormalization(), L.Dropout(0.5)], name="base")
    i = L.Input((4, 4, 3))
    model = keras.Model(i, L.Dense(2)(L.Flatten()(base(i, training=False))))
    agrees(model, tmp_path)
    for content in (json.loads(model.to_json()), as_keras_2(json.loads(model.to_json()))):
        graph = keras_json.load(content).train()
        assert graph.training and not any(module.training for module in graph.get_submodule("base").modules())
        x = torch.randn(8, 3, 4, 4)
        assert torch.equal(graph(x), graph(x))


def test_what_the_file_freezes_does_not_learn() -> None:
    model = small()
    model.get_layer("bn").trainable = False
    model.get_layer("conv").trainable = False
    graph = keras_json.load(json.loads(model.to_json()))
    assert {name for name, p in graph.named_parameters() if p.requires_grad} == {"out.weight", "out.bias"}
    graph.train()
    before = graph.get_buffer("bn.running_mean").clone()
    graph(torch.randn(9, 3, 12, 10))
    assert torch.equal(graph.get_buffer("bn.running_mean"), before)
    assert keras_json.count(graph) == (3 * 9 * 6 + 6 + 12 + 30 * 6 * 4 + 4, 30 * 6 * 4 + 4)
    model.trainable = False
    assert not any(p.requires_grad for p in keras_json.load(json.loads(model.to_json())).parameters())


def test_parameters_are_counted_as_rmldnn_counts() -> None:
    layers = [
        {"class_name": "Conv2D", "config": {"filters": 8, "kernel_size": 3}},
        {"class_name": "BatchNormalization", "config": {"scale": False}},
        {"class_name": "BatchNormalization", "config": {"scale": False, "center": False}},
        {"class_name": "BatchNormalization", "config": {"scale": False, "trainable": False}},
    ]
    conv = 3 * 9 * 8 + 8
    graph = keras_json.load(layers, input_shapes=[(9, 9, 3)])
    assert keras_json.count(graph) == (conv + 3 * 16, conv + 2 * 16)
    assert sum(p.numel() for p in graph.parameters()) == conv + 8 + 8
    affine = keras_json.load(layers, input_shapes=[(9, 9, 3)], always_affine=True)
    assert keras_json.count(affine) == keras_json.count(graph)
    assert sum(p.numel() for p in affine.parameters() if p.requires_grad) == conv + 2 * 16
    x = torch.randn(2, 3, 9, 9)
    affine.load_state_dict(graph.state_dict(), strict=False)
    torch.testing.assert_close(affine.eval()(x), graph.eval()(x))


def test_counts_of_a_network_are_those_of_keras_but_for_moving_statistics() -> None:
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10)
    moving = sum(int(weight.value.numel()) for weight in model.non_trainable_weights)
    graph = keras_json.load(json.loads(model.to_json()))
    assert keras_json.count(graph) == (model.count_params() - moving, model.count_params() - moving)


def test_sizes_that_the_file_leaves_open(tmp_path: Path) -> None:
    i = L.Input((None, None, 3))
    x = L.Conv2D(4, 3, strides=2, padding="same")(i)
    x = L.Concatenate()([L.UpSampling2D()(x), i])
    model = keras.Model(i, L.GlobalAveragePooling2D()(x))
    graph = keras_json.load(json.loads(model.to_json()))
    for size in (16, 30):
        assert graph(torch.zeros(1, 3, size, size)).shape == (1, 7)


def test_a_list_of_layers_with_names_of_what_goes_in() -> None:
    layers = [
        {"class_name": "Input", "config": {"name": "data", "shape": [6, 6, 2]}},
        {"class_name": "Conv2D", "config": {"filters": 2, "kernel_size": 1}},
        {"class_name": "Add", "config": {"name": "both"}, "inbound_nodes": ["data", "conv2d"]},
        {"class_name": "Tanh", "config": {}},
    ]
    graph = keras_json.load(layers)
    x = torch.randn(2, 2, 6, 6)
    conv = graph.get_submodule("conv2d")
    torch.testing.assert_close(graph(x), torch.tanh(x + conv(x)))
    assert list(graph.layers) == ["data", "conv2d", "both", "tanh"] and graph.title == "Unknown"


def test_names_that_torch_has_for_itself() -> None:
    names = ["forward", "a.b", "block/conv", "training", "steps", "type"]
    layers = [dense(name) for name in names]
    graph = keras_json.load(layers, input_shapes=[(3,)])
    assert list(graph.layers)[1:] == names and graph(torch.zeros(1, 3)).shape == (1, 3)
    assert {"a_b.weight", "block/conv.weight", "forward_.weight"} <= set(graph.state_dict())


def test_new_weights_are_those_of_the_seed() -> None:
    content = json.loads(small().to_json())
    torch.manual_seed(3)
    first = keras_json.load(content).state_dict()
    torch.manual_seed(3)
    second = keras_json.load(content).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_as_a_graph() -> None:
    text = keras_json.dot(keras_json.load(json.loads(small().to_json())))
    assert text.startswith('digraph "small" {') and text.endswith("}\n")
    assert '[label="out\\nDense + softmax\\n(4,)"]' in text and '[label="picture\\nInputLayer\\n(12, 10, 3)"]' in text
    assert text.count("->") == 7


def test_names_in_a_graph_are_nothing_but_names() -> None:
    content = json.loads(small().to_json())
    content["config"]["name"] = '$(touch RAN)"`id`;\n\\'
    text = keras_json.dot(keras_json.load(content))
    assert text.splitlines()[0] == 'digraph "&#36;(touch RAN)&#34;&#96;id&#96;&#59;&#10;&#92;" {'


def test_gradients_reach_every_parameter() -> None:
    graph = keras_json.load(json.loads(small().to_json()))
    graph(torch.randn(4, 3, 12, 10)).log().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in graph.parameters() if p.ndim > 1)


def from_i(*layers: dict[str, Any], inputs: str = "i", outputs: str = "a") -> dict[str, Any]:
    """A network with inputs i, of 4 numbers, j, of 5, p, 8 x 8 x 2, and q, 7 x 8 x 3."""
    shapes = {"i": (4,), "j": (5,), "p": (8, 8, 2), "q": (7, 8, 3)}
    ends = [given(name, *shapes[name]) for name in inputs if name in shapes]
    return functional([*ends, *layers], list(inputs), [outputs])


ADD = {"class_name": "Add", "config": {"name": "a"}}
JOIN = {"class_name": "Concatenate", "config": {"name": "a"}}
MASKED = {**dense("a"), "inbound_nodes": [[["i", 0, 0, {"mask": [1]}]]]}
TYPO = {"class_name": "VarianceScaling", "config": {"scael": 1}}
OPEN = functional([given("i", 6, 6, None), after(dense("a"), "i")], ["i"], ["a"])
WRONG: list[tuple[Any, str]] = [
    ({"a": 1}, "is no network of Keras"),
    ({"class_name": "Modle", "config": {}}, "is no network of Keras, got 'Modle'"),
    ({"class_name": "Model", "config": {"name": "n"}}, "arch.layers: n: has no list of layers"),
    ([3], "layer 1: is no layer, got 3"),
    (
        [{"class_name": "Conv2d_", "config": {"name": "c"}}],
        "c: unknown layer class, got 'Conv2d_'; did you mean 'Conv2D'?",
    ),
    ([{"class_name": "Lambda", "config": {"name": "l"}}], "arch.layers: l: Lambda layers hold code, which is not run"),
    ([dense("a"), dense("a")], "two layers are called a"),
    ([after(dense("a"), "b")], "a (Dense): inbound_nodes: there is no such layer, got 'b'"),
    (from_i(after(dense("a"), "b"), after(dense("b"), "a")), "what goes into a, b never comes"),
    (from_i(dense("a")), "a (Dense): inbound_nodes: names nothing"),
    (from_i(after(dense("a"), "i"), outputs="c"), "output_layers: there is no such layer, got 'c'"),
    (from_i(given("i", 4), after(dense("a"), "i"), inputs="k"), "input_layers: there is no such layer, got 'k'"),
    (OPEN, "the channels are not known"),
    (from_i(after(ADD, "i", "j"), inputs="ij"), "a (Add): cannot join i (4,) and j (5,)"),
    (from_i(after(JOIN, "p", "q"), inputs="pq"), "a (Concatenate): cannot join p (8, 8, 2) and q (7, 8, 3)"),
    (from_i(after(JOIN, "i", "q"), inputs="iq"), "a (Concatenate): inbound_nodes: must name inputs with as many axes"),
    (from_i(after(dense("a"), "i", "j"), inputs="ij"), "a (Dense): inbound_nodes: must name one input, got 2"),
    (from_i(MASKED), "mask: is not supported, got [1]"),
    ([dense("a", 10**9)], "a (Dense): has 1,073,741,824 weights or more; make it smaller"),
    ([dense("a", 10**6), dense("b", 10**6)], "b (Dense): has 1,073,741,824 weights or more; make it smaller"),
    (
        from_i(after({"class_name": "UpSampling2D", "config": {"name": "a", "size": 9999}}, "p"), inputs="p"),
        "of one image",
    ),
    ([dense("a", kernel_initializer=TYPO)], "kernel_initializer.scael: unknown key; did you mean 'scale'?"),
]


@pytest.mark.parametrize(("content", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_what_is_wrong_is_one_sentence(content: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        keras_json.load(content, input_shapes=[(4,)])
    assert sentence in str(error.value) and len(error.value.problems) == 1, str(error.value)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.program) for seed in (2, 3))])
def test_any_damage_is_a_sentence(seed: int) -> None:
    rng = random.Random(seed)
    content = json.loads(small().to_json())
    contents = [content, as_keras_2(json.loads(small().to_json()))]
    refused = 0
    for _ in range(150):
        damaged = copy.deepcopy(contents[seed % 2])
        for _ in range(rng.randint(1, 3)):
            damage(damaged, rng)
        try:
            keras_json.load(damaged)
        except ConfigError as error:
            assert all(sentence.isprintable() for sentence in error.problems)
            refused += 1
    assert refused > 40


def damage(content: Any, rng: random.Random) -> None:
    """Replace, or remove, one value somewhere inside."""
    node = content
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and rng.random() < 0.9:
            node = node[key]
            continue
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(
                [None, -1, 0, 3, 2.5, "x", "", True, [], {}, [1, 2, 3], [None], {"a": 1}, "same", [[]]]
            )
        return


def test_all_unknown_classes_are_told_at_once() -> None:
    layers = [{"class_name": kind, "config": {}} for kind in ("Convv2D", "Lambda", "Tanh", "Attenntion")]
    with pytest.raises(ConfigError) as error:
        keras_json.load(layers, input_shapes=[(4, 4, 1)])
    assert len(error.value.problems) == 3


def test_shapes_that_are_not_known() -> None:
    with pytest.raises(ConfigError, match="the shape of what goes in is not known; add batch_input_shape to the first"):
        keras_json.load([DENSE])


def test_json_that_is_none_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text('[\n  {"class_name": "Dense"\n   "config": {}}\n]')
    with pytest.raises(ConfigError, match=r"net\.json: is not JSON \(Expecting ',' delimiter, line 3, column 4\)"):
        keras_json.load(tmp_path / "net.json")
    (tmp_path / "two.json").write_text('[{"class_name": "Dense", "config": {"units": 2, "units": 3}}]')
    with pytest.raises(ConfigError, match=r"two\.json: is not JSON that can be read \(it has 'units' twice"):
        keras_json.load(tmp_path / "two.json")
    with pytest.raises(ConfigError, match=r"there is no such file, got '.*nte\.json'; did you mean 'net\.json'\?"):
        keras_json.load(tmp_path / "nte.json")


def test_plain_layers_are_those_of_torch() -> None:
    layers = [L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten(), L.Dense(5)]
    graph = keras_json.load(json.loads(keras.Sequential([L.Input((6, 6, 3)), *layers]).to_json()))
    kinds = {type(module) for module in graph.children()}
    assert {nn.Conv2d, nn.BatchNorm2d, nn.Linear} <= kinds
