"""Other programs' names of networks, optimizers, losses and metrics, each with its native equivalent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

# Keras networks of several widths -> each `alpha` that timm has -> timm's name, tag of its ImageNet weights (empty: none).
WIDTHS: dict[str, dict[float, tuple[str, str]]] = {
    "mobilenet": {1.0: ("mobilenetv1_100", "ra4_e3600_r224_in1k"), 1.25: ("mobilenetv1_125", "ra4_e3600_r224_in1k")},
    "mobilenetv2": {
        0.35: ("mobilenetv2_035", ""),
        0.5: ("mobilenetv2_050", "lamb_in1k"),
        0.75: ("mobilenetv2_075", ""),
        1.0: ("mobilenetv2_100", "ra_in1k"),
        1.4: ("mobilenetv2_140", "ra_in1k"),
    },
}
# Keras's and qubvel's names in lower case -> timm's name and tag.
BACKBONES: dict[str, tuple[str, str]] = {
    **{f"resnet{depth}": (f"resnet{depth}", "tv_in1k") for depth in (18, 34, 50, 101, 152)},
    "resnet50v2": ("resnetv2_50", "a1h_in1k"),
    "resnet101v2": ("resnetv2_101", "a1h_in1k"),
    "resnet152v2": ("resnetv2_152", ""),
    "resnext50": ("resnext50_32x4d", "gluon_in1k"),
    "resnext101": ("resnext101_32x4d", "gluon_in1k"),
    "vgg16": ("vgg16", "tv_in1k"),
    "vgg19": ("vgg19", "tv_in1k"),
    "inceptionv3": ("inception_v3", "tf_in1k"),
    "inceptionresnetv2": ("inception_resnet_v2", "tf_in1k"),
    "xception": ("legacy_xception", "tf_in1k"),
    **{name: widths[1.0] for name, widths in WIDTHS.items()},
    **{f"densenet{depth}": (f"densenet{depth}", "tv_in1k") for depth in (121, 169, 201)},
    "nasnetlarge": ("nasnetalarge", "tf_in1k"),
    **{f"seresnet{depth}": (f"legacy_seresnet{depth}", "in1k") for depth in (18, 34, 50, 101, 152)},
    "seresnext50": ("seresnext50_32x4d", "gluon_in1k"),
    "seresnext101": ("seresnext101_32x4d", "gluon_in1k"),
    "senet154": ("senet154", "gluon_in1k"),
    # With TensorFlow's padding; the AutoAugment weights are those of the package `efficientnet` and of Keras.
    **{f"efficientnetb{number}": (f"tf_efficientnet_b{number}", "aa_in1k") for number in range(8)},
}
# Segmentation networks in lower case -> the option of arch.
SEGMENTERS = {"unet": "unet", "linknet": "linknet", "psp": "pspnet", "pspnet": "pspnet", "fpn": "fpn"}


class Rule(NamedTuple):
    """An optimizer of Keras: its native option, its default learning rate, and the keys that make both equivalent.

    `bounds` are the native keys of `clipnorm` and `clipvalue`.
    """

    option: str
    lr: float
    keys: dict[str, Any]
    bounds: Mapping[str, str] = MappingProxyType({"clipnorm": "clip_norm", "clipvalue": "clip_value"})


_SAME_BOUNDS = MappingProxyType({"clipnorm": "clipnorm", "clipvalue": "clipvalue"})
# Optimizers of Keras in lower case. In version 2.2, epsilon is 1e-7, and there is no momentum and no weight decay; later ones
# have the defaults of Keras 3.
OPTIMIZERS: dict[str, Rule] = {
    "sgd": Rule("sgd", 0.01, {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    "rmsprop": Rule("rmsprop", 0.001, {"alpha": 0.9, "eps": 1e-7, "weight_decay": 0.0}),
    "adagrad": Rule("adagrad", 0.01, {"eps": 1e-7, "weight_decay": 0.0}),
    "adadelta": Rule("adadelta", 1.0, {"rho": 0.95, "eps": 1e-7, "weight_decay": 0.0}),
    "adam": Rule("adam", 0.001, {"eps": 1e-7, "weight_decay": 0.0}),
    "adamax": Rule("adamax", 0.002, {"eps": 1e-7, "weight_decay": 0.0}),
    "nadam": Rule("nadam", 0.002, {"eps": 1e-7, "weight_decay": 0.0}),
    "adamw": Rule("keras_adamw", 0.001, {}, _SAME_BOUNDS),
    "adafactor": Rule("keras_adafactor", 0.001, {}, _SAME_BOUNDS),
    "ftrl": Rule("keras_ftrl", 0.001, {}, _SAME_BOUNDS),
    "lion": Rule("keras_lion", 0.001, {}, _SAME_BOUNDS),
}

# Names of losses, including those used as metrics -> the term of loss=composite.
LOSSES: dict[str, str] = {
    "binary_crossentropy": "bce",
    "log_loss": "bce",
    "categorical_crossentropy": "ce",
    "sparse_categorical_crossentropy": "ce",
    **dict.fromkeys(("mse", "mean_squared_error"), "squared_error"),
    **dict.fromkeys(("mae", "mean_absolute_error"), "absolute_error"),
    **dict.fromkeys(("msle", "mean_squared_logarithmic_error"), "squared_log_error"),
    **dict.fromkeys(("mape", "mean_absolute_percentage_error"), "percentage_error"),
    "logcosh": "log_cosh",
    "huber_loss": "huber_error",
    "hinge": "hinge",
    "squared_hinge": "squared_hinge",
    "categorical_hinge": "categorical_hinge",
    **dict.fromkeys(("kullback_leibler_divergence", "kld"), "kl_divergence"),
    "poisson": "poisson",
    **dict.fromkeys(("cosine_proximity", "cosine", "cosine_similarity"), "cosine"),
    "dice_loss": "dice",
    "iou_loss": "iou",
    "jaccard_loss": "jaccard",
    "focal_loss": "focal_sum",
    "lovasz_loss": "lovasz",
    "f1_loss": "soft_f1",
    "l2_loss": "squared_sum",
}

# Metrics by the task's kind; other names are an error that lists these.
METRICS: dict[str, dict[str, str]] = {
    "classification": {
        "categorical_accuracy": "accuracy",
        "sparse_categorical_accuracy": "accuracy",
        "accuracy": "accuracy",
        "acc": "accuracy",
        "binary_accuracy": "elementwise_accuracy",
        "macro_f1": "soft_macro_f1",
        "matthews_correlation": "elementwise_mcc",
        "categorical_crossentropy": "nll",
        "sparse_categorical_crossentropy": "nll",
        "binary_crossentropy": "elementwise_nll",
        "log_loss": "elementwise_nll",
        "top_k_categorical_accuracy": "top5_accuracy",
        "dice": "elementwise_dice",
        **dict.fromkeys(("iou", "iou_coef"), "soft_iou"),
        "iot": "hard_iou",
    },
    "multilabel": {
        "binary_accuracy": "accuracy",
        "accuracy": "accuracy",
        "acc": "accuracy",
        "macro_f1": "soft_macro_f1",
        "matthews_correlation": "elementwise_mcc",
        "binary_crossentropy": "nll",
        "log_loss": "nll",
        "dice": "micro_f1",
        **dict.fromkeys(("iou", "iou_coef"), "soft_iou"),
        "iot": "hard_iou",
        # Keras's metric is for any activation: it compares the largest output with the largest target.
        "categorical_accuracy": "top1_accuracy",
        "top_k_categorical_accuracy": "top5_accuracy",
    },
    "regression": {
        "categorical_accuracy": "top1_accuracy",
        "top_k_categorical_accuracy": "top5_accuracy",
        **dict.fromkeys(("mse", "mean_squared_error"), "mse"),
        **dict.fromkeys(("mae", "mean_absolute_error"), "mae"),
    },
}
# Losses of probabilities that also apply to numbers, as in `mlpipe.learn.losses.probabilities`.
_OF_NUMBERS = ("squared_error", "absolute_error", "log_cosh", "huber_error", "squared_sum")
# Losses that need numbers in their own unit: counts, shares, directions, or signs.
OF_UNITS = frozenset({
    "squared_log_error", "percentage_error", "poisson", "kl_divergence", "hinge", "squared_hinge", "categorical_hinge",
    "cosine",
})  # fmt: skip
# A loss may be a metric: if its kind has no metric of that name, the loss itself is computed.
for _kind, _table in METRICS.items():
    for _name, _term in LOSSES.items():
        if _term not in ("bce", "ce") and (_kind != "regression" or _term in (*_OF_NUMBERS, *OF_UNITS)):
            _table.setdefault(_name, f"loss_{_term}")
