"""Compare the duration of short commands with that of the imports that they need, side by side in one run.

A command and its imports take turns, each in its own process. Printed are CPU seconds, which depend less on other programs
than wall time, and the ratio of their medians:

- a training of one epoch (`mode.subroutines=[train]`, the smallest network of timm), to PyTorch, Lightning, timm and Hydra;
- `mml info`, and a configuration that is refused, to NumPy, OpenCV, h5py, PyArrow and Hydra.

    python scripts/bench_start.py [--rounds 3] [--cases info refused]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TRAINING = [
    "train", "task=fashion_mini", "arch=test_resnet", "arch.pretrained=false", "mode.nested=false", "mode.subroutines=[train]",
    "mode.folds=[0]", "trainer.max_epochs=1", "preprocessing.size=16",
]  # fmt: skip
LEARNS = "import torch, pytorch_lightning, timm, hydra"
READS = "import numpy, cv2, h5py, pyarrow.parquet, hydra"
# Command, expected exit code, imports to compare with.
CASES = {
    "train": (TRAINING, 0, LEARNS),
    "info": (["info", "task=fashion_mini"], 0, READS),
    "refused": (["train", "task=fashion_mini", "optimizer.lr=-1"], 2, READS),
}


def cpu(arguments: list[str], folder: Path, expected: int) -> float:
    """Return the CPU seconds of a process and its children."""
    settings = {"MML_RESULTS_PATH": str(folder / "results"), "MML_DATA_PATH": str(folder / "data")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **settings}, cwd=folder, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    rounds = options.rounds
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Byte code and composed configurations are cached, as for any user from the second call on.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    start = "import sys; from mlpipe.cli import main; sys.exit(main())"
    for name, (words, expected, imports) in ((name, CASES[name]) for name in options.cases):
        commands, bare = [], []
        with tempfile.TemporaryDirectory() as folder:
            # The first round fills caches.
            for number in range(rounds + 1):
                # A finished training would not be repeated.
                fresh = [*words, f"proj=round{number}"] if words is TRAINING else words
                pair = (
                    cpu(["-c", start, *fresh], Path(folder), expected),
                    cpu(["-c", imports], Path(folder), 0),
                )
                if number:
                    commands.append(pair[0])
                    bare.append(pair[1])
        whole, imported = statistics.median(commands), statistics.median(bare)
        print(f"{name}: {whole:.2f} s CPU, imports alone {imported:.2f} s, ratio {whole / imported:.2f}")


if __name__ == "__main__":
    main()
