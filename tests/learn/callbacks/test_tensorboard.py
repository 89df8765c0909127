"""What TensorBoard is given beside curves, read back from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mlpipe.errors import ConfigError
from mlpipe.learn import fit
from mlpipe.learn.callbacks import tensorboard
from mlpipe.learn.job import Watch
from tests.learn.conftest import job

pytestmark = pytest.mark.program


def test_layers_labels_and_how_many_images(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"image {number}\n" for number in range(40)))
    keys = ["embeddings=1", "samples=20", "embedded_layers=[heads.target]", f"embedded_labels='{labels}'"]
    one = job(tmp_path / "a", "logging=tensorboard", *(f"logging.{key}" for key in keys),
              f"logging.log_dir={tmp_path / 'l'}", "trainer.max_epochs=1", "sampling.eval_batch_size=16")  # fmt: skip
    fit.fit(one, Watch())
    # Two batches have twenty images; a row of the ten outputs of the head for each.
    (table,) = (tmp_path / "l").rglob("tensors.tsv")
    assert [len(row.split("\t")) for row in table.read_text().splitlines()] == [10] * 20
    assert (table.parent / "metadata.tsv").read_text().splitlines() == [f"image {number}" for number in range(20)]
    assert "heads.target" in (tmp_path / "l").rglob("projector_config.pbtxt").__next__().read_text()


def test_a_part_is_named_as_where_it_was_written() -> None:
    network = nn.ModuleDict({"backbone": nn.ModuleDict({"module": nn.ModuleDict({"words": nn.Embedding(2, 3)})})})
    network["backbone"]["words"] = nn.ModuleDict({"words": nn.Linear(2, 3)})
    parts = {name: part for name, part in network.named_modules() if name}
    named = {one: tensorboard._part_named(one, parts) for one in ("module.words", "words", "backbone", "word")}
    assert named == {
        "module.words": "backbone.module.words",
        "words": "backbone.words",
        "backbone": "backbone",
        "word": "",
    }


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("embedded_layers=[heads.targte]", "no part of the network has this name, got 'heads.targte'; did you mean"),
        ("embedded_labels=nowhere.txt", "logging.embedded_labels: cannot be read"),
    ],
)
def test_what_cannot_be_embedded(tmp_path: Path, key: str, sentence: str) -> None:
    one = job(tmp_path, "logging=tensorboard", "logging.embeddings=1", f"logging.{key}", "trainer.max_epochs=1")
    with pytest.raises(ConfigError, match=sentence):
        fit.fit(one, Watch())


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
