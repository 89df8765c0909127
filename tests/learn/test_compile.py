"""A compiled network: the same numbers under the same names; a compiler that fails is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mlpipe.arch import weights
from mlpipe.errors import TrainingError
from mlpipe.learn import compile, fit
from mlpipe.learn.job import Watch
from mlpipe.predicting import records
from mlpipe.predicting.records import RowsToPredict
from mlpipe.runs import predictions
from tests.learn.conftest import job


def test_the_state_keeps_its_names() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    before = list(network.state_dict())
    compile.default(network)
    assert list(network.state_dict()) == before


def test_a_failure_to_compile_says_what_to_do() -> None:
    from torch._dynamo.exc import Unsupported

    with (
        pytest.raises(TrainingError, match=r"compile: the network cannot be compiled \(no way\); use compile=none"),
        compile.explained(),
    ):
        raise Unsupported("no way\nlong story")
    with pytest.raises(ValueError, match="other"), compile.explained():
        raise ValueError("other")


def test_a_network_that_cannot_be_compiled_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return x

    network = Breaking()
    compile.default(network, fullgraph=True)
    with pytest.raises(TrainingError, match="cannot be compiled"), compile.explained():
        network(torch.zeros(1))


@pytest.mark.program
def test_a_compiled_training_learns_the_same(tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1", "arch.drop_rate=0", "sampling.batch_size=64"]
    plain, compiled = job(tmp_path / "a", *short), job(tmp_path / "b", *short, "compile=default")
    expected, record = fit.fit(plain, Watch()), fit.fit(compiled, Watch())
    assert record.environment["compile"] == "default" and "compile" not in expected.environment
    assert record.scores["val"]["loss"] == pytest.approx(expected.scores["val"]["loss"], abs=0.05)
    files = [one.files.project.model_dir("digits", "record") / "weights.safetensors" for one in (plain, compiled)]
    ours, theirs = (weights.read(file) for file in files)
    assert list(ours) == list(theirs)
    part = RowsToPredict("digits", "val", compiled.task, compiled.pack, compiled.view.val)
    records.predict(compiled.recipe, files[1], 0, [part], tmp_path / "p.parquet", num_workers=0)
    rows = predictions.load(tmp_path / "p.parquet", "digits", "val")
    accuracy = float((rows.logits.argmax(1) == rows.targets).mean())
    assert accuracy == pytest.approx(record.scores["val"]["accuracy"], abs=0.02)
