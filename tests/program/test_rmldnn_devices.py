"""rmldnn's configurations learned by two processes: the lines, tables and files of one process, each sample once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from tests.build import conv
from tests.program.test_rmldnn_masks import ADAM, TARGETS, TRAINING, clothes, net, write
from tests.program.test_rmldnn_slices import balls

BCE = {"function": "BCE"}
SIZE = {"transforms": [{"resize": [24, 28]}]}
TWO = ["trainer.devices=2", "trainer.accelerator=cpu", "sys.threads=1"]
# Commands one after the other, so that what they import is imported once.
COMMANDS = "import json,sys;from mlpipe.cli import main;sys.exit(max(main(one) for one in json.loads(sys.argv[1])))"


def done(*commands: list[str]) -> str:
    """What commands print in a process of their own, from whose folder theirs start."""
    arguments = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    found = subprocess.run(arguments, env=os.environ, capture_output=True, text=True, timeout=1500)
    assert found.returncode == 0, found.stderr
    return found.stdout


def table(path: str) -> np.ndarray[Any, Any]:
    """The rows of a table without their seconds."""
    column = 2 if path.endswith("_train.txt") else 1
    return np.delete(np.loadtxt(path, ndmin=2), column, axis=1)


def same(one: str, other: str, tolerance: float) -> list[str]:
    """Demand equal datasets of two HDF5 files; their names."""
    with h5py.File(one) as first, h5py.File(other) as second:
        assert sorted(first) == sorted(second)
        for name in first:
            np.testing.assert_allclose(second[name][()], first[name][()], atol=tolerance, err_msg=name)
        return sorted(first)


@pytest.mark.timeout(3600)
def test_masks_slices_and_a_line_search_of_two_processes_are_those_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clothes(tmp_path, numbered=False)
    for seed, name in enumerate(("train", "test")):
        balls(seed, tmp_path, name)
    layers = [conv("c1", 8, batch_input_shape=[None, 12, 20, 1]), conv("out", 3, "log_softmax", 1)]
    moves = {"transforms": [{"random_horizontal_flip": 0.5}, *SIZE["transforms"]]}
    for kind in ("one", "two"):
        own = {**TRAINING, "test_output_path": f"{kind}_out", "test_batch_size": 16}
        files = {"outfile": f"{kind}.txt", "checkpoints": {"save": f"{kind}_ck"}, "num_epochs": 2}
        write(f"{kind}_masks.json", net(1, "sigmoid"), BCE, own | moves, optimizer=ADAM, **files)
        search = {"type": "Hessian", "max_iterations": 4, "max_func_eval": 9}
        files = {"outfile": f"{kind}_h.txt", "num_epochs": 1}
        write(f"{kind}_hessian.json", net(1, "sigmoid"), BCE, own | SIZE, optimizer=search, **files)
        slicers = [{"name": "xz", "sizes": [12, 1, 20], "strides": [6, 1, 20]}]
        data = {"type": "hdf5", "input_path": "train.h5", "target_path": "train_classes.h5", "test_input_path": "test.h5",
                "test_target_path": "test_classes.h5", "hdf5_outfile": f"{kind}.h5", "slicers": slicers,
                "batch_size": 8, "test_batch_size": 5}  # fmt: skip
        sliced = {"layers": layers, "data": data, "loss": {"function": "NLL"}, "optimizer": {"type": "SGD"}}
        Path(f"{kind}_slices.json").write_text(json.dumps({"neural_network": sliced | {"outfile": f"{kind}_s.txt"}}))
    kinds = ("masks", "hessian", "slices")
    for name in kinds:
        assert main(["train", f"--config=one_{name}.json", "sys.threads=1", f"proj=one_{name}"]) == 0
    alone = capsys.readouterr().out
    out = done(*(["train", f"--config=two_{name}.json", f"proj=two_{name}", *TWO] for name in kinds))
    assert "RocketML : 1 MPI process (" in alone and "Gradient reducer" not in alone and "Grad/Comm" not in alone
    assert out.count("RocketML : 2 MPI processes (") == out.count("  Backend : gloo") == 3
    shares = re.findall(r"\[Data: (\d+)%; Compute: (-?\d+)%; Grad/Comm: (\d+)%\]", out)
    assert shares and all(sum(map(int, one)) == 100 and min(map(int, one)) >= 0 for one in shares)
    for line in re.findall(r"Eval  Epoch .* Batch [^|]*", alone):
        assert out.count(line.partition("(Loss")[0]) == alone.count(line.partition("(Loss")[0]), line
    for suffix in ("", "_h", "_s"):
        for part in ("train", "test"):
            one, two = table(f"one{suffix}_{part}.txt"), table(f"two{suffix}_{part}.txt")
            np.testing.assert_allclose(two, one, rtol=2e-3, atol=1e-4, err_msg=suffix + part)
    assert table("two_train.txt").shape == (30, 4) and table("two_test.txt").shape == (2, 3)
    assert len(same("one_out/output_2.h5", "two_out/output_2.h5", 1e-3)) == 40
    assert same("one.h5", "two.h5", 1e-4) == ["xz"]
    assert sorted(path.name for path in Path("two_out").iterdir()) == ["output_1.h5", "output_2.h5"]

    load = {"load": "two_ck/model_checkpoint_2.pt"}
    data = {**TARGETS, **SIZE, "test_output_path": "again", "test_batch_size": 16}
    write("t.json", net(1, "sigmoid"), BCE, data, outfile="again.txt", checkpoints=load)
    assert main(["train", "--config=t.json", *TWO]) == 0
    assert "trainer.devices=2 is for training: mml evaluate uses one device" in capsys.readouterr().out
    np.testing.assert_allclose(table("again_test.txt")[0, 1:], table("two_test.txt")[1, 1:], rtol=1e-4)
    assert len(same("two_out/output_2.h5", "again/output_1.h5", 1e-4)) == 40


@pytest.mark.timeout(3600)
def test_tables_of_an_interrupted_training_have_every_line_once(tmp_path: Path) -> None:
    clothes(tmp_path, numbered=False)
    data = {**TRAINING, **SIZE, "test_output_path": "out"}
    write("c.json", net(1, "sigmoid"), BCE, data, num_epochs=12, outfile="log.txt", optimizer=ADAM)
    arguments = [sys.executable, "-m", "mlpipe.cli", "train", "--config=c.json", *TWO]
    process = subprocess.Popen(arguments, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "results").rglob("state.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=600)
    assert process.returncode == 75, shown
    assert not [path.name for path in Path("out").iterdir() if not path.name.endswith(".h5")]
    done(["train", "continue=latest"])
    batches, epochs = table("log_train.txt"), table("log_test.txt")
    assert [tuple(row) for row in batches[:, :2].astype(int)] == [(e, b) for e in range(1, 13) for b in range(1, 16)]
    assert epochs[:, 0].tolist() == list(range(1, 13)) and len(list(Path("out").iterdir())) == 12
