"""A folder of artifacts: what it says, what is missing, what it must not say."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from mlpipe.dialects.barrage import files, scoring
from mlpipe.errors import DataError, ProjectError

NATIVE = """
task: {loader: {import: KeySelector}, transformer: {import: IdentityTransformer}}
arch: {network: {import: %s}, gives: softmax}
"""
LAYOUT = {
    "inputs": [["x", [2]]],
    "outputs": [{"name": "y", "shape": [3], "form": "one_hot", "kind": "classification"}],
    "weighted": False,
}


def folder(tmp_path: Path, network: str = "my.network") -> Path:
    (tmp_path / "best_checkpoint").mkdir()
    (tmp_path / files.BEST_FILE).write_bytes(b"")
    (tmp_path / files.NATIVE_FILE).write_text(NATIVE % network)
    (tmp_path / files.PARAMS_FILE).write_text("{}")
    (tmp_path / files.LAYOUT_FILE).write_text(json.dumps(LAYOUT))
    return tmp_path


def test_what_a_folder_says_and_where_weights_are(tmp_path: Path) -> None:
    found = files.load(folder(tmp_path))
    assert found.network == {"import": "my.network"} and found.gives == "softmax"
    assert found.weights() == tmp_path / "best_checkpoint/model_best.safetensors"
    (tmp_path / "resume_checkpoints").mkdir()
    for epoch in (1, 2, 10):
        (tmp_path / f"resume_checkpoints/model_epoch_{epoch:04d}.safetensors").touch()
    assert found.weights(2).name == "model_epoch_0002.safetensors"
    assert found.weights(-1).name == "model_epoch_0010.safetensors"


@pytest.mark.parametrize("name", [files.NATIVE_FILE, files.LAYOUT_FILE, files.BEST_FILE])
def test_a_folder_that_lacks_something_or_is_damaged(tmp_path: Path, name: str) -> None:
    there = folder(tmp_path)
    if name != files.BEST_FILE:
        (there / name).write_text("[1")
        with pytest.raises(ProjectError, match="cannot be read as artifacts"):
            files.load(there)
    (there / name).unlink()
    with pytest.raises(ProjectError, match=f"is no complete folder of artifacts, it lacks {name}"):
        files.load(there)


@pytest.mark.parametrize("network", ["os.system", "subprocess.Popen", "shutil.rmtree"])
def test_a_folder_cannot_choose_the_code_that_runs(tmp_path: Path, network: str) -> None:
    with pytest.raises(DataError, match=r"arch\.network: names code from outside the current folder"):
        scoring.network(files.load(folder(tmp_path, network)))


def test_the_training_report_has_kerass_names_in_their_order() -> None:
    history = "epoch,train/loss,val/loss,val/accuracy,lr\n0,1.5,1.25,0.5,0.1\n1,1.0,1.0,0.75,0.1\n"
    assert files.training_report(history, rates=True).splitlines() == [
        "epoch,loss,lr,val_accuracy,val_loss", "0,1.5,0.1,0.5,1.25", "1,1.0,0.1,0.75,1.0",
    ]  # fmt: skip


def test_the_training_report_has_kerass_own_columns(tmp_path: Path) -> None:
    features, targets = np.zeros((4, 2)), np.eye(2)[[0, 1, 0, 1]]
    reducer = keras.callbacks.ReduceLROnPlateau()
    for callbacks in ([], [reducer]):
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        # Barrage's reducer comes last; its log is the history's.
        said = network.fit(features, targets, validation_data=(features, targets), verbose=0, callbacks=callbacks)
        # Keras 3 writes out what TensorFlow's Keras called lr.
        names = sorted({"learning_rate": "lr"}.get(name, name) for name in said.history)
        ours = "epoch,train/loss,train/accuracy,val/loss,val/accuracy,lr\n0,1.5,1.0,1.25,0.5,0.1\n"
        header = files.training_report(ours, rates=bool(callbacks)).splitlines()[0]
        assert header.split(",") == ["epoch", *names]
