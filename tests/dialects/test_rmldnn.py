"""rmldnn's configurations as native ones: every section, every refusal, the report."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.config import recipe_file
from mlpipe.dialects import detect, rmldnn
from mlpipe.dialects.rmldnn import schema
from mlpipe.dialects.rmldnn.network import look
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError


def net(activation: str = "log_softmax", units: int = 3, *more: dict[str, Any]) -> list[dict[str, Any]]:
    first = {"name": "flat", "batch_input_shape": [None, 8, 8, 3]}
    last = {"name": "out", "units": units, "activation": activation}
    return [{"class_name": "Flatten", "config": first}, *more, {"class_name": "Dense", "config": last}]


CONFIG: dict[str, Any] = {
    "num_epochs": 4,
    "layers": net(),
    "data": {"input_type": "images", "target_type": "labels", "input_path": "a", "test_input_path": "b"},
    "optimizer": {"type": "SGD"},
    "loss": {"function": "NLL"},
}


def config(**changes: Any) -> dict[str, Any]:
    """The configuration with other sections; `data__batch_size=3` changes one key, None takes one out."""
    made = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        *way, last = key.split("__")
        node = made
        for part in way:
            node = node[part]
        if value is None:
            node.pop(last, None)
        else:
            node[last] = value
    return {"neural_network": made}


def translated(**changes: Any) -> Translation:
    return rmldnn.translate(config(**changes))


def native(**changes: Any) -> dict[str, Any]:
    return translated(**changes).native


def test_a_training_with_its_defaults() -> None:
    found = translated()
    tree = found.native
    assert found.chosen() == {
        "arch": "keras_json", "task": "folders", "preprocessing": "none", "augmentations": "none", "split": "on_test",
        "optimizer": "sgd", "lr_scheduler": "none", "loss": "nll",
    }  # fmt: skip
    assert tree["task"] == {
        "channels": 3, "bits": 8, "strict": True, "train": "a", "test": "b", "allow_overlap": True,
    }  # fmt: skip
    assert tree["sampling"] == {"batch_size": 64, "eval_batch_size": 64}
    assert tree["mode"] == {"nested": False, "store_best": False} and tree["trainer"]["max_epochs"] == 4
    assert json.loads(tree["arch"]["layers"]) == net() and found.mode == ""
    assert tree["augmentations"]["cpu"]["pipeline"] == [
        {"_target_": "mlpipe.data.augment.geometry.convert_color", "code": "RGB2BGR"}
    ]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("SGD", {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "dampening": 0.0, "nesterov": False}),
        ("adagrad", {"lr": 0.01, "lr_decay": 0.0, "weight_decay": 0.0}),
        ("ADAM", {"lr": 0.01, "betas": [0.9, 0.999], "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False}),
        ("AdamW", {"lr": 0.01, "betas": [0.9, 0.999], "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False}),
        ("rmsprop", {"lr": 0.01, "momentum": 0.0, "alpha": 0.99, "eps": 1e-8, "centered": False, "weight_decay": 0.0}),
        ("LARS", {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "dampening": 0.0, "nesterov": False,
                  "trust_coeff": 1e-3, "always_adapt": True}),
        ("LAMB", {"lr": 0.01, "betas": [0.9, 0.999], "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False,
                  "always_adapt": True, "max_grad_norm": None}),
        ("Hessian", {"lr": 1.0, "max_iter": 2000, "max_eval": 4000, "tolerance": 1e-8, "relative_tolerance": 1e-8}),
    ],
)  # fmt: skip
def test_every_optimizer_with_the_defaults_of_the_page(kind: str, values: dict[str, Any]) -> None:
    found = translated(optimizer={"type": kind})
    given = dict(found.native["optimizer"])
    assert found.chosen()["optimizer"] == {"hessian": "lbfgs"}.get(kind.lower(), kind.lower())
    assert given.pop("decay_all", None) == (None if kind == "Hessian" else True)
    assert given == values


@pytest.mark.parametrize(
    ("given", "option", "values"),
    [
        ({"type": "Step", "step_size": 2}, "step", {"step_epochs": 2, "gamma": 0.1}),
        ({"type": "multistep", "milestones": [2, 5], "gamma": 0.5}, "multistep", {"milestones": [2, 5], "gamma": 0.5}),
        ({"type": "Exponential", "gamma": 0.2, "verbose": True}, "exponential", {"gamma": 0.2}),
        ({"type": "Warmup", "num_epochs": 5, "start_factor": 0.2}, "warmup", {"warmup_epochs": 5, "start_ratio": 0.2}),
    ],
)
def test_every_schedule(given: dict[str, Any], option: str, values: dict[str, Any]) -> None:
    found = translated(optimizer={"type": "adam", "lr_scheduler": given})
    assert found.chosen()["lr_scheduler"] == option
    assert found.native["lr_scheduler"] == {"interval": "epoch", **values}


@pytest.mark.parametrize(
    ("end", "loss", "option", "values"),
    [
        ("log_softmax", {"function": "nll"}, "nll", {}),
        ("log_softmax_v2", {"function": "NLL", "weight": [1, 2, 3]}, "nll", {"class_weights": [1.0, 2.0, 3.0]}),
        ("log_softmax", {"function": "NLL", "ignore_index": 1}, "nll", {"class_weights": [1.0, 0.0, 1.0]}),
        ("log_softmax", {"function": "NLL", "ignore_index": -100}, "nll", {}),
        ("softmax", {"function": "NLL"}, "ce", {}),
        ("sigmoid", {"function": "BCE", "source": "sigmoid"}, "elementwise", {"of": "bce", "outputs": "sigmoid"}),
        ("softmax", {"function": "bce"}, "elementwise", {"of": "bce", "outputs": "softmax"}),
        ("linear", {"function": "mse"}, "elementwise", {"of": "squared_error", "outputs": "linear"}),
        ("softmax", {"function": "Focal", "gamma": 1.5}, "focal", {"gamma": 1.5}),
        ("log_softmax", {"function": "focal", "source": "log_softmax"}, "focal", {"gamma": 2.0}),
        ("sigmoid", {"function": "focal", "source": "sigmoid"}, "elementwise",
         {"of": "focal", "outputs": "sigmoid", "gamma": 2.0}),
    ],
)  # fmt: skip
def test_losses_follow_from_how_the_network_ends(
    end: str, loss: dict[str, Any], option: str, values: dict[str, Any]
) -> None:
    found = translated(layers=net(end), loss=loss)
    assert found.chosen()["loss"] == option and found.native.get("loss", {}) == values


ARRAYS = {"type": "numpy", "input_path": "a", "target_path": "b", "test_input_path": "c", "test_target_path": "d"}


@pytest.mark.parametrize(("end", "units"), [("linear", 1), ("linear", 2), ("sigmoid", 2)])
def test_arrays_of_numbers_are_learned_by_mse(end: str, units: int) -> None:
    found = translated(layers=net(end, units), data=ARRAYS, loss={"function": "MSE", "source": "sigmoid"})
    assert found.chosen()["task"] == "samples" and found.chosen()["loss"] == "mse"
    assert found.native["task"]["labels"] == "numbers" and found.native["metrics"]["train"] == ["r2"]
    assert found.native["task"]["classes"] == [f"output{number}" for number in range(units)]
    evaluated = {key: value for key, value in ARRAYS.items() if key.startswith("test") or key == "type"}
    assert native(layers=net(end, units), data=evaluated, loss={"function": "MSE"})["task"]["labels"] == "numbers"
    # Targets that are classes stay classes: those of a softmax or one sigmoid, and of other losses.
    for ends, loss in ((net("softmax"), "MSE"), (net("sigmoid", 1), "MSE"), (net("log_softmax"), "NLL")):
        assert native(layers=ends, data=ARRAYS, loss={"function": loss})["task"]["labels"] == "files"
    with pytest.raises(ConfigError, match=r"data\.target_path: is needed to train"):
        translated(layers=net(end, units), data={"type": "hdf5", "input_path": "a"}, loss={"function": "MSE"})


def test_class_numbers_stay_classes_of_several_outputs_by_mse(tmp_path: Path) -> None:
    np.savez(tmp_path / "classes.npz", a=np.array(2), b=np.array([0]))
    np.savez(tmp_path / "rows.npz", a=np.zeros(3), b=np.ones(3))
    for end in ("linear", "sigmoid"):
        data = {**ARRAYS, "target_path": str(tmp_path / "classes.npz")}
        found = translated(layers=net(end), data=data, loss={"function": "MSE"})
        assert found.native["task"]["labels"] == "files" and found.chosen()["loss"] == "elementwise"
        assert native(layers=net(end, 1), data=data, loss={"function": "MSE"})["task"]["labels"] == (
            "numbers" if end == "linear" else "files"
        )
        data = {**ARRAYS, "target_path": str(tmp_path / "rows.npz")}
        assert native(layers=net(end), data=data, loss={"function": "MSE"})["task"]["labels"] == "numbers"


def test_a_single_sigmoid_is_the_second_of_two_classes() -> None:
    bce = translated(layers=net("sigmoid", 1), loss={"function": "BCE", "source": "sigmoid"})
    assert bce.chosen()["loss"] == "ce" and "loss" not in bce.native
    mse = translated(layers=net("sigmoid", 1), loss={"function": "MSE"})
    assert mse.native["loss"] == {"of": "squared_error", "outputs": "softmax"}
    with pytest.raises(ConfigError, match="mse of a single output is one of a sigmoid, the network ends in linear"):
        translated(layers=net("linear", 1), loss={"function": "MSE"})


def test_how_a_network_ends_is_seen_through_its_last_layers() -> None:
    tail = [{"class_name": "Activation", "config": {"name": "end", "activation": "Softmax"}}]
    assert look([*net("linear", 7), *tail]).end == "softmax" and look([*net("linear", 7), *tail]).units == 7
    whole = {"class_name": "Sequential", "config": {"name": "big", "layers": [*net("relu", 4), *tail]}}
    assert look(whole).name == "big" and look(whole).units == 4
    assert look(net("linear", 3, {"class_name": "Dropout", "config": {"rate": 0.5}})).drops
    ends = {"layers": [net("sigmoid", 2)[1], *net("relu", 9)], "output_layers": [["first", 0, 0]]}
    ends["layers"][0]["config"]["name"] = "first"  # type: ignore[index, call-overload]
    assert look({"class_name": "Functional", "config": ends}).end == "sigmoid"


def _layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


_INPUT = _layer("InputLayer", name="in", batch_input_shape=[None, 8, 8, 5])
_CONV = _layer("Conv2D", filters=5, activation="sigmoid", name="conv")


def _fed(by: list[str], kind: str, **config: Any) -> dict[str, Any]:
    return {**_layer(kind, **config), "inbound_nodes": [[[name, 0, 0, {}] for name in by]]}


@pytest.mark.parametrize(
    ("layers", "end", "units", "maps"),
    [
        ([_CONV, _layer("ReLU")], "linear", 5, True),
        ([_CONV, _layer("tanh")], "linear", 5, True),
        ([_CONV, _layer("Activation", activation="linear")], "sigmoid", 5, True),
        ([_CONV, _layer("BatchNormalization"), _layer("LogSoftmax")], "log_softmax", 5, True),
        ([_CONV, _layer("BatchNormalization")], "linear", 5, True),
        ([_CONV, _layer("MaxPooling2D")], "linear", 5, True),
        ([_CONV, _layer("GlobalAveragePooling2D"), _layer("Softmax")], "softmax", 5, False),
        ([_CONV, _layer("DepthwiseConv2D", depth_multiplier=2)], "linear", 10, True),
        ([_CONV, _layer("Dense", units=3)], "linear", 3, True),
        ([_CONV, _layer("Flatten"), _layer("Dense", units=3, activation="softmax")], "softmax", 3, False),
        ([_layer("Dense", units=48, activation="sigmoid"), _layer("Reshape", target_shape=[4, 4, 3])], "sigmoid", 3, True),
        ([_layer("Dense", units=48), _layer("Reshape", target_shape=[16, 3])], "linear", 3, True),
        ([_CONV, _layer("Reshape", target_shape=[80])], "sigmoid", 80, False),
        ([_CONV, _layer("Reshape", target_shape=80)], "sigmoid", None, False),
        # What is added to the input has its channels, side by side are all of them.
        ([_INPUT, _CONV, _fed(["in", "conv"], "Add")], "linear", 5, True),
        ([_INPUT, _CONV, _fed(["in", "conv"], "Concatenate")], "linear", 10, True),
        ([_CONV, {**_CONV, "name": "two"}, _fed(["conv", "two"], "Concatenate")], "sigmoid", 10, True),
        ([_layer("Functional", layers=[_CONV, _layer("Dropout")])], "sigmoid", 5, True),
        ([_layer("Custom>Unknown")], "linear", None, False),
        ([_CONV, _fed(["b"], "ReLU", name="a"), _fed(["a"], "ReLU", name="b")], "linear", None, False),
    ],
)  # fmt: skip
def test_what_a_network_gives_is_told_by_its_last_layers(
    layers: list[dict[str, Any]], end: str, units: int | None, maps: bool
) -> None:
    found = look(layers)
    assert (found.end, found.units, found.maps) == (end, units, maps)


def test_weights_of_focal_are_told_by_the_name_that_they_have() -> None:
    found = translated(loss={"function": "Focal", "alpha": [1, 2, 3]})
    assert found.native["loss"]["class_weights"] == [1.0, 2.0, 3.0]
    assert [line.fate for line in found.report if line.key in ("loss.alpha", "loss.weight")] == ["differs"]


def test_layers_of_networks_inside_count() -> None:
    inner = _layer("Functional", layers=[_layer("Conv3D", filters=2, kernel_regularizer={"l2": 1}), _layer("Dropout")])
    found = look([inner, _layer("Flatten"), _layer("Dense", units=2)])
    assert found.drops and found.regularized == 1 and found.axes == 3


@pytest.mark.parametrize(
    ("layer", "drops", "regularized"),
    [
        (_layer("Bidirectional", layer=_layer("LSTM", units=2, dropout=0.2, kernel_regularizer={"l2": 1})), True, 1),
        (_layer("TimeDistributed", layer=_layer("Dropout", rate=0.2)), True, 0),
        (_layer("TimeDistributed", layer=_layer("Functional", layers=[_layer("Dropout", rate=0.2)])), True, 0),
        (_layer("TimeDistributed", layer=_layer("Dense", units=2, kernel_regularizer={"l2": 1})), False, 1),
        (_layer("Bidirectional", layer=_layer("GRU", units=2, dropout=0.0)), False, 0),
        (_layer("ActivityRegularization", l1=0.1, l2=0.0), False, 1),
        (_layer("ActivityRegularization", l1=0.0, l2=0.0), False, 0),
    ],
)
def test_a_layer_inside_another_counts(layer: dict[str, Any], drops: bool, regularized: int) -> None:
    found = look([layer, _layer("Dense", units=2)])
    assert (found.drops, found.regularized) == (drops, regularized)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data__target_path": "x"}, "data.target_path"),
        ({"data__target_grayscale": True}, "data.target_grayscale"),
        ({"loss": {"function": "NLL", "weight": [1, 2, 3], "ignore_index": 9}}, "loss.ignore_index"),
        ({"loss": {"function": "Focal", "gamma": 1.5}}, "loss.gamma"),
        ({"num_epochs": 0}, "num_epochs"),
        ({"debug_interval": 2}, "debug_interval"),
        ({"checkpoints": {"interval": 2}}, "checkpoints.interval"),
    ],
)
def test_keys_without_a_place_have_a_line_in_the_report_too(changes: dict[str, Any], key: str) -> None:
    said = translated(**changes).report
    assert [line.fate for line in said if line.key == key] == ["same" if key == "loss.gamma" else "ignored"]


def test_transforms_in_their_order() -> None:
    listed = [
        {"convert_color": "BGR2RGB"},
        {"random_horizontal_flip": 0.5},
        {"jitter_crop": 0.1},
        {"random_rotate": 20},
        {"resize": [16, 8]},
        {"normalize": {"mean": 0.5}},
    ]
    tree = native(data__transforms=listed)
    steps = tree["augmentations"]["cpu"]["pipeline"]
    assert [step["_target_"].rpartition(".")[2] for step in steps] == [
        "horizontal_flip", "jitter_crop", "random_rotate", "resize", "normalize",
    ]  # fmt: skip
    assert steps[3]["size"] == [16, 8] and steps[4] == {
        "_target_": "mlpipe.data.augment.geometry.normalize", "mean": 0.5, "std": 1.0, "white": 255.0,
    }  # fmt: skip
    assert tree["preprocessing"] == {"max_side": None, "size": [8, 16]}
    first = native(data__transforms=[{"resize": [9, 9]}, {"rotate": 90}], data__grayscale=True)
    assert first["preprocessing"] == {"size": 9, "interpolation": "linear"} and first["task"]["channels"] == 1
    assert [step["_target_"].rpartition(".")[2] for step in first["augmentations"]["cpu"]["pipeline"]] == ["rotate"]


def test_numpy_mnist_and_tags() -> None:
    arrays = {"type": "numpy", "input_path": "x.npz", "target_path": "y.npz", "test_input_path": "z.npz"}
    tree = native(data=arrays | {"test_target_path": "t"}, layers=net(units=5))
    assert tree["task"]["classes"] == list("01234") and "augmentations" not in tree
    assert (tree["task"]["train_targets"], tree["task"]["test_targets"]) == ("y.npz", "t")
    of_hdf5 = native(data=arrays | {"type": "hdf5", "test_target_path": "t"}, layers=net(units=5))
    assert of_hdf5["task"] == tree["task"]
    mnist = native(data={"type": "mnist", "input_path": "m", "test_input_path": "n", "preload": True})
    assert (mnist["task"]["root"], mnist["task"]["test_root"]) == ("m", "n")
    tags = native(data__training_tag="train", data__test_tag="test")
    assert (tags["task"]["train_tag"], tags["task"]["test_tag"]) == ("train", "test")


def test_what_trains_nothing_is_evaluated() -> None:
    load = {"load": "w.h5"}
    data = {"input_type": "images", "test_input_path": "b", "test_output_path": "o"}
    infer = translated(data=data, optimizer=None, loss=None, checkpoints=load)
    assert infer.mode == "evaluate" and infer.native["mode"] == {"outputs": "o"}
    assert infer.native["task"]["labelled"] is False and infer.native["task"]["classes"] == ["0", "1", "2"]
    assert infer.native["arch"]["weights"] == "w.h5" and "loss" not in infer.chosen()
    judged = translated(num_epochs=0, checkpoints=load)
    assert judged.mode == "evaluate" and judged.chosen()["loss"] == "nll" and "train" not in judged.native["task"]


def test_files_that_are_asked_for() -> None:
    tree = native(outfile="o.txt", checkpoints={"save": "ck", "interval": 5}, data__test_output_path="out")
    assert tree["sys"] == {"console": "rmldnn", "outfile": "o.txt"}
    assert {"callbacks": ["layer_files", "output_files"]} in tree["defaults"]
    assert tree["callbacks"] == {"checkpoints": {"folder": "ck", "interval": 5}, "outputs": {"folder": "out"}}
    assert "callbacks=[layer_files,output_files]" in recipe_file.as_overrides(tree, set())
    half = native(data__test_output_path="out", data__hdf5_precision="half")
    assert {"callbacks": "output_files_half"} in half["defaults"] and half["callbacks"] == {
        "outputs": {"folder": "out"}
    }
    infer = native(num_epochs=0, data__test_output_path="out", data__hdf5_precision="half")
    assert infer["mode"] == {"outputs": "out", "precision": "half"}
    drawn = native(debug=True, debug_interval=3)
    assert {"callbacks": "graph_file"} in drawn["defaults"] and drawn["callbacks"]["graph"] == {"file": "network.dot"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_epoch": 3}, r"neural_network\.num_epoch: unknown key; did you mean 'num_epochs'"),
        ({"data__batchsize": 3}, r"neural_network\.data\.batchsize: unknown key; did you mean 'batch_size'"),
        ({"data__batch_size": 0}, r"data\.batch_size: must be a whole number >= 1, got 0"),
        ({"data__preload": "yes"}, r"data\.preload: must be true or false, got 'yes'"),
        ({"data__transforms": [{"rotat": 3}]}, r"transforms\[0\]\.rotat: unknown key; did you mean 'rotate'"),
        ({"data__transforms": [{"rotate": 3, "resize": [1, 1]}]}, r"transforms\[0\]: must be one transform"),
        ({"data__transforms": [{"jitter_crop": 0.1}]}, r"jitter_crop leaves images of several sizes; put a resize"),
        ({"data__transforms": [{"resize": [1, 2, 3]}]}, r"transforms\[0\]: takes width and height, got \[1, 2, 3\]"),
        ({"data__transforms": [{"random_zoom": 1}]}, r"must be smaller than 1, got 1"),
        ({"data__transforms": [{"random_patches": {}}]}, r"random_patches\.number: is needed"),
        ({"data__type": "numpy"}, r"data\.input_type: type says numpy, got 'images'"),
        ({"data__input_type": "labels"}, r"labels are for targets"),
        ({"data__input_type": "pde", "data__target_type": "pde"}, r"data\.domain_size: is needed"),
        ({"data__target_type": "images", "loss": {"function": "MSE"}}, r"data\.target_path: is needed to train"),
        ({"data__target_is_mask": True}, r"the targets are no masks"),
        ({"data__slicers": [{}]}, r"slicers\[0\]\.sizes: is needed"),
        ({"data__slicers": [{"sizes": [4], "size": 3}]}, r"slicers\[0\]\.size: unknown key; did you mean 'sizes'"),
        ({"data__slicers": [{"sizes": [4]}]}, r"data\.input_type: slices are cut from numpy or hdf5, got 'images'"),
        ({"data__input_path": None, "data__test_input_path": None}, r"nothing to train on and nothing to evaluate"),
        ({"optimizer": None}, r"neural_network\.optimizer: is needed to train"),
        ({"optimizer": {"type": "Adm"}}, r"optimizer\.type: must be SGD or .*, got 'Adm'; did you mean 'Adam'"),
        ({"optimizer": {"type": "Adam", "momentum": 1}}, r"optimizer\.momentum: unknown key"),
        ({"optimizer": {"type": "SGD", "nesterov": True}}, r"nesterov: needs a momentum and no dampening"),
        ({"optimizer": {"type": "SGD", "lr_scheduler": {"type": "Exponential"}}}, r"lr_scheduler\.gamma: is needed"),
        ({"optimizer": {"type": "SGD", "lr_scheduler": {"type": "Cosine"}}}, r"must be Step or MultiStep or"),
        ({"optimizer": {"type": "Hessian"}, "data__transforms": [{"random_rotate": 3}]},
         r"Hessian needs images that stay the same \(random_rotate\)"),
        ({"optimizer": {"type": "Hessian"}, "layers": net("log_softmax", 3, {"class_name": "Dropout", "config": {}})},
         r"Hessian needs a network without dropout"),
        ({"loss": {"function": "NLL", "gamma": 2}}, r"loss\.gamma: unknown key"),
        ({"loss": {"function": "NLL", "weight": [1, 2]}}, r"loss\.weight: the network has 3 outputs, got \[1\.0, 2\.0\]"),
        ({"loss": {"function": "Dice"}}, r"Dice compares maps with masks, targets are labels; use NLL"),
        ({"loss": {"function": "Burgers_PDE"}}, r"Burgers_pde solves an equation, for which there are no labels"),
        ({"loss": {"function": "BCE"}}, r"BCE takes probabilities, the network ends in log_softmax"),
        ({"loss": {"function": "Focal", "source": "sigmoid"}}, r"loss\.source: the network ends in log_softmax"),
        ({"loss": {"function": "Wasserstein"}}, r"layers: Wasserstein teaches a generator and a critic, this is one network"),
        ({"loss": {"function": "YOLOv3"}}, r"data\.target_type: YOLOv3 is a loss of boxes, got 'labels'; write boxes"),
        ({"data__target_type": "boxes"}, r"data\.target_path: is needed to train; name a COCO JSON file"),
        ({"data__target_type": "boxes", "data__target_path": "a.json"}, r"loss\.function: nll is no loss of boxes"),
        ({"layers": None, "checkpoints": {"load": "resnet50"}},
         r"neural_network\.checkpoints\.load: a SavedModel of TensorFlow, which has its own network, cannot be read"),
        ({"layers": "missing.json"}, r"neural_network\.layers: there is no such file, got 'missing\.json'"),
        ({"data__test_tag": "a", "data__testing_tag": "b"}, r"neural_network\.data\.test_tag: testing_tag says b, got 'a'"),
        ({"loss": {"function": "NLL", "weight": [0, 0, 0]}}, r"neural_network\.loss\.weight: no class has a weight"),
        ({"loss": {"function": "Focal", "alpha": [0, 0, 0]}}, r"neural_network\.loss\.alpha: no class has a weight"),
        ({"loss": {"function": "Focal", "alpha": ["a", 1, 1]}}, r"neural_network\.loss\.alpha\[0\]: must be a number"),
        ({"loss": {"function": "Focal", "alpha": 0.25}}, r"loss\.alpha: one weight for all classes is not available.*for each"),
        ({"loss": {"function": "Focal", "alpha": [1, 2, 3]}, "layers": net("sigmoid")},
         r"loss\.alpha: a weight for each output that is a sigmoid is not available[^;]*; leave it out$"),
        ({"layers": 3}, r"neural_network\.layers: must be a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        translated(**changes)


def test_every_problem_at_once_and_unknown_keys_pass_when_asked() -> None:
    source = config(data__batch_size=0, data__batchsiz=1, num_epoch=2)
    with pytest.raises(ConfigError) as raised:
        rmldnn.translate(source)
    assert len(raised.value.problems) == 3
    source = config(data__batchsiz=1, num_epoch=2)
    found = rmldnn.translate(source, lenient=True)
    assert [line.key for line in found.of_fate("lint")] == [
        "neural_network.data.batchsiz", "neural_network.num_epoch",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="extra: unknown key"):
        rmldnn.translate({**config(), "extra": 1})


def test_a_regularizer_of_a_layer_is_a_lint_and_source_goes_with_every_loss() -> None:
    layers = net("log_softmax", 3)
    layers[-1]["config"]["kernel_regularizer"] = {"class_name": "L2", "config": {"l2": 0.0005}}
    (line,) = [line for line in translated(layers=layers).of_fate("lint") if line.key == "layers"]
    assert line.note.startswith("1 layer has a regularizer, which adds nothing to the loss here")
    assert not [line for line in translated().of_fate("lint") if line.key == "layers"]
    for function, end in (("NLL", "log_softmax"), ("MSE", "softmax"), ("BCE", "sigmoid")):
        found = translated(layers=net(end), loss={"function": function, "source": end})
        assert [line.fate for line in found.report if line.key == "loss.source"] == ["ignored"]


def test_a_slip_in_the_json_has_its_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"neural_network": {\n  "num_epochs": 3\n  "layers": []}}')
    with pytest.raises(ConfigError, match=r"Expecting ',' delimiter: line 3 column 3"):
        detect.translated(path)
    path.write_text(json.dumps(config()))
    assert detect.translated(path).dialect == "rmldnn"


def test_the_report_has_a_line_for_every_key() -> None:
    given = config(outfile="o.txt", debug=True, data__transforms=[{"rotate": 5}], checkpoints={"load": "w.pt"})
    lines = {line.key for line in rmldnn.translate(given).report}
    assert {
        "outfile", "debug", "num_epochs", "layers", "checkpoints.load", "data.input_path", "data.transforms[0].rotate",
        "optimizer.type", "loss.function", "data.target_type",
    } <= lines  # fmt: skip


def test_every_optimizer_of_the_page_has_its_defaults() -> None:
    from mlpipe.dialects.rmldnn.sections.training import DEFAULTS

    assert set(DEFAULTS) == set(schema.OPTIMIZERS)
    for kind, known in schema.OPTIMIZERS.items():
        assert set(known) | {"learning_rate"} == set(DEFAULTS[kind]), kind


SLICED = {
    "input_type": "HDF5", "test_input_path": "v.h5", "hdf5_outfile": "p.h5", "hdf5_precision": "Half",
    "hdf5_layout": "channels_first", "transforms": [{"random_rotate": 5}], "test_batch_size": 20,
    "slicers": [{"name": "yz", "sizes": [1, 131, 1001.0], "padded_sizes": [1, 144, 1008], "transpose": True}],
}  # fmt: skip


def test_slices_of_an_array_are_an_evaluation_without_a_task() -> None:
    found = translated(data=SLICED, optimizer=None, loss=None, checkpoints={"load": "w.h5"})
    assert found.mode == "evaluate" and found.chosen() == {"arch": "keras_json"}
    assert found.native["mode"] == {
        "slices": [{"name": "yz", "sizes": [1, 131, 1001], "padded_sizes": [1, 144, 1008], "transpose": True}],
        "batch_size": 20, "source": "v.h5", "outfile": "p.h5", "precision": "half", "layout": "channels_first",
    }  # fmt: skip
    assert [line.key for line in found.of_fate("ignored")] == ["data.transforms[0]", "num_epochs"]


LEARNED = {
    "type": "hdf5", "input_path": "a.h5", "target_path": "b.h5", "test_input_path": "c.h5", "test_target_path": "d.h5",
    "slicers": [{"name": "yz", "sizes": [1, 20, 30], "padding": [0, 2, 0]}], "batch_size": 4, "test_batch_size": 5,
    "input_transforms": [{"random_horizontal_flip": 0.5}, {"normalize": {"std": 2}}],
    "target_transforms": [{"random_horizontal_flip": 0.5}], "hdf5_outfile": "p.h5", "hdf5_precision": "Half",
}  # fmt: skip
MAPS = [
    {
        "class_name": "Conv2D",
        "config": {
            "name": "c",
            "filters": 3,
            "kernel_size": [1, 1],
            "activation": "log_softmax",
            "batch_input_shape": [None, 24, 30, 1],
        },
    }
]


def test_slices_are_learned_with_their_class_numbers() -> None:
    found = translated(data=LEARNED, layers=MAPS, loss={"function": "NLL", "ignore_index": 7})
    assert found.mode == "" and found.chosen()["task"] == "slices" and found.chosen()["callbacks"] == "volume_file"
    assert found.native["task"] == {
        "train": "a.h5", "train_targets": "b.h5", "test": "c.h5", "test_targets": "d.h5",
        "slices": LEARNED["slicers"], "classes": ["0", "1", "2"], "values": [0, 1, 2], "ignore_index": 7,
        "allow_overlap": True,
    }  # fmt: skip
    assert found.native["callbacks"]["volume"] == {"outfile": "p.h5", "precision": "half"}
    assert [step["_target_"].rpartition(".")[2] for step in found.native["augmentations"]["cpu"]["pipeline"]] == [
        "horizontal_flip",
        "normalize",
    ]
    assert found.native["sampling"] == {"batch_size": 4, "eval_batch_size": 5}


def test_a_trained_network_is_compared_slice_by_slice() -> None:
    given = {key: value for key, value in LEARNED.items() if key not in ("input_path", "target_path")}
    found = translated(data=given, layers=MAPS, loss={"function": "Dice", "source": "log_softmax"}, optimizer=None)
    assert found.mode == "evaluate" and found.chosen()["loss"] == "dice"
    assert found.native["mode"] == {
        "slices": LEARNED["slicers"], "batch_size": 5, "source": "c.h5", "targets": "d.h5", "values": [0, 1, 2],
        "outfile": "p.h5", "precision": "half",
    }  # fmt: skip
    assert found.native["augmentations"]["cpu"]["pipeline"][0]["std"] == 2.0


@pytest.mark.parametrize(
    ("changes", "loss", "sentence"),
    [
        ({"target_path": None}, "NLL", "data.target_path: is needed to train"),
        ({"test_target_path": None}, "NLL", "data.test_target_path: is needed beside a training"),
        ({"target_transforms": []}, "NLL", "data.target_transforms: resizes, crops, flips or turns targets in another way"),
        ({"input_transforms": None, "target_transforms": None, "transforms": [{"resize": [8, 8]}]}, "NLL",
         "data.transforms[0]: resize changes the size of slices; leave it out"),
        ({"input_transforms": None, "target_transforms": None, "transforms": [{"rotate": 90}]}, "NLL",
         "data.transforms[0]: rotate moves what predictions in hdf5_outfile are of"),
        ({"test_input_path": None, "test_target_path": None}, "NLL", "data.hdf5_outfile: holds predictions of test slices"),
        ({"slicers": [{"sizes": [1, 2, 3], "strides": [2, 2, 3]}]}, "NLL", "data.slicers[0].strides: leaves gaps"),
        ({"test_output_path": "o"}, "NLL", "data.test_output_path: is for samples in files of their own"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_of_slices_is_named(changes: dict[str, Any], loss: str, sentence: str) -> None:
    data = {key: value for key, value in {**LEARNED, **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        translated(data=data, layers=MAPS, loss={"function": loss})
    assert any(text.startswith(f"neural_network.{sentence}") for text in error.value.problems), error.value.problems


@pytest.mark.parametrize(("loss", "of"), [("MSE", "squared_error"), ("BCE", "bce")])
def test_slices_are_compared_with_classes_by_every_map(loss: str, of: str) -> None:
    found = translated(data=LEARNED, layers=MAPS, loss={"function": loss})
    assert found.chosen()["task"] == "slices" and found.chosen()["loss"] == "elementwise"
    assert found.native["loss"] == {"of": of}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hdf5_outfile": None}, "data.hdf5_outfile: is needed with slicers; name the file of predictions"),
        ({"input_type": "images"}, "data.input_type: slices are cut from numpy or hdf5, got 'images'; use one of them"),
        ({"test_target_path": "t.h5"}, "data.target_type: slices are learned with a class for every place"),
        ({"test_output_path": "out"}, "data.test_output_path: is for samples in files of their own; use hdf5_outfile"),
        ({"transforms": [{"resize": [9, 9]}]}, "data.transforms[0]: resize of slices is not available"),
    ],
)
def test_what_slices_do_not_do_is_named(changes: dict[str, Any], sentence: str) -> None:
    data = {key: value for key, value in {**SLICED, **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        translated(data=data, optimizer=None, loss=None)
    assert any(text.startswith(f"neural_network.{sentence}") for text in error.value.problems)


def test_boxes_are_learned_without_what_moves_images() -> None:
    plain = [{"normalize": {"std": 2}}]
    boxes = {**LEARNED, "slicers": [{"sizes": [8, 20, 30]}], "input_transforms": plain, "target_transforms": []}
    layers = [{**MAPS[0], "class_name": "Conv3D"}, {"class_name": "Cropping3D", "config": {"cropping": 1}}]
    found = translated(data=boxes, layers=layers, loss={"function": "Dice", "source": "log_softmax"})
    assert found.native["task"]["slices"] == [{"sizes": [8, 20, 30]}] and found.chosen()["loss"] == "dice"
    moved = {"input_transforms": [{"random_rotate": 5}], "target_transforms": [{"random_rotate": 5}]}
    with pytest.raises(ConfigError) as error:
        translated(data={**boxes, **moved}, layers=layers, loss={"function": "NLL"})
    assert list(error.value.problems) == [
        f"neural_network.data.{part}_transforms[0]: random_rotate is for slices of two axes, these have 3; "
        "leave it out; normalize is for slices of any axes"
        for part in ("input", "target")
    ]


@pytest.mark.parametrize(
    ("axes", "loss", "chosen"),
    [
        (3, {"function": "Dice", "source": "log_softmax"}, {"task": "samples", "loss": "dice"}),
        (1, {"function": "NLL"}, {"task": "samples", "loss": "nll"}),
        (3, {"function": "MSE"}, {"task": "samples", "loss": "mse"}),
    ],
)
def test_arrays_have_the_axes_of_the_network(axes: int, loss: dict[str, Any], chosen: dict[str, str]) -> None:
    data = {"type": "numpy", "input_path": "a", "target_path": "b", "test_input_path": "c", "test_target_path": "d"}
    end = {**MAPS[0]["config"], "kernel_size": [1] * axes, "batch_input_shape": [None] + [8] * axes + [1]}
    layers = [{"class_name": f"Conv{axes}D", "config": end}]
    found = translated(data=data, layers=layers, loss=loss)
    assert {key: found.chosen()[key] for key in chosen} == chosen and found.native["task"]["axes"] == axes
    flat = [{"class_name": "Conv2D", "config": {**MAPS[0]["config"]}}]
    assert "axes" not in translated(data=data, layers=flat, loss=loss).native["task"]
    moved = {**data, "transforms": [{"random_vertical_flip": 0.5}]}
    with pytest.raises(ConfigError, match=rf"random_vertical_flip is for samples of two axes, these have {axes}"):
        translated(data=moved, layers=layers, loss=loss)


def test_boxes_lie_in_files_beside_the_images() -> None:
    data = {
        "input_type": "images", "target_type": "boxes", "input_path": "all/train", "target_path": "train.json",
        "test_input_path": "all/test", "test_target_path": "test.json", "transforms": [{"resize": [64, 64]}],
    }  # fmt: skip
    found = translated(data=data, loss={"function": "YOLOv3"})
    task = found.native["task"]
    assert found.chosen()["task"] == "boxes" and found.chosen()["loss"] == "yolov3"
    assert (task["file"], task["test_file"], task["channels"]) == ("train.json", "test.json", 3)
    assert (task["root"], task["test_root"]) == ("all/train", "all/test")
    assert found.native["metrics"]["train"] == ["map50"]
    told = [line.note for line in found.report if line.key.endswith("loss.function")]
    assert len(told) == 1 and "anchors are the paper's" in told[0]
