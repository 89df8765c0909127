"""Files of the working folder with the names of other modules: nothing runs that nobody named, in any process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
)
PYTHONS = ("threading", "signal", "selectors", "struct", "mlpipe", "sitecustomize", "usercustomize", "conftest")


@pytest.mark.program
@pytest.mark.parametrize("more", [[], ["sys.fold_workers=2", "sys.num_workers=1"]], ids=["one process", "several"])
def test_files_with_the_names_of_modules_do_not_run(tmp_path: Path, more: list[str]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in (*OPTIONAL, *PYTHONS):
        text = f"from pathlib import Path\nPath({str(tmp_path)!r}, 'ran-{name}').touch()\nraise ImportError('x')\n"
        (work / f"{name}.py").write_text(text)
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
