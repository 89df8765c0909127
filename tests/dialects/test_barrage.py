"""Barrage's configurations as native ones: every section, every refusal, the report."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mlpipe.config import recipe_file
from mlpipe.dialects import barrage, detect
from mlpipe.errors import ConfigError

CONFIG: dict[str, Any] = {
    "dataset": {"loader": {"import": "KeySelector", "params": {"inputs": {"x": ["a", "b"]}, "outputs": {"y": "y"}}}},
    "model": {
        "network": {"import": "nets.make", "params": {"units": 3}},
        "outputs": [{"name": "y", "loss": {"import": "categorical_crossentropy"}, "metrics": [{"import": "accuracy"}]}],
    },
    "solver": {},
    "services": {},
}


def changed(place: str = "", value: Any = None) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *way, last = place.split(".")
    node: Any = config
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if place:
        node[int(last) if isinstance(node, list) else last] = value
    return config


def native(place: str = "", value: Any = None) -> dict[str, Any]:
    return barrage.translate(changed(place, value)).native


def options(tree: dict[str, Any]) -> dict[str, str]:
    return {group: option for entry in tree["defaults"] for group, option in entry.items()}


def test_what_is_on_by_default() -> None:
    tree = native()
    assert options(tree) == {
        "task": "records", "arch": "records", "loss": "keras", "optimizer": "keras_adam", "lr_scheduler": "none",
        "sampling": "full", "callbacks": "best_practice", "logging": "tensorboard", "split": "given",
        "preprocessing": "none", "augmentations": "none",
    }  # fmt: skip
    assert (tree["optimizer"]["lr"], tree["sampling"]["batch_size"], tree["trainer"]["max_epochs"]) == (0.001, 32, 10)
    assert tree["metrics"] == {
        "train": ["accuracy"], "monitor": "val/loss", "direction": "min", "while_training": True,
    }  # fmt: skip
    stop = {"patience": 10, "min_delta": 1e-5, "watch_direction": "min"}
    assert tree["callbacks"]["early_train"] == {**stop, "watch": "train/loss"}
    assert tree["callbacks"]["early_validation"]["watch"] == "val/loss"
    assert tree["healing"]["rollbacks"] == 0 and tree["mode"]["nested"] is False and tree["split"] == {"rare": "allow"}
    assert json.loads(tree["sys"]["artifact_config"])["solver"]["epochs"] == 10


@pytest.mark.parametrize(
    "path",
    [
        "SGD", "sGD", "tensorflow.keras.optimizers.SGD", "tf.keras.optimizers.SGD",
        "tensorflow.python.keras.optimizer_v2.gradient_descent.SGD",
    ],
)  # fmt: skip
def test_an_optimizer_may_be_named_in_every_way_that_barrage_knows(path: str) -> None:
    params = {"momentum": 0.9, "nesterov": True, "clipnorm": 1.0}
    tree = native("solver.optimizer", {"import": path, "learning_rate": 0.1, "params": params})
    assert options(tree)["optimizer"] == "keras_sgd"
    assert tree["optimizer"] == {"lr": 0.1, **params}


@pytest.mark.parametrize(
    "name",
    ["adadelta", "Adagrad", "adam", "AdamW", "Adamax", "adafactor", "ftrl", "Lion", "Nadam", "RMSprop", "rMSprop"],
)
def test_every_optimizer_has_a_native_option(name: str) -> None:
    tree = native("solver.optimizer", {"import": name, "learning_rate": 0.1})
    assert options(tree)["optimizer"] == f"keras_{name.lower()}"


def test_what_keras_writes_of_an_optimizer_that_says_nothing() -> None:
    """The parameters of `get_config` of Keras 2.15 and 3."""
    neutral = {
        "name": "Adam", "weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False,
        "ema_momentum": 0.99, "ema_overwrite_frequency": None, "jit_compile": True, "is_legacy_optimizer": False,
        "loss_scale_factor": None, "gradient_accumulation_steps": None,
    }  # fmt: skip
    tree = native("solver.optimizer", {"import": "Adam", "learning_rate": 0.1, "params": neutral})
    assert {key: value for key, value in tree["optimizer"].items() if value is not None} == {"lr": 0.1}
    with pytest.raises(ConfigError, match=r"params\.use_ema: unknown key"):
        native("solver.optimizer", {"import": "Adam", "learning_rate": 0.1, "params": {"use_ema": True}})


def test_adafactors_relative_step_changes_nothing_and_is_of_no_other_optimizer() -> None:
    params = {"relative_step": False, "beta_2_decay": -0.7, "clip_threshold": 2.0, "weight_decay": 0.1}
    tree = native("solver.optimizer", {"import": "Adafactor", "learning_rate": 0.1, "params": params})
    assert options(tree)["optimizer"] == "keras_adafactor"
    assert tree["optimizer"] == {"lr": 0.1, "beta_2_decay": -0.7, "clip_threshold": 2.0, "weight_decay": 0.1}
    with pytest.raises(ConfigError, match=r"params\.relative_step: unknown key"):
        native("solver.optimizer", {"import": "Adam", "learning_rate": 0.1, "params": {"relative_step": True}})


SCHEDULES: list[tuple[str, dict[str, Any], str, float, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.9, "staircase": True},
     "exponential", 0.1, {"decay_steps": 5.0, "gamma": 0.9, "staircase": True}),
    ("tensorflow.keras.optimizers.schedules.InverseTimeDecay",
     {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.9},
     "inverse_time", 0.1, {"decay_steps": 5.0, "decay_rate": 0.9, "staircase": False}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5},
     "polynomial", 0.1, {"decay_steps": 5.0, "end_ratio": pytest.approx(1e-3), "power": 1.0, "cycle": False}),
    ("PiecewiseConstantDecay", {"boundaries": [5, 9], "values": [0.2, 0.1, 0.3]},
     "piecewise", 0.2, {"unit": "step", "boundaries": [5, 9], "ratios": pytest.approx([1, 0.5, 1.5])}),
    ("PiecewiseConstantDecay", {"boundaries": [5], "values": [0, 0.1]},
     "piecewise", 0.1, {"unit": "step", "boundaries": [5], "ratios": [0, 1]}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 1.5},
     "exponential", 0.1, {"decay_steps": 5.0, "gamma": 1.5, "staircase": False}),
    ("tf.keras.experimental.CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "alpha": 0.2, "name": "c"},
     "cosine_decay", 0.1, {"decay_steps": 5.0, "min_ratio": 0.2}),
    ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 5, "warmup_target": 0.2, "warmup_steps": 3},
     "cosine_decay", 0.2, {"decay_steps": 5.0, "min_ratio": 0.0, "warmup_steps": 3.0, "first_ratio": 0.0}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "warmup_target": 0.2},
     "cosine_decay", 0.2, {"decay_steps": 5.0, "min_ratio": 0.0, "warmup_steps": 0.0, "first_ratio": 1.0}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "warmup_target": None, "warmup_steps": 3},
     "cosine_decay", 0.1, {"decay_steps": 5.0, "min_ratio": 0.0}),
    ("tensorflow.keras.optimizers.schedules.CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5},
     "cosine_decay", 0.1, {"decay_steps": 5.0, "min_ratio": 0.0, "period_factor": 2.0, "peak_factor": 1.0}),
    ("tf.keras.experimental.LinearCosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "num_periods": 2, "beta": 0},
     "linear_cosine", 0.1, {"decay_steps": 5.0, "half_waves": 4.0, "alpha": 0.0, "beta": 0.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "end_learning_rate": 0.5, "power": 0},
     "polynomial", 0.1, {"decay_steps": 5.0, "end_ratio": 5.0, "power": 0.0, "cycle": False}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "params", "option", "lr", "keys"), SCHEDULES)
def test_schedules(path: str, params: dict[str, Any], option: str, lr: float, keys: dict[str, Any]) -> None:
    block = {"import": "Adam", "learning_rate": {"import": path, "params": params}}
    tree = native("solver.optimizer", block)
    assert options(tree)["lr_scheduler"] == option
    assert tree["optimizer"]["lr"] == lr
    assert tree["lr_scheduler"] == {"interval": "step", **keys}


def test_a_warm_up_to_a_rate_of_0_is_refused_as_keras_would_stay_there() -> None:
    params = {"initial_learning_rate": 0.1, "decay_steps": 5, "warmup_target": 0, "warmup_steps": 3}
    block = {"import": "Adam", "learning_rate": {"import": "CosineDecay", "params": params}}
    with pytest.raises(ConfigError, match=r"params\.warmup_target: must be a number > 0, got 0"):
        native("solver.optimizer", block)


@pytest.mark.parametrize(
    ("path", "params", "first"),
    [
        ("tf.keras.experimental.LinearCosineDecay", {"decay_steps": 5, "alpha": 0.2, "beta": 0.1}, "1.3 times optimizer.lr"),
        ("tf.keras.experimental.LinearCosineDecay", {"decay_steps": 5, "beta": 0}, "optimizer.lr"),
        ("CosineDecay", {"decay_steps": 5, "alpha": 0.2}, "optimizer.lr"),
        ("CosineDecay", {"decay_steps": 5, "warmup_target": 0.4, "warmup_steps": 3}, "0.25 times optimizer.lr"),
        ("PiecewiseConstantDecay", {"boundaries": [5], "values": [0, 0.1]}, "0 times optimizer.lr"),
    ],
)  # fmt: skip
def test_the_report_says_what_a_schedule_begins_with(path: str, params: dict[str, Any], first: str) -> None:
    given = params if "values" in params else {"initial_learning_rate": 0.1, **params}
    config = changed("solver.optimizer", {"import": "Adam", "learning_rate": {"import": path, "params": given}})
    (line,) = [line for line in barrage.translate(config).report if line.key == "solver.optimizer.learning_rate"]
    assert line.note == f"at every step; its first rate is {first}"


def test_decay_is_a_schedule_steps_a_sample_count_and_a_reducer_a_plateau() -> None:
    tree = native("solver.optimizer", {"import": "SGD", "learning_rate": 0.1, "params": {"decay": 0.01}})
    assert tree["lr_scheduler"] == {"interval": "step", "decay_rate": 0.01, "decay_steps": 1.0}
    tree = native("solver.steps", 7)
    assert options(tree)["sampling"] == "subset" and tree["sampling"] == {"batch_size": 32, "sample_count": 224}
    reducer = {"monitor": "loss", "mode": "min", "patience": 3, "factor": 0.2, "cooldown": 2, "verbose": 1}
    tree = native("solver.learning_rate_reducer", reducer)
    assert tree["lr_scheduler"] == {
        "factor": 0.2, "patience": 2, "cooldown": 1, "threshold": 1e-4, "threshold_mode": "abs", "min_lr": 0.0,
        "watch": "train/loss", "watch_direction": "min",
    }  # fmt: skip
    # The name that min_delta had before, which Keras still takes.
    old = {**reducer, "epsilon": 0.5}
    assert native("solver.learning_rate_reducer", old)["lr_scheduler"] == {**tree["lr_scheduler"], "threshold": 0.5}


@pytest.mark.parametrize(
    ("path", "name", "kind", "gives"),
    [
        ("categorical_crossentropy", "categorical_crossentropy", "classification", "softmax"),
        ("CategoricalCrossentropy", "categorical_crossentropy", "classification", "softmax"),
        ("tf.keras.losses.SparseCategoricalCrossentropy", "sparse_categorical_crossentropy", "classification", "softmax"),
        ("binary_crossentropy", "binary_crossentropy", "multilabel", "sigmoid"),
        ("mse", "mean_squared_error", "regression", "logits"),
        ("MSE", "mean_squared_error", "regression", "logits"),
        ("tensorflow.keras.losses.MeanAbsoluteError", "mean_absolute_error", "regression", "logits"),
        ("KLDivergence", "kl_divergence", "regression", "logits"),
        ("kld", "kl_divergence", "regression", "logits"),
        ("LogCosh", "log_cosh", "regression", "logits"),
        ("Huber", "huber", "regression", "logits"),
        ("hinge", "hinge", "regression", "logits"),
        ("SquaredHinge", "squared_hinge", "regression", "logits"),
        ("tf.keras.losses.CategoricalHinge", "categorical_hinge", "regression", "logits"),
    ],
)  # fmt: skip
def test_losses_decide_the_kind(path: str, name: str, kind: str, gives: str) -> None:
    tree = native("model.outputs.0", {"name": "out", "loss": {"import": path}})
    assert (tree["loss"]["name"], tree["task"]["kind"], tree["arch"]["gives"]) == (name, kind, gives)
    assert tree["task"]["output"] == "out"


def test_from_logits_and_label_smoothing() -> None:
    params = {"from_logits": True, "label_smoothing": 0.1, "reduction": "sum_over_batch_size"}
    tree = native("model.outputs.0.loss", {"import": "CategoricalCrossentropy", "params": params})
    assert tree["arch"]["gives"] == "logits" and tree["loss"]["label_smoothing"] == 0.1


@pytest.mark.parametrize(
    ("path", "params", "kind", "ours"),
    [
        ("tf.keras.losses.BinaryFocalCrossentropy", {"gamma": 1.5, "apply_class_balancing": True}, "multilabel", None),
        ("tensorflow.keras.losses.CategoricalFocalCrossentropy", {"alpha": [0.2, 0.3, 0.5]}, "classification", None),
        ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, "classification", None),
        ("tf.keras.losses.Dice", {"axis": None, "dtype": None}, "multilabel", {}),
        ("tversky", {"alpha": 0.3, "beta": 0.7}, "multilabel", None),
        ("MeanSquaredError", {"reduction": "sum"}, "regression", {"reduction": "sum", "batch_size": 32}),
        ("MeanSquaredError", {"reduction": "mean"}, "regression", {}),
        ("Huber", {"reduction": "mean_with_sample_weight"}, "regression", {"reduction": "weighted_mean"}),
        ("BinaryCrossentropy", {"axis": -1}, "multilabel", {}),
    ],
)  # fmt: skip
def test_parameters_of_losses(path: str, params: dict[str, Any], kind: str, ours: dict[str, Any] | None) -> None:
    tree = native("model.outputs.0.loss", {"import": path, "params": params})
    assert tree["task"]["kind"] == kind
    assert tree["loss"].get("params", {}) == (params if ours is None else ours)


def test_a_weight_of_the_only_output_and_the_delta_of_huber() -> None:
    output = {"name": "y", "loss_weight": 2, "loss": {"import": "Huber", "params": {"delta": 3}}}
    tree = native("model.outputs.0", output)
    assert (tree["loss"]["weight"], tree["loss"]["delta"]) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("metric", "ours", "block"),
    [
        ({"import": "accuracy"}, "accuracy", None),
        ({"import": "acc"}, "acc", {"import": "accuracy"}),
        ({"import": "ce"}, "ce", {"import": "crossentropy"}),
        ({"import": "crossentropy"}, "crossentropy", {"import": "crossentropy"}),
        ({"import": "CategoricalAccuracy"}, "categorical_accuracy", {"import": "categorical_accuracy"}),
        ({"import": "AUC"}, "auc", {"import": "auc"}),
        ({"import": "tf.keras.metrics.AUC", "params": {"name": "area", "curve": "PR", "num_thresholds": 50}}, "area",
         {"import": "auc", "params": {"curve": "PR", "num_thresholds": 50}}),
        ({"import": "CategoricalCrossentropy"}, "categorical_crossentropy", {"import": "categorical_crossentropy"}),
        ({"import": "tensorflow.keras.metrics.Precision", "params": {"thresholds": [0.7], "name": "p"}}, "p",
         {"import": "precision", "params": {"thresholds": 0.7}}),
        ({"import": "tensorflow.keras.losses.Huber", "params": {"delta": 2.0, "reduction": "auto"}}, "huber_loss",
         {"import": "huber", "params": {"delta": 2.0}}),
        ({"import": "tensorflow.keras.losses.CosineSimilarity"}, "cosine_similarity",
         {"import": "negative_cosine_similarity"}),
        ({"import": "tensorflow.keras.metrics.CosineSimilarity"}, "cosine_similarity", {"import": "cosine_similarity"}),
        ({"import": "tensorflow.keras.metrics.Accuracy"}, "accuracy", {"import": "equal_values"}),
        ({"import": "cosine_proximity"}, "cosine_proximity", {"import": "cosine_similarity"}),
        ({"import": "MeanIoU", "params": {"num_classes": 3}}, "mean_io_u",
         {"import": "mean_io_u", "params": {"num_classes": 3}}),
        ({"import": "tf.keras.metrics.LogCoshError"}, "logcosh", {"import": "log_cosh"}),
        ({"import": "mape"}, "mape", {"import": "mean_absolute_percentage_error"}),
    ],
)  # fmt: skip
def test_metrics_have_the_names_and_parameters_that_keras_logs(metric: Any, ours: str, block: Any) -> None:
    config = changed("model.outputs.0.metrics", [metric])
    config["services"]["best_checkpoint"] = {"monitor": f"val_{ours}", "mode": "max"}
    tree = barrage.translate(config).native
    blocks = {} if block is None else {"blocks": [{**block, "name": ours}]}
    watched = {"monitor": f"val/{ours}", "direction": "max", "while_training": True}
    assert tree["metrics"] == {"train": [ours], **watched, **blocks}
    logged = ours
    stop = {"monitor": logged, "mode": "max", "patience": 3, "min_delta": 0.1}
    config["services"]["train_early_stopping"] = stop
    assert barrage.translate(config).native["callbacks"]["early_train"]["watch"] == f"train/{ours}"


# A metric as a file has it -> the names under which Keras (2.4) logs it and files watch it, ours, and the loss beside it.
WATCHED = [
    ({"import": "AUC"}, ("auc", "AUC"), "auc", "binary_crossentropy"),
    ({"import": "tensorflow.keras.metrics.AUC"}, ("auc",), "auc", "binary_crossentropy"),
    ({"import": "AUC", "params": {"name": "area"}}, ("area", "auc", "AUC"), "area", "binary_crossentropy"),
    ({"import": "tensorflow.keras.metrics.AUC", "params": {"name": "area"}}, ("area",), "area", "binary_crossentropy"),
    ({"import": "acc"}, ("acc",), "acc", "categorical_crossentropy"),
    ({"import": "BinaryAccuracy"}, ("binary_accuracy", "BinaryAccuracy"), "binary_accuracy", "binary_crossentropy"),
    ({"import": "MSE"}, ("MSE", "mean_squared_error"), "MSE", "mse"),
    ({"import": "MeanSquaredError"}, ("mean_squared_error", "MeanSquaredError"), "mean_squared_error", "mse"),
    ({"import": "KLDivergence"}, ("kl_divergence", "kullback_leibler_divergence"), "kl_divergence", "mse"),
    ({"import": "mine.HitRate"}, ("hit_rate",), "hit_rate", "mse"),
]


@pytest.mark.parametrize(("metric", "names", "ours", "loss"), WATCHED)
@pytest.mark.parametrize("several", [False, True])
def test_a_metric_is_watched_as_the_file_and_as_keras_name_it(
    metric: dict[str, Any], names: tuple[str, ...], ours: str, loss: str, several: bool
) -> None:
    output = {"name": "y", "loss": {"import": loss}, "metrics": [metric], "loss_weight": 1}
    other = {"name": "z", "loss": {"import": "mse"}, "loss_weight": 1}
    prefix = "y_" if several else ""
    for name in names:
        config = changed("model.outputs", [output, other] if several else [output])
        config["services"] |= {"best_checkpoint": {"monitor": f"val_{prefix}{name}", "mode": "max"}}
        stop = {"monitor": f"{prefix}{name}", "mode": "max", "patience": 3, "min_delta": 0}
        config["services"] |= {"train_early_stopping": stop, "validation_early_stopping": stop}
        tree = barrage.translate(config).native
        assert tree["metrics"]["monitor"] == f"val/{prefix}{ours}"
        assert tree["callbacks"]["early_train"]["watch"] == f"train/{prefix}{ours}"
        assert tree["callbacks"]["early_validation"]["watch"] == f"val/{prefix}{ours}"


def test_a_metrics_own_name_is_never_taken_by_another() -> None:
    metrics = [{"import": "AUC"}, {"import": "mine.Area", "params": {"name": "AUC"}}]
    output = {"name": "y", "loss": {"import": "binary_crossentropy"}, "metrics": metrics}
    for ordered in (metrics, metrics[::-1]):
        config = changed("model.outputs", [{**output, "metrics": ordered}])
        watched = []
        for name in ("val_auc", "val_AUC"):
            config["services"]["best_checkpoint"] = {"monitor": name, "mode": "max"}
            watched.append(barrage.translate(config).native["metrics"]["monitor"])
        assert watched == ["val/auc", "val/AUC"]


def test_several_thresholds_are_as_many_metrics() -> None:
    metric = {"import": "tf.keras.metrics.Recall", "params": {"thresholds": [0.25, 0.75], "class_id": 1}}
    config = changed("model.outputs.0.metrics", [metric])
    config["services"]["best_checkpoint"] = {"monitor": "val_recall_0.75", "mode": "max"}
    tree = barrage.translate(config).native["metrics"]
    assert tree["blocks"] == [
        {"import": "recall", "params": {"thresholds": share, "class_id": 1}, "name": f"recall_{share}"}
        for share in (0.25, 0.75)
    ]
    assert tree["train"] == ["recall_0.25", "recall_0.75"] and tree["monitor"] == "val/recall_0.75"


def test_metrics_that_are_used_twice_are_numbered_as_keras_numbers_them() -> None:
    path = "tensorflow.keras.metrics"
    of_a = [f"{path}.AUC", f"{path}.AUC", "mse", f"{path}.MeanSquaredError", f"{path}.MeanSquaredError"]
    of_b = [f"{path}.AUC", "mse", "mse", f"{path}.Precision", f"{path}.Precision", "mine.Rate", "mine.Rate"]
    outputs = [
        {"name": name, "loss": {"import": loss}, "metrics": [{"import": one} for one in metrics], "loss_weight": 1}
        for name, loss, metrics in (("a", "categorical_crossentropy", of_a), ("b", "mse", of_b))
    ]
    config = changed("model.outputs", outputs)
    config["services"]["best_checkpoint"] = {"monitor": "val_b_auc_2", "mode": "max"}
    tree = barrage.translate(config).native
    # What model.evaluate(return_dict=True) of Keras 3 has; classes without a name are numbered over all outputs.
    named = [[one["name"] for one in part["metrics"]] for part in tree["loss"]["parts"]]
    assert named[0] == ["auc", "auc_1", "mse", "mean_squared_error", "mean_squared_error_1"]
    assert named[1] == ["auc_2", "mse", "mse_1", "precision", "precision_1", "rate", "rate_1"]
    assert tree["metrics"]["monitor"] == "val/b_auc_2"
    twice = changed("model.outputs.0.metrics", [{"import": "accuracy"}, {"import": "accuracy"}])
    assert barrage.translate(twice).native["metrics"]["train"] == ["accuracy", "accuracy_1"]


def test_monitors_are_forced_to_validation_or_training() -> None:
    config = changed("services.best_checkpoint", {"monitor": "accuracy", "mode": "max"})
    stop = {"mode": "min", "patience": 3, "min_delta": 0.1, "baseline": 0.5}
    config["services"]["train_early_stopping"] = {"monitor": "val_loss", **stop}
    config["services"]["validation_early_stopping"] = {"monitor": "loss", **stop}
    found = barrage.translate(config)
    assert found.native["metrics"]["monitor"] == "val/accuracy"
    values = {"patience": 3, "min_delta": 0.1, "baseline": 0.5, "watch_direction": "min"}
    assert found.native["callbacks"]["early_train"] == {**values, "watch": "train/loss"}
    assert found.native["callbacks"]["early_validation"]["watch"] == "val/loss"
    assert [line.key for line in found.of_fate("lint")] == [
        "services.best_checkpoint.monitor", "services.train_early_stopping.monitor",
        "services.validation_early_stopping.monitor",
    ]  # fmt: skip


def _adam(**more: Any) -> dict[str, Any]:
    return {"import": "Adam", "learning_rate": 0.1, **more}


def _two(loss: str, **params: Any) -> list[dict[str, Any]]:
    block = {"import": loss, "params": params}
    return [
        {"name": "kind", "loss": block, "loss_weight": 0.5, "metrics": [{"import": "acc"}]},
        {"name": "size", "loss": {"import": "mse"}, "loss_weight": 2, "metrics": [{"import": "mae"}]},
    ]


STOP = {"monitor": "val_loss", "mode": "min", "patience": 3, "min_delta": 0}
REDUCER = {"monitor": "val_loss", "mode": "min", "patience": 3, "factor": 0.1}
DECAY = {"import": "ExponentialDecay", "params": {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.9}}


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("solver.optimizer", _adam() | {"import": "Adem"}, r"optimizer\.import: there is no such .*did you mean 'Adam'"),
        ("solver.optimizer", _adam() | {"import": "Yogi"}, r"there are Adadelta, Adagrad, Adam, .*RMSprop, SGD"),
        ("solver.optimizer", _adam(params={"beta1": 0.9}), r"params\.beta1: unknown key; did you mean 'beta_1'"),
        ("solver.optimizer", _adam(params={"momentum": 0.9}), r"params\.momentum: unknown key"),
        ("solver.optimizer", _adam() | {"learning_rate": {"import": "LinearDecay"}}, r"no such schedule.*Exponential"),
        ("solver.optimizer", _adam() | {"learning_rate": {"import": "ExponentialDecay"}}, r"decay_steps: is needed"),
        ("solver.optimizer", _adam(params={"decay": 0.1}) | {"learning_rate": DECAY}, r"decay beside a schedule"),
        ("solver", {"optimizer": _adam() | {"learning_rate": DECAY}, "learning_rate_reducer": REDUCER},
         r"learning_rate_reducer: cannot reduce the rate of a schedule"),
        ("solver.learning_rate_reducer", {**REDUCER, "monitor": "val_los"}, r"nothing computes .*did you mean 'val_loss'"),
        ("solver.learning_rate_reducer", {**REDUCER, "cool": 1}, r"reducer\.cool: unknown key; did you mean 'cooldown'"),
        ("solver.learning_rate_reducer", {**REDUCER, "factor": 1}, r"factor: must be a number < 1"),
        ("services.best_checkpoint", {"monitor": "val_f1", "mode": "max"}, r"monitor: nothing computes this, got 'val_f1'"),
        ("services.train_early_stopping", {**STOP, "monitor": "val_auc"}, r"nothing computes this, got 'auc'"),
        ("services.train_early_stopping", {**STOP, "min-delta": 1}, r"min-delta: unknown key; did you mean 'min_delta'"),
        ("services.validation_early_stopping", {**STOP, "baseline": "a"}, r"baseline: must be a number"),
        ("services.tensorboard", {"logdir": "x"}, r"tensorboard\.logdir: unknown key; did you mean 'log_dir'"),
        ("model.outputs.0.loss", {"import": "deice"}, r"there is no such loss here.*did you mean 'dice'"),
        ("model.outputs.0.loss", {"import": "circle"}, r"there is no such loss here.*there are binary_crossentropy"),
        ("model.outputs.0.loss", {"import": "Tversky", "params": {"axis": 1}}, r"axis: an axis is not available"),
        ("model.outputs.0.loss", {"import": "Tversky", "params": {"gamma": 1}}, r"gamma: unknown key"),
        ("model.outputs.0.loss", {"import": "SparseCategoricalCrossentropy", "params": {"ignore_class": "a"}},
         r"ignore_class: must be "),
        ("model.outputs.0.loss", {"import": "Huber", "params": {"delta": 0}}, r"delta: must be a number > 0"),
        ("model.outputs.0.loss", {"import": "tf.keras.losses.MSE"}, r"must be one of a class, as in Barrage"),
        ("solver.optimizer", _adam() | {"learning_rate": {**DECAY, "params": {**DECAY["params"], "decay_steps": 0}}},
         r"decay_steps: must be a number > 0"),
        ("solver.optimizer", _adam() | {"learning_rate": {**DECAY, "params": {**DECAY["params"], "decay_rate": -1}}},
         r"decay_rate: must be a number >= 0"),
        ("solver.optimizer", _adam() | {"learning_rate": {
            "import": "PiecewiseConstantDecay", "params": {"boundaries": [5, 3], "values": [1, 2, 3]}}},
         r"boundaries and values do not fit"),
        ("model.outputs.0.loss", {"import": "tensorflow.keras.losses.mse"}, r"must be one of a class, as in Barrage"),
        ("model.outputs.0.loss", {"import": "mse", "params": {"from_logits": True}}, r"from_logits: unknown key"),
        ("model.outputs.0.loss", {"import": "mse", "params": {"reduction": "none"}}, r"the reduction none is not"),
        *(("model.outputs.0.metrics", [{"import": path, "params": {"name": "loss"}}], r"params\.name: is the name of another")
          for path in ("tensorflow.keras.metrics.AUC", "mine.Area")),
        ("model.outputs.0.metrics", [{"import": "Recal"}], r"metrics\[0\]\.import: there is no such metric here.*'recall'"),
        ("model.outputs.0.metrics", [{"import": "Mean"}], r"metrics\[0\]\.import: takes one value, .*class of yours"),
        ("model.outputs.0.metrics", [{"import": "circle"}], r"there are accuracy, .*; or name a class of yours, MODULE\.NAME"),
        ("model.outputs.0.metrics", [{"import": "AUC", "params": {"curv": "PR"}}], r"params\.curv: unknown key.*'curve'"),
        ("model.outputs.0.metrics", [{"import": "AUC", "params": {"curve": "RP"}}], r"metrics\[0\]\.params\.curve: must be"),
        ("model.outputs.0.metrics", [{"import": "Recall", "params": {"thresholds": [0.1, 1.9]}}], r"thresholds: must be"),
        ("model.outputs.0.metrics", [{"import": "PrecisionAtRecall"}], r"metrics\[0\]\.params\.recall: a value is needed"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_by_name(place: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        native(place, value)


def test_several_outputs_are_numbers_side_by_side_with_a_loss_each() -> None:
    config = changed("model.outputs", _two("categorical_crossentropy", label_smoothing=0.1))
    config["services"]["best_checkpoint"] = {"monitor": "val_kind_acc", "mode": "max"}
    tree = barrage.translate(config).native
    assert options(tree)["loss"] == "keras_outputs"
    assert tree["task"]["output"] == tree["arch"]["output"] == ["kind", "size"]
    assert (tree["task"]["kind"], tree["task"]["kinds"]) == ("regression", ["classification", "regression"])
    assert tree["arch"]["gives"] == ["softmax", "logits"]
    assert tree["metrics"] == {
        "train": [], "final": [], "monitor": "val/kind_acc", "direction": "max", "while_training": True,
    }  # fmt: skip
    assert tree["loss"]["parts"] == [
        {"name": "kind", "loss": "categorical_crossentropy", "kind": "classification", "weight": 0.5,
         "label_smoothing": 0.1, "delta": 1.0, "metrics": [{"import": "accuracy", "name": "acc"}]},
        {"name": "size", "loss": "mean_squared_error", "kind": "regression", "weight": 2.0,
         "label_smoothing": 0.0, "delta": 1.0, "metrics": [{"import": "mean_absolute_error", "name": "mae"}]},
    ]  # fmt: skip
    config["services"]["best_checkpoint"] = {"monitor": "val_acc", "mode": "max"}
    with pytest.raises(ConfigError, match=r"nothing computes this, got 'val_acc'; did you mean"):
        barrage.translate(config)


@pytest.mark.parametrize(
    ("metrics", "kind", "gives"),
    [
        ([{"import": "accuracy"}], "classification", "softmax"),
        ([{"import": "my.Share"}, {"import": "tf.keras.metrics.AUC"}], "classification", "softmax"),
        ([{"import": "BinaryAccuracy"}], "multilabel", "sigmoid"),
        ([{"import": "Precision"}], "multilabel", "sigmoid"),
        ([{"import": "mae"}], "regression", "logits"),
        ([{"import": "my.Share"}], "regression", "logits"),
        ([], "regression", "logits"),
    ],
)
def test_a_loss_of_your_own_is_for_what_the_metrics_are_for(metrics: Any, kind: str, gives: str) -> None:
    output = {"name": "y", "loss": {"import": "my.code.Loss", "params": {"gamma": 2}}, "metrics": metrics}
    tree = native("model.outputs.0", output)
    assert (tree["loss"]["name"], tree["loss"]["params"]) == ("my.code.Loss", {"gamma": 2})
    assert (tree["task"]["kind"], tree["arch"]["gives"]) == (kind, gives)


def test_metrics_optimizers_and_schedules_of_your_own() -> None:
    config = changed("model.outputs.0.metrics", [{"import": "my.HitRate", "params": {"at": 2}}, {"import": "accuracy"}])
    config["services"]["best_checkpoint"] = {"monitor": "val_hit_rate", "mode": "max"}
    rate = {"import": "my.Schedule", "params": {"first": 0.1}}
    config["solver"]["optimizer"] = {"import": "my.Optimizer", "learning_rate": rate, "params": {"rho": 0.5}}
    tree = barrage.translate(config).native
    assert tree["metrics"]["blocks"] == [{"import": "my.HitRate", "params": {"at": 2}, "name": "hit_rate"}]
    assert tree["metrics"]["train"] == ["hit_rate", "accuracy"] and tree["metrics"]["monitor"] == "val/hit_rate"
    assert options(tree)["optimizer"] == options(tree)["lr_scheduler"] == "import_block"
    assert tree["optimizer"] == {"name": "my.Optimizer", "params": {"rho": 0.5}, "lr": 1.0}
    assert tree["lr_scheduler"] == {"name": "my.Schedule", "interval": "step", "params": {"first": 0.1}}


@pytest.mark.parametrize(
    ("loss", "gives"),
    [
        ("CategoricalCrossentropy", "class_logits"),
        ("SparseCategoricalCrossentropy", "class_logits"),
        ("BinaryCrossentropy", "label_logits"),
    ],
)
def test_logits_of_one_of_several_outputs(loss: str, gives: str) -> None:
    tree = native("model.outputs", _two(loss, from_logits=True))
    assert tree["arch"]["gives"] == [gives, "logits"]


@pytest.mark.parametrize(
    ("last", "outputs"),
    [
        ([{"import": "Dense", "params": {"units": 4}}], 4),
        ([{"import": "tf.keras.layers.Dense", "params": {"units": 4}}, {"import": "Softmax"}], 4),
        ([{"import": "Dense", "params": {"units": "{{classes}}"}}], None),
        ([{"import": "Dense", "params": [4]}], None),
        ([{"import": "Dense", "params": {"units": 4}}, {"import": "Flatten"}], None),
        ([{}], None),
    ],
)
def test_a_list_of_layers_says_how_many_classes_class_numbers_are_of(last: Any, outputs: int | None) -> None:
    config = changed("model.network", {"import": "barrage.model.sequential_from_config", "params": {"layers": last}})
    assert "outputs" not in barrage.translate(config).native["task"]
    config["model"]["outputs"][0]["loss"]["import"] = "sparse_categorical_crossentropy"
    assert barrage.translate(config).native["task"].get("outputs") == outputs


def test_class_numbers_of_one_of_several_outputs() -> None:
    tree = native("model.outputs", _two("sparse_categorical_crossentropy"))
    assert tree["loss"]["parts"][0]["loss"] == "sparse_categorical_crossentropy"
    assert tree["task"]["kinds"] == ["classification", "regression"]


def test_where_a_metric_differs_the_report_says_how() -> None:
    params = {"from_logits": True}
    output = {"name": "y", "loss": {"import": "BinaryCrossentropy", "params": params}}
    for metric, note in (
        ({"import": "AUC"}, "of probabilities, where Keras takes the logits for them"),
        ({"import": "tf.keras.metrics.AUC", "params": params}, ""),
        ({"import": "categorical_accuracy"}, ""),
    ):
        found = barrage.translate(changed("model.outputs", [{**output, "metrics": [metric]}]))
        (line,) = [line for line in found.report if line.key == "model.outputs[0].metrics[0]"]
        assert (line.note, line.fate) == (note, "differs" if note else "same")


def test_the_rate_may_be_watched_by_the_reducer_and_every_key_of_tensorboard_is_known() -> None:
    tree = native("solver.learning_rate_reducer", {**REDUCER, "monitor": "lr"})
    assert tree["lr_scheduler"]["watch"] == "lr"
    board = {"write_grads": True, "batch_size": 32, "histogram_freq": 1, "embeddings_freq": 0, "update_freq": "epoch"}
    assert options(native("services.tensorboard", board))["logging"] == "tensorboard"


def test_every_problem_of_the_translation_is_listed_at_once() -> None:
    config = changed("solver.optimizer", {"import": "nothing", "learning_rate": 0.1})
    config["services"]["best_checkpoint"] = {"monitor": "val_none", "mode": "max"}
    config["model"]["outputs"][0]["metrics"] = [{"import": "none"}]
    with pytest.raises(ConfigError) as raised:
        barrage.translate(config)
    assert len(raised.value.problems) == 3


def test_a_file_is_known_by_its_content_and_becomes_overrides(tmp_path: Path) -> None:
    path = tmp_path / "anything.json"
    path.write_text(json.dumps(CONFIG))
    found = detect.translated(path)
    assert found.dialect == "barrage" and set(found.needed) == {"task.train", "task.validation"}
    texts = recipe_file.as_overrides(found.native, set())
    assert "task=records" in texts
    assert "arch.network={'import':'nets.make',params:{units:3}}" in texts or any(
        text.startswith("arch.network={import:'nets.make'") for text in texts
    )
    path.write_text(json.dumps({key: value for key, value in CONFIG.items() if key != "model"}))
    with pytest.raises(ConfigError, match="model: is needed"):
        detect.translated(path)


def test_the_report_has_a_line_for_every_key_and_says_what_is_a_default() -> None:
    lines = {line.key: line for line in barrage.translate(changed("solver.epochs", 3)).report}
    assert lines["solver.epochs"].note == "" and lines["solver.batch_size"].note == "Barrage's default"
    assert {"dataset.loader", "dataset.transformer", "model.network", "model.outputs[0].loss"} <= set(lines)
    assert "default" not in lines["model.outputs[0].loss"].note


def test_parameters_of_your_own_code_are_given_whole() -> None:
    config = changed("model.outputs.0.loss", {"import": "my.Loss", "params": {"gamma": 2}})
    rate = {"import": "my.Schedule", "params": {"first": 0.1}}
    config["solver"]["optimizer"] = {"import": "my.Optimizer", "learning_rate": rate, "params": {"push": 0.5}}
    texts = recipe_file.as_overrides(barrage.translate(config).native, set())
    wanted = {"loss.params={gamma:2}", "optimizer.params={push:0.5}", "lr_scheduler.params={first:0.1}"}
    assert wanted <= set(texts)
