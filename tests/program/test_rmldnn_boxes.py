"""rmldnn's object detection from the command line: training, its files of boxes, and evaluation of the stored weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from tests.build import grid_layers, shapes

FLIP = {"transforms": [{"random_horizontal_flip": 0.5}, {"resize": [64, 64]}]}


def write(path: str, data: dict[str, Any], **sections: Any) -> None:
    common = {"input_type": "images", "target_type": "boxes", "batch_size": 8, "test_batch_size": 16, **FLIP}
    common |= {"test_input_path": "test", "test_target_path": "test/boxes.json"}
    whole = {"layers": "net.json", "data": common | data, "loss": {"function": "YOLOv3"}, **sections}
    Path(path).write_text(json.dumps({"neural_network": whole}))


def test_objects_from_training_to_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes(tmp_path / "train", 16, side=64, most=2)
    shapes(tmp_path / "test", 8, side=64, most=2, seed=1)
    Path("net.json").write_text(json.dumps(grid_layers(64, 3 * (5 + 3), width=8)))
    data = {"input_path": "train", "target_path": "train/boxes.json", "test_output_path": "out"}
    adam = {"type": "Adam", "learning_rate": 0.01}
    write("config.json", data, num_epochs=2, optimizer=adam, checkpoints={"save": "ck"})
    assert main(["train", "--app=obj", "--config=config.json", "sys.threads=1"]) == 0
    told = capsys.readouterr().out
    assert len(re.findall(r"Accuracy: \S+", told)) == 2
    with h5py.File("out/output_2.h5") as found:
        names = sorted(path.name for path in (tmp_path / "test" / "images").iterdir())
        seen: list[str] = []
        found.visititems(lambda name, item: seen.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(name.rpartition("/")[2] for name in seen) == names
        rows = [np.asarray(found[name]) for name in seen]
    assert all(one.ndim == 2 and one.shape[1] == 6 for one in rows) and max(map(len, rows)) > 0
    every = np.concatenate(rows)
    assert (every[:, :4] >= 0).all() and (every[:, 0] + every[:, 2] <= 64.001).all() and set(every[:, 5]) <= {0, 1, 2}
    assert all((np.diff(one[:, 4]) <= 0).all() for one in rows)

    write("eval.json", {"test_output_path": "again"}, checkpoints={"load": "ck/model_checkpoint_2.pt"})
    assert main(["train", "--config=eval.json", "sys.threads=1"]) == 0
    # The loss of weights that are only judged is that of the validation after their epoch.
    losses = re.findall(r"Eval .*Loss: (\S+)\)", told + capsys.readouterr().out)
    assert len(losses) == 3 and losses[2] == losses[1] != losses[0]
    with h5py.File("again/output_1.h5") as second:
        for name, one in zip(seen, rows, strict=True):
            match = next(other for other in (name, name.rpartition("/")[2]) if other in second)
            assert np.allclose(second[match], one, atol=1e-3)
    assert main(["convert", "recipe=config.json"]) == 0
    assert "a COCO JSON file, which rmldnn's page does not say" in capsys.readouterr().out
