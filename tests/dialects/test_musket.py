"""Musket experiments: every key goes somewhere, mistakes are named, and what comes out composes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe.arch.names import timm_names
from mlpipe.config import recipe_file
from mlpipe.data.items import sets
from mlpipe.dialects import detect, musket, names
from mlpipe.dialects.musket import reading
from mlpipe.dialects.musket.sections import data
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError
from tests import musket_project

README = """
architecture: DenseNet201
pooling: avg
augmentation:
 Fliplr: 0.5
 Flipud: 0.5
classes: 28
activation: sigmoid
weights: imagenet
shape: [224, 224, 3]
optimizer: Adam
batch: 16
lr: 0.005
copyWeights: true
metrics:
  - binary_accuracy
  - macro_f1
primary_metric: val_binary_accuracy
primary_metric_mode: max
callbacks:
  EarlyStopping: {patience: 3, monitor: val_macro_f1, mode: max, verbose: 1}
  ReduceLROnPlateau: {patience: 2, factor: 0.3, monitor: val_binary_accuracy, mode: max, cooldown: 1, verbose: 1}
loss: binary_crossentropy
stages:
  - epochs: 10
"""


def translated(text: str = README, *, lenient: bool = False, home: Path = Path("/none/config.yaml")) -> Translation:
    return musket.translate(yaml.safe_load(text), musket.Home.of(home), lenient=lenient)


def changed(**keys: Any) -> Translation:
    """The README's example with other keys; None takes one out."""
    source = {**yaml.safe_load(README), **keys}
    source = {key: value for key, value in source.items() if value is not None}
    return musket.translate(source, musket.Home.of(Path("/none/config.yaml")))


def problems(**keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        changed(**keys)
    return "\n".join(caught.value.problems)


def test_the_readme_example() -> None:
    native = translated().native
    assert translated().chosen() == {
        "arch": "timm",
        "preprocessing": "original",
        "optimizer": "adam",
        "loss": "bce",
        "callbacks": ["early"],
        "lr_scheduler": "plateau",
        "split": "shuffled",
        "augmentations": "none",
    }
    assert native["arch"] == {"name": "densenet201.tv_in1k", "pretrained": True, "in_chans": 3}
    assert native["optimizer"] == {"eps": 1e-7, "weight_decay": 0.0, "lr": 0.005}
    assert native["sampling"] == {"batch_size": 16, "eval_batch_size": 32}
    assert native["metrics"]["monitor"] == "val/accuracy"
    assert native["callbacks"]["early"]["watch"] == "val/soft_macro_f1"
    assert (native["lr_scheduler"]["patience"], native["lr_scheduler"]["cooldown"]) == (1, 0)
    assert native["stages"]["list"] == [{"epochs": 10}]
    assert native["split"]["seed"] == 33 and native["split"]["test_seed"] == 123


def test_every_key_of_the_source_is_in_the_report() -> None:
    reported = {line.key.partition(".")[0].partition("[")[0] for line in translated().report}
    assert set(yaml.safe_load(README)) <= reported


def test_stages_of_the_reference() -> None:
    stages = [
        {"epochs": 6, "negatives": "none", "validation_negatives": "real"},
        {"lr": 0.0001, "epochs": 6, "negatives": "real", "validation_negatives": "real"},
        {"loss": "lovasz_loss", "lr": 0.00001, "epochs": 6, "initial_weights": "./x/best-0.1.weights"},
        {"epochs": 2, "negatives": 2},
    ]
    found = changed(stages=stages).native["stages"]["list"]
    assert found[0] == {"epochs": 6, "negatives": 0, "keep": True}
    assert found[1] == {"epochs": 6, "lr": 0.0001, "keep": True}
    assert found[2]["loss"] == {"_target_": "mlpipe.learn.losses.composite.composite", "expression": "lovasz"}
    assert found[2]["initial_weights"] == "./x/best-0.1.weights"
    assert found[3] == {"epochs": 2, "carry": True, "negatives": 2, "val_negatives": 2, "keep": True}


def test_a_frozen_encoder_stays_frozen_until_a_stage_says_otherwise() -> None:
    stages = [{"epochs": 1}, {"epochs": 1, "lr": 0.1}, {"epochs": 1, "unfreeze_encoder": True}]
    found = changed(freeze_encoder=True, stages=stages).native["stages"]["list"]
    assert [stage["freeze"] for stage in found] == ["backbone", "backbone", False]


def test_a_stage_is_frozen_or_not() -> None:
    both = {"epochs": 1, "freeze_encoder": True, "unfreeze_encoder": False}
    assert changed(stages=[both]).native["stages"]["list"][0]["freeze"] == "backbone"
    opposite = {**both, "unfreeze_encoder": True}
    assert problems(stages=[opposite]).startswith(
        "stages[0].unfreeze_encoder: freeze_encoder says the opposite, got True"
    )


def test_composite_losses() -> None:
    assert changed(loss="binary_crossentropy+0.1*dice_loss").native["loss"] == {"expression": "bce+0.1*dice"}
    assert changed(loss=" 2 * .5*dice_loss + 1e+1*jaccard_loss").native["loss"] == {"expression": "dice+10*jaccard"}
    assert "exactly one loss" in problems(loss="binary_crossentropy*dice_loss+dice_loss")
    assert "did you mean 'dice_loss'?" in problems(loss="binary_crossentropy+0.1*dice_los")


def test_cyclic_rates() -> None:
    cyclic = {"CyclicLR": {"base_lr": 0.0001, "max_lr": 0.01, "mode": "triangular2", "step_size": 300}}
    native = changed(callbacks=cyclic).native
    assert native["optimizer"]["lr"] == 0.01
    assert native["lr_scheduler"]["up_steps"] == 300
    assert native["lr_scheduler"]["min_ratio"] == pytest.approx(0.01)
    assert native["stages"]["list"][0]["lr"] == 0.01


def test_sigmoid_heads_are_one_head_of_labels() -> None:
    heads = {"classes": [4, 4], "activation": ["sigmoid", "sigmoid"], "loss": ["binary_crossentropy"] * 2}
    native = changed(**heads, dataset={"getTrain": [False, False]}).native
    assert native["task"]["outputs"] == 8
    assert native["loss"] == {"expression": "2*bce"}
    assert "there are 2 heads" in problems(**{**heads, "activation": ["sigmoid"] * 3})
    assert "there are 2 heads" in problems(**{**heads, "loss": ["mse"] * 3})
    assert "did you mean 'softsign'" in problems(**{**heads, "activation": "softsgn"})


@pytest.mark.parametrize("activation", ["sigmoid", "none", "relu"])
def test_categorical_accuracy_is_for_any_activation(activation: str) -> None:
    keys = {"activation": activation, "loss": "mse", "metrics": ["categorical_accuracy"], "callbacks": {}}
    found = changed(**keys, primary_metric="val_categorical_accuracy", primary_metric_mode="max").native
    assert found["metrics"]["monitor"] in ("val/top1_accuracy", "val/out0_top1_accuracy")
    assert found["metrics"]["direction"] == "max"


def test_sigmoid_heads_whose_largest_output_counts_stay_apart() -> None:
    heads = {"classes": [4, 4], "activation": ["sigmoid", "sigmoid"], "loss": ["binary_crossentropy"] * 2}
    found = changed(**heads, metrics=["binary_accuracy", "categorical_accuracy"], callbacks={})
    assert found.chosen()["loss"] == "heads"
    assert [part["metrics"] for part in found.native["loss"]["parts"]] == [
        ["elementwise_accuracy", "top1_accuracy"]
    ] * 2


def test_what_tensorboard_embeds() -> None:
    board = {"embeddings_freq": 1, "batch_size": 12, "embeddings_layer_names": ["layer4"]}
    labels = {"layer4": "labels.tsv"}
    found = changed(callbacks={"TensorBoard": {**board, "embeddings_metadata": labels}}).native["logging"]
    assert (found["samples"], found["embedded_layers"]) == (12, ["layer4"])
    assert found["embedded_labels"] == "/none/labels.tsv"
    several = {**labels, "layer3": "others.tsv"}
    assert "names several files" in problems(callbacks={"TensorBoard": {**board, "embeddings_metadata": several}})


def test_callbacks_may_watch_what_training_images_reach() -> None:
    stop = {"EarlyStopping": {"patience": 1, "monitor": "binary_accuracy"}}
    found = changed(callbacks=stop)
    assert found.native["metrics"]["while_training"] is True
    assert found.chosen()["callbacks"] == ["early_train"]
    early = found.native["callbacks"]["early_train"]
    assert (early["watch"], early["watch_direction"], early["min_delta"]) == ("train/accuracy", "max", 0.0)
    plateau = changed(callbacks={"ReduceLROnPlateau": {"monitor": "loss"}}).native["lr_scheduler"]
    assert (plateau["watch"], plateau["watch_direction"]) == ("train/loss", "min")
    # The best epoch goes by validation.
    lint = [str(line) for line in changed(primary_metric="binary_accuracy").of_fate("lint")]
    assert any("taken as val_binary_accuracy" in line for line in lint)
    assert "while_training" not in changed(metrics=None, callbacks={}, primary_metric="val_loss",
                                           primary_metric_mode="min").native["metrics"]  # fmt: skip


def test_what_chooses_the_epoch_and_what_the_report_measures_can_be_watched() -> None:
    stop = {"EarlyStopping": {"patience": 1, "monitor": "val_macro_f1", "mode": "max"}}
    bare: dict[str, Any] = {"metrics": ["binary_accuracy"], "callbacks": stop}
    primary = changed(**bare, primary_metric="val_macro_f1", final_metrics=["macro_f1"])
    for found in (primary, changed(**bare, final_metrics=["macro_f1"])):
        assert found.native["callbacks"]["early"]["watch"] == "val/soft_macro_f1"
        assert "nothing computes" not in "\n".join(map(str, found.report))
    assert "callbacks.EarlyStopping.monitor: nothing computes it" in problems(**bare)
    # Some epoch has to be chosen by something that is named.
    assert "primary_metric: nothing computes it" in problems(**bare, primary_metric="val_macro_f1")


def test_heads_of_several_sizes_and_activations_have_a_loss_and_metrics_each() -> None:
    found = changed(
        classes=[4, 3],
        activation=["softmax", "sigmoid"],
        loss=["categorical_crossentropy", "binary_crossentropy+0.1*dice_loss"],
        dataset={"getTrain": []},
        metrics=["binary_accuracy", "categorical_accuracy"],
        primary_metric="val_dense_1_categorical_accuracy",
        primary_metric_mode="max",
        callbacks={},
    )
    native = found.native
    assert (native["task"]["kind"], native["task"]["outputs"]) == ("regression", 7)
    assert native["task"]["heads"] == [
        {"outputs": 4, "activation": "softmax"},
        {"outputs": 3, "activation": "sigmoid"},
    ]
    first, second = native["loss"]["parts"]
    assert (first["name"], first["expression"], first["metrics"]) == (
        "out0",
        "ce",
        ["elementwise_accuracy", "top1_accuracy"],
    )
    expected = ["elementwise_accuracy", "top1_accuracy"]
    assert (second["expression"], second["metrics"]) == ("bce+0.1*dice", expected)
    assert native["metrics"]["monitor"] == "val/out0_top1_accuracy"
    assert found.chosen()["loss"] == "heads"


def test_a_misspelt_activation_is_one_problem_and_accuracy_on_softmax_is_lint() -> None:
    assert (
        problems(activation="sigmoyd")
        == "activation: there is no such activation, got 'sigmoyd'; did you mean 'sigmoid'?"
    )
    found = changed(activation="softmax", loss="categorical_crossentropy")
    assert [line.key for line in found.of_fate("lint") if "categorical_accuracy counts images" in line.note] == [
        "metrics"
    ]


def test_an_activation_beside_the_usual_ones_is_of_the_task() -> None:
    keys = {"classes": 2, "activation": "tanh", "loss": "mse", "metrics": ["mae"], "primary_metric": "val_loss"}
    found = changed(**keys, primary_metric_mode="min", dataset={"getTrain": []}, callbacks={})
    assert found.native["task"]["heads"] == [{"outputs": 2, "activation": "tanh"}]
    assert found.native["loss"]["parts"][0]["expression"] == "squared_error"


OF_UNITS = {
    "msle": "squared_log_error", "mape": "percentage_error", "poisson": "poisson", "kld": "kl_divergence", "hinge": "hinge",
    "squared_hinge": "squared_hinge", "categorical_hinge": "categorical_hinge", "cosine": "cosine",
}  # fmt: skip


@pytest.mark.parametrize("name", OF_UNITS)
def test_numbers_whose_loss_is_of_their_unit_are_learned_as_they_are(name: str) -> None:
    """A loss of counts, shares or sides of zero means nothing in standard deviations: Keras takes the numbers."""
    keys: dict[str, Any] = {
        "classes": 2,
        "activation": "linear",
        "metrics": [name, "mae"],
        "primary_metric": "val_loss",
    }
    keys |= {"primary_metric_mode": "min", "dataset": {"getTrain": []}, "callbacks": {}}
    found = changed(**keys, loss=f"mse+0.1*{name}")
    assert found.native["task"]["heads"] == [{"outputs": 2, "activation": "linear"}]
    (part,) = found.native["loss"]["parts"]
    assert part["expression"] == f"squared_error+0.1*{OF_UNITS[name]}"
    assert part["metrics"] == [f"loss_{OF_UNITS[name]}", "mae"]
    # As a metric beside a loss of errors they are of the numbers too.
    beside = changed(**keys, loss="mse")
    assert "heads" not in beside.native["task"] and beside.native["metrics"]["train"] == [
        f"loss_{OF_UNITS[name]}",
        "mae",
    ]
    staged = changed(**keys, loss="mse", stages=[{"epochs": 1}, {"epochs": 1, "loss": name}])
    assert staged.native["task"]["heads"] == [{"outputs": 2, "activation": "linear"}]


def test_a_part_that_there_is_not_and_a_holdout_too_many() -> None:
    train = {"train": {"getTrain": []}}
    told = problems(dataset={**train, "validaton": {"getTest": []}})
    assert "dataset.validaton: there is no such part of the data; did you mean 'validation'?" in told
    holdout: dict[str, Any] = {"holdout": {"getTest": []}}
    assert "holdout: dataset has a holdout of its own" in problems(dataset={**train, **holdout}, **holdout)
    assert any(line.key == "testSplit" for line in changed(dataset=train, testSplit=0.2, **holdout).of_fate("lint"))


def test_what_is_said_twice_is_a_mistake() -> None:
    twice = [{"EarlyStopping": {"patience": 2}}, {"earlystopping": {"patience": 5}}]
    assert problems(callbacks=twice).startswith("callbacks.earlystopping: there is a second EarlyStopping; keep one")
    told = problems(input_shape=[16, 16, 3])
    assert told.startswith(
        "input_shape: shape is its other name and says another one, got [16, 16, 3]; keep one of them"
    )
    same = yaml.safe_load(README)["shape"]
    assert changed(input_shape=same).native["preprocessing"] == changed().native["preprocessing"]


def test_further_parameters_and_callbacks_of_keras() -> None:
    stop = {"patience": 3, "restore_best_weights": True, "baseline": 0.5, "monitor": "val_loss"}
    plateau = {"epsilon": 0.01, "monitor": "val_loss"}
    others = {"CSVLogger": {"filename": "log.csv"}, "History": None, "ProgbarLogger": None}
    found = changed(callbacks={"EarlyStopping": stop, "ReduceLROnPlateau": plateau, **others})
    assert found.native["callbacks"]["early"]["baseline"] == 0.5
    assert found.native["lr_scheduler"]["threshold"] == 0.01
    assert {line.key: line.fate for line in found.report}["callbacks.CSVLogger"] == "same"


def test_the_holdout_chooses_no_epoch() -> None:
    stop = {"EarlyStopping": {"monitor": "binary_accuracy_holdout"}}
    told = problems(callbacks=stop)
    assert told.startswith(
        "callbacks.EarlyStopping.monitor: is measured once, when all is trained, got 'binary_accuracy_hol"
    )
    # As the primary metric it says what counts in the end, and the same metric of validation chooses.
    found = changed(primary_metric="binary_accuracy_holdout")
    assert found.native["metrics"]["monitor"] == "val/accuracy"
    assert any("taken as val_binary_accuracy:" in line.note for line in found.of_fate("lint"))


def test_data_sets_are_functions_with_arguments() -> None:
    native = changed(dataset={"getTrain": [False, False]}, testSplit=0.4).native
    assert native["task"]["train"] == [{"call": "getTrain", "arguments": [False, False]}]
    assert native["split"]["test_fraction"] == 0.4
    native = changed(dataset="a", datasets={"a": {"getTrain": []}}).native
    assert native["task"]["train"] == [{"call": "getTrain", "arguments": []}]
    native = changed(dataset={"train": {"f": [1]}, "validation": {"g": []}, "holdout": {"h": {}}}).native
    assert native["task"]["test"] == [{"call": "h", "arguments": []}]
    assert changed(dataset={"train": {"f": [1]}, "validation": {"g": []}}).chosen()["split"] == "given"
    assert "did you mean 'train1'?" in problems(dataset="train2", datasets={"train1": {"f": []}})


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"architeture": "x"}, "architeture: unknown key; did you mean 'architecture'?"),
        ({"architecture": "ResNet33"}, "did you mean 'resnet"),
        ({"architecture": "FPN"}, "a sigmoid over 28 classes means masks that overlap"),
        ({"architecture": "DeepLabV3"}, "architecture: is not there, got 'DeepLabV3'; for masks use Unet"),
        ({"backbone": "resnet34"}, "backbone: unknown key"),
        ({"activation": "tahn"}, "there is no such activation, got 'tahn'; did you mean 'tanh'?"),
        ({"optimizer": "Adem"}, "did you mean 'adam'?"),
        ({"optimizer": None}, "optimizer: is missing"),
        ({"stages": [{"epoch": 3}]}, "stages[0].epoch: unknown key; did you mean 'epochs'?"),
        ({"stages": None}, "nothing is trained without stages"),
        ({"weights": "imagenet11k"}, "there are no such weights"),
        ({"metrics": ["binary_acuracy"]}, "did you mean 'binary_accuracy'?"),
        ({"metrics": ["binary_accuracy"]}, "callbacks.EarlyStopping.monitor: nothing computes it"),
        ({"final_metrics": [{"macro_f1": {"for_validaton": True}}]}, "did you mean 'for_validation'?"),
        ({"loss": "binary_crossentropy+"}, "loss: has an empty term, got 'binary_crossentropy+'"),
        ({"loss": "0.1*"}, "loss: each term needs exactly one loss, got '0.1*'"),
        (
            {"preprocessing": [{"pass": {"name": "a"}}, {"cache": {"inputs": ["b"]}}]},
            "preprocessing[1].cache.inputs: no step before it has this name, got 'b'; named steps before it are a",
        ),
        ({"experiment_result": "val_macro_f1_holdout"}, "has both val_ and _holdout"),
        ({"augmentation": {"Flipr": 0.5}}, "did you mean 'Fliplr'?"),
        ({"augmentation": {"Affine": {"rotat": 3}}}, "unknown rotat"),
        ({"preprocessing": [{"cach": None}]}, "did you mean 'cache'"),
        ({"dataset_augmenter": {"name": "twice"}}, "dataset_augmenter: no function of the project's modules"),
        ({"extra_train_data": "more"}, "extra_train_data: there is no such data set, got 'more'"),
        ({"crops": 0}, "crops: must be a whole number >= 1"),
        ({"callbacks": {"Foo": {}}}, "callbacks.Foo: there is no such callback here; known: Early"),
        ({"classes": [3, 3], "activation": ["sigmoid"]}, "there are 2 heads"),
    ],
)
def test_mistakes_are_named(keys: dict[str, Any], sentence: str) -> None:
    assert sentence in problems(**keys)


def test_every_problem_is_reported_at_once() -> None:
    found = problems(optimizer="Adma", activation="tanh", crops=-2)
    assert all(part in found for part in ("optimizer:", "activation:", "crops:"))


def test_lenient_lets_unknown_keys_and_monitors_pass() -> None:
    text = README.replace("  - macro_f1\n", "") + "alpha: 0.5\n"
    fates = {line.key: line.fate for line in translated(text, lenient=True).report}
    assert fates["alpha"] == "ignored"
    assert fates["callbacks.EarlyStopping.monitor"] == "lint"


def test_lint() -> None:
    def lint(**keys: Any) -> str:
        return "\n".join(str(line) for line in changed(**keys).of_fate("lint"))

    assert "number needs a point" in lint(lr="1e-4")
    assert changed(lr="1e-4").native["optimizer"]["lr"] == 1e-4
    assert "would have minimised it" in lint(primary_metric="val_macro_f1", primary_metric_mode="auto")
    assert "the wrong way" in lint(primary_metric_mode="min")
    assert "yes-or-no question" in lint(activation="softmax", metrics=["binary_accuracy", "macro_f1"])
    assert "only used with folds_count: 1" in lint(validationSplit=0.1)


def test_files_of_the_split_that_differ_from_the_configuration_are_told(tmp_path: Path) -> None:
    path = tmp_path / "experiments" / "one" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.with_name("config.yaml.holdout_split").write_text(yaml.safe_dump([list(range(15)), list(range(15, 20))]))
    path.with_name("config.yaml.folds_split").write_text("[[[1], [0]], [[0], [1]]]")

    def lint(**keys: Any) -> list[str]:
        source = {**yaml.safe_load(README), "dataset": {"getTrain": []}, **keys}
        found = musket.translate(source, musket.Home.of(path))
        assert found.native["split"]["folds_file"] == str(path.with_name("config.yaml.folds_split"))
        return [str(line) for line in found.of_fate("lint") if "_split" in str(line)]

    assert lint(folds_count=2, testSplit=0.25) == []
    told = "\n".join(lint(folds_count=100, testSplit=0.5))
    assert "config.yaml.folds_split has 2 folds and wins over 100; remove config.yaml.folds_split to split anew" in told
    assert "config.yaml.holdout_split holds out 5 of 20 items and wins over 0.5" in told
    # Without folds_count there are five.
    assert len(lint(testSplit=0.25)) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("./weights/best-0.0.weights", {"start_from": 0}),
        ("experiments/one/weights/best-1.1.weights", {"start_from": 1}),
        ("./one/weights/best-0.1.weights", {"start_from": 1}),
        # Of the stage itself, or of a neighbour: a file.
        ("./weights/best-0.2.weights", {"initial_weights": "./weights/best-0.2.weights"}),
        ("./other/weights/best-0.1.weights", {"initial_weights": "{root}/experiments/other/weights/best-0.1.weights"}),
        ("../other/weights/best-0.1.weights", {"initial_weights": "{root}/experiments/other/weights/best-0.1.weights"}),
    ],
)
def test_weights_of_an_earlier_stage_and_of_a_neighbour(tmp_path: Path, given: str, expected: dict[str, Any]) -> None:
    path = tmp_path / "experiments" / "one" / "config.yaml"
    other = tmp_path / "experiments" / "other" / "weights" / "best-0.1.weights"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    stages = [{"epochs": 1}, {"epochs": 1}, {"epochs": 1, "initial_weights": given}]
    found = musket.translate({**yaml.safe_load(README), "stages": stages}, musket.Home.of(path))
    last = found.native["stages"]["list"][2]
    wanted = {key: one.format(root=tmp_path) if isinstance(one, str) else one for key, one in expected.items()}
    assert {key: last[key] for key in ("start_from", "initial_weights") if key in last} == wanted
    assert all(stage["keep"] for stage in found.native["stages"]["list"])


def test_labels_of_embeddings_that_are_not_there_are_no_mistake(tmp_path: Path) -> None:
    folder = musket_project.make(tmp_path)
    board = {"TensorBoard": {"embeddings_freq": 1, "embeddings_metadata": "labels.tsv"}}
    source = {**yaml.safe_load(musket_project.CONFIG), "callbacks": board}
    found = musket.translate(source, musket.Home.of(folder / "config.yaml"))
    assert "embedded_labels" not in found.native["logging"]
    assert any("there is no file labels.tsv" in line.note for line in found.of_fate("lint"))
    (folder / "labels.tsv").write_text("a\n")
    found = musket.translate(source, musket.Home.of(folder / "config.yaml"))
    assert found.native["logging"]["embedded_labels"] == str(folder / "labels.tsv")


def test_weights_that_nobody_writes_are_told_at_once(tmp_path: Path) -> None:
    folder = musket_project.make(tmp_path)
    musket_project.make(tmp_path, name="other")
    source = yaml.safe_load(musket_project.CONFIG)

    def stages(given: str) -> dict[str, Any]:
        return {**source, "stages": [{"epochs": 1, "initial_weights": given}]}

    # What another experiment will have written when it is trained is there in time.
    musket.translate(stages("../other/weights/best-0.1.weights"), musket.Home.of(folder / "config.yaml"))
    for given in ("nowhere.weights", "./weights/best-0.0.weights", "../neither/weights/best-0.0.weights"):
        with pytest.raises(ConfigError) as caught:
            musket.translate({**stages(given), "optimizer": "Adm"}, musket.Home.of(folder / "config.yaml"))
        assert [one.partition(": ")[0] for one in caught.value.problems] == ["optimizer", "stages[0].initial_weights"]


def test_common_yaml_is_merged() -> None:
    own = {"lr": 1, "callbacks": {"A": 1}, "metrics": ["x"]}
    common = {"lr": 2, "batch": 3, "callbacks": {"A": 2, "B": 2}, "metrics": ["y"]}
    assert reading.united(own, common) == {"lr": 1, "batch": 3, "callbacks": {"A": 1, "B": 2}, "metrics": ["x"]}
    assert reading.united({"callbacks": None}, common)["callbacks"] == common["callbacks"]


def test_mistakes_of_what_a_project_says_for_all_are_told_so(tmp_path: Path) -> None:
    folder = musket_project.make(tmp_path, config="")
    (tmp_path / "common.yaml").write_text("optimizer: Adm\nlr: fast\ncallbacks: {EarlyStoping: {}}\nloss: mce\n")
    source = {
        **yaml.safe_load(musket_project.CONFIG),
        "callbacks": {"EarlyStopping": {"patience": "x"}},
        "loss": "mcee",
    }
    del source["optimizer"]
    with pytest.raises(ConfigError) as caught:
        musket.translate(source, musket.Home.of(folder / "config.yaml"))
    told = {one.partition(": ")[0]: one.endswith("(in common.yaml)") for one in caught.value.problems}
    assert told == {
        "optimizer": True, "lr": True, "callbacks.EarlyStoping": True, "callbacks.EarlyStopping.patience": False, "loss": False,
    }  # fmt: skip


def test_tasks_are_functions_of_the_modules(tmp_path: Path) -> None:
    folder = musket_project.make(tmp_path)
    source = {**yaml.safe_load(musket_project.CONFIG), "tasks": {"predict_holdout": {"holdout": "train"}}}
    musket.translate(source, musket.Home.of(folder / "config.yaml"))
    with pytest.raises(ConfigError) as caught:
        source = {**source, "tasks": [{"predict_holdot": {}}, {"predict_holdout": 3}, 4]}
        musket.translate(source, musket.Home.of(folder / "config.yaml"))
    first, second, third = caught.value.problems
    assert first.startswith(
        "tasks.predict_holdot: no function of the project's modules has this name; did you mean 'pred"
    )
    assert second.startswith("tasks.predict_holdout: must be a map of the task's parameters, got 3")
    assert third.startswith("tasks: must be names of tasks, got 4")
    # Another name of a function is one that a module gives a value to.
    (tmp_path / "modules" / "more.py").write_text("from data import predict_holdout\npredict_more = predict_holdout\n")
    musket.translate({**source, "tasks": {"predict_more": None}}, musket.Home.of(folder / "config.yaml"))


def test_an_experiment_knows_its_project(tmp_path: Path) -> None:
    home = musket.Home.of(tmp_path / "experiments" / "a" / "b" / "config.yaml")
    assert (home.project, home.name) == (tmp_path, "a/b")
    assert musket.Home.of(tmp_path / "config.yaml").project == tmp_path


def test_metrics_may_be_written_as_the_log_has_them() -> None:
    given = ["val_binary_accuracy", "macro_f1_holdout"]
    assert (
        changed(metrics=given).native["metrics"] == changed(metrics=["binary_accuracy", "macro_f1"]).native["metrics"]
    )


def test_a_slip_among_the_metrics_is_one_mistake() -> None:
    for wrong in (["binary_acuracy", "macro_f1"], [3, "macro_f1"]):
        assert len(problems(metrics=wrong).splitlines()) == 1


@pytest.mark.parametrize(
    ("schema", "fix"), [("Clasification", "did you mean 'Classification'?"), ("Generic", "here are Classification")]
)
def test_a_file_of_another_schema_is_named(tmp_path: Path, schema: str, fix: str) -> None:
    (tmp_path / "config.yaml").write_text(f"#%Musket {schema} 1.0\n{README.lstrip()}")
    with pytest.raises(ConfigError) as caught:
        detect.translated(tmp_path / "config.yaml")
    assert caught.value.problems[0].startswith(f"first line: #%Musket {schema}: cannot be trained here; {fix}")


def test_header() -> None:
    assert reading.header("#%Musket Classification 1.0\nx: 1") == "classification"
    assert reading.header("x: 1") is None


def test_all_backbones_are_networks_of_timm() -> None:
    widths = [network for found in names.WIDTHS.values() for network, _ in found.values()]
    assert {network for network, _ in names.BACKBONES.values()} | set(widths) <= set(timm_names())


def test_mobile_networks_have_keras_widths() -> None:
    found = changed(architecture="MobileNetV2", alpha=0.5, depth_multiplier=1, copyWeights=None)
    assert found.native["arch"]["name"] == "mobilenetv2_050.lamb_in1k"
    keys = {line.key: line.fate for line in found.report}
    assert (keys["alpha"], keys["depth_multiplier"], keys["primary_metric_mode"]) == ("same", "same", "same")
    assert "there are none for MobileNetV2" in problems(architecture="MobileNetV2", alpha=0.35)
    narrow = changed(architecture="mobilenetv2", alpha=0.35, weights=None)
    assert narrow.native["arch"]["name"] == "mobilenetv2_035"
    said = problems(architecture="MobileNet", alpha=0.5, depth_multiplier=2)
    assert (
        "alpha: there is no such width, got 0.5; use 1.0 or 1.25" in said
        and "depth_multiplier: another one than 1" in said
    )
    assert "alpha: unknown key" in problems(alpha=0.5)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("#%Musket Classification 1.0\nx: 1", "musket"),
        ("architecture: x", "musket"),
        ("neural_network: {}", "rmldnn"),
        ("{dataset: {}, model: {}, solver: {}}", "barrage"),
        ("defaults: []", "native"),
    ],
)
def test_dialects_are_told_apart(text: str, dialect: str) -> None:
    assert detect.dialect_of(text, yaml.safe_load(text)) == dialect


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "what.yaml").write_text("a: 1")
    for name in ("bad.yaml", "list.yaml", "what.yaml", "none.yaml"):
        with pytest.raises(ConfigError, match="recipe"):
            detect.translated(tmp_path / name)


def test_values_become_overrides_that_hydra_reads() -> None:
    native = {"defaults": [{"arch": "timm"}], "arch": {"name": "a.b"}, "x": {"y": [{"k": "it's"}, None, 1e-7]}}
    assert recipe_file.as_overrides(native, set()) == [
        "arch=timm",
        "arch.name='a.b'",
        "x.y=[{k:'it\\'s'},null,1e-07]",
    ]
    assert recipe_file.as_overrides(native, {"arch"}) == ["x.y=[{k:'it\\'s'},null,1e-07]"]


@pytest.mark.parametrize(
    ("config", "project", "name"),
    [
        ("experiments/mine/experiments/group/one/config.yaml", "experiments/mine", "group/one"),
        ("mine/experiments/experiments/one/config.yaml", "mine", "experiments/one"),
        ("one/config.yaml", "one", "one"),
    ],
)
def test_the_project_is_the_nearest_folder_with_modules(tmp_path: Path, config: str, project: str, name: str) -> None:
    if project != "one":
        (tmp_path / project / "modules").mkdir(parents=True)
    home = musket.Home.of(tmp_path / config)
    assert (home.project, home.name) == (tmp_path / project, name)


PLATEAU, CYCLIC = {"patience": 2, "monitor": "val_loss"}, {"base_lr": 0.001, "max_lr": 0.01, "step_size": 10}


@pytest.mark.parametrize(
    ("callbacks", "target"),
    [
        # What sets the rate after every batch has its way, whatever stands before it.
        ({"ReduceLROnPlateau": PLATEAU, "CyclicLR": CYCLIC}, "cyclic"),
        ({"CyclicLR": CYCLIC, "ReduceLROnPlateau": PLATEAU}, "cyclic"),
        ({"CyclicLR": CYCLIC, "LRVariator": {"toVal": 0.1}}, "variator"),
        ({"LRVariator": {"toVal": 0.1, "relSize": 1}, "CyclicLR": CYCLIC}, "cyclic"),
        ({"LRVariator": {"toVal": 0.1}, "ReduceLROnPlateau": PLATEAU}, "variator"),
    ],
)
def test_of_two_schedules_one_has_its_way(callbacks: dict[str, Any], target: str) -> None:
    found = changed(callbacks=callbacks)
    assert found.chosen()["lr_scheduler"] == target
    lost = next(name for name in callbacks if name != {"cyclic": "CyclicLR", "variator": "LRVariator"}[target])
    (line,) = [one for one in found.report if one.key == f"callbacks.{lost}"]
    assert line.fate == "differs" and "sets the rate anew after every batch" in line.note
    assert found.native["optimizer"]["lr"] == (0.01 if target == "cyclic" else 0.005)


RAMP = {"toVal": 0.1, "relSize": 1}
# One less of patience than Keras's, as the plateau by itself.
LOWERED = {"patience": 1, "cooldown": 0, "factor": 0.1, "threshold": 1e-4, "threshold_mode": "abs", "min_lr": 0.0}
LOWERED |= {"watch": "val/loss", "watch_direction": "min"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_ramp_for_a_while_and_a_plateau_act_in_turns(order: int) -> None:
    both = {"LRVariator": RAMP, "ReduceLROnPlateau": PLATEAU}
    found = changed(callbacks=dict(list(both.items())[::order]))
    schedule = found.native["lr_scheduler"]
    assert (schedule["plateau"], schedule["plateau_from"], schedule["epochs"]) == (LOWERED, "start", 1)
    (line,) = [one for one in found.report if one.key == "callbacks.ReduceLROnPlateau"]
    assert line.fate == "same" and line.place == "lr_scheduler.plateau"


@pytest.mark.parametrize(
    "then", [{"ReduceLROnPlateau": PLATEAU}, {"LRVariator": {**RAMP, "then": {"reducelronplateau": PLATEAU}}}]
)
def test_a_plateau_waits_for_the_ramps_before_it(then: dict[str, Any]) -> None:
    found = changed(callbacks={"LRVariator": {**RAMP, "then": then}})
    schedule = found.native["lr_scheduler"]
    assert schedule["plateau"] == LOWERED and schedule.get("plateau_from", "end") == "end"
    assert ("then" in schedule) == ("LRVariator" in then) and "plateau" not in schedule.get("then", {})
    (line,) = [one for one in found.report if one.place == "lr_scheduler.plateau"]
    assert line.fate == "differs" and "in Musket from the start on" in line.note


@pytest.mark.parametrize(
    ("callbacks", "key", "near"),
    [
        (
            {"LRVariator": {**RAMP, "then": {"ReduceLROnPlateau": {**PLATEAU, "patiens": 1}}}},
            "then.patiens",
            "patience",
        ),
        ({"LRVariator": {**RAMP, "then": {"LRVariator": {"toVal": 1, "relsize": 1}}}}, "then.relsize", "relSize"),
    ],
)
def test_mistyped_keys_of_what_follows_a_ramp(callbacks: dict[str, Any], key: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(callbacks=callbacks)
    (problem,) = caught.value.problems
    assert f"callbacks.LRVariator.{key}" in problem and near in problem


def test_two_plateaus_are_one_too_many() -> None:
    callbacks = {"LRVariator": {**RAMP, "then": {"ReduceLROnPlateau": PLATEAU}}, "ReduceLROnPlateau": PLATEAU}
    with pytest.raises(ConfigError, match="both lower the learning rate"):
        changed(callbacks=callbacks)


@pytest.mark.parametrize(
    ("callbacks", "sentence"),
    [
        (
            {"CyclicLR": CYCLIC, "LRVariator": {"toVal": 0.1, "relSize": 1}},
            "callbacks.LRVariator: and CyclicLR change the learning rate in turns",
        ),
        (
            {"LRVariator": {"toVal": 0.1, "relSize": 1, "then": {"CyclicLR": CYCLIC}}},
            "callbacks.LRVariator.then: must be an LRVariator or a ReduceLROnPlateau",
        ),
    ],
)
def test_schedules_in_turns_are_to_be_stages(callbacks: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(callbacks=callbacks)
    (problem,) = caught.value.problems
    assert problem.startswith(sentence) and "without lr and loss it goes on with the rate of the first" in problem


def test_a_mistyped_function_and_a_missing_module_are_mentioned(tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "first"
    (tmp_path / "modules").mkdir()
    folder.mkdir(parents=True)
    (tmp_path / "modules" / "data.py").write_text("def getTrain(n):\n    return []\n")

    def lint(source: dict[str, Any]) -> list[str]:
        text = yaml.safe_dump({**yaml.safe_load(README), **source})
        found = translated(text, home=folder / "config.yaml")
        return [f"{line.key}: {line.note}" for line in found.report if line.fate == "lint"]

    assert not lint({"dataset": {"getTrain": [3]}})
    assert not lint({"dataset": {"DirectoryDataSet": ["images"]}})
    # With all other mistakes, before anything begins.
    with pytest.raises(ConfigError) as caught:
        lint({"dataset": {"getTrian": [3]}, "batch": "many", "optimizer": "Adm"})
    assert [one.partition(",")[0] for one in sorted(caught.value.problems)] == [
        "batch: must be a whole number >= 1",
        "dataset: no function of the project's modules has this name",
        "optimizer: unknown optimizer",
    ]
    with pytest.raises(
        ConfigError, match=r"datasets.test: no function of the project's modules has this name, got 'getTst'"
    ):
        lint({"datasets": {"test": {"getTst": []}}})
    # One that is given a value, or may be made while the modules run.
    (tmp_path / "modules" / "more.py").write_text("getMore = make()\nif True:\n    getOther = 3\n")
    assert not lint({"dataset": {"getMore": [3]}}) and not lint({"dataset": {"getOther": [3]}})
    (tmp_path / "modules" / "more.py").write_text("globals()['getMade'] = 3\n")
    (line,) = lint({"dataset": {"getTrian": [3]}})
    assert line == "dataset: no function of the project's modules is called getTrian; did you mean 'getTrain'?"
    (line,) = lint({"dataset": {"elsewhere": [3]}, "imports": ["data", "json"]})
    assert line == "imports: json is no file in modules/: name it in trust=[json]"
    with pytest.raises(ConfigError, match="imports: no file in modules/ has this name, got 'dta'; did you mean 'data'"):
        lint({"dataset": {"elsewhere": [3]}, "imports": ["dta"]})


def test_built_in_sets_are_those_that_there_are() -> None:
    assert list(data.BUILT_IN_SETS) == sets.__all__


WATCHING = """
architecture: resnet18
classes: 3
activation: softmax
shape: [32, 32, 3]
optimizer: Adam
metrics: [binary_accuracy]
primary_metric: val_macro_f1
experiment_result: binary_accuracy_holdout
callbacks:
  EarlyStopping: {patience: 3, monitor: val_macro_f1}
dataset: {getTrain: []}
stages: [{epochs: 1}]
"""


def test_metrics_of_monitors_have_the_names_of_the_file() -> None:
    named = musket.names_of(yaml.safe_load(WATCHING), musket.Home.of(Path("/none/config.yaml")))
    assert named == {"elementwise_accuracy": "binary_accuracy", "soft_macro_f1": "macro_f1"}


def test_wrong_negatives_are_told_for_the_key_that_the_file_has() -> None:
    text = WATCHING.replace("epochs: 1", "epochs: 1, negatives: some")
    with pytest.raises(ConfigError) as caught:
        translated(text, lenient=True)
    wrong = "must be none, real, all or a whole number, got 'some'"
    assert caught.value.problems == (f"stages[0].negatives: {wrong}",)


def test_efficient_networks_have_the_weights_of_keras() -> None:
    found = changed(architecture="EfficientNetB4", weights="imagenet")
    assert found.native["arch"]["name"] == "tf_efficientnet_b4.aa_in1k"
    plain = changed(architecture="efficientnetb0", weights=None)
    assert (plain.native["arch"]["name"], plain.native["arch"]["pretrained"]) == ("tf_efficientnet_b0", False)


def test_an_optimizer_of_a_stage_is_read_by_nobody() -> None:
    """Musket reads a stage's rate and loss alone; that it is no error there is none here."""
    stages = [{"epochs": 2, "optimizer": "SGD", "lr": 0.1}]
    found = changed(stages=stages)
    assert [line.fate for line in found.report if line.key == "stages[0].optimizer"] == ["lint"]
    without = changed(stages=[{"epochs": 2, "lr": 0.1}])
    assert found.native == without.native
