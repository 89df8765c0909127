"""What the three examples of Barrage show, on data of their form: images, flowers with code of one's own, sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris

from mlpipe.api.barrage import BarrageModel


def trained(name: str, config: dict[str, Any], learn: Any, validate: Any) -> None:
    model = BarrageModel(name)
    model.overrides = ["sys.threads=1"]
    model.train(config, learn, validate)


def test_images_with_the_layers_in_the_configuration() -> None:
    digits = load_digits()
    rows = [
        {"x": np.kron(image[..., None] / 16, np.ones((2, 2, 1))), "y": int(digit)}
        for image, digit in zip(digits.images[:700], digits.target[:700], strict=True)
    ]
    layers = [
        {"import": "Input", "params": {"shape": [16, 16, 1], "name": "img"}},
        {"import": "Conv2D", "params": {"filters": 8, "kernel_size": [3, 3], "activation": "relu"}},
        {"import": "MaxPooling2D", "params": {"pool_size": [2, 2]}},
        {"import": "Flatten"},
        {"import": "Dense", "params": {"units": 32, "activation": "relu"}},
        {"import": "Dense", "params": {"units": 10, "activation": "softmax", "name": "target"}},
    ]
    config = {
        "dataset": {
            "loader": {"import": "KeySelector", "params": {"inputs": {"img": "x"}, "outputs": {"target": "y"}}}
        },
        "model": {
            "network": {"import": "barrage.model.sequential_from_config", "params": {"layers": layers}},
            "outputs": [
                {
                    "name": "target",
                    "loss": {"import": "sparse_categorical_crossentropy"},
                    "metrics": [{"import": "accuracy"}],
                }
            ],
        },
        "solver": {"optimizer": {"import": "Adam", "learning_rate": 0.005}, "epochs": 5, "batch_size": 64},
    }
    trained("artifacts", config, rows[:600], rows[600:])
    scores = BarrageModel("artifacts").predict(rows[600:])
    right = [int(score["target"].argmax()) == row["y"] for score, row in zip(scores, rows[600:], strict=True)]
    assert np.mean(right) > 0.8


FLOWERS = """
import pickle
from pathlib import Path

import numpy as np
from barrage.dataset import RecordLoader, RecordMode, RecordTransformer
from torch import nn


def net(depth=2, width=10):
    sizes = [4, *[width] * depth]
    hidden = [part for one, other in zip(sizes, sizes[1:]) for part in (nn.Linear(one, other), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 3), nn.Softmax(1))


class Flowers(RecordLoader):
    def load(self, record):
        found = {"iris": np.array([record[key] for key in ("i1", "i2", "i3", "i4")])}
        if self.mode in (RecordMode.TRAIN, RecordMode.VALIDATION):
            return found, {"flower": np.array(record["label"])}
        return (found,)


class MeanVar(RecordTransformer):
    def fit(self, records):
        values = np.stack([self.loader.load(records[n])[0][self.params["key"]] for n in range(len(records))])
        self.fitted = {"mean": values.mean(0), "std": values.std(0)}

    def transform(self, data_record):
        key = self.params["key"]
        data_record[0][key] = (data_record[0][key] - self.fitted["mean"]) / self.fitted["std"]
        return data_record

    def postprocess(self, score):
        return score

    def save(self, path):
        Path(path, "fitted.pkl").write_bytes(pickle.dumps(self.fitted))

    def load(self, path):
        self.fitted = pickle.loads(Path(path, "fitted.pkl").read_bytes())


def noise(data_record, key, loc=0, scale=0.01):
    data_record[0][key] = data_record[0][key] + np.random.normal(loc, scale, data_record[0][key].shape)
    return data_record
"""


@pytest.mark.parametrize("is_own", [False, True])
def test_flowers_with_and_without_code_of_ones_own(tmp_path: Path, is_own: bool) -> None:
    (tmp_path / "flowers.py").write_text(FLOWERS)
    data = load_iris()
    frame = pd.DataFrame(data.data, columns=["i1", "i2", "i3", "i4"]).assign(label=data.target)
    frame = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    learn, validate = frame[:120], frame[120:]
    names = {"inputs": {"iris": ["i1", "i2", "i3", "i4"]}, "outputs": {"flower": ["label"]}}
    dataset: dict[str, Any] = {"loader": {"import": "KeySelector", "params": names}, "seed": 42}
    if is_own:
        dataset = {
            "loader": {"import": "flowers.Flowers"},
            "transformer": {"import": "flowers.MeanVar", "params": {"key": "iris"}},
            "augmentor": [{"import": "flowers.noise", "params": {"key": "iris", "scale": 0.1}}],
            "seed": 42,
        }
    output = {
        "name": "flower",
        "loss": {"import": "sparse_categorical_crossentropy"},
        "metrics": [{"import": "accuracy"}],
    }
    config: dict[str, Any] = {
        "dataset": dataset,
        "model": {"network": {"import": "flowers.net", "params": {"depth": 2, "width": 16}}, "outputs": [output]},
    }
    if is_own:
        config["solver"] = {"optimizer": {"import": "Adam", "learning_rate": 0.01}, "batch_size": 32, "epochs": 20}
        config["services"] = {"best_checkpoint": {"monitor": "val_accuracy", "mode": "max"}}
    trained("flowers_model", config, learn, validate)
    scores = BarrageModel("flowers_model").predict(validate)
    right = [int(score["flower"].argmax()) == label for score, label in zip(scores, validate["label"], strict=True)]
    # The defaults are ten epochs of small steps.
    assert np.mean(right) > (0.85 if is_own else 0.3)


SENTENCES = """
import json
from pathlib import Path

import numpy as np
from barrage.dataset import RecordTransformer


class Words(RecordTransformer):
    def __init__(self, mode, loader, params):
        super().__init__(mode, loader, params)
        self.input_key, self.output_key = params["input_key"], params["output_key"]

    def fit(self, records):
        texts = (self.loader.load(records[n])[0][self.input_key][0] for n in range(len(records)))
        known = dict.fromkeys(word for text in texts for word in text.split())
        self.numbers = {word: number for number, word in enumerate(known, start=1)}
        self.network_params = {"vocab_size": self.params["num_words"], "seq_len": self.params["maxlen"]}

    def transform(self, record):
        words = record[0][self.input_key][0].split()
        found = [self.numbers.get(word, 0) for word in words][: self.params["maxlen"]]
        record[0][self.input_key] = np.array(found + [0] * (self.params["maxlen"] - len(found)))
        return record

    def postprocess(self, score):
        return {**score, self.output_key: float(score[self.output_key][0] > 0.5)}

    def save(self, path):
        Path(path, "words.json").write_text(json.dumps(self.numbers))

    def load(self, path):
        self.numbers = json.loads(Path(path, "words.json").read_text())
"""
HEADS: dict[str, list[dict[str, Any]]] = {
    "convolution": [
        {"import": "Conv1D", "params": {"filters": 16, "kernel_size": 3, "activation": "relu"}},
        {"import": "GlobalMaxPooling1D"},
    ],
    "recurrent": [{"import": "tensorflow.keras.layers.Bidirectional", "params": {
        "layer": {"class_name": "LSTM", "config": {"units": 8}}}}],
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_sentences(tmp_path: Path, head: str) -> None:
    (tmp_path / "sentences.py").write_text(SENTENCES)
    rng = np.random.default_rng(0)
    good, bad, others = ["great", "lovely", "fine"], ["poor", "awful", "broken"], ["it", "is", "a", "phone", "really"]
    labels = rng.integers(0, 2, 260)
    texts = []
    for label in labels:
        words = list(rng.choice(others, 6))
        words[int(rng.integers(6))] = str(rng.choice(good if label else bad))
        texts.append(" ".join(words))
    frame = pd.DataFrame({"sentence": texts, "label": labels})
    layers = [
        {"import": "Input", "params": {"shape": "{{seq_len}}", "name": "sequence"}},
        {
            "import": "Embedding",
            "params": {"input_dim": "{{vocab_size}}", "output_dim": 16, "input_length": "{{seq_len}}"},
        },
        *HEADS[head],
        {"import": "Dense", "params": {"units": 1, "activation": "sigmoid", "name": "target"}},
    ]
    config = {
        "dataset": {
            "loader": {
                "import": "KeySelector",
                "params": {"inputs": {"sequence": ["sentence"]}, "outputs": {"target": ["label"]}},
            },
            "transformer": {
                "import": "sentences.Words",
                "params": {"num_words": 20, "maxlen": 8, "input_key": "sequence", "output_key": "target"},
            },
        },
        "model": {
            "network": {"import": "barrage.model.sequential_from_config", "params": {"layers": layers}},
            "outputs": [
                {
                    "name": "target",
                    "loss": {"import": "binary_crossentropy"},
                    "metrics": [{"import": "accuracy"}, {"import": "AUC"}],
                }
            ],
        },
        "solver": {"optimizer": {"import": "Adam", "learning_rate": 0.01}, "batch_size": 16, "epochs": 8},
        "services": {"best_checkpoint": {"monitor": "val_AUC", "mode": "max"}},
    }
    trained("sentiment", config, frame[:200], frame[200:])
    scores = pd.DataFrame(BarrageModel("sentiment").predict(frame[200:]))
    assert (scores["target"].to_numpy() == frame["label"][200:].to_numpy()).mean() > 0.85
