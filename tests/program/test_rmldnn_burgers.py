"""rmldnn's data type `pde` with Burgers' equation: training, evaluation and inference from its own configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.build import PLACES, TIMES, layers
from tests.dialects.test_rmldnn_pde import DATA, whole


def write(**changes: Any) -> None:
    Path("net.json").write_text(json.dumps(layers(row=True)))
    Path("config.json").write_text(json.dumps(whole(**changes)))


def test_a_training_an_evaluation_and_an_inference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    assert main(["train", "--app=pde", "--config=config.json", "sys.threads=1"]) == 0
    lines = [[float(one) for one in line.split()] for line in Path("log_test.txt").read_text().splitlines()]
    # Epoch, seconds and loss; there is no accuracy.
    assert [len(line) for line in lines] == [3] * 4 and lines[-1][2] < 0.7 * lines[0][2]
    assert len(Path("log_train.txt").read_text().splitlines()) == 12
    said = capsys.readouterr()
    assert "Eval  Epoch [  4/  4]" in said.out + said.err and "Accuracy" not in said.out + said.err
    with h5py.File("out/output_4.h5") as file:
        learned = {name: value[()] for name, value in file.items()}
    assert [value.shape for value in learned.values()] == [(1, TIMES, PLACES)] * 3
    (record,) = records.load_all(Project(Path("results/default")))
    assert record.scores["val"]["equation_loss"] == pytest.approx(lines[-1][2], rel=1e-4)

    only = {key: value for key, value in DATA.items() if key != "num_examples"}
    load = {"load": "kept/model_checkpoint_4.pt"}
    write(data=only, optimizer=None, checkpoints=load, outfile="judged.txt")
    assert main(["train", "--config=config.json", "sys.threads=1"]) == 0
    judged = Path("judged_test.txt").read_text().split()
    assert len(judged) == 3 and float(judged[2]) == pytest.approx(lines[-1][2], rel=1e-4)
    write(data={**only, "test_output_path": "applied/"}, optimizer=None, loss=None, checkpoints=load, outfile=None)
    assert main(["train", "--app", "pde", "--config=config.json", "sys.threads=1"]) == 0
    with h5py.File("applied/output_1.h5") as file:
        for name, value in learned.items():
            np.testing.assert_allclose(file[name][()], value, rtol=1e-4, atol=1e-5)
