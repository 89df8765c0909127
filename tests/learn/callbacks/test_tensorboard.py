"""What TensorBoard is given beside curves, read back from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.learn import fit
from mlpipe.learn.job import Watch
from tests.learn.conftest import job

pytestmark = pytest.mark.program


def test_histograms_filters_graph_and_features(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    keys = ["histograms=2", "gradients=true", "filters=true", "graph=true", "embeddings=1", f"log_dir={tmp_path / 'l'}"]
    more = ["logging=tensorboard", *(f"logging.{key}" for key in keys), "trainer.max_epochs=3"]
    one = job(tmp_path / "a", *more)
    plain = job(tmp_path / "b", "trainer.max_epochs=3")
    # Writing changes nothing of the training.
    assert fit.fit(one, Watch()).weights == fit.fit(plain, Watch()).weights
    (folder,) = {file.parent for file in (tmp_path / "l").rglob("events.out.tfevents.*")}
    read: Any = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    read.Reload()
    tags = read.Tags()
    assert tags["graph"]
    names = {tag.partition("/")[0] for tag in tags["histograms"]}
    assert names == {"weights", "gradients", "activations"}
    assert [event.step for event in read.Histograms("weights/heads.target.weight")] == [0, 2]
    assert any(tag.startswith("activations/heads.target") for tag in tags["histograms"])
    assert list((tmp_path / "l").rglob("tensors.tsv"))
