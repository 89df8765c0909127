"""Transfer: which model is chosen, what is taken over, what stays frozen, and that a restart changes none of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from mlpipe.cli import main
from mlpipe.config import snapshot
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, ProjectError
from mlpipe.running import launch
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.build import SMALL, make_record, models

TL = ["task=fashion_mini", "split.folds=2", "mode.nested=false", "sys.threads=1", "preprocessing.size=16"]
OF_DIGITS = "mode.pretrain_task=digits"


def prepared(*overrides: str) -> RunConfig:
    return launch.prepare(launch.Command("tl", [*TL, OF_DIGITS, *overrides])).run_config


def test_the_chosen_model_stands_in_the_configuration_and_brings_its_network(tmp_path: Path) -> None:
    """F9: what was chosen is stored, so a continued run starts from the same model whatever was trained meanwhile."""
    models(tmp_path, [0.5, 0.3])
    config = prepared("mode.freeze=true")
    assert config.reuse.parameters == "default#2"
    arch = config.recipe.arch.params
    assert (arch["name"], arch["drop_rate"], arch["freeze"], arch["pretrained"]) == ("test_resnet", 0.25, True, False)
    snapshot.save(config, tmp_path / "config.yaml")
    make_record(Project(tmp_path / "results" / "default"), "better", scores={"val": {"loss": 0.1}})
    assert snapshot.load(tmp_path / "config.yaml").reuse.parameters == "default#2"
    assert prepared().reuse.parameters == "default#3"
    assert prepared("arch=resnet18").recipe.arch.params["name"] == "resnet18"
    assert prepared("arch.drop_rate=0.125").recipe.arch.params["drop_rate"] == 0.125
    assert prepared("reuse.parameters=default#1").reuse.parameters == "default#1"


def test_models_without_weights_are_no_candidates(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    make_record(project, "bare", weights=None, scores={"val": {"loss": 0.1}})
    with pytest.raises(ProjectError, match="reuse.models: no model of digits in default keeps its weights"):
        prepared()
    make_record(project, "whole")
    assert prepared().reuse.parameters == "default#2"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["reuse.models=none"], "reuse.models: there is no such project, got 'none'"),
        (["reuse.parameters=default#1", "mode.pretrain_task=elpv"], "default#1 was trained on digits, got 'elpv'"),
        (["mode.pretrain_task=digit"], "no model of it in default, got 'digit'; did you mean 'digits'?; say where"),
        (["reuse.parameters=w.safetensors"], "mml tl starts from a record"),
    ],
)
def test_what_is_not_there_is_one_sentence(tmp_path: Path, overrides: list[str], sentence: str) -> None:
    models(tmp_path, [0.1])
    with pytest.raises(ProjectError) as caught:
        launch.prepare(launch.Command("tl", [*TL, *([] if "pretrain" in str(overrides) else [OF_DIGITS]), *overrides]))
    assert sentence in str(caught.value) and len(caught.value.problems) == 1


def test_without_any_model_the_flag_is_named() -> None:
    with pytest.raises(ProjectError, match="reuse.models: project default has no models yet; say where they are with"):
        prepared()


def test_keys_of_train_are_checked_as_for_train() -> None:
    with pytest.raises(ConfigError) as caught:
        wrong = ["mode.cv=maybe", "mode.neste=true", "mode.model_selection=best", "mode.freeze=1"]
        launch.prepare(launch.Command("tl", [*TL, *wrong]))
    assert list(caught.value.problems) == [
        "mode.neste: unknown key; did you mean 'nested'? write mode.nested=true",
        "mode.cv: must be true or false, got 'maybe'; give it such a value",
        "mode.pretrain_task: a value is needed; add mode.pretrain_task=VALUE",
        "mode.model_selection: must be one of performance, created, random, got 'best'; write mode.model_selection=performance",
        "mode.freeze: must be true or false, got 1; write mode.freeze=true",
    ]
    with pytest.raises(ConfigError, match="mode.subroutines: mml tl trains"):
        prepared("mode.subroutines=[predict]")


def test_a_frozen_body_stays_as_it_was(trained_digits: Path, tmp_path: Path) -> None:
    own = [*TL, OF_DIGITS, "mode.freeze=true", "mode.subroutines=[train,test]", "trainer.max_epochs=1", "mode.cv=false"]
    assert main(["tl", *own]) == 0
    project = Project(tmp_path / "results" / "default")
    source, made = records.load_all(project)
    before, after = (
        load_file(project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE) for record in (source, made)
    )
    body = [name for name in before if name.startswith("backbone.")]
    assert len(body) == 90
    assert all(before[name].tobytes() == after[name].tobytes() for name in body)
    assert before["heads.target.weight"].tobytes() != after["heads.target.weight"].tobytes()
    assert "test" in made.scores
    (note,) = [note for note in made.notes if note.startswith("starts from")]
    assert note.startswith(f"starts from default#1 ({source.id}, task digits, performance of {OF_DIGITS}, body frozen)")
    assert note.endswith("90 tensors loaded, 2 new (heads.target.weight, heads.target.bias)")


def test_another_network_does_not_fit_and_nothing_is_written(
    trained_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TL, OF_DIGITS, "reuse.models=default", "proj=other", "arch=resnet18"]
    assert main(["tl", *arguments]) == 2
    assert "tensors of the network's body are not in default#1" in capsys.readouterr().err
    assert not (tmp_path / "results" / "other").exists()


def test_equal_classes_keep_the_head(trained_digits: Path, tmp_path: Path) -> None:
    again = ["task=digits", "split.folds=2", *SMALL[2:], "mode.nested=false", "mode.cv=false", OF_DIGITS]
    assert main(["tl", "mode.subroutines=[train]", *again]) == 0
    made = records.load_all(Project(tmp_path / "results" / "default"))[-1]
    assert made.notes[-1].endswith("task digits, performance of mode.pretrain_task=digits), 92 tensors loaded")
