"""Values that cannot be meant, for every key of Musket's, Barrage's and rmldnn's files: named by their key, all at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlpipe.dialects import barrage, musket, rmldnn
from mlpipe.errors import ConfigError

TEXT, FRACTION, LIST, MAP, NULL, NEGATIVE, YES, ENDLESS = "three", 2.5, [1], {"a": 1}, None, -1, True, math.inf
# What is wrong where something belongs.
NO_NUMBER = [TEXT, LIST, MAP, NULL, YES, ENDLESS, math.nan]
NO_WHOLE = [*NO_NUMBER, FRACTION, NEGATIVE]
NO_FLAG = ["maybe", "true", 3, FRACTION, LIST, MAP, NULL]
NO_TEXT = [3, FRACTION, YES, LIST, MAP, NULL]
NO_MAP = [TEXT, 3, FRACTION, YES, LIST, NULL]
NO_LIST = [TEXT, 3, FRACTION, YES, MAP, NULL]


def without(values: list[Any], *fitting: Any) -> list[Any]:
    return [one for one in values if not any(one is fit or one == fit for fit in fitting)]


MUSKET: dict[str, Any] = {
    "architecture": "MobileNet", "classes": 2, "activation": "softmax", "weights": None, "encoder_weights": None,
    "pooling": "avg", "shape": [32, 32, 3], "optimizer": "Adam", "lr": 0.001, "batch": 4, "inference_batch": 8,
    "dropout": 0.1, "alpha": 1.0, "depth_multiplier": 1, "crops": 2, "maxEpochSize": 3, "clipnorm": 1.0, "copyWeights": True,
    "freeze_encoder": True, "manualResize": False, "noTrain": False, "bgr": False, "folds_count": 2,
    "validationSplit": 0.2, "testSplit": 0.1, "testSplitSeed": 5, "random_state": 6, "stratified": True,
    "loss": "categorical_crossentropy", "metrics": ["categorical_accuracy"], "final_metrics": ["macro_f1"],
    "primary_metric": "val_categorical_accuracy", "primary_metric_mode": "max", "experiment_result": "macro_f1",
    "dataset": {"train": {"getTrain": [2]}, "holdout": "more"}, "datasets": {"more": {"getTrain": [3]}},
    "extra_train_data": "more", "dataset_augmenter": {"name": "getTrain", "by": 2}, "groupFunc": "getTrain",
    "pretrain_transform": "getTrain", "imports": ["acc"], "preprocessing": [{"getTrain": {"by": 3}}],
    "declarations": {"chain": [{"getTrain": {"by": 3}}]}, "testTimeAugmentation": "Horizontal", "num_seeds": 2,
    "verbose": 1, "gpus": 1, "dumpPredictionsToCSV": True, "showDataExamples": True, "imgaug_lists": "range",
    "augmentation": {"Fliplr": 0.5, "Affine": {"rotate": [-5, 5]}, "Dropout": {"p": 0.1, "per_channel": True}},
    "transforms": {"Flipud": 0.5},
    "callbacks": {
        "EarlyStopping": {"monitor": "val_loss", "patience": 3, "min_delta": 0.1, "mode": "auto", "verbose": 1},
        "ReduceLROnPlateau": {
            "monitor": "val_loss", "patience": 3, "factor": 0.5, "min_delta": 0.1, "cooldown": 2, "min_lr": 0.1,
        },
        "TensorBoard": {
            "log_dir": "logs", "histogram_freq": 1, "batch_size": 4, "write_graph": True, "write_grads": True,
            "write_images": True, "update_freq": "batch", "embeddings_freq": 1,
        },
    },
    "stages": [
        {"epochs": 2, "lr": 0.1, "loss": "categorical_crossentropy", "negatives": "all", "logAll": False,
         "initial_weights": "a.weights", "freeze_encoder": True, "unfreeze_encoder": False},
        {"epochs": 1, "callbacks": {"CyclicLR": {"base_lr": 0.1, "max_lr": 0.2, "step_size": 3, "mode": "triangular",
                                                 "gamma": 0.9}}},
        {"epochs": 1, "extra_callbacks": {"EarlyStopping": {"patience": 3}}},
        {"epochs": 1, "callbacks": {"LRVariator": {
            "fromVal": 0.1, "toVal": 0.2, "style": "linear", "relSize": 1, "periodEpochs": 3,
            "then": {"ReduceLROnPlateau": {"patience": 2}},
        }}},
        {"epochs": 1, "callbacks": {"LRVariator": {
            "absSize": 3, "periodSteps": 9, "then": {"LRVariator": {"toVal": 0.1, "relSize": 1}}}}},
    ],
}  # fmt: skip
_STAGE = "stages[0]"
_EARLY, _PLATEAU, _BOARD = (f"callbacks.{name}" for name in ("EarlyStopping", "ReduceLROnPlateau", "TensorBoard"))
_CYCLIC, _RAMP, _STEPS = (
    f"stages[{number}].callbacks.{name}" for number, name in ((1, "CyclicLR"), (3, "LRVariator"), (4, "LRVariator"))
)
WRONG_IN_MUSKET: dict[str, list[Any]] = {
    **{key: [*NO_WHOLE, 0] for key in ("batch", "inference_batch", "folds_count", "num_seeds")},
    **dict.fromkeys(("crops", "maxEpochSize"), without(NO_WHOLE, NULL)),
    **dict.fromkeys(("testSplitSeed", "random_state"), NO_WHOLE),
    "classes": [TEXT, FRACTION, MAP, NULL, 0, NEGATIVE, YES, ["two"], [0]],
    "activation": [3, FRACTION, YES, MAP, NULL, "sofmax", [3]],
    "architecture": NO_TEXT,
    "optimizer": [*NO_TEXT, "nothing"],
    **{key: [*without(NO_TEXT, NULL), "nothing"] for key in ("weights", "encoder_weights", "pooling")},
    "loss": [3, FRACTION, YES, MAP, [3], "nothing", {"name": "mse"}],
    "shape": [*NO_LIST, [32, 32], [32, 32, "c"], [32, 32, 3.5], [0, 32, 3], [True, 32, 3]],
    "lr": [TEXT, LIST, MAP, YES, ENDLESS, 0, NEGATIVE],
    "dropout": [*NO_NUMBER, 1, NEGATIVE],
    "alpha": [TEXT, LIST, MAP, YES, 0.77],
    "depth_multiplier": [TEXT, LIST, MAP, 2],
    "clipnorm": [TEXT, LIST, MAP, YES, 0, NEGATIVE],
    "validationSplit": [*NO_NUMBER, 0, 1],
    "testSplit": [*NO_NUMBER, 1, NEGATIVE],
    **dict.fromkeys(
        ("copyWeights", "freeze_encoder", "manualResize", "noTrain", "bgr", "stratified", "dumpPredictionsToCSV",
         "showDataExamples"),
        NO_FLAG,
    ),
    **{key: [3, FRACTION, YES, MAP, [3], [[1]], ["nothing"], [{"macro_f1": 3}]] for key in ("metrics", "final_metrics")},
    "primary_metric": [3, FRACTION, YES, LIST, MAP, "val_nothing"],
    "primary_metric_mode": [3, YES, LIST, NULL, "most"],
    "experiment_result": [3, YES, LIST, MAP, "nothing"],
    "callbacks": [TEXT, 3, YES, [3], [[1]], {"Nothing": {}}],
    "stages": [TEXT, 3, YES, MAP, [3], [[1]], ["a"], [NULL], []],
    "dataset": [3, FRACTION, YES, LIST, "nothing", {"train": 3}, {"train": {"getTrain": []}, "holdout": 3}],
    "dataset.train": [3, YES, LIST, NULL, "nothing"],
    "datasets": [3, TEXT, YES, LIST, {"more": 3}, {"more": LIST}, {"more": NULL}],
    "extra_train_data": [3, YES, LIST, "nothing"],
    "dataset_augmenter": [3, TEXT, YES, LIST, {"by": 3}, {"name": 3}, {"name": "nothing"}],
    **{key: [3, YES, LIST, "nothing", {"getTrain": 3}] for key in ("groupFunc", "pretrain_transform")},
    "imports": [3, FRACTION, YES, MAP, [3], [NULL]],
    "declarations": [3, TEXT, YES, LIST, {"chain": 3}, {"chain": [3]}, {"chain": {"parameters": 3, "body": []}}],
    "preprocessing": [3, FRACTION, YES, [3], [NULL], ["nothing"], "nothing", {"augmentation": 3},
                      [{"augmentation": {"body": [{"Fliplr": 1}], "weights": TEXT}}], {"split-preprocessor": 3}],
    "testTimeAugmentation": [3, LIST, MAP, "nothing"],
    "verbose": [TEXT, 7, LIST, MAP, NULL],
    "gpus": NO_WHOLE,
    "imgaug_lists": [3, YES, LIST, NULL, "random"],
    **{key: [3, TEXT, YES, [3], {"Nothing": 1}] for key in ("augmentation", "transforms")},
    "augmentation.Fliplr": [TEXT, LIST, MAP, ENDLESS, 2],
    "augmentation.Affine": [TEXT, {"rotate": TEXT}, {"rotate": [1, 2, 3]}, {"rotate": YES}, {"scale": {"x": "a"}},
                            {"mode": "nothing"}, {"order": "two"}, {"fit_output": "maybe"}, {"turn": 3}, {"cval": TEXT}],
    "augmentation.Dropout": [TEXT, {"p": TEXT}, {"p": 0.1, "per_channel": "maybe"}, {"p": ENDLESS}],
    f"{_EARLY}.patience": NO_WHOLE,
    f"{_EARLY}.min_delta": [*NO_NUMBER, NEGATIVE],
    f"{_EARLY}.monitor": [*NO_TEXT, "val_nothing"],
    f"{_EARLY}.mode": [3, YES, LIST, NULL, "most"],
    f"{_EARLY}.verbose": [TEXT, 7, LIST],
    **{key: [3, "linear", YES, LIST, {"patiense": 1}] for key in (_EARLY, _PLATEAU, _BOARD, _CYCLIC, _RAMP)},
    **{f"{_PLATEAU}.{one}": NO_WHOLE for one in ("patience", "cooldown")},
    **{f"{_PLATEAU}.{one}": [*NO_NUMBER, NEGATIVE] for one in ("min_delta", "min_lr")},
    f"{_PLATEAU}.factor": [*NO_NUMBER, 0, 1, FRACTION],
    **{f"{_BOARD}.{one}": NO_WHOLE for one in ("histogram_freq", "batch_size", "embeddings_freq")},
    **{f"{_BOARD}.{one}": NO_FLAG for one in ("write_graph", "write_grads", "write_images")},
    f"{_BOARD}.log_dir": NO_TEXT,
    f"{_BOARD}.update_freq": [FRACTION, LIST, MAP, NULL, YES, 0, "often"],
    **{f"{_CYCLIC}.{one}": [*NO_NUMBER, NEGATIVE] for one in ("base_lr", "max_lr", "gamma")},
    f"{_CYCLIC}.step_size": [*NO_WHOLE, 0],
    f"{_CYCLIC}.mode": [3, YES, LIST, NULL, "round"],
    f"{_RAMP}.fromVal": [TEXT, LIST, MAP, YES, NEGATIVE],
    f"{_RAMP}.toVal": [*NO_NUMBER, NEGATIVE],
    f"{_RAMP}.style": [LIST, MAP, YES, NULL, "steep", 0],
    **{f"{_RAMP}.{one}": [TEXT, LIST, MAP, YES, 0, NEGATIVE] for one in ("relSize", "periodEpochs")},
    f"{_RAMP}.then": [3, TEXT, YES, LIST, {"LRVariator": 3}, {"ReduceLROnPlateau": {"patience": TEXT}}, {"CyclicLR": {}}],
    **{f"{_STEPS}.{one}": [TEXT, LIST, MAP, YES, 0, FRACTION] for one in ("absSize", "periodSteps")},
    f"{_STAGE}.epochs": [*NO_WHOLE, 0],
    f"{_STAGE}.lr": [TEXT, LIST, MAP, YES, 0, NEGATIVE],
    f"{_STAGE}.loss": [3, YES, MAP, "nothing"],
    f"{_STAGE}.negatives": [TEXT, LIST, MAP, YES, NEGATIVE],
    f"{_STAGE}.initial_weights": [3, YES, LIST, MAP],
    **{f"{_STAGE}.{one}": NO_FLAG for one in ("logAll", "freeze_encoder", "unfreeze_encoder")},
}  # fmt: skip


def placed(source: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a dotted place."""
    changed = copy.deepcopy(source)
    node: Any = changed
    *way, last = place.replace("[", ".[").split(".")
    for part in way:
        node = node[int(part[1:-1])] if part.startswith("[") else node[part]
    node[int(last[1:-1]) if last.startswith("[") else last] = value
    return changed


def corpus(wrong: dict[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    return ((place, value) for place, values in wrong.items() for value in values)


HOME = musket.Home(Path("config.yaml"), Path(), frozenset({"getTrain"}))


def test_the_files_are_right_as_they_are() -> None:
    assert musket.translate(MUSKET, HOME).native["sampling"]
    assert barrage.translate(BARRAGE).native and rmldnn.translate(RMLDNN).native


@pytest.mark.parametrize("place", WRONG_IN_MUSKET)
def test_what_cannot_be_meant_in_musket(place: str) -> None:
    for value in WRONG_IN_MUSKET[place]:
        with pytest.raises(ConfigError) as caught:
            musket.translate(placed(MUSKET, place, value), HOME)
        keys = [one.partition(":")[0] for one in caught.value.problems]
        told = [key for key in keys if key.startswith(place) or place.startswith(key) or "declarations" in key]
        assert told, (place, value, caught.value.problems)
        assert len(keys) <= 2, (value, caught.value.problems)


def test_the_corpus_is_large() -> None:
    assert len(list(corpus(WRONG_IN_MUSKET))) > 400


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    source, places = MUSKET, []
    for place, value in (
        ("batch", "many"), ("optimizer", "Adm"), ("dropout", "half"), ("freeze_encoder", "maybe"), ("imports", 3),
        (f"{_EARLY}.patience", "three"), (f"{_BOARD}.write_graph", 3), ("stages[1]", 3), (f"{_STAGE}.epochs", 2.5),
        ("experiment_result", "makro_f1"), ("testTimeAugmentation", "Vertical"), ("declarations", 3),
    ):  # fmt: skip
        source = placed(source, place, value)
        places.append(place)
    with pytest.raises(ConfigError) as caught:
        musket.translate(source, HOME)
    assert sorted(one.partition(":")[0] for one in caught.value.problems) == sorted(places)


BARRAGE: dict[str, Any] = {
    "dataset": {
        "loader": {"import": "KeySelector", "params": {"inputs": {"x": ["a"]}, "outputs": {"y": "y"}}},
        "transformer": {"import": "mine.T", "params": {"key": 1}},
        "augmentor": [{"import": "mine.f", "params": {"by": 1}}],
        "sample_count": "n",
        "seed": 3,
    },
    "model": {
        "network": {"import": "nets.make", "params": {"units": 3}},
        "outputs": [
            {
                "name": "y", "loss": {"import": "categorical_crossentropy", "params": {"label_smoothing": 0.1}},
                "loss_weight": 1, "metrics": [{"import": "accuracy", "params": {"name": "acc"}}],
            },
            {"name": "z", "loss": {"import": "Huber", "params": {"delta": 2.0}}, "loss_weight": 0.5},
        ],
    },
    "solver": {
        "optimizer": {"import": "Adam", "learning_rate": 0.1, "params": {"beta_1": 0.9, "epsilon": 1e-7, "amsgrad": True}},
        "batch_size": 4, "epochs": 2, "steps": 3,
        "learning_rate_reducer": {
            "monitor": "val_loss", "mode": "min", "patience": 2, "factor": 0.5, "cooldown": 1, "min_delta": 0.1, "min_lr": 0.1,
            "verbose": 1,
        },
    },
    "services": {
        "best_checkpoint": {"monitor": "val_loss", "mode": "min"},
        "tensorboard": {"log_dir": "x", "histogram_freq": 1},
        "train_early_stopping": {"monitor": "loss", "mode": "min", "patience": 2, "min_delta": 0.1, "baseline": 1.0},
        "validation_early_stopping": {
            "monitor": "val_loss", "mode": "min", "patience": 2, "min_delta": 0.1, "restore_best_weights": True,
        },
    },
}  # fmt: skip
_BLOCKS = (
    "dataset.loader", "dataset.transformer", "dataset.augmentor[0]", "model.network", "model.outputs[0].loss",
    "model.outputs[0].metrics[0]",
)  # fmt: skip
_STOPS = ("services.train_early_stopping", "services.validation_early_stopping")
_REDUCER = "solver.learning_rate_reducer"
WRONG_IN_BARRAGE: dict[str, list[Any]] = {
    **dict.fromkeys(("dataset", "model", "solver", "services"), NO_MAP),
    **{key: [*NO_MAP, {"params": {}}, {"import": "a.B", "parms": {}}] for key in _BLOCKS},
    **dict.fromkeys((f"{one}.import" for one in _BLOCKS), NO_TEXT),
    **dict.fromkeys((f"{one}.params" for one in _BLOCKS), NO_MAP),
    "dataset.augmentor": NO_LIST,
    "dataset.loader.params": [*NO_MAP, {"inputs": {}, "ouputs": {}}, {"inputs": {}, "outputs": {}, "weights": {}}],
    **dict.fromkeys(("dataset.loader.params.inputs", "dataset.loader.params.outputs"), NO_MAP),
    "dataset.sample_count": NO_TEXT,
    "dataset.seed": NO_WHOLE,
    "model.outputs": [*NO_LIST, []],
    "model.outputs[0].name": NO_TEXT,
    "model.outputs[0].loss_weight": [*NO_NUMBER, NEGATIVE],
    "model.outputs[0].metrics": NO_LIST,
    # Keras takes null as no name.
    "model.outputs[0].metrics[0].params.name": [one for one in NO_TEXT if one is not NULL],
    "model.outputs[0].loss.params.label_smoothing": [*NO_NUMBER, NEGATIVE, 1],
    "model.outputs[1].loss.params.delta": [*NO_NUMBER, NEGATIVE],
    "solver.optimizer": [*NO_MAP, {"import": "Adam"}],
    "solver.optimizer.import": [*NO_TEXT, "nothing"],
    "solver.optimizer.learning_rate": [TEXT, LIST, MAP, NULL, YES, 0, NEGATIVE, {"import": "nothing"}],
    "solver.optimizer.params": NO_MAP,
    "solver.optimizer.params.beta_1": [*NO_NUMBER, NEGATIVE],
    "solver.optimizer.params.epsilon": [TEXT, LIST, MAP, YES, NEGATIVE],
    "solver.optimizer.params.amsgrad": NO_FLAG,
    **{key: [*NO_WHOLE, 0] for key in ("solver.batch_size", "solver.epochs", "solver.steps")},
    **{f"{_REDUCER}.{one}": NO_WHOLE for one in ("patience", "cooldown")},
    **{f"{_REDUCER}.{one}": [*NO_NUMBER, NEGATIVE] for one in ("factor", "min_delta", "min_lr")},
    f"{_REDUCER}.mode": [3, LIST, NULL, "auto"],
    f"{_REDUCER}.verbose": [TEXT, LIST, MAP],
    **{key: [*NO_TEXT, "nothing"] for key in (f"{one}.monitor" for one in (_REDUCER, "services.best_checkpoint", *_STOPS))},
    **{key: [*NO_WHOLE, 0] for key in (f"{one}.patience" for one in _STOPS)},
    **{key: [*NO_NUMBER, NEGATIVE] for key in (f"{one}.min_delta" for one in _STOPS)},
    "services.tensorboard": NO_MAP,
    "services.train_early_stopping.baseline": [TEXT, LIST, MAP, YES, ENDLESS],
    "services.validation_early_stopping.restore_best_weights": [TEXT, 3, LIST, MAP],
}  # fmt: skip


@pytest.mark.parametrize("place", WRONG_IN_BARRAGE)
def test_what_cannot_be_meant_in_barrage(place: str) -> None:
    for value in WRONG_IN_BARRAGE[place]:
        with pytest.raises(ConfigError) as caught:
            barrage.translate(placed(BARRAGE, place, value))
        keys = [one.partition(":")[0] for one in caught.value.problems]
        assert any(key.startswith(place) or place.startswith(key) for key in keys), (
            place,
            value,
            caught.value.problems,
        )


RMLDNN: dict[str, Any] = {
    "neural_network": {
        "outfile": "out.txt", "num_epochs": 2, "debug": True, "debug_interval": 2,
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "input"}},
            {"class_name": "Flatten", "config": {}},
            {"class_name": "Dense", "config": {"units": 2, "activation": "log_softmax"}},
        ],
        "checkpoints": {"save": "model", "interval": 2},
        "data": {
            "input_type": "images", "target_type": "labels", "input_path": "in", "test_input_path": "test",
            "test_output_path": "out", "batch_size": 4, "test_batch_size": 2, "preload": True, "grayscale": False,
            "transforms": [
                {"resize": [8, 8]}, {"random_horizontal_flip": 0.5}, {"random_zoom": 0.2}, {"rotate": 90},
                {"jitter_crop": 0.1}, {"convert_color": "RGB2BGR"}, {"resize": [8, 8]},
                {"normalize": {"mean": 0.5, "std": 0.5}},
            ],
        },
        "optimizer": {
            "type": "Adam", "learning_rate": 0.1, "beta1": 0.9, "weight_decay": 0.1, "eps": 1e-8, "amsgrad": True,
            "lr_scheduler": {"type": "Step", "step_size": 2, "gamma": 0.5, "verbose": True},
        },
        "loss": {"function": "NLL", "weight": [0.5, 0.5], "ignore_index": 1},
    }
}  # fmt: skip
_IN = "neural_network"
WRONG_IN_RMLDNN: dict[str, list[Any]] = {
    f"{_IN}.{place}": values
    for place, values in {
        **dict.fromkeys(("optimizer", "loss", "data", "checkpoints"), NO_MAP),
        **dict.fromkeys(("outfile", "checkpoints.save", "data.input_path", "data.test_output_path"), NO_TEXT),
        **{key: [*NO_TEXT, "nothing"] for key in ("optimizer.type", "loss.function", "data.input_type")},
        **dict.fromkeys(("num_epochs",), NO_WHOLE),
        **{key: [*NO_WHOLE, 0] for key in ("debug_interval", "checkpoints.interval", "data.batch_size", "data.test_batch_size")},
        **dict.fromkeys(("debug", "data.preload", "data.grayscale", "optimizer.amsgrad"), NO_FLAG),
        "optimizer.lr_scheduler": NO_MAP,
        "optimizer.lr_scheduler.step_size": [*NO_WHOLE, 0],
        "optimizer.lr_scheduler.verbose": NO_FLAG,
        "optimizer.lr_scheduler.type": [*NO_TEXT, "nothing"],
        "optimizer.lr_scheduler.gamma": [*NO_NUMBER, NEGATIVE, 0],
        **{key: [*NO_NUMBER, NEGATIVE, 0] for key in ("optimizer.learning_rate", "optimizer.eps")},
        **{key: [*NO_NUMBER, NEGATIVE] for key in ("optimizer.beta1", "optimizer.weight_decay")},
        "loss.weight": [TEXT, 3, FRACTION, YES, MAP, NULL, [TEXT], [0.5, NEGATIVE]],
        "loss.ignore_index": [TEXT, FRACTION, LIST, MAP, NULL, YES],
        "layers": [3, YES, NULL, [3], [NULL], []],
        "data.transforms": [*NO_LIST, [{"nothing": 1}], [{"resize": "8"}], [{"resize": [8]}], [{"resize": [8, 2.5]}],
                            [{"random_horizontal_flip": TEXT}], [{"rotate": LIST}], [{"convert_color": 3}],
                            [{"normalize": {"mean": TEXT}}], [{"normalize": 3}], [{"jitter_crop": NULL}]],
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("place", WRONG_IN_RMLDNN)
def test_what_cannot_be_meant_in_rmldnn(place: str) -> None:
    for value in WRONG_IN_RMLDNN[place]:
        with pytest.raises(ConfigError) as caught:
            rmldnn.translate(placed(RMLDNN, place, value))
        keys = [one.partition(":")[0] for one in caught.value.problems]
        told = any(key.startswith(place) or place.startswith(key) or "layers" in place for key in keys)
        assert told, (place, value, caught.value.problems)
