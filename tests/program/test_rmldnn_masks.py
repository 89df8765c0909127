"""rmldnn's segmentations from the command line: training, its lines and outputs, evaluation and inference of the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from tests.build import conv
from tests.data.samples import make_masks


def net(maps: int, end: str) -> list[dict[str, Any]]:
    return [
        conv("c1", 16, batch_input_shape=[None, 28, 24, 3]),
        {"class_name": "MaxPooling2D", "config": {"name": "p", "pool_size": [2, 2]}},
        conv("c2", 32),
        {"class_name": "UpSampling2D", "config": {"name": "u", "size": [2, 2]}},
        conv("c3", 16),
        conv("out", maps, end, 1),
    ]


def clothes(folder: Path, numbered: bool) -> None:
    """Colour images of 30 x 26 pixels; what is not black is 255, or 1 and above half white 2."""
    make_masks(folder / "all", 160)
    for place, file in enumerate(sorted((folder / "all/images").iterdir())):
        pixels = np.asarray(Image.open(file))[:, 1:27]
        mask = np.where(pixels > 0, 1 + (pixels > 127), 0) if numbered else np.where(pixels > 0, 255, 0)
        for kind, values in (("images", np.repeat(pixels[:, :, None], 3, axis=2)), ("masks", mask.astype(np.uint8))):
            path = folder / ("train" if place < 120 else "test") / kind / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)


def write(path: str, layers: list[dict[str, Any]], loss: dict[str, Any] | None, data: Any, **sections: Any) -> str:
    common = {"input_type": "images", "test_input_path": "test/images", "batch_size": 8, "test_batch_size": 20}
    whole = {"layers": layers, "data": common | data, **({"loss": loss} if loss else {}), **sections}
    Path(path).write_text(json.dumps({"neural_network": whole}))
    return path


TARGETS = {"target_type": "images", "target_is_mask": True, "test_target_path": "test/masks"}
TRAINING = {**TARGETS, "input_path": "train/images", "target_path": "train/masks"}
ADAM = {"type": "Adam", "learning_rate": 0.01}


def test_a_mask_from_training_to_inference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clothes(tmp_path, numbered=False)
    moves = {"transforms": [{"random_horizontal_flip": 0.5}, {"random_zoom": 0.1}, {"resize": [24, 28]}]}
    dice, network = {"function": "Dice", "source": "sigmoid"}, net(1, "sigmoid")
    data = {**TRAINING, **moves, "test_output_path": "out"}
    write("c.json", network, dice, data, num_epochs=4, outfile="log.txt", optimizer=ADAM, checkpoints={"save": "ck"})
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 0
    accuracies = [float(found) for found in re.findall(r"Accuracy: (\S+)", capsys.readouterr().out)]
    # Calling every pixel foreground has a Dice of 0.72.
    assert len(accuracies) == 4 and accuracies[-1] >= 0.85
    assert float(Path("log_test.txt").read_text().split()[-1]) == pytest.approx(accuracies[-1], abs=1e-3)
    files = sorted(path.name for path in (tmp_path / "test/images").iterdir())
    with h5py.File("out/output_4.h5") as found:
        assert sorted(found) == files and found[files[0]].shape == (1, 28, 24)
        maps = np.stack([found[name][0] for name in files])
    assert 0 <= maps.min() < 0.1 and 0.9 < maps.max() <= 1
    true = np.stack([np.asarray(Image.open(tmp_path / "test/masks" / n).resize((24, 28), 0)) > 0 for n in files])
    overlap = 2 * (true & (maps > 0.5)).sum() / (true.sum() + (maps > 0.5).sum())
    assert overlap == pytest.approx(accuracies[-1], abs=2e-3)

    load = {"load": "ck/model_checkpoint_4.pt"}
    moves = {"transforms": [{"resize": [24, 28]}]}
    write("t.json", network, dice, {**TARGETS, **moves}, outfile="again.txt", checkpoints=load)
    assert main(["train", "recipe=t.json", "sys.threads=1"]) == 0
    assert float(Path("again_test.txt").read_text().split()[-1]) == pytest.approx(accuracies[-1], abs=2e-3)
    write("i.json", network, None, {**moves, "test_output_path": "only"}, checkpoints=load)
    assert main(["train", "recipe=i.json", "sys.threads=1"]) == 0
    with h5py.File("only/output_1.h5") as found:
        assert np.abs(np.stack([found[name][0] for name in files]) - maps).max() < 0.02


def test_class_numbers_as_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clothes(tmp_path, numbered=True)
    size = {"resize": [24, 28]}
    data = {
        **TRAINING, "input_transforms": [size, {"normalize": {"mean": 0.3, "std": 0.3}}],
        "target_transforms": [size, {"normalize": {"std": 0.00392}}], "test_output_path": "out",
    }  # fmt: skip
    write("c.json", net(3, "log_softmax"), {"function": "NLL"}, data, num_epochs=4, optimizer=ADAM)
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 0
    assert float(re.findall(r"Accuracy: (\S+)", capsys.readouterr().out)[-1]) >= 0.65
    with h5py.File("out/output_4.h5") as found:
        logs = found[next(iter(found))][()]
    assert logs.shape == (3, 28, 24) and np.allclose(np.exp(logs).sum(axis=0), 1, atol=1e-5)


def test_arrays_of_hdf5_with_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clothes(tmp_path, numbered=True)
    for part in ("train", "test"):
        with h5py.File(f"{part}_x.h5", "w") as inputs, h5py.File(f"{part}_y.h5", "w") as targets:
            for file in sorted((tmp_path / part / "images").iterdir()):
                pixels = np.asarray(Image.open(file))[:28, :24]
                inputs[f"deep/{file.stem}"] = pixels.transpose(2, 0, 1) / np.float32(255)
                targets[file.stem] = np.asarray(Image.open(tmp_path / part / "masks" / file.name))[:28, :24]
    data = {
        "type": "hdf5", "target_is_mask": True, "preload": True, "test_input_path": "test_x.h5",
        "test_target_path": "test_y.h5", "input_path": "train_x.h5", "target_path": "train_y.h5",
        "transforms": [{"random_horizontal_flip": 0.5}], "test_output_path": "out", "batch_size": 8,
    }  # fmt: skip
    whole = {"layers": net(3, "softmax"), "data": data, "loss": {"function": "Jaccard"}, "num_epochs": 4, "debug": True}
    Path("c.json").write_text(json.dumps({"neural_network": {**whole, "optimizer": ADAM}}))
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 0
    assert float(re.findall(r"Accuracy: (\S+)", capsys.readouterr().out)[-1]) >= 0.65
    with h5py.File("out/output_4.h5") as found:
        (group,) = found
        assert group == "test_x.h5:deep" and len(found[group]) == 40
    assert Path("network.dot").read_text().startswith("digraph")


def test_what_is_in_the_way_is_said_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clothes(tmp_path, numbered=True)
    data = {**TRAINING, "target_transforms": [{"normalize": {"std": 0.00392}}]}
    write("c.json", net(2, "log_softmax"), {"function": "NLL"}, data, optimizer=ADAM)
    assert main(["train", "recipe=c.json", "sys.threads=1"]) == 2
    assert "has values that are no class (2), the classes are 0, 1" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
