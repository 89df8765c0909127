"""Start weights, blueprints, and records and predictions of other projects, through the command line."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from mlpipe.cli import main
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, MlpipeError
from mlpipe.running import launch
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from tests.build import DIGITS, contents, make_record

PLAIN = ["mode.nested=false", "mode.subroutines=[train,predict]"]
BLUEPRINT = ["mode.use_blueprint=true", "reuse.blueprint=default#1"]


def prepared(*overrides: str) -> RunConfig:
    return launch.prepare(launch.Command("train", [*DIGITS, *overrides])).run_config


def test_a_records_configuration_is_a_blueprint(tmp_path: Path) -> None:
    make_record(Project(tmp_path / "results" / "default"), "net")
    got = launch.prepare(
        launch.Command("train", ["task=digits", "arch=resnet18", "optimizer=sgd", "sys.threads=1", *BLUEPRINT])
    )
    tree = got.run_config.tree
    assert (tree["arch"]["name"], tree["arch"]["drop_rate"]) == ("test_resnet", 0.25)
    assert tree["optimizer"]["_target_"].endswith("adamw") and "momentum" not in tree["optimizer"]
    assert tree["split"]["folds"] == 5, "split is not one of pipeline_keys"
    assert "blueprint: arch.name: resnet18 -> test_resnet" in got.notes
    only = launch.prepare(
        launch.Command("train", ["task=digits", "arch=resnet18", *BLUEPRINT, "mode.pipeline_keys=[optimizer]"])
    )
    assert only.run_config.recipe.arch.params["name"] == "resnet18"


def test_a_blueprint_is_checked_like_any_configuration(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    use = ["mode.use_blueprint=true", f"reuse.blueprint={path}"]
    for sections, sentence in (
        ({"optimizer": {"_target_": "os.system", "command": "true"}}, "optimizer._target_: is not allowed here"),
        ({"arch": {"_target_": "mlpipe.arch.classifier.timm", "nam": "x"}}, "arch.nam: unknown key"),
        ({"cbs": {"x": {"_target_": "subprocess.Popen"}}}, "callbacks.x._target_: is not allowed here"),
        ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs: must be a whole number >= 1, got 0"),
        ({"mode": {"cv": "maybe"}}, "mode.cv: must be true or false"),
    ):
        path.write_text(yaml.safe_dump(sections))
        with pytest.raises(ConfigError) as caught:
            prepared(*use)
        assert sentence in str(caught.value)


def test_a_blueprint_leaves_no_trace_in_the_next_job(tmp_path: Path) -> None:
    """F19: the reference restores the configuration only when training succeeds; here nothing is ever changed."""
    make_record(Project(tmp_path / "results" / "default"), "net")
    plain = prepared("arch.drop_rate=0.0")
    before = copy.deepcopy(plain.tree)
    with pytest.raises(MlpipeError):
        launch.execute(
            launch.prepare(launch.Command("train", [*DIGITS, *BLUEPRINT, "mode.folds=[7]", "optimizer.lr=1"]))
        )
    assert prepared("arch.drop_rate=0.0").tree == plain.tree == before


def test_keys_that_a_mode_does_not_read_are_refused() -> None:
    for overrides, sentence in (
        (["reuse.predictions=x"], "reuse.predictions: mml train does not use it; it is for post; leave it out"),
        (["reuse.blueprint=x#1"], "reuse.blueprint: is not used by itself; add mode.use_blueprint=true"),
        (["reuse.parameters=x#1", "arch.weights=w.pth"], "reuse.parameters: arch.weights names weights too"),
        (["reuse.parameter=x"], "reuse.parameter: unknown key; did you mean 'parameters'?"),
    ):
        with pytest.raises(ConfigError) as caught:
            prepared(*overrides)
        assert sentence in str(caught.value) and len(caught.value.problems) == 1


def test_references_in_lists_need_no_quotes() -> None:
    with pytest.raises(MlpipeError) as caught:
        launch.prepare(launch.Command("tl", ["mode.pretrain_task=digits", "reuse.models=[one#3, two,three#net-1]"]))
    assert str(caught.value).count("there is no such project") == 3
    assert "got 'one'" in str(caught.value) and "got 'three'" in str(caught.value)


def test_start_weights_records_and_predictions_of_another_project(tmp_path: Path) -> None:
    assert main(["train", *DIGITS, *PLAIN, "proj=source", "mode.subroutines=[train]"]) == 0
    source = Project(tmp_path / "results" / "source")
    untouched = contents(source.root / "tasks")
    assert main(["predict", "task=digits", "proj=taker", "reuse.models=source"]) == 0
    taker = Project(tmp_path / "results" / "taker")
    assert contents(source.root / "tasks") == untouched
    for record in records.load_all(taker, "digits"):
        rows = predictions.load(taker.predictions_file("digits", record.id), "digits", "val")
        assert len(rows) == record.counts["val"]
    assert main(["post", "task=digits", "proj=third", "reuse.predictions=[taker]"]) == 0
    third = Project(tmp_path / "results" / "third")
    assert [one.members[0]["records"] for one in ensembles.load_all(third, "digits")] == [
        [record.id for record in records.load_all(source)]
    ]
    assert all(record.weights is None for record in records.load_all(third))
    hash_of = {}
    for name, more in (("plain", []), ("begun", ["reuse.parameters=source#1", "remove.parameters=true"])):
        assert (
            main(
                [
                    "train",
                    "mode.subroutines=[train]",
                    *DIGITS,
                    "mode.nested=false",
                    "mode.cv=false",
                    f"proj={name}",
                    *more,
                ]
            )
            == 0
        )
        (record,) = records.load_all(Project(tmp_path / "results" / name))
        hash_of[name] = record.recipe
    assert hash_of["plain"] != hash_of["begun"]
    assert record.weights is None
    assert record.notes[-2:] == [
        f"starts from source#1 ({records.load_all(source)[0].id}, task digits), 92 tensors loaded",
        "its weights were removed after the run (remove.parameters)",
    ]
    folder = Project(tmp_path / "results" / "begun").model_dir("digits", record.id)
    assert not (folder / records.WEIGHTS_FILE).exists()


def test_changed_weights_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path / "results" / "default")
    record = make_record(project, "net")
    (project.model_dir("digits", record.id) / records.WEIGHTS_FILE).write_bytes(b"others")
    assert main(["train", *DIGITS, "proj=new", "reuse.parameters=default#1"]) == 2
    assert "is not the file that the record was written with, got 'default#1'" in capsys.readouterr().err
    assert not (tmp_path / "results" / "new").exists()
