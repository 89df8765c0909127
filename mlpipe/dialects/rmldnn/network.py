"""Facts about a network for the translation: final activation, number of outputs, whether it has dropout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe import current_folder, files, limits
from mlpipe.errors import ConfigError, no_such_file, problem

# Layers that are random in training.
_RANDOM = re.compile("dropout|noise|^random", re.IGNORECASE)
# Final activations by their names in files, in lower case and without underscores.
_ENDS = {
    "softmax": "softmax", "softmaxv2": "softmax", "logsoftmax": "log_softmax", "logsoftmaxv2": "log_softmax",
    "sigmoid": "sigmoid",
}  # fmt: skip
# Activations that are also layers, in the same spelling.
_ACTIVATIONS = frozenset({
    *_ENDS, "relu", "relu6", "leakyrelu", "prelu", "elu", "selu", "gelu", "tanh", "swish", "silu", "softplus", "softsign",
    "hardsigmoid", "hardtanh", "hardswish", "hardsilu", "mish", "celu", "exponential", "logsigmoid", "tanhshrink", "linear",
})  # fmt: skip
_KEY = "neural_network.layers"


@dataclass(frozen=True)
class Network:
    """Facts about a network from its layers.

    Attributes:
        end: softmax, log_softmax, sigmoid, or linear for everything else.
        units: Number of outputs; None: not determined by the last layers.
        drops: Whether a layer drops units, or changes values, at random.
        name: The network's name; empty: none.
        maps: Whether it outputs maps, one value per pixel and output.
        axes: Number of spatial axes of samples; 2 if unknown.
        regularized: Number of layers with a regularizer.
    """

    end: str = "linear"
    units: int | None = None
    drops: bool = False
    name: str = ""
    maps: bool = False
    axes: int = 2
    regularized: int = 0


def look(layers: Any) -> Network:
    """Return facts about a network: a file of layers, a list of them, or a whole network of Keras.

    Raises:
        ConfigError: When the file does not exist or is not JSON.
    """
    content = content_of(layers)
    config = content.get("config") if isinstance(content, Mapping) else None
    name = str(config.get("name") or "") if isinstance(config, Mapping) else ""
    every = list(_all_layers(content))
    plain = [part for layer in every for part in _unwrapped(layer)]
    drops = any(_is_random(layer) for layer in plain)
    gives = _Graph(content).gives()
    regularized = sum(_is_regularized(layer) for layer in plain)
    maps = gives.maps and gives.units is not None
    return Network(gives.end, gives.units, drops, name, maps, _axes_of(every), regularized)


def _is_random(layer: Mapping[str, Any]) -> bool:
    own = _config(layer)
    rates = [own.get("dropout"), own.get("recurrent_dropout")]
    return _RANDOM.search(_kind(layer)) is not None or any(isinstance(rate, int | float) and rate > 0 for rate in rates)


def _is_regularized(layer: Mapping[str, Any]) -> bool:
    own = _config(layer)
    if _kind(layer) == "ActivityRegularization":
        return any(own.get(key) for key in ("l1", "l2"))
    return any(str(key).endswith("_regularizer") and value is not None for key, value in own.items())


def _axes_of(layers: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of spatial axes of samples: from the input's shape, else from the kinds of layers."""
    for layer in layers:
        shape = _input_shape(layer)
        if shape is not None and len(shape) in (3, 4, 5):
            return len(shape) - 2
        kind = _kind(layer)
        if kind.startswith("Reshape"):
            break
        if kind[-2:] in ("1D", "2D", "3D"):
            return int(kind[-2])
    return 2


@dataclass(frozen=True)
class _Values:
    """Output of a layer: number of channels or units, whether they are maps, and the activation in `_ENDS`."""

    units: int | None = None
    maps: bool = False
    end: str = "linear"


# Layers that keep values, layers that only change values, and merges of inputs of the same shape.
_PASSING = (
    "Dropout", "SpatialDropout", "Flatten", "Permute", "UpSampling", "Cropping", "ZeroPadding", "GaussianDropout",
    "AlphaDropout", "GaussianNoise", "Identity", "ActivityRegularization", "RandomFlip",
)  # fmt: skip
_CHANGING = (
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization",
    "UnitNormalization", "Normalization", "Rescaling", "AveragePooling", "MaxPooling", "AdaptiveAveragePooling",
    "AdaptiveMaxPooling", "ThresholdedReLU", "Resizing", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
)  # fmt: skip
_RECURRENT = ("LSTM", "GRU", "SimpleRNN")
_MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
# Maximum number of layers to search backwards from the end.
_FAR = 100


class _Graph:
    """Layers of a network by their inputs.

    Args:
        content: A list of layers, or a whole network of Keras.
    """

    def __init__(self, content: Any) -> None:
        self._layers = _layer_list(content)
        self._value_cache: dict[int, _Values] = {}
        self._by_name = {_name(layer): layer for layer in self._layers}
        config = content.get("config") if isinstance(content, Mapping) else None
        ends = config.get("output_layers") if isinstance(config, Mapping) else None
        text = json.dumps(ends) if ends else ""
        outputs = (layer for layer in reversed(self._layers) if not ends or f'"{_name(layer)}"' in text)
        self._last = next(outputs, None)

    def gives(self) -> _Values:
        """Return the output of its last layer."""
        return self._values_of(self._last, _FAR) if self._last is not None else _Values()

    def _values_of(self, layer: Mapping[str, Any], far: int) -> _Values:
        """Return the output of a layer, determined from at most `far` layers before it."""
        # The cache ends cycles, and visits a layer with several consumers once.
        if id(layer) not in self._value_cache:
            self._value_cache[id(layer)] = _Values()
            self._value_cache[id(layer)] = self._layer_values(layer, far - 1) if far else _Values()
        return self._value_cache[id(layer)]

    def _layer_values(self, layer: Mapping[str, Any], far: int) -> _Values:
        kind, own = _kind(layer), _config(layer)
        plain = kind.rstrip("D123").removeprefix("Global")
        if isinstance(own.get("layers"), list):
            return _Graph(layer).gives()
        if kind.startswith("Input"):
            shape = _input_shape(layer) or []
            return _Values(_positive_integer(shape[-1]) if shape else None, len(shape) > 2)
        if "Conv" in plain and plain != "DepthwiseConv":
            return _Values(_positive_integer(own.get("filters")), True, _end_activation(own))
        fed = [self._values_of(source, far) for source in self._feeding_layers(layer)]
        first = fed[0] if fed else _Values()
        if plain == "Dense":
            return _Values(_positive_integer(own.get("units")), first.maps, _end_activation(own))
        if plain in _RECURRENT:
            return _Values(_positive_integer(own.get("units")), own.get("return_sequences") is True)
        if plain in ("Bidirectional", "TimeDistributed"):
            return self._wrapper_values(plain, own, first)
        if plain == "Embedding":
            return _Values(_positive_integer(own.get("output_dim")), True)
        if plain == "RepeatVector":
            return _Values(first.units, True, first.end)
        if plain == "Dot":
            return _Values()
        if plain == "DepthwiseConv":
            times = _positive_integer(own.get("depth_multiplier", 1))
            return _Values(first.units * times if first.units and times else None, True, _end_activation(own))
        if plain == "Reshape":
            # Unlike an input's shape, it has no batch axis.
            target = own.get("target_shape")
            sides = target if isinstance(target, list) else []
            return _Values(_positive_integer(sides[-1]) if sides else None, len(sides) > 1, first.end)
        if plain in _MERGES or plain == "Concatenate":
            return _merged(plain, fed)
        if plain in _PASSING or plain in _CHANGING:
            maps = first.maps and plain != "Flatten" and not kind.startswith("Global")
            return _Values(first.units, maps, first.end if plain in _PASSING else "linear")
        if (activation := _activation(kind, own)) is not None:
            return _Values(
                first.units, first.maps, first.end if activation == "linear" else _ENDS.get(activation, "linear")
            )
        return _Values()

    def _wrapper_values(self, plain: str, own: Mapping[str, Any], first: _Values) -> _Values:
        """Return the output of a wrapper of another layer."""
        inner = own.get("layer")
        values = _Graph([inner]).gives() if isinstance(inner, Mapping) else _Values()
        if plain == "TimeDistributed":
            return _Values(values.units or first.units, True, values.end)
        is_joined = str(own.get("merge_mode") or "concat") == "concat"
        return _Values(values.units * 2 if values.units and is_joined else values.units, values.maps)

    def _feeding_layers(self, layer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the input layers of a layer: those that it names, else the previous one."""
        inbound = json.dumps(layer.get("inbound_nodes") or [])
        quoted = dict.fromkeys(re.findall(r'"([^"]+)"', inbound))
        sources = [source for name in quoted if (source := self._by_name.get(name)) is not None and source is not layer]
        place = next(index for index, candidate in enumerate(self._layers) if candidate is layer)
        return sources or self._layers[max(place - 1, 0) : place]


def _merged(kind: str, fed: Sequence[_Values]) -> _Values:
    """Return the output of a layer with several inputs."""
    units = [source.units for source in fed if source.units is not None]
    ends = {source.end for source in fed}
    maps = any(source.maps for source in fed)
    if kind == "Concatenate":
        # Concatenated sigmoids are sigmoids, but concatenated softmaxes do not sum to 1.
        return _Values(
            sum(units) if len(units) == len(fed) else None, maps, "sigmoid" if ends == {"sigmoid"} else "linear"
        )
    return _Values(max(units, default=None), maps)


def _activation(kind: str, own: Mapping[str, Any]) -> str | None:
    """Return the activation that a layer is, in lower case and without underscores; None for other layers."""
    text = str(own.get("activation") or "linear") if kind == "Activation" else kind
    plain = text.split(">")[-1].replace("_", "").lower()
    return plain if kind == "Activation" or plain in _ACTIVATIONS else None


def _all_layers(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all layers, including those of nested networks."""
    for layer in _layer_list(content):
        if isinstance(_config(layer).get("layers"), list):
            yield from _all_layers(layer)
        else:
            yield layer


def _unwrapped(layer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a layer, or the layers inside a wrapper: a layer for each step, or one for each direction."""
    parts = [child for key in ("layer", "backward_layer") if isinstance(child := _config(layer).get(key), Mapping)]
    if not parts:
        yield layer
    for part in parts:
        for inner in _all_layers([part]):
            yield from _unwrapped(inner)


def _layer_list(content: Any) -> list[Mapping[str, Any]]:
    config = content.get("config") if isinstance(content, Mapping) else None
    listed = content if isinstance(content, list) else config.get("layers") if isinstance(config, Mapping) else config
    return [layer for layer in listed if isinstance(layer, Mapping)] if isinstance(listed, list) else []


def _config(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    config = layer.get("config")
    return config if isinstance(config, Mapping) else {}


def _kind(layer: Mapping[str, Any]) -> str:
    return str(layer.get("class_name", "")).split(">")[-1]


def _input_shape(layer: Mapping[str, Any]) -> list[Any] | None:
    shape = _config(layer).get("batch_input_shape") or _config(layer).get("batch_shape")
    return shape if isinstance(shape, list) else None


def _positive_integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def content_of(layers: Any) -> Any:
    """Return the content of a network's file; return other values unchanged.

    Args:
        layers: The file, or its content.

    Raises:
        ConfigError: When the file does not exist or is not JSON.
    """
    if not isinstance(layers, str):
        return layers
    path = current_folder.expanded(layers)
    if (path / "saved_model.pb").is_file():
        fix = "write its layers with model.to_json(), and its weights with model.save_weights('weights.h5')"
        raise ConfigError(problem(_KEY, "is a SavedModel of TensorFlow, which cannot be read", got=layers, fix=fix))
    if not path.is_file():
        raise ConfigError(no_such_file(_KEY, path, got=layers, otherwise="name a JSON file, as seen from this folder"))
    try:
        return files.plain_json(limits.text(path), unique=True)
    except (OSError, ValueError) as error:
        fix = "give what model.to_json() writes"
        raise ConfigError(problem(_KEY, f"is not JSON ({error})", got=layers, fix=fix)) from error


def _name(layer: Mapping[str, Any]) -> str:
    config = layer.get("config")
    return str(layer.get("name") or (config.get("name") if isinstance(config, Mapping) else "") or "")


def _end_activation(config: Mapping[str, Any]) -> str:
    text = str(config.get("activation") or "linear")
    return _ENDS.get(text.lower().replace("_", ""), "linear")
