"""Every layer and option of Keras that networks may have, against Keras itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlpipe.arch.keras import keras_json
from mlpipe.arch.keras import layers as keras_layers
from mlpipe.arch.keras.layers import activations, initializers
from mlpipe.errors import ConfigError
from tests.arch.keras.keras_oracle import agrees, both_agree, difference, loaded, our_outputs, randomise

import keras  # isort: skip

L = keras.layers

# Shapes without spatial axes, and with one, two and three.
# One and three axes are the same code as two: they are left to the longer tests.
ALL_DIMS = [pytest.param(1, marks=pytest.mark.program), 2, pytest.param(3, marks=pytest.mark.program)]
SHAPES: dict[int, tuple[int, ...]] = {0: (7,), 1: (13, 4), 2: (11, 8, 4), 3: (7, 6, 5, 4)}


def test_other_names_of_layers_are_those_of_keras() -> None:
    there = {name: kind.__name__ for name in dir(L) if isinstance(kind := getattr(L, name), type)}
    others = {name: kind for name, kind in there.items() if name != kind and kind in keras_layers.KINDS}
    assert len(others) >= 17 and {name: keras_layers.known(name) for name in others} == others


def model_of(layer: Any, shape: tuple[int, ...]) -> Any:
    given = L.Input(shape)
    return keras.Model(given, layer(given))


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 2, "padding": "same"},
    {"kernel_size": 4, "padding": "same", "use_bias": False},
    {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"},
    {"kernel_size": 5, "strides": 3, "padding": "same"},
    {"kernel_size": 1, "strides": 2, "padding": "same"},
    {"kernel_size": 2, "strides": 2},
    {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    {"kernel_size": 2, "dilation_rate": 3, "padding": "same"},
    {"kernel_size": 2, "dilation_rate": 2},
    {"kernel_size": 3, "padding": "same", "groups": 2},
]


@pytest.mark.parametrize("dims", ALL_DIMS)
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolutions(tmp_path: Path, dims: int, options: dict[str, Any]) -> None:
    both_agree(model_of(getattr(L, f"Conv{dims}D")(6, **options), SHAPES[dims]), tmp_path)


def test_uneven_kernels_strides_and_dilations(tmp_path: Path) -> None:
    for options in ({"strides": (2, 1)}, {"strides": (1, 3)}, {"dilation_rate": (1, 3)}):
        for padding in ("same", "valid"):
            both_agree(model_of(L.Conv2D(5, (3, 2), padding=padding, **options), (12, 9, 3)), tmp_path)


def test_a_causal_convolution(tmp_path: Path) -> None:
    both_agree(model_of(L.Conv1D(5, 3, padding="causal", dilation_rate=2), SHAPES[1]), tmp_path)


@pytest.mark.parametrize("dims", ALL_DIMS[:2])
@pytest.mark.parametrize("kind", ["DepthwiseConv", "SeparableConv"])
@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"strides": 2, "padding": "same"}, {"use_bias": False}])
def test_depthwise_and_separable(
    tmp_path: Path, dims: int, kind: str, multiplier: int, options: dict[str, Any]
) -> None:
    make = getattr(L, f"{kind}{dims}D")
    given = {"depth_multiplier": multiplier, "activation": "tanh", **options}
    both_agree(model_of(make(*([5] if kind == "SeparableConv" else []), 3, **given), SHAPES[dims]), tmp_path)


def test_a_depthwise_convolution_of_volumes_is_one_for_each_channel() -> None:
    layers = [{"class_name": "DepthwiseConv3D", "config": {"kernel_size": 3, "padding": "same", "depth_multiplier": 2}}]
    graph = keras_json.load(layers, input_shapes=[(5, 5, 5, 3)])
    x = torch.randn(2, 3, 5, 5, 5)
    found = graph(x)
    (layer,) = graph.children()
    assert isinstance(layer, nn.Conv3d) and found.shape == (2, 6, 5, 5, 5)
    for channel in range(6):
        alone = nn.functional.conv3d(x[:, channel // 2][:, None], layer.weight[channel][None], padding=1)
        torch.testing.assert_close(found[:, channel], alone[:, 0])


@pytest.mark.parametrize("dims", ALL_DIMS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolutions(tmp_path: Path, dims: int, padding: str, kernel: int, stride: int) -> None:
    shape = (5, 4, 3, 4)[-dims - 1 :]
    make = getattr(L, f"Conv{dims}DTranspose")
    both_agree(model_of(make(5, kernel, strides=stride, padding=padding), shape), tmp_path)


@pytest.mark.parametrize("options", [{"output_padding": 1}, {"output_padding": 0}, {"dilation_rate": 2, "strides": 1}])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_transposed_convolutions_with_options(tmp_path: Path, padding: str, options: dict[str, Any]) -> None:
    layer = L.Conv2DTranspose(5, 3, padding=padding, **{"strides": 2, **options})
    both_agree(model_of(layer, (5, 4, 3)), tmp_path)


@pytest.mark.parametrize("dims", ALL_DIMS)
@pytest.mark.parametrize(
    ("kind", "padding"), [("MaxPooling", "same"), ("MaxPooling", "valid"), ("AveragePooling", "valid")]
)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [None, 1, 2])
def test_pooling(tmp_path: Path, dims: int, kind: str, padding: str, size: int, stride: int | None) -> None:
    both_agree(model_of(getattr(L, f"{kind}{dims}D")(size, stride, padding=padding), SHAPES[dims]), tmp_path)


@pytest.mark.parametrize("length", [7, 8, 11])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_mean_of_same_windows_leaves_the_padding_out(length: int, size: int, stride: int) -> None:
    # Keras's torch backend counts repeated values where the padding is uneven, so windows are cut out by hand.
    config = {"pool_size": [size, 2], "strides": [stride, 1], "padding": "same"}
    graph = keras_json.load([{"class_name": "AveragePooling2D", "config": config}], input_shapes=[(length, 6, 2)])
    x = torch.randn(1, 2, length, 6)
    found = graph(x)
    places = -(-length // stride)
    before = max((places - 1) * stride + size - length, 0) // 2
    for row in range(places):
        for column in range(6):
            top = row * stride - before
            window = x[:, :, max(top, 0) : top + size, column : column + 2]
            torch.testing.assert_close(found[:, :, row, column], window.mean((2, 3)))


def test_same_pooling_pads_the_maximum_with_minus_infinity_and_the_mean_with_nothing() -> None:
    x = -torch.ones(1, 1, 3, 3)
    for kind in ("MaxPooling2D", "AveragePooling2D"):
        graph = keras_json.load(
            [{"class_name": kind, "config": {"pool_size": 2, "padding": "same"}}], input_shapes=[(3, 3, 1)]
        )
        torch.testing.assert_close(graph(x), -torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("dims", ALL_DIMS)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("kind", ["GlobalMaxPooling", "GlobalAveragePooling"])
def test_global_pooling(tmp_path: Path, dims: int, kind: str, keep: bool) -> None:
    both_agree(model_of(getattr(L, f"{kind}{dims}D")(keepdims=keep), SHAPES[dims]), tmp_path)


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False), (False, False)])
def test_batch_normalization(tmp_path: Path, dims: int, scale: bool, center: bool) -> None:
    both_agree(model_of(L.BatchNormalization(scale=scale, center=center, epsilon=0.01), SHAPES[dims]), tmp_path)


@pytest.mark.parametrize("axis", [1, 2, 3, -2])
def test_batch_normalization_of_another_axis(tmp_path: Path, axis: int) -> None:
    both_agree(model_of(L.BatchNormalization(axis=axis), SHAPES[2]), tmp_path)


def test_batch_normalization_learns_as_keras_does(tmp_path: Path) -> None:
    model = model_of(L.BatchNormalization(momentum=0.9), (6, 5, 3))
    randomise(model)
    graph = loaded(model, tmp_path)
    x = np.random.default_rng(3).normal(size=(50, 6, 5, 3)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(model(x, training=True))
    graph.train()
    found = graph(torch.from_numpy(x).movedim(-1, 1)).detach().movedim(1, -1).numpy()
    assert np.abs(found - wanted).max() < 1e-5
    norm = graph.get_submodule(next(iter(dict(graph.named_children()))))
    theirs = {weight.name: keras.ops.convert_to_numpy(weight) for weight in model.layers[1].weights}
    np.testing.assert_allclose(norm.running_mean.numpy(), theirs["moving_mean"], rtol=1e-4, atol=1e-6)
    # torch's moving variance is that of a sample of n: n / (n - 1) times Keras's.
    np.testing.assert_allclose(norm.running_var.numpy(), theirs["moving_variance"], rtol=1e-3)


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_layer_normalization(tmp_path: Path, dims: int, options: dict[str, Any]) -> None:
    both_agree(model_of(L.LayerNormalization(**options), SHAPES[dims]), tmp_path)


@pytest.mark.parametrize("axis", [(2, 3), (1, 2, 3), [-1, -2]])
def test_layer_normalization_of_the_last_axes(tmp_path: Path, axis: Any) -> None:
    both_agree(model_of(L.LayerNormalization(axis=axis), SHAPES[2]), tmp_path)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2), (1, 3)])
def test_layer_normalization_of_any_axes(axes: tuple[int, ...]) -> None:
    # Keras's torch backend can do the last axes only; this is the layer's formula.
    layer = {"class_name": "LayerNormalization", "config": {"axis": list(axes), "epsilon": 0.01}}
    graph = keras_json.load([layer], input_shapes=[SHAPES[2]])
    (norm,) = graph.children()
    with torch.no_grad():
        for weight in norm.parameters():
            weight.normal_()
    x = torch.randn(2, *SHAPES[2])
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    mean, var = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    wanted = (x - mean) / (var + 0.01).sqrt() * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    torch.testing.assert_close(graph(x.movedim(-1, 1)).movedim(1, -1), wanted)


@pytest.mark.parametrize("affine", [False, True])
def test_instance_normalization_is_that_of_torch(affine: bool) -> None:
    layers = [{"class_name": "InstanceNormalization", "config": {"affine": affine, "epsilon": 0.1}}]
    graph = keras_json.load(layers, input_shapes=[(6, 5, 3)])
    x = torch.randn(2, 3, 6, 5)
    torch.testing.assert_close(graph(x), nn.InstanceNorm2d(3, eps=0.1, affine=affine)(x))
    assert keras_json.count(graph) == ((6, 6) if affine else (0, 0))


SHAPED = [
    (L.Flatten, 2),
    (L.Flatten, 3),
    (L.Flatten, 0),
    (lambda: L.Reshape((8, 11, 4)), 2),
    (lambda: L.Reshape((-1, 4)), 2),
    (lambda: L.Reshape((352,)), 2),
    (lambda: L.Reshape((7, 1, 1)), 0),
    (lambda: L.Reshape((2, -1, 13)), 1),
    (lambda: L.Permute((2, 1, 3)), 2),
    (lambda: L.Permute((3, 1, 2)), 2),
    (lambda: L.ZeroPadding1D((1, 3)), 1),
    (lambda: L.ZeroPadding1D(2), 1),
    (lambda: L.ZeroPadding2D(2), 2),
    (lambda: L.ZeroPadding2D((1, 2)), 2),
    (lambda: L.ZeroPadding2D(((0, 1), (2, 3))), 2),
    (lambda: L.ZeroPadding3D(((0, 1), (2, 3), (1, 0))), 3),
    (lambda: L.Cropping1D((1, 3)), 1),
    (lambda: L.Cropping2D(((0, 1), (2, 3))), 2),
    (lambda: L.Cropping3D(1), 3),
    (lambda: L.UpSampling1D(3), 1),
    (lambda: L.UpSampling2D(2), 2),
    (lambda: L.UpSampling2D((3, 2), interpolation="bilinear"), 2),
    (lambda: L.UpSampling3D((1, 2, 3)), 3),
    (lambda: L.Dense(5, activation="swish"), 0),
    (lambda: L.Dense(5), 1),
    (lambda: L.Dense(5, use_bias=False), 2),
    (lambda: L.Dropout(0.5), 2),
    (lambda: L.SpatialDropout1D(0.5), 1),
    (lambda: L.SpatialDropout2D(0.5), 2),
    (lambda: L.SpatialDropout3D(0.5), 3),
    (lambda: L.Rescaling(0.5, offset=-1.0), 2),
    (lambda: L.Rescaling([0.5, 1.0, 2.0, 3.0]), 2),
    (lambda: L.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0]), 2),
    (lambda: L.Softmax(), 2),
    (lambda: L.Softmax(axis=1), 2),
    (lambda: L.Softmax(axis=[1, 2]), 2),
    (lambda: L.ReLU(), 2),
    (lambda: L.ReLU(max_value=0.5), 2),
    (lambda: L.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.2), 2),
    (lambda: L.LeakyReLU(negative_slope=0.1), 2),
    (lambda: L.LeakyReLU(), 2),
    (lambda: L.ELU(0.7), 2),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(SHAPED)))
def test_layers_that_move_or_map_numbers(tmp_path: Path, case: int) -> None:
    make, dims = SHAPED[case]
    both_agree(model_of(make(), SHAPES[dims]), tmp_path)


SPELLED = {
    "hardsilu": "hard_silu",
    "logsoftmax": "log_softmax",
    "hardtanh": "hard_tanh",
    "tanhshrink": "tanh_shrink",
    "logsigmoid": "log_sigmoid",
    "leakyrelu": "leaky_relu",
    "hardsigmoid": "hard_sigmoid",
}
NAMED = sorted(SPELLED.get(name, name) for name in activations.NAMES)


@pytest.mark.parametrize("name", NAMED)
def test_activations(tmp_path: Path, name: str) -> None:
    for dims in (0, 2):
        model = model_of(L.Activation(name), SHAPES[dims])
        agrees(model, tmp_path)
        agrees(model_of(L.Dense(5, activation=name), SHAPES[dims]), tmp_path)


@pytest.mark.parametrize(
    ("written", "means"),
    [("ReLU", nn.ReLU()), ("RELU", nn.ReLU()), ("Log_Softmax", nn.LogSoftmax(1)), ("log_softmax_v2", nn.LogSoftmax(1)),
     ("Swish", nn.SiLU()), ("Tanh", nn.Tanh()), ("Sigmoid", nn.Sigmoid()), ("LeakyReLU", nn.LeakyReLU(0.3))],
)  # fmt: skip
def test_activations_in_any_case_inline_and_as_layers(
    written: str, means: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    x = torch.randn(3, 4, 5, 6)
    for layer in (
        {"class_name": written, "config": {}},
        {"class_name": "Activation", "config": {"activation": written, "axis": -1}},
    ):
        if layer["class_name"] != "log_softmax_v2":
            torch.testing.assert_close(keras_json.load([layer], input_shapes=[(5, 6, 4)])(x), means(x))
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 3, "activation": written}}
    graph = keras_json.load([dense], input_shapes=[(5, 6, 4)])
    plain = keras_json.load([{**dense, "config": {"name": "d", "units": 3}}], input_shapes=[(5, 6, 4)])
    plain.load_state_dict(graph.state_dict())
    torch.testing.assert_close(graph(x), means(plain(x)))


def test_hard_sigmoid_is_that_of_the_version() -> None:
    layer = {"class_name": "Activation", "config": {"activation": "hard_sigmoid"}}
    x = torch.linspace(-4, 4, 17).reshape(1, 17)
    old = keras_json.load(
        {"class_name": "Sequential", "config": {"layers": [layer]}, "keras_version": "2.4.0"}, input_shapes=[(17,)]
    )
    new = keras_json.load(
        {"class_name": "Sequential", "config": {"layers": [layer]}, "keras_version": "3.1.0"}, input_shapes=[(17,)]
    )
    torch.testing.assert_close(old(x), (0.2 * x + 0.5).clamp(0, 1))
    torch.testing.assert_close(new(x), nn.functional.hardsigmoid(x))


def test_dropout_that_decides_once_for_an_axis() -> None:
    for noise, same in (([None, 1, 1, 1], (1, 2, 3)), ([None, None, 1, 4], (3,))):
        layer = {"class_name": "Dropout", "config": {"rate": 0.4, "noise_shape": noise}}
        graph = keras_json.load([layer], input_shapes=[(6, 5, 4)])
        torch.manual_seed(0)
        found = graph.train()(torch.ones(500, 4, 6, 5))
        assert found.unique().tolist() == pytest.approx([0, 1 / 0.6])
        assert bool((found.amax(same) == found.amin(same)).all()) and found.mean().item() == pytest.approx(1, abs=0.1)
        assert bool((found.flatten(1).amax(1) != found.flatten(1).amin(1)).any()) is (len(same) == 1)
        x = torch.randn(2, 4, 6, 5)
        assert torch.equal(graph.eval()(x), x)


@pytest.mark.parametrize("operation", ["x + 3.0", "3.0 - x", "x - 3.0", "x * 0.5 * x", "keras.ops.maximum(x, 0.1)"])
def test_arithmetic_with_numbers(tmp_path: Path, operation: str) -> None:
    x = L.Input((4, 3))
    agrees(keras.Model(x, eval(operation, {"x": x, "keras": keras})), tmp_path)


MERGES = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]


@pytest.mark.parametrize("kind", MERGES)
def test_merges(tmp_path: Path, kind: str) -> None:
    for dims in (0, 1, 2, 3):
        a, b = L.Input(SHAPES[dims]), L.Input(SHAPES[dims])
        model = keras.Model([a, b], getattr(L, kind)()([a, b]))
        both_agree(model, tmp_path)


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_concatenate_along_an_axis(tmp_path: Path, axis: int) -> None:
    a, b, c = (L.Input(SHAPES[2]) for _ in range(3))
    agrees(keras.Model([a, b, c], L.Concatenate(axis=axis)([a, b, c])), tmp_path)


@pytest.mark.parametrize("shapes", [[(5, 4, 3), (1, 1, 3)], [(5, 4, 3), (3,)], [(3,), (4, 3)], [(1, 4, 3), (5, 1, 3)]])
def test_merges_of_tensors_that_are_repeated(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    inputs = [L.Input(shape) for shape in shapes]
    agrees(keras.Model(inputs, L.Multiply()(inputs)), tmp_path)


def test_rmldnn_takes_the_amount_of_zeros_as_padding() -> None:
    x = torch.randn(2, 3, 9, 9)
    for padding, sides in ((1, (1, 1)), ([2, 0], (2, 0))):
        layer = {"class_name": "Conv2D", "config": {"filters": 4, "kernel_size": 3, "strides": 2, "padding": padding}}
        graph = keras_json.load([layer], input_shapes=[(9, 9, 3)])
        (conv,) = graph.children()
        torch.testing.assert_close(graph(x), nn.functional.conv2d(x, conv.weight, conv.bias, 2, sides))
        pool = {"class_name": "MaxPooling2D", "config": {"pool_size": 4, "strides": 2, "padding": padding}}
        torch.testing.assert_close(
            keras_json.load([pool], input_shapes=[(9, 9, 3)])(x), nn.functional.max_pool2d(x, 4, 2, sides)
        )
        layer = {
            "class_name": "Conv2DTranspose",
            "config": {"filters": 4, "kernel_size": 3, "strides": 2, "padding": padding},
        }
        graph = keras_json.load([layer], input_shapes=[(9, 9, 3)])
        (conv,) = graph.children()
        torch.testing.assert_close(graph(x), nn.functional.conv_transpose2d(x, conv.weight, conv.bias, 2, sides))


INITIALIZERS = (
    "zeros ones glorot_uniform glorot_normal he_uniform he_normal lecun_uniform lecun_normal random_normal random_uniform "
    "truncated_normal orthogonal variance_scaling"
)


@pytest.mark.parametrize("name", INITIALIZERS.split())
def test_new_weights_are_spread_as_keras_spreads_them(name: str) -> None:
    torch.manual_seed(0)
    shape = (3, 3, 100, 150)
    found = initializers.read(name, "here").draw(shape).numpy()
    keras.utils.set_random_seed(1)
    wanted = keras.ops.convert_to_numpy(keras.initializers.get(name)(shape))
    spread = float(wanted.std())
    for share in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert np.quantile(found, share) == pytest.approx(float(np.quantile(wanted, share)), abs=0.05 * spread + 1e-9)
    assert found.std() == pytest.approx(spread, rel=0.02)


def test_a_transposed_kernel_is_spread_by_its_own_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    layer = {
        "class_name": "Conv2DTranspose",
        "config": {"filters": 8, "kernel_size": 5, "kernel_initializer": "he_normal"},
    }
    graph = keras_json.load([layer], input_shapes=[(4, 4, 128)])
    wanted = keras.ops.convert_to_numpy(keras.initializers.HeNormal()((5, 5, 8, 128))).std()
    assert next(graph.parameters()).std().item() == pytest.approx(wanted, rel=0.05)


WRONG = [
    ("Conv2D", {"filters": 4}, "kernel_size: a value is needed"),
    ("Conv2D", {"filters": 0, "kernel_size": 3}, "filters: must be a whole number >= 1, got 0"),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3, 3]}, "kernel_size: must be a whole number or a list of 2"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "sane"}, "not supported, got 'sane'; did you mean 'same'?"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}, "export the network with channels_last"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 3}, "groups: must divide 4 input channels and 4 filters"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "activaton": "relu"}, "unknown key, got 'relu'; did you mean 'activation'?"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "activation": "rellu"}, "unknown activation, got 'rellu'; did you mean 'relu'?"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "kernel_initializer": "he_norml"}, "did you mean 'henormal'?"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "kernel_constraint": {"class_name": "MaxNorm"}}, "optimizer.weight_decay"),
    ("Conv1D", {"filters": 4, "kernel_size": 3}, "needs an input of shape (steps, channels), got (11, 8, 4)"),
    ("Dense", {"units": 4, "use_bias": 1}, "use_bias: must be true or false, got 1"),
    ("Reshape", {"target_shape": [5, 5]}, "does not fit an input of shape (11, 8, 4) with 352 numbers, got [5, 5]"),
    ("BatchNormalization", {"axis": 4}, "axis: does not fit an input of shape (11, 8, 4), got 4"),
    ("BatchNormalization", {"renorm": True}, "renorm: is not supported"),
    ("UpSampling2D", {"interpolation": "bicubic"}, "interpolation: is not supported, got 'bicubic'"),
    ("Dropout", {"rate": 2}, "rate: must be between 0 and 1"),
    ("Cropping2D", {"cropping": 6}, "nothing is left of it"),
    ("Add", {}, "must name two inputs or more, got 1"),
    ("Conv2D", {"filters": 4, "kernel_size": 12}, "cannot take input (11, 8, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "sentence"), WRONG, ids=[f"{kind} {config}" for kind, config, _ in WRONG])
def test_a_wrong_key_is_one_sentence(kind: str, config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        keras_json.load([{"class_name": kind, "config": {"name": "it", **config}}], input_shapes=[(11, 8, 4)])
    assert f"arch.layers: it ({kind})" in str(error.value) and sentence in str(error.value), str(error.value)


def test_every_documented_layer_is_there() -> None:
    numbered = {"Conv": "123", "DepthwiseConv": "123", "SeparableConv": "12", "MaxPooling": "123", "AveragePooling": "123",
                "GlobalMaxPooling": "123", "GlobalAveragePooling": "123", "SpatialDropout": "23", "UpSampling": "123",
                "ZeroPadding": "123", "Cropping": "123"}  # fmt: skip
    names = [f"{name}{dims}D" for name, all_dims in numbered.items() for dims in all_dims]
    names += [f"Conv{dims}DTranspose" for dims in "123"]
    names += ["Dense", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "Dropout", "Reshape", "Flatten",
              "Add", "Subtract", "Multiply", "Average", "Concatenate", "ReLU", "LeakyReLU", "Softmax", "Log_Softmax",
              "Sigmoid", "Tanh", "Swish"]  # fmt: skip
    assert [name for name in names if not keras_layers.known(name)] == []


def test_the_oracle_sees_a_difference(tmp_path: Path) -> None:
    model = model_of(L.Conv2D(5, 3), SHAPES[2])
    randomise(model)
    graph = loaded(model, tmp_path)
    with torch.no_grad():
        next(graph.parameters()).mul_(1.001)
    assert difference(model, graph) > 1e-5
    assert our_outputs(graph, [np.zeros((1, 11, 8, 4), np.float32)])[0].shape == (1, 9, 6, 5)
