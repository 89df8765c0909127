"""The page of short answers: its commands and its lines of Python work as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "how_to.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
TABLE, SUBMISSION, RUNS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_run_lengths_are_those_of_a_mask_by_hand() -> None:
    names: dict[str, object] = {}
    exec(RUNS, names)
    run_lengths = names["run_lengths"]
    assert callable(run_lengths)
    # Column by column: 0 1 | 1 0 | 1 1, so that pixels 2 to 3 and 5 to 6 are set.
    assert run_lengths(np.array([[0, 1, 1], [1, 0, 1]])) == "2 2 5 2"
    assert run_lengths(np.zeros((2, 2))) == "" and run_lengths(np.ones((2, 2))) == "1 4"


@pytest.mark.program
def test_the_commands_and_lines_of_the_page(few_digits: None) -> None:
    for command in COMMANDS:
        assert main([*shlex.split(command)[1:], *(["sys.threads=1"] if "train" in command else [])]) == 0
    names: dict[str, object] = {}
    exec(TABLE, names)
    table, wrong = names["table"], names["wrong"]
    assert isinstance(table, pd.DataFrame) and isinstance(wrong, pd.DataFrame) and 0 < len(wrong) < len(table)
    Path("test_images").mkdir()
    for number, pixels in enumerate(load_digits().images[:3]):
        Image.fromarray((pixels * 15).astype(np.uint8)).save(f"test_images/t{number}.png")
    pd.DataFrame({"id": ["t2", "t0", "t1"], "label": 0}).to_csv("sample_submission.csv", index=False)
    exec(SUBMISSION, {})
    submission = pd.read_csv("submission.csv")
    assert list(submission["id"]) == ["t2", "t0", "t1"] and set(submission["label"]) <= set(range(10))
