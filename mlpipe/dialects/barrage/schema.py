"""Barrage's schema: its rules for configurations, and its defaults; every problem is listed at once."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rules import (
    Block,
    Rule,
    flag,
    flag_or_count,
    many,
    mapping,
    maybe,
    number,
    number_or,
    one_of,
    text,
    whole,
)
from mlpipe.errors import ConfigError, listing, problem

DEFAULTS: dict[str, dict[str, Any]] = {
    "dataset": {"transformer": {"import": "IdentityTransformer"}, "augmentor": []},
    "solver": {"optimizer": {"import": "Adam", "learning_rate": 1e-3}, "batch_size": 32, "epochs": 10},
    "services": {
        "best_checkpoint": {"monitor": "val_loss", "mode": "min"},
        "tensorboard": {},
        "train_early_stopping": {"monitor": "loss", "mode": "min", "patience": 10, "min_delta": 1e-5, "verbose": 1},
        "validation_early_stopping": {
            "monitor": "val_loss", "mode": "min", "patience": 10, "min_delta": 1e-5, "verbose": 1,
        },
    },
}  # fmt: skip

IMPORT = Block({"import": text}, {"params": mapping})
_DIRECTION = one_of("min", "max")
_WATCHING: dict[str, Rule] = {"monitor": text, "mode": _DIRECTION, "patience": whole(1)}
_STOP = Block(
    {**_WATCHING, "min_delta": number(least=0)},
    {"verbose": flag_or_count, "baseline": maybe(number()), "restore_best_weights": flag},
    is_open=True,
)
# Optional parameters in Keras; the translation reports others.
_REDUCING: dict[str, Rule] = {
    "cooldown": whole(0), "min_delta": number(least=0), "epsilon": number(least=0), "min_lr": number(least=0),
    "verbose": flag_or_count,
}  # fmt: skip
_OUTPUT = Block(
    {"name": text, "loss": IMPORT},
    {"loss_weight": number(least=0), "metrics": many(IMPORT), "sample_weight_mode": text},
)
_ROOT = Block(
    {
        "dataset": Block(
            {"loader": IMPORT, "transformer": IMPORT, "augmentor": many(IMPORT)},
            {"sample_count": text, "seed": whole(0)},
        ),
        "model": Block({"network": IMPORT, "outputs": many(_OUTPUT, least=1)}, {}),
        "solver": Block(
            {
                "optimizer": Block(
                    {"import": text, "learning_rate": number_or(IMPORT, number(above=0))}, {"params": mapping}
                ),
                "batch_size": whole(1),
                "epochs": whole(1, 9999),
            },
            {
                "steps": whole(1),
                "learning_rate_reducer": Block({**_WATCHING, "factor": number(above=0)}, _REDUCING, is_open=True),
            },
        ),
        "services": Block(
            {
                "best_checkpoint": Block({"monitor": text, "mode": _DIRECTION}, {}),
                "tensorboard": mapping,
                "train_early_stopping": _STOP,
                "validation_early_stopping": _STOP,
            },
            {},
        ),
    },
    {},
)


def prepared(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with Barrage's defaults, merged one level deep: a given block replaces the default block.

    Args:
        source: The content of the file, left unchanged.

    Raises:
        ConfigError: With a sentence for every problem that Barrage's schema or its further checks find.
    """
    merged = with_defaults(source)
    if sentences := problems(merged):
        raise ConfigError(sentences)
    return merged


def with_defaults(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with the defaults; sections that are not mappings are left for `problems` to report."""
    merged = copy.deepcopy(dict(source))
    for section, defaults in DEFAULTS.items():
        block = merged.get(section, {})
        if isinstance(block, Mapping):
            merged[section] = {**copy.deepcopy(defaults), **block}
    return merged


def problems(merged: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every problem of a configuration with its defaults."""
    return _ROOT("", merged) + _output_problems(merged)


def _output_problems(merged: Mapping[str, Any]) -> list[str]:
    """Return problems between several values: duplicate names, missing weights of several outputs."""
    model = merged.get("model")
    outputs = model.get("outputs") if isinstance(model, Mapping) else None
    if not isinstance(outputs, list) or not all(isinstance(entry, Mapping) for entry in outputs):
        return []
    counted = Counter(entry["name"] for entry in outputs if isinstance(entry.get("name"), str))
    sentences = []
    if twice := [name for name, count in counted.items() if count > 1]:
        fix = "give each output its own name"
        sentences.append(problem("model.outputs", f"the names of outputs are not unique ({listing(twice)})", fix=fix))
    for index, output in enumerate(outputs if len(outputs) > 1 else []):
        if "loss_weight" not in output:
            fix = "add it: where there are several outputs each one needs a weight"
            sentences.append(problem(f"model.outputs[{index}].loss_weight", "is needed", fix=fix))
    return sentences
