"""What is found wrong after a file of another program was translated is told with that file's keys and lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipe import cli
from mlpipe.dialects import front, sentences
from mlpipe.errors import INPUT_IS_WRONG, ConfigError, DataError, MlpipeError, TrainingError

# Indented by tabs, which YAML's own readers refuse.
RMLDNN = """{"neural_network": {
\t"num_epochs": 1,
\t"data": {
\t\t"input_type": "images", "target_type": "labels",
\t\t"input_path": "nowhere",
\t\t"test_input_path": "nowhere", "batch_size": 4,
\t\t"transforms": [{"resize": [8, 8]}, {"random_horizontal_flip": 0.5}]
\t},
\t"loss": {"function": "NLL", "weight": [1, 2]},
\t"optimizer": {"type": "Adam", "learning_rate": 0.1},
\t"layers": LAYERS
}}
"""
LAYERS = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "i"}},
    {"class_name": "Flatten", "config": {"name": "f"}},
    {"class_name": "Dense", "config": {"name": "out", "units": 2, "activation": "log_softmax"}},
]
MUSKET = """architecture: resnet18
shape: [32, 32, 3]
classes: 3
activation: softmax
optimizer: Adam
dataset: {MultiClassClassificationDataSet: [images, t.csv, a, b]}
stages:
  - epochs: 2
"""
MML_CORE = """arch: {_target_: mml.core.models.timm.TimmGenericModel, name: resnet10tt, pretrained: false}
optimizer:
  _target_: torch.optim.Adam
  lr: -0.5
lr_scheduler: {_target_: null}
trainer: {_target_: lightning.Trainer, max_epochs: 2}
"""


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(RMLDNN.replace("LAYERS", json.dumps(LAYERS)))
    (tmp_path / "c.yaml").write_text(MUSKET)
    (tmp_path / "p.yaml").write_text(MML_CORE)


def refused(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        front.prepared("train", list(overrides))
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


def test_a_folder_that_is_not_there_is_told_with_the_files_key_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "recipe=c.json"]) == INPUT_IS_WRONG
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("c.json, line 5: neural_network.data.input_path: there is no such folder, got ")
    assert sentence.endswith(" (task.train)")


def test_keys_of_every_program() -> None:
    error = DataError("task.train: has no items")
    with pytest.raises(DataError), sentences.of_file(["recipe=c.yaml"]):
        raise error
    assert str(error) == "c.yaml, line 6: dataset: has no items (task.train)"
    # A key that both programs have is told once.
    assert refused("recipe=p.yaml", "task=digits") == (
        "p.yaml, line 1: arch.name: unknown network, got 'resnet10tt'; did you mean 'resnet10t'?",
        "p.yaml, line 4: optimizer.lr: must be a number > 0, got -0.5; give it such a value",
    )


def test_what_the_command_line_says_keeps_its_key() -> None:
    found = refused("recipe=p.yaml", "task=digits", "optimizer.lr=-1")
    assert found[1] == "optimizer.lr: must be a number > 0, got -1; give it such a value"
    assert all(one.startswith("optimizer.lr: ") for one in refused("optimizer.lr=-1", "task=digits"))


@pytest.mark.parametrize(
    "sentence, told",
    [
        # A key below one that the file says, as far as the file has it.
        (
            "arch.layers: out gives 5 outputs",
            "c.json, line 11: neural_network.layers: out gives 5 outputs (arch.layers)",
        ),
        (
            "arch.layers[2].config.units: is 5",
            "c.json, line 11: neural_network.layers[2].config.units: is 5 (arch.layers[2].config.units)",
        ),
        # Several keys of the file lead to one native one: they are told by what they lie in.
        ("loss.class_weights: has 2", "c.json, line 9: neural_network.loss.weight: has 2 (loss.class_weights)"),
        ("task.size: unknown", "c.json, line 3: neural_network.data: unknown (task.size)"),
        # Other keys that a sentence names are the file's, too.
        (
            "preprocessing.size: takes 8, got 9; set trainer.max_epochs, or mode.cv",
            "c.json, line 7: neural_network.data.transforms[0]: takes 8, got 9; set trainer.max_epochs, or mode.cv"
            " (preprocessing.size; trainer.max_epochs is num_epochs here)",
        ),
        # What the file does not say, and what is no key.
        ("sys.num_workers: must be a whole number", "sys.num_workers: must be a whole number"),
        ("fold 0: the loss is NaN", "fold 0: the loss is NaN"),
        ("nothing to do", "nothing to do"),
    ],
)
def test_sentences_are_told_anew(sentence: str, told: str) -> None:
    for kind in (DataError, TrainingError):
        error: MlpipeError = kind(sentence)
        with pytest.raises(kind) as caught, sentences.of_file(["recipe=c.json"]):
            raise error
        assert str(caught.value) == told and caught.value is error
        # Whoever calls whom: a sentence is told anew once.
        with pytest.raises(kind, match="^"), sentences.of_file(["recipe=c.json"]):
            raise error
        assert str(error) == told


@pytest.mark.parametrize("text", ["{", '{"a": 1}', ""])
def test_files_that_cannot_be_translated_change_nothing(text: str) -> None:
    Path("c.json").write_text(text)
    with pytest.raises(DataError, match=r"^arch\.layers: is wrong$"), sentences.of_file(["recipe=c.json"]):
        raise DataError("arch.layers: is wrong")


def test_native_files_have_native_keys() -> None:
    Path("n.yaml").write_text("defaults: [{task: digits}]\noptimizer: {lr: -1}\n")
    assert refused("recipe=n.yaml")[0].startswith("optimizer.lr: must be")
