"""Files of the working folder with the names of other modules: nothing runs that nobody named, in any process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mlpipe
from mlpipe.errors import EXTRAS
from tests.build import SMALL

# Packages that libraries use where they find them, and modules of Python that new processes import.
OPTIONAL = (
    "dill",
    "pynvml",
    "lz4",
    "numexpr",
    "bottleneck",
    "redis",
    "torch_xla",
    "google",
    "colorama",
    "cloudpickle",
    "IPython",
    "onnx",
    "polars",
    "uvloop",
    "httptools",
)
PYTHONS = ("threading", "signal", "selectors", "struct", "mlpipe", "sitecustomize", "usercustomize", "conftest")
# Commands, one after another in one process, each of which imports what it needs when it needs it; beside its exit code
# stands whether the working folder is on the import path.
SEVERAL = """
import os, signal, socket, sys, threading, time
from mlpipe.cli import main

def end(port):
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    signal.raise_signal(signal.SIGTERM)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
for line in sys.stdin.read().splitlines():
    words = line.replace("PORT", str(port)).split()
    if words[0] == "serve":
        threading.Thread(target=end, args=(port,), daemon=True).start()
    code = main(words)
    print(f"\\nENDED {code} {os.getcwd() in map(os.path.abspath, sys.path)} {words}", flush=True)
"""
PART = "task=digits+subset?0.1"
TRAINED = f"{PART} split.folds=2 {' '.join(SMALL)}"
COMMANDS = f"""create task=folder task.root=images
train {TRAINED} mode.nested=false mode.subroutines=[train,predict] logging=[tensorboard,csv]
train {TRAINED} mode.cv=false mode.nested=false mode.subroutines=[train] logging=wandb
train {TRAINED} mode.cv=false mode.nested=false hpo=optuna hpo.trials=1
post {PART}
predict {PART} mode.source=images
info {PART} mode.subroutines=[models,report]
explain {PART} mode.count=1
export {PART}
serve {PART} mode.port=PORT
distill {TRAINED} mode.cv=false mode.nested=false mode.subroutines=[train]
lr_find {TRAINED} mode.steps=5
evaluate {PART}
convert recipe=recipe.yaml
clean
doctor
models resnet18"""


def lay(names: Iterable[str], work: Path, root: Path) -> None:
    """A module for each name in the working folder that makes a file beside it when it is run."""
    for name in names:
        text = f"from pathlib import Path\nPath({str(root)!r}, 'ran-{name}').touch()\nraise ImportError('x')\n"
        (work / f"{name}.py").write_text(text)


def imported() -> set[str]:
    """The first name of everything that the program imports anywhere, by a statement or by a text."""
    found = set(EXTRAS)
    for file in Path(mlpipe.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "find_spec", "LazyModule")
            ):
                texts = [one.value for one in node.args if isinstance(one, ast.Constant)]
                found |= {text for text in texts if isinstance(text, str)}
    return {name.partition(".")[0] for name in found}


@pytest.mark.program
@pytest.mark.parametrize("more", [[], ["sys.fold_workers=2", "sys.num_workers=1"]], ids=["one process", "several"])
def test_files_with_the_names_of_modules_do_not_run(tmp_path: Path, more: list[str]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    lay((*OPTIONAL, *PYTHONS), work, tmp_path)
    words = [
        "train",
        "task=digits+subset?0.1",
        *SMALL,
        "split.folds=2",
        "mode.nested=false",
        "mode.subroutines=[train]",
        *more,
    ]
    program = [sys.executable, "-P", "-c", "import sys; from mlpipe.cli import main; sys.exit(main(sys.argv[1:]))"]
    done = subprocess.run([*program, *words], cwd=work, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("ran-*")) == []


@pytest.mark.slow
@pytest.mark.program
def test_no_command_finds_what_it_imports_in_the_working_folder(tmp_path: Path) -> None:
    names = imported()
    assert {"torch", "onnxruntime", "wandb", "cv2", "submitit", "pytorch_grad_cam", "uvicorn", "optuna"} <= names
    work = tmp_path / "work"
    for label in ("a", "b"):
        (work / "images" / label).mkdir(parents=True)
        for number in range(8):
            grey = np.full((8, 8), 16 * number + 100 * (label == "b"), np.uint8)
            Image.fromarray(grey).save(work / "images" / label / f"{number}.png")
    (work / "recipe.yaml").write_text("defaults:\n  - loss: ce\n")
    lay({*names, *OPTIONAL, *PYTHONS}, work, tmp_path)
    program = [sys.executable, "-P", "-c", SEVERAL]
    done = subprocess.run(program, input=COMMANDS, cwd=work, capture_output=True, text=True, timeout=1800, check=False)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    shown = done.stdout[-5000:] + done.stderr[-5000:]
    assert len(ended) == len(COMMANDS.splitlines()), shown
    # What an extra lacks here is a sentence.
    assert not [line for line in ended if line.split()[1] not in ("0", "2")], (ended, shown)
    assert not [line for line in ended if line.split()[2] == "True"], ended
    assert list(tmp_path.glob("ran-*")) == []
