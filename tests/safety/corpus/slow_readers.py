"""Small files that libraries read letter by letter, or each part of which is compared with all others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.safety.corpus import Hostile
from tests.safety.corpus.arrays import _npz, _table, npy
from tests.safety.corpus.pictures import _folder
from tests.safety.corpus.projects import _project

Make = Callable[[Path], list[str]]
Line = Mapping[str, Any]
_STUDY: Line = {"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [1]}
_BEGUN: Line = {"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": None}
_ENDED: Line = {**_BEGUN, "state": 1, "datetime_complete": "2026-01-01T00:00:01"}
_RATE = {"name": "FloatDistribution", "attributes": {"low": 1e-4, "high": 1.0, "log": True, "step": None}}
_LISTS = {"name": "CategoricalDistribution", "attributes": {"choices": [[1, [2]]]}}


def _lines(*parts: Line | Callable[[], Iterable[Line]]) -> Make:
    """A study whose journal has these lines, and a training that asks for its best trial."""

    def make(work: Path) -> list[str]:
        path = _project().studies_dir() / "s.log"
        path.parent.mkdir(parents=True)
        with path.open("w") as file:
            for part in parts:
                for line in part() if callable(part) else (part,):
                    file.write(f"{json.dumps(line)}\n")
        return ["train", "--dry-run", "task=digits", "use_best_params=s"]

    return make


def _reported() -> Iterator[Line]:
    return (
        {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": step, "intermediate_value": 0.5}
        for step in range(100_000)
    )


def _noted() -> Iterator[Line]:
    return ({"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {str(step): 1}} for step in range(100_000))


def _parameters() -> Iterator[Line]:
    return (
        {"op_code": 5, "worker_id": "w", "trial_id": number, "param_name": f"p{number}", "param_value_internal": 0.1,
         "distribution": json.dumps(_RATE)}
        for number in range(50_000)
    )  # fmt: skip


def _grown_comment(work: Path) -> list[str]:
    """A picture that begins with a comment of 1.5 GB, of which the disk has nothing."""
    words = _folder("a/x.pgm", b"P5\n#")(work)
    os.truncate(work / "images" / "a" / "x.pgm", 3 << 29)
    return words


def _unknown_labels(work: Path) -> list[str]:
    """As many labels of test rows that no training row has as there are classes."""
    texts = {part: np.array([f"{part} {number}" for number in range(10_000)]) for part in ("class", "clas")}
    images = npy(np.zeros((10_000, 2, 2), np.uint8))
    members = {"x_train": images, "y_train": npy(texts["class"]), "x_test": images, "y_test": npy(texts["clas"])}
    return _npz(members)(work)


def _long_labels(work: Path) -> list[str]:
    """Two labels of 100,000 letters that differ in the last one."""
    letters = "".join(chr(0x4E00 + 7919 * place % 150) for place in range(100_000))
    rows = f"path,label,split\na/0.png,{letters}a,train\na/1.png,b,train\na/2.png,{letters}b,test\n"
    return ["create", *_table(rows)(work)[1:3]]


CASES = [
    Hostile(
        "study: 100,000 values that one trial reports",
        _lines(_STUDY, _BEGUN, _reported),
        "holds lines that take more than 2,000,000,000 steps to read",
    ),
    Hostile("study: 100,000 notes of one trial", _lines(_STUDY, _BEGUN, _noted), "steps to read"),
    Hostile(
        "study: parameters of 50,000 trials that no other has",
        _lines(_STUDY, lambda: [_BEGUN] * 50_000, _parameters),
        "steps to read",
    ),
    Hostile(
        "study: 50,000 studies in one journal",
        _lines(lambda: ({**_STUDY, "study_name": str(number)} for number in range(50_000))),
        "steps to read",
    ),
    Hostile(
        "study: a trial that has ended without values",
        _lines(_STUDY, {**_ENDED, "values": []}),
        "trial 0 has ended, and its values are []",
    ),
    Hostile("study: a value that is a text", _lines(_STUDY, {**_ENDED, "values": ["x"]}), "and its values are ['x']"),
    Hostile(
        "study: notes that are a number",
        _lines(_STUDY, {**_ENDED, "values": [1.0], "user_attrs": 7}),
        "notes that are 7",
    ),
    Hostile(
        "study: a parameter that is a list",
        _lines(
            _STUDY,
            {
                **_ENDED,
                "values": [1.0],
                "params": {"optimizer.lr": 0},
                "distributions": {"optimizer.lr": json.dumps(_LISTS)},
            },
        ),
        "has the parameter optimizer.lr [1, [2]]",
    ),
    Hostile(
        "a PGM of 169 million numbers as text",
        _folder("a/x.pgm", b"P2\n13000 13000\n255\n" + b"1 " * 2_000_000),
        "169,000,000 numbers and 0 comments, which are read one by one",
    ),
    Hostile(
        "a PGM of 12 bits and 169 million pixels",
        _folder("a/x.pgm", b"P5\n13000 13000\n4095\n" + bytes(14_000_000)),
        "169,000,000 numbers and 0 comments, which are read one by one",
    ),
    Hostile(
        "a PGM of half a million comments",
        _folder("a/x.pgm", b"P2\n8 8\n255\n" + b"#\n" * 500_000 + b"1 " * 64),
        "64 numbers and 500,000 comments, which are read one by one",
    ),
    Hostile(
        "a PGM that begins with 1.5 GB of a comment", _grown_comment, "a PNM file whose header is longer than 65,536"
    ),
    Hostile("npz: 10,000 unknown classes beside 10,000", _unknown_labels, "did you mean 'class 0'?"),
    Hostile("csv: a label of 100,000 letters that is nearly another", _long_labels, "no training row has this class"),
]
