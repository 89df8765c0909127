"""The recipes of CONTRIBUTING, followed in a folder of one's own instead of in the package."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf-8")
FILES = ["squared.py", "conf/loss/squared.yaml", "count.py", "conf/mode/count.yaml"]
OWN = "--config-dir=conf"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    blocks = re.findall(r"^ +```(?:python|yaml)\n(.*?)^ +```", PAGE, re.MULTILINE | re.DOTALL)
    for name, block in zip(FILES, blocks, strict=True):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(block)
        path.write_text(re.sub(r"_target_: mlpipe\.[a-z.]*\.(?=\w+\.\w+$)", "_target_: ", text, flags=re.MULTILINE))
    return tmp_path


@pytest.mark.program
def test_a_loss_and_a_mode(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "loss=squared", "loss.scale=-1", OWN]) == 2
    assert capsys.readouterr().err == "loss.scale: must be a number > 0, got -1; give it such a value\n"
    small = ["task=digits", "arch=test_resnet", "preprocessing.size=16", "trainer.max_epochs=1", "sys.threads=1"]
    assert (
        main(
            [
                "train",
                "mode.subroutines=[train]",
                "loss=squared",
                OWN,
                *small,
                "mode.nested=false",
                "mode.cv=false",
                "split.folds=2",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["count", "task=digits", "mode.least=182", OWN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"1": 182, "3": 183, "5": 182}
    assert main(["count", "task=digits", "mode.least=-1", OWN]) == 2
