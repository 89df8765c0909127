"""Keras's names in Barrage's configurations, each with its native equivalent.

A name without a dot is looked up as in Barrage; for a name in `tensorflow.keras`, `tf.keras` or
`tensorflow.python.keras` only the last part counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_KERAS = ("tensorflow.python.keras", "tensorflow.keras", "tf.keras", "keras")

# Optimizer -> (the native option, its parameters); gradient clipping and `decay` apply to all.
OPTIMIZERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Adadelta": ("keras_adadelta", ("rho", "epsilon")),
    "Adagrad": ("keras_adagrad", ("initial_accumulator_value", "epsilon")),
    "Adam": ("keras_adam", ("beta_1", "beta_2", "epsilon", "amsgrad")),
    "AdamW": ("keras_adamw", ("weight_decay", "beta_1", "beta_2", "epsilon", "amsgrad")),
    "Adafactor": (
        "keras_adafactor",
        ("weight_decay", "beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold"),
    ),
    "Lion": ("keras_lion", ("weight_decay", "beta_1", "beta_2")),
    "Adamax": ("keras_adamax", ("beta_1", "beta_2", "epsilon")),
    "Ftrl": (
        "keras_ftrl",
        (
            "learning_rate_power", "initial_accumulator_value", "l1_regularization_strength",
            "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta",
        ),
    ),
    "Nadam": ("keras_nadam", ("beta_1", "beta_2", "epsilon")),
    "RMSprop": ("keras_rmsprop", ("rho", "momentum", "epsilon", "centered")),
    "SGD": ("keras_sgd", ("momentum", "nesterov")),
}  # fmt: skip
BOUNDS = ("clipnorm", "clipvalue", "global_clipnorm")
# Schedule -> its required and its optional parameters.
SCHEDULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ExponentialDecay": (("initial_learning_rate", "decay_steps", "decay_rate"), ("staircase",)),
    "InverseTimeDecay": (("initial_learning_rate", "decay_steps", "decay_rate"), ("staircase",)),
    "PolynomialDecay": (("initial_learning_rate", "decay_steps"), ("end_learning_rate", "power", "cycle")),
    "PiecewiseConstantDecay": (("boundaries", "values"), ()),
    "CosineDecay": (("initial_learning_rate", "decay_steps"), ("alpha", "warmup_target", "warmup_steps")),
    "CosineDecayRestarts": (("initial_learning_rate", "first_decay_steps"), ("t_mul", "m_mul", "alpha")),
    "LinearCosineDecay": (("initial_learning_rate", "decay_steps"), ("num_periods", "alpha", "beta")),
}

# Losses in snake case, as in loss=keras; all of Keras's names are mapped to these.
LOSSES = (
    "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "mean_squared_error",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_logarithmic_error", "log_cosh", "huber",
    "kl_divergence", "poisson", "cosine_similarity", "categorical_hinge", "hinge", "squared_hinge",
    "binary_focal_crossentropy", "categorical_focal_crossentropy", "categorical_generalized_cross_entropy", "dice", "tversky",
)  # fmt: skip
# Losses of labels; losses whose targets are class numbers follow.
_LABEL_LOSSES = ("binary_crossentropy", "binary_focal_crossentropy", "dice", "tversky")
OF_CLASS_NUMBERS = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "logcosh": "log_cosh",
    "kullback_leibler_divergence": "kl_divergence",
    "kld": "kl_divergence",
    "huber_loss": "huber",
    "acc": "accuracy",
    "ce": "crossentropy",
    "bce": "binary_crossentropy",
    "log_cosh_error": "log_cosh",
    "cosine_proximity": "cosine_similarity",
    "f_beta_score": "fbeta_score",
}
# Activation of an output of each kind.
GIVES = {"classification": "softmax", "multilabel": "sigmoid", "regression": "logits"}
# Upper-case names that are functions of Keras, not classes.
FUNCTIONS = ("MSE", "MAE", "MAPE", "MSLE", "KLD")
# Log names of classes that are not their name in snake case, including those of TensorFlow 2.4.
_LOGGED = {"LogCoshError": "logcosh", "FBetaScore": "fbeta_score", "Huber": "huber_loss", "ACC": "ACC"}
_LOGGED_BEFORE = {"KLDivergence": "kullback_leibler_divergence"}
# Metrics that determine the kind of an output; those of labels are for binary outputs.
_OF_CLASSES = frozenset({
    "accuracy", "categorical_accuracy", "sparse_categorical_accuracy", "crossentropy", "categorical_crossentropy",
    "sparse_categorical_crossentropy", "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy", "auc",
    "categorical_focal_crossentropy", "categorical_generalized_cross_entropy",
})  # fmt: skip
_OF_LABELS = frozenset({
    "binary_accuracy", "binary_crossentropy", "precision", "recall", "true_positives", "false_positives",
    "true_negatives", "false_negatives", "precision_at_recall", "recall_at_precision", "sensitivity_at_specificity",
    "specificity_at_sensitivity", "binary_io_u", "binary_focal_crossentropy", "dice", "tversky",
})  # fmt: skip
# Metrics of one value, which fail when Keras calls them with outputs and targets.
OF_ONE_VALUE = ("mean", "sum", "mean_tensor")
# Metrics with one or several thresholds.
OF_THRESHOLDS = ("precision", "recall", "true_positives", "false_positives", "true_negatives", "false_negatives")
# Classes without an explicit name, which Keras numbers across all outputs.
_NUMBERED = frozenset({
    *OF_THRESHOLDS, "auc", "binary_io_u", "io_u", "mean_io_u", "one_hot_io_u", "one_hot_mean_io_u", "precision_at_recall",
    "recall_at_precision", "sensitivity_at_specificity", "specificity_at_sensitivity", "mean_relative_error",
})  # fmt: skip


class Numbers:
    """Suffixes of metrics that are used more than once, as Keras appends them: `auc`, `auc_1`."""

    def __init__(self) -> None:
        self._classes, self._logged = Counter[str](), Counter[str]()

    def names(self, path: str, names: list[str], prefix: str) -> list[str]:
        """Return the names of the next metric; a numbered one has no others.

        Args:
            path: The metric's import string.
            names: The result of `logged_as`.
            prefix: Prefix of the metrics of its output.
        """
        name, short_name = names[0], path.rpartition(".")[2]
        if "." in path and metric(path) in _NUMBERED and name == snake(short_name):
            self._classes[name] += 1
            name += f"_{self._classes[name] - 1}" if self._classes[name] > 1 else ""
        self._logged[prefix + name] += 1
        name += f"_{self._logged[prefix + name] - 1}" if self._logged[prefix + name] > 1 else ""
        return names if name == names[0] else [name]


def last_part(path: str) -> str | None:
    """Return the last part of a short name or of a dotted name in Keras; None for one of the user's own modules."""
    module, _, name = path.rpartition(".")
    return name if not module or any(module == prefix or module.startswith(f"{prefix}.") for prefix in _KERAS) else None


def logged_as(path: str, name: Any = None) -> list[str]:
    """Return the names under which a metric may be monitored: Keras's log name first, then alternatives.

    Barrage passes a short name to Keras without its parameters, so that it may also be monitored under that name.

    Args:
        path: The metric's import string.
        name: Its parameter `name`.
    """
    short_name = path.rpartition(".")[2]
    is_function = short_name in FUNCTIONS or not short_name[:1].isupper()
    logged = short_name if is_function else _LOGGED.get(short_name, snake(short_name))
    others = [
        logged,
        short_name,
        snake(short_name),
        *([_LOGGED_BEFORE[short_name]] if short_name in _LOGGED_BEFORE else []),
    ]
    names = [*([str(name)] if name else []), *(others if not name or path == short_name else [])]
    return list(dict.fromkeys(names))


def is_abbreviated(path: str) -> bool:
    """Return whether a dotted name has `tf` in place of `tensorflow`, which Barrage warns of."""
    return path.startswith("tf.keras")


def either_case(name: str, known: Mapping[str, object]) -> str | None:
    """Return the known name that equals a name except for the case of its first letter; None if there is none."""
    swapped = name[:1].swapcase() + name[1:]
    return next((candidate for candidate in (name, swapped) if candidate in known), None)


def kind_of(loss: str) -> str:
    """Return the kind of task for a loss in snake case."""
    if loss.endswith("entropy") and "categorical" in loss:
        return "classification"
    return "multilabel" if loss in _LABEL_LOSSES else "regression"


def kind_by_metrics(names: Iterable[str]) -> str:
    """Return the kind of an output from the names of its metrics; numeric metrics, or none, mean regression."""
    plain = {snake(name) for name in names}
    if plain & _OF_LABELS:
        return "multilabel"
    return "classification" if plain & _OF_CLASSES else "regression"


def metric(path: str) -> str:
    """Return a metric's name in snake case; a class of losses is the loss, the class `Accuracy` counts equal values."""
    name = snake(path.rpartition(".")[2])
    if name == "cosine_similarity" and ".losses." in path:
        return "negative_cosine_similarity"
    return "equal_values" if path.endswith(".Accuracy") else name


def snake(name: str) -> str:
    """Return the full name of a loss or metric in snake case: `MeanSquaredError`, `mse` and `MSE` are mean_squared_error.

    Class names become Keras's log names: `AUC` is auc, `KLDivergence` kl_divergence.
    """
    if name.isupper() or name.islower():
        plain = name.lower()
    else:
        apart = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
        plain = re.sub("([a-z0-9])([A-Z])", r"\1_\2", apart).lower()
    return _ALIASES.get(plain, plain)
