"""`arch=keras_json` from the command line: it learns, goes on, predicts, and says what is wrong before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipe.cli import main

LAYERS = [
    {"class_name": "Conv2D", "config": {"filters": 16, "kernel_size": 3, "padding": "same", "activation": "ReLU"}},
    {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2]}},
    {"class_name": "Flatten", "config": {}},
    {"class_name": "Dense", "config": {"name": "out", "units": 10, "activation": "log_softmax"}},
]
QUICK = [
    "task=digits",
    "arch=keras_json",
    "preprocessing.size=16",
    "trainer.max_epochs=3",
    "sys.threads=1",
    "mode.nested=false",
]


def test_a_network_learns_and_its_file_is_not_needed_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.json").write_text(json.dumps(LAYERS))
    assert (
        main(
            [
                "train",
                "mode.subroutines=[train]",
                *QUICK,
                "arch.file=net.json",
                "loss=nll",
                "optimizer.lr=0.01",
                "mode.folds=[0,1]",
            ]
        )
        == 0
    )
    (tmp_path / "net.json").unlink()
    assert main(["train", "continue=latest"]) == 0
    assert main(["predict"]) == 0 and main(["post"]) == 0
    (folder,) = (tmp_path / "results" / "default" / "tasks").iterdir()
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("models/*/record.json"))]
    assert len(records) == 2 and all(record["scores"]["val"]["accuracy"] > 0.7 for record in records)
    assert all(path.parent.name.startswith("net-") for path in folder.glob("models/*/record.json"))
    capsys.readouterr()


def test_layers_on_the_command_line() -> None:
    short = "[{class_name:Flatten,config:{}},{class_name:Dense,config:{units:10,activation:softmax}}]"
    assert main(["train", "mode.subroutines=[train]", *QUICK, f"arch.layers={short}", "mode.folds=[0]"]) == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["arch.file=net.jsno"], "arch.file: there is no such file, got 'net.jsno'; did you mean 'net.json'?"),
        ([], "arch.file: a value is needed; add arch.file=net.json, or arch.layers=[...]"),
        (
            ["arch.file=bad.json"],
            "arch.file: is not JSON (Expecting ',' delimiter: line 2 column 1",
        ),
        (["arch.file=net.json", "arch.whit=255"], "arch.whit: unknown key; did you mean 'white'?"),
    ],
)
def test_what_is_wrong_in_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    (tmp_path / "net.json").write_text(json.dumps(LAYERS))
    (tmp_path / "bad.json").write_text("[1\n2]")
    assert main(["train", "task=digits", "arch=keras_json", *given]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_network_that_does_not_fit_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_7 = [*LAYERS[:-1], {"class_name": "Dense", "config": {"name": "out", "units": 7}}]
    (tmp_path / "net.json").write_text(json.dumps(of_7))
    assert main(["train", *QUICK, "arch.file=net.json"]) == 2
    assert (
        "arch.layers: out gives 7 outputs, the task has 10 classes; set its units (or filters) to 10"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "results").exists()
