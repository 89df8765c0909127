"""A training of a Barrage configuration that is killed and gone on with leaves the artifacts of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from mlpipe.dialects.barrage import files as artifact_folder

CODE = """
import json, os
import numpy as np
import torch
from barrage.dataset import RecordTransformer

class Centred(RecordTransformer):
    def fit(self, records):
        self.mean = np.mean([self.loader(record)[0]["x"] for record in records], 0)
    def transform(self, data_record):
        return ({"x": data_record[0]["x"] - self.mean}, *data_record[1:])
    def postprocess(self, score):
        return score
    def save(self, path):
        with open(os.path.join(path, "mean.json"), "w") as file:
            json.dump(self.mean.tolist(), file)
    def load(self, path):
        with open(os.path.join(path, "mean.json")) as file:
            self.mean = np.array(json.load(file))

def jitter(data_record):
    return ({"x": data_record[0]["x"] + 0.1 * np.random.randn(3)}, *data_record[1:])

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3))
        self.kind, self.size = torch.nn.Linear(8, 2), torch.nn.Linear(8, 1)
    def forward(self, x):
        found = self.body(x)
        return {"kind": self.kind(found).softmax(1), "size": self.size(found)}
"""
CONFIG = {
    "dataset": {
        "loader": {
            "import": "KeySelector",
            "params": {"inputs": {"x": ["a", "b", "c"]}, "outputs": {"kind": ["k0", "k1"], "size": ["s"]}},
        },
        "transformer": {"import": "resumed_code.Centred"},
        "augmentor": [{"import": "resumed_code.jitter"}],
        "seed": 5,
    },
    "model": {
        "network": {"import": "resumed_code.Network"},
        "outputs": [
            {
                "name": "kind",
                "loss": {"import": "categorical_crossentropy"},
                "loss_weight": 1,
                "metrics": [{"import": "accuracy"}],
            },
            {"name": "size", "loss": {"import": "mse"}, "loss_weight": 0.5},
        ],
    },
    "solver": {
        "optimizer": {"import": "Adam", "learning_rate": 0.01},
        "epochs": 40,
        "learning_rate_reducer": {"monitor": "val_loss", "mode": "min", "patience": 1, "factor": 0.8},
    },
    "services": {},
}
TRAIN = [
    sys.executable, "-m", "mlpipe.cli", "train", "recipe=config.json", "task=records", "task.train=train.csv",
    "task.validation=val.csv", "sys.artifact_dir=out", "sys.threads=1",
]  # fmt: skip


def ended(words: list[str]) -> None:
    done = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of every file but the curves, which hold times."""
    files = (path for path in folder.rglob("*") if path.is_file() and "TensorBoard" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_artifacts_of_a_killed_training_are_those_of_one_that_was_not(tmp_path: Path) -> None:
    (tmp_path / "resumed_code.py").write_text(CODE)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    drawn = np.random.default_rng(0)
    frame = pd.DataFrame(drawn.normal(size=(90, 3)), columns=list("abc"))
    frame["k1"] = (frame["a"] + frame["b"] > 0).astype(int)
    frame = frame.assign(k0=1 - frame["k1"], s=frame["a"] - frame["c"])
    frame[:60].to_csv("train.csv", index=False)
    frame[60:].to_csv("val.csv", index=False)
    ended(TRAIN)
    Path("out").rename("whole")
    (tmp_path / "results").rename(tmp_path / "results_whole")
    epoch = Path("out") / artifact_folder.EPOCHS_DIR / "model_epoch_0003.safetensors"
    with subprocess.Popen(TRAIN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        while not epoch.is_file():
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert not (Path("out") / artifact_folder.BEST_FILE).exists()
    ended([*TRAIN[:4], "continue=latest", "trust=[resumed_code]"])
    whole, resumed = content(Path("whole")), content(Path("out"))
    assert len(list(Path("whole", artifact_folder.EPOCHS_DIR).iterdir())) > 3
    assert {artifact_folder.REPORT_FILE, artifact_folder.BEST_FILE, "dataset/mean.json"} <= set(whole)
    assert set(whole) == set(resumed)
    assert [name for name in whole if whole[name] != resumed[name]] == []
