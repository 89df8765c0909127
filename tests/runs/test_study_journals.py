"""Steps of reading a study's journal, against those that Optuna takes: every copy and every comparison counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlpipe.runs import study_journals

Line = Mapping[str, Any]
STUDY: Line = {"op_code": 0, "study_name": "s", "directions": [1]}
TRIAL: Line = {"op_code": 4, "study_id": 0, "datetime_start": None}


def written(path: Path, lines: Sequence[object]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def step(trial: int, number: int) -> Line:
    return {"op_code": 7, "trial_id": trial, "step": number, "intermediate_value": 0.5}


def param(trial: int, name: str) -> Line:
    return {"op_code": 5, "trial_id": trial, "param_name": name}


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        # Each line copies twice what the trial has, and adds one.
        ([TRIAL, *(step(0, number) for number in range(10))], sum(2 * number + 1 for number in range(10))),
        ([TRIAL, TRIAL, *(step(number % 2, number) for number in range(10))], 2 * sum(2 * n + 1 for n in range(5))),
        ([{**TRIAL, "user_attrs": {str(n): n for n in range(100)}}, step(0, 0), step(0, 1)], 201 + 203),
        ([{"op_code": 2, "study_id": 0, "user_attr": {"a": n}} for n in range(4)], 1 + 3 + 5 + 7),
        # A parameter that no trial has is looked for in all; then the first trial has it.
        ([TRIAL, TRIAL, TRIAL, param(0, "a"), param(1, "a")], (1 + 3 * 10) + 1),
        ([TRIAL, TRIAL, TRIAL, param(2, "a"), param(1, "a"), param(0, "a")], (1 + 30) + (1 + 20) + (1 + 10)),
        ([{**TRIAL, "params": {"a": 0}}, TRIAL, param(1, "a")], 1),
        # The name of a study is looked for among all.
        ([{**STUDY, "study_name": name} for name in "abcd"], (1 + 2 + 3 + 4) * 10),
        ([{"op_code": 1, "study_id": 0}, STUDY, TRIAL, step(0, 0)], 1),
        # Lines that are none, and trials of studies that are not there.
        (["{", "[]", "7", {"op_code": 4}, {**TRIAL, "study_id": 9}, {"op_code": 7, "trial_id": [1]}, step(0, 0)], 1),
        ([{**TRIAL, "user_attrs": 7}, step(0, 0)], 1),
    ],
)
def test_steps_are_those_of_copies_and_comparisons(lines: list[object], steps: int, tmp_path: Path) -> None:
    assert study_journals.steps(written(tmp_path / "s.log", [STUDY, *lines]), 10**9) == steps


def test_nothing_is_counted_beyond_the_most(tmp_path: Path) -> None:
    path = written(tmp_path / "s.log", [STUDY, TRIAL, *(step(0, number) for number in range(100))])
    assert study_journals.steps(path, 50) == 64
