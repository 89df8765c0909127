"""Keras's initializers: its formulas with torch's random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mlpipe.errors import ConfigError, did_you_mean, problem

# Standard deviation of a standard normal distribution truncated at +-2; Keras divides by it.
_CUT = 0.87962566103423978
_SCALED = {
    "glorotuniform": (1.0, "fan_avg", "uniform"),
    "glorotnormal": (1.0, "fan_avg", "truncated_normal"),
    "heuniform": (2.0, "fan_in", "uniform"),
    "henormal": (2.0, "fan_in", "truncated_normal"),
    "lecununiform": (1.0, "fan_in", "uniform"),
    "lecunnormal": (1.0, "fan_in", "truncated_normal"),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "zeros": {},
    "ones": {},
    "constant": {"value": 0.0},
    "randomnormal": {"mean": 0.0, "stddev": 0.05},
    "randomuniform": {"minval": -0.05, "maxval": 0.05},
    "truncatednormal": {"mean": 0.0, "stddev": 0.05},
    "variancescaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
    "orthogonal": {"gain": 1.0},
    **{name: {} for name in _SCALED},
}
_SYNONYMS = {"normal": "randomnormal", "uniform": "randomuniform", "one": "ones", "zero": "zeros"}


@dataclass(frozen=True)
class Initializer:
    """An initializer of weights.

    Attributes:
        name: Its name in lower case, without underscores.
        options: Its options.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """Return new weights in Keras's layout: inputs and outputs are the last two axes."""
        empty, options = torch.empty(shape), self.options
        match self.name:
            case "zeros" | "ones":
                return empty.fill_(float(self.name == "ones"))
            case "constant":
                return empty.fill_(options["value"])
            case "randomnormal":
                return empty.normal_(options["mean"], options["stddev"])
            case "randomuniform":
                return empty.uniform_(options["minval"], options["maxval"])
            case "truncatednormal":
                mean, std = options["mean"], options["stddev"]
                return nn.init.trunc_normal_(empty, mean, std, mean - 2 * std, mean + 2 * std)
            case "orthogonal":
                flat = nn.init.orthogonal_(empty.reshape(-1, shape[-1]), options["gain"])
                return flat.reshape(shape)
        scaling = (options["scale"], options["mode"], options["distribution"]) if options else _SCALED[self.name]
        return _scaled(empty, *scaling)


def read(value: Any, place: str) -> Initializer:
    """Return the initializer for a name or a mapping of Keras.

    Args:
        value: Such as `glorot_uniform`, or `{class_name: VarianceScaling, config: {...}}`.
        place: The key, for error messages.

    Raises:
        ConfigError: When there is no such initializer or option.
    """
    config: Mapping[str, Any] = {}
    name = value
    if isinstance(value, Mapping):
        name, config = value.get("class_name"), value.get("config") or {}
    if not isinstance(name, str) or not isinstance(config, Mapping):
        raise ConfigError(problem(place, "names no initializer", got=value, fix="use a name such as glorot_uniform"))
    key = name.split(">")[-1].replace("_", "").lower()
    key = _SYNONYMS.get(key, key)
    if key not in _DEFAULTS:
        fix = did_you_mean(key, _DEFAULTS, otherwise="use one such as glorot_uniform")
        raise ConfigError(problem(place, "unknown initializer", got=name, fix=fix))
    defaults = _DEFAULTS[key]
    if unknown := [item for item in config if config[item] is not None and item not in (*defaults, "seed", "dtype")]:
        fix = did_you_mean(unknown[0], defaults, otherwise="leave it out")
        raise ConfigError(problem(f"{place}.{unknown[0]}", "unknown key", fix=fix))
    options = {item: default if config.get(item) is None else config[item] for item, default in defaults.items()}
    for item, default in defaults.items():
        if isinstance(default, float) and (
            isinstance(options[item], bool) or not isinstance(options[item], int | float)
        ):
            raise ConfigError(problem(f"{place}.{item}", "must be a number", got=options[item]))
    return Initializer(key, _checked(options, place) if key == "variancescaling" else options)


def _checked(options: dict[str, Any], place: str) -> dict[str, Any]:
    allowed = {
        "mode": ("fan_in", "fan_out", "fan_avg"),
        "distribution": ("truncated_normal", "untruncated_normal", "uniform", "normal"),
    }
    for key, words in allowed.items():
        if options[key] not in words:
            raise ConfigError(problem(f"{place}.{key}", "is not supported", got=options[key], fix=f"use {words[0]}"))
    return options


def _scaled(empty: Tensor, scale: float, mode: str, distribution: str) -> Tensor:
    """Return weights whose variance is a scale divided by the number of inputs, of outputs, or their mean."""
    field_size = math.prod(empty.shape[:-2])
    shape = empty.shape if empty.ndim > 1 else (*empty.shape, *empty.shape)
    inputs, outputs = shape[-2] * field_size, shape[-1] * field_size
    fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[mode]
    variance = scale / max(1.0, fan)
    draw: dict[str, Callable[[], Tensor]] = {
        "uniform": lambda: empty.uniform_(-math.sqrt(3 * variance), math.sqrt(3 * variance)),
        "untruncated_normal": lambda: empty.normal_(0, math.sqrt(variance)),
    }
    if distribution in draw:
        return draw[distribution]()
    std = math.sqrt(variance) / _CUT
    return nn.init.trunc_normal_(empty, 0, std, -2 * std, 2 * std)
