"""The keys of one layer in a Keras configuration, each read once, so that unread ones are found and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from torch import Tensor, nn

from mlpipe.arch.keras.layers import activations, initializers
from mlpipe.arch.keras.layers.activations import Activation
from mlpipe.arch.keras.layers.initializers import Initializer
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

# A shape in Keras's order: channels last, without the batch.
Shape = tuple[int, ...]

# Keys that do not affect a layer's results, or repeat other information.
_HARMLESS = frozenset(
    ("name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "input_dim")
) | frozenset(("shape", "shared_object_id", "seed", "autocast", "quantization_config", "lora_rank", "lora_alpha"))
_REQUIRED: Any = object()
_LARGEST = 1_000_000_000


@dataclass(frozen=True)
class Slot:
    """Destination of one weight of a Keras layer.

    Attributes:
        tensor: Name of the tensor in the layer's module.
        shape: Its shape in Keras.
        convert: Conversion from Keras's layout to torch's.
        initializer: Its initializer; None: it keeps the module's initial value.
    """

    tensor: str
    shape: Shape
    convert: Callable[[Tensor], Tensor]
    initializer: Initializer | None = None

    def inside(self, module: str) -> Slot:
        """Return the same slot for a module that contains the layer's module under this name."""
        return replace(self, tensor=f"{module}.{self.tensor}")


# Builds the layer inside a wrapper from its key, its description in Keras, and the input shape.
Inner = Callable[[str, Any, Shape], tuple[nn.Module, dict[str, Slot], Activation | None]]


class Keys:
    """The keys of one layer's configuration.

    Args:
        layer: The layer's name.
        kind: Its class.
        config: Its configuration.
        keras: The major version of Keras that it was written for.
    """

    def __init__(self, layer: str, kind: str, config: Mapping[str, Any], keras: int = 3) -> None:
        self.layer, self.kind, self.config, self.keras = layer, kind, config, keras
        self._read: set[str] = set()

    @property
    def place(self) -> str:
        """The layer, for error messages."""
        return f"arch.layers: {self.layer} ({self.kind})"

    def wrong(self, key: str, fault: str, *, got: object = None, fix: str = "") -> NoReturn:
        """Refuse a key.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(problem(f"{self.place}: {key}", fault, got=got, fix=fix))

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a key's value unchanged; null means the default, if there is one."""
        self._read.add(key)
        value = self.config.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            self.wrong(key, "a value is needed", fix="add it to the layer's config")
        return default

    def count(self, key: str, default: Any = _REQUIRED, *, least: int = 1) -> int:
        """Return an integer."""
        return self._whole(key, self.value(key, default), least)

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """Return a number."""
        value = self.value(key, default)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(key, "must be a number", got=value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.value(key, default)
        if not isinstance(value, bool):
            self.wrong(key, "must be true or false", got=value)
        return value

    def choice(self, key: str, options: Sequence[str], default: Any = _REQUIRED) -> str:
        """Return one of some words, in any case."""
        value = self.value(key, default)
        if not isinstance(value, str) or value.lower() not in options:
            near = did_you_mean(str(value), options, otherwise=f"use one of {listing(options)}")
            self.wrong(key, "is not supported", got=value, fix=near)
        return value.lower()

    def sizes(self, key: str, dims: int, default: Any = _REQUIRED, *, least: int = 1) -> Shape:
        """Return an integer for each axis; a single one applies to all."""
        value = self.value(key, default)
        listed = [value] * dims if isinstance(value, int) else value
        if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) != dims:
            self.wrong(key, f"must be a whole number or a list of {dims}", got=value)
        return tuple(self._whole(key, item, least) for item in listed)

    def pairs(self, key: str, dims: int, default: Any) -> tuple[tuple[int, int], ...]:
        """Return amounts before and after each axis, from a number, one number per axis, or a pair per axis."""
        value = self.value(key, default)
        listed = [value] * dims if isinstance(value, int) else value
        if dims == 1 and isinstance(listed, Sequence) and len(listed) == 2:
            listed = [listed]
        if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) != dims:
            self.wrong(key, f"must be a whole number, a list of {dims}, or of {dims} pairs", got=value)
        pairs = [[item, item] if isinstance(item, int) else item for item in listed]
        if not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
            self.wrong(key, f"must be a whole number, a list of {dims}, or of {dims} pairs", got=value)
        return tuple((self._whole(key, pair[0], 0), self._whole(key, pair[1], 0)) for pair in pairs)

    def only(self, key: str, *allowed: Any, fix: str = "") -> None:
        """Refuse a key with another value than these, which are the supported ones."""
        self._read.add(key)
        if self.config.get(key) not in (None, *allowed):
            self.wrong(key, "is not supported", got=self.config[key], fix=fix or f"use {listing(allowed) or 'null'}")

    def channels_last(self) -> None:
        """Require that images are stored with channels last.

        Raises:
            ConfigError: When the layer has another order.
        """
        self.only("data_format", "channels_last", fix="export the network with channels_last")

    def initializer(self, key: str, default: str) -> Initializer:
        """Return the initializer of a weight."""
        return initializers.read(self.value(key, default), f"{self.place}: {key}")

    def function(self, key: str, default: Any = _REQUIRED) -> Activation:
        """Return the activation in a key."""
        return activations.named(self.value(key, default), f"{self.place}: {key}", self.keras)

    def activation(self) -> Activation | None:
        """Return the activation of the layer's output; None: none."""
        function = self.function("activation", "linear")
        return None if function.name == "linear" else function

    def rank(self, shape: Shape, dims: int) -> int:
        """Require `dims` spatial axes and channels, and return the number of channels.

        Raises:
            ConfigError: When the input has other axes.
        """
        if len(shape) != dims + 1:
            axes = {1: "(steps, channels)", 2: "(height, width, channels)", 3: "(depth, height, width, channels)"}[dims]
            raise ConfigError(problem(self.place, f"needs an input of shape {axes}", got=shape))
        return shape[-1]

    def finish(self) -> None:
        """Refuse keys that were not read.

        Raises:
            ConfigError: With a sentence for each key that is unknown or would change results.
        """
        problems = []
        for key, value in self.config.items():
            if key in self._read or key in _HARMLESS or value is None or key.endswith("_regularizer"):
                # A regularizer changes no output; in training `optimizer.weight_decay` is its counterpart.
                continue
            if key.endswith("_constraint"):
                fix = "set it to null; optimizer.weight_decay keeps weights small"
                problems.append(problem(f"{self.place}: {key}", "is not supported", got=value, fix=fix))
            else:
                known = listing(sorted(self._read))
                fix = did_you_mean(key, self._read, otherwise=f"known keys: {known}" if known else "it has no keys")
                problems.append(problem(f"{self.place}: {key}", "unknown key", got=value, fix=fix))
        if problems:
            raise ConfigError(problems)

    def _whole(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
            value = value[0]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
            self.wrong(key, f"must be a whole number >= {least}", got=value)
        return value
