"""Barrage's rules against a JSON schema of the same, checked by another library."""

from __future__ import annotations

import copy
import random
from typing import Any

import jsonschema
import pytest

from mlpipe.dialects.barrage import schema
from mlpipe.errors import ConfigError

MINIMAL: dict[str, Any] = {
    "dataset": {"loader": {"import": "KeySelector", "params": {"inputs": {"x": "x"}, "outputs": {"y": "y"}}}},
    "model": {
        "network": {"import": "barrage.model.sequential_from_config", "params": {"layers": []}},
        "outputs": [{"name": "y", "loss": {"import": "categorical_crossentropy"}}],
    },
}
TWO_OUTPUTS = [
    {"name": "a", "loss": {"import": "mse"}, "loss_weight": 1},
    {"name": "b", "loss": {"import": "mse"}, "loss_weight": 0},
]
STOP = {"monitor": "loss", "mode": "min", "patience": 3, "min_delta": 0}
REDUCER = {"monitor": "val_loss", "mode": "min", "patience": 3, "factor": 0.1}
REMOVED = object()

ACCEPTED: list[tuple[str, Any]] = [
    ("dataset.transformer", {"import": "my.Transformer", "params": {}}),
    ("dataset.augmentor", [{"import": "my.flip", "params": {"p": 0.5}}, {"import": "my.noise"}]),
    ("dataset.sample_count", "count"),
    ("dataset.seed", 0),
    ("dataset.seed", 7.0),
    ("model.outputs", TWO_OUTPUTS),
    ("model.outputs.0.metrics", [{"import": "accuracy"}, {"import": "AUC", "params": {"num_thresholds": 10}}]),
    ("model.outputs.0.sample_weight_mode", "temporal"),
    ("model.outputs.0.loss_weight", 0),
    ("solver", {}),
    ("solver.optimizer", {"import": "SGD", "learning_rate": 1}),
    ("solver.optimizer", {"import": "SGD", "learning_rate": 0.1, "params": {"momentum": 0.9}}),
    ("solver.optimizer", {"import": "SGD", "learning_rate": {"import": "ExponentialDecay"}}),
    ("solver.batch_size", 1),
    ("solver.batch_size", 32.0),
    ("solver.epochs", 9999),
    ("solver.steps", 1),
    ("solver.learning_rate_reducer", REDUCER),
    ("solver.learning_rate_reducer", {**REDUCER, "cooldown": 2, "anything": None}),
    ("services", {}),
    ("services.best_checkpoint", {"monitor": "val_accuracy", "mode": "max"}),
    ("services.tensorboard", {"histogram_freq": 1}),
    ("services.train_early_stopping", STOP),
    ("services.train_early_stopping", {**STOP, "min-delta": 3}),
    ("services.validation_early_stopping", {**STOP, "restore_best_weights": True}),
]
REJECTED: list[tuple[str, Any, str]] = [
    ("model", REMOVED, r"^model: is needed"),
    ("extra", {}, r"^extra: unknown key; known keys"),
    ("datasets", {}, r"^datasets: unknown key; did you mean 'dataset'"),
    ("dataset", 3, r"^dataset: must be a mapping, got 3"),
    ("solver", [], r"^solver: must be a mapping"),
    ("services", None, r"^services: must be a mapping"),
    ("dataset.loader", REMOVED, r"^dataset\.loader: is needed"),
    ("dataset.loader", "KeySelector", r"^dataset\.loader: must be a mapping"),
    ("dataset.loader", {}, r"^dataset\.loader\.import: is needed"),
    ("dataset.loader", {"import": 3}, r"^dataset\.loader\.import: must be text"),
    ("dataset.loader", {"import": "A", "params": []}, r"^dataset\.loader\.params: must be a mapping"),
    ("dataset.loader", {"import": "A", "param": {}}, r"param: unknown key; did you mean 'params'"),
    ("dataset.transformer", {"params": {}}, r"^dataset\.transformer\.import: is needed"),
    ("dataset.augmentor", {"import": "my.flip"}, r"^dataset\.augmentor: must be a list"),
    ("dataset.augmentor", ["my.flip"], r"^dataset\.augmentor\[0\]: must be a mapping"),
    ("dataset.sample_count", 3, r"^dataset\.sample_count: must be text"),
    ("dataset.seed", -1, r"^dataset\.seed: must be a whole number >= 0"),
    ("dataset.seed", 1.5, r"^dataset\.seed: must be a whole number"),
    ("dataset.seed", True, r"^dataset\.seed: must be a whole number"),
    ("dataset.shuffle", True, r"^dataset\.shuffle: unknown key"),
    ("model.network", REMOVED, r"^model\.network: is needed"),
    ("model.network", {"import": "a.b", "learning_rate": 1}, r"^model\.network\.learning_rate: unknown key"),
    ("model.outputs", REMOVED, r"^model\.outputs: is needed"),
    ("model.outputs", [], r"^model\.outputs: must have at least 1"),
    ("model.outputs", {}, r"^model\.outputs: must be a list"),
    ("model.outputs.0.name", REMOVED, r"^model\.outputs\[0\]\.name: is needed"),
    ("model.outputs.0.name", 3, r"name: must be text"),
    ("model.outputs.0.loss", REMOVED, r"loss: is needed"),
    ("model.outputs.0.loss", "mse", r"loss: must be a mapping"),
    ("model.outputs.0.loss_weight", -0.1, r"loss_weight: must be a number >= 0"),
    ("model.outputs.0.loss_weight", "1", r"loss_weight: must be a number >= 0"),
    ("model.outputs.0.metrics", {"import": "accuracy"}, r"metrics: must be a list"),
    ("model.outputs.0.sample_weight_mode", 1, r"sample_weight_mode: must be text"),
    ("model.outputs.0.losses", 1, r"losses: unknown key; did you mean 'loss"),
    ("model.outputs", [{**TWO_OUTPUTS[0]}, {**TWO_OUTPUTS[1], "name": "a"}], r"names of outputs are not unique \(a\)"),
    ("model.outputs", [TWO_OUTPUTS[0], MINIMAL["model"]["outputs"][0]], r"^model\.outputs\[1\]\.loss_weight: is needed"),
    ("model.inputs", [], r"^model\.inputs: unknown key"),
    ("solver.optimizer", {"import": "SGD"}, r"^solver\.optimizer\.learning_rate: is needed"),
    ("solver.optimizer", {"learning_rate": 0.1}, r"^solver\.optimizer\.import: is needed"),
    ("solver.optimizer", {"import": "SGD", "lerning_rate": 0.1}, r"is 'lerning_rate' meant to be it"),
    ("solver.optimizer", {"import": "SGD", "learning_rate": 0}, r"learning_rate: must be a number > 0"),
    ("solver.optimizer", {"import": "SGD", "learning_rate": "auto"}, r"learning_rate: must be a number > 0"),
    ("solver.optimizer", {"import": "SGD", "learning_rate": {}}, r"learning_rate\.import: is needed"),
    ("solver.optimizer", {"import": "SGD", "learning_rate": 1, "momentum": 0.9}, r"momentum: unknown key"),
    ("solver.batch_size", 0, r"^solver\.batch_size: must be a whole number >= 1"),
    ("solver.batch_size", 1.5, r"batch_size: must be a whole number"),
    ("solver.epochs", 0, r"^solver\.epochs: must be a whole number from 1 to 9999"),
    ("solver.epochs", 10000, r"from 1 to 9999"),
    ("solver.steps", 0, r"^solver\.steps: must be a whole number >= 1"),
    ("solver.learning_rate_reducer", {**REDUCER, "mode": "auto"}, r"mode: must be min or max, got 'auto'"),
    ("solver.learning_rate_reducer", {**REDUCER, "patience": 0}, r"patience: must be a whole number >= 1"),
    ("solver.learning_rate_reducer", {**REDUCER, "factor": 0}, r"factor: must be a number > 0"),
    ("solver.learning_rate_reducer", {"monitor": "loss"}, r"learning_rate_reducer\.mode: is needed"),
    ("solver.learning_rate", 0.1, r"^solver\.learning_rate: unknown key"),
    ("services.best_checkpoint", {"monitor": "val_loss"}, r"best_checkpoint\.mode: is needed"),
    ("services.best_checkpoint", {"monitor": "val_loss", "mode": "auto"}, r"must be min or max"),
    ("services.best_checkpoint", {"monitor": "val_loss", "mode": "min", "verbose": 1}, r"verbose: unknown key"),
    ("services.tensorboard", [], r"^services\.tensorboard: must be a mapping"),
    ("services.train_early_stopping", {**STOP, "mode": "auto"}, r"must be min or max"),
    ("services.train_early_stopping", {**STOP, "min_delta": -1}, r"min_delta: must be a number >= 0"),
    ("services.train_early_stopping", {"monitor": "loss", "mode": "min", "patience": 3}, r"min_delta: is needed"),
    ("services.validation_early_stopping", {**STOP, "patience": 1.5}, r"patience: must be a whole number"),
    ("services.early_stopping", STOP, r"^services\.early_stopping: unknown key; did you mean"),
]  # fmt: skip

_BLOCK = {
    "type": "object",
    "required": ["import"],
    "properties": {"import": {"type": "string"}, "params": {"type": "object"}},
    "additionalProperties": False,
}
_MODE = {"enum": ["min", "max"]}
_EARLY = {
    "type": "object",
    "required": ["monitor", "mode", "patience", "min_delta"],
    "properties": {
        "monitor": {"type": "string"},
        "mode": _MODE,
        "patience": {"type": "integer", "minimum": 1},
        "min_delta": {"type": "number", "minimum": 0},
    },
}


def _closed(required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    both = {**required, **optional}
    return {"type": "object", "required": [*required], "properties": both, "additionalProperties": False}


_BLOCKS = {"type": "array", "items": _BLOCK}
_ONE_OUTPUT = _closed(
    {"name": {"type": "string"}, "loss": _BLOCK},
    {
        "loss_weight": {"type": "number", "minimum": 0},
        "metrics": _BLOCKS,
        "sample_weight_mode": {"type": "string"},
    },
)
_RATE = {"oneOf": [{"type": "number", "exclusiveMinimum": 0}, _BLOCK]}
_REDUCER = {
    "type": "object",
    "required": ["monitor", "mode", "patience", "factor"],
    "properties": {
        "monitor": {"type": "string"},
        "mode": _MODE,
        "patience": {"type": "integer", "minimum": 1},
        "factor": {"type": "number", "exclusiveMinimum": 0},
    },
}
SCHEMA = _closed(
    {
        "dataset": _closed(
            {"loader": _BLOCK, "transformer": _BLOCK, "augmentor": _BLOCKS},
            {"sample_count": {"type": "string"}, "seed": {"type": "integer", "minimum": 0}},
        ),
        "model": _closed({"network": _BLOCK, "outputs": {"type": "array", "minItems": 1, "items": _ONE_OUTPUT}}, {}),
        "solver": _closed(
            {
                "optimizer": _closed({"import": {"type": "string"}, "learning_rate": _RATE}, {"params": {"type": "object"}}),
                "batch_size": {"type": "integer", "minimum": 1},
                "epochs": {"type": "integer", "minimum": 1, "maximum": 9999},
            },
            {"steps": {"type": "integer", "minimum": 1}, "learning_rate_reducer": _REDUCER},
        ),
        "services": _closed(
            {
                "best_checkpoint": _closed({"monitor": {"type": "string"}, "mode": _MODE}, {}),
                "tensorboard": {"type": "object"},
                "train_early_stopping": _EARLY,
                "validation_early_stopping": _EARLY,
            },
            {},
        ),
    },
    {},
)  # fmt: skip
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def changed(place: str, value: Any) -> dict[str, Any]:
    """The smallest configuration with one value replaced, added or removed."""
    config = copy.deepcopy(MINIMAL)
    *way, last = place.split(".")
    node: Any = config
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    return config


def test_the_smallest_configuration_gets_the_defaults() -> None:
    before = copy.deepcopy(MINIMAL)
    full = schema.prepared(MINIMAL)
    assert before == MINIMAL
    assert full["dataset"]["transformer"] == {"import": "IdentityTransformer"}
    assert full["solver"] == {
        "optimizer": {"import": "Adam", "learning_rate": 0.001}, "batch_size": 32, "epochs": 10,
    }  # fmt: skip
    assert full["services"]["train_early_stopping"]["monitor"] == "loss"
    assert full["services"]["validation_early_stopping"]["patience"] == 10
    full["services"]["tensorboard"]["changed"] = 1
    assert schema.prepared(MINIMAL)["services"]["tensorboard"] == {}


@pytest.mark.parametrize(("place", "value"), ACCEPTED)
def test_accepted(place: str, value: Any) -> None:
    full = schema.prepared(changed(place, value))
    assert VALIDATOR.is_valid(full)


@pytest.mark.parametrize(("place", "value", "sentence"), REJECTED)
def test_rejected(place: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as raised:
        schema.prepared(changed(place, value))
    between = any("not unique" in one or "several outputs" in one for one in raised.value.problems)
    assert between or not VALIDATOR.is_valid(schema.with_defaults(changed(place, value)))


def test_every_problem_is_listed_at_once() -> None:
    wrong = changed("solver.epochs", 0)
    wrong["solver"]["batchsize"] = 3
    wrong["services"] = {"best_checkpoint": {"monitor": 3, "mode": "auto"}}
    del wrong["model"]["network"]
    with pytest.raises(ConfigError) as raised:
        schema.prepared(wrong)
    keys = [sentence.partition(":")[0] for sentence in raised.value.problems]
    assert keys == [
        "model.network", "solver.epochs", "solver.batchsize",
        "services.best_checkpoint.monitor", "services.best_checkpoint.mode",
    ]  # fmt: skip


def test_the_verdict_is_the_json_schemas_on_random_configurations() -> None:
    draw, verdicts = random.Random(0), set()
    cases = [(place, value) for place, value, *_ in [*ACCEPTED, *REJECTED]]
    values = [None, True, 0, 1, -1, 2.0, 0.5, "", "min", [], {}, {"import": "a"}, [{"import": "a"}], 10000, "auto"]
    for _ in range(3000):
        place, value = draw.choice(cases)
        config = schema.with_defaults(changed(place, draw.choice(values) if draw.random() < 0.7 else value))
        outputs = config["model"].get("outputs") if isinstance(config.get("model"), dict) else None
        if isinstance(outputs, list) and len(outputs) > 1:
            # Weights and names of several outputs are beyond a JSON schema.
            continue
        verdict = VALIDATOR.is_valid(config)
        verdicts.add(verdict)
        assert (not schema.problems(config)) == verdict, (place, config)
    assert verdicts == {True, False}
