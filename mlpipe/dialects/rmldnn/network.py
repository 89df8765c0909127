"""Facts about a network for a translation: its last layer, how many outputs it has, whether it has dropout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpipe import files, limits
from mlpipe.errors import ConfigError, no_such_file, problem

# What activations at the end are called in files, in lower case and without underscores.
_ENDS = {
    "softmax": "softmax", "logsoftmax": "log_softmax", "logsoftmaxv2": "log_softmax", "sigmoid": "sigmoid",
}  # fmt: skip
_KEY = "neural_network.layers"


@dataclass(frozen=True)
class Network:
    """Facts about a network by its layers.

    Attributes:
        end: softmax, log_softmax, sigmoid, or linear for everything else.
        units: How many outputs there are; None: the last layers do not say.
        drops: Whether a layer drops units at random.
        name: The network's name; empty: it has none.
        maps: Whether it gives maps, a number for each pixel and output.
        axes: How many spatial axes samples have; 2 where nothing says it.
        regularized: How many layers have a regularizer.
    """

    end: str = "linear"
    units: int | None = None
    drops: bool = False
    name: str = ""
    maps: bool = False
    axes: int = 2
    regularized: int = 0


def look(layers: Any) -> Network:
    """Facts about a network: a file of layers, a list of them, or a whole network of Keras.

    Raises:
        ConfigError: When the file is not there or is no JSON.
    """
    content = content_of(layers)
    config = content.get("config") if isinstance(content, Mapping) else None
    listed = content if isinstance(content, list) else _layers_of(content)
    found = [layer for layer in listed if isinstance(layer, Mapping)]
    drops = any("dropout" in str(layer.get("class_name", "")).lower() for layer in found)
    name = str(config.get("name") or "") if isinstance(config, Mapping) else ""
    end, units, maps = "linear", None, True
    for layer in _backwards(found, config if isinstance(config, Mapping) else {}):
        own = layer.get("config") if isinstance(layer.get("config"), Mapping) else {}
        assert isinstance(own, Mapping)
        end = _end_of(str(layer.get("class_name", "")), own) if end == "linear" else end
        units, kind = own.get("units", own.get("filters")), str(layer.get("class_name", ""))
        maps = maps and kind != "Flatten" and (units is None or "Conv" in kind)
        if units is not None or str(layer.get("class_name")) not in _PASSING:
            break
    known = units if isinstance(units, int) else None
    regularized = sum(_is_regularized(layer) for layer in found)
    return Network(end, known, drops, name, maps and known is not None, _axes_of(found), regularized)


def _is_regularized(layer: Mapping[str, Any]) -> bool:
    config = layer.get("config")
    return isinstance(config, Mapping) and any(
        str(key).endswith("_regularizer") and value is not None for key, value in config.items()
    )


def _axes_of(layers: list[Mapping[str, Any]]) -> int:
    """The spatial axes of samples: those of the input's shape, else those that a layer is for."""
    for layer in layers:
        config = layer.get("config")
        own = config if isinstance(config, Mapping) else {}
        shape = own.get("batch_input_shape") or own.get("batch_shape")
        if isinstance(shape, list) and len(shape) in (3, 4, 5):
            return len(shape) - 2
        kind = str(layer.get("class_name", ""))
        if kind.startswith("Reshape"):
            break
        if kind[-2:] in ("1D", "2D", "3D"):
            return int(kind[-2])
    return 2


# Layers that leave the number of outputs as it is.
_PASSING = (
    "Activation", "Softmax", "Log_Softmax", "LogSoftmax", "Sigmoid", "Dropout", "Flatten", "BatchNormalization",
    *(f"{kind}{axes}D" for kind in ("UpSampling", "Cropping", "ZeroPadding") for axes in (1, 2, 3)),
)  # fmt: skip


def content_of(layers: Any) -> Any:
    """What a file of a network holds; what is no file as it is.

    Args:
        layers: The file, or its content.

    Raises:
        ConfigError: When the file is not there or is no JSON.
    """
    if not isinstance(layers, str):
        return layers
    path = Path(layers).expanduser()
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


def _layers_of(content: Any) -> list[Any]:
    config = content.get("config") if isinstance(content, Mapping) else None
    listed = config.get("layers") if isinstance(config, Mapping) else config
    return listed if isinstance(listed, list) else []


def _backwards(layers: list[Mapping[str, Any]], config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The layers from the end on, as far as one follows another: by their inputs where these are given."""
    by_name = {_name(layer): layer for layer in layers}
    ends = config.get("output_layers")
    text = json.dumps(ends) if ends else ""
    last = next((layer for layer in reversed(layers) if not ends or f'"{_name(layer)}"' in text), None)
    found: list[Mapping[str, Any]] = []
    while last is not None and last not in found:
        found.append(last)
        inbound = json.dumps(last.get("inbound_nodes") or [])
        place = next(index for index, layer in enumerate(layers) if layer is last)
        before = layers[place - 1] if place else None
        named = next((by_name[name] for name in by_name if f'"{name}"' in inbound and by_name[name] is not last), None)
        last = named or before
    return found


def _name(layer: Mapping[str, Any]) -> str:
    config = layer.get("config")
    return str(layer.get("name") or (config.get("name") if isinstance(config, Mapping) else "") or "")


def _end_of(kind: str, config: Mapping[str, Any]) -> str:
    said = str(config.get("activation") or "") if "activation" in config else kind
    return _ENDS.get(said.lower().replace("_", ""), "linear")
